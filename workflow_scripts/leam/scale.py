"""What a run costs before it runs: files, bytes, memory and GPU-hours, from unit costs that were measured once.

``unit_costs.json`` beside this file holds them; tests/benchmarks/bench_scale.py measures them, and writes the table of
docs/scale.md from the same functions. Every cost is linear in identities.

Symbols: n images of one identity, n (n - 1) ordered pairs.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

UNIT_COSTS = Path(__file__).with_name("unit_costs.json")
ASSUMED_TFLOPS = 4.7  # float32 on a V100: 30 % of its 15.7 TFLOP/s; an assumption, no GPU has been measured
FILES = ("output", "log", "benchmark")


def unit_costs() -> dict:
    """The measured costs: of a picture, of a face's pixel, of an identity, and of an image and a pair per model."""
    return json.loads(UNIT_COSTS.read_text())


@dataclass(frozen=True)
class Plan:
    """What Snakemake plans: jobs by rule, and how many files they make, Snakemake's own records included."""

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
    named = re.findall(rf"^    ({'|'.join(FILES)}): (.+)$", text, re.M)
    files = {kind: sum(len(names.split(", ")) for key, names in named if key == kind) for kind in FILES}
    return Plan({name: count for name, count in jobs.items() if name != "all"}, sum(files.values()) + files["output"])


def of_model(costs: dict, model: str) -> dict[str, float]:
    """The costs of a model; one that was not measured counts as the dearest that was."""
    known = costs["models"]
    return known.get(model) or max(known.values(), key=lambda cost: cost["gflop_per_pair"])


def pairs(images: Sequence[int]) -> int:
    """Ordered pairs of identities with these numbers of images."""
    return sum(n * (n - 1) for n in images)


def estimate_bytes(images: Sequence[int], models: Sequence[str], crop_size: int, costs: dict) -> dict[str, float]:
    """Bytes by folder of results/, from the images of each identity; maps as float32, without pair maps."""
    total, p = sum(images), pairs(images)
    chosen = [of_model(costs, model) for model in models]
    return {
        "images": total * costs["bytes_per_picture"],
        "faces": total * costs["bytes_per_face_pixel"] * crop_size**2,
        "maps": sum(
            len(images) * cost["bytes_per_identity"] + total * cost["bytes_per_image"] + p * cost["bytes_per_pair"]
            for cost in chosen
        ),
        "regions": len(images) * len(models) * costs["regions_bytes_per_identity"],
    }


def estimate_gflop(images: Sequence[int], models: Sequence[str], costs: dict) -> dict[str, float]:
    """Floating-point operations of the maps, 10^9, by model."""
    total, p = sum(images), pairs(images)
    chosen = {model: of_model(costs, model) for model in models}
    return {model: total * cost["gflop_per_image"] + p * cost["gflop_per_pair"] for model, cost in chosen.items()}


def estimate_gpu_hours(
    images: Sequence[int], models: Sequence[str], costs: dict, tflops: float = ASSUMED_TFLOPS
) -> dict[str, float]:
    """GPU-hours of the maps by model: operations counted, divided by an assumed rate (10^12 per second)."""
    return {model: gflop / 1000 / tflops / 3600 for model, gflop in estimate_gflop(images, models, costs).items()}


def estimate_core_hours(images: Sequence[int], models: Sequence[str], costs: dict) -> dict[str, float]:
    """Core-hours of the maps by model on a CPU like that of the benchmark."""
    gflop = estimate_gflop(images, models, costs)
    return {model: count / of_model(costs, model)["gflop_per_core_second"] / 3600 for model, count in gflop.items()}


def estimate_memory(identities: int, costs: dict) -> dict[str, float]:
    """Peak memory, MB, of the jobs whose memory grows with the identities: they read all shards of a model."""
    return {rule: cost["mb"] + identities * cost["mb_per_identity"] for rule, cost in costs["all_shards"].items()}


def in_words(number: float, unit: str = "B") -> str:
    """A number with a prefix: 1234567 -> "1.2 MB"."""
    for prefix in ("", "k", "M", "G"):
        if abs(number) < 1000:
            return f"{number:.3g} {prefix}{unit}"
        number /= 1000
    return f"{number:.3g} T{unit}"
