"""The same network with fewer steps, for the many backwards of one forward that LEAM takes.

Exact but for rounding, in eval mode and with frozen parameters; in float32 an activation at a ReLU's kink may fall on
its other side, as with any other order of sums. A network that cannot be traced, or a step of another kind, stays as it
is.
"""

import logging
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from leam.embedding import SAME_COSINE, made_up_pictures
from leam.methods import Place
from leam.recognisers.graphs import layers_among, marked_graph
from leam.recognisers.networks import find_layers

log = logging.getLogger(__name__)
Kind = TypeVar("Kind", bound=nn.Module)


def fold_network(
    network: nn.Module,
    places: tuple[Place, ...],
    input_size: tuple[int, int],
    device: torch.device,
    precision: str = "float32",
) -> nn.Module:
    """The network folded, on its device. As it came, if folding changes its embedding.

    With channels last on a CPU, and on a GPU in tf32 and bf16, whose units want them so; in float32 they gain nothing.
    """
    network = network.to(device)
    folded = fold_norms(network, places)
    if folded is not network and not _agree(network, folded, input_size, device):
        log.warning("this network, with fewer steps, gives other embeddings, and stays as it is: does it draw numbers?")
        folded = network
    plain = device.type != "cpu" and precision == "float32"
    return folded if plain else order_channels_last(folded, input_size)


@torch.no_grad()
def _agree(network: nn.Module, folded: nn.Module, input_size: tuple[int, int], device: torch.device) -> bool:
    """Whether both have the same embedding of a made-up picture: tracing runs a forward's Python only once."""
    x = made_up_pictures(1, input_size, device)
    return bool(functional.cosine_similarity(network(x), folded(x)) > SAME_COSINE)


def fold_norms(network: nn.Module, places: tuple[Place, ...]) -> nn.Module:
    """The network with each BatchNorm right behind a convolution folded into it, and the other BatchNorms and PReLUs
    as ``Frozen`` steps.

    What stands at a target, one of ``places``, stays what it is: nothing is folded into it, and it into nothing.
    Raises ModelError for a layer that has no such place.
    """
    kept = {id(module) for module in find_layers(network, layers_among(places)).values()}
    traced = marked_graph(network, places)
    if traced is None:
        return network
    _fold_into_convolutions(traced, kept)
    _freeze(traced, kept)
    traced.recompile()
    return traced.eval().requires_grad_(False)


def _fold_into_convolutions(traced: fx.GraphModule, kept: set[int]) -> None:
    convolutions = _calls(traced, nn.Conv2d)
    for node, norm in _calls(traced, nn.BatchNorm2d).items():
        (source,) = node.all_input_nodes
        if source in convolutions and _is_alone(traced, source, kept) and id(norm) not in kept:
            convolutions[source] = fuse_conv_bn_eval(convolutions[source], norm)
            _replace(traced, source, convolutions[source])
            _drop(traced, node)


def _freeze(traced: fx.GraphModule, kept: set[int]) -> None:
    norms = _calls(traced, nn.BatchNorm2d)
    for node, prelu in _calls(traced, nn.PReLU).items():
        (source,) = node.all_input_nodes
        if source in norms and _is_alone(traced, source, kept) and _runs(traced, node) == 1:
            _replace(traced, node, Frozen(norms[source], prelu))
            _drop(traced, source)
    for node, norm in _calls(traced, nn.BatchNorm2d).items():
        _replace(traced, node, Frozen(norm=norm))
    for node, prelu in _calls(traced, nn.PReLU).items():
        _replace(traced, node, Frozen(prelu=prelu))


def _calls(traced: fx.GraphModule, kind: type[Kind]) -> dict[fx.Node, Kind]:
    """Where the graph runs a module of this very kind, on statistics of its own if it takes any, and that module."""
    modules = dict(traced.named_modules())
    calls = ((node, modules[node.target]) for node in traced.graph.nodes if node.op == "call_module")
    return {
        node: module for node, module in calls if type(module) is kind and getattr(module, "track_running_stats", True)
    }


def _replace(traced: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    """Let the node run another module, and every node that runs the same one."""
    traced.set_submodule(str(node.target), module)


def _runs(traced: fx.GraphModule, node: fx.Node) -> int:
    return sum(other.op == "call_module" and other.target == node.target for other in traced.graph.nodes)


def _is_alone(traced: fx.GraphModule, node: fx.Node, kept: set[int]) -> bool:
    """Whether the node's module is no target and runs once, and one step alone takes its output."""
    return _runs(traced, node) == len(node.users) == 1 and id(traced.get_submodule(str(node.target))) not in kept


def _drop(traced: fx.GraphModule, node: fx.Node) -> None:
    (source,) = node.all_input_nodes
    node.replace_all_uses_with(source)
    traced.graph.erase_node(node)


class Frozen(nn.Module):
    """A BatchNorm, a PReLU or one behind the other, whose backward is one product per number.

    PyTorch's own backwards of both also add up the gradients of their parameters, whether or not anyone asked.
    """

    def __init__(self, norm: nn.BatchNorm2d | None = None, prelu: nn.PReLU | None = None):
        super().__init__()
        self.norm, self.prelu = norm, prelu
        self.function = functional.prelu if prelu else functional.batch_norm  # the step that it is: see graphs

    def forward(self, x: Tensor) -> Tensor:
        return _Frozen.apply(x, self.norm, self.prelu)


class _Frozen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: nn.BatchNorm2d | None, prelu: nn.PReLU | None) -> Tensor:
        y = norm(x) if norm else x
        if ctx.needs_input_grad[0]:
            slope = _per_channel(_scale(norm), y) if norm else y.new_ones(())
            ctx.save_for_backward(torch.where(y > 0, slope, slope * _per_channel(prelu.weight, y)) if prelu else slope)
        return prelu(y) if prelu else y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return gradient * slope, None, None


def _scale(norm: nn.BatchNorm2d) -> Tensor:
    scale = torch.rsqrt(norm.get_buffer("running_var") + norm.eps)
    return scale * norm.weight if norm.affine else scale


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    """(C,) or (1,) -> (C, 1, 1) or (1, 1, 1), of the type of x (N, C, h, w)."""
    return values.to(x.dtype).view(-1, *(1,) * (x.ndim - 2))


def order_channels_last(network: nn.Module, input_size: tuple[int, int]) -> nn.Module:
    """The same network with the channels of a pixel side by side in memory, which makes convolutions quicker.

    On a CPU above all strided and narrow ones, backwards: up to twice. A network that insists on the usual order (it
    calls ``view`` on a convolution's output, say) keeps it.
    """

    def order(memory_format: torch.memory_format) -> None:
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=memory_format)

    order(torch.channels_last)
    device = next((parameter.device for parameter in network.parameters()), None)
    try:
        with torch.no_grad():
            network(torch.zeros(2, 3, *input_size, device=device))
    except RuntimeError:
        order(torch.contiguous_format)
    return network
