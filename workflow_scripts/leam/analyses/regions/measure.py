"""How activated pixels are counted per facial region and identity.

Shape letters: N images, P ordered pairs, L layers, T thresholds, R = 19 regions.
"""

import logging
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from leam import files, storage
from leam.regions import FULL, REGIONS, TOP_1, WHOLE_MODEL, area_percents, resize_regions, share_percents
from leam.statistics import ratio
from leam.tables import categorise, concatenate

log = logging.getLogger(__name__)
COUNT_KEYS = ("model", "polarity", "layer", "threshold", "identity", "region")
COUNT_VALUES = ("count", "percent", "area_percent", "attainable_percent", "pairs", "empty_pairs")
COUNT_COLUMNS = ("layer", "threshold", "region", *COUNT_VALUES, "identity", "polarity")
IMAGE_COLUMNS = ("threshold", "image", "region", "percent", "identity", "polarity")
COUNT_TYPES = dict.fromkeys(COUNT_VALUES, "int64") | dict.fromkeys(COUNT_VALUES[1:4], "float64")


def count_regions(
    maps: list[str | Path],
    faces: list[str | Path],
    output: str | Path,
    images_output: str | Path,
    model: str,
    grid: int = 112,
) -> None:
    """Activated pixels per identity and region, all shards of one model (docs/method.md 2.6, 2.7): two Parquet files.

    maps, faces : the shards' files, in the same order
    output : one row per polarity, layer, threshold, identity and region: ``count`` (pixels, over all pairs of the
    identity), ``percent`` (of the identity's counted pixels; NaN when it has none), ``area_percent`` (the region's
    share of all pixels of the same images), ``attainable_percent`` (what ``percent`` would be if as many of each pair's
    pixels as the anchor's region has room for lay in it), ``pairs``, ``empty_pairs`` (whose map is zero everywhere) and
    ``untrained``. Layer "all" is the whole model: the counts of its layers added up. Of regions that the label maps
    cannot have (``storage.read_unseen_regions``) all shares are NaN: nothing is known of them.
    images_output : ``percent`` of each single image (over its pairs as anchor) for the whole model, full activation and
    top 1 % (docs/method.md 6): one row per polarity, threshold, identity, image and region.
    """
    tables, images, untrained = [], [], False
    for maps_path, faces_path in zip(maps, faces, strict=True):
        with storage.open_shard(maps_path, "maps") as shard, storage.open_shard(faces_path, "faces") as parsed:
            axes = {
                "layer": [*storage.read_layers(shard), WHOLE_MODEL],
                "threshold": storage.read_thresholds(shard),
                "region": list(REGIONS),
            }
            untrained = storage.is_untrained(shard)
            unseen = storage.read_unseen_regions(parsed)
            names = storage.identities(shard)
            for identity in names:
                counts = storage.read_counts(shard, identity)
                counted = _count_identity(counts, shard, parsed, identity, axes, grid)
                tables.append(_without_shares(counted, unseen))
                images.append(_without_shares(_share_images(counts, shard, identity, axes["threshold"]), unseen))
        log.info("%s: %d identities", maps_path, len(names))
    for rows, columns, path in ((tables, COUNT_COLUMNS, output), (images, IMAGE_COLUMNS, images_output)):
        table = concatenate(rows, columns, **COUNT_TYPES)
        table.insert(0, "model", model)
        table["untrained"] = untrained
        named = [key for key in (*COUNT_KEYS, "image") if key in table]
        with files.whole_file(path) as part:
            categorise(table, named).to_parquet(part, index=False)


def _without_shares(table: pd.DataFrame, unseen: list[str]) -> pd.DataFrame:
    """The rows of regions that the label maps cannot have, their shares NaN."""
    columns = [column for column in table if column.endswith("percent")]
    table.loc[table["region"].isin(unseen), columns] = np.nan
    return table


def _count_identity(
    counts: dict[str, np.ndarray], shard: h5py.File, parsed: h5py.File, identity: str, axes: dict, grid: int
) -> pd.DataFrame:
    used = storage.used_faces(shard, parsed, identity)
    labels = resize_regions(storage.read_regions(parsed, identity)[used], grid)
    return pd.concat(
        [
            count_polarity(of_polarity, labels, axes).assign(identity=identity, polarity=polarity)
            for polarity, of_polarity in counts.items()
        ]
    )


def count_polarity(counts: np.ndarray, labels: np.ndarray, axes: dict[str, list[str]]) -> pd.DataFrame:
    """Counts (P, L, T, R), those of each anchor together, and regions (N, G, G) of an identity's anchors -> one row per
    layer (and the whole model), threshold, region; axes : their names, in that order."""
    empty = (counts.sum(3) == 0).sum(0)  # (L, T)
    empty = np.vstack((empty, empty.sum(0)))[..., None]  # (L+1, T, 1)
    pairs = np.array([len(counts)] * counts.shape[1] + [counts.shape[1] * len(counts)])[:, None, None]
    total = counts.sum(0, dtype=np.int64)  # (L, T, R)
    total = np.concatenate((total, total.sum(0, keepdims=True)))  # (L+1, T, R)
    columns = {"count": total, "percent": share_percents(total), "area_percent": area_percents(labels)}
    columns["attainable_percent"] = 100 * ratio(attainable_counts(counts, labels), total.sum(2, keepdims=True))
    columns |= {"pairs": pairs, "empty_pairs": empty}
    index = pd.MultiIndex.from_product(axes.values(), names=axes.keys())
    values = {name: np.broadcast_to(array, total.shape).ravel() for name, array in columns.items()}
    return pd.DataFrame(values, index=index).reset_index()


def attainable_counts(counts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What ``counts`` (P, L, T, R) would add up to in each region if it had as many of every pair's pixels as it has
    room for in the anchor, of regions (N, G, G): (L + 1, T, R), the whole model last.
    """
    room = np.stack([np.bincount(anchor.ravel(), minlength=len(REGIONS)) for anchor in labels])  # (N, R)
    room = room.repeat(len(counts) // len(labels), axis=0)[:, None]  # (P, 1, R)
    of_layers = [
        np.minimum(layer.sum(2, keepdims=True, dtype=np.int64), room).sum(0) for layer in counts.swapaxes(0, 1)
    ]
    return np.stack((*of_layers, np.sum(of_layers, axis=0)))


def _share_images(
    counts: dict[str, np.ndarray], shard: h5py.File, identity: str, thresholds: list[str]
) -> pd.DataFrame:
    """Percent per region of each image of an identity: the whole model, full activation and top 1 %."""
    images, anchors = storage.read_images(shard, identity), storage.read_pairs(shard, identity)[0][:, 0]
    kept = [threshold for threshold in thresholds if threshold in (FULL, TOP_1)]
    axes = {"threshold": kept, "image": images, "region": list(REGIONS)}
    index = pd.MultiIndex.from_product(axes.values(), names=axes.keys())
    tables = []
    for polarity, of_polarity in counts.items():
        chosen = of_polarity[:, :, [thresholds.index(threshold) for threshold in kept]].sum(1, dtype=np.int64)
        total = np.stack([chosen[anchors == anchor].sum(0) for anchor in range(len(images))], axis=1)  # (T, N, R)
        table = pd.DataFrame({"percent": share_percents(total).ravel()}, index=index).reset_index()
        tables.append(table.assign(identity=identity, polarity=polarity))
    return pd.concat(tables)
