"""Recognisers as networks: built, loaded, looked into and fed.

Shape letters: N images, S side of a crop, D embedding size.
"""

import importlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn
from leam.recognisers import architectures, dlib_files, onnx_files
from leam.recognisers.registry import ARCHITECTURES, DLIB, ModelError, Recogniser, existing_weights
from leam.regions import CROP_UNITS

log = logging.getLogger(__name__)
COUNT = "num_batches_tracked"  # of a BatchNorm: used in training only


def build_network(recogniser: Recogniser, seed: int = 0) -> "nn.Module":
    """The network with its weights, in eval mode, parameters frozen, on the CPU, in float32.

    ``untrained`` networks get random weights from ``seed``, ``shuffled`` ones their own in an order drawn with it.

    Raises ModelError when the weights do not fit, are missing, or the network does not take its stated input.
    """
    import torch

    torch.manual_seed(seed)
    network = _architecture(recogniser)
    has_weights = recogniser.weights or recogniser.architecture in ARCHITECTURES  # a function may bring its own
    if has_weights and not recogniser.untrained and recogniser.architecture != "onnx":
        _load(network, recogniser)
    if recogniser.shuffled:
        shuffle_convolutions(network, seed)
    return _try(network.eval().requires_grad_(False), recogniser)


def shuffle_convolutions(network: "nn.Module", seed: int) -> None:
    """Permute the weights of each convolution among themselves, in place: their distribution stays."""
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            weights = module.weight.data.flatten()
            module.weight.data = weights[torch.randperm(len(weights), generator=generator)].view_as(module.weight)


def _architecture(recogniser: Recogniser) -> "nn.Module":
    name, arguments = recogniser.architecture, recogniser.arguments
    if name == "onnx":
        return onnx_files.read_onnx(recogniser)
    if ":" in name:
        return _function(recogniser)

    if name.startswith("iresnet") and name in ARCHITECTURES:
        return architectures.iresnet(int(name.removeprefix("iresnet")), **arguments)
    if name == "inception_resnet_v1":
        return architectures.inception_resnet_v1()
    if name == "vgg_face16":
        return architectures.VGGFace16()
    if name == DLIB:
        return architectures.DlibResNet()
    raise ModelError(
        f"recogniser {recogniser.name}: architecture is {name!r}; expected one of {', '.join(ARCHITECTURES)}, onnx, "
        f"or module:function"
    )


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


def _load(network: "nn.Module", recogniser: Recogniser) -> None:
    """Load a state dict, or dlib's file, without executing anything the file contains."""
    expected = network.state_dict()
    read = dlib_files.read_dlib if recogniser.architecture == DLIB else read_state
    state = fitting_state(read(existing_weights(recogniser)), expected)
    if recogniser.architecture == "inception_resnet_v1":  # the published files carry their training classifier
        state = {key: value for key, value in state.items() if not key.startswith("logits.")}
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
    for key, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ModelError(
                f"recogniser {recogniser.name}: {recogniser.weights}: {key} has numbers that are not finite"
            )
    network.load_state_dict(state)


def fitting_state(state: "dict[str, Tensor]", expected: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """A state dict as the network wants it: without what others write before each name ("module.", "backbone."), and
    with the counts of batches that a network in eval mode never reads.

    What stands beside such a prefix (the head that was trained with) is left out. A state that no prefix makes whole
    comes back as it is.
    """
    needed = {key for key in expected if not key.endswith(COUNT)}
    prefixes = dict.fromkeys(".".join(key.split(".")[:depth]) for depth in (1, 2, 3) for key in state)
    for prefix in ("", *(f"{prefix}." for prefix in prefixes)):
        found = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if needed <= found.keys():
            if prefix:
                log.info("%d of %d entries are taken, those under %s", len(found), len(state), prefix)
            return {key: value for key, value in expected.items() if key.endswith(COUNT)} | found
    return state


def read_state(path: Path) -> dict[str, "Tensor"]:
    """A state dict from .safetensors or a PyTorch file, read with ``weights_only``: pickled code is refused."""
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = _unwrapped(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # a wrong or damaged file ends in almost any error
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{path} is not a plain PyTorch state dict, and nothing else is loaded: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        kinds = sorted({type(value).__name__ for value in state.values()}) if isinstance(state, dict) else []
        keys = f" of {', '.join(kinds)} under {', '.join(map(repr, list(state)[:8]))}" if kinds else ""
        raise ModelError(f"{path} holds a {type(state).__name__}{keys}; expected a flat state dict of tensors")
    return state


def _unwrapped(stored: Any) -> Any:
    """The only state dict among what was stored beside it: epochs, settings, an optimiser's state."""
    import torch

    if not isinstance(stored, dict) or any(isinstance(value, torch.Tensor) for value in stored.values()):
        return stored
    states = [
        value
        for value in stored.values()
        if isinstance(value, dict) and value and all(isinstance(each, torch.Tensor) for each in value.values())
    ]
    return states[0] if len(states) == 1 else stored


def _try(network: "nn.Module", recogniser: Recogniser) -> "nn.Module":
    """The network adapted, once it has embedded two pictures, together and one by one."""
    import torch
    from torch.nn import functional

    from leam.embedding import SAME_COSINE, is_usable, made_up_pictures
    from leam.recognisers.adaptation import adapt

    pictures = made_up_pictures(2, recogniser.input_size)
    try:
        network = adapt(network, recogniser, pictures)
        with torch.inference_mode():
            embeddings = network(pictures)
            shape = tuple(embeddings.shape)
            alone = network(pictures[:1]) if len(shape) == 2 else embeddings
    except ModelError as error:
        raise ModelError(f"recogniser {recogniser.name} {error}") from None
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"recogniser {recogniser.name} does not take an input of {list(recogniser.input_size)}: {reason}"
        ) from error
    if len(shape) != 2 or shape[0] != 2:
        raise ModelError(f"recogniser {recogniser.name} gives {shape} for two images; expected (2, D)")
    if not is_usable(embeddings).all():
        raise ModelError(f"recogniser {recogniser.name} gives an embedding that is zero or not finite: wrong weights?")
    if not functional.cosine_similarity(embeddings[:1], alone) > SAME_COSINE:
        raise ModelError(
            f"recogniser {recogniser.name} embeds a picture otherwise when another is beside it; expected a network in "
            "which images have nothing to do with each other (an ONNX file made for a batch of one: export it with "
            "dynamic_axes)"
        )
    return network


def find_layers(network: "nn.Module", layers: tuple[str, ...]) -> dict[str, "nn.Module"]:
    """The modules of these names, in this order; a block with a child ``conv`` stands for that convolution.

    Of an ONNX file the nodes' own names are taken, with or without a slash in front, and those of their outputs.

    Raises ModelError, listing the convolutions there are, when one does not exist.
    """
    from torch import nn

    modules, in_file = dict(network.named_modules()), onnx_files.module_names(network)
    found = {}
    for layer in layers:
        node = layer.strip("/").replace(".", "/")  # how the table writes the name of an ONNX node
        names = [in_file[name] for name in (layer, node) if name in in_file] if in_file else [f"{layer}.conv", layer]
        known = [modules[name] for name in names if name in modules]
        if not known:
            shown = {name: name for name in modules} | {module: name for name, module in reversed(in_file.items())}
            convolutions = [shown[name] for name, module in modules.items() if isinstance(module, nn.Conv2d)]
            folded = (
                "; an ONNX export folds some modules (BatchNorm into convolutions) away, which can then not be looked "
                "into"
                if in_file
                else ""
            )
            raise ModelError(f"no layer is called {layer!r}; convolutions are {', '.join(convolutions)}{folded}")
        found[layer] = known[0]
    return found


def to_input(crops: "np.ndarray", recogniser: Recogniser) -> "Tensor":
    """Crops (N, S, S, 3) uint8 RGB as the recogniser's input (N, 3, height, width) float32.

    The crop is resized (bilinear, low-passed when shrinking) so that the recogniser's window falls on its input
    pixel by pixel, cut to the window, and normalised.
    """
    import torch
    from torch.nn import functional

    top, left, bottom, right = recogniser.window
    height, width = recogniser.input_size
    full = (round(height * CROP_UNITS / (bottom - top)), round(width * CROP_UNITS / (right - left)))
    x = torch.from_numpy(crops).permute(0, 3, 1, 2).float()  # (N, 3, S, S)
    if tuple(x.shape[-2:]) != full:
        x = functional.interpolate(x, size=full, mode="bilinear", align_corners=False, antialias=True)
    row, column = round(full[0] * top / CROP_UNITS), round(full[1] * left / CROP_UNITS)
    x = x[..., row : row + height, column : column + width]
    if recogniser.colour == "bgr":
        x = x.flip(1)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (recogniser.mean, recogniser.std))
    return ((x - mean) / std).contiguous()
