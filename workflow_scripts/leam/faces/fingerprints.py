"""What a picture looks like in 16 x 16 cells, so that the same one is known again in whatever file, size or quality.

Shape letters: N pictures, H, W a picture's height and width, C cells down and across,
D = 2 C (C - 1) numbers of a fingerprint.
"""

import cv2
import numpy as np

SIDE_CELLS = 16  # down and across
NUMBERS = 2 * SIDE_CELLS * (SIDE_CELLS - 1)  # of a fingerprint
FLAT = 1e-3  # grey levels: what float32 leaves of a fingerprint of 0


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 RGB -> (C, C) float32: the mean grey level of each cell, 0 to 255."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return cv2.resize(grey, (SIDE_CELLS, SIDE_CELLS), interpolation=cv2.INTER_AREA)


def fingerprints(thumbnails: np.ndarray) -> np.ndarray:
    """Thumbnails (N, C, C) -> (N, D) float32 of norm 1: how grey changes from each cell to the next, down and
    across. They know neither brightness nor contrast. All flat pictures have the same.
    """
    steps = [np.diff(thumbnails, axis=axis).reshape(len(thumbnails), -1) for axis in (1, 2)]
    found = np.concatenate(steps, axis=1).astype(np.float32)
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    flat = norms < FLAT
    return np.where(flat, np.float32(found.shape[1] ** -0.5), found / np.where(flat, 1, norms))
