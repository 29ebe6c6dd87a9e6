"""Recognisers: what each is (the registry), and how one is built, loaded and fed.

The registry is plain data, read when the workflow is planned; PyTorch is imported only where a network is built.
A user's entry in the configuration (``recognisers:``) extends or overrides the registry, key by key.

Shape letters: N images, S side of a crop, D embedding size.
"""

import dataclasses
import importlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

CROP_UNITS = 112  # a recogniser's window is given in pixels of a 112 x 112 crop, whatever the crop's real size


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
    colour : channel order, "rgb" or "bgr"
    weights : path or URL of a state dict or an ONNX file; sha256 and bytes are checked when given
    untrained, shuffled : controls that know nothing: random weights, or those of each convolution permuted
    """

    name: str
    architecture: str
    input_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    layers: tuple[str, ...]
    window: tuple[int, int, int, int] = (0, 0, CROP_UNITS, CROP_UNITS)
    colour: str = "rgb"
    arguments: dict = field(default_factory=dict)
    weights: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    origin: str = ""
    licence: str = ""
    untrained: bool = False
    shuffled: bool = False


# ---------------------------------------------------------------------------------------------------------- registry

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

_GREY = (127.5, 127.5, 127.5)
_IRESNET = {"input_size": (112, 112), "mean": _GREY, "std": _GREY, "layers": IRESNET_LAYERS}
_INCEPTION = {"input_size": (160, 160), "mean": _GREY, "std": (128.0, 128.0, 128.0), "layers": INCEPTION_LAYERS}
_INSIGHTFACE = "InsightFace model zoo, arcface_torch: {}/backbone.pth"
_INSIGHTFACE_LICENCE = "non-commercial research only (InsightFace)"
_FACENET = "facenet-pytorch release v2.2.9: {}"


def _insightface(name: str, depth: int, folder: str, sha256: str | None = None) -> Recogniser:
    return Recogniser(
        name,
        f"iresnet{depth}",
        **_IRESNET,
        origin=_INSIGHTFACE.format(folder),
        licence=_INSIGHTFACE_LICENCE,
        sha256=sha256,
    )


def _facenet(name: str, file: str, data: str) -> Recogniser:
    licence = f"MIT (facenet-pytorch); trained on {data}, a research data set"
    return Recogniser(name, "inception_resnet_v1", **_INCEPTION, origin=_FACENET.format(file), licence=licence)


def _sample(name: str, loss: str, people: str = "rendered people") -> Recogniser:
    return Recogniser(
        name,
        "iresnet18",
        **_IRESNET,
        arguments={"widths": [8, 16, 32, 64], "embedding_size": 128},
        weights=str(Path(__file__).parent / "sample_weights" / f"{name}.safetensors"),
        origin=f"trained by this project with {loss} loss on {people}",
        licence="the project's own",
    )


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
        _sample("sample_arcface", "ArcFace"),
        _sample("sample_cosface", "CosFace"),
        *(_sample(world_model(region), "CosFace", f"rendered people who differ in {region} only") for region in WORLDS),
    )
}

GENERAL_MODELS = ("sample_arcface", "sample_cosface")  # trained on rendered people who differ everywhere

ARCHITECTURES = ("iresnet18", "iresnet50", "iresnet100", "inception_resnet_v1", "vgg_face16")


def recogniser(name: str, entry: dict | None = None) -> Recogniser:
    """The recogniser of that name: the registry's, overridden by a user's ``entry``, or the entry alone.

    Raises ModelError when the name is in neither, or the entry alone lacks a key.
    """
    known = {key.name for key in dataclasses.fields(Recogniser)}
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in (entry or {}).items()}
    if unknown := sorted(set(given) - known):
        raise ModelError(f"recogniser {name}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    if name in REGISTRY:
        return dataclasses.replace(REGISTRY[name], **given)
    if not given:
        raise ModelError(f"no recogniser is called {name!r}; known are {', '.join(REGISTRY)} and those you describe")
    required = ("architecture", "input_size", "mean", "std", "layers")
    if missing := [key for key in required if key not in given]:
        raise ModelError(f"recogniser {name}: {', '.join(missing)} must be given, as it is not a built-in one")
    return check_window(Recogniser(name=name, **given))


def check_window(recogniser: Recogniser) -> Recogniser:
    """Refuse a window that does not fall on whole pixels of the input (see ``prepare``)."""
    top, left, bottom, right = recogniser.window
    inside = 0 <= top < bottom <= CROP_UNITS and 0 <= left < right <= CROP_UNITS
    if not inside:
        raise ModelError(
            f"recogniser {recogniser.name}: window is {list(recogniser.window)}; expected top < bottom and "
            f"left < right within 0..{CROP_UNITS}"
        )
    for side, start, end in zip(recogniser.input_size, (top, left), (bottom, right), strict=True):
        if side * CROP_UNITS % (end - start) or side * start % (end - start):
            raise ModelError(
                f"recogniser {recogniser.name}: window {list(recogniser.window)} does not fall on whole pixels of "
                f"an input of {list(recogniser.input_size)}"
            )
    return recogniser


# ---------------------------------------------------------------------------------------------------------- building


def build(recogniser: Recogniser, seed: int = 0) -> "nn.Module":
    """The network with its weights, in eval mode, parameters frozen, on the CPU, in float32.

    ``untrained`` networks get random weights from ``seed``, ``shuffled`` ones their own in an order drawn with it.

    Raises ModelError when the weights do not fit, are missing, or the network does not take its stated input.
    """
    import torch

    torch.manual_seed(seed)
    network = _architecture(recogniser)
    if recogniser.weights and not recogniser.untrained and recogniser.architecture != "onnx":
        _load(network, recogniser)
    elif not recogniser.untrained and recogniser.architecture in ARCHITECTURES:
        raise ModelError(f"recogniser {recogniser.name}: no weights are configured; {where_to_get(recogniser)}")
    if recogniser.shuffled:
        shuffle_convolutions(network, seed)
    network = network.eval().requires_grad_(False)
    _check_input(network, recogniser)
    return network


def shuffle_convolutions(network: "nn.Module", seed: int) -> None:
    """Permute the weights of each convolution among themselves, in place: their distribution stays."""
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            weights = module.weight.data.flatten()
            module.weight.data = weights[torch.randperm(len(weights), generator=generator)].view_as(module.weight)


def where_to_get(recogniser: Recogniser) -> str:
    """One sentence: which weights file the user supplies, and under which licence."""
    origin = recogniser.origin or "its authors"
    return (
        f"get the file from {origin} (licence: {recogniser.licence or 'ask its authors'}) and set "
        f"recognisers.{recogniser.name}.weights to its path, or untrained: true for a dry test"
    )


def _architecture(recogniser: Recogniser) -> "nn.Module":
    name, arguments = recogniser.architecture, recogniser.arguments
    if name == "onnx":
        return _onnx(recogniser)
    if ":" in name:
        return _function(recogniser)
    from leam import architectures

    if name.startswith("iresnet") and name in ARCHITECTURES:
        return architectures.iresnet(int(name.removeprefix("iresnet")), **arguments)
    if name == "inception_resnet_v1":
        return architectures.inception_resnet_v1()
    if name == "vgg_face16":
        return architectures.VGGFace16()
    raise ModelError(
        f"recogniser {recogniser.name}: architecture is {name!r}; expected one of {', '.join(ARCHITECTURES)}, onnx, "
        f"or module:function"
    )


def _onnx(recogniser: Recogniser) -> "nn.Module":
    """An ONNX file as a PyTorch network; its layers carry the names of the ONNX nodes."""
    import onnx
    import onnx2torch

    if not recogniser.weights:
        raise ModelError(f"recogniser {recogniser.name}: architecture onnx needs weights: the path of the .onnx file")
    try:
        return onnx2torch.convert(_without_identities(onnx.load(existing_weights(recogniser))))
    except ModelError:
        raise
    except Exception as error:  # a damaged file, or a node that onnx2torch does not know, ends in almost any error
        reason = " ".join(str(error).split())
        raise ModelError(
            f"recogniser {recogniser.name}: {recogniser.weights} cannot be turned into a PyTorch network: "
            f"{type(error).__name__}: {reason[:300]}"
        ) from error


def _without_identities(model):
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


def _function(recogniser: Recogniser) -> "nn.Module":
    """The network that ``module:function`` returns; the module is looked for in the working directory too."""
    from torch import nn

    module, _, function = recogniser.architecture.partition(":")
    if "" not in sys.path:
        sys.path.append("")
    try:
        maker = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"recogniser {recogniser.name}: cannot import {recogniser.architecture!r}: {error}") from error
    network = maker(**recogniser.arguments)
    if not isinstance(network, nn.Module):
        raise ModelError(f"{recogniser.architecture} returned a {type(network).__name__}; expected an nn.Module")
    return network


def existing_weights(recogniser: Recogniser) -> Path:
    """The weights' file. Raises ModelError, saying where to get it, when there is none."""
    path = Path(recogniser.weights)
    if not path.is_file():
        raise ModelError(f"recogniser {recogniser.name}: no weights file at {path}; {where_to_get(recogniser)}")
    return path


def _load(network: "nn.Module", recogniser: Recogniser) -> None:
    """Load a state dict without executing anything the file contains."""
    state = read_state(existing_weights(recogniser))
    if recogniser.architecture == "inception_resnet_v1":  # the published files carry their training classifier
        state = {key: value for key, value in state.items() if not key.startswith("logits.")}
    expected = network.state_dict()
    faults = [
        *(f"lacks {key}" for key in expected if key not in state),
        *(f"has {key}, which the architecture lacks" for key in state if key not in expected),
        *(
            f"has {key} of shape {tuple(state[key].shape)}, expected {tuple(value.shape)}"
            for key, value in expected.items()
            if key in state and state[key].shape != value.shape
        ),
    ]
    if faults:
        raise ModelError(
            f"recogniser {recogniser.name}: {recogniser.weights} is not a file for {recogniser.architecture}: "
            f"it {faults[0]}" + (f" (and {len(faults) - 1} more differences)" if len(faults) > 1 else "")
        )
    network.load_state_dict(state)


def read_state(path: Path) -> dict[str, "Tensor"]:
    """A state dict from .safetensors or a PyTorch file, read with ``weights_only``: pickled code is refused."""
    import pickle

    import torch
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{path} is not a plain PyTorch state dict, and nothing else is loaded: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{path} holds a {type(state).__name__}; expected a flat state dict of tensors")
    return state


def _check_input(network: "nn.Module", recogniser: Recogniser) -> None:
    import torch

    try:
        with torch.inference_mode():
            shape = tuple(network(torch.zeros(2, 3, *recogniser.input_size)).shape)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"recogniser {recogniser.name} does not take an input of {list(recogniser.input_size)}: {reason}"
        ) from error
    if len(shape) != 2 or shape[0] != 2:
        raise ModelError(f"recogniser {recogniser.name} gives {shape} for two images; expected (2, D)")


def find_layers(network: "nn.Module", layers: tuple[str, ...]) -> dict[str, "nn.Module"]:
    """The modules of these names, in this order; a block with a child ``conv`` stands for that convolution.

    Of an ONNX file the nodes' own names are taken, and onnx2torch's writing of them too.

    Raises ModelError, listing the convolutions there are, when one does not exist.
    """
    import torch.fx
    from torch import nn

    modules = dict(network.named_modules())
    found = {}
    for layer in layers:
        node = layer.strip("/").replace(".", "/")  # how onnx2torch writes the name of an ONNX node
        found[layer] = next((modules[name] for name in (f"{layer}.conv", layer, node) if name in modules), None)
    if missing := [layer for layer, module in found.items() if module is None]:
        convolutions = [name for name, module in modules.items() if isinstance(module, nn.Conv2d)]
        folded = (
            "; an ONNX export folds some modules (BatchNorm into convolutions) away, which can then not be looked into"
            if isinstance(network, torch.fx.GraphModule)
            else ""
        )
        raise ModelError(f"no layer is called {missing[0]!r}; convolutions are {', '.join(convolutions)}{folded}")
    return found


# ----------------------------------------------------------------------------------------------------------- feeding


def prepare(crops: "np.ndarray", recogniser: Recogniser) -> "Tensor":
    """Crops (N, S, S, 3) uint8 RGB as the recogniser's input (N, 3, height, width) float32.

    The crop is resized (bilinear, low-passed when shrinking) so that the recogniser's window falls on its input
    pixel by pixel, cut to the window, and normalised.
    """
    import torch
    from torch.nn import functional

    top, left, bottom, right = recogniser.window
    height, width = recogniser.input_size
    full = (height * CROP_UNITS // (bottom - top), width * CROP_UNITS // (right - left))
    x = torch.from_numpy(crops).permute(0, 3, 1, 2).float()  # (N, 3, S, S)
    if tuple(x.shape[-2:]) != full:
        x = functional.interpolate(x, size=full, mode="bilinear", align_corners=False, antialias=True)
    row, column = full[0] * top // CROP_UNITS, full[1] * left // CROP_UNITS
    x = x[..., row : row + height, column : column + width]
    if recogniser.colour == "bgr":
        x = x.flip(1)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (recogniser.mean, recogniser.std))
    return ((x - mean) / std).contiguous()
