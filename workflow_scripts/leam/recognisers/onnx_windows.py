"""ONNX's operators that look at a picture through windows, normalise it, or make it another size.

Shape letters: N images, C channels, h, w a map.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from leam.recognisers.onnx_operators import Attributes, UnknownOperatorError, on_device_of, operator, whole_numbers

# ---------------------------------------------------------------------------------------------- convolutions and pools


def window_pads(
    x: Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], attributes: Attributes
) -> tuple[list[int], list[int]]:
    """What stands before and behind each axis of space, as ``auto_pad`` or ``pads`` say."""
    rank, automatic = len(kernel), attributes.get("auto_pad", "NOTSET")
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        sizes = x.shape[-rank:]
        needed = [
            max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
            for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True)
        ]
        less, more = [pad // 2 for pad in needed], [pad - pad // 2 for pad in needed]
        return (less, more) if automatic == "SAME_UPPER" else (more, less)
    pads = list(attributes.get("pads") or [0] * 2 * rank)
    return pads[:rank], pads[rank:]


def _padded(x: Tensor, before: Sequence[int], behind: Sequence[int], value: float = 0.0) -> Tensor:
    flat = [pad for pair in zip(reversed(before), reversed(behind), strict=True) for pad in pair]
    return functional.pad(x, flat, value=value) if any(flat) else x


_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


@operator("Conv")
def _conv(x: Tensor, weight: Tensor, bias: Tensor | None = None, **attributes: Any) -> Tensor:
    rank = weight.ndim - 2
    strides, dilations = attributes.get("strides") or [1] * rank, attributes.get("dilations") or [1] * rank
    before, behind = window_pads(x, weight.shape[2:], strides, dilations, attributes)
    x = _padded(x, before, behind)
    return _CONVOLUTIONS[rank](x, weight, bias, strides, 0, dilations, attributes.get("group", 1))


@operator("ConvTranspose")
def _conv_transpose(x: Tensor, weight: Tensor, bias: Tensor | None = None, **attributes: Any) -> Tensor:
    rank = weight.ndim - 2
    if "output_shape" in attributes or attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise UnknownOperatorError("ConvTranspose of a stated size of output")
    pads = attributes.get("pads") or [0] * 2 * rank
    strides, dilations = attributes.get("strides") or [1] * rank, attributes.get("dilations") or [1] * rank
    more = attributes.get("output_padding") or [0] * rank
    whole = _TRANSPOSED[rank](x, weight, None, strides, 0, 0, attributes.get("group", 1), dilations)
    behind = [size - pad for size, pad in zip(more, pads[rank:], strict=True)]
    cut = _padded(whole, [-pad for pad in pads[:rank]], behind)
    return cut if bias is None else cut + bias.view(-1, *(1,) * rank)


_MAX_POOLS = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_MEAN_POOLS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def _pool_windows(x: Tensor, attributes: Attributes) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
    """Kernel, strides, dilations and the pads of a pooling, those of ``ceil_mode`` among them."""
    kernel = list(attributes["kernel_shape"])
    rank = len(kernel)
    strides = list(attributes.get("strides") or [1] * rank)
    dilations = list(attributes.get("dilations") or [1] * rank)
    before, behind = window_pads(x, kernel, strides, dilations, attributes)
    return kernel, strides, dilations, before, behind


def _ceiling(
    x: Tensor, kernel: list[int], strides: list[int], dilations: list[int], before: list[int], behind: list[int]
) -> list[int]:
    """What must be added behind for the last window, which begins in the picture or the pad before it, to be whole."""
    more = []
    for size, k, stride, dilation, pad, after in zip(
        x.shape[-len(kernel) :], kernel, strides, dilations, before, behind, strict=True
    ):
        reach = (k - 1) * dilation + 1
        windows = -(-(size + pad + after - reach) // stride) + 1
        if (windows - 1) * stride >= size + pad:
            windows -= 1
        more.append(max((windows - 1) * stride + reach - (size + pad + after), 0))
    return more


@operator("MaxPool")
def _max_pool(x: Tensor, *, outputs: int = 1, **attributes: Any) -> Tensor:
    if outputs > 1:
        raise UnknownOperatorError("MaxPool that also says where its maxima are")
    kernel, strides, dilations, before, behind = _pool_windows(x, attributes)
    if attributes.get("ceil_mode", 0):
        more = _ceiling(x, kernel, strides, dilations, before, behind)
        behind = [a + b for a, b in zip(behind, more, strict=True)]
    lowest = -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
    return _MAX_POOLS[len(kernel)](_padded(x, before, behind, lowest), kernel, strides, 0, dilations)


@operator("AveragePool")
def _average_pool(x: Tensor, *, count_include_pad: int = 0, **attributes: Any) -> Tensor:
    kernel, strides, dilations, before, behind = _pool_windows(x, attributes)
    if any(dilation != 1 for dilation in dilations):
        raise UnknownOperatorError("AveragePool with dilations")
    pool, rank, more = _MEAN_POOLS[len(kernel)], len(kernel), [0] * len(kernel)
    if attributes.get("ceil_mode", 0):  # what lies beyond the pads is never counted
        more = _ceiling(x, kernel, strides, dilations, before, behind)
    mean = pool(_padded(_padded(x, before, behind), [0] * rank, more), kernel, strides)
    if not any(more) and (count_include_pad or not any(before + behind)):
        return mean
    counted = _padded(torch.ones_like(x[:1, :1]), before, behind, float(count_include_pad))
    return mean / pool(_padded(counted, [0] * rank, more), kernel, strides)


@operator("GlobalAveragePool")
def _global_average_pool(x: Tensor) -> Tensor:
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


@operator("GlobalMaxPool")
def _global_max_pool(x: Tensor) -> Tensor:
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)


# ------------------------------------------------------------------------------------------------------ normalisations


@operator("BatchNormalization")
def _batch_norm(
    x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, *, epsilon: float = 1e-5, **attributes: Any
) -> Tensor:
    if attributes.get("training_mode", 0) or not attributes.get("spatial", 1):
        raise UnknownOperatorError("BatchNormalization in training, or over single pixels")
    return functional.batch_norm(x, mean, variance, scale, bias, training=False, eps=epsilon)


@operator("InstanceNormalization")
def _instance_norm(x: Tensor, scale: Tensor, bias: Tensor, epsilon: float = 1e-5) -> Tensor:
    return functional.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


@operator("LayerNormalization")
def _layer_norm(
    x: Tensor, scale: Tensor, bias: Tensor | None = None, *, axis: int = -1, epsilon: float = 1e-5, **_: Any
) -> Tensor:
    shape = x.shape[axis:]
    return functional.layer_norm(x, shape, scale.expand(shape), None if bias is None else bias.expand(shape), epsilon)


@operator("RMSNormalization")
def _rms_norm(x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, **_: Any) -> Tensor:
    over = tuple(range(axis % x.ndim, x.ndim))
    return x * torch.rsqrt(x.square().mean(over, keepdim=True) + epsilon) * scale


@operator("GroupNormalization")
def _group_norm(
    x: Tensor, scale: Tensor, bias: Tensor, *, num_groups: int, epsilon: float = 1e-5, opset: int, **_: Any
) -> Tensor:
    if opset < 21:  # one number per group
        scale, bias = (each.repeat_interleave(x.shape[1] // num_groups) for each in (scale, bias))
    return functional.group_norm(x, num_groups, scale, bias, epsilon)


@operator("MeanVarianceNormalization")
def _mean_variance(x: Tensor, axes: Sequence[int] = (0, 2, 3)) -> Tensor:
    mean = x.mean(tuple(axes), keepdim=True)
    return (x - mean) / ((x * x).mean(tuple(axes), keepdim=True) - mean * mean).sqrt().add(1e-9)


@operator("LRN")
def _lrn(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Tensor:
    square = x.square().unsqueeze(1)
    window = (size, *(1,) * (x.ndim - 2))
    pads = [0, 0] * (x.ndim - 2) + [(size - 1) // 2, size // 2]
    mean = functional.avg_pool3d(functional.pad(square, pads), window, 1) if x.ndim == 4 else None
    if mean is None:
        raise UnknownOperatorError(f"LRN of {x.ndim} axes")
    return x / (bias + alpha * mean.squeeze(1)) ** beta


@operator("Attention")
def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    *more: Tensor | None,
    scale: float | None = None,
    is_causal: int = 0,
    q_num_heads: int | None = None,
    kv_num_heads: int | None = None,
    outputs: int = 1,
    **others: Any,
) -> Tensor:
    plain = outputs == 1 and not any(each is not None for each in more) and not (is_causal and mask is not None)
    if not plain or any(others[name] for name in set(others) - {"qk_matmul_output_mode", "softmax_precision"}):
        raise UnknownOperatorError("Attention with a cache, a cap, a window, two masks or scores as output")
    flat = query.ndim == 3
    if flat:
        query = query.unflatten(2, (q_num_heads, -1)).transpose(1, 2)
        key, value = (each.unflatten(2, (kv_num_heads, -1)).transpose(1, 2) for each in (key, value))
    if mask is not None:
        mask = on_device_of(mask, query)
    found = functional.scaled_dot_product_attention(
        query, key, value, mask, is_causal=bool(is_causal), scale=scale, enable_gqa=query.shape[1] != key.shape[1]
    )
    return found.transpose(1, 2).flatten(2) if flat else found


# ------------------------------------------------------------------------------------------------------------ resizing


@operator("Upsample")
def _upsample(
    x: Tensor, given: Tensor | None = None, *, scales: Sequence[float] | None = None, mode: str = "nearest"
) -> Tensor:
    factors = list(given.tolist() if given is not None else scales or [])[2:]
    sides = [int(size * factor) for size, factor in zip(x.shape[2:], factors, strict=True)]
    return _resized(x, sides, factors, mode, "asymmetric", "floor")


@operator("Resize")
def _resize(x: Tensor, *given: Tensor | None, opset: int, **attributes: Any) -> Tensor:
    given = given if opset > 10 else (None, *given)  # a region to cut out first, which nothing uses, came later
    _, scales, sizes = (*given, None, None, None)[:3]
    odd = [key for key in ("antialias", "exclude_outside", "keep_aspect_ratio_policy", "axes") if attributes.get(key)]
    if [key for key in odd if attributes[key] != "stretch"]:
        raise UnknownOperatorError(f"Resize with {odd[0]}")
    coordinates = attributes.get("coordinate_transformation_mode", "half_pixel" if opset > 10 else "asymmetric")
    if sizes is not None and sizes.numel():
        side = whole_numbers(sizes)[2:]
        factors = [to / size for to, size in zip(side, x.shape[2:], strict=True)]
    else:
        factors = scales.tolist()[2:] if scales is not None else []
        side = [int(size * factor) for size, factor in zip(x.shape[2:], factors, strict=True)]
    nearest = attributes.get("nearest_mode", "round_prefer_floor" if opset > 10 else "floor")
    return _resized(x, side, factors, attributes.get("mode", "nearest"), coordinates, nearest)


def _resized(x: Tensor, side: list[int], factors: list[float], mode: str, coordinates: str, nearest: str) -> Tensor:
    if mode not in ("nearest", "linear", "bilinear"):
        raise UnknownOperatorError(f"Resize in mode {mode!r}")
    for axis, (size, factor) in enumerate(zip(side, factors, strict=True), start=2):
        x = _resized_axis(
            x, axis, _places(x.shape[axis], size, factor, coordinates), nearest if mode == "nearest" else ""
        )
    return x


def _places(size: int, to: int, factor: float, coordinates: str) -> Tensor:
    """Where each place of the new axis lies on the old one."""
    at = torch.arange(to, dtype=torch.float64)
    if coordinates == "asymmetric":
        return at / factor
    if coordinates == "align_corners":
        return at * (size - 1) / (size * factor - 1) if to > 1 else at * 0
    if coordinates == "pytorch_half_pixel":
        return (at + 0.5) / factor - 0.5 if to > 1 else at * 0
    if coordinates == "half_pixel":
        return (at + 0.5) / factor - 0.5
    raise UnknownOperatorError(f"Resize with coordinates {coordinates!r}")


def _resized_axis(x: Tensor, axis: int, at: Tensor, nearest: str) -> Tensor:
    size = x.shape[axis]
    if nearest:
        rounded = {
            "floor": torch.floor,
            "ceil": torch.ceil,
            "round_prefer_floor": lambda place: torch.ceil(place - 0.5),
            "round_prefer_ceil": lambda place: torch.floor(place + 0.5),
        }[nearest](at)
        return x.index_select(axis, rounded.clamp(0, size - 1).long().to(x.device))
    below = at.floor()
    share = (at - below).to(x).view(-1, *(1,) * (x.ndim - axis - 1))
    low, high = (place.clamp(0, size - 1).long().to(x.device) for place in (below, below + 1))
    return x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share
