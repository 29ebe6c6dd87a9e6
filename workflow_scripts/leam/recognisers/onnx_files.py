"""ONNX files as PyTorch networks, and the names that a file gives to its layers.

onnx2torch makes a ``torch.fx`` graph, and that writes the names of nodes, unescaped, into Python source and runs it: a
name could be a program. So every name is replaced by a number before the conversion, and a table leads back.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from leam.recognisers.registry import ModelError, Recogniser, existing_weights

if TYPE_CHECKING:
    import onnx
    from torch import nn

TABLE = "names_in_file"  # attribute of a network: {name of a layer in the file: of its module}


def read_onnx(recogniser: Recogniser) -> "nn.Module":
    """The network of an ONNX file, with the table of its layers' names (``module_names``).

    Raises ModelError for a file that is damaged, keeps its weights in other files, branches, or has a node that
    onnx2torch does not know.
    """
    import onnx
    import onnx2torch

    if not recogniser.weights:
        raise ModelError(f"recogniser {recogniser.name}: architecture onnx needs weights: the path of the .onnx file")
    path = existing_weights(recogniser)
    try:
        model = onnx.load(path, load_external_data=False)
        _refuse(model, path)
        table = number_names(_without_identities(model))
        network = onnx2torch.convert(model)
    except ModelError as error:
        raise ModelError(f"recogniser {recogniser.name}: {error}") from None
    except Exception as error:  # a damaged file, or a node that onnx2torch does not know, ends in almost any error
        reason = " ".join(str(error).split()).encode("unicode_escape").decode()
        raise ModelError(
            f"recogniser {recogniser.name}: {recogniser.weights} cannot be turned into a PyTorch network: "
            f"{type(error).__name__}: {reason[:300]}"
        ) from error
    setattr(network, TABLE, table)
    return network


def module_names(network: "nn.Module") -> dict[str, str]:
    """{name of a layer in the ONNX file: name of its module}; {} of a network that is of no such file."""
    return getattr(network, TABLE, {})


def take_over_names(network: "nn.Module", copy: "nn.Module") -> None:
    """Give a copy of a network, whose modules have the same names, its table too."""
    if table := module_names(network):
        setattr(copy, TABLE, table)


def _refuse(model: "onnx.ModelProto", path: Path) -> None:
    """What would be read from elsewhere than the file whose SHA-256 is known, and what no graph of steps can be."""
    import onnx

    tensors = [*model.graph.initializer]
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
                raise ModelError(
                    f"{path} branches or loops (node {node.op_type!r}); expected one way from image to embedding"
                )
            tensors += [attribute.t, *attribute.tensors]
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data for tensor in tensors):
        raise ModelError(
            f"{path} keeps weights in other files, which its SHA-256 says nothing of; save it as one: "
            f"onnx.save(onnx.load(path), other_path)"
        )


def number_names(model: "onnx.ModelProto") -> dict[str, str]:
    """Replace the names of all nodes and values, in place, by n0, n1, ... and v0, v1, ...

    Returns {name of a node, as onnx2torch would write it: its new one}. Notes and unused entries of the file go.
    """
    from onnx2torch.onnx_graph import OnnxGraph

    graph = model.graph
    names = list(OnnxGraph(graph).nodes)
    for field in ("value_info", "metadata_props", "quantization_annotation"):
        graph.ClearField(field)
    values = {"": ""}  # an input that is left out

    def number(name: str) -> str:
        return values.setdefault(name, f"v{len(values) - 1}")

    for place, node in enumerate(graph.node):
        node.name, node.doc_string = f"n{place}", ""
        node.input[:], node.output[:] = map(number, node.input), map(number, node.output)
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name, value.doc_string = number(value.name), ""
    for sparse in graph.sparse_initializer:
        sparse.values.name = number(sparse.values.name)
    graph.name, graph.doc_string = "graph", ""
    return {name: f"n{place}" for place, name in enumerate(names)}


def _without_identities(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Exporters share equal weights through Identity nodes, which onnx2torch does not follow: give each its own."""
    graph = model.graph
    weights = {weight.name: weight for weight in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Identity" and node.input[0] in weights]:
        copied = graph.initializer.add()
        copied.CopyFrom(weights[node.input[0]])
        copied.name = node.output[0]
        weights[copied.name] = copied
        graph.node.remove(node)
    return model
