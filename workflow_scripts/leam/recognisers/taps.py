"""What a network's layers give while it embeds pictures, so that gradients lead to them.

Shape letters: b images of a batch, D embedding size, C channels, h, w a layer's map.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from leam.methods import INPUT, Activated, Place
from leam.recognisers.adaptation import form_of
from leam.recognisers.graphs import Mark, find_modules
from leam.recognisers.registry import ModelError

MORE_THAN_ONCE = (
    "layer {!r} runs more than once per image; LEAM needs one output per layer. A network that also embeds the "
    "mirrored picture and adds both up has to be given without that"
)


class Taps:
    """What stands at chosen places while a network runs: layers' outputs, what activation functions make of them, or
    the INPUT itself.

    A context manager, so hooks are always removed. The network goes on with a copy of each recorded output: an
    in-place activation after it, of whatever kind, cannot overwrite it. Where no gradient reaches a layer from below
    (parameters are frozen), the graph starts there.
    """

    def __init__(self, network: nn.Module, places: tuple[Place, ...]):
        """places : those after activation functions are marked in the network (``graphs.mark_places``)."""
        self.network, self.places = network, places
        self.inside = tuple(place for place in places if place != INPUT)
        self._recorded: dict[Place, Tensor] = {}
        self._running = False  # the network may be used for other things meanwhile, whose outputs are not recorded
        self._handles: list = []

    def __enter__(self) -> "Taps":
        for place, module in find_modules(self.network, self.inside).items():
            self._handles.append(module.register_forward_hook(self._recorder(place)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._recorded.clear()

    def _recorder(self, place: Place) -> Callable:
        layer = place.layer if isinstance(place, Activated) else place
        form = form_of(self.network, layer)

        def record(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
            if not self._running:
                return output
            if place in self._recorded:
                raise ModelError(MORE_THAN_ONCE.format(place))
            if not isinstance(output, Tensor):
                raise ModelError(f"layer {layer!r} gives a {type(output).__name__}; expected one tensor")
            if any(output is given for given in inputs) and not isinstance(module, Mark):
                output = output.clone()  # what it hands on as it came goes round it too
            maps = form.maps(output, layer) if form else output
            self._recorded[place] = maps if maps.requires_grad else maps.detach().requires_grad_()
            copied = self._recorded[place].clone()
            return form.output(copied, output) if form else copied

        return record

    def run(self, x: Tensor) -> tuple[Tensor, dict[Place, Tensor]]:
        """Embeddings (b, D) of a batch, and what was recorded, {place: (b, C, h, w)}, in the order of ``places``."""
        self._recorded.clear()
        if INPUT in self.places:
            self._recorded[INPUT] = x.detach().requires_grad_()
            x = self._recorded[INPUT].clone()  # some normalise it in place
        self._running = True
        try:
            with torch.enable_grad():
                embeddings = self.network(x)
        finally:
            self._running = False
        for place in self.inside:
            if place not in self._recorded:
                raise ModelError(f"layer {place!r} does not run when an image is embedded")
            if self._recorded[place].ndim != 4:
                raise ModelError(no_maps(place, self._recorded[place]))
        return embeddings, {place: self._recorded[place] for place in self.places}


def no_maps(place: Place, output: Tensor) -> str:
    """What is said of a layer whose output is no map, with the setting that makes it one where it looks like tokens."""
    found = tuple(output.shape)
    said = f"layer {place!r} gives {found}; expected (N, C, h, w)"
    if output.ndim != 3:
        return said
    side = int(found[1] ** 0.5)
    skip = found[1] - side * side
    lie = f"{{skip: {skip}, size: [{side}, {side}]}}"
    layer = place.layer if isinstance(place, Activated) else place
    return f"{said}; if these are tokens, say how they lie: reshape: {{{layer}: {lie}}}"


def no_part(places: Iterable[Place]) -> str:
    """What is said of layers that no gradient reaches."""
    return f"layer {', '.join(map(repr, places))} does not lead to the embedding, so no gradient reaches it"
