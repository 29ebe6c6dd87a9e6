"""Cosines of pairs of one person by the difference in age, unoccluded and occluded.

Only the anchor of a pair is occluded: by the top p % of its image map under the guide's first layer, or by random
pixels. Shape letters: N images of one identity, K pixels that a ranking holds, G side of the common grid.
"""

import contextlib
import dataclasses
import itertools
import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from leam import files, storage
from leam.analyses.ages import AGE_COLUMNS, AGE_KEYS, AGE_PERCENTS, AGE_TYPES, PAPER_PERCENT, UNOCCLUDED
from leam.analyses.occlusion import ALL_MASKS, TWIN_FILL, paper_fill
from leam.analyses.occlusion import measure as occlusion_measure
from leam.controls import IMAGE, RANDOM
from leam.device import arithmetic, choose_device
from leam.embedding import cosines_of
from leam.recognisers import networks
from leam.recognisers.registry import Recogniser
from leam.tables import concatenate

log = logging.getLogger(__name__)


def read_age(image: str, pattern: str) -> float:
    """The age in years in an image's name: the first group of ``pattern``; NaN where that is no number of 0 or more."""
    found = re.search(pattern, image)
    text = (found.group(1) if found else None) or ""
    return float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) else float("nan")


def plan_age_rankings(
    guide: str, layer: str, settings: occlusion_measure.OcclusionSettings
) -> list[occlusion_measure.Ranking]:
    """What is occluded: the top of the image map of each polarity, and as many random pixels.

    masks "shown" : under the paper's fill at every percent, as table 24 and the figure show, and under the headline's
    fill at the paper's percent, so that the slopes have both; "all" : under every fill at every percent.
    """
    masks, draws = tuple(itertools.product(settings.fills, AGE_PERCENTS)), range(settings.repeats)
    if settings.masks != ALL_MASKS:
        shown = {
            *itertools.product([paper_fill(settings.fills)], AGE_PERCENTS),
            (settings.headline_fill, PAPER_PERCENT),
        }
        masks = tuple(mask for mask in masks if mask in shown)
    own = [occlusion_measure.Ranking(IMAGE, guide, layer, polarity, masks) for polarity in settings.polarities]
    return [*own, *(occlusion_measure.Ranking(RANDOM, masks=masks, repeat=number) for number in draws)]


def measure_ages(
    faces: str | Path,
    guides: dict[str, str | Path],
    output: str | Path,
    recogniser: Recogniser,
    settings: occlusion_measure.OcclusionSettings,
    *,
    guide: str,
    pattern: str,
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Cosines of a shard's pairs by age difference: results/ages/{model}/{shard}.parquet.

    faces : the shard's faces; guides : {model: its maps file of this shard}, of the recogniser and of ``guide``
    One row per kind, guide, layer, polarity, fill, percent and ordered pair of images that both have an age:
    ``cosine`` with the anchor (``image``) occluded, the mean over the draws of random pixels; kind "none" is
    unoccluded. ``plan_age_rankings`` says what is tried. Images without an age in their name, and anchors whose guide
    has no map of them, are left out, with a line in the log.
    """
    where, tables = choose_device(device), []
    settings = dataclasses.replace(settings, fills=tuple(fill for fill in settings.fills if fill != TWIN_FILL))
    with contextlib.ExitStack() as stack:
        parsed = stack.enter_context(storage.open_shard(faces, "faces"))
        opened = {name: stack.enter_context(storage.open_shard(path, "maps")) for name, path in guides.items()}
        occlusion_measure.check(opened, files.sha256(faces), recogniser)
        own = opened[recogniser.name]
        sources = occlusion_measure.Sources(recogniser, opened, storage.Averages([], [], {}), seed=seed)
        planned = plan_age_rankings(guide, sources.layers[guide][0], settings)
        network = occlusion_measure.ready_networks(sources, planned, recogniser, where)
        fills = dict.fromkeys(fill for ranking in planned for fill, _ in ranking.masks)
        untrained = recogniser.untrained or storage.is_untrained(opened[guide])
        for identity in storage.identities(own):
            images = storage.read_images(own, identity)
            ages = np.array([read_age(image, pattern) for image in images])
            if np.isnan(ages).any():
                log.info("%s: %d of %d images have no age", identity, np.isnan(ages).sum(), len(ages))
            crops = storage.read_faces(parsed, identity, images).crops
            with arithmetic(sources.precision, where):
                x = networks.to_input(crops, recogniser).to(where)
                occluder = occlusion_measure.Occluder(
                    network,
                    recogniser,
                    x,
                    {fill: occlusion_measure.filling(fill, x, recogniser, seed) for fill in fills},
                    torch.from_numpy(storage.read_embeddings(own, identity)).to(where),
                    grid=sources.grid,
                    batch=settings.batch_images,
                )
                orders = sources.orders(planned, sources.read(planned, identity, images), identity, x)
                cosines = measure_identity(occluder, planned, orders)
            facts = {"identity": identity, "model": recogniser.name, "untrained": untrained}
            tables += [_pairs(cell, cosine, images, ages).assign(**facts) for cell, cosine in cosines.items()]
    with files.whole_file(output) as part:
        concatenate(tables, AGE_COLUMNS, **AGE_TYPES).to_parquet(part, index=False)


def measure_identity(
    occluder: occlusion_measure.Occluder, planned: list[occlusion_measure.Ranking], orders: list[torch.Tensor]
) -> dict[tuple, np.ndarray]:
    """{cell: (N, N)}: cosines of every image, occluded, with every other, unoccluded; NaN where nothing is occluded.

    orders : per ranking the pixels (N, K), largest first. The draws of random pixels are averaged.
    """
    unit = occluder.unit
    found = {(UNOCCLUDED, "", "", "", "", 0.0): [cosines_of(unit, unit).cpu().numpy()]}
    for ranking, order in zip(planned, orders, strict=True):
        sizes = occlusion_measure.set_sizes(ranking, occluder.grid)
        for row, (fill, size) in zip(ranking.rows(), sizes, strict=True):
            found.setdefault(row, []).append(occluder.cosines(order, fill, size))
    return {cell: np.mean(cosines, axis=0) for cell, cosines in found.items()}


def _pairs(cell: tuple, cosine: np.ndarray, images: list[str], ages: np.ndarray) -> pd.DataFrame:
    """One row per ordered pair of different images of known age, with a cosine."""
    anchor, partner = np.nonzero(~np.eye(len(images), dtype=bool))
    difference, value = np.abs(ages[anchor] - ages[partner]), cosine[anchor, partner]
    known = ~np.isnan(difference) & ~np.isnan(value)
    names = np.array(images, dtype=object)
    table = pd.DataFrame({"image": names[anchor], "partner": names[partner], "cosine": value.astype(np.float32)})
    return table.assign(age_difference_years=difference, **dict(zip(AGE_KEYS, cell, strict=True)))[known]
