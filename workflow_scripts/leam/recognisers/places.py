"""Places in a recogniser that are called by where they lie: the first, the middle and the last map.

Middle and last are cuts: the embedding knows of the picture only what stands there, nothing goes round them as it goes
round the inside of a residual block. Shape letters: N images, C channels, h, w a map.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from leam.embedding import made_up_pictures
from leam.recognisers.adaptation import form_of
from leam.recognisers.networks import find_layers
from leam.recognisers.onnx_files import module_names
from leam.recognisers.registry import ModelError

FIRST, MIDDLE, LAST = "first", "middle", "last"
MIDDLE_SIDE = 14  # units of the middle map, where there is one like that


def find_places(network: nn.Module, layers: tuple[str, ...], input_size: tuple[int, int]) -> dict[str, str]:
    """{FIRST, MIDDLE, LAST: name of a layer or block}, for a network that is not folded.

    FIRST is the first of ``layers``; LAST the last output (N, C, h, w) of more than one unit; MIDDLE the last output of
    14 x 14 units, or of as near to that as there are. Of a network with reshaped layers, whose other outputs are no
    maps, both are among ``layers``. Raises ModelError when no map is a cut.
    """
    modules = _named(network, layers)
    x = made_up_pictures(1, input_size).to(next(network.parameters(), torch.empty(0)))
    sizes = _sizes(network, modules, x)
    late = list(reversed(sizes))
    near = sorted(late, key=lambda name: abs(math.sqrt(sizes[name]) - MIDDLE_SIDE))  # of equal ones the last
    known: dict[str, bool] = {}

    def is_cut(name: str) -> bool:
        if name not in known:
            known[name] = _is_cut(network, modules[name], x)
        return known[name]

    middle, last = (next(filter(is_cut, names), None) for names in (near, late))
    if middle is None or last is None:
        raise ModelError(
            f"no map has a {MIDDLE} or {LAST} place: something goes round each on its way from the picture to the "
            "embedding; name layers instead"
        )
    return {FIRST: layers[0], MIDDLE: middle, LAST: last}


def _named(network: nn.Module, layers: tuple[str, ...]) -> dict[str, nn.Module]:
    """Every part of the network that a layer's name may mean, under the first of its names."""
    if any(form_of(network, layer) for layer in layers):
        return find_layers(network, layers)
    names = list(module_names(network)) or [name for name, _ in network.named_modules() if name]
    found: dict[int, tuple[str, nn.Module]] = {}
    for name, module in find_layers(network, tuple(names)).items():
        found.setdefault(id(module), (name, module))
    return dict(found.values())


def _sizes(network: nn.Module, modules: dict[str, nn.Module], x: Tensor) -> dict[str, int]:
    """{name: h w of its map}, in the order in which they are done, of those that run once and give one."""
    outputs: dict[str, list[object]] = {}

    def recorder(name: str) -> Callable:
        def record(_module: nn.Module, _inputs: tuple, output: object) -> None:
            outputs.setdefault(name, []).append(output)

        return record

    _run(network, x, {modules[name]: recorder(name) for name in modules})
    found = {}
    for name, given in outputs.items():
        form = form_of(network, name)
        maps = form.maps(given[0], name) if form and isinstance(given[0], Tensor) else given[0]
        if len(given) == 1 and isinstance(maps, Tensor) and maps.ndim == 4 and maps.shape[2:].numel() > 1:
            found[name] = maps.shape[2:].numel()
    return found


def _is_cut(network: nn.Module, module: nn.Module, x: Tensor) -> bool:
    """Whether the embedding depends on the picture through this module's output alone."""
    picture = x.detach().requires_grad_()
    with torch.enable_grad():
        embedding = _run(network, picture.clone(), {module: lambda _module, _inputs, output: output.detach()})
    if not embedding.requires_grad:
        return True
    (gradient,) = torch.autograd.grad(embedding.sum(), picture, allow_unused=True)
    return gradient is None


def _run(network: nn.Module, x: Tensor, hooks: dict[nn.Module, Callable]) -> Tensor:
    handles = [module.register_forward_hook(hook) for module, hook in hooks.items()]
    try:
        return network(x)
    finally:
        for handle in handles:
            handle.remove()
