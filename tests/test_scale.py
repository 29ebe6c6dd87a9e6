"""leam.scale: estimates worked by hand, and the plan of a real dry run."""

import subprocess
import sys
from pathlib import Path

import pytest

from leam import models, scale

ROOT = Path(__file__).parents[1]
COSTS = {
    "bytes_per_picture": 1000.0,
    "bytes_per_face_pixel": 2.0,
    "regions_bytes_per_identity": 50.0,
    "models": {
        "cheap": {
            "bytes_per_identity": 7.0,
            "bytes_per_image": 10.0,
            "bytes_per_pair": 1.0,
            "gflop_per_image": 3.0,
            "gflop_per_pair": 2.0,
            "gflop_per_core_second": 10.0,
        },
        "dear": {
            "bytes_per_identity": 0.0,
            "bytes_per_image": 20.0,
            "bytes_per_pair": 4.0,
            "gflop_per_image": 36.0,
            "gflop_per_pair": 36.0,
            "gflop_per_core_second": 20.0,
        },
    },
    "all_shards": {"count_regions": {"mb": 200.0, "mb_per_identity": 1.5}},
}


def test_bytes_are_those_worked_by_hand():
    """Two people of 3 and 2 images: 5 images, 6 + 2 ordered pairs."""
    assert scale.pairs([3, 2]) == 8
    assert scale.estimate_bytes([3, 2], ["cheap", "unknown"], 10, COSTS) == {
        "images": 5000,
        "faces": 1000,
        "maps": (2 * 7 + 5 * 10 + 8 * 1) + (5 * 20 + 8 * 4),  # one that was not measured counts as the dearest
        "regions": 200,
    }


def test_gpu_hours_are_operations_by_rate():
    hours = scale.estimate_gpu_hours([3, 2], ["cheap", "dear"], COSTS, tflops=0.001)  # 1 GFLOP/s
    assert hours == pytest.approx({"cheap": 31 / 3600, "dear": 13 * 36 / 3600})
    on_cores = scale.estimate_core_hours([3, 2], ["cheap", "dear"], COSTS)
    assert on_cores == pytest.approx({"cheap": 3.1 / 3600, "dear": 13 * 36 / 20 / 3600})


@pytest.mark.parametrize("times", [2, 20])
def test_every_estimate_is_linear_in_identities(times):
    costs, names = scale.unit_costs(), ["AF_R18", "VGG_16"]
    once, more = ([14] * count for count in (100, 100 * times))
    for name, size in scale.estimate_bytes(once, names, 112, costs).items():
        assert scale.estimate_bytes(more, names, 112, costs)[name] == pytest.approx(times * size)
    hours = sum(scale.estimate_gpu_hours(once, names, costs).values())
    assert sum(scale.estimate_gpu_hours(more, names, costs).values()) == pytest.approx(times * hours)


def test_every_built_in_recogniser_has_been_measured():
    costs = scale.unit_costs()
    assert set(costs["models"]) == set(models.REGISTRY)
    for cost in costs["models"].values():
        assert all(value > 0 for value in cost.values())


def test_an_image_backward_costs_about_what_a_forward_does():
    """The gradient with respect to the input alone is as many products as the forward, but for the first layer."""
    for cost in scale.unit_costs()["models"].values():
        assert 0.8 < cost["gflop_per_pair"] / cost["gflop_per_image"] < 1.5


def test_a_real_plan_is_read(tmp_path):
    command = [sys.executable, "-m", "snakemake", "-n", "-s", str(ROOT / "Snakefile"), "--directory", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    planned = scale.read_plan(found.stdout + found.stderr)
    assert planned.jobs["compute_maps"] == 4 and planned.jobs["fetch_weights"] == 2
    assert "all" not in planned.jobs
    jobs = sum(planned.jobs.values())
    assert planned.files >= 4 * jobs  # an output, its record, a log and a benchmark each


def test_no_plan_is_said():
    assert scale.read_plan("Nothing to be done (all requested files are present).") == scale.Plan({}, 0)
    with pytest.raises(ValueError, match="no table of jobs"):
        scale.read_plan("WorkflowError")


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 B"), (999, "999 B"), (1234567, "1.23 MB"), (4.2e10, "42 GB"), (3e15, "3e+03 TB")]
)
def test_numbers_in_words(number, words):
    assert scale.in_words(number) == words
