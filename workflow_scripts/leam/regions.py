"""The 19 facial regions: their order, their names, and how activated pixels are counted in them.

Shape letters: N images, P ordered pairs, L layers, T thresholds, R = 19 regions.
"""

import numpy as np

# The class order of FaRL's `farl/celebm/448` parser as pyfacer names it. Left and right are the subject's own.
REGIONS = (
    "background",
    "neck",
    "face",
    "cloth",
    "rr",
    "lr",
    "rb",
    "lb",
    "re",
    "le",
    "nose",
    "imouth",
    "llip",
    "ulip",
    "hair",
    "eyeg",
    "hat",
    "earr",
    "neck_l",
)
# CelebAMask-HQ numbers the same regions differently; entry k is its name of label k, in our names.
CELEBAMASK_HQ = (
    "background",
    "face",
    "nose",
    "eyeg",
    "le",
    "re",
    "lb",
    "rb",
    "lr",
    "rr",
    "imouth",
    "ulip",
    "llip",
    "hair",
    "hat",
    "earr",
    "neck_l",
    "neck",
    "cloth",
)
Window = tuple[int, int, int, int]  # top, left, bottom, right of what a recogniser sees of the crop, in CROP_UNITS
CROP_UNITS = 112  # pixels of a 112 x 112 crop, whatever the crop's real size
WHOLE_CROP: Window = (0, 0, CROP_UNITS, CROP_UNITS)
LABEL_ORDERS = {"farl": REGIONS, "celebamask_hq": CELEBAMASK_HQ}
WHOLE_MODEL = "all"  # the layer name under which the counts of all layers stand
FULL = "full"  # the threshold name of the full activation
TOP_1 = "1"  # the threshold name of the top 1 %


def resize_regions(regions: np.ndarray, side: int) -> np.ndarray:
    """Region maps (N, S, S) uint8 -> (N, side, side), nearest neighbour at pixel centres (docs/method.md 2.4)."""
    nearest = ((np.arange(side) + 0.5) * regions.shape[-1] / side).astype(int)
    return regions[:, nearest[:, None], nearest]


def area_percents(regions: np.ndarray) -> np.ndarray:
    """The share of each region among all pixels: (N, G, G) uint8 -> (R,), percent, the mean over the images."""
    return np.bincount(regions.ravel(), minlength=len(REGIONS)) * (100 / regions.size)


def share_percents(counts: np.ndarray) -> np.ndarray:
    """Counts (..., R) -> percent of their sum over the regions; NaN where nothing was counted."""
    sums = counts.sum(-1, keepdims=True)
    return np.divide(100.0 * counts, sums, out=np.full(counts.shape, np.nan), where=sums > 0)
