"""Peak memory of one map job on the CPU: bounded by ``maps.batch_images``, not by the number of a person's images.

    PYTHONPATH=workflow_scripts python tests/benchmarks/bench_memory.py [--model AF_R100]

Every measurement is a process of its own: the first block of anchors of one person, its graph and two of its backwards,
where the peak lies. Prints MB.
"""

import argparse
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from leam import device, embedding, maps
from leam.grid import Grid
from leam.methods import cells_of
from leam.methods.leam import LEAM
from leam.recognisers import folding, networks, registry
from leam.recognisers.taps import Taps


def measure(name: str, images: int, batch: int) -> int:
    """Peak MB after two backwards of the first block of ``batch`` anchors of ``images``."""
    device.tune_cpu()
    recogniser = dataclasses.replace(registry.REGISTRY[name], untrained=True)
    network = networks.build_network(recogniser)
    network = folding.fold_network(network, recogniser.layers, recogniser.input_size, torch.device("cpu"))
    x = torch.randn(images, 3, *recogniser.input_size)
    grid, settings = Grid(112), maps.MapSettings(batch_images=batch)
    regions = np.zeros((images, 112, 112), np.uint8)
    unit = functional.normalize(embedding.embed(network, x, batch))
    cells = cells_of((LEAM,), recogniser.layers)
    with Taps(network, recogniser.layers) as taps:
        anchors = maps.Anchors([images], torch.device("cpu"), 0, batch)
        block = maps.Block(anchors, regions[:batch], settings, grid)
        embeddings, activations = taps.run(x[:batch])
        for _, pairs in zip(range(2), maps.pair_batches(activations, cells, embeddings, anchors, unit), strict=False):
            block.add(pairs)
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text()).group(1)) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="AF_R100")
    parser.add_argument("--one", nargs=2, type=int, metavar=("IMAGES", "BATCH"))
    given = parser.parse_args()
    if given.one:
        print(measure(given.model, *given.one))
        return
    for images, batch in ((8, 8), (200, 8), (32, 32), (200, 32)):
        command = [sys.executable, __file__, "--model", given.model, "--one", str(images), str(batch)]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
        print(f"figure {given.model}_{images}_images_batch_{batch}_peak {found} MB", flush=True)


if __name__ == "__main__":
    main()
