"""What stands between a network as its authors left it and the way everything here looks at one: pictures (N, 3, h, w)
go in, embeddings (N, D) come out, and layers give maps (N, C, h, w).

A network whose input has the channels last is turned, the embedding is picked out of several outputs, and layers that
give tokens, or have the channels last, are reshaped while they are looked at. The network's own modules and their names
stay as they are, so whatever copies the network takes this over too (``take_over``).

Shape letters: N images, D embedding size, C channels, h, w a map, T tokens.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from leam.recognisers.onnx_files import is_embedding, take_over_names
from leam.recognisers.registry import ModelError, Recogniser

ADAPTED = "adaptation"  # attribute of a network: its Adaptation
CHANNELS_LAST = "channels_last"


@dataclass(frozen=True)
class Tokens:
    """A layer of tokens (N, T, C) as maps: its first ``skip`` tokens are none of the picture, the others lie row by row
    in ``size`` (h, w).
    """

    skip: int
    size: tuple[int, int]

    def maps(self, output: Tensor, layer: str) -> Tensor:
        """(N, C, h, w). Raises ModelError when these are not as many tokens."""
        height, width = self.size
        if output.ndim != 3 or output.shape[1] != self.skip + height * width:
            expected = f"(N, {self.skip} + {height} x {width}, C)"
            raise ModelError(f"layer {layer!r} gives {tuple(output.shape)}; its reshape expects {expected}")
        return output[:, self.skip :].transpose(1, 2).unflatten(2, self.size)

    def output(self, maps: Tensor, before: Tensor) -> Tensor:
        """What the layer gave, ``before``, with these maps in it."""
        return torch.cat([before[:, : self.skip], maps.flatten(2).transpose(1, 2)], dim=1)


@dataclass(frozen=True)
class ChannelsLast:
    """A layer (N, h, w, C) as maps."""

    def maps(self, output: Tensor, layer: str) -> Tensor:
        """(N, C, h, w). Raises ModelError when the layer has not four axes."""
        if output.ndim != 4:
            raise ModelError(f"layer {layer!r} gives {tuple(output.shape)}; its reshape expects (N, h, w, C)")
        return output.permute(0, 3, 1, 2)

    def output(self, maps: Tensor, before: Tensor) -> Tensor:
        """What the layer gave with these maps in it."""
        del before
        return maps.permute(0, 2, 3, 1)


@dataclass(frozen=True)
class Adaptation:
    """How a network is turned; output : name or index of the embedding, None where it is plain."""

    channels_last: bool = False
    several: bool = False  # the network gives something else than a tensor (N, D)
    output: str | None = None
    forms: dict[str, Tokens | ChannelsLast] = field(default_factory=dict)  # of layers


def adapt(network: nn.Module, recogniser: Recogniser, pictures: Tensor) -> nn.Module:
    """The same network, taking (N, 3, h, w) and giving (N, D).

    pictures : (N, 3, h, w), with which it is run to see what it gives
    Raises ModelError when it is not plain which output is the embedding, or a reshape is of no layer.
    """
    forms = {layer: _form(recogniser, layer, given) for layer, given in recogniser.reshape.items()}
    is_file = recogniser.architecture == "onnx"  # whose own steps are turned already
    channels_last = recogniser.layout == "nhwc" and not is_file
    output = None if is_file else recogniser.output
    with torch.inference_mode():
        given = network(pictures.permute(0, 2, 3, 1) if channels_last else pictures)
    several = output is not None or not isinstance(given, Tensor) or given.ndim != 2
    if several:
        pick_embedding(given, output)
    _set(network, Adaptation(channels_last, several, output, forms))
    return network


def take_over(network: nn.Module, copy: nn.Module) -> None:
    """Adapt a copy of a network, whose modules have the same names, as the network is."""
    take_over_names(network, copy)
    if found := getattr(network, ADAPTED, None):
        _set(copy, found)


def form_of(network: nn.Module, layer: str) -> Tokens | ChannelsLast | None:
    """How a layer's output becomes maps; None where it gives some."""
    return getattr(network, ADAPTED, Adaptation()).forms.get(layer)


def _set(network: nn.Module, adaptation: Adaptation) -> None:
    setattr(network, ADAPTED, adaptation)
    if adaptation.channels_last:
        network.register_forward_pre_hook(_turn)
    if adaptation.several:
        network.register_forward_hook(functools.partial(_pick, adaptation.output))


def _turn(_network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0].permute(0, 2, 3, 1), *inputs[1:])


def _pick(output: str | None, _network: nn.Module, _inputs: tuple, given: Any) -> Tensor:
    return pick_embedding(given, output)


def pick_embedding(given: Any, output: str | None) -> Tensor:
    """The embedding (N, D) among what a network gives: a tensor, a tuple, a dictionary or what behaves like one.

    output : its key, or its place as text; None takes the only one that is a list of several numbers per image
    Raises ModelError, listing the outputs, when there is no such one, or more than one.
    """
    if isinstance(given, Mapping):
        items = {str(key): value for key, value in given.items()}
    elif isinstance(given, tuple | list):
        items = {str(place): value for place, value in enumerate(given)}
    else:
        items = {"0": given}
    choices = {name: value for name, value in items.items() if isinstance(value, Tensor)}
    plain = [name for name, value in choices.items() if is_embedding(tuple(value.shape))]
    if output is None and len(plain) == 1:
        output = plain[0]
    if output not in choices:
        found = ", ".join(f"{name} {tuple(value.shape)}" for name, value in choices.items()) or type(given).__name__
        asked = "say which is the embedding (N, D): output: its name" if output is None else f"output is {output!r}"
        raise ModelError(f"gives {found} for a picture; {asked}")
    return choices[output].flatten(1) if choices[output].ndim > 2 and output in plain else choices[output]


def _form(recogniser: Recogniser, layer: str, given: Any) -> Tokens | ChannelsLast:
    if layer not in recogniser.layers:
        raise ModelError(f"reshape names {layer!r}, which is none of its layers")
    if given == CHANNELS_LAST:
        return ChannelsLast()
    return Tokens(given.get("skip", 0), tuple(given["size"]))
