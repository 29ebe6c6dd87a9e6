"""The common grid: where the units of a recogniser's maps lie, and which pixels are the largest.

A map's unit is placed on the same G x G grid over the crop for every recogniser, in whatever room what follows is
done: counting, occluding, aligning, comparing, drawing. Arrays and tensors are taken alike, and nothing heavy is
imported.

Shape letters: G side of the common grid, h, w a map's own size.
"""

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from leam.regions import CROP_UNITS, WHOLE_CROP, Window

if TYPE_CHECKING:
    from torch import Tensor

Maps = TypeVar("Maps", np.ndarray, "Tensor")
TOP_PERCENTS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 3.0, 5.0, 10.0)
FULL_ACTIVATION = 0.01  # of the map's maximum


def resize_matrix(native: int, grid: int, start: float = 0.0, end: float = CROP_UNITS) -> np.ndarray:
    """Bilinear resizing (align_corners=False) of ``native`` samples to ``grid`` ones: a (grid, native) matrix, float64.

    The samples cover start..end of the crop (in 112ths); grid pixels whose centre lies outside get zero: a map is
    placed where the recogniser looked, not stretched over what it never saw.
    """
    centres = (np.arange(grid) + 0.5) * CROP_UNITS / grid
    position = ((centres - start) / (end - start) * native - 0.5).clip(0, native - 1)
    lower = position.astype(int).clip(max=max(native - 2, 0))
    upper = (lower + 1).clip(max=native - 1)
    matrix = np.zeros((grid, native))
    rows = np.arange(grid)
    matrix[rows, lower] += 1 - (position - lower)
    matrix[rows, upper] += position - lower
    matrix[(centres <= start) | (centres >= end)] = 0
    return matrix


class Grid:
    """Puts a recogniser's maps on the common grid, the same for every recogniser."""

    def __init__(self, side: int, window: Window = WHOLE_CROP):
        """side : G, pixels; window : what the recogniser sees of the crop: top, left, bottom, right in 112ths"""
        self.side, self.window = side, tuple(window)
        self._matrices: dict[tuple[Any, ...], tuple[Any, Any]] = {}  # of the type of the maps, which the key holds

    def place(self, maps: Maps) -> Maps:
        """(..., h, w) -> (..., G, G), non-negative, of the same type."""
        h, w = maps.shape[-2:]
        if (h, w) == (self.side, self.side) and self.window == WHOLE_CROP:
            return maps
        key = (h, w, maps.dtype, maps.device)
        if key not in self._matrices:
            top, left, bottom, right = self.window
            vertical = _like(resize_matrix(h, self.side, top, bottom), maps)
            horizontal = _like(np.ascontiguousarray(resize_matrix(w, self.side, left, right).T), maps)
            self._matrices[key] = vertical, horizontal
        vertical, horizontal = self._matrices[key]
        return vertical @ (maps @ horizontal)


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
