"""ONNX's operators, by PyTorch: what a network from picture to embedding needs, in every opset up to 26.

Each takes what stands at its node's inputs, tensors or None where an optional input is left out, and its attributes.
Small whole numbers that say a shape, axes or pads stay on the CPU, where PyTorch wants them.

Shape letters: N images, C channels, h, w a map.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Attributes = dict[str, Any]
OPERATORS: dict[str, Callable[..., Any]] = {}
# As ONNX numbers them (TensorProto.DataType). Halves are widened: what a CPU computes in them differs by the machine.
DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float32,
    11: torch.float64,
    16: torch.float32,
}


class UnknownOperatorError(Exception):
    """An operator, or a form of one, that is not known here; the message names it."""


def operator(*names: str) -> Callable[[Callable], Callable]:
    """Enter a function under its operators' names."""

    def enter(function: Callable) -> Callable:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return enter


def whole_numbers(values: Tensor | Sequence[int] | None) -> list[int]:
    """Axes, pads or a shape, whichever way they are given."""
    if values is None:
        return []
    return [int(value) for value in (values.flatten().tolist() if isinstance(values, Tensor) else values)]


def on_device_of(value: Tensor, x: Tensor) -> Tensor:
    """A tensor on the device of another: constants that are no weights lie on the CPU."""
    return value if value.device == x.device else value.to(x.device)


# ------------------------------------------------------------------------------------------- one number after another


def _elementwise(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def apply(x: Tensor, **_: Any) -> Tensor:
        return function(x)

    return apply


_ELEMENTWISE: dict[str, Callable[..., Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "Identity": lambda x: x,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Mish": functional.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": lambda x: functional.softplus(x, threshold=50),  # exact up to rounding, unlike the default of 20
    "Softsign": functional.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}
OPERATORS.update({name: _elementwise(function) for name, function in _ELEMENTWISE.items()})


@operator("Dropout")
def _dropout(x: Tensor, *_: Tensor | None, **__: Any) -> Tensor:
    return x


@operator("LeakyRelu")
def _leaky_relu(x: Tensor, alpha: float = 0.01) -> Tensor:
    return functional.leaky_relu(x, alpha)


@operator("Elu")
def _elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    return functional.elu(x, alpha)


@operator("Celu")
def _celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    return functional.celu(x, alpha)


@operator("Selu")
def _selu(x: Tensor, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Tensor:
    return gamma * (x.clamp(min=0) + (alpha * x.clamp(max=0).exp() - alpha))


@operator("ThresholdedRelu")
def _thresholded_relu(x: Tensor, alpha: float = 1.0) -> Tensor:
    return torch.where(x > alpha, x, torch.zeros_like(x))


@operator("HardSigmoid")
def _hard_sigmoid(x: Tensor, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


@operator("HardSwish")
def _hard_swish(x: Tensor) -> Tensor:
    return x * (x / 6 + 0.5).clamp(0, 1)


@operator("Swish")
def _swish(x: Tensor, alpha: float = 1.0) -> Tensor:
    return x * torch.sigmoid(alpha * x)


@operator("Gelu")
def _gelu(x: Tensor, approximate: str = "none") -> Tensor:
    return functional.gelu(x, approximate=approximate)


@operator("PRelu")
def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    slope = on_device_of(slope, x)
    if is_per_channel(slope, x):
        slope = slope.view(-1, *(1,) * (x.ndim - 2))
    return torch.where(x >= 0, x, slope * x)


def is_per_channel(slope: Tensor, x: Tensor) -> bool:
    """Whether slopes belong to the channels: so they stand, or a plain list of them can belong to nothing else."""
    if slope.numel() != x.shape[1]:
        return False
    return (
        slope.shape[0] != x.shape[-1]
        if slope.ndim == 1 and x.ndim > 2
        else slope.shape[1 - x.ndim :][:1] == x.shape[1:2]
    )


@operator("Clip")
def _clip(
    x: Tensor,
    low: Tensor | None = None,
    high: Tensor | None = None,
    *,
    min: float | None = None,
    max: float | None = None,
) -> Tensor:
    for bound in (low, min):
        x = x if bound is None else torch.maximum(x, torch.as_tensor(bound, dtype=x.dtype, device=x.device))
    for bound in (high, max):
        x = x if bound is None else torch.minimum(x, torch.as_tensor(bound, dtype=x.dtype, device=x.device))
    return x


@operator("Cast")
def _cast(x: Tensor, to: int, **_: Any) -> Tensor:
    if to not in DTYPES:
        raise UnknownOperatorError(f"Cast to ONNX's type {to}")
    return x.to(DTYPES[to])


@operator("CastLike")
def _cast_like(x: Tensor, other: Tensor, **_: Any) -> Tensor:
    return x.to(other.dtype)


# ------------------------------------------------------------------------------------------------- several side by side


def _pairwise(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def apply(a: Tensor, b: Tensor, *, broadcast: int = 0, axis: int | None = None) -> Tensor:
        if broadcast and axis is not None:  # before opset 7, b lies along the axes of a from ``axis`` on
            b = b.reshape(*b.shape, *(1,) * (a.ndim - axis % a.ndim - b.ndim))
        return function(a, on_device_of(b, a)) if a.ndim or not b.ndim else function(on_device_of(a, b), b)

    return apply


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


_PAIRWISE: dict[str, Callable[..., Tensor]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "Div": _divide,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "Pow": lambda a, b: torch.pow(a, b).to(a.dtype),
    "Sub": torch.sub,
    "Xor": torch.logical_xor,
}
OPERATORS.update({name: _pairwise(function) for name, function in _PAIRWISE.items()})


@operator("Mod")
def _mod(a: Tensor, b: Tensor, fmod: int = 0) -> Tensor:
    return torch.fmod(a, b) if fmod else torch.remainder(a, b)


@operator("Max")
def _max(first: Tensor, *others: Tensor) -> Tensor:
    for other in others:
        first = torch.maximum(first, on_device_of(other, first))
    return first


@operator("Min")
def _min(first: Tensor, *others: Tensor) -> Tensor:
    for other in others:
        first = torch.minimum(first, on_device_of(other, first))
    return first


@operator("Sum")
def _sum(first: Tensor, *others: Tensor) -> Tensor:
    for other in others:
        first = first + on_device_of(other, first)
    return first


@operator("Mean")
def _mean(*given: Tensor) -> Tensor:
    return _sum(*given) / len(given)


@operator("Where")
def _where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    where = a if a.ndim else b
    return torch.where(on_device_of(condition, where), on_device_of(a, where), on_device_of(b, where))


@operator("MatMul")
def _matmul(a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(a, on_device_of(b, a))


@operator("Gemm")
def _gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803 (ONNX's name)
    transB: int = 0,  # noqa: N803
    broadcast: int = 1,
) -> Tensor:
    product = alpha * torch.matmul(a.T if transA else a, b.T if transB else b)
    return product if c is None else product + beta * c


@operator("Einsum")
def _einsum(*given: Tensor, equation: str) -> Tensor:
    return torch.einsum(equation, *given)


@operator("CumSum")
def _cumsum(x: Tensor, axis: Tensor, exclusive: int = 0, reverse: int = 0) -> Tensor:
    dim = whole_numbers(axis)[0]
    x = x.flip(dim) if reverse else x
    total = x.cumsum(dim) - x if exclusive else x.cumsum(dim)
    return total.flip(dim) if reverse else total


# -------------------------------------------------------------------------------------------------------- over axes


def _log_sum_exp(x: Tensor, dim: list[int], keepdim: bool) -> Tensor:
    return torch.logsumexp(x, dim, keepdim)


def _product(x: Tensor, dim: list[int], keepdim: bool) -> Tensor:
    for axis in sorted(dim, reverse=True):
        x = x.prod(axis, keepdim=keepdim)
    return x


_REDUCTIONS: dict[str, Callable[..., Tensor]] = {
    "ReduceL1": lambda x, dim, keepdim: x.abs().sum(dim, keepdim),
    "ReduceL2": lambda x, dim, keepdim: x.square().sum(dim, keepdim).sqrt(),
    "ReduceLogSum": lambda x, dim, keepdim: x.sum(dim, keepdim).log(),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": torch.amax,
    "ReduceMean": torch.mean,
    "ReduceMin": torch.amin,
    "ReduceProd": _product,
    "ReduceSum": torch.sum,
    "ReduceSumSquare": lambda x, dim, keepdim: x.square().sum(dim, keepdim),
}


def _reduction(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def reduce(
        x: Tensor,
        given: Tensor | None = None,
        *,
        axes: Sequence[int] | None = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Tensor:
        over = [axis % x.ndim for axis in whole_numbers(given if axes is None else axes)]
        if not over and noop_with_empty_axes:
            return function(x.unsqueeze(0), [0], False)
        return function(x, over or list(range(x.ndim)), bool(keepdims))

    return reduce


OPERATORS.update({name: _reduction(function) for name, function in _REDUCTIONS.items()})


def _extreme(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def find(x: Tensor, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
        if select_last_index:
            return x.shape[axis] - 1 - function(x.flip(axis), axis, bool(keepdims))
        return function(x, axis, bool(keepdims))

    return find


OPERATORS.update({"ArgMax": _extreme(torch.argmax), "ArgMin": _extreme(torch.argmin)})


@operator("Softmax")
def _softmax(x: Tensor, axis: int | None = None, *, opset: int) -> Tensor:
    return _over_axis(functional.softmax, x, axis, opset)


@operator("LogSoftmax")
def _log_softmax(x: Tensor, axis: int | None = None, *, opset: int) -> Tensor:
    return _over_axis(functional.log_softmax, x, axis, opset)


def _over_axis(function: Callable[..., Tensor], x: Tensor, axis: int | None, opset: int) -> Tensor:
    """Before opset 13 all axes from this one on count as one, by default from the second."""
    if opset >= 13:
        return function(x, dim=-1 if axis is None else axis)
    first = (1 if axis is None else axis) % x.ndim
    return function(x.flatten(first), dim=-1).view(x.shape) if first else function(x.flatten(), dim=0).view(x.shape)


@operator("LpNormalization")
def _lp_normalization(x: Tensor, axis: int = -1, p: int = 2) -> Tensor:
    norm = x.norm(p=p, dim=axis, keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(x), x / norm)


@operator("TopK")
def _top_k(
    x: Tensor, given: Tensor | None = None, *, k: int | None = None, axis: int = -1, largest: int = 1, sorted: int = 1
) -> tuple[Tensor, Tensor]:
    values, indices = torch.topk(x, whole_numbers(given)[0] if k is None else k, axis, bool(largest), bool(sorted))
    return values, indices


# ------------------------------------------------------------------------------------------------------------- shapes


@operator("Shape")
def _shape(x: Tensor, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(x.shape[start:end], dtype=torch.int64)


@operator("Size")
def _size(x: Tensor) -> Tensor:
    return torch.tensor(x.numel())


@operator("Reshape")
def _reshape(
    x: Tensor, given: Tensor | None = None, *, shape: Sequence[int] | None = None, allowzero: int = 0
) -> Tensor:
    sizes = whole_numbers(given if shape is None else shape)
    if not allowzero:
        sizes = [x.shape[place] if size == 0 else size for place, size in enumerate(sizes)]
    return torch.reshape(x, sizes)


@operator("Flatten")
def _flatten(x: Tensor, axis: int = 1) -> Tensor:
    rows = math.prod(x.shape[: axis % x.ndim if axis < 0 else axis])
    return x.reshape(rows, -1) if rows else x.reshape(rows, math.prod(x.shape[axis:]))


@operator("Squeeze")
def _squeeze(x: Tensor, given: Tensor | None = None, *, axes: Sequence[int] | None = None) -> Tensor:
    over = whole_numbers(given if axes is None else axes)
    return x.squeeze(tuple(over)) if over else x.squeeze()


@operator("Unsqueeze")
def _unsqueeze(x: Tensor, given: Tensor | None = None, *, axes: Sequence[int] | None = None) -> Tensor:
    places = whole_numbers(given if axes is None else axes)
    for place in sorted(place % (x.ndim + len(places)) for place in places):
        x = x.unsqueeze(place)
    return x


@operator("Transpose")
def _transpose(x: Tensor, perm: Sequence[int] | None = None) -> Tensor:
    return x.permute(*(perm or reversed(range(x.ndim))))


@operator("Expand")
def _expand(x: Tensor, shape: Tensor) -> Tensor:
    return x.broadcast_to(torch.broadcast_shapes(x.shape, tuple(whole_numbers(shape))))


@operator("Tile")
def _tile(x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(*whole_numbers(repeats))


@operator("Concat")
def _concat(*given: Tensor, axis: int = 1) -> Tensor:
    """A constant for one image (the class token of a file made for a batch of one) is repeated for each of several."""
    images = max(x.shape[0] for x in given) if given[0].ndim else 1
    if axis % given[0].ndim:
        given = tuple(x.expand(images, *x.shape[1:]) if x.shape[0] == 1 else x for x in given)
    where = next((x for x in given if x.device.type != "cpu"), given[0])
    return torch.cat([on_device_of(x, where) for x in given], axis)


@operator("Split")
def _split(
    x: Tensor,
    given: Tensor | None = None,
    *,
    axis: int = 0,
    split: Sequence[int] | None = None,
    num_outputs: int | None = None,
    outputs: int,
) -> tuple[Tensor, ...]:
    sizes = whole_numbers(given if split is None else split)
    if not sizes:
        each = -(-x.shape[axis] // (num_outputs or outputs))
        return torch.split(x, each, axis)
    return torch.split(x, sizes, axis)


@operator("Slice")
def _slice(x: Tensor, *given: Tensor | None, **attributes: Any) -> Tensor:
    names = ("starts", "ends", "axes", "steps")
    ask = dict(zip(names, given, strict=False)) if given else attributes
    starts, ends, axes, steps = (whole_numbers(ask.get(name)) for name in names)
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis, step = (axes[place] if axes else place) % x.ndim, steps[place] if steps else 1
        picked = range(*slice(start, end if step > 0 or end >= -x.shape[axis] else None, step).indices(x.shape[axis]))
        if step > 0:
            x = x[(slice(None),) * axis + (slice(picked.start, picked.stop, step),)]
        else:
            x = x.index_select(axis, torch.tensor(list(picked), dtype=torch.int64, device=x.device))
    return x


@operator("Gather")
def _gather(x: Tensor, indices: Tensor, axis: int = 0) -> Tensor:
    wanted = on_device_of(indices, x).long() % x.shape[axis]
    found = x.index_select(axis, wanted.flatten())
    axis %= x.ndim
    return found.reshape((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


@operator("GatherElements")
def _gather_elements(x: Tensor, indices: Tensor, axis: int = 0) -> Tensor:
    return x.gather(axis, on_device_of(indices, x).long() % x.shape[axis])


@operator("ConstantOfShape")
def _constant_of_shape(shape: Tensor, value: Tensor | None = None) -> Tensor:
    value = torch.zeros(1) if value is None else value
    return value.reshape(()).repeat(whole_numbers(shape)) if shape.numel() else value.reshape(())


@operator("Range")
def _range(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


@operator("Trilu")
def _trilu(x: Tensor, k: Tensor | None = None, upper: int = 1) -> Tensor:
    diagonal = 0 if k is None else int(k)
    return x.triu(diagonal) if upper else x.tril(diagonal)


@operator("DepthToSpace")
def _depth_to_space(x: Tensor, blocksize: int, mode: str = "DCR") -> Tensor:
    n, c, h, w = x.shape
    if mode == "CRD":
        return functional.pixel_shuffle(x, blocksize)
    apart = x.reshape(n, blocksize, blocksize, c // blocksize**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return apart.reshape(n, c // blocksize**2, h * blocksize, w * blocksize)


@operator("SpaceToDepth")
def _space_to_depth(x: Tensor, blocksize: int, mode: str = "DCR") -> Tensor:
    if mode == "CRD":
        return functional.pixel_unshuffle(x, blocksize)
    n, c, h, w = x.shape
    apart = x.reshape(n, c, h // blocksize, blocksize, w // blocksize, blocksize).permute(0, 3, 5, 1, 2, 4)
    return apart.reshape(n, c * blocksize**2, h // blocksize, w // blocksize)


@operator("Pad")
def _pad(
    x: Tensor,
    given: Tensor | None = None,
    constant: Tensor | None = None,
    axes: Tensor | None = None,
    *,
    pads: Sequence[int] | None = None,
    paddings: Sequence[int] | None = None,
    mode: str = "constant",
    value: float = 0.0,
) -> Tensor:
    both = whole_numbers(given if given is not None else pads or paddings)
    half = len(both) // 2
    over = [axis % x.ndim for axis in whole_numbers(axes)] or list(range(half))
    pairs = dict(zip(over, zip(both[:half], both[half:], strict=True), strict=True))
    if mode == "constant":
        flat = [pad for axis in reversed(range(x.ndim)) for pad in pairs.get(axis, (0, 0))]
        return functional.pad(x, flat, value=value if constant is None else constant.item())
    for axis, (before, behind) in pairs.items():
        x = x.index_select(axis, _mirrored(x.shape[axis], before, behind, mode).to(x.device))
    return x


def _mirrored(size: int, before: int, behind: int, mode: str) -> Tensor:
    """Which of an axis' places stand where once it is padded by reflection, by its edge, or round and round."""
    at = torch.arange(-before, size + behind)
    if mode == "edge":
        return at.clamp(0, size - 1)
    if mode == "wrap":
        return at % size
    if mode != "reflect":
        raise UnknownOperatorError(f"Pad in mode {mode!r}")
    period = max(2 * (size - 1), 1)
    return (at % period).minimum(period - at % period) if size > 1 else at * 0
