"""What digests cost: the share of a job's time that goes into making and looking at them.

    PYTHONPATH=workflow_scripts:tests python tests/benchmarks/bench_digests.py

Each stage is a process of its own, as in a run, and all its processor time counts, imports too: on the embedded sample,
and on one file of maps as large as the paper's are per person (13 images, nine layers), of which a stage reads little.
There `whole` is what a digest of all bytes would take. `write_large` computes nothing; beside a GPU the stage takes as
long as tests/benchmarks/gpu_NVIDIA_H200.txt says (without imports).
"""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leam import files

PEOPLE, IMAGES = 100, 13  # of the large file: those of one job
SIDES = (112, 112, 56, 56, 28, 28, 14, 14, 7)  # of its layers' maps
TABLES = ("regions", "table01", "table02", "table10", "table11", "table12_to_20")
GPU = Path(__file__).with_name("gpu_NVIDIA_H200.txt")
REPEATS = 5
SHARE = "percent of the job's processor time"
MODEL = "sample_arcface"


# ----------------------------------------------------------------------------------------------------------- stages


def list_links(at: Callable[[str], str], config: dict) -> None:
    from leam import config as settings
    from leam import links

    links.list_links(at("links.parquet"), source=settings.chosen_source(config), identities_per_job=100)


def render_sample(at: Callable[[str], str], config: dict) -> None:
    from leam.sample import rendering

    size = config["source"]["sample"]["size"]
    rendering.render_sample(at("links.parquet"), at("images.h5"), shard="00000", seed=0, size=size, region=None)


def parse_faces(at: Callable[[str], str], config: dict) -> None:
    from leam import config as settings
    from leam.faces import stage

    stage.parse_faces(at("images.h5"), at("faces.h5"), settings.faces_settings(config))


def compute_maps(at: Callable[[str], str], config: dict) -> None:
    from leam import maps
    from leam.recognisers import registry

    maps.compute_maps(at("faces.h5"), at("maps.h5"), registry.recogniser(MODEL), maps.MapSettings(), device="cpu")


def average_maps(at: Callable[[str], str], config: dict) -> None:
    from leam.analyses.occlusion import averages

    averages.average_maps([at("maps.h5")], at("averages.h5"))


def count_regions(at: Callable[[str], str], config: dict) -> None:
    from leam.analyses.regions import measure

    outputs = at("counts.parquet"), at("shares.parquet")
    measure.count_regions([at("maps.h5")], [at("faces.h5")], *outputs, MODEL)


def tabulate_regions(at: Callable[[str], str], config: dict) -> None:
    from leam.analyses.regions import table

    table.tabulate_regions({MODEL: at("counts.parquet")}, {name: at(f"{name}.csv") for name in TABLES})


def plot_regions(at: Callable[[str], str], config: dict) -> None:
    from leam.analyses.regions import figure

    drawn = {name: config["analysis"][name] for name in ("polarity", "confidence")}
    figure.plot_regions(at("regions.csv"), at("regions.png"), at("regions.pdf"), **drawn)


def tabulate_verification(at: Callable[[str], str], config: dict) -> None:
    from leam.analyses.verification import table

    table.tabulate_verification({MODEL: [at("maps.h5")]}, at("verification.csv"))


def measure_similarity(at: Callable[[str], str], config: dict) -> None:
    from leam.analyses.similarity import measure

    settings = measure.similarity_settings(config["similarity"], config["maps"]["grid"])
    compared = [at("maps.h5")], [at("faces.h5")], at("population.h5")
    measure.average_population(*compared, settings=settings)
    measure.measure_similarity(*compared, at("pairs.parquet"), at("nulls.parquet"), settings=settings)


def write_large(at: Callable[[str], str], config: dict) -> None:
    import numpy as np

    from leam import maps_file, storage
    from leam.methods import POLARITIES
    from leam.recognisers import registry
    from leam.regions import REGIONS

    rng, layers = np.random.default_rng(0), list(registry.IRESNET_LAYERS)
    pairs = maps_file.ordered_pairs(IMAGES)
    found = {layer: rng.random((IMAGES, side, side), np.float32) for layer, side in zip(layers, SIDES, strict=True)}
    counts = rng.integers(0, 900, (len(pairs), len(layers), 15, len(REGIONS)), dtype=np.uint16)
    described = {"model": MODEL, "recogniser": "{}", "grid": 112, "untrained": True}
    with storage.create_shard(at("maps.h5"), "maps", layers=layers, **described) as shard:
        for person in range(PEOPLE):
            embeddings = rng.standard_normal((IMAGES, 512)).astype(np.float32)
            unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
            facts = [f"{image}" for image in range(IMAGES)], pairs, np.zeros(len(pairs), np.float32), unit, 0
            group = storage.start_maps(shard, f"p{person}", *facts)
            storage.add_maps(group, 0, *(dict.fromkeys(POLARITIES, each) for each in (counts, found)), {})


def read_counts(at: Callable[[str], str], config: dict) -> None:
    from leam import storage

    with storage.open_shard(at("maps.h5"), "maps") as shard:
        for identity in storage.identities(shard):
            storage.read_counts(shard, identity)


ON_THE_SAMPLE = (list_links, render_sample, parse_faces, compute_maps, average_maps, count_regions, tabulate_regions)
ON_THE_SAMPLE += (plot_regions, tabulate_verification, measure_similarity)
ON_A_LARGE_FILE = (read_counts, tabulate_verification, average_maps)


# -------------------------------------------------------------------------------------------------------- measuring


class Spent:
    """Seconds in digests so far, made and looked at."""

    def __init__(self) -> None:
        self.seconds = 0.0
        for name in ("_write_digest", "_put_digest_in_place", "_agrees"):
            self._count(files, name)
        if storage := sys.modules.get("leam.storage"):
            found = storage._checked_chunks
            storage._checked_chunks = lambda shard: list(found(shard))
            self._count(storage, "_checked_chunks")

    def _count(self, module: Any, name: str) -> None:
        function = getattr(module, name)

        def counted(*arguments: Any) -> Any:
            begun = time.process_time()
            try:
                return function(*arguments)
            finally:
                self.seconds += time.process_time() - begun

        setattr(module, name, counted)


def run_stage(name: str, folder: str) -> None:
    """In a process of its own: says its processor time, imports too, and the part of it that went into digests."""
    from leam import config as settings

    config = settings.complete({})
    if name not in ("list_links",):  # which never loads it
        import leam.storage  # noqa: F401 (to be looked up)
    spent = Spent()
    globals()[name](lambda file: str(Path(folder) / file), config)
    print(f"spent {time.process_time()} {spent.seconds}")


def seconds_of(stage: Callable, folder: Path) -> tuple[float, float]:
    command = [sys.executable, __file__, stage.__name__, str(folder)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    whole, digests = map(float, said.splitlines()[-1].split()[1:])
    return whole, digests


def report(prefix: str, stage: Callable, folder: Path, repeats: int = 1) -> tuple[float, float]:
    """The least of what each took: others work on the same machine."""
    seconds, digests = map(min, zip(*(seconds_of(stage, folder) for _ in range(repeats)), strict=True))
    print(f"figure {prefix}_{stage.__name__} {100 * digests / seconds:.2f} {SHARE}", flush=True)
    return seconds, digests


def report_large(folder: Path) -> None:
    path = folder / "maps.h5"
    _, made = report("large", write_large, folder, REPEATS)
    for stage in ON_A_LARGE_FILE:
        seconds, _ = report("large", stage, folder, REPEATS)
        begun = time.process_time()
        files.sha256(path)
        whole = 100 * (time.process_time() - begun) / seconds
        print(f"figure large_{stage.__name__}_whole {whole:.1f} {SHARE}")
    for precision in ("float32", "tf32"):
        per_person, start = (
            float(re.findall(rf"figure AF_R18_{precision}_maps_stage{what} (\S+) ", GPU.read_text())[0])
            for what in ("", "_starts")
        )
        share = 100 * made / (PEOPLE * per_person / 1e3 + start)
        print(f"figure large_write_large_beside_an_h200_{precision} {share:.2f} percent of the stage's time")
    pieces = [int(line.split()[1]) for line in files.digest_path(path).read_text().splitlines()[1:]]
    print(f"figure large_pieces {len(pieces) / PEOPLE:.1f} per person")
    print(f"figure large_bytes_in_digest {100 * sum(pieces) / path.stat().st_size:.2f} percent of the file")
    beside = files.digest_path(path).stat().st_size
    print(f"figure large_bytes_of_digest {100 * beside / path.stat().st_size:.4f} percent of the file")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for stage in ON_THE_SAMPLE:
            report("sample", stage, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        report_large(Path(folder))


if __name__ == "__main__":
    run_stage(*sys.argv[1:]) if len(sys.argv) > 1 else main()
