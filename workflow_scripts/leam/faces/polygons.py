"""Regions without a parser: polygons of the 68 landmarks, painted over each other (docs/method.md 2.2).

Landmarks outline neither forehead, brows nor the wings of the nose; what is missing follows from constants, in units of
the face itself, so that any turn, size or mirror of the points moves the polygons with them. No polygon knows hair,
ears, neck, clothes or what a face wears: there, a map has what lies beneath or behind.

Shape letters: S side of a crop, n corners of a polygon.
"""

import numpy as np

from leam.reasons import NO_LANDMARKS, UnusablePictureError
from leam.regions import REGIONS

# Chosen where the polygons agree best, to 0.002, with the label maps of real and of rendered faces (tests/benchmarks/
# bench_regions.txt). Heights are in units of the face's: from the chin to the middle of the jaw's ends.
FOREHEAD = 0.75  # of the arc over the jaw's ends, which stands straight on the line between them
BROW = 0.035  # a brow reaches this far above and below its points
WING, BRIDGE = 0.2, 0.2  # of the nose's width between the nostrils' outer points: how far it is wider on each side
ARC_STEPS = 32
JAW, CHIN = slice(0, 17), 8
RIGHT_BROW, LEFT_BROW = slice(17, 22), slice(22, 27)  # of the subject; the picture's left first
RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)
UPPER_LIP = [*range(48, 55), *range(64, 59, -1)]
LOWER_LIP = [*range(54, 60), 48, 60, *range(67, 63, -1)]
INNER_MOUTH = slice(60, 68)
PAINTED = ("face", "rb", "lb", "re", "le", "nose", "ulip", "llip", "imouth")  # each over those before
UNSEEN = tuple(region for region in REGIONS if region not in ("background", *PAINTED))


def outlines(landmarks: np.ndarray) -> dict[str, np.ndarray]:
    """The polygon (n, 2) of each region of PAINTED, in that order, of 68 landmarks (68, 2)."""
    p = np.asarray(landmarks, float)
    middle = (p[0] + p[16]) / 2
    up, across = middle - p[CHIN], (p[16] - p[0]) / 2
    straight = up - across * (up @ across / (across @ across) if across.any() else 0)  # a turned head's chin is aside
    turn = np.linspace(0, np.pi, ARC_STEPS + 1)[1:-1, None]
    forehead = middle + np.cos(turn) * across + np.sin(turn) * FOREHEAD * straight
    width = p[35] - p[31]
    nose = [p[27] - BRIDGE * width, p[31] - WING * width, *p[32:35], p[35] + WING * width, p[27] + BRIDGE * width]
    polygons = (
        np.concatenate((p[JAW], forehead)),
        *(np.concatenate((p[brow] + BROW * up, p[brow][::-1] - BROW * up)) for brow in (RIGHT_BROW, LEFT_BROW)),
        *(p[RIGHT_EYE], p[LEFT_EYE], np.stack(nose), p[UPPER_LIP], p[LOWER_LIP], p[INNER_MOUTH]),
    )
    return dict(zip(PAINTED, polygons, strict=True))


def inside(polygon: np.ndarray, size: int) -> np.ndarray:
    """(S, S) bool: the pixels whose centres lie inside a polygon (n, 2), px; where it winds around them, if it crosses
    itself. Of edges, the left and the upper one belong to it.

    Every edge adds its direction to all pixels on its right, in the rows whose centres it passes.
    """
    winding = np.zeros((size, size + 1), np.int32)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        first, last = np.clip(np.ceil([min(y0, y1), max(y0, y1)]), 0, size).astype(int)
        rows = np.arange(first, last)
        crossed = x0 + (rows - y0) * ((x1 - x0) / (y1 - y0)) if len(rows) else rows
        winding[rows, np.clip(np.ceil(crossed), 0, size).astype(int)] += 1 if y1 > y0 else -1
    return winding.cumsum(axis=1)[:, :size] != 0


def landmark_regions(landmarks: np.ndarray, size: int) -> np.ndarray:
    """(S, S) uint8 label map in FaRL order of 68 landmarks (68, 2) px of the crop.

    Raises UnusablePictureError("no landmarks") where they are unknown, or outline no pixel of the crop.
    """
    labels = np.zeros((size, size), np.uint8)
    if np.isfinite(landmarks).all():
        for region, polygon in outlines(landmarks).items():
            labels[inside(polygon, size)] = REGIONS.index(region)
    if REGIONS.index("face") not in labels:
        raise UnusablePictureError(NO_LANDMARKS)
    return labels
