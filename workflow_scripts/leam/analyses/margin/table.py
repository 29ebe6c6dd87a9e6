"""Calibration: the crop margin at which the regions take as much of the crops as in the paper (docs/method.md 2.3).

Shape letters: M margins, F faces of an identity, R = 19 regions, S side of a crop.
"""

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from leam import paper, storage
from leam.analyses.margin.figure import plot_margins
from leam.faces.frames import square_frame, warp_labels
from leam.faces.parsing import BY_LANDMARKS
from leam.faces.stage import FaceSettings, Models, face_settings, load_models, parse_identity, tune
from leam.regions import REGIONS
from leam.tables import write_table

log = logging.getLogger(__name__)
TRIED_MARGINS = tuple(np.round(np.arange(0, 1.01, 0.05), 2))
BOX_PX = 160  # side of a face's box in the crops from which all margins are cut
GRID_PX = 112


def calibrate_margin(
    images: Sequence[str | Path],
    table: str | Path,
    png: str | Path,
    pdf: str | Path,
    settings: FaceSettings | dict,
    *,
    device: str = "auto",
    threads: int | None = None,
) -> None:
    """The regions' mean area over identities for margins from 0 to 1, beside the paper's base rates (table 20).

    images : the images shards; table : one row per margin and region, with the distance of the margin's shares from
        the paper's: half the sum of absolute differences, in percent of the crop
    Faces are found and parsed once, in crops of the largest margin, of which the others are the middle. Raises
    ValueError if crops are not cut from boxes, label maps are drawn from landmarks, or nobody has a usable face.
    """
    settings = settings if isinstance(settings, FaceSettings) else face_settings(settings)
    if settings.crop_mode != "box":
        raise ValueError(f"faces.crop_mode is {settings.crop_mode}; only box crops have a margin to calibrate")
    if settings.label_maps == BY_LANDMARKS:
        raise ValueError("faces.label_maps is landmarks; maps without hair cannot be compared with the paper's")
    widest = max(TRIED_MARGINS)
    wide = dataclasses.replace(settings, crop_margin=widest, crop_size=round(BOX_PX * (1 + 2 * widest)))
    models = load_models(wide, device, threads)
    tune(models, threads)
    areas = np.array([margin_areas(regions, widest) for regions in _parsed_regions(images, wide, models)])
    if not len(areas):
        raise ValueError("no identity has a usable face")
    found = compare_margins(areas.mean(0)).assign(identities=len(areas))
    best = found.loc[found["distance_percent"].idxmin(), "margin"]
    log.info("margin %.2f comes closest to the paper, of %d identities", best, len(areas))
    write_table(found, table)
    plot_margins(found, png, pdf, used=settings.margin)


def _parsed_regions(images: Sequence[str | Path], settings: FaceSettings, models: Models) -> Iterator[np.ndarray]:
    """The region maps (F, S, S) of each identity's faces."""
    for path in images:
        with storage.open_shard(path, "images") as shard:
            for identity in storage.identities(shard):
                faces, _ = parse_identity(storage.read_pictures(shard, identity), settings, models)
                if faces is not None:
                    yield faces.regions


def margin_areas(regions: np.ndarray, widest: float) -> np.ndarray:
    """Mean area of the regions in percent, (M, R), of crops with each margin cut from (F, S, S) with the widest."""
    size = regions.shape[1]
    middle = np.full(2, (size - 1) / 2)
    areas = np.empty((len(TRIED_MARGINS), len(REGIONS)))
    for row, margin in enumerate(TRIED_MARGINS):
        frame = square_frame(middle, size * (1 + 2 * margin) / (1 + 2 * widest), GRID_PX)
        cut = np.stack([warp_labels(labels, frame, GRID_PX) for labels in regions])
        areas[row] = 100 * np.bincount(cut.ravel(), minlength=len(REGIONS)) / cut.size
    return areas


def compare_margins(areas: np.ndarray) -> pd.DataFrame:
    """Areas (M, R) in percent beside the paper's: margin, region, area_percent, paper, difference, distance_percent."""
    ours = pd.DataFrame(areas, index=pd.Index(TRIED_MARGINS, name="margin"), columns=pd.Index(REGIONS, name="region"))
    ours = ours.stack().rename("percent").reset_index()
    table = paper.beside(ours, paper.base_rates().reset_index(), ["region"], "percent", paper.BASE_RATE_MODEL)
    distance = table.groupby("margin")["difference"].apply(lambda column: column.abs().sum() / 2)
    return table.rename(columns={"percent": "area_percent"}).assign(distance_percent=table["margin"].map(distance))
