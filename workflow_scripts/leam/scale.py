"""What a run costs before it runs: files, bytes, memory and GPU-hours, from unit costs that were measured once.

``unit_costs.json`` beside this file holds them; tests/benchmarks/bench_scale.py measures them, and writes the table of
docs/scale.md from the same functions. Every cost is linear in identities but that of finding duplicates, which
compares every two images.

Symbols: n images of one identity, n (n - 1) ordered pairs.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leam import config as settings
from leam.analyses.occlusion import measure as occlusion_measure
from leam.controls import SHUFFLED

UNIT_COSTS = Path(__file__).with_name("unit_costs.json")
ASSUMED_TFLOPS = 4.7  # float32 on a V100: 30 % of its 15.7 TFLOP/s; an assumption, no GPU has been measured
# find_duplicates on one thread (AVX-512), 14,000 and 42,000 made-up faces of which one in fifty is a copy.
DUPLICATES_MB, DUPLICATES_MB_PER_FACE = 505, 0.00535  # of which two fingerprints are 0.00384
SECONDS_PER_FACE, SECONDS_PER_TWO_FACES = 1e-3, 2.8e-8  # reading one, comparing two
SECONDS_PER_JOB = 6.0  # of a core: starting Python, loading libraries, drawing
SECONDS_PER_PICTURE = 0.5  # of a core: detection and landmarks
PLANNED_FILES = ("output", "log", "benchmark")


def unit_costs() -> dict:
    """The measured costs: of a picture, of a face's pixel, of an identity, and of an image and a pair per model."""
    return json.loads(UNIT_COSTS.read_text())


@dataclass(frozen=True)
class Plan:
    """What Snakemake plans: jobs by rule, and how many files they make, digests and Snakemake's records included."""

    jobs: dict[str, int]
    files: int


def read_plan(text: str) -> Plan:
    """The plan in the words of ``snakemake -n``: a table of jobs, and the files of every job.

    Raises ValueError when there is no such table.
    """
    if "Nothing to be done" in text:
        return Plan({}, 0)
    if "Job stats:" not in text:
        raise ValueError("no table of jobs in what `snakemake -n` says")
    table = text.split("Job stats:")[1].split("\ntotal")[0]
    jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}
    named = re.findall(rf"^    ({'|'.join(PLANNED_FILES)}): (.+)$", text, re.M)
    files = {kind: sum(len(names.split(", ")) for key, names in named if key == kind) for kind in PLANNED_FILES}
    beside = 2 * files["output"]  # a digest and a record of Snakemake's for each
    return Plan({name: count for name, count in jobs.items() if name != "all"}, sum(files.values()) + beside)


def of_model(costs: dict, model: str) -> dict[str, float]:
    """The costs of a model; one that was not measured counts as the dearest that was."""
    known = costs["models"]
    return known.get(model) or max(known.values(), key=lambda cost: cost["gflop_per_pair"])


def pairs(images: Sequence[int]) -> int:
    """Ordered pairs of identities with these numbers of images."""
    return sum(n * (n - 1) for n in images)


def occluded_faces(config: dict) -> dict[str, int]:
    """Occluded faces per image under each model of a run: all masks that are planned, equal ones among them."""

    layers = settings.layers_of_models(config)
    chosen = occlusion_measure.occlusion_settings(settings.chosen_occlusion(config))
    found = {}
    for model in config["models"]:
        of_guides = {guide: layers[guide] for guide in settings.guides_of_model(config, model)}
        found[model] = sum(len(ranking.masks) for ranking in occlusion_measure.plan_rankings(chosen, model, of_guides))
    return found


def comparisons(images: Sequence[int], config: dict) -> dict[str, int]:
    """How many pairs of maps are compared under each model: of the same person and of different people, every layer,
    polarity and frame.
    """
    section = config["similarity"]
    most = section["pairs"]
    of_people = sum(2 * (n * (n - 1) // 2 if most is None else min(most, n * (n - 1) // 2)) for n in images)
    each = of_people * len(section["polarities"]) * len(section["frames"])
    return {
        name: each * len(layers[: section["first_layers"]])
        for name, layers in settings.layers_of_models(config).items()
    }


def estimate_bytes(images: Sequence[int], config: dict, costs: dict) -> dict[str, float]:
    """Bytes by folder of results/, from the images of each identity; maps as float32, without pair maps."""
    total, p, names = sum(images), pairs(images), config["models"]
    chosen = [of_model(costs, model) for model in names]
    return {
        "images": total * costs["bytes_per_picture"],
        "faces": total * costs["bytes_per_face_pixel"] * config["faces"]["crop_size"] ** 2,
        "maps": sum(
            len(images) * cost["bytes_per_identity"] + total * cost["bytes_per_image"] + p * cost["bytes_per_pair"]
            for cost in chosen
        ),
        "regions": len(images) * len(names) * costs["regions_bytes_per_identity"],
        "similarity": sum(comparisons(images, config).values()) * costs["bytes_per_comparison"],
        "occlusion": total * sum(occluded_faces(config).values()) * costs["bytes_per_occluded_face"],
    }


def estimate_gflop(images: Sequence[int], config: dict, costs: dict) -> dict[str, dict[str, float]]:
    """Floating-point operations, 10^9, by rule and model: of the maps, and of the occluded faces with the maps of the
    network with permuted weights, if these are asked for.
    """
    total, p = sum(images), pairs(images)
    cost = {model: of_model(costs, model) for model in config["models"]}
    of_maps = {model: total * cost[model]["gflop_per_image"] + p * cost[model]["gflop_per_pair"] for model in cost}
    again = SHUFFLED in config["occlusion"]["kinds"]
    return {
        "compute_maps": of_maps,
        "occlude_faces": {
            model: total * faces * cost[model]["gflop_per_image"] + again * of_maps[model]
            for model, faces in occluded_faces(config).items()
        },
    }


def estimate_gpu_hours(
    images: Sequence[int], config: dict, costs: dict, tflops: float = ASSUMED_TFLOPS
) -> dict[str, dict[str, float]]:
    """GPU-hours by rule and model: operations counted, divided by an assumed rate (10^12 per second)."""
    return {
        rule: {model: gflop / 1000 / tflops / 3600 for model, gflop in found.items()}
        for rule, found in estimate_gflop(images, config, costs).items()
    }


def estimate_core_hours(images: Sequence[int], config: dict, costs: dict) -> dict[str, dict[str, float]]:
    """Core-hours by rule and model on a CPU like that of the benchmark, without any GPU."""
    hours = {
        rule: {model: gflop / of_model(costs, model)["gflop_per_core_second"] / 3600 for model, gflop in found.items()}
        for rule, found in estimate_gflop(images, config, costs).items()
    }
    compared = comparisons(images, config)
    return hours | {
        "measure_similarity": {
            model: count * costs["core_seconds_per_comparison"] / 3600 for model, count in compared.items()
        }
    }


def estimate_minutes(images: Sequence[int], config: dict, costs: dict, jobs: int, cores: int) -> float:
    """Minutes of a run on some cores, without a GPU: what is computed, and the start of every job."""
    hours = sum(sum(of_models.values()) for of_models in estimate_core_hours(images, config, costs).values())
    seconds = 3600 * hours + jobs * SECONDS_PER_JOB + sum(images) * SECONDS_PER_PICTURE
    return seconds / 60 / cores


def estimate_memory(identities: int, costs: dict) -> dict[str, float]:
    """Peak memory, MB, of the jobs whose memory grows with the identities: they read all shards of a model."""
    return {rule: cost["mb"] + identities * cost["mb_per_identity"] for rule, cost in costs["all_shards"].items()}


def estimate_duplicates(faces: int) -> tuple[float, float]:
    """Core-hours and peak memory, MB, of ``find_duplicates``: its time grows with the square of the faces."""
    seconds = faces * SECONDS_PER_FACE + faces * (faces - 1) / 2 * SECONDS_PER_TWO_FACES
    return seconds / 3600, DUPLICATES_MB + faces * DUPLICATES_MB_PER_FACE


def in_words(number: float, unit: str = "B") -> str:
    """A number with a prefix: 1234567 -> "1.2 MB"."""
    for prefix in ("", "k", "M", "G"):
        if abs(number) < 1000:
            return f"{number:.3g} {prefix}{unit}"
        number /= 1000
    return f"{number:.3g} T{unit}"
