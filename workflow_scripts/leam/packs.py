"""InsightFace's packs: folders of ONNX files, each known by what it holds and not by what it is called.

What a file is follows from the shapes of its inputs and outputs, as in InsightFace's own ``ModelRouter``, and what a
recogniser is fed with from its first nodes, as in its ``ArcFaceONNX``. No pack is ever downloaded.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leam.names import NO_TEXT, printable
from leam.onnx_graphs import NO_OTHER_FILES, has_other_files, inputs_of, node_names, read_outline, sizes_of
from leam.reasons import one_line

if TYPE_CHECKING:
    import onnx

INSTALLED = Path("~/.insightface/models")  # where InsightFace keeps packs, by their names
LICENCE = "non-commercial research only (InsightFace)"
RECOGNITION, DETECTION = "recogniser", "detector with five points"
DETECTOR_OUTPUTS = (9, 15)  # of SCRFD: scores, boxes and points, at three or five strides
FIRST_LAYERS = 9  # convolutions of a recogniser that are looked into
FIRST_NODES = 8  # among which a recogniser's own normalisation stands
LONGEST_LAYER = 200  # letters of a name that a file gives to a layer
MANIFEST, MANIFEST_VERSION = "manifest.json", 2


class PackError(ValueError):
    """A pack that lacks what is asked of it; the message says where and what was expected."""


@dataclass(frozen=True)
class Contents:
    """What an ONNX file is. kind : RECOGNITION, DETECTION or "" for anything else

    input_size : (height, width) px, 0 where it is open; normalises : the graph itself takes pixels of 0 to 255
    layers : the first convolutions, by the names of their nodes
    """

    kind: str
    input_size: tuple[int, int]
    normalises: bool
    layers: tuple[str, ...]


def place_of(pack: str, root: str | Path) -> str:
    """The path of a pack or a file of one: below ``root``, or, where a mere name is not there, InsightFace's folder."""
    path = Path(root) / Path(pack).expanduser()
    installed = INSTALLED.expanduser() / pack
    return str(installed if Path(pack).name == pack and not path.exists() and installed.is_dir() else path)


def recogniser_file(pack: str | Path) -> Path:
    """The only recogniser of a pack. Raises PackError where there is none, or several."""
    return _only(Path(pack), RECOGNITION)


def detector_file(path: str | Path) -> Path:
    """A file of SCRFD with five points: the one that is named, or the only one of a pack. Raises PackError."""
    path = Path(path)
    if not path.is_file():
        return _only(path, DETECTION)
    if path.suffix != ".onnx" or look_into(path).kind != DETECTION:
        raise PackError(f"{path} is no SCRFD with five points; expected an .onnx file of {DETECTOR_OUTPUTS[0]} outputs")
    return path


def entry_of(pack: str | Path) -> dict[str, Any]:
    """A pack's recogniser as an entry of the configuration's ``recognisers``. Raises PackError."""
    path = recogniser_file(pack)
    found = look_into(path)
    mean, std = (0.0, 1.0) if found.normalises else (127.5, 127.5)
    entry = {
        "architecture": "onnx",
        "weights": str(path),
        "input_size": found.input_size,
        "mean": (mean,) * 3,
        "std": (std,) * 3,
        "colour": "rgb",
        "origin": f"InsightFace's pack {Path(pack).name}: {path.name}",
        "licence": LICENCE,
    }
    plain = all(len(layer) <= LONGEST_LAYER and not NO_TEXT.search(layer) for layer in found.layers)
    return entry | ({"layers": found.layers} if found.layers and plain else {})


def look_into(path: Path) -> Contents:
    """What an ONNX file is, by its shapes. Raises PackError where it is damaged or keeps weights in other files."""
    facts = path.stat()
    return _look_into(path, facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=64)  # a plan asks for every job
def _look_into(path: Path, size: int, changed: int) -> Contents:
    try:
        model = read_outline(path)
        other_files, found = has_other_files(model), _contents(model)
    except Exception as error:  # a damaged file, or names that are no text, end in almost any error
        raise PackError(f"{path} cannot be read as an ONNX file: {printable(one_line(error))}") from error
    if other_files:
        raise PackError(f"{path} {NO_OTHER_FILES}")
    return found


def _contents(model: "onnx.ModelProto") -> Contents:
    graph = model.graph
    inputs = [sizes_of(value) for value in inputs_of(graph)]
    sizes = inputs[0] if inputs else []
    first = [node.name for node in graph.node[:FIRST_NODES]]
    convolutions = [name for name, node in zip(node_names(graph), graph.node, strict=True) if node.op_type == "Conv"]
    return Contents(
        _kind(inputs, len(graph.output)),
        (sizes[2], sizes[3]) if len(sizes) == 4 else (0, 0),
        all(any(name.startswith(begins) for name in first) for begins in (("Sub", "_minus"), ("Mul", "_mul"))),
        tuple(convolutions[:FIRST_LAYERS]),
    )


def _kind(inputs: list[list[int]], outputs: int) -> str:
    """``ModelRouter``'s rule; a recogniser has one input and one output besides, as ``ArcFaceONNX`` wants it."""
    if not inputs or len(inputs[0]) != 4:
        return ""
    if outputs >= 5:
        return DETECTION if outputs in DETECTOR_OUTPUTS else ""
    height, width = inputs[0][2:]
    is_face = height == width and height >= 112 and height % 16 == 0 and height != 192  # which is of landmarks
    return RECOGNITION if is_face and len(inputs) == outputs == 1 else ""


def _only(folder: Path, kind: str) -> Path:
    if not folder.is_dir():
        raise PackError(
            f"no pack at {folder}; expected a folder of ONNX files, or the name of one in {INSTALLED} (none is "
            f"downloaded: insightface-cli model.download {printable(folder.name)} does that)"
        )
    _refuse_manifest(folder)
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".onnx" and path.is_file())
    except OSError as error:
        raise PackError(f"the pack {folder} cannot be read: {one_line(error)}") from error
    found = [path for path in files if look_into(path).kind == kind]
    if len(found) != 1:
        named = ", ".join(printable(path.name) for path in (found or files)[:8]) or "no .onnx file"
        raise PackError(f"the pack {folder} has {len(found)} files of a {kind} ({named}); expected one")
    return found[0]


def _refuse_manifest(folder: Path) -> None:
    """Newer packages say in a file of their own how each of theirs is fed; old ones have none, or an earlier one."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(manifest, dict) and manifest.get("manifest_version") == MANIFEST_VERSION:
        raise PackError(
            f"the pack {folder} says in {MANIFEST} how its files are fed, which is not read here; describe its "
            "recogniser under recognisers with architecture: onnx, and give its detector's file"
        )
