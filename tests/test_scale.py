"""leam.scale: estimates worked by hand, and the plan of a real dry run."""

import subprocess
import sys
from pathlib import Path

import pytest

from leam import config, scale
from leam.recognisers import registry

ROOT = Path(__file__).parents[1]
COSTS = {
    "bytes_per_picture": 1000.0,
    "bytes_per_face_pixel": 2.0,
    "regions_bytes_per_identity": 50.0,
    "bytes_per_comparison": 3.0,
    "core_seconds_per_comparison": 0.5,
    "bytes_per_occluded_face": 7.0,
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


def config_of(*names, **changes):
    """A configuration with recognisers of two layers, occluded where the first layer of each one's own maps says, and
    where that of the first recogniser's does.
    """
    entry = {"architecture": "m:f", "input_size": [112, 112], "mean": [0, 0, 0], "std": [1, 1, 1], "layers": ["a", "b"]}
    sections = {
        "models": list(names),
        "recognisers": dict.fromkeys(names, entry),
        "faces": {"crop_size": 32},
        "occlusion": {
            "guides": [names[0]],
            "percents": [1, 5],
            "kinds": ["image", "centre", "random"],
            "polarities": ["loss"],
            "layers": "first",
            "fills": ["black"],
            "headline_fill": "black",
            "masks": "all",
        },
        "similarity": {"pairs": 2, "first_layers": 1, "polarities": ["loss"], "frames": ["none", "identity"]},
    }
    for section, keys in changes.items():
        sections[section] |= keys
    sections["analysis"] = {"polarity": "loss"}
    return config.complete(sections)


def test_bytes_are_those_worked_by_hand():
    """Two people of 3 and 2 images: 5 images, 6 + 2 ordered pairs; of the same person 2 and 1 pairs are compared."""
    assert scale.pairs([3, 2]) == 8
    assert scale.estimate_bytes([3, 2], config_of("cheap", "unknown"), COSTS) == {
        "images": 5000,
        "faces": 5 * 2 * 32**2,
        "maps": (2 * 7 + 5 * 10 + 8 * 1) + (5 * 20 + 8 * 4),  # one that was not measured counts as the dearest
        "regions": 200,
        "similarity": 2 * 2 * (2 + 1) * 2 * 3,  # models; same and different; pairs; frames; bytes
        # images; of each model the map, the disc and three draws, and the first one's map for the second; bytes
        "occlusion": 5 * (2 * (2 + 2 + 3 * 2) + 2) * 7,
    }


@pytest.mark.parametrize(
    ("changes", "masks"),
    [
        ({}, {"cheap": 10, "dear": 10 + 2}),  # the map of the guide's first layer
        ({"layers": "all"}, {"cheap": 10 + 1, "dear": 10 + 1 + 2}),  # one's own second layer at one percent
        ({"guides": None}, {"cheap": 10 + 2, "dear": 10 + 2}),
        ({"polarities": ["loss", "similarity"]}, {"cheap": 10 + 2, "dear": 12 + 2 + 2}),
        ({"fills": ["black", "noise"]}, {"cheap": 2 * 10, "dear": 2 * (10 + 2)}),
        # under the second fill at one percent the own map, the disc, three draws, and the guide's map
        ({"fills": ["black", "mean"], "headline_fill": "mean", "masks": "shown"}, {"cheap": 10 + 5, "dear": 12 + 6}),
        ({"kinds": ["image", "other_mean"], "others": 4}, {"cheap": 2 + 4 * 2, "dear": 2 + 4 * 2 + 2}),
    ],
)
def test_occluded_faces_are_those_of_the_plan(changes, masks):
    assert scale.occluded_faces(config_of("cheap", "dear", occlusion=changes)) == masks


def test_all_pairs_are_compared_when_asked_for():
    assert scale.comparisons([4, 2], config_of("cheap", similarity={"pairs": None, "first_layers": None})) == {
        "cheap": 2 * (6 + 1) * 2 * 2
    }


def test_hours_are_operations_by_rate():
    names = config_of("cheap", "dear")
    hours = scale.estimate_gpu_hours([3, 2], names, COSTS, tflops=0.001)  # 1 GFLOP/s
    assert hours["compute_maps"] == pytest.approx({"cheap": 31 / 3600, "dear": 13 * 36 / 3600})
    assert hours["occlude_faces"] == pytest.approx({"cheap": 50 * 3 / 3600, "dear": 60 * 36 / 3600})
    on_cores = scale.estimate_core_hours([3, 2], names, COSTS)
    assert on_cores["compute_maps"] == pytest.approx({"cheap": 3.1 / 3600, "dear": 13 * 36 / 20 / 3600})
    assert on_cores["measure_similarity"] == pytest.approx({"cheap": 12 * 0.5 / 3600, "dear": 12 * 0.5 / 3600})


def test_maps_of_the_network_with_permuted_weights_are_counted():
    shuffled = config_of("cheap", occlusion={"kinds": ["image", "shuffled"]})
    found = scale.estimate_gflop([3, 2], shuffled, COSTS)
    assert found == {"compute_maps": {"cheap": 31}, "occlude_faces": {"cheap": 5 * 4 * 3 + 31}}


@pytest.mark.parametrize("times", [2, 20])
def test_every_estimate_is_linear_in_identities(times):
    costs, nine = scale.unit_costs(), config.complete({"models": ["AF_R18", "VGG_16"]})
    once, more = ([14] * count for count in (100, 100 * times))
    for name, size in scale.estimate_bytes(once, nine, costs).items():
        assert scale.estimate_bytes(more, nine, costs)[name] == pytest.approx(times * size)
    for rule, hours in scale.estimate_core_hours(once, nine, costs).items():
        for model, hour in hours.items():
            assert scale.estimate_core_hours(more, nine, costs)[rule][model] == pytest.approx(times * hour)


def test_duplicates_cost_every_two_faces():
    hours, mb = scale.estimate_duplicates(4)
    assert hours == pytest.approx((4 * 1e-3 + 6 * 2.8e-8) / 3600) and mb == pytest.approx(505 + 4 * 0.00535)
    assert scale.estimate_duplicates(2_000_000)[0] == pytest.approx(
        4 * scale.estimate_duplicates(1_000_000)[0], rel=0.05
    )


def test_every_built_in_recogniser_has_been_measured():
    costs = scale.unit_costs()
    assert set(costs["models"]) == set(registry.REGISTRY)
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
    assert planned.files >= 5 * jobs  # an output, its digest, its record, a log and a benchmark each


def test_no_plan_is_said():
    assert scale.read_plan("Nothing to be done (all requested files are present).") == scale.Plan({}, 0)
    with pytest.raises(ValueError, match="no table of jobs"):
        scale.read_plan("WorkflowError")


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 B"), (999, "999 B"), (1234567, "1.23 MB"), (4.2e10, "42 GB"), (3e15, "3e+03 TB")]
)
def test_numbers_in_words(number, words):
    assert scale.in_words(number) == words
