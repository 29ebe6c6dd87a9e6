"""Tables as stages write them, with numbers of the tests' own choice."""

import itertools

import numpy as np
import pandas as pd

from leam.analyses import occlusion
from leam.regions import REGIONS

IMAGES = 4
LEVELS = {"image": 0.20, "own_mean": 0.15, "other_mean": 0.15, "population_mean": 0.10, "shuffled": 0.03}
LEVELS |= {"centre": 0.05, "random": 0.02}


def make_counts(identities=5, seed=0):
    """The table of ``count_regions`` for one model, two layers and the whole model, thresholds 1 and full."""
    rng = np.random.default_rng(seed)
    rows = []
    for identity in (f"p{number}" for number in range(identities)):
        area = rng.dirichlet(np.ones(19)) * 100
        for polarity in ("loss", "similarity"):
            for layer in ("conv1", "conv2", "all"):
                for threshold in ("1", "full"):
                    count = rng.integers(1, 100, 19)
                    percent = 100 * count / count.sum()
                    rows += [
                        (polarity, layer, threshold, identity, *cell, 12, 0)
                        for cell in zip(REGIONS, count, percent, area, np.minimum(100, 3 * area), strict=True)
                    ]
    names = ["polarity", "layer", "threshold", "identity", "region", "count", "percent", "area_percent"]
    table = pd.DataFrame(rows, columns=[*names, "attainable_percent", "pairs", "empty_pairs"])
    table.insert(0, "model", "m")
    return table.assign(untrained=False)


def make_image_shares(identities=5, seed=0):
    """The second table of ``count_regions``, with ``IMAGES`` images of each person."""
    rng = np.random.default_rng(seed)
    rows = []
    for identity in (f"p{number}" for number in range(identities)):
        for polarity in ("loss", "similarity"):
            for threshold in ("1", "full"):
                for image in range(IMAGES):
                    percent = rng.dirichlet(np.ones(19)) * 100
                    percent[16] = 0  # nobody wears a hat
                    rows += [
                        (polarity, threshold, identity, f"{image}", *cell)
                        for cell in zip(REGIONS, percent, strict=True)
                    ]
    names = ["polarity", "threshold", "identity", "image", "region", "percent"]
    return pd.DataFrame(rows, columns=names).assign(model="m", untrained=False)


def make_drops(
    model="IR_CASIA", guides=("IR_CASIA",), identities=10, images=3, seed=0, untrained=False, fills=("black", "mean")
):
    """Drops as ``occlude_faces`` writes them, around planted levels, twice as high under the first fill; own_mean and
    other_mean are alike.
    """
    rng = np.random.default_rng([seed, *model.encode()])
    cells = [("", "", kind, "", percent) for kind in occlusion.MAPLESS_KINDS for percent in (0.1, 1.0)]
    for guide, layer, polarity in itertools.product(guides, ("conv1", "conv2"), ("loss", "similarity")):
        kinds = [kind for kind in LEVELS if kind not in occlusion.MAPLESS_KINDS] if guide == model else ["image"]
        percents = (0.1, 1.0) if layer == "conv1" else (1.0,)
        if guide == model or layer == "conv1":
            cells += [(guide, layer, kind, polarity, percent) for kind in kinds for percent in percents]
    cells = [(*cell[:4], fill, cell[4]) for cell in cells for fill in fills]
    rows = []
    for number in range(identities):
        shift = rng.normal(0, 0.02)
        for image in range(images):
            for guide, layer, kind, polarity, fill, percent in cells:
                level = LEVELS[kind] * (1 + (fill == fills[0])) / 2
                drop = level * percent + shift + rng.normal(0, 0.01)
                keys = (model, guide, layer, polarity, kind, fill, percent, f"p{number:02d}", f"{image}.png")
                rows.append((*keys, 125, images - 1, 0.6, drop, images - 1, int(rng.integers(images)), untrained))
    return pd.DataFrame(rows, columns=occlusion.DROP_COLUMNS)
