"""ONNX files as PyTorch networks: what is refused, how the input lies, which output is the embedding, and the names
that a file gives to its layers.

Shape letters: N images, D embedding size, h, w the picture.
"""

from typing import TYPE_CHECKING

from leam.onnx_graphs import NO_OTHER_FILES, graphs_of, has_other_files, inputs_of, node_names, read_model, sizes_of
from leam.recognisers.registry import ModelError, Recogniser, existing_weights

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from leam.recognisers.onnx_network import Built

TABLE = "names_in_file"  # attribute of a network: {name of a layer in the file: of its module}
QUANTISED = ("Quantize", "QLinear", "ConvInteger", "MatMulInteger")
NO_LOOP = "loops (node {!r}); expected one way from image to embedding"
NO_QUANTISED = (
    "is quantised (node {!r}): its steps are rounded to 8 bits and have no gradient; "
    "give the file that it was made from"
)
EXPORT_CALL = (
    "torch.onnx.export(network.eval(), example, path, input_names=['input'], dynamic_axes={'input': {0: 'N'}}, "
    "dynamo=False)"
)


def read_onnx(recogniser: Recogniser) -> "nn.Module":
    """The network of an ONNX file, with the table of its layers' names (``module_names``).

    Raises ModelError for a file that is damaged, keeps its weights in other files, branches, is quantised, takes
    another input than the recogniser's, has several outputs that could be the embedding, or has an operator that is
    not known.
    """
    if not recogniser.weights:
        raise ModelError(f"recogniser {recogniser.name}: architecture onnx needs weights: the path of the .onnx file")
    path = existing_weights(recogniser)
    try:
        model = read_model(path)
        _refuse(model)
        return _read(model, recogniser)
    except ModelError as error:
        raise ModelError(f"recogniser {recogniser.name}: {recogniser.weights} {error}") from None
    except Exception as error:  # a damaged file, or an input that does not fit, ends in almost any error
        reason = " ".join(str(error).split()).encode("unicode_escape").decode()
        raise ModelError(
            f"recogniser {recogniser.name}: {recogniser.weights} cannot be turned into a PyTorch network: "
            f"{type(error).__name__}: {reason[:300]}"
        ) from error


def module_names(network: "nn.Module") -> dict[str, str]:
    """{name of a layer in the ONNX file: name of its module}; {} of a network that is of no such file."""
    return getattr(network, TABLE, {})


def take_over_names(network: "nn.Module", copy: "nn.Module") -> None:
    """Give a copy of a network, whose modules have the same names, its table too."""
    if table := module_names(network):
        setattr(copy, TABLE, table)


def _refuse(model: "onnx.ModelProto") -> None:
    """What would be read from elsewhere than the file whose SHA-256 is known, and what no graph of steps can be."""
    for graph in graphs_of(model):
        for node in graph.node:
            if node.op_type in ("Loop", "Scan"):
                raise ModelError(NO_LOOP.format(node.op_type))
            if any(word in node.op_type for word in QUANTISED):
                raise ModelError(NO_QUANTISED.format(node.op_type))
    if has_other_files(model):
        raise ModelError(NO_OTHER_FILES)


def _read(model: "onnx.ModelProto", recogniser: Recogniser) -> "nn.Module":
    from leam.embedding import made_up_pictures
    from leam.recognisers import onnx_network
    from leam.recognisers.onnx_operators import UnknownOperatorError

    if model.functions:
        model = _inlined(model)
    channels_last, images = _input(model, recogniser)
    pictures = made_up_pictures(images or 2, recogniser.input_size)
    try:
        built = onnx_network.build(model, pictures, channels_last, images)
    except UnknownOperatorError as error:
        raise ModelError(f"has {error}, which is not known here; exported by {EXPORT_CALL} most networks do") from None
    onnx_network.keep_output(built, _embedding(model, built, recogniser.output))
    setattr(built.network, TABLE, _names(model, built.of_node))
    return built.network


def _inlined(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The same file with each call of a function of its own written out."""
    import onnx.inliner

    whole = onnx.inliner.inline_local_functions(model)
    _refuse(whole)
    return whole


def _input(model: "onnx.ModelProto", recogniser: Recogniser) -> tuple[bool, int]:
    """Whether the file takes (N, h, w, 3), and the images in a batch that it was made for, or 0 for any."""
    values = inputs_of(model.graph)
    if len(values) != 1:
        raise ModelError(f"has {len(values)} inputs ({_listed(values)}); expected one, the picture")
    sizes = sizes_of(values[0])
    if sizes and len(sizes) != 4:
        raise ModelError(f"takes an input of {len(sizes)} axes; expected four: images, channels, height and width")
    images, *rest = sizes or [0] * 4
    looks_last = rest[2] == 3 and rest[0] not in (0, 3)
    channels_last = {"nchw": False, "nhwc": True, None: looks_last}[recogniser.layout]
    channels, *side = [rest[2], *rest[:2]] if channels_last else rest
    fits = all(found in (0, wanted) for found, wanted in zip(side, recogniser.input_size, strict=True))
    if channels not in (0, 3) or not fits:
        stated = [size or "any" for size in sizes]
        raise ModelError(
            f"takes an input of {stated}; expected 3 channels and input_size {list(recogniser.input_size)} "
            "(and layout: nhwc where the channels stand last)"
        )
    return channels_last, images


def _listed(values: "list[onnx.ValueInfoProto]") -> str:
    """Their names, written so that no character of one does anything."""
    return ", ".join(repr(value.name[:60]) for value in values[:8])


def _embedding(model: "onnx.ModelProto", built: "Built", wanted: str | None) -> int:
    """Which output is the embedding: the one that is asked for, or the only one that is a list of numbers per image."""
    names = [value.name for value in model.graph.output]
    if wanted is not None:
        if wanted in names:
            return names.index(wanted)
        raise ModelError(f"has no output {wanted!r}; outputs are {_listed(list(model.graph.output))}")
    shapes = [tuple(output.shape) for output in built.outputs]
    plain = [place for place, shape in enumerate(shapes) if is_embedding(shape)]
    if len(names) == 1 or len(plain) == 1:
        return plain[0] if plain else 0
    described = ", ".join(f"{name[:60]!r} {shape}" for name, shape in zip(names[:8], shapes[:8], strict=True))
    raise ModelError(f"has outputs {described}; say which is the embedding (N, D): output: its name")


def is_embedding(shape: tuple[int, ...]) -> bool:
    """Whether an output of this shape is one list of several numbers per image."""
    return len(shape) >= 2 and shape[1] > 1 and all(size == 1 for size in shape[2:])


def _names(model: "onnx.ModelProto", of_node: dict[int, str]) -> dict[str, str]:
    """{name in the file: of the module}: nodes by their names (``node_names``), and by their outputs'."""
    table: dict[str, str] = {}
    for place, name in enumerate(node_names(model.graph)):
        if place in of_node:
            table.setdefault(name, of_node[place])
    for place, module in of_node.items():
        table.setdefault(model.graph.node[place].output[0], module)
    return table
