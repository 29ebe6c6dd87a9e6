"""Map jobs side by side: two jobs of one thread against one after the other, and against one job of two threads.

    PYTHONPATH=workflow_scripts python tests/benchmarks/bench_scaling.py [--model AF_R18]

Each job is a process of its own that loads its recogniser and computes one identity of 8 images, as compute_maps does.
The three arrangements take turns; only ratios of their medians are printed.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from leam import storage

JOB = """
import sys, time
import torch
from leam import maps
from leam.recognisers import registry
faces, output, model, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
recogniser = registry.recogniser(model, {"untrained": True})
maps.compute_maps(faces, output, recogniser, maps.MapSettings(), device="cpu")
"""
JOBS = 4


def write_faces(path: Path, images: int = 8) -> None:
    rng = np.random.default_rng(0)
    points = np.zeros((images, 68, 2), np.float32)
    with storage.create_shard(path, "faces") as shard:
        crops = rng.integers(0, 256, (images, 112, 112, 3), dtype=np.uint8)
        regions = rng.integers(0, 19, (images, 112, 112), dtype=np.uint8)
        names = [str(number) for number in range(images)]
        storage.write_faces(shard, storage.Faces("a", names, crops, regions, points, points[:, :5]))


def run(folder: Path, model: str, parallel: int, threads: int) -> float:
    """Seconds for JOBS jobs, ``parallel`` at a time, each with its threads."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    started, waiting, running = time.perf_counter(), list(range(JOBS)), []
    while waiting or running:
        while waiting and len(running) < parallel:
            output = folder / f"{waiting.pop()}.h5"
            command = [sys.executable, "-c", JOB, folder / "faces.h5", output, model, str(threads)]
            running.append(subprocess.Popen([str(part) for part in command], env=environment))
        running = [job for job in running if job.poll() is None]
        time.sleep(0.05)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="AF_R18")
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    arrangements = {"one_by_one": (1, 1), "two_at_once": (2, 1), "two_threads": (1, 2)}
    seconds = {name: [] for name in arrangements}
    with tempfile.TemporaryDirectory() as folder:
        write_faces(Path(folder) / "faces.h5")
        for _ in range(given.rounds):
            for name, (parallel, threads) in arrangements.items():
                seconds[name].append(run(Path(folder), given.model, parallel, threads))
    median = {name: statistics.median(found) for name, found in seconds.items()}
    for name in ("two_at_once", "two_threads"):
        print(f"figure {given.model}_{name}_speedup {median['one_by_one'] / median[name]:.2f} times")


if __name__ == "__main__":
    main()
