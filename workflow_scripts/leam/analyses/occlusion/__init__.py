"""How much similarity is lost when the pixels that a map points at are hidden (paper RQ6, RQ7)."""

from collections.abc import Sequence

from leam.controls import CENTRE, IMAGE, OTHER_MEAN, OWN_MEAN, POPULATION_MEAN, RANDOM, SHUFFLED

PAPER_PERCENTS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 5.0, 10.0)
OCCLUSION_KINDS = (IMAGE, OWN_MEAN, OTHER_MEAN, POPULATION_MEAN, SHUFFLED, CENTRE, RANDOM)
MAPLESS_KINDS = (CENTRE, RANDOM)  # they come from no map
CURVE_KINDS = (IMAGE, *MAPLESS_KINDS)  # shown against the occluded share, as the paper does
OTHERS_MEANS = (OTHER_MEAN, POPULATION_MEAN)  # they need a second identity
# What takes the place of occluded pixels, and which masks are tried. A twin is another person in the very same picture,
# which rendered people alone have.
BLACK_FILL, MEAN_FILL, BLUR_FILL, NOISE_FILL, TWIN_FILL = FILLS = ("black", "mean", "blur", "noise", "twin")
SHOWN_MASKS, ALL_MASKS = MASK_PLANS = ("shown", "all")
RANKING_KEYS = ["kind", "guide", "layer", "polarity", "fill", "percent"]
DROP_VALUES = ["pixels", "pairs", "cosine", "drop", "accepted", "lost", "untrained"]
DROP_TYPES = dict.fromkeys(["percent", "cosine", "drop", "accepted", "lost"], "float64")  # of those that hold no text
DROP_TYPES |= {"pixels": "int64", "pairs": "int64", "untrained": "bool"}
DROP_COLUMNS = ["model", "guide", "layer", "polarity", "kind", "fill", "percent", "identity", "image", *DROP_VALUES]


def paper_fill(fills: Sequence[str]) -> str:
    """The fill of the paper's tables: black, as in the paper, or the first where black is not among them."""
    return BLACK_FILL if BLACK_FILL in fills else fills[0]
