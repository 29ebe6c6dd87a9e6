"""Localisation with known truth: a recogniser made to see one region is found to; the numbers are plain ones."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import wilcoxon

from leam import storage
from leam.analyses import localisation
from leam.analyses.localisation import figure as localisation_figure
from leam.analyses.localisation import measure as localisation_measure
from leam.analyses.localisation import table as localisation_table
from leam.analyses.regions import table as regions_table
from leam.maps import MapSettings
from leam.recognisers import networks, registry
from leam.regions import REGIONS
from naive_statistics import naive_interval

NOSE = REGIONS.index("nose")
SETTINGS = MapSettings(top_percents=(0.5, 1.0))
PLANTED = '''
import torch


class SeesRed(torch.nn.Module):
    """Its convolution answers to pure red alone; the embedding is the answer's mean and its square's."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 1, 1, bias=False)
        self.conv.weight.data = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)

    def forward(self, x):
        red = torch.relu(self.conv(x)).flatten(1)
        return torch.stack([red.mean(1), (red**2).mean(1)], 1)
'''


@pytest.fixture(scope="module")
def nose_faces(tmp_path_factory):
    """Faces of a rendered world, their noses painted red, the rest grey: only its shade differs between people."""
    folder = tmp_path_factory.mktemp("nose")
    localisation_measure.render_world("nose", folder, folder / "rendered.h5", identities=4, images=3, size=128, seed=0)
    rng = np.random.default_rng(0)
    with (
        storage.open_shard(folder / "rendered.h5", "faces") as source,
        storage.create_shard(folder / "faces.h5", "faces") as target,
    ):
        for number, name in enumerate(storage.identities(source)):
            found = storage.read_faces(source, name)
            nose = found.regions == NOSE
            shades = rng.integers(60 + 45 * number, 75 + 45 * number, (len(nose), 1))
            found.crops[:] = 128
            found.crops[nose] = 0
            found.crops[..., 0][nose] = np.repeat(shades[:, 0], nose.sum((1, 2)))
            storage.write_faces(target, found)
        storage.write_discarded(target, [])
    return folder


@pytest.fixture(scope="module")
def planted(nose_faces):
    """What ``count_world`` gives for a recogniser that sees the nose by construction, and for its shuffled twin."""
    with pytest.MonkeyPatch.context() as patch:
        (nose_faces / "planted_recogniser.py").write_text(PLANTED)
        patch.syspath_prepend(str(nose_faces))
        planted = registry.Recogniser(
            "planted", "planted_recogniser:SeesRed", (112, 112), (0.0,) * 3, (255.0,) * 3, layers=("conv",)
        )
        return localisation_measure.count_world(
            nose_faces / "faces.h5", nose_faces / "maps.h5", nose_faces, [("trained", planted)], SETTINGS, seed=0
        )


def enrichment_of_nose(table: pd.DataFrame, model: str, threshold: str) -> pd.Series:
    """By polarity, in the only layer."""
    chosen = (table["model"] == model) & (table["threshold"] == threshold) & (table["region"] == "nose")
    rows = table[chosen & (table["layer"] == "conv")].groupby("polarity")
    return rows["percent"].mean() / rows["area_percent"].mean()


def test_a_recogniser_that_sees_only_the_nose_is_found_to_and_random_pixels_are_not(planted, nose_faces):
    with storage.open_shard(nose_faces / "faces.h5", "faces") as shard:
        area = np.mean([(storage.read_regions(shard, name) == NOSE).mean() for name in storage.identities(shard)])
    for threshold in ("0.5", "1"):
        np.testing.assert_allclose(enrichment_of_nose(planted, "planted", threshold), 1 / area, rtol=1e-6)
    assert enrichment_of_nose(planted, "random", "1").mean() == pytest.approx(1, abs=0.3)
    assert (planted["auc"][planted["model"] == "planted"] > 0.8).all()
    assert planted["auc"][planted["kind"].isin(["random", "centre", "mean"])].isna().all()


def test_centre_and_mean_are_the_pixels_they_claim_to_be(planted, nose_faces):
    """Both controls of one person, pixel by pixel from sorted lists."""
    with (
        storage.open_shard(nose_faces / "faces.h5", "faces") as shard,
        storage.open_shard(nose_faces / "maps.h5", "maps") as mapped,
    ):
        labels = storage.read_regions(shard, "s002").reshape(3, -1)
        of_people = [storage.read_maps(mapped, name).maps["loss"]["conv"] for name in storage.identities(mapped)]
    mean = np.mean([found.mean(0) for found in of_people], 0).ravel()
    middle = [-np.hypot(row - 55.5, column - 55.5) for row in range(112) for column in range(112)]
    keys = ["model", "polarity", "layer", "threshold", "identity"]
    rows = planted.set_index([*keys, "region"])["count"].unstack()[list(REGIONS)]
    for model, values in (("mean", mean), ("centre", np.array(middle))):
        best = sorted(range(112 * 112), key=lambda pixel: -np.float64(values[pixel]))[:125]
        expected = np.bincount(labels[:, best].ravel(), minlength=19)
        assert np.abs(rows.loc[(model, "loss", "conv", "1", "s002")] - expected).sum() <= 2 * 3 * 4  # equal distances


def test_no_share_is_above_what_the_region_has_room_for(planted, nose_faces):
    assert (planted["percent"] <= planted["attainable_percent"] + 1e-9).all()
    with storage.open_shard(nose_faces / "faces.h5", "faces") as shard:
        labels = storage.read_regions(shard, "s001")
    chosen = (planted["identity"] == "s001") & (planted["threshold"] == "1") & (planted["model"] == "random")
    rows = planted[chosen & (planted["polarity"] == "loss") & (planted["layer"] == "conv")].set_index("region")
    for number, region in enumerate(REGIONS):
        expected = np.mean([min(1, (image == number).sum() / 125) for image in labels])
        assert rows.loc[region, "attainable_percent"] == pytest.approx(100 * expected)


def test_every_control_has_as_many_pixels_as_the_recogniser(planted):
    top = planted[(planted["threshold"] == "1") & (planted["layer"] == "conv")]
    per_map = top.groupby(["model", "polarity", "identity"])["count"].sum() / (112 * 112 / 100)
    pairs = top.groupby(["model", "polarity", "identity"])["pairs"].first()
    full = per_map[["random", "centre"]] / pairs[["random", "centre"]]
    np.testing.assert_allclose(full, 125 / 125.44)


# ------------------------------------------------------------------------------------------------------------ tables


def make_counts(percents: dict[str, tuple[str, list[float]]], area: list[float]) -> pd.DataFrame:
    """Rows of ``measure_localisation``: per model its kind and the nose's percent in each person; the rest is hair."""
    rows = [
        (model, kind, polarity, layer, threshold, f"p{person}", region, share, base)
        for model, (kind, shares) in percents.items()
        for polarity in ("loss", "similarity")
        for layer in ("conv1", "all")
        for threshold in ("1", "full")
        for person, (nose, nose_area) in enumerate(zip(shares, area, strict=True))
        for region, share, base in (("nose", nose, nose_area), ("hair", 100 - nose, 100 - nose_area))
    ]
    table = pd.DataFrame(
        rows, columns=["model", "kind", *regions_table.REGION_KEYS[:3], "identity", "region", "percent", "area_percent"]
    )
    missing = [
        table.iloc[::2].assign(region=name, percent=0.0, area_percent=0.0)
        for name in REGIONS
        if name not in ("nose", "hair")
    ]
    table = pd.concat([table, *missing]).assign(
        count=1, attainable_percent=90.0, pairs=6, empty_pairs=0, untrained=False, world="nose", auc=0.9
    )
    order = {name: number for number, name in enumerate(REGIONS)}
    keys = ["model", "polarity", "layer", "threshold", "identity", "region"]
    return table.sort_values(keys, key=lambda column: column.map(order) if column.name == "region" else column)


AREA = [2.0, 3.0, 4.0, 3.0, 2.5, 3.5]
OWN, CONTROL = [20.0, 30.0, 25.0, 28.0, 22.0, 31.0], [6.0, 9.0, 7.0, 8.0, 7.0, 8.0]


def find(tmp_path, **percents) -> tuple[pd.Series, pd.DataFrame]:
    """The cell loss, conv1, top 1 % of the headline table; and the table of all regions."""
    everything = {"own": ("trained", OWN)} | {kind: (kind, CONTROL) for kind in (*localisation.CONTROLS, "mean")}
    everything |= {
        model: (everything[model][0] if model in everything else "general", p) for model, p in percents.items()
    }
    make_counts(everything, AREA).to_parquet(tmp_path / "nose.parquet")
    paths = tmp_path / "found.csv", tmp_path / "regions.csv"
    localisation_table.tabulate_localisation([str(tmp_path / "nose.parquet")], *paths)
    found, shares = (pd.read_csv(path, dtype={"threshold": str}) for path in paths)
    return found.set_index(localisation_table.CELLS).loc[("loss", "conv1", "1")], shares


def test_enrichment_and_differences_against_plain_computations(tmp_path):
    row, shares = find(tmp_path, centre=[7.0, 12.0, 9.0, 8.0, 11.0, 10.0])
    own, centre, area = np.array(OWN), np.array([7.0, 12.0, 9.0, 8.0, 11.0, 10.0]), np.array(AREA)
    assert row["enrichment"] == pytest.approx(own.mean() / area.mean(), rel=1e-5)
    assert row["under_centre"] == pytest.approx(centre.mean() / area.mean(), rel=1e-5)
    assert (row["nearest"], row["rank"], row["regions"]) == ("centre", 1, 2)
    assert row["attainable_percent"] == 90
    assert row["difference"] == pytest.approx((own.mean() - centre.mean()) / area.mean(), rel=1e-5)
    value, ends = own.mean() / area.mean(), []
    without = [np.log(value) - (each - value * pixels) / 5 / own.mean() for each, pixels in zip(own, area, strict=True)]
    ends.append(np.exp(naive_interval(np.log(value), without)))
    gap = (own - centre).mean() / area.mean()
    without = [gap - (each - gap * pixels) / 5 / area.mean() for each, pixels in zip(own - centre, area, strict=True)]
    ends.append(naive_interval(gap, without))
    for name, expected in zip(("enrichment", "difference"), ends, strict=True):
        np.testing.assert_allclose([row[f"{name}_low"], row[f"{name}_high"]], expected, rtol=1e-4)
    tests = 2 * 2  # polarities and layers, at the top 1 %
    assert (row["p"], row["tests"]) == (2 / 2**6, tests) and row["p_attainable"] == row["p_holm"] == tests * 2 / 2**6
    assert np.isnan(row["detectable_difference"])  # six people cannot show any after the correction
    assert row["found"] and row["above_mean"] and len(shares) == 7 * 2 * 2 * 2 * 19


def test_the_figure_says_how_many_layers_hold(tmp_path):
    """Six people and four tests: none can. Were they a family of one, the layer would."""
    find(tmp_path)
    rows = pd.read_csv(tmp_path / "found.csv", dtype={"threshold": str})
    rows = rows[(rows["polarity"] == "loss") & (rows["threshold"] == "1") & (rows["layer"] == "conv1")]
    start = "of 1 layers 1 above all recognisers, 1 above the disc\nabove every control, after Holm's correction: "
    for table, words in ((rows, "too few people"), (rows.assign(p_holm=rows["p"]), "holds")):
        said = localisation_figure._say_what_holds(table)
        assert said.replace("\n", " ") == f"{start}{words}".replace("\n", " ")


@pytest.mark.parametrize("stronger", [*localisation.CONTROLS, "second_general"])
def test_a_region_that_any_one_control_finds_as_well_is_not_found(tmp_path, stronger):
    row, _ = find(tmp_path, **{stronger: [value + 1 for value in OWN[::-1]]})
    claims = {"random": "above_random", "centre": "above_centre"}
    failed = claims.get(stronger, "above_recognisers")
    assert not row["found"] and not row[failed] and row["nearest"] == stronger
    assert row[["above_chance", "above_mean", *({*claims.values(), "above_recognisers"} - {failed})]].all()
    assert row["p"] == 1  # two-sided, and as sure as six people can be: that it lies below
    kind = "general" if stronger == "second_general" else stronger
    assert row[f"under_{kind}"] > row["enrichment"] > 5


def test_p_is_the_largest_over_all_controls_and_not_that_of_the_nearest(tmp_path):
    """The nearest by its mean is surely below; another, lower in the mean, is below in three of six people alone."""
    nearest, uncertain = [value - 1 for value in OWN], [value + (2 if n % 2 else -30) for n, value in enumerate(OWN)]
    row, _ = find(tmp_path, shuffled=nearest, random=[max(value, 0.1) for value in uncertain])
    assert row["nearest"] == "shuffled" and row["difference_low"] > 0
    apart = np.array(OWN) - [max(value, 0.1) for value in uncertain]
    assert row["p"] == pytest.approx(wilcoxon(apart).pvalue) and row["p"] > 2 / 2**6


def test_the_mean_map_is_told_apart_from_the_controls(tmp_path):
    row, _ = find(tmp_path, mean=OWN)
    assert row["found"] and not row["above_mean"]


def test_a_region_at_chance_is_not_found(tmp_path):
    everything = dict.fromkeys(localisation.CONTROLS, [0.1] * 6)
    row, _ = find(tmp_path, own=[2.0, 3.5, 4.0, 2.5, 2.5, 3.5], **everything)
    assert (
        not row["found"]
        and not row["above_chance"]
        and row["above_centre"]
        and row["rank"] in (1, 2)
        and row["enrichment"] == pytest.approx(1, abs=0.05)
    )


# ------------------------------------------------------------------------------------------- recognisers and controls


@pytest.mark.parametrize("region", registry.WORLDS)
def test_recognisers_of_a_world_are_its_own_and_controls_at_the_same_layers(region):
    found = localisation_measure.recognisers_of(region)
    assert [kind for kind, _ in found] == ["trained", "general", "general", "shuffled", "untrained"]
    names = [recogniser.name for _, recogniser in found]
    assert names[0] == f"sample_{region}" and len(set(names)) == 5
    assert len({recogniser.layers for _, recogniser in found}) == 1
    assert [recogniser.untrained for _, recogniser in found] == [False] * 4 + [True]


def test_an_entry_of_the_configuration_reaches_the_world():
    found = localisation_measure.recognisers_of("nose", {"sample_nose": {"weights": "w", "layers": ["conv1"]}})
    assert found[0][1].weights == "w" and all(recogniser.layers == ("conv1",) for _, recogniser in found)


def test_shuffled_convolutions_keep_their_values_and_lose_their_order():
    recogniser = registry.recogniser("sample_arcface")
    plain = networks.build_network(recogniser)
    shuffled, again, other = (
        networks.build_network(dataclasses.replace(recogniser, shuffled=True), seed=seed) for seed in (1, 1, 2)
    )
    for name, module in plain.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            weights = [dict(net.named_modules())[name].weight.flatten() for net in (shuffled, again, other)]
            assert not torch.equal(weights[0], module.weight.flatten()) and not torch.equal(weights[0], weights[2])
            assert torch.equal(weights[0].sort()[0], module.weight.flatten().sort()[0])
            assert torch.equal(weights[0], weights[1])
    assert torch.equal(plain.fc.weight, shuffled.fc.weight) and torch.equal(plain.bn1.weight, shuffled.bn1.weight)
