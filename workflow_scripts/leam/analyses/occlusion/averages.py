"""What takes all identities of all shards: the sum of their maps, the threshold, and who is whose other one.

Shape letters: I identities, N images of one identity, h, w a layer's map.
"""

import itertools
import logging
from pathlib import Path

import h5py
import numpy as np

from leam import storage
from leam.analyses.verification import measure as verification_measure
from leam.methods import POLARITIES

log = logging.getLogger(__name__)


def average_maps(maps: list[str | Path], output: str | Path, seed: int = 0) -> None:
    """The sum over all identities of the identity's mean image map, per polarity and layer of one model.

    maps : the model's files of all shards, in order; output : averages/{model}.h5 (``storage.Averages``), with the
    threshold of ``verification.measure.threshold_at``, so that the jobs of a shard need not read all others
    The mean of everyone but one identity is (total - its own mean) / (I - 1): identities weigh the same whatever the
    number of their images. Maps are added in the crop's frame, as they are. One identity at a time is in memory.
    """
    averages, attributes = storage.Averages([], [], {}), {}
    averages.threshold = float(verification_measure.score_verification(Path(output).stem, maps, seed)["threshold"])
    for path in maps:
        with storage.open_shard(path, "maps") as shard:
            attributes = {name: shard.attrs[name] for name in ("model", "layers", "grid", "recogniser", "untrained")}
            for identity in storage.identities(shard):
                averages.identities.append(identity)
                averages.shards.append(Path(path).name)
                _add(averages.totals, shard, identity)
        log.info("%s: %d identities so far", path, len(averages.identities))
    with storage.create_shard(output, "averages", **attributes) as shard:
        storage.write_averages(shard, averages)


def _add(totals: dict[tuple[str, str], np.ndarray], shard: h5py.File, identity: str) -> None:
    for polarity, layer in itertools.product(POLARITIES, storage.read_layers(shard)):
        mean = storage.read_layer_maps(shard, identity, polarity, layer).mean(0, dtype=np.float64)
        totals[polarity, layer] = totals.get((polarity, layer), 0) + mean


def mean_of_others(total: np.ndarray, own: np.ndarray, identities: int) -> np.ndarray:
    """The mean map (h, w) of all identities but one, from the total and that one's own mean; I is at least 2."""
    return np.maximum(total - own, 0) / (identities - 1)


def other_identities(identities: list[str], seed: int, count: int = 1) -> dict[str, list[str]]:
    """For each identity ``count`` others, drawn with the seed: all stand in one shuffled circle, before their others.

    So everyone is the first other of exactly one, the second of exactly one, and so on. count : below the identities
    """
    circle = np.random.default_rng(seed).permutation(sorted(identities)).tolist()
    around = circle + circle[:count]
    return {name: around[place + 1 : place + 1 + count] for place, name in enumerate(circle)}


def leave_one_out(maps: np.ndarray) -> np.ndarray:
    """(N, h, w) -> (N, h, w): for each image the mean of the others' maps; N is at least 2."""
    n = len(maps)
    weights = (np.ones((n, n)) - np.eye(n)) / (n - 1)
    return (weights @ maps.reshape(n, -1).astype(np.float64)).reshape(maps.shape)
