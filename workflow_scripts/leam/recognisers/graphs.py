"""The steps of a network as a graph, and places in it that no module of the network gives by itself.

A block's output, or what an activation function makes of a layer's output, is marked by a step that changes nothing. So
it can be looked at in a network whose blocks are gone since it was folded, and where the activation is a function and
no module.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, fx, nn

from leam.methods import INPUT, Activated, Place
from leam.recognisers.adaptation import take_over
from leam.recognisers.networks import find_layers
from leam.recognisers.registry import ModelError

MARKS = "marks"  # attribute of a network: {place: name of the module that marks it}
ACTIVATIONS = {
    *("relu", "relu6", "prelu", "rrelu", "leakyrelu", "thresholdedrelu", "elu", "celu", "selu", "gelu", "silu", "mish"),
    *("hardswish", "hardsigmoid", "hardtanh", "softplus", "softsign", "sigmoid", "logsigmoid", "tanh", "clip", "clamp"),
}
PASSED = {  # steps that belong to the layer before them; a sum is what a residual block gives
    *("batchnorm", "batchnorm2d", "instancenorm", "instancenorm2d", "groupnorm", "dropout", "dropout2d"),
    *("identity", "same", "contiguous", "clone", "add", "iadd"),
}
SCALED = {"mul", "imul", "div", "truediv"}  # likewise, by a number


def layers_among(places: Iterable[Place]) -> tuple[str, ...]:
    """The places that are layers' own outputs."""
    return tuple(place for place in places if isinstance(place, str) and place != INPUT)


def find_modules(network: nn.Module, places: tuple[Place, ...]) -> dict[Place, nn.Module]:
    """The modules that give what stands at these places inside of the network.

    Raises ModelError for a layer that there is not, or that has no activation function of its own behind it.
    """
    found: dict[Place, nn.Module] = {}
    for place in places:
        if name := _marks(network).get(place):
            found[place] = network.get_submodule(name)
        elif isinstance(place, Activated):
            module = find_layers(network, (place.layer,))[place.layer]
            if _plain(type(module)) not in ACTIVATIONS:
                raise ModelError(no_activation([place.layer]))
            found[place] = module
        else:
            found[place] = find_layers(network, (place,))[place]
    return found


def mark_places(network: nn.Module, places: tuple[Place, ...]) -> nn.Module:
    """The network with the places after activation functions marked: itself, where it has them, or cannot be traced.

    Raises ModelError, naming them, for layers that have no activation function of their own behind them.
    """
    if all(isinstance(place, str) or place in _marks(network) for place in places):
        return network
    traced = marked_graph(network, places)
    return network if traced is None else traced.eval().requires_grad_(False)


def activated_layers(network: nn.Module, layers: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the layers that have an activation function of their own behind them."""

    def is_activated(layer: str) -> bool:
        try:
            find_modules(mark_places(network, (Activated(layer),)), (Activated(layer),))
        except ModelError:
            return False
        return True

    find_layers(network, layers)
    return tuple(layer for layer in layers if is_activated(layer))


def no_activation(layers: Iterable[str]) -> str:
    """What is said of layers whose outputs go through no activation function."""
    return (
        f"layer {', '.join(map(repr, layers))} has no activation function of its own behind it, where layercam looks: "
        "take another layer, or the activation function's own module as one"
    )


def marked_graph(network: nn.Module, places: tuple[Place, ...]) -> fx.GraphModule | None:
    """The steps of the network, with the places marked that are blocks' outputs or lie after activation functions.

    None where the network cannot be traced. Raises ModelError, naming them, for layers that have no activation function
    of their own behind them.
    """
    marks = dict(_marks(network))
    wanted = [place for place in places if place != INPUT and place not in marks]
    layers = {place: place.layer if isinstance(place, Activated) else place for place in wanted}
    found = find_layers(network, tuple(layers.values()))
    modules = {place: found[layers[place]] for place in wanted}
    try:
        traced, blocks = _graph_of(network, {id(module) for module in found.values()})
    except Exception:  # control flow that depends on the data ends in any of many errors
        return None
    take_over(network, traced)
    setattr(traced, MARKS, marks)
    nodes = {place: _outputs(traced, blocks, modules[place]) for place in wanted}
    after = {place: _after_activation(traced, nodes[place]) for place in wanted if isinstance(place, Activated)}
    if without := [layers[place] for place, found in after.items() if not found]:
        raise ModelError(no_activation(without))
    for place in wanted:
        if isinstance(place, Activated):
            marks[place] = _mark(traced, after[place])
        elif id(modules[place]) in blocks:
            marks[place] = _mark(traced, nodes[place])
    traced.recompile()
    return traced


def _marks(network: nn.Module) -> dict[Place, str]:
    return getattr(network, MARKS, {})


class _Tracer(fx.Tracer):
    """Puts a step of its own behind each of some blocks, that is modules whose own steps are traced.

    What a block gives may have been there before, as with a shortcut without steps: only what takes it from the block
    takes it from that step.
    """

    def __init__(self, wanted: set[int]) -> None:
        super().__init__()
        self.wanted = wanted  # by id of the module
        self.blocks: dict[int, list[fx.Node]] = {}  # likewise, the steps behind it

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        output = super().call_module(m, forward, args, kwargs)
        if id(m) not in self.wanted or not isinstance(output, fx.Proxy) or self._is_of(output.node, m):
            return output
        behind = self.create_proxy("call_function", same, (output,), {})
        self.blocks.setdefault(id(m), []).append(behind.node)
        return behind

    def _is_of(self, node: fx.Node, module: nn.Module) -> bool:
        return node.op == "call_module" and self.root.get_submodule(str(node.target)) is module


class Mark(nn.Identity):
    """What stands at a place, which all that follows takes from here."""


def same(x: Tensor) -> Tensor:
    """A step that changes nothing, to a tensor of its own."""
    return x.clone()


def _check_names(network: nn.Module) -> None:
    """Raises ValueError for parts whose names are more than letters, digits and underscores: tracing writes them,
    unescaped, into Python source and runs it."""
    parts = (*network.named_modules(), *network.named_parameters(), *network.named_buffers())
    if odd := [name for name, _ in parts if not re.fullmatch(r"[A-Za-z0-9_.]*", name)]:
        raise ValueError(f"a part of the network is called {odd[0]!r}")


def _graph_of(network: nn.Module, wanted: set[int]) -> tuple[fx.GraphModule, dict[int, list[fx.Node]]]:
    """The calls of the network's modules, and what the wanted ones give that are blocks: {id of the block: the steps
    that give it, one per run}. What comes as such a graph, as ONNX files do, is not traced but copied, and has no
    blocks."""
    if not isinstance(network, fx.GraphModule):
        _check_names(network)
        tracer = _Tracer(wanted)
        return fx.GraphModule(network, tracer.trace(network)), tracer.blocks
    graph = fx.Graph()
    graph.output(graph.graph_copy(network.graph, {}))
    return fx.GraphModule(network, graph), {}


def _outputs(traced: fx.GraphModule, blocks: dict[int, list[fx.Node]], module: nn.Module) -> list[fx.Node]:
    """The steps that give the module's output, one for each time that it runs."""
    if id(module) in blocks:
        return blocks[id(module)]
    calls = (node for node in traced.graph.nodes if node.op == "call_module")
    return [node for node in calls if traced.get_submodule(str(node.target)) is module]


def _after_activation(traced: fx.GraphModule, nodes: list[fx.Node]) -> list[fx.Node]:
    """Behind each of the steps the activation function that its output goes through, undivided; [] where one has none.

    It may be normalised and added to something on the way, as at the end of a residual block.
    """
    found = []
    for node in nodes:
        while not _is_activation(traced, node):
            step = _step(traced, node)
            passes = node in nodes or step in PASSED or (step in SCALED and len(node.all_input_nodes) == 1)
            if not passes or len(node.users) != 1:
                return []
            (node,) = node.users
        found.append(node)
    return found


def _is_activation(traced: fx.GraphModule, node: fx.Node) -> bool:
    while node.target is same:
        (node,) = node.all_input_nodes
    return _step(traced, node) in ACTIVATIONS


def _step(traced: fx.GraphModule, node: fx.Node) -> str:
    """What kind of step it is, a module, a function or a method: ``relu``, ``batchnorm2d``, ``add``."""
    if node.op == "call_module":
        module = traced.get_submodule(str(node.target))
        return _plain(getattr(module, "function", type(module)))
    return _plain(node.target)


def _plain(step: Any) -> str:
    name = step if isinstance(step, str) else getattr(step, "__name__", "")
    return name.lower().replace("_", "")


def _mark(traced: fx.GraphModule, nodes: list[fx.Node]) -> str:
    """Mark these steps' output, which everything behind then takes; the name of the module that does."""
    name = next(name for number in range(len(traced.graph.nodes) + 1) if not hasattr(traced, name := f"mark{number}"))
    traced.add_submodule(name, Mark())
    for node in nodes:
        with traced.graph.inserting_after(node):
            mark = traced.graph.call_module(name, (node,))
        for user in [user for user in node.users if user is not mark]:
            user.replace_input_with(node, mark)
    return name
