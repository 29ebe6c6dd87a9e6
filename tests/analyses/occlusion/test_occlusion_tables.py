"""The statistics of occlusion against independent ones, on drops with planted differences."""

import functools
import itertools

import numpy as np
import pandas as pd
import pytest

from leam import paper, statistics
from leam.analyses import occlusion
from leam.analyses.occlusion import figure as occlusion_figure
from leam.analyses.occlusion import table as occlusion_table
from planted import LEVELS, make_drops

NAMES = ("occlusion", "decisions", "person_specific", "transfer", "table09", "table21")
FIGURES = ("drop", "lost", "chain", "layers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tables, as files, of three models under two guides; the second is untrained."""
    tmp_path = tmp_path_factory.mktemp("tables")
    drops, models = {}, ("IR_CASIA", "VGG_16", "mine")
    for model in models:
        table = make_drops(model, tuple({"IR_CASIA", model}), untrained=model == "VGG_16")
        halves = [table[table["identity"] < "p04"], table[table["identity"] >= "p04"]]
        drops[model] = [str(tmp_path / f"{model}{number}.parquet") for number in range(2)]
        for half, path in zip(halves, drops[model], strict=True):
            half.to_parquet(path, index=False)
    tabulate(tmp_path, drops, "IR_CASIA")
    return tmp_path


def tabulate(folder, drops, guide) -> dict[str, str]:
    """The tables, by name, of drops by model."""
    facts = {"model": list(drops), "threshold": 0.4, "false_match_rate": 1e-3, "impostor_pairs": 4000}
    pd.DataFrame(facts).to_csv(folder / "verification.csv", index=False)
    outputs = {name: str(folder / f"{name}.csv") for name in NAMES}
    occlusion_table.tabulate_occlusion(
        drops,
        folder / "verification.csv",
        outputs,
        guide=guide,
        fill="black",
        primary={"polarity": "loss", "fill": "mean", "percent": 1.0},
    )
    return outputs


@pytest.fixture(scope="module")
def tabulated(folder):
    return {name: pd.read_csv(folder / f"{name}.csv") for name in NAMES}


def plain_mean(table, value="drop", **cell):
    """Mean over identities of the mean over images."""
    for key, wanted in cell.items():
        table = table[table[key] == wanted]
    return table.groupby("identity")[value].mean().mean()


def test_mean_drops_against_a_plain_computation(tabulated):
    found, drops = tabulated["occlusion"], make_drops("mine", tuple({"IR_CASIA", "mine"}))
    found = found[found["model"] == "mine"].fillna({"guide": "", "layer": "", "polarity": ""})
    cells = drops.groupby(occlusion_table.DROP_KEYS)
    assert len(found) == len(cells)
    for row in found.to_dict("records"):
        cell = {key: row[key] for key in occlusion_table.DROP_KEYS}
        assert row["drop"] == pytest.approx(plain_mean(drops, **cell), abs=1e-6)
        assert row["drop_low"] <= row["drop"] <= row["drop_high"]
        assert (row["identities"], row["images"], row["pairs"]) == (10, 30, 60)


def test_identities_weigh_the_same_and_images_without_a_drop_are_left_out():
    drops = pd.concat(
        [make_drops(identities=1, images=4), make_drops(identities=2, images=2).query("identity == 'p01'")]
    )
    drops.loc[(drops["identity"] == "p00") & (drops["image"] == "0.png"), ["drop", "lost"]] = np.nan
    means = occlusion_table._average_shard(drops)
    chosen = means[(means["kind"] == "random") & (means["percent"] == 1) & (means["fill"] == "mean")]
    chosen = chosen.set_index("identity")
    assert chosen["images"].to_dict() == {"p00": 3, "p01": 2}
    assert chosen["pairs"].to_dict() == {"p00": 9, "p01": 2}
    found = occlusion_table.summarise(means, 0.95)
    row = found[(found["kind"] == "random") & (found["percent"] == 1) & (found["fill"] == "mean")].iloc[0]
    cell = {"kind": "random", "percent": 1.0, "fill": "mean"}
    expected = [plain_mean(drops[drops["identity"] == p], **cell) for p in ("p00", "p01")]
    assert row["drop"] == pytest.approx(np.mean(expected))


def test_lost_pairs_are_a_share_of_the_accepted_ones_of_each_identity(tabulated):
    drops = make_drops("mine", tuple({"IR_CASIA", "mine"}))
    drops, found = (table[table["fill"] == "mean"] for table in (drops, tabulated["decisions"]))
    row = found[(found["model"] == "mine") & (found["kind"] == "centre") & (found["percent"] == 1)].iloc[0]
    cell = drops[(drops["kind"] == "centre") & (drops["percent"] == 1)]
    shares = [100 * rows["lost"].sum() / rows["accepted"].sum() for _, rows in cell.groupby("identity")]
    assert row["lost_percent"] == pytest.approx(np.mean(shares), rel=1e-5)
    assert row["pooled_lost_percent"] == pytest.approx(100 * cell["lost"].sum() / cell["accepted"].sum(), rel=1e-5)
    assert (row["threshold"], row["impostor_pairs"]) == (0.4, 4000)


def test_without_a_threshold_losses_are_unknown():
    """Of p00 nothing is known, of p01 one image."""
    drops = make_drops(identities=2).assign(accepted=2)
    unknown = (drops["identity"] == "p00") | (drops["image"] != "1.png")
    drops["lost"] = drops["lost"].astype(float).mask(unknown)
    means = occlusion_table._average_shard(drops)
    centre = means[(means["kind"] == "centre") & (means["percent"] == 1) & (means["fill"] == "black")]
    lost = centre.set_index("identity")["lost"]
    cell = (drops["kind"] == "centre") & (drops["percent"] == 1) & (drops["fill"] == "black") & ~unknown
    assert np.isnan(lost["p00"]) and lost["p01"] == drops.loc[cell, "lost"].item()
    found = occlusion_table.summarise(occlusion_table._average_shard(drops.assign(lost=np.nan, accepted=np.nan)), 0.95)
    assert (found["images"] > 0).all() and (found["pairs"] > 0).all()
    assert found[["accepted", "lost", "lost_percent", "pooled_lost_percent"]].isna().all(axis=None)


def test_without_accepted_pairs_there_is_no_share():
    drops = make_drops(identities=3).assign(accepted=0, lost=0)
    found = occlusion_table.summarise(occlusion_table._average_shard(drops), 0.95)
    assert found["lost_percent"].isna().all() and found["pooled_lost_percent"].isna().all()


def test_table_21_has_the_paper_beside_it_and_table_9_is_its_mean(tabulated):
    table21, table09 = tabulated["table21"], tabulated["table09"]
    theirs = paper.read_table("table21").set_index(["occlusion", "occlusion_percent", "model"])["cosine_drop"]
    for row in table21.to_dict("records"):
        cell = row["occlusion"], row["occlusion_percent"]
        if row["model"] == "mine":
            assert row["paper"] == pytest.approx(theirs[cell].mean(), rel=1e-5)
            assert row["paper_of"] == "mean of 9 recognisers"
        else:
            assert (row["paper"], row["paper_of"]) == (theirs[*cell, row["model"]], row["model"])
        assert row["difference"] == pytest.approx(row["cosine_drop"] - row["paper"], abs=1e-5)
    assert set(table21["fill"]) == set(table09["fill"]) == {"black"}
    drops = make_drops("mine", tuple({"IR_CASIA", "mine"}))
    row = table21.query("model == 'mine' and occlusion == 'random' and occlusion_percent == 1").iloc[0]
    assert row["cosine_drop"] == pytest.approx(plain_mean(drops, kind="random", percent=1.0, fill="black"), abs=1e-6)
    assert set(table21.loc[table21["occlusion"] == "leam", "guide"]) == {"IR_CASIA"}
    assert len(table21) == 3 * 2 * (2 + 1)
    keys = ["occlusion", "polarity", "occlusion_percent"]
    mean = table21.groupby(keys, dropna=False)["cosine_drop"].mean()
    np.testing.assert_allclose(table09.set_index(keys)["cosine_drop"].sort_index(), mean.sort_index(), rtol=1e-5)
    row = table09[(table09["occlusion"] == "leam") & (table09["occlusion_percent"] == 1)].iloc[0]
    assert (row["paper"], row["paper_of"], row["models"]) == (0.1148, "mean of 9 recognisers", 3)


def test_the_transfer_matrix_has_every_guide_under_every_model_and_the_first_layer_only(tabulated):
    found = tabulated["transfer"]
    assert set(found["fill"]) == {"black", "mean"}
    at = found[(found["percent"] == 1) & (found["polarity"] == "loss") & (found["fill"] == "mean")]
    pairs = {("IR_CASIA", "IR_CASIA"), ("VGG_16", "IR_CASIA"), ("VGG_16", "VGG_16")}
    assert set(zip(at["model"], at["guide"], strict=True)) == pairs | {("mine", "IR_CASIA"), ("mine", "mine")}
    assert set(found["layer"]) == {"conv1"}
    drops = make_drops("mine", tuple({"IR_CASIA", "mine"}))
    row = at[(at["model"] == "mine") & (at["guide"] == "IR_CASIA")].iloc[0]
    cell = {"guide": "IR_CASIA", "kind": "image", "polarity": "loss", "percent": 1.0, "fill": "mean"}
    assert row["drop"] == pytest.approx(plain_mean(drops, **cell), abs=1e-6)
    assert row["random_drop"] == pytest.approx(plain_mean(drops, kind="random", percent=1.0, fill="mean"), abs=1e-6)


def test_planted_steps_are_found_and_the_one_that_is_not_there_is_not(tabulated):
    steps = tabulated["person_specific"]
    headline = steps[(steps["percent"] == 1) & (steps["layer_number"] == 1)]
    headline = headline.set_index(["model", "polarity", "fill", "step"])
    assert len(headline) == 3 * 2 * 2 * 6
    for (_, _, fill, step), row in headline.iterrows():
        planted = (LEVELS[row["more"]] - LEVELS[row["less"]]) / (1 if fill == "black" else 2)
        assert row["difference"] == pytest.approx(planted, abs=0.012)
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]
        if step == "own_mean > other_mean":
            assert row["p_holm"] > 0.05
        else:
            assert row["rank_biserial"] > 0.9 and row["p"] < 0.01 and row["greater_percent"] >= 90


def test_the_one_question_decided_before_looking_is_a_family_of_its_own(tabulated):
    steps = tabulated["person_specific"]
    primary = steps[steps["family"] == "primary"]
    assert sorted(primary["model"]) == ["IR_CASIA", "VGG_16", "mine"] and (primary["tests"] == 3).all()
    asked = {"step": "own_mean > other_mean", "polarity": "loss", "fill": "mean", "percent": 1, "layer": "conv1"}
    assert (primary[list(asked)] == pd.Series(asked)).all(axis=None)
    sizes = steps.groupby("family")["tests"].agg(["first", "size"])
    assert (sizes["first"] == sizes["size"]).all() and sizes.to_numpy().max() == 18
    assert sizes.loc["secondary: loss, mean, 1 %, layer 1", "size"] == 15
    assert sizes.loc["secondary: loss, black, 1 %, layer 1", "size"] == 18
    for _, family in steps.groupby("family"):
        np.testing.assert_allclose(family["p_holm"], statistics.holm(family["p"].to_numpy()), rtol=1e-4)
        np.testing.assert_allclose(family["p_attainable"], np.minimum(1, len(family) * 2 / 2**10), rtol=1e-4)
        assert (family["p_holm"] > family["p_attainable"] * 0.999).all()


def test_cells_of_other_kinds_make_families_of_their_own():
    steps = pd.DataFrame({"fill": ["black", "black", "mean", "mean"], "model": list("abab")})
    steps = steps.assign(step="own_mean > other_mean", polarity="loss", percent=1.0, layer_number=1)
    found = occlusion_table._families(steps, {"polarity": "loss", "percent": 1.0, "fill": "mean"})
    assert list(found) == ["secondary: loss, black, 1 %, layer 1"] * 2 + ["primary"] * 2


def test_steps_are_paired_over_identities(tabulated):
    drops = make_drops("mine", tuple({"IR_CASIA", "mine"}))
    own = drops[drops["guide"].isin(["mine", ""]) & drops["layer"].isin(["conv2", ""]) & (drops["percent"] == 1)]
    own = (
        own[own["polarity"].isin(["similarity", ""]) & (own["fill"] == "mean")]
        .groupby(["kind", "identity"])["drop"]
        .mean()
    )
    difference = (own["population_mean"] - own["centre"]).to_numpy()
    steps = tabulated["person_specific"].query("model == 'mine' and layer == 'conv2' and polarity == 'similarity'")
    row = steps[(steps["step"] == "population_mean > centre") & (steps["fill"] == "mean")].iloc[0]
    assert row["difference"] == pytest.approx(difference.mean(), abs=1e-6)
    assert row["p"] == pytest.approx(brute_force_p(difference), abs=1e-6)
    assert row["greater_percent"] == 100 * (difference > 0).mean()


def brute_force_p(difference):
    """Wilcoxon's signed-rank test from its definition: all 2^n signs of the ranks are equally likely."""
    ranks = np.argsort(np.argsort(np.abs(difference))) + 1
    observed = ranks[difference > 0].sum()
    signs = np.array(list(itertools.product((0, 1), repeat=len(ranks))))
    sums = signs @ ranks
    return min(1, 2 * min((sums <= observed).mean(), (sums >= observed).mean()))


def test_signed_rank_and_effect_size_against_their_definitions():
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.5, -2.0):
        difference = rng.normal(shift, 1, 9)
        assert statistics.signed_rank(difference) == pytest.approx(brute_force_p(difference))
    assert statistics.rank_biserial(np.array([1.0, 2, -3, 0])) == pytest.approx((1 + 2 - 3) / 6)
    assert statistics.rank_biserial(np.array([1.0, 2, 2])) == 1
    assert np.isnan(statistics.rank_biserial(np.zeros(3))) and np.isnan(statistics.signed_rank(np.zeros(3)))


def test_holm_by_hand():
    found = statistics.holm(np.array([0.01, 0.04, 0.03, np.nan, 0.005, 0.6]))
    # sorted 0.005 x 5, 0.01 x 4, 0.03 x 3, 0.04 x 2 -> not below the one before, 0.6
    np.testing.assert_allclose(found, [0.04, 0.09, 0.09, np.nan, 0.025, 0.6])
    np.testing.assert_array_equal(statistics.holm(np.array([0.7, 0.9])), [1, 1])


def test_a_step_that_does_not_exist_is_rarely_called_significant():
    """400 tables without any difference: at most about 5 % of the families have a Holm p below 0.05."""
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(400):
        p = np.array([statistics.signed_rank(rng.normal(size=12)) for _ in range(4)])
        wrong += (statistics.holm(p) < 0.05).any()
    assert wrong / 400 < 0.08


def test_one_identity_has_means_and_no_intervals():
    means = occlusion_table._average_shard(make_drops(identities=1))
    found = occlusion_table.summarise(means, 0.95)
    assert found["drop"].notna().all() and found["drop_low"].isna().all()
    steps = occlusion_table.correct_steps(occlusion_table.compare_steps(means, "IR_CASIA", 0.95), {"polarity": "loss"})
    assert steps["difference"].notna().all() and steps["difference_low"].isna().all()


def test_untrained_stays_marked_in_every_table(tabulated):
    for name in NAMES:
        table = tabulated[name]
        if "model" in table:
            assert (table["untrained"] == (table["model"] == "VGG_16")).all(), name
        else:
            assert table["untrained"].all(), name


KINDS_WITH_IMAGE = [
    ("image", *others)
    for count in range(len(occlusion.OCCLUSION_KINDS))
    for others in itertools.combinations([kind for kind in occlusion.OCCLUSION_KINDS if kind != "image"], count)
]


@functools.cache
def some_drops() -> pd.DataFrame:
    return make_drops("m", ("m",), identities=3, images=1)


def tabulate_kinds(folder, kinds) -> dict[str, str]:
    """The tables, by name, of a run that tried these kinds alone."""
    drops = some_drops()
    drops[drops["kind"].isin(kinds)].to_parquet(folder / "m.parquet", index=False)
    return tabulate(folder, {"m": [folder / "m.parquet"]}, "m")


@pytest.mark.parametrize("kinds", KINDS_WITH_IMAGE, ids="+".join)
def test_every_choice_of_kinds_ends_in_tables(tmp_path, kinds):
    """Also one without any step of the chain: then person_specific.csv has its columns and no row."""
    steps = pd.read_csv(tabulate_kinds(tmp_path, kinds)["person_specific"])
    assert set(steps["step"]) == {
        f"{more} > {less}" for more, less in occlusion_table.STEPS if {more, less} <= {*kinds}
    }
    assert list(steps) == occlusion_table.STEP_COLUMNS


@pytest.mark.parametrize("kinds", [("image",), ("image", "random"), ("image", "shuffled"), ("image", "other_mean")])
def test_every_choice_of_kinds_ends_in_figures(tmp_path, kinds):
    tables = tabulate_kinds(tmp_path, kinds)
    drawn = {f"{name}_{kind}": str(tmp_path / f"{name}.{kind}") for name in FIGURES for kind in ("png", "pdf")}
    occlusion_figure.plot_occlusion(tables["occlusion"], tables["decisions"], drawn, guide="m", fill="black")
    occlusion_figure.plot_person_specific(
        tables["occlusion"], tables["person_specific"], drawn, percent=1.0, fill="mean"
    )
    assert all((tmp_path / f"{name}.png").stat().st_size > 1000 for name in FIGURES)
