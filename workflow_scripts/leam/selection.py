"""Whom the figures and the explorer show: identities drawn with the run's seed, never picked by hand."""

import numpy as np

from leam import storage
from leam.reasons import NOBODY


def draw_identities(paths: list[str], kind: str, count: int, seed: int) -> list[tuple[int, str]]:
    """Up to ``count`` identities with two images or more, as (number of the file, identity), sorted by identity.

    paths : shards of ``kind``, "faces" or "maps". Drawn file by file until there are enough, so that few are read.
    Raises ValueError when nobody has two images.
    """
    rng = np.random.default_rng(seed)
    chosen: list[tuple[int, str]] = []
    for number in rng.permutation(len(paths)).tolist():
        with storage.open_shard(paths[number], kind) as shard:
            names = [name for name in storage.identities(shard) if len(storage.read_images(shard, name)) > 1]
        chosen += [(number, names[position]) for position in rng.permutation(len(names))[: count - len(chosen)]]
        if len(chosen) == count:
            break
    if not chosen:
        raise ValueError(f"{paths[0]}: {NOBODY}")
    return sorted(chosen, key=lambda person: person[1])
