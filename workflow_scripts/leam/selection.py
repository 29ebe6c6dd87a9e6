"""Whom the figures and the explorer show, drawn with the run's seed and never picked by hand; and whether anybody."""

import numpy as np

from leam import storage
from leam.reasons import NOBODY


def draw_identities(paths: list[str], kind: str, count: int, seed: int) -> list[tuple[int, str]]:
    """Up to ``count`` identities with two images or more, as (number of the file, identity), sorted by identity.

    paths : shards of ``kind``, "faces" or "maps". Drawn file by file until there are enough, so that few are read.
    """
    rng = np.random.default_rng(seed)
    chosen: list[tuple[int, str]] = []
    for number in rng.permutation(len(paths)).tolist():
        with storage.open_shard(paths[number], kind) as shard:
            names = [name for name in storage.identities(shard) if len(storage.read_images(shard, name)) > 1]
        chosen += [(number, names[position]) for position in rng.permutation(len(names))[: count - len(chosen)]]
        if len(chosen) == count:
            break
    return sorted(chosen, key=lambda person: person[1])


def say_nobody(maps: dict[str, list[str]]) -> str:
    """Of recognisers without anybody, in two sentences; "" where each has somebody. maps : all files of each."""
    empty = [model for model, paths in maps.items() if not any(map(_has_people, paths))]
    made = "Tables without rows and figures that say so are made all the same."
    return f"Under {', '.join(empty)} {NOBODY}. {made}" if empty else ""


def _has_people(path: str) -> bool:
    with storage.open_shard(path, "maps") as shard:
        return bool(storage.identities(shard))
