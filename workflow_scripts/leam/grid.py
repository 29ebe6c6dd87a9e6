"""The common grid: where the units of a recogniser's maps lie, and which pixels are the largest.

A map's unit is placed on the same G x G grid over the crop for every recogniser, in whatever room what follows is
done: counting, occluding, aligning, comparing, drawing. Arrays and tensors are taken alike, and nothing heavy is
imported.

Shape letters: G side of the common grid, h, w a map's own size.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from leam.regions import CROP_UNITS, WHOLE_CROP, Window

if TYPE_CHECKING:
    from torch import Tensor

Maps = TypeVar("Maps", np.ndarray, "Tensor")
CENTRED = "centred"
PLACEMENTS = (CENTRED, "stretched")
TOP_PERCENTS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 3.0, 5.0, 10.0)
FULL_ACTIVATION = 0.01  # of the map's maximum


@dataclass(frozen=True)
class Lattice:
    """Where a map's units lie on the network's input, down and across: unit k at offset + stride * k.

    In pixels of the input, counted from the centre of its first one.
    """

    offsets: tuple[float, float]
    strides: tuple[float, float]


def resize_matrix(position: np.ndarray, native: int) -> np.ndarray:
    """Bilinear interpolation between ``native`` units at given positions (G,), in units: a (G, native) matrix.

    Beyond the first and the last unit these are held.
    """
    position = position.clip(0, native - 1)
    lower = position.astype(int).clip(max=max(native - 2, 0))
    upper = (lower + 1).clip(max=native - 1)
    matrix = np.zeros((len(position), native))
    rows = np.arange(len(position))
    matrix[rows, lower] += 1 - (position - lower)
    matrix[rows, upper] += position - lower
    return matrix


class Grid:
    """Puts a recogniser's maps on the common grid, the same for every recogniser.

    side : G, pixels; window : what the recogniser sees of the crop: top, left, bottom, right in 112ths
    input_size : (height, width) of what it sees, in its own pixels
    lattices : {place: where the units of its maps lie}; maps of any other place are stretched over the window
    """

    def __init__(
        self,
        side: int,
        window: Window = WHOLE_CROP,
        input_size: tuple[int, int] = (CROP_UNITS, CROP_UNITS),
        lattices: dict[str, Lattice] | None = None,
    ):
        self.side, self.window, self.input_size = side, tuple(window), tuple(input_size)
        self.lattices = lattices or {}
        self._matrices: dict[tuple[Any, ...], tuple[Any, Any]] = {}  # of the type of the maps, which the key holds

    def place(self, maps: Maps, place: str = "") -> Maps:
        """(..., h, w) -> (..., G, G), non-negative, of the same type.

        A unit is put where it lies on the crop, and pixels that the recogniser does not see get zero.
        """
        h, w = maps.shape[-2:]
        if (h, w) == (self.side, self.side) and self.window == WHOLE_CROP and place not in self.lattices:
            return maps
        key = (place, h, w, maps.dtype, maps.device)
        if key not in self._matrices:
            vertical, horizontal = (self._matrix(axis, native, place) for axis, native in enumerate((h, w)))
            self._matrices[key] = _like(vertical, maps), _like(np.ascontiguousarray(horizontal.T), maps)
        vertical, horizontal = self._matrices[key]
        return vertical @ (maps @ horizontal)

    def _matrix(self, axis: int, native: int, place: str) -> np.ndarray:
        start, end = self.window[axis], self.window[axis + 2]
        centres = (np.arange(self.side) + 0.5) * CROP_UNITS / self.side
        within = (centres - start) / (end - start)  # 0 to 1 from edge to edge of the window
        matrix = resize_matrix(self.units(within, axis, native, place), native)
        matrix[(centres <= start) | (centres >= end)] = 0
        return matrix

    def units(self, within: Maps, axis: int, native: int, place: str = "") -> Maps:
        """Places within the window, 0 to 1 from edge to edge, in units of a map that has ``native`` along this axis."""
        if place not in self.lattices:
            return within * native - 0.5
        lattice = self.lattices[place]
        return (within * self.input_size[axis] - 0.5 - lattice.offsets[axis]) / lattice.strides[axis]


def _like(matrix: np.ndarray, maps: Maps) -> Maps:
    """The matrix in the type of the maps, and where they are."""
    return matrix.astype(maps.dtype) if isinstance(maps, np.ndarray) else maps.new_tensor(matrix)


def input_pixels(input_size: tuple[int, int], window: Window, grid: int) -> tuple[np.ndarray, np.ndarray]:
    """Which row and column of the common grid each row (h,) and column (w,) of the input lies in: nearest neighbour."""
    top, left, bottom, right = window
    rows, columns = (
        ((start + (np.arange(side) + 0.5) * (end - start) / side) * grid / CROP_UNITS).astype(int)
        for side, start, end in zip(input_size, (top, left), (bottom, right), strict=True)
    )
    return rows, columns


def set_size(percent: float, pixels: int) -> int:
    """How many pixels the top p % of the grid are (docs/method.md 2.5): round(p / 100 * G * G), at least 1."""
    return max(1, int(percent / 100 * pixels + 0.5))


def largest_pixels(grid_map: np.ndarray, percent: float) -> np.ndarray:
    """The pixels of the top p % of a map (G, G) that are > 0: their places among the G * G, the largest first.

    Of equal pixels the one of the lowest index comes first (docs/method.md 2.5).
    """
    flat = grid_map.ravel()
    chosen = np.argsort(-flat, kind="stable")[: set_size(percent, flat.size)]
    return chosen[flat[chosen] > 0]


def centre_scores(grid: int) -> np.ndarray:
    """(G, G), above 0, larger nearer to the centre: the top p % are a disc."""
    distance = np.hypot(*(np.indices((grid, grid)) - (grid - 1) / 2))
    return grid - distance
