"""leam.analyses.calibration: how far the instrument can be believed, and what that allows the headline to say."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import kendalltau
from torch import nn

from leam import maps
from leam.analyses import calibration
from leam.analyses.calibration import figure, measure, table, verdict
from leam.analyses.occlusion.measure import OcclusionSettings
from leam.grid import Grid
from leam.maps import MapSettings
from leam.recognisers import registry

TINY = calibration.Size(4, (2,), 3, 2, 1, 96, every_map=False, runs=50)
BLOCK = (slice(52, 84), slice(40, 72))  # of a crop of 112: where noses are
LIGHT = OcclusionSettings(percents=(1.0,), others=1, repeats=1)


class Block(nn.Module):
    """Reads one block of the crop, in four cells of it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, 6, 3, padding=1)

    def forward(self, x):
        return nn.functional.adaptive_avg_pool2d(self.conv(x)[:, :, *BLOCK], 4).flatten(1)


def block_recogniser(name="block"):
    entry = {"architecture": f"{__name__}:Block", "input_size": [112, 112], "layers": ["conv"]}
    return registry.recogniser(name, entry | {"mean": [127.5] * 3, "std": [127.5] * 3})


# ------------------------------------------------------------------------------------------------------------ measured


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    paths = folder / "drops.parquet", folder / "gains.parquet"
    measure.measure_truth(
        *paths, recogniser=block_recogniser(), settings=MapSettings(), occlusion=LIGHT, size=TINY, seed=0
    )
    return paths


def test_a_network_that_reads_one_block_gains_nearly_all_there_is():
    """The true effect lies in the block alone, which is 8 % of the crop, so the top 5 % of a map have room in it."""
    x, weights = torch.rand(3, 3, 112, 112) * 2 - 1, np.zeros((3, 112, 112))
    weights[:, *BLOCK] = 1
    found = maps.explain(Block(), ("conv",), x, np.zeros((3, 112, 112), np.uint8), MapSettings(), Grid(112))
    attainable = measure.gain(weights, weights)
    assert attainable == pytest.approx(112**2 / 32**2)
    for placed in found["maps.0"]:
        assert measure.gain(placed, weights) > 0.97 * attainable


def test_its_maps_hold_more_of_what_grafts_do_than_random_pixels(truth):
    gains = pd.read_parquet(truth[1]).groupby(["layer", "polarity"])["gain"].mean()
    for polarity in ("loss", "similarity"):
        assert 2 < gains["conv", polarity] < gains["attainable", ""]
    assert gains["centre", ""] < gains["attainable", ""]


def test_every_ranking_has_a_drop_under_every_fill_and_under_twins(truth):
    drops = pd.read_parquet(truth[0])
    assert set(drops["fill"]) == {"black", "mean", "twin"} and set(drops["identity"]) == {"s000", "s001", "s002"}
    rankings = drops.groupby(["kind", "layer", "polarity"]).size()
    assert len(rankings) == 4 * 2 + 2 and set(rankings) == {3 * 3}
    found = table.agreements(drops).set_index(["fill", "part"])
    means = drops.groupby(["fill", "kind", "layer", "polarity"])["drop"].mean()
    assert found.loc[("mean", "all"), "value"] == pytest.approx(kendalltau(means["mean"], means["twin"]).statistic)
    assert found.loc[("mean", "all"), "count"] == 10


def test_nothing_is_hidden_from_a_network_where_it_does_not_look(truth):
    """Twins differ everywhere, but the disc of a hundredth of the crop lies in the block and random pixels hardly."""
    drops = pd.read_parquet(truth[0])
    means = drops[drops["fill"] == "twin"].groupby("kind")["drop"].mean()
    assert means["image"] > means["random"]


@pytest.mark.parametrize("every_map", [False, True])
def test_the_chain_is_measured_for_every_map_number_of_images_fill_and_person(tmp_path, every_map):
    size = dataclasses.replace(TINY, images=(2, 3), every_map=every_map, people=3)
    measure.measure_chain(
        "nose",
        tmp_path / "c.parquet",
        recogniser=block_recogniser(),
        settings=MapSettings(),
        occlusion=LIGHT,
        size=size,
        seed=0,
    )
    found = pd.read_parquet(tmp_path / "c.parquet")
    variants = 4 if every_map else 1
    assert len(found) == 2 * variants * 2 * 2 * 3 and not found[["own", "other"]].isna().any().any()
    cells = found.groupby(["images", "placement", "target", "polarity", "fill"]).size()
    assert len(cells) == 2 * variants * 4 and set(cells) == {3}
    assert found["world"].unique().tolist() == ["nose"]


# ---------------------------------------------------------------------------------------------------------- the numbers


def chain(difference, world="signature", fill="mean", polarity="loss"):
    people = [f"s{k:03d}" for k in range(len(difference))]
    made = pd.DataFrame({"identity": people, "own": difference, "other": 0.0, "world": world, "model": "m"})
    return made.assign(images=3, placement="centred", target="cosine", fill=fill, polarity=polarity)


def test_power_grows_with_people_and_is_none_without_a_difference():
    random = np.random.default_rng(0)
    real = table.powers(chain(random.normal(0.6, 1, 40)), 300, 0).set_index("people")["value"]
    assert real.is_monotonic_increasing and real[6] < 50 and real[100] > 95
    null = random.normal(0, 1, 40)
    for people, value in table.powers(chain(null - null.mean()), 300, 0).set_index("people")["value"].items():
        assert value < 8, people  # one side of a test at 5 %
    assert (table.powers(chain(-np.abs(null)), 50, 0)["value"] == 0).all()


def test_power_is_the_share_of_drawn_runs():
    difference = np.array([1.0, 2, 3, -0.5, 4])
    found = table.share_of_runs(difference, 6, 80, seed=3)
    drawn, hits = np.random.default_rng(3).choice(difference, (80, 6)), 0
    for run in drawn:
        signs = np.array(list(itertools.product((-1, 1), repeat=6)))
        ranks = pd.Series(np.abs(run)).rank().to_numpy()
        sums = (signs > 0) @ ranks
        above = ranks[run > 0].sum()
        p = min(1, 2 * min((sums >= above).mean(), (sums <= above).mean()))
        hits += p < 0.05 and run.mean() > 0
    assert found == pytest.approx(hits / 80)


def test_the_gain_of_random_pixels_is_one_and_of_the_best_ones_the_most():
    random = np.random.default_rng(0)
    weights = random.random((2, 40, 40)) ** 4
    assert measure.gain(random.random((2, 40, 40)), weights) == pytest.approx(1, abs=0.2)
    assert measure.gain(weights, weights) == pytest.approx(
        np.mean([np.sort(of.ravel())[-80:].mean() / of.mean() for of in weights])
    )
    assert np.isnan(measure.gain(np.zeros((2, 40, 40)), weights))


def test_halves_share_nobody():
    found = table.halves(["c", "a", "b", "a", "d", "e"])
    assert found == {"all": list("abcde"), "first half": ["a", "c", "e"], "second half": ["b", "d"]}


# ---------------------------------------------------------------------------------------------------------- the verdict


def calibrated(tmp_path, power=90.0, false=4.0):
    rows = [
        table.powers(chain(np.ones(12), world, fill, polarity), 5, 0).assign(value=value)
        for world, value in (("signature", power), ("hair", false), ("nose", false))
        for fill in ("black", "mean")
        for polarity in ("loss", "similarity")
    ]
    pd.concat(rows).to_csv(tmp_path / "calibration.csv", index=False)
    return tmp_path / "calibration.csv"


def judged(tmp_path, calibration_file, p=0.01, difference=0.05):
    steps = pd.DataFrame({"model": ["a", "b"], "p": [p, 0.9], "difference": [difference, 0.001]})
    steps = steps.assign(
        layer_number=1, percent=1.0, step="own_mean > other_mean", fill="mean", polarity="loss", identities=12,
        difference_low=0.01, difference_high=0.09, rank_biserial=0.4,
    )  # fmt: skip
    steps.to_csv(tmp_path / "steps.csv", index=False)
    pd.DataFrame({"identity": ["x", "y", "all"], "kept": [3, 3, 6]}).to_csv(tmp_path / "retention.csv", index=False)
    (tmp_path / "front.rst").write_text("The rest.\n")
    outputs = tmp_path / "verdict.csv", tmp_path / "verdict.txt", tmp_path / "report.rst"
    verdict.tabulate_verdict(
        tmp_path / "steps.csv", tmp_path / "retention.csv", calibration_file, *outputs,
        front=tmp_path / "front.rst", percent=1.0, placement="centred", target="cosine",
    )  # fmt: skip
    return pd.read_csv(outputs[0]).set_index("model"), outputs[1].read_text(), outputs[2].read_text()


@pytest.mark.parametrize(
    "case, words",
    [
        ({}, ("person-specific", "not person-specific")),
        ({"power": 40.0}, ("person-specific", "cannot tell")),
        ({"false": 30.0}, ("cannot tell", "not person-specific")),
        ({"difference": -0.05}, ("not person-specific", "not person-specific")),
        ({"p": 0.03}, ("not person-specific", "not person-specific")),  # 0.06 after Holm's correction
    ],
)
def test_the_verdict_says_what_the_calibration_allows(tmp_path, case, words):
    known = {name: case.pop(name) for name in ("power", "false") if name in case}
    found, text, page = judged(tmp_path, calibrated(tmp_path, **known), **case)
    assert tuple(found["verdict"]) == words
    assert found["images"].tolist() == [3, 3] and found.loc["a", "p_holm"] == pytest.approx(2 * case.get("p", 0.01))
    assert text.startswith("Is it person-specific? 12 people with 3 images each; ") and words[0].upper() in text
    assert (
        page.startswith("**Is it person-specific?** 12 people")
        and page.endswith("The rest.\n")
        and "- ``a``, mean" in page
    )
    assert "finds a world of signatures in" in found.loc["a", "sentence"]


def test_without_a_calibration_there_is_no_verdict_of_no(tmp_path):
    found, text, _ = judged(tmp_path, None)
    assert found["verdict"].tolist() == ["cannot tell", "cannot tell"] and "not calibrated" in text


def test_chances_lie_between_those_that_were_tried(tmp_path):
    rows = pd.concat([chain(np.ones(12), world) for world in ("signature", "hair")])
    tried = pd.concat([table.powers(rows[rows["world"] == world], 5, 0) for world in ("signature", "hair")])
    tried["value"] = np.where(tried["world"] == "signature", tried["people"], 0)
    cell = {"fill": "mean", "placement": "centred", "target": "cosine", "polarity": "loss"}
    assert verdict.chances(tried, cell, 18, 3) == (18, 0)
    assert verdict.chances(tried, cell, 2, 3) == (6, 0) and verdict.chances(tried, cell, 1000, 50) == (100, 0)
    assert np.isnan(verdict.chances(tried, cell | {"fill": "blur"}, 18, 3)).all()


def test_nobody_has_no_verdict(tmp_path):
    found = verdict.describe_verdicts(pd.DataFrame(columns=verdict.VERDICT_COLUMNS))
    assert found == "Is it person-specific? There was nobody to ask it of.\n"


def test_the_figure_is_drawn(tmp_path, truth):
    chains = []
    for world, shift in zip(calibration.CHAIN_WORLDS, (1, 0, 0, 0), strict=True):
        made = np.random.default_rng(0).normal(shift, 1, 12)
        rows = [chain(made, world, fill, polarity) for fill in ("black", "mean") for polarity in ("loss", "similarity")]
        pd.concat(rows).to_parquet(tmp_path / f"{world}.parquet")
        chains.append(tmp_path / f"{world}.parquet")
    output = tmp_path / "calibration.csv"
    table.tabulate_calibration(chains, [truth[0]], [truth[1]], output, size=TINY)
    found = pd.read_csv(output)
    assert set(found["measure"]) == set(calibration.MEASURES)
    figure.plot_calibration(
        output, tmp_path / "c.png", tmp_path / "c.pdf", placement="centred", target="cosine", images=3
    )
    assert (tmp_path / "c.png").stat().st_size > 20_000
