"""Where the units of a layer lie on the network's input, found by asking the network itself.

The gradient of a unit with respect to the input is zero outside its receptive field, whatever lies in between:
convolutions of any stride, padding and dilation, pooling, an ONNX file, a function of the user's. In a network of
convolutions the fields of neighbouring units are one stride apart, and a unit is placed in the middle of its own.

Shape letters: B images, C channels, h, w a layer's map, H one side of the input.
"""

import logging
from typing import TYPE_CHECKING

from leam.grid import Lattice
from leam.recognisers.networks import find_layers
from leam.recognisers.registry import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from torch import Generator, Tensor, nn

log = logging.getLogger(__name__)
ASKED = 5  # units along an axis: two at each end, and one in the middle
SEED = 0


class _RecordedError(Exception):
    """Everything that was to be recorded is: the rest of the network need not run."""


class NoLatticeError(ModelError):
    """The units of a layer do not see equal fields one stride apart."""


def lattices_where_possible(
    network: "nn.Module", layers: tuple[str, ...], input_size: tuple[int, int]
) -> dict[str, Lattice]:
    """``find_lattices`` of those layers that have one; maps of the others, those near the embedding above all, are then
    stretched over the input, which the log says. Raises ModelError for what is no layer.
    """
    found: dict[str, Lattice] = {}
    for layer in layers:
        try:
            found |= find_lattices(network, (layer,), input_size)
        except NoLatticeError:
            log.info("layer %r has no lattice: its maps are stretched over the input", layer)
    return found


def find_lattices(network: "nn.Module", layers: tuple[str, ...], input_size: tuple[int, int]) -> dict[str, Lattice]:
    """{layer: its lattice}, offset and stride of both axes in pixels of the input, for a network that is on a CPU:
    elsewhere products may be computed by transforms, which leave traces outside of a field.

    Raises NoLatticeError, with the layer's name, when its units do not see equal fields one stride apart: a layer
    behind attention, global pooling or fractional resizing, or so deep that every unit sees the whole input. Of a layer
    with a ``reshape`` units are not asked: they are patches.
    """
    import torch

    from leam.recognisers.adaptation import form_of

    random = torch.Generator().manual_seed(SEED)
    x = torch.randn(ASKED, 3, *input_size, generator=random)
    x = x.to(next(network.parameters(), x)).requires_grad_()
    recorded = _record(network, layers, x)  # as the layers give it
    lattices = {}
    for layer in layers:
        if form := form_of(network, layer):
            sides = form.maps(recorded[layer], layer).shape[2:]
            axes = [_tiles(side, units) for side, units in zip(input_size, sides, strict=True)]
        else:
            axes = [_axis(recorded[layer], x, axis, layer, random) for axis in (0, 1)]
        lattices[layer] = Lattice(*zip(*axes, strict=True))
    return lattices


def _tiles(side: int, units: int) -> tuple[float, float]:
    """Offset and stride of patches that share out a side of the input: a token stays with its own."""
    stride = side / units
    return (stride - 1) / 2, stride


def _record(network: "nn.Module", layers: tuple[str, ...], x: "Tensor") -> dict[str, "Tensor"]:
    """{layer: its output (B, C, h, w)} with the graph that leads back to ``x``."""
    import torch

    recorded, handles = {}, []

    def recorder(layer: str) -> "Callable[[nn.Module, tuple, Tensor], Tensor]":
        def record(_module: "nn.Module", _inputs: tuple, output: "Tensor") -> "Tensor":
            recorded[layer] = output
            if len(recorded) == len(layers):
                raise _RecordedError
            return output.clone()  # what follows may work in place

        return record

    try:
        for layer, module in find_layers(network, layers).items():
            handles.append(module.register_forward_hook(recorder(layer)))
        with torch.enable_grad():
            network(x)
    except _RecordedError:
        return recorded
    finally:
        for handle in handles:
            handle.remove()
    missing = next(layer for layer in layers if layer not in recorded)
    raise ModelError(f"layer {missing!r} does not run when an image is embedded")


def _axis(output: "Tensor", x: "Tensor", axis: int, layer: str, random: "Generator") -> tuple[float, float]:
    """Offset and stride along one axis."""
    import torch

    from leam.recognisers.taps import no_maps

    if output.ndim != 4:
        raise ModelError(no_maps(layer, output))
    units, side = output.shape[2 + axis], x.shape[2 + axis]
    if units == 1:
        return (side - 1) / 2, float(side)
    asked = [0, 1, units // 2, units - 2, units - 1]  # one per image of the batch
    cotangent = torch.zeros_like(output)
    for image, unit in enumerate(asked):
        line = cotangent[image].select(1 + axis, unit)
        line.copy_(torch.randn(line.shape, generator=random))
    (gradient,) = torch.autograd.grad(output, x, cotangent, retain_graph=True)
    seen = (gradient != 0).any(1).any(2 - axis)  # (B, H)
    first = seen.int().argmax(1).cpu().numpy()
    last = side - 1 - seen.flip(1).int().argmax(1).cpu().numpy()
    return fit_lattice(asked, first, last, layer)


def fit_lattice(asked: list[int], first: "np.ndarray", last: "np.ndarray", layer: str) -> tuple[float, float]:
    """Offset and stride of the units ``asked``, whose fields reach from pixel ``first`` to ``last`` of the input.

    Fields are cut off at the first and the last pixel that the layer sees at all, so the edge of a field tells
    something only where it lies between these. Raises NoLatticeError when the fields are not equal and one stride
    apart.
    """
    import numpy as np

    units, ends = np.asarray(asked), []
    whole = np.ptp(last - first) == 0  # no field is cut off
    for edge, inside in ((first, first > first.min()), (last, last < last.max())):
        at = dict(zip(units[inside | whole], edge[inside | whole], strict=True))
        near, far = min(at, default=0), max(at, default=0)
        if len(at) < 2 or at[near] == at[far]:
            raise NoLatticeError(
                f"layer {layer!r} cannot be placed by its receptive field: its units see the input from edge to edge; "
                "take a layer closer to the input, or maps.placement: stretched"
            )
        stride = (at[far] - at[near]) / (far - near)
        ends.append((at[near] - stride * near, stride))
    (low, stride), (high, other) = ends
    expected = np.maximum(low + stride * units, first.min()), np.minimum(high + stride * units, last.max())
    if stride != other or not (np.array_equal(expected[0], first) and np.array_equal(expected[1], last)):
        raise NoLatticeError(
            f"layer {layer!r} cannot be placed by its receptive field: its units' fields are not equal and one stride "
            f"apart (pixels {first.tolist()} to {last.tolist()} for units {asked}); take another layer, or "
            "maps.placement: stretched"
        )
    return float((low + high) / 2), float(stride)
