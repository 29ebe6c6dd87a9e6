"""Explanation methods: what the maps of each show, and what the engine needs of it. Imports nothing heavy.

Shape letters: b images, C channels, h, w a layer's map, S signs.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

POLARITIES = ("loss", "similarity")  # which is differentiated; the order of the first axis of maps and counts
EQUAL = 1e-6  # 1 - cos below which two embeddings are the same: a pair's gradient is what rounding leaves of 0
PER_PAIR, PER_IMAGE = "pair", "image"  # what a map of a method with passes of its own is of
LAYERS, ACTIVATED, INPUT = "layers", "activated", "input"  # where a method looks; INPUT is also that place's name
BLACK, BLUR = "black", "blur"  # pictures without content, that a picture is compared with or hidden behind


@dataclass(frozen=True, repr=False)
class Activated:
    """The place after the activation function that a layer's output goes through."""

    layer: str

    def __repr__(self) -> str:
        return f"{self.layer!r} after its activation function"


Place = str | Activated  # a layer's output, what comes of it after its activation function, or INPUT


@dataclass(frozen=True)
class Reduction:
    """A method whose map of a pair follows from the gradient of the similarity and the activation at one place.

    name : of the method; places : LAYERS, the chosen layers' outputs, ACTIVATED, what the activation functions after
        them give, or INPUT, the image as the network takes it
    reduce : (gradient, activation), each (b, C, h, w) -> maps (S, b, h, w) >= 0, in the order of ``signs``
    signs : what each map of the first axis shows, as files and tables name it
    """

    name: str
    places: str
    reduce: Callable
    signs: tuple[str, ...] = POLARITIES


class UnsuitableError(Exception):
    """A method cannot explain this recogniser, in this run; the message says why. Others can."""


class Passes(NamedTuple):
    """Images that go through the network for the maps of one image with all its partners, forwards and backwards.

    What every method shares, the embeddings of the images themselves, is not in it.
    """

    forwards: int
    backwards: int


@dataclass(frozen=True)
class Backprop:
    """A method with passes of its own over the input.

    name : of the method; per : PER_PAIR, a map of every pair, or PER_IMAGE, one map of an image with all its partners
    explain : (network (`methods.networks.ExplainedNetwork`), x (b, 3, h, w), targets (b, P, D) unit embeddings of the
        partners, settings) -> maps (S, b, P or 1, h, w) >= 0, in the order of ``signs``
    cost : (n images of the person, settings, (h, w), D) -> Passes
    settings : the defaults, a frozen dataclass. Where it has a field ``theta``, that is the threshold of the run, which
        has no default: NaN, with which such a method raises UnsuitableError
    """

    name: str
    per: str
    explain: Callable
    cost: Callable
    settings: Any = None
    signs: tuple[str, ...] = POLARITIES


@dataclass(frozen=True)
class Perturbation:
    """A method that hides parts of the picture, and asks how similar what is left is (`methods.perturbation.perturb`).

    name : of the method
    masks : (height, width, settings, seed) -> (K, h, w) float32 array, 1 where the picture is kept, for all images
    combine : (masks (K, h, w), cosines (K, P) of the masked image with its partners, cosine (P,) of the whole one,
        settings) -> signed maps (P, h, w), above 0 where hiding lowers the cosine; tensors, all in float64
    settings : the defaults, a frozen dataclass; fill : what takes the place of what is hidden, BLACK or BLUR
    """

    name: str
    masks: Callable
    combine: Callable
    settings: Any = None
    fill: str = BLACK
    signs: tuple[str, ...] = POLARITIES

    def cost(self, n: int, settings: Any, size: tuple[int, int], dimensions: int) -> Passes:
        """As of ``Backprop``: every mask is embedded once for all partners."""
        return Passes(len(self.masks(*size, settings, 0)), 0)


Method = Reduction | Backprop | Perturbation


class Normalised(Protocol):
    """What a method may ask of a recogniser: its input is (pixel - mean) / std, per channel."""

    @property
    def mean(self) -> tuple[float, float, float]: ...
    @property
    def std(self) -> tuple[float, float, float]: ...


METHODS = {
    "leam": "leam.methods.leam:LEAM",
    "layercam": "leam.methods.cams:LAYERCAM",
    "gradcam": "leam.methods.cams:GRADCAM",
    "gradcam++": "leam.methods.cams:GRADCAM_PLUS_PLUS",
    "hirescam": "leam.methods.cams:HIRESCAM",
    "sensitivity": "leam.methods.cams:SENSITIVITY",
    "saliency": "leam.methods.cams:SALIENCY",
    "gradxinput": "leam.methods.cams:gradxinput",
    "ig.black": "leam.methods.backprop:IG_BLACK",
    "ig.blur": "leam.methods.backprop:IG_BLUR",
    "xssab": "leam.methods.backprop:XSSAB",
    "fggb": "leam.methods.backprop:FGGB",
    "fame": "leam.methods.backprop:FAME",
    "corrrise": "leam.methods.perturbation:CORRRISE",
    "occlusion": "leam.methods.perturbation:OCCLUSION",
}


class MethodError(Exception):
    """No explanation method is called so."""


def method(name: str, recogniser: Normalised) -> Method:
    """The method of that name for a recogniser: one of METHODS, or ``module:name`` of one's own.

    What stands there is a Reduction, a Backprop or a Perturbation, or a function of the recogniser that returns one.
    The module is looked for in the working directory too. Raises MethodError.
    """
    if name not in METHODS and ":" not in name:
        raise MethodError(f"no method is called {name!r}; there are {', '.join(METHODS)}, and module:function")
    module, _, attribute = METHODS.get(name, name).partition(":")
    if "" not in sys.path:
        sys.path.append("")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module of one's own may fail in any way
        raise MethodError(f"method {name!r} cannot be imported: {_reason(error)}") from error
    made = found if isinstance(found, Method) or not callable(found) else _call(name, found, recogniser)
    if not isinstance(made, Method):
        kind = made.__name__ if isinstance(made, type) else type(made).__name__
        raise MethodError(f"method {name!r} is a {kind}; expected a Reduction, a Backprop or a Perturbation")
    return made


def _call(name: str, function: Callable, recogniser: Normalised) -> object:
    try:
        return function(recogniser)
    except Exception as error:
        raise MethodError(f"method {name!r} is not made by this function of a recogniser: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@dataclass(frozen=True)
class Cell:
    """One method at one place: what one map is of.

    place : the layer, or INPUT, by which the map is called and placed on the grid
    """

    reduction: Reduction
    place: str

    @property
    def name(self) -> str:
        """``method@place``, as files and tables name it; LEAM's own cells have the names of the layers."""
        return self.place if self.reduction.name == "leam" else f"{self.reduction.name}@{self.place}"

    @property
    def tapped(self) -> Place:
        """Where gradient and activation are taken."""
        return Activated(self.place) if self.reduction.places == ACTIVATED else self.place


def cells_of(reductions: tuple[Reduction, ...], layers: tuple[str, ...]) -> list[Cell]:
    """Every method at every place of its own, method after method."""
    return [
        Cell(reduction, place)
        for reduction in reductions
        for place in ((INPUT,) if reduction.places == INPUT else layers)
    ]
