"""The 19 facial regions: their order, their names, and how activated pixels are counted in them.

Shape letters: N images, P ordered pairs, L layers, T thresholds, R = 19 regions.
"""

from collections.abc import Sequence

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
# BiSeNet's of face-parsing.PyTorch, which was trained on the same masks.
BISENET = (
    "background",
    "face",
    "lb",
    "rb",
    "le",
    "re",
    "eyeg",
    "lr",
    "rr",
    "earr",
    "nose",
    "imouth",
    "ulip",
    "llip",
    "neck",
    "neck_l",
    "cloth",
    "hair",
    "hat",
)
Window = tuple[float, float, float, float]  # top, left, bottom, right of what a recogniser sees, in CROP_UNITS
CROP_UNITS = 112  # pixels of a 112 x 112 crop, whatever the crop's real size
WHOLE_CROP: Window = (0, 0, CROP_UNITS, CROP_UNITS)
LABEL_ORDERS = {"farl": REGIONS, "celebamask_hq": CELEBAMASK_HQ, "bisenet": BISENET}
PARTS = {  # of a face, whose places are known
    "eyes": ("re", "le"),
    "re": ("re",),
    "le": ("le",),
    "brows": ("rb", "lb"),
    "nose": ("nose",),
    "mouth": ("imouth", "llip", "ulip"),
    "neck": ("neck",),
}
UPRIGHT = (  # what lies above what, in a face that is not upside down
    *(("eyes", "nose"), ("nose", "mouth"), ("eyes", "mouth"), ("brows", "eyes")),
    *(("eyes", "neck"), ("nose", "neck")),
)
# Parsers err by a few pixels, and take a strip at a side for neck. Of the map's pixels, what a part must have before
# it is asked where it is, and of its side, how far off it may be. Of 144 maps of real faces by a small parser 1 % are
# found wrong, and 81 to 100 % of them read in another order.
LEAST_SHARE, LEAST_NECK, SLACK = 0.002, 0.05, 0.03
FEWEST_PX = 3
WHOLE_MODEL = "all"  # the layer name under which the counts of all layers stand
FULL = "full"  # the threshold name of the full activation
TOP_1 = "1"  # the threshold name of the top 1 %


def farl_labels(label_order: str | Sequence[str]) -> np.ndarray:
    """(L,) uint8: the FaRL label of each label of another order, a key of LABEL_ORDERS or the regions' names."""
    names = LABEL_ORDERS[label_order] if isinstance(label_order, str) else label_order
    return np.array([REGIONS.index(name) for name in names], np.uint8)


def implausible(regions: np.ndarray) -> str:
    """What of a region map (H, W) can be of no upright face, in a few words; "" where nothing is.

    Only of regions that cover some pixels, and beyond what parsers err by; which eye is the left one is not asked.
    """
    rows, columns, (height, width) = {}, {}, regions.shape
    area = dict(zip(REGIONS, np.bincount(regions.ravel(), minlength=len(REGIONS)), strict=False))
    for part, names in PARTS.items():
        y, x = np.nonzero(np.isin(regions, [REGIONS.index(name) for name in names]))
        if len(y) >= max(FEWEST_PX, regions.size * (LEAST_NECK if part == "neck" else LEAST_SHARE)):
            rows[part], columns[part] = np.median(y), np.median(x)
    for above, below in UPRIGHT:
        if above in rows and below in rows and rows[above] > rows[below] + SLACK * height:
            return f"{above} not above {below}"
    if {"re", "le", "nose"} <= columns.keys():
        first, last = sorted((columns["re"], columns["le"]))
        if not first - SLACK * width <= columns["nose"] <= last + SLACK * width:
            return "nose not between the eyes"
    inner = max(area[name] for name in ("nose", "re", "le", "rb", "lb", "llip", "ulip"))
    return "face smaller than a part of it" if area["face"] <= inner and inner else ""


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
