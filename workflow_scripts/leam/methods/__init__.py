"""Explanation methods: what the maps of each show, and what the engine needs of it. Imports nothing heavy.

Shape letters: b images, C channels, h, w a layer's map, S signs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

POLARITIES = ("loss", "similarity")  # which is differentiated; the order of the first axis of maps and counts
EQUAL = 1e-6  # 1 - cos below which two embeddings are the same: a pair's gradient is what rounding leaves of 0
PER_PAIR, PER_IMAGE = "pair", "image"  # what a map of a method with passes of its own is of
LAYERS, INPUT = "layers", "input"  # where a method looks; INPUT is also the name of that place
BLACK, BLUR = "black", "blur"  # pictures without content, that a picture is compared with or hidden behind


@dataclass(frozen=True)
class Reduction:
    """A method whose map of a pair follows from the gradient of the similarity and the activation at one place.

    name : of the method; places : LAYERS, the chosen layers' outputs, or INPUT, the image as the network takes it
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


@dataclass(frozen=True)
class Cell:
    """One method at one place: what one map is of."""

    reduction: Reduction
    place: str

    @property
    def name(self) -> str:
        """``method@place``, as files and tables name it; LEAM's own cells have the names of the layers."""
        return self.place if self.reduction.name == "leam" else f"{self.reduction.name}@{self.place}"


def cells_of(reductions: tuple[Reduction, ...], layers: tuple[str, ...]) -> list[Cell]:
    """Every method at every place of its own, method after method."""
    return [
        Cell(reduction, place)
        for reduction in reductions
        for place in (layers if reduction.places == LAYERS else (INPUT,))
    ]
