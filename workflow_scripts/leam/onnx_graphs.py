"""What an ONNX file says of itself, read before anything of it is built or run."""

import mmap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

NO_OTHER_FILES = (
    "keeps weights in other files, which its SHA-256 says nothing of; save it as one: "
    "onnx.save(onnx.load(path), other_path)"
)
VARINT, DELIMITED, FIXED = 0, 2, {1: 8, 5: 4}  # kinds of fields, and the bytes of those of one size
# Where the numbers of weights stand: fields of ModelProto (7: its graph), GraphProto (5: weights), TensorProto (4 to 7,
# 10 and 11 by their types, 9: raw).
WEIGHT_NUMBERS: dict = {7: {5: dict.fromkeys((4, 5, 7, 9, 10, 11))}}


def read_model(path: str | Path) -> "onnx.ModelProto":
    """The file as it is, without weights that lie elsewhere. A damaged one ends in almost any error."""
    import onnx

    return onnx.load(path, load_external_data=False)


def read_outline(path: str | Path) -> "onnx.ModelProto":
    """The file without the numbers of its weights, which are never read: milliseconds and no memory, however large.

    Raises ValueError, or what onnx raises, for a damaged one.
    """
    import onnx

    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return onnx.ModelProto.FromString(_thinned(content, 0, len(content), WEIGHT_NUMBERS))


def _thinned(content: mmap.mmap, place: int, end: int, within: dict) -> bytes:
    """A message of protobuf's wire format without the fields that map to None, those below others likewise."""
    kept = bytearray()
    while place < end:
        start = place
        key, place = _varint(content, place, end)
        field, kind = key >> 3, key & 7
        if kind == VARINT:
            _, place = _varint(content, place, end)
        elif kind in FIXED:
            place += FIXED[kind]
        elif kind == DELIMITED:
            length, inner = _varint(content, place, end)
            place = inner + length
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
        if place > end:
            raise ValueError("it is cut short")
        if field not in within or kind != DELIMITED:
            kept += content[start:place]
        elif within[field]:
            body = _thinned(content, inner, place, within[field])
            kept += _written(key) + _written(len(body)) + body
    return bytes(kept)


def _varint(content: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    """A number written in groups of seven bits, and the place behind it."""
    number = 0
    for shift in range(0, 70, 7):
        if place >= end:
            raise ValueError("it is cut short")
        byte = content[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
    raise ValueError("a number of more than 64 bits")


def _written(number: int) -> bytes:
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    return bytes([*written, number])


def graphs_of(model: "onnx.ModelProto") -> "Iterator[onnx.GraphProto]":
    """The graph of a file, and those within its nodes."""
    graphs = [model.graph]
    while graphs:
        yield (graph := graphs.pop())
        for attribute in _attributes(graph):
            graphs += [attribute.g, *attribute.graphs]


def has_other_files(model: "onnx.ModelProto") -> bool:
    """Whether any weight would be read from another file."""
    import onnx

    return any(
        tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data
        for graph in graphs_of(model)
        for tensor in _tensors(graph)
    )


def _attributes(graph: "onnx.GraphProto") -> "Iterator[onnx.AttributeProto]":
    return (attribute for node in graph.node for attribute in node.attribute)


def _tensors(graph: "onnx.GraphProto") -> "Iterator[onnx.TensorProto]":
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for attribute in _attributes(graph):
        yield from (attribute.t, *attribute.tensors)


def inputs_of(graph: "onnx.GraphProto") -> "list[onnx.ValueInfoProto]":
    """What is to be fed: older files list their weights among the inputs."""
    weights = {weight.name for weight in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def sizes_of(value: "onnx.ValueInfoProto") -> list[int]:
    """The length of each axis, 0 where it is open; [] where the file does not say."""
    return [size.dim_value for size in value.type.tensor_type.shape.dim]


def node_names(graph: "onnx.GraphProto") -> list[str]:
    """What each node is called: by its own name, else its operator's, without a slash in front and with slashes for
    dots; the second of several is name_1."""
    seen: Counter[str] = Counter()
    names = []
    for node in graph.node:
        name = (node.name.replace(".", "/") or node.op_type).lstrip("/")
        names.append(f"{name}_{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names
