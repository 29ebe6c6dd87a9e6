"""Frames in which maps of different images can be laid over each other (docs/method.md 4).

A frame is a similarity transform (rotation, one scale, shift; no shear) from the grid pixels of an image's crop to
those of a target, the one that brings the image's 68 landmarks closest to the target's:

    identity    the target is a reference image of the same identity, drawn with the seed and turned until its eye
                corners are level (the paper's way: across identities such maps share no frame)
    canonical   the target is one template for all identities, the mean shape of faces drawn with the seed
    none        maps stay as they come

Points are x then y, in pixels of the common grid; the centre of the top left pixel is (0, 0).
Shape letters: N images, C channels, h, w a map's native size, G side of the common grid.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from leam.faces.frames import similarity_frame, transform
from leam.grid import Grid
from leam.regions import CROP_UNITS

SHAPE = (68, 2)
EYE_CORNERS = (36, 45)  # the outer ones, the picture's left first (iBUG's order of 68 landmarks)
SMALLEST_PX = 1.0  # landmarks that spread less (standard deviation) are no face
PROCRUSTES_ROUNDS = 10  # the mean shape changes by less than 1e-6 px long before


def to_grid(landmarks: np.ndarray, side: int, grid: int) -> np.ndarray:
    """Landmarks (..., 2) from pixels of a crop with this side to pixels of the common grid."""
    return (landmarks.astype(float) + 0.5) * (grid / side) - 0.5


def are_usable(landmarks: np.ndarray) -> np.ndarray:
    """(N,) bool: which of the landmarks (N, 68, 2) are known and spread over a face."""
    known = np.isfinite(landmarks).all((1, 2))
    spread = np.where(known[:, None, None], landmarks, 0).std(1).max(1)
    return known & (spread >= SMALLEST_PX)


def level_eyes(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks (68, 2) turned about their mean until the outer eye corners are level."""
    right, left = landmarks[list(EYE_CORNERS)]
    angle = np.arctan2(*(left - right)[::-1])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = landmarks.mean(0)
    return (landmarks - centre) @ turn.T + centre


def draw_reference(identity: str, landmarks: np.ndarray, seed: int) -> np.ndarray:
    """The reference shape (68, 2) of an identity, eyes level: of one of its images (N, 68, 2), drawn with the seed.

    NaN when no image has usable landmarks. The draw depends on nothing but the seed and the identity.
    """
    usable = np.flatnonzero(are_usable(landmarks))
    if not len(usable):
        return np.full(landmarks.shape[1:], np.nan)
    rng = np.random.default_rng([seed, *identity.encode()])
    return level_eyes(landmarks[rng.choice(usable)])


def mean_shape(landmarks: np.ndarray) -> np.ndarray:
    """The template (68, 2): the Procrustes mean of faces (N, 68, 2), at their mean place and size, eyes level.

    NaN when there are no faces.
    """
    if not len(landmarks):
        return np.full(landmarks.shape[1:], np.nan)
    centres = landmarks.mean(1, keepdims=True)
    sizes = np.sqrt(((landmarks - centres) ** 2).sum((1, 2)))
    mean = level_eyes(landmarks[0])
    for _ in range(PROCRUSTES_ROUNDS):
        mean = np.mean([transform(shape, similarity_frame(shape, mean)) for shape in landmarks], axis=0)
        mean = level_eyes(mean) - mean.mean(0)
        mean *= sizes.mean() / np.sqrt((mean**2).sum())
    return mean + centres.mean((0, 1))


def frames_onto(landmarks: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(N, 3, 3): the similarity transform of each image's landmarks (N, 68, 2) onto its target's (N, 68, 2).

    NaN where either is unusable.
    """
    frames = np.full((len(landmarks), 3, 3), np.nan)
    for n in np.flatnonzero(are_usable(landmarks) & are_usable(targets)):
        frames[n] = similarity_frame(landmarks[n], targets[n])
    return frames


class Warp:
    """Moves maps into their frames, on the common grid, by one bilinear sampling from their native size.

    Where a frame is the identity this is ``grid.Grid.place``. Outside of what the recogniser sees of the crop a map is
    zero. Where a frame is NaN, so is the map.
    """

    def __init__(self, frames: np.ndarray, grid: Grid):
        """frames : (N, 3, 3), grid pixels of each image's crop to those of its target; grid : where maps are placed"""
        self.grid = grid
        known = np.isfinite(frames).all((1, 2))
        sources = torch.from_numpy(np.linalg.inv(np.where(known[:, None, None], frames, np.eye(3))))
        steps = torch.arange(grid.side, dtype=torch.float64)
        across, down = torch.meshgrid(steps, steps, indexing="xy")
        pixels = torch.stack((across, down, torch.ones_like(across)), dim=-1)  # (G, G, 3)
        where = torch.einsum("nij,yxj->nyxi", sources[:, :2], pixels)  # (N, G, G, 2) in grid pixels of the crop
        top, left, bottom, right = grid.window
        start = torch.tensor([left, top], dtype=torch.float64)
        extent = torch.tensor([right - left, bottom - top], dtype=torch.float64)
        # -1 to 1 from edge to edge of the window
        self.where = 2 * ((where + 0.5) * (CROP_UNITS / grid.side) - start) / extent - 1
        self.outside = ~(self.where.abs() < 1).all(-1).unsqueeze(1)  # (N, 1, G, G)
        self.unknown = torch.from_numpy(~known)

    def __call__(self, maps: Tensor, place: str = "") -> Tensor:
        """Maps (N, C, h, w) of a place (a layer) -> (N, C, G, G) float64."""
        where = self._where(place, (maps.shape[-2], maps.shape[-1]))
        warped = functional.grid_sample(maps.double(), where, padding_mode="border", align_corners=False)
        warped.masked_fill_(self.outside, 0)
        warped[self.unknown] = torch.nan
        return warped

    def _where(self, place: str, native: tuple[int, int]) -> Tensor:
        """(N, G, G, 2), across and down: -1 to 1 from edge to edge of the map, as ``grid_sample`` takes it."""
        if place not in self.grid.lattices:
            return self.where
        axes = []
        for axis, position in ((1, self.where[..., 0]), (0, self.where[..., 1])):
            units = self.grid.units((position + 1) / 2, axis, native[axis], place)
            axes.append((2 * units + 1) / native[axis] - 1)
        return torch.stack(axes, dim=-1)
