"""An ONNX graph as a PyTorch network, one module per node.

The graph is run once with a made-up picture while it is built. So what depends on no picture is computed there and
then, and what was written down for a batch of one (the shapes of an exporter that fixed it) is written for any.
Nothing that a file is called by, or says, becomes part of the network: modules are n0, n1, ..., and a table of names
leads back.

Shape letters: N images, D embedding size.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import getitem
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, fx, nn

from leam.recognisers import onnx_windows  # noqa: F401  # enters its operators
from leam.recognisers.onnx_modules import module_of
from leam.recognisers.onnx_operators import DTYPES, OPERATORS, UnknownOperatorError

OURS = ("", "ai.onnx")  # the domain of ONNX's own operators
TAKES_OPSET = ("GroupNormalization", "LogSoftmax", "Resize", "Softmax")  # whose meaning changed, their attributes not
TAKES_OUTPUTS = ("Attention", "MaxPool", "Split")  # that need to know how many outputs are asked for


class Operator(nn.Module):
    """One step of a kind that is no module of PyTorch's own: a function, with what is known of its inputs.

    inputs : what stands at each; None where the network brings it, or where it is left out
    brought : the places among them that the network brings, in order
    Constants with a fraction go where the network goes; whole numbers say shapes and places, and stay on the CPU.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        inputs: Sequence[Tensor | None],
        brought: Sequence[int],
        attributes: dict[str, Any],
    ):
        super().__init__()
        self.function, self.attributes, self.brought = function, attributes, tuple(brought)
        constants = {place: x for place, x in enumerate(inputs) if x is not None}
        self._whole = {place: x for place, x in constants.items() if not x.is_floating_point()}
        self._weights = {place: f"constant{place}" for place in constants if place not in self._whole}
        for place, name in self._weights.items():
            self.register_buffer(name, constants[place])
        self._inputs = len(inputs)

    def forward(self, *given: Tensor) -> Any:
        known = self._whole | {place: getattr(self, name) for place, name in self._weights.items()}
        known |= dict(zip(self.brought, given, strict=True))
        return self.function(*(known.get(place) for place in range(self._inputs)), **self.attributes)


@dataclass
class Built:
    """A network (N, 3, h, w) -> its outputs, a tuple; of_node: {index of a node in the file: name of its module}."""

    network: fx.GraphModule
    outputs: tuple[Tensor, ...]  # of the made-up picture
    of_node: dict[int, str]


@dataclass
class _Build:
    """What is known of each value of the file while its nodes are walked through."""

    opset: int
    images: int  # in a batch that the file was made for, or 0: any
    root: nn.Module = field(default_factory=nn.Module)
    graph: fx.Graph = field(default_factory=fx.Graph)
    modules: int = 0  # in ``root``
    constants: dict[str, Tensor] = field(default_factory=dict)
    nodes: dict[str, fx.Node] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)  # what each node of ``nodes`` gives for the picture
    sizes: set[str] = field(default_factory=set)  # those of ``nodes`` that follow from the picture's size alone


def build(model: onnx.ModelProto, picture: Tensor, channels_last: bool, images: int) -> Built:
    """The network of a file that has one input.

    picture : (N, 3, h, w), what the graph is run with; channels_last : the file takes (N, h, w, 3)
    images : in a batch that the file was made for, or 0 for any
    Raises UnknownOperatorError, and whatever PyTorch raises for an input that does not fit.
    """
    weights = {tensor.name: to_tensor(tensor) for tensor in model.graph.initializer}
    opset = next((entry.version for entry in model.opset_import if entry.domain in OURS), 1)
    made = _Build(opset, images, constants=weights)
    (value,) = (value.name for value in model.graph.input if value.name not in weights)
    made.nodes[value], made.found[value] = made.graph.placeholder("x"), picture
    if channels_last:
        made.nodes[value] = made.graph.call_method("permute", (made.nodes[value], 0, 2, 3, 1))
        made.found[value] = picture.permute(0, 2, 3, 1)
    with torch.no_grad():
        names = [_add(made, node) for node in model.graph.node]
    outputs = [value.name for value in model.graph.output]
    if unreached := [name for name in outputs if name not in made.nodes]:
        raise UnknownOperatorError(f"an output ({unreached[0]!r}) that does not depend on the picture")
    made.graph.output(tuple(made.nodes[name] for name in outputs))
    network = fx.GraphModule(made.root, made.graph).eval().requires_grad_(False)
    of_node = {place: name for place, name in enumerate(names) if name}
    return Built(network, tuple(made.found[name] for name in outputs), of_node)


def keep_output(built: Built, place: int) -> None:
    """Let the network give this output alone, as (N, D) where it is a list of numbers per image."""
    graph, output = built.network.graph, next(iter(reversed(built.network.graph.nodes)))
    kept = output.args[0][place]
    if built.outputs[place].ndim > 2 and math.prod(built.outputs[place].shape[2:]) == 1:
        with graph.inserting_before(output):
            kept = graph.call_method("flatten", (kept, 1))
    output.args = (kept,)
    graph.eliminate_dead_code()
    built.network.delete_all_unused_submodules()
    built.network.recompile()


def to_tensor(tensor: onnx.TensorProto) -> Tensor:
    """A constant of a file; halves are widened."""
    if tensor.data_type not in DTYPES:
        raise UnknownOperatorError(f"numbers of type {onnx.TensorProto.DataType.Name(tensor.data_type)}")
    return torch.from_numpy(numpy_helper.to_array(tensor).copy()).to(DTYPES[tensor.data_type])


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    values = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            value = to_tensor(value)
        values[attribute.name] = value.decode(errors="replace") if isinstance(value, bytes) else value
    return values


def _constant(attribute: Any) -> Tensor:
    value = attribute if isinstance(attribute, Tensor) else torch.tensor(attribute)
    return value.float() if value.dtype == torch.float64 and not isinstance(attribute, Tensor) else value


def _add(made: _Build, node: onnx.NodeProto) -> str | None:
    """Take in one node; the name of its module, or None where it has none."""
    known = node.domain in OURS and (node.op_type in OPERATORS or node.op_type in ("Constant", "If"))
    if not known:
        of = "" if node.domain in OURS else f" of {node.domain[:60]!r}"
        raise UnknownOperatorError(f"the operator {node.op_type[:60]!r}{of}")
    if node.op_type == "If":
        _add_branch(made, node)
        return None
    attributes, names = _attributes(node), list(node.input)
    if node.op_type == "Constant":
        made.constants[node.output[0]] = _constant(*attributes.values())
        return None
    while names and not names[-1]:
        names.pop()
    attributes |= {"opset": made.opset} if node.op_type in TAKES_OPSET else {}
    attributes |= {"outputs": len(node.output)} if node.op_type in TAKES_OUTPUTS else {}
    brought = [index for index, name in enumerate(names) if name in made.nodes]
    constants = [None if not name or name in made.nodes else made.constants[name] for name in names]
    if not brought:
        _keep(made.constants, node, OPERATORS[node.op_type](*constants, **attributes))
        return None
    return _add_module(made, node, [names[index] for index in brought], constants, brought, attributes)


def _add_module(
    made: _Build,
    node: onnx.NodeProto,
    names: list[str],
    constants: list[Tensor | None],
    brought: list[int],
    attributes: dict[str, Any],
) -> str:
    """A step that depends on the picture, by values of these names."""
    given = [made.found[name] for name in names]
    module = _module(made, node.op_type, given, constants, brought, attributes)
    name = f"n{made.modules}"
    made.modules += 1
    made.root.add_module(name, module)
    step = made.graph.call_module(name, tuple(made.nodes[name] for name in names))
    result = module(*given)
    several = isinstance(result, tuple)
    _keep(made.found, node, result)
    steps = tuple(made.graph.call_function(getitem, (step, index)) for index in range(len(result))) if several else step
    _keep(made.nodes, node, steps)
    if node.op_type in ("Shape", "Size") or made.sizes.issuperset(names):
        made.sizes.update(node.output)
    return name


def _add_branch(made: _Build, node: onnx.NodeProto) -> None:
    """Of an If that asks for the size of things, as exporters write to be safe, the branch that is taken."""
    (asked,) = node.input
    if asked in made.nodes and asked not in made.sizes:
        raise UnknownOperatorError("a branch that depends on what is in the picture")
    answer = made.found[asked] if asked in made.nodes else made.constants[asked]
    wanted = "then_branch" if bool(answer) else "else_branch"
    (branch,) = (attribute.g for attribute in node.attribute if attribute.name == wanted)
    made.constants |= {tensor.name: to_tensor(tensor) for tensor in branch.initializer}
    for inner in branch.node:
        _add(made, inner)
    for name, value in zip(node.output, branch.output, strict=True):
        if value.name in made.nodes:
            made.nodes[name], made.found[name] = made.nodes[value.name], made.found[value.name]
        else:
            made.constants[name] = made.constants[value.name]
        if value.name in made.sizes:
            made.sizes.add(name)


def _keep(values: dict[str, Any], node: onnx.NodeProto, result: Any) -> None:
    """Enter what a node gives under the names of its outputs."""
    for name, value in zip(node.output, result if isinstance(result, tuple) else (result,), strict=False):
        if name:
            values[name] = value


def _module(
    made: _Build,
    name: str,
    given: list[Tensor],
    constants: list[Tensor | None],
    brought: list[int],
    attributes: dict[str, Any],
) -> nn.Module:
    if brought == [0]:
        module = module_of(name, given[0], constants[1:], attributes)
        if module is not None:
            return module.eval()
    function = OPERATORS[name]
    if brought == [0] and (written_for := _for_any_batch(made, name, given[0], constants[1:], attributes)):
        return Operator(written_for, [None], brought, {})
    return Operator(function, constants, brought, attributes)


def _for_any_batch(
    made: _Build, name: str, x: Tensor, constants: list[Tensor | None], attributes: dict[str, Any]
) -> Callable[[Tensor], Tensor] | None:
    """A change of shape that leaves the number of images open, where the file states the one it was made for.

    Images stand outermost in memory wherever a file keeps them apart, so what else there is along the first axis is
    counted with them.
    """
    if name == "Squeeze" and not constants and "axes" not in attributes:
        return functools.partial(torch.squeeze, dim=tuple(axis for axis in range(1, x.ndim) if x.shape[axis] == 1))
    if not made.images or name not in ("Reshape", "Expand"):
        return None
    rest = OPERATORS[name](x, *constants, **attributes).shape[1:]
    if name == "Reshape":
        return functools.partial(torch.reshape, shape=(-1, *rest))
    return functools.partial(torch.broadcast_to, size=(-1, *rest)) if x.ndim == len(rest) + 1 else None
