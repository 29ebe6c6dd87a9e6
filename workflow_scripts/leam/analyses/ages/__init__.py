"""Similarity against the difference in age, unoccluded and occluded (paper RQ7, table 24; docs/method.md 6).

Ages stand in the names of the images, as in FG-NET (`NNNAyy[letter]`). Only the anchor of a pair is occluded: by the
top p % of its image map under the guide's first layer, or by random pixels.

Shape letters: N images of one identity, K pixels that a ranking holds, I identities, G side of the common grid.
"""

AGE_PERCENTS = (0.1, 1.0)  # occluded, percent of the grid (docs/method.md 6)
PAPER_PERCENT = 1.0  # of the paper's table 24
NO_AGES = "no pair of usable images has ages in its names: see age_pattern, and tables/discarded.csv"
UNOCCLUDED = "none"  # the kind of pairs as they are
AGE_KEYS = ["kind", "guide", "layer", "polarity", "fill", "percent"]
AGE_TYPES = {"percent": "float64", "age_difference_years": "float64", "cosine": "float32", "untrained": "bool"}
AGE_COLUMNS = ["model", *AGE_KEYS, "identity", "image", "partner", "age_difference_years", "cosine", "untrained"]
