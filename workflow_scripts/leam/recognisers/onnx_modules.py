"""PyTorch's own modules of those steps of an ONNX file whose weights are known: these fold and freeze.

Shape letters: N images, C channels, h, w a map.
"""

from torch import Tensor, nn

from leam.recognisers.onnx_operators import Attributes, is_per_channel
from leam.recognisers.onnx_windows import window_pads


def module_of(name: str, x: Tensor, weights: list[Tensor | None], attributes: Attributes) -> nn.Module | None:
    """PyTorch's own module of a step whose weights are known, or None: these fold and freeze, and run the quickest."""
    make = {"Conv": _conv_module, "BatchNormalization": _norm_module, "PRelu": _prelu_module, "Gemm": _linear_module}
    if name == "Relu":
        return nn.ReLU()
    return make[name](x, weights, attributes) if name in make else None


def _conv_module(x: Tensor, weights: list[Tensor | None], attributes: Attributes) -> nn.Module | None:
    weight, bias = (*weights, None)[:2]
    if weight is None or weight.ndim != 4:
        return None
    strides, dilations = attributes.get("strides") or [1, 1], attributes.get("dilations") or [1, 1]
    before, behind = window_pads(x, weight.shape[2:], strides, dilations, attributes)
    if before != behind:
        return None
    out, inside, *kernel = weight.shape
    groups = attributes.get("group", 1)
    module = nn.Conv2d(
        inside * groups,
        out,
        (kernel[0], kernel[1]),
        (strides[0], strides[1]),
        (before[0], before[1]),
        (dilations[0], dilations[1]),
        groups,
        bias is not None,
    )
    return _filled(module, weight=weight, bias=bias)


def _norm_module(x: Tensor, weights: list[Tensor | None], attributes: Attributes) -> nn.Module | None:
    if any(weight is None for weight in weights) or attributes.get("training_mode") or not attributes.get("spatial", 1):
        return None
    scale, bias, mean, variance = weights
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}
    if x.ndim not in kinds or scale is None:
        return None
    module = kinds[x.ndim](len(scale), eps=attributes.get("epsilon", 1e-5))
    return _filled(module, weight=scale, bias=bias, running_mean=mean, running_var=variance)


def _prelu_module(x: Tensor, weights: list[Tensor | None], attributes: Attributes) -> nn.Module | None:
    """With a slope per channel, or a single one; ONNX knows others too."""
    del attributes
    (slope,) = weights
    if slope is None or x.ndim < 2:
        return None
    if slope.numel() != 1 and not is_per_channel(slope, x):
        return None
    return _filled(nn.PReLU(slope.numel()), weight=slope.flatten())


def _linear_module(x: Tensor, weights: list[Tensor | None], attributes: Attributes) -> nn.Module | None:
    weight, bias = (*weights, None)[:2]
    if weight is None or attributes.get("transA", 0) or (bias is None and len(weights) > 1):
        return None
    weight = (weight if attributes.get("transB", 0) else weight.T) * attributes.get("alpha", 1.0)
    if bias is not None:
        if bias.numel() not in (1, len(weight)) or (bias.ndim > 1 and bias.shape[:-1].numel() != 1):
            return None
        bias = (bias * attributes.get("beta", 1.0)).flatten().expand(len(weight))
    module = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    return _filled(module, weight=weight, bias=bias)


def _filled(module: nn.Module, **values: Tensor | None) -> nn.Module:
    state = {name: value for name, value in values.items() if value is not None}
    module.load_state_dict(state, strict=False)
    return module
