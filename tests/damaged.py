"""A small run's outputs, damaged; and a process that reads such files as stages do, so that a crash of it is seen.

python tests/damaged.py < cases        reads lines "KIND PATH", says what became of each: JSON lines
"""

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from leam import config as settings
from leam import files, links, maps, storage, weights
from leam.analyses.occlusion.averages import average_maps
from leam.analyses.regions.measure import count_regions
from leam.analyses.regions.table import tabulate_regions
from leam.analyses.retention.table import tabulate_retention
from leam.analyses.similarity import measure as similarity
from leam.analyses.verification.table import tabulate_verification
from leam.faces import duplicates
from leam.faces import stage as faces_stage
from leam.sample import rendering
from leam.tables import read_output
from small_recognisers import make_narrow

NARROW = make_narrow("narrow", layers=["conv1", "layer1.0.conv1"])
SIMILARITY = dataclasses.replace(similarity.SimilaritySettings(), grid=56)
REGION_TABLES = ("regions", "table01", "table02", "table10", "table11", "table12_to_20")


# ----------------------------------------------------------------------------------------------------------- the run


def make_run(folder: Path) -> dict[str, Path]:
    """The outputs of a run on two rendered people of three pictures each, by kind; about a second of computing."""
    config = settings.complete({"source": {"sample": {"identities": 2, "images": 3, "size": 128}}})
    source = settings.chosen_source(config)
    found = {name: folder / f"{name}.h5" for name in ("images", "faces", "maps", "averages", "population")}
    found |= {name: folder / f"{name}.parquet" for name in ("links", "counts", "shares", "pairs", "nulls")}
    found |= {name: folder / f"{name}.csv" for name in ("duplicates", "retention", "discarded", "verification")}
    found |= {name: folder / f"{name}.csv" for name in REGION_TABLES} | {"weights": folder / "narrow.ok"}
    links.list_links(found["links"], source=source, identities_per_job=2)
    rendering.render_sample(found["links"], found["images"], shard="00000", seed=0, size=128, region=None)
    faces_stage.parse_faces(found["images"], found["faces"], settings.faces_settings(config))
    duplicates.find_duplicates([found["images"]], [found["faces"]], found["duplicates"])
    weights.fetch_weights(found["weights"], NARROW)
    maps.compute_maps(
        found["faces"], found["maps"], NARROW, maps.MapSettings(grid=56), duplicates=found["duplicates"], device="cpu"
    )
    of_model = {"narrow": [found["maps"]]}
    tabulate_retention(found["links"], [found["faces"]], of_model, found["retention"], found["discarded"])
    tabulate_verification(of_model, found["verification"])
    average_maps([found["maps"]], found["averages"])
    count_regions([found["maps"]], [found["faces"]], found["counts"], found["shares"], "narrow", 56)
    tabulate_regions({"narrow": found["counts"]}, {name: found[name] for name in REGION_TABLES})
    compared = [found["maps"]], [found["faces"]]
    similarity.average_population(*compared, found["population"], settings=SIMILARITY)
    similarity.measure_similarity(*compared, found["population"], found["pairs"], found["nulls"], settings=SIMILARITY)
    return found


# ----------------------------------------------------------------------------------------------------------- damage


def unchecked_pieces(path: Path) -> list[tuple[int, int]]:
    """The pieces (first byte, bytes) that the digest of an HDF5 file is of."""
    lines = files.digest_path(path).read_text().splitlines()[1:]
    return [(int(start), int(size)) for start, size in map(str.split, lines)]


def flip(path: Path, place: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def damage(path: Path, rng: np.random.Generator) -> str:
    """Flip a bit: of an HDF5 file mostly where HDF5 has no checksum, and now and then of the digest itself."""
    if rng.random() < 0.1:
        path = files.digest_path(path)
    pieces = [(0, path.stat().st_size)]
    if path.suffix == ".h5" and rng.random() < 0.7:
        pieces = unchecked_pieces(path)
    starts, sizes = np.array(pieces).T
    piece = rng.choice(len(pieces), p=sizes / sizes.sum())
    place, bit = int(starts[piece] + rng.integers(sizes[piece])), int(rng.integers(8))
    flip(path, place, bit)
    return f"{path.name}: bit {bit} of byte {place}"


def cut(path: Path, rng: np.random.Generator) -> str:
    size = int(rng.integers(path.stat().st_size))
    with open(path, "r+b") as file:
        file.truncate(size)
    return f"{path.name}: cut to {size} bytes"


def copies(run: dict[str, Path], folder: Path, number: int) -> Iterator[tuple[str, Path]]:
    """So many files of a run in turn, each with its digest in a folder of its own: kind, path."""
    kinds = list(run)
    for place in range(number):
        kind = kinds[place % len(kinds)]
        to = folder / f"{place}"
        to.mkdir(parents=True)
        for path in (run[kind], files.digest_path(run[kind])):
            shutil.copy(path, to)
        yield kind, to / run[kind].name


# ---------------------------------------------------------------------------------------------------------- reading


def read_images(path: Path) -> list:
    with storage.open_shard(path, "images") as shard:
        ledger = storage.read_ledger(shard)
        return [ledger, *(storage.read_pictures(shard, name) for name in storage.identities(shard))]


def read_faces(path: Path) -> list:
    with storage.open_shard(path, "faces") as shard:
        people = [
            (storage.read_faces(shard, name), storage.read_side(shard, name)) for name in storage.identities(shard)
        ]
        return [json.loads(shard.attrs["settings"]), storage.read_discarded(shard), *people]


def read_maps(path: Path) -> list:
    with storage.open_shard(path, "maps") as shard:
        names = storage.identities(shard)
        read = storage.read_layers, storage.read_thresholds, storage.read_recogniser, storage.is_untrained
        described = [each(shard) for each in (*read, storage.read_grid, storage.read_discarded)]
        return [described, dict(shard.attrs), *(storage.read_maps(shard, name) for name in names)]


def read_population(path: Path) -> list:
    with storage.open_shard(path, "population") as shard:
        return [shard.attrs["model"], *storage.read_population(shard, list(NARROW.layers))]


READERS: dict[str, Callable[[Path], object]] = {
    "images": read_images,
    "faces": read_faces,
    "maps": read_maps,
    "averages": storage.read_averages,
    "population": read_population,
    "duplicates": duplicates.read_duplicates,
    "weights": lambda path: weights.fetched(path, NARROW),
}


def plain(value: object) -> str:
    """All that is in a value, as text: equal for equal data."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{value.tobytes() if value.dtype != object else value.tolist()}"
    if isinstance(value, pd.DataFrame):
        return f"{value.dtypes.to_dict()}{value.to_csv()}{value.attrs}"
    if dataclasses.is_dataclass(value):
        return plain(vars(value))
    if isinstance(value, dict):
        return f"{[(plain(key), plain(each)) for key, each in value.items()]}"
    if isinstance(value, (list, tuple)):
        return f"{[plain(each) for each in value]}"
    return repr(value)


def read(kind: str, path: Path) -> str:
    """A digest of what a stage reads from a file."""
    return hashlib.sha256(plain(READERS.get(kind, read_output)(path)).encode()).hexdigest()


def outcome(kind: str, path: Path) -> dict[str, str]:
    """What becomes of reading a file: its data, the sentence of a refusal, or what was raised raw."""
    try:
        return {"data": read(kind, path)}
    except files.StorageError as error:
        return {"refused": str(error)}
    except Exception as error:
        return {"raw": f"{type(error).__name__}: {error}"}


def outcomes(cases: list[tuple[str, Path]]) -> list[dict[str, str]]:
    """The ``outcome`` of every case, read in processes of their own, one after another; "crashed" where one died."""
    found: list[dict[str, str]] = []
    while len(found) < len(cases):
        lines = "".join(f"{kind} {path}\n" for kind, path in cases[len(found) :])
        environment = {"PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run(
            [sys.executable, __file__], input=lines, env=environment, stdout=subprocess.PIPE, text=True
        )
        found += [json.loads(line) for line in done.stdout.splitlines()]
        if len(found) < len(cases):
            found.append({"crashed": f"{done.returncode}"})
    return found


if __name__ == "__main__":
    for line in sys.stdin:
        kind, path = line.rstrip("\n").split(" ", 1)
        print(json.dumps(outcome(kind, Path(path))), flush=True)
