"""Detectors beside MTCNN: who finds the one face of a photograph, where, how long it takes, and which margin fits.

    PYTHONPATH=workflow_scripts python tests/benchmarks/bench_detectors.py --photos FOLDER [--retinaface FILE]
        [--scrfd FILE or PACK]

FOLDER holds identity/image.jpg, one face each. dlib's file is that of the installed package of model files. One thread;
times are those of all photographs, as ratios in one run. The margin is the one whose crops have the side of MTCNN's at
its own margin, by the median.
"""

import argparse
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from leam import images, model_package, packs
from leam.faces import detection, landmarks
from leam.faces.stage import DETECTOR_MARGINS

CPU = torch.device("cpu")


def detectors(arguments: argparse.Namespace) -> dict[str, detection.Network]:
    """Those whose files are there, MTCNN first."""
    least = detection.THRESHOLDS
    found = {"mtcnn": detection.Mtcnn(least["mtcnn"], CPU)}
    if arguments.retinaface:
        found["retinaface"] = detection.RetinaFace(arguments.retinaface, least["retinaface"], CPU)
    if arguments.scrfd:
        found["scrfd"] = detection.Scrfd(packs.detector_file(arguments.scrfd), least["scrfd"])
    if model_package.DETECTOR.find():
        found["dlib"] = detection.DlibNetwork(model_package.DETECTOR.path(), least["dlib"])
    return found


def compare(name: str, found: list[list[detection.Face]], by_mtcnn: list[list[detection.Face]]) -> None:
    """Of the photographs where both find one face: how far the boxes agree, and the margin that gives MTCNN's crops."""
    both = [(a[0], b[0]) for a, b in zip(by_mtcnn, found, strict=True) if len(a) == len(b) == 1]
    overlaps = [landmarks._overlap(a.box, b.box) for a, b in both]
    sides = statistics.median(a.sides.max() / b.sides.max() for a, b in both)
    lower = statistics.median((b.centre - a.centre)[1] / a.sides.max() for a, b in both)
    print(f"figure {name}_overlap_with_mtcnn {statistics.median(overlaps):.2f} share")
    print(f"figure {name}_least_overlap_with_mtcnn {min(overlaps):.2f} share")
    print(f"figure {name}_centre_below_mtcnns {100 * lower:.1f} percent of the side")
    print(f"figure {name}_fitting_margin {(sides * (1 + 2 * DETECTOR_MARGINS['mtcnn']) - 1) / 2:.2f} of the side")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--retinaface", type=Path)
    parser.add_argument("--scrfd", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    photographs = [images.decode(path.read_bytes()) for path in sorted(arguments.photos.glob("*/*.jpg"))]
    found, seconds = {}, {}
    for name, network in detectors(arguments).items():
        detection.find_faces(network, photographs[:1])
        start = time.perf_counter()
        found[name] = detection.find_faces(network, photographs)
        seconds[name] = time.perf_counter() - start
        share = np.mean([len(faces) == 1 for faces in found[name]])
        print(f"figure {name}_photographs_with_one_face {100 * share:.0f} percent of {len(photographs)}", flush=True)
        if name != "mtcnn":
            compare(name, found[name], found["mtcnn"])
            print(f"figure {name}_time {seconds[name] / seconds['mtcnn']:.1f} times that of mtcnn", flush=True)


if __name__ == "__main__":
    main()
