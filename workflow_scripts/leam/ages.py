"""Similarity against the difference in age, unoccluded and occluded (paper RQ7, table 24; METHOD 6).

Ages stand in the names of the images, as in FG-NET (`NNNAyy[letter]`). Only the anchor of a pair is occluded: by the
top p % of its image map under the guide's first layer, or by random pixels.

Shape letters: N images of one identity, K pixels that a ranking holds, I identities, G side of the common grid.
"""

import contextlib
import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from leam import maps, models, occlusion, paper, storage
from leam.config import FGNET_AGE
from leam.models import Recogniser
from leam.occlusion_tables import holm, resample, signed_rank

log = logging.getLogger(__name__)

PERCENTS = (0.1, 1.0)  # occluded, percent of the grid (METHOD 6)
UNOCCLUDED = "none"  # the kind of pairs as they are
CELL = ["kind", "guide", "layer", "polarity", "percent"]
COLUMNS = ["model", *CELL, "identity", "image", "partner", "age_difference_years", "cosine", "untrained"]


def read_age(image: str, pattern: str = FGNET_AGE) -> float:
    """The age in years in an image's name: the first group of ``pattern``; NaN where it does not match."""
    found = re.search(pattern, image)
    return float(found.group(1)) if found else float("nan")


# ---------------------------------------------------------------------------------------------------------- the pairs


def rankings(guide: str, layer: str, settings: occlusion.OcclusionSettings) -> list[occlusion.Ranking]:
    """What is occluded: the top of the image map under each polarity, and as many random pixels, drawn repeatedly."""
    own = [occlusion.Ranking("image", guide, layer, polarity, PERCENTS) for polarity in settings.polarities]
    draws = range(settings.repeats)
    return [*own, *(occlusion.Ranking("random", percents=PERCENTS, repeat=number) for number in draws)]


def measure_ages(
    faces: str | Path,
    guides: dict[str, str | Path],
    output: str | Path,
    recogniser: Recogniser,
    settings: occlusion.OcclusionSettings,
    *,
    guide: str,
    pattern: str = FGNET_AGE,
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Cosines of a shard's pairs by age difference: results/ages/{model}/{shard}.parquet.

    faces : the shard's faces; guides : {model: its maps file of this shard}, of the recogniser and of ``guide``
    One row per kind, guide, layer, polarity, percent and ordered pair of images that both have an age: ``cosine`` with
    the anchor (``image``) occluded, the mean over the draws of random pixels; kind "none" is unoccluded. Images
    without an age in their name, and anchors whose guide has no map of them, are left out, with a line in the log.
    """
    where, tables = maps.choose_device(device), []
    with contextlib.ExitStack() as stack:
        parsed = stack.enter_context(storage.open_shard(faces, "faces"))
        opened = {name: stack.enter_context(storage.open_shard(path, "maps")) for name, path in guides.items()}
        occlusion.check(opened, storage.sha256(faces), recogniser)
        own = opened[recogniser.name]
        sources = occlusion.Sources(recogniser, opened, storage.Averages([], [], {}), seed=seed)
        planned = rankings(guide, sources.layers[guide][0], settings)
        network = occlusion.networks(sources, planned, recogniser, where)
        untrained = recogniser.untrained or storage.is_untrained(opened[guide])
        for identity in storage.identities(own):
            images = storage.read_images(own, identity)
            ages = np.array([read_age(image, pattern) for image in images])
            if np.isnan(ages).any():
                log.info("%s: %d of %d images have no age", identity, np.isnan(ages).sum(), len(ages))
            crops = storage.read_faces(parsed, identity).crops[storage.used_faces(own, parsed, identity)]
            with maps.arithmetic(sources.precision, where):
                x = models.prepare(crops, recogniser).to(where)
                occluder = occlusion.Occluder(
                    network,
                    recogniser,
                    x,
                    occlusion.filling(settings.fill, x, recogniser, seed),
                    torch.from_numpy(storage.read_embeddings(own, identity)).to(where),
                    grid=sources.grid,
                    batch=settings.batch,
                )
                cosines = measure_identity(occluder, planned, sources.orders(planned, identity, images, x))
            tables += [_pairs(cell, cosine, images, ages).assign(identity=identity) for cell, cosine in cosines.items()]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)
    table = table.assign(model=recogniser.name, untrained=untrained)[COLUMNS]
    with storage.whole_file(output) as part:
        table.to_parquet(part, index=False)


def measure_identity(
    occluder: occlusion.Occluder, planned: list[occlusion.Ranking], orders: list[torch.Tensor]
) -> dict[tuple, np.ndarray]:
    """{cell: (N, N)}: cosines of every image, occluded, with every other, unoccluded; NaN where nothing is occluded.

    orders : per ranking the pixels (N, K), largest first. The draws of random pixels are averaged.
    """
    unit = occluder.unit
    found = {(UNOCCLUDED, "", "", "", 0.0): [(unit @ unit.T).cpu().numpy()]}
    for ranking, order in zip(planned, orders, strict=True):
        sizes = occlusion.set_sizes(ranking, occluder.grid)
        for row, size in zip(ranking.rows(), sizes, strict=True):
            found.setdefault(row, []).append(occluder.cosines(order, size))
    return {cell: np.mean(cosines, axis=0) for cell, cosines in found.items()}


def _pairs(cell: tuple, cosine: np.ndarray, images: list[str], ages: np.ndarray) -> pd.DataFrame:
    """One row per ordered pair of different images of known age, with a cosine."""
    anchor, partner = np.nonzero(~np.eye(len(images), dtype=bool))
    difference, value = np.abs(ages[anchor] - ages[partner]), cosine[anchor, partner]
    known = ~np.isnan(difference) & ~np.isnan(value)
    names = np.array(images, dtype=object)
    table = pd.DataFrame({"image": names[anchor], "partner": names[partner], "cosine": value.astype(np.float32)})
    return table.assign(age_difference_years=difference, **dict(zip(CELL, cell, strict=True)))[known]


# --------------------------------------------------------------------------------------------------------- the tables


def tabulate_ages(
    ages: dict[str, list[str]],
    outputs: dict[str, str],
    *,
    bootstrap_samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> None:
    """Table 24 beside the paper's, and how fast the similarity falls with the difference in age.

    ages : per model the files of ``measure_ages``; outputs : paths by the names table24 and age_slopes

    table24 : cosine by difference in years: the mean over identities of the identity's mean, with its interval, and
    pooled_cosine over all pairs. The paper's numbers are of unoccluded pairs.
    age_slopes : the mean over identities of the identity's slope, cosine per ten years, with its interval; p of
    Wilcoxon's signed-rank test that it is 0, Holm's correction over the table.
    """
    options = (bootstrap_samples, confidence, seed)
    years, slopes = [], []
    for model, paths in ages.items():
        table = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
        if not len(table):
            raise ValueError(f"model {model}: no pair of images has ages in its names; see significance.age_pattern")
        for cell, rows in table.groupby(CELL, sort=False):
            keys = {"model": model, **dict(zip(CELL, cell, strict=True)), "untrained": bool(rows["untrained"].any())}
            years.append(average_years(rows, *options).assign(**keys))
            slopes.append(keys | average_slopes(rows, *options))
    slopes = pd.DataFrame(slopes)
    slopes["p_holm"] = holm(slopes["p"].to_numpy())
    numbers = [name for name in slopes if name not in ("model", *CELL, "untrained")]
    for name, table in {
        "table24": _beside_paper(pd.concat(years, ignore_index=True)),
        "age_slopes": slopes[["model", *CELL, *numbers, "untrained"]],
    }.items():
        with storage.whole_file(outputs[name]) as part:
            table.to_csv(part, index=False, float_format="%.6g")


def average_years(rows: pd.DataFrame, samples: int, confidence: float, seed: int) -> pd.DataFrame:
    """One row per difference in years: cosine (mean over identities), its interval, and the pairs' own mean."""
    of_identity = rows.pivot_table(index="identity", columns="age_difference_years", values="cosine", aggfunc="mean")
    grouped = rows.groupby("age_difference_years")["cosine"]
    table = grouped.agg(pooled_cosine="mean", pairs="size").reset_index()
    found = resample(of_identity.to_numpy(float), samples, confidence, seed)
    table["cosine"], table["cosine_low"], table["cosine_high"] = found
    return table.assign(identities=of_identity.notna().sum().to_numpy())


def average_slopes(rows: pd.DataFrame, samples: int, confidence: float, seed: int) -> dict[str, float]:
    """Least-squares slope of the cosine on the difference in age within each identity, averaged over identities."""
    slopes = np.array([_slope(own) for _, own in rows.groupby("identity")])
    slopes = slopes[~np.isnan(slopes)]
    nothing = [np.full(1, np.nan)] * 3
    mean, low, high = resample(slopes[:, None], samples, confidence, seed) if len(slopes) else nothing
    return {
        "cosine_per_decade": float(mean[0]),
        "cosine_per_decade_low": float(low[0]),
        "cosine_per_decade_high": float(high[0]),
        "falling_percent": 100 * float((slopes < 0).mean()) if len(slopes) else float("nan"),
        "identities": len(slopes),
        "p": signed_rank(slopes),
    }


def _slope(own: pd.DataFrame) -> float:
    """Cosine per ten years; NaN where all differences are the same."""
    years = own["age_difference_years"].to_numpy(float) / 10
    years = years - years.mean()
    spread = (years**2).sum()
    return float((years * own["cosine"].to_numpy(float)).sum() / spread) if spread > 0 else float("nan")


def _beside_paper(table: pd.DataFrame) -> pd.DataFrame:
    theirs = paper.read_table("table24").rename(columns={"cosine_similarity": "cosine"}).assign(kind=UNOCCLUDED)
    keys = ["model", "kind", "age_difference_years"]
    found = paper.beside_models(table, theirs, keys, "cosine")
    values = ["cosine", "cosine_low", "cosine_high", "pooled_cosine", "paper", "difference", "paper_of"]
    return found[["model", *CELL, "age_difference_years", *values, "pairs", "identities", "untrained"]]
