"""Exact EMD of a run's own maps: the project's way against plain POT, on one core and on several.

    PYTHONPATH=workflow_scripts python tests/benchmarks/bench_similarity.py RESULTS [--pairs 400] [--processes 2]

RESULTS is the results folder of a finished run. Its pairs, of the same and of different people, come from all models
and layers: top 1 %, frame `identity`, polarity `loss`. Plain POT gets what a user would give it: the points with mass,
ot.dist, ot.emd2. Both take turns over the same pairs, in processor time of one core. Scaling is how many times as many
pairs several workers do as one, in processor time (so that other programs on the machine do not count) and by the clock
(which is right on an idle machine only). The estimate is for the paper's size: 13,445 images of 1,000 people, all their
pairs and as many of different people, nine models, nine layers, one frame and polarity; of the distances alone, of all
that the rule does for the maps (reading, frames, BC, EMD), and with its nulls.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
import ot
import torch

from leam import paper, pixel_sets
from leam.analyses import similarity
from leam.analyses.similarity import alignment
from leam.analyses.similarity import measure as similarity_measure
from leam.analyses.similarity.measure import Shards, SimilaritySettings
from leam.analyses.similarity.transport import Ground, Support

GRID, ROUNDS = 112, 5
PEOPLE, IMAGES, MODELS, LAYERS = 1000, paper.IMAGES_KEPT / 1000, 9, 9
GROUND = Ground(GRID)
SETTINGS = SimilaritySettings(grid=GRID, polarities=("loss",), frames=("identity",))

Pair = tuple[Support, Support]


def read_pairs(results: Path, limit: int) -> dict[str, list[Pair]]:
    """At most ``limit`` pairs each of the same and of different people, as supports, from all models and layers."""
    found: dict[str, list[Pair]] = {pairing: [] for pairing in similarity.PAIRINGS}
    for maps, faces in models_of(results).values():
        with Shards(maps, faces, SETTINGS, seed=0) as shards:
            people = shards.people()
            for own in people:
                stack, pairs, same = similarity_measure._gather(shards, own, people)
                warp = alignment.Warp(alignment.frames_onto(stack.landmarks, stack.references), GRID, shards.window)
                for layer in shards.layers:
                    placed = warp(torch.from_numpy(stack.maps[layer])).flatten(1)
                    tops = similarity_measure.to_distributions(pixel_sets.keep_top(placed, 1))
                    supports = similarity_measure.supports(tops, GROUND)
                    for number, (i, j) in enumerate(pairs):
                        if len(supports[i][0]) and len(supports[j][0]):
                            found["same" if number < same else "different"].append((supports[i], supports[j]))
    rng = np.random.default_rng(0)
    return {name: [pairs[k] for k in rng.permutation(len(pairs))[:limit]] for name, pairs in found.items()}


def models_of(results: Path) -> dict[str, tuple[list[Path], list[Path]]]:
    """The files of maps and of faces of every model."""
    faces = sorted((results / "faces").glob("*.h5"))
    return {folder.name: (sorted(folder.glob("*.h5")), faces) for folder in sorted((results / "maps").iterdir())}


def plain(p: Support, q: Support) -> float:
    """POT as its documentation uses it."""
    points = (np.stack(np.divmod(pixels, GRID), axis=1).astype(float) for pixels in (p[0], q[0]))
    return ot.emd2(p[1], q[1], ot.dist(*points, metric="euclidean"))


def reading_order(pair: Pair) -> Pair:
    """Plain POT gets its points row by row, as np.flatnonzero gives them."""
    return tuple((pixels[order], masses[order]) for pixels, masses in pair for order in [np.argsort(pixels)])


def compare(pairs: list[Pair]) -> tuple[float, float, float]:
    """Milliseconds of one core per pair, plain and ours (medians over rounds that take turns); greatest difference."""
    given = [reading_order(pair) for pair in pairs]
    milliseconds, results = {plain: [], GROUND.emd: []}, {}
    for _ in range(ROUNDS):
        for solve, inputs in ((plain, given), (GROUND.emd, pairs)):
            started = time.process_time()
            results[solve] = np.array([solve(*pair) for pair in inputs])
            milliseconds[solve].append((time.process_time() - started) / len(pairs) * 1e3)
    theirs, ours = (float(np.median(found)) for found in milliseconds.values())
    return theirs, ours, float(np.abs(results[plain] - results[GROUND.emd]).max())


def solve_all(pairs: list[Pair]) -> float:
    """Processor time, in seconds, of one worker for these pairs."""
    started = time.process_time()
    for pair in pairs:
        GROUND.emd(*pair)
    return time.process_time() - started


def scaling(pairs: list[Pair], processes: int) -> tuple[float, float]:
    """How many times as many pairs ``processes`` workers do as one: in processor time, and by the clock."""
    gains = []
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        for _ in range(ROUNDS):
            own, clock = [], []
            for workers in (1, processes):
                started = time.perf_counter()
                own.append(float(np.mean(pool.map(solve_all, [pairs] * workers, chunksize=1))))
                clock.append(time.perf_counter() - started)
            gains.append([processes * times[0] / times[1] for times in (own, clock)])
    return tuple(np.median(gains, axis=0))


def whole_job(results: Path, nulls: bool, identities: int = 2) -> float:
    """Milliseconds of one core per pair and layer for what the rule does, with its nulls or for the maps alone."""
    maps, faces = next(iter(models_of(results).values()))
    with tempfile.TemporaryDirectory() as folder:
        population = Path(folder) / "population.h5"
        similarity_measure.average_population(maps, faces, population, settings=SETTINGS)
        with similarity_measure._open_worker(maps, faces, population, SETTINGS, 0) as worker:
            if not nulls:
                worker._nulls = lambda *_: ()
            people = worker.shards.people(range(1))[:identities]
            started = time.process_time()
            tables = [worker.measure_identity(person) for person in people]
            seconds = time.process_time() - started
    measured = sum(((t["kind"] == similarity_measure.LEAM_MAPS) & (t["part"] == "top1")).sum() for t in tables)
    return seconds / measured * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pairs, hours = read_pairs(given.results, given.pairs), 0.0
    per_person = IMAGES * (IMAGES - 1) / 2
    for pairing, chosen in pairs.items():
        theirs, ours, difference = compare(chosen)
        points = np.mean([len(GROUND._excesses(*pair)[0]) for pair in chosen])
        hours += PEOPLE * per_person * MODELS * LAYERS * ours / 3.6e6
        print(f"figure {pairing}_pairs {len(chosen)} pairs")
        print(f"figure {pairing}_points_left_of_125 {points:.0f} points")
        print(f"figure {pairing}_plain {theirs:.2f} ms")
        print(f"figure {pairing}_ours {ours:.2f} ms")
        print(f"figure {pairing}_speedup_per_core {theirs / ours:.2f} times")
        print(f"figure {pairing}_greatest_difference {difference:.1e} px")
    for kind, gain in zip(("processor_time", "clock"), scaling(pairs["same"], given.processes), strict=True):
        print(f"figure scaling_{given.processes}_processes_by_{kind} {gain:.2f} times")
    print(f"figure paper_pairs {2 * PEOPLE * per_person:.0f} pairs")
    print(f"figure paper_distances {2 * PEOPLE * per_person * MODELS * LAYERS / 1e6:.1f} million")
    print(f"figure paper_emd {hours:.1f} core-hours")
    for name, nulls in (("paper_maps", False), ("paper_maps_and_nulls", True)):
        job = whole_job(given.results, nulls)
        print(f"figure {name} {2 * PEOPLE * per_person * MODELS * LAYERS * job / 3.6e6:.1f} core-hours")


if __name__ == "__main__":
    main()
