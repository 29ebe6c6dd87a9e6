"""What a network's layers give while it embeds pictures, so that gradients lead to them.

Shape letters: b images of a batch, D embedding size, C channels, h, w a layer's map.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from leam.methods import INPUT
from leam.recognisers.adaptation import form_of
from leam.recognisers.networks import find_layers
from leam.recognisers.registry import ModelError

MORE_THAN_ONCE = (
    "layer {!r} runs more than once per image; LEAM needs one output per layer. A network that also embeds the "
    "mirrored picture and adds both up has to be given without that"
)


class Taps:
    """What stands at chosen places while a network runs: layers' outputs, or the INPUT itself.

    A context manager, so hooks are always removed. The network goes on with a copy of each recorded output: an
    in-place activation after it, of whatever kind, cannot overwrite it. Where no gradient reaches a layer from below
    (parameters are frozen), the graph starts there.
    """

    def __init__(self, network: nn.Module, places: tuple[str, ...]):
        self.network, self.places = network, places
        self.layers = tuple(place for place in places if place != INPUT)
        self._recorded: dict[str, Tensor] = {}
        self._running = False  # the network may be used for other things meanwhile, whose outputs are not recorded
        self._handles: list = []

    def __enter__(self) -> "Taps":
        for layer, module in find_layers(self.network, self.layers).items():
            self._handles.append(module.register_forward_hook(self._recorder(layer)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._recorded.clear()

    def _recorder(self, layer: str) -> Callable:
        form = form_of(self.network, layer)

        def record(_module: nn.Module, _inputs: tuple, output: Tensor) -> Tensor:
            if not self._running:
                return output
            if layer in self._recorded:
                raise ModelError(MORE_THAN_ONCE.format(layer))
            if not isinstance(output, Tensor):
                raise ModelError(f"layer {layer!r} gives a {type(output).__name__}; expected one tensor")
            maps = form.maps(output, layer) if form else output
            self._recorded[layer] = maps if maps.requires_grad else maps.detach().requires_grad_()
            copied = self._recorded[layer].clone()
            return form.output(copied, output) if form else copied

        return record

    def run(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Embeddings (b, D) of a batch, and what was recorded, {place: (b, C, h, w)}, in the order of ``places``."""
        self._recorded.clear()
        if INPUT in self.places:
            x = self._recorded[INPUT] = x.detach().requires_grad_()
        self._running = True
        try:
            with torch.enable_grad():
                embeddings = self.network(x)
        finally:
            self._running = False
        for layer in self.layers:
            if layer not in self._recorded:
                raise ModelError(f"layer {layer!r} does not run when an image is embedded")
            if self._recorded[layer].ndim != 4:
                raise ModelError(no_maps(layer, self._recorded[layer]))
        return embeddings, {place: self._recorded[place] for place in self.places}


def no_maps(layer: str, output: Tensor) -> str:
    """What is said of a layer whose output is no map, with the setting that makes it one where it looks like tokens."""
    found = tuple(output.shape)
    said = f"layer {layer!r} gives {found}; expected (N, C, h, w)"
    if output.ndim != 3:
        return said
    side = int(found[1] ** 0.5)
    skip = found[1] - side * side
    lie = f"{{skip: {skip}, size: [{side}, {side}]}}"
    return f"{said}; if these are tokens, say how they lie: reshape: {{{layer}: {lie}}}"


def no_part(layers: Iterable[str]) -> str:
    """What is said of layers that no gradient reaches."""
    return f"layer {', '.join(map(repr, layers))} does not lead to the embedding, so no gradient reaches it"
