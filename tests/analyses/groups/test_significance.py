"""Tests of groups against independent ones; a planted difference is found, and none is where there is none."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu

from leam import paper
from leam.analyses.groups import figure as groups_figure
from leam.analyses.groups import table as groups_table
from leam.analyses.occlusion.table import DROP_KEYS
from leam.regions import REGIONS
from leam.statistics import CORRECTED
from planted import make_counts, make_drops, make_image_shares


def counted_u(a, b):
    """U by its definition: how many pairs a wins, ties half."""
    return sum((x > y) + (x == y) / 2 for x in a for y in b)


def test_u_and_rank_biserial_by_counting_pairs():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, (9, 40)).astype(float), rng.integers(1, 7, (7, 40)).astype(float)
    a[rng.random(a.shape) < 0.2] = np.nan
    found = groups_table.compare_groups(a, b)
    for k, row in found.iterrows():
        left, right = a[~np.isnan(a[:, k]), k], b[:, k]
        assert (row["n_a"], row["n_b"]) == (len(left), 7)
        assert row["u"] == counted_u(left, right)
        above = np.mean([[x > y for y in right] for x in left])
        below = np.mean([[x < y for y in right] for x in left])
        assert row["rank_biserial"] == pytest.approx(above - below)
        assert row["p"] == pytest.approx(mannwhitneyu(left, right, alternative="two-sided").pvalue)
        assert row["mean_a"] == pytest.approx(left.mean())


def test_a_columns_p_does_not_depend_on_other_columns():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(6, 2)), rng.normal(size=(7, 2))
    a[0, 1] = b[0, 1] = 0  # ties in the second column alone
    exact = mannwhitneyu(a[:, 0], b[:, 0], method="exact").pvalue
    assert groups_table.compare_groups(a, b)["p"][0] == exact == groups_table.compare_groups(a[:, :1], b[:, :1])["p"][0]


def test_a_hand_worked_case():
    """3 against 3, fully apart: U = 9, and of 20 arrangements the two most extreme are as extreme."""
    found = groups_table.compare_groups(np.array([[4.0], [5], [6]]), np.array([[1.0], [2], [3]])).iloc[0]
    assert (found["u"], found["rank_biserial"]) == (9, 1)
    assert found["p"] == pytest.approx(2 / 20)


def test_what_cannot_be_tested_has_no_p():
    a = np.array([[1.0, 2, np.nan], [1, 3, np.nan], [1, 4, 5]])
    b = np.array([[1.0, np.nan, 5], [1, np.nan, 6], [1, np.nan, 7]])
    found = groups_table.compare_groups(a, b)
    assert found["p"].isna().all()  # all equal; nobody in b; one in a
    assert found["n_b"].tolist() == [3, 0, 3]
    assert np.isnan(found["mean_b"].iloc[1])


def test_every_pair_of_ethnicities_is_compared_and_the_unknown_are_not():
    values = pd.DataFrame(
        {("x",): [1.0, 2, 3, 4, 5, 6, 7]},
        index=pd.MultiIndex.from_product([["a", "b", "c", "d", "e", "f", "g"], ["1"]], names=["identity", "image"]),
    )
    values.columns = pd.MultiIndex.from_tuples([("x",)], names=["cell"])
    people = pd.Series(
        ["Caucasian", "African", "African", "", "Caucasian", "South Asian", "South Asian"], list("abcdefg")
    )
    found = groups_table.compare_attribute(values, people, groups_table.ALLOWED["ethnicity"])
    pairs = list(zip(found["group_a"], found["group_b"], strict=True))
    assert pairs == [("Caucasian", "African"), ("Caucasian", "South Asian"), ("African", "South Asian")]
    assert (found[["n_a", "n_b"]] == 2).all(axis=None)


# ----------------------------------------------------------------------------------------------- planted, and not there


def rates(effect, cells, people=20, images=8, between=1.0, within=0.5, level=0.05):
    """How often each unit's test is below the level, over independent draws of people: a half of each gender, who
    differ from each other by ``between``, with images that differ by ``within``; women are shifted by ``effect``."""
    rng = np.random.default_rng(0)
    women = np.arange(people) < people // 2
    shift = rng.normal(0, between, (people, 1, cells)) + effect * women[:, None, None]
    values = shift + rng.normal(0, within, (people, images, cells))
    names = [f"p{number:02d}" for number in range(people)]
    index = pd.MultiIndex.from_product([names, range(images)], names=["identity", "image"])
    columns = pd.MultiIndex.from_arrays([range(cells)], names=["cell"])
    by_image = pd.DataFrame(values.reshape(-1, cells), index=index, columns=columns)
    gender = pd.DataFrame({"gender": np.where(women, "female", "male")}, index=names)
    found = groups_table.compare_units(by_image, by_image.groupby(level="identity").mean(), gender)
    return (found["p"] < level).groupby(found["unit"]).mean()


def test_a_planted_gender_effect_is_found():
    assert rates(effect=2.0, cells=200)["identity"] > 0.9


def test_without_an_effect_only_the_test_over_identities_keeps_its_level():
    """2,000 draws: 0.05 has a standard error of 0.005. Images of a person are not independent: that test is misled."""
    found = rates(effect=0.0, cells=2000)
    assert 0.03 < found["identity"] < 0.07
    assert found["image"] > 0.3


# ---------------------------------------------------------------------------------------------------------- the stages

PEOPLE = "identity,gender\n" + "".join(f"p{n:02d},{'female' if n < 5 else 'male'}\n" for n in range(10))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Drops of two models for ten people, women's larger by 0.05; shares of five of them."""
    folder = tmp_path_factory.mktemp("significance")
    (folder / "people.csv").write_text(PEOPLE)
    drops, counts, images = {}, {}, {}
    for model in ("IR_CASIA", "mine"):
        table = make_drops(model, tuple({"IR_CASIA", model}), untrained=model == "mine")
        table["drop"] += 0.2 * (table["identity"] < "p05")
        drops[model] = [str(folder / f"{model}{number}.parquet") for number in range(2)]
        early = table["identity"] < "p03"
        for half, path in zip((table[early], table[~early]), drops[model], strict=True):
            half.to_parquet(path, index=False)
        counts[model], images[model] = str(folder / f"{model}.parquet"), str(folder / f"{model}.images.parquet")
        rename = {f"p{number}": f"p{2 * number:02d}" for number in range(5)}
        make_counts().assign(model=model).replace({"identity": rename}).to_parquet(counts[model])
        make_image_shares().assign(model=model).replace({"identity": rename}).to_parquet(images[model])
    return folder, drops, counts, images


@pytest.fixture(scope="module")
def assessed(files):
    folder, drops, counts, images = files
    groups_table.assess_significance(
        drops, counts, images, folder / "people.csv", folder / "significance.csv", guide="IR_CASIA"
    )
    return pd.read_csv(folder / "significance.csv", dtype={"threshold": str}, keep_default_na=False)


def numbers(column):
    return pd.to_numeric(column.replace("", np.nan))


def test_drops_of_a_cell_are_tested_over_images_and_over_identity_means(files, assessed):
    _, drops, _, _ = files
    table = pd.concat([pd.read_parquet(path) for path in drops["mine"]])
    cell = (table["kind"] == "image") & (table["guide"] == "IR_CASIA") & (table["polarity"] == "loss")
    table = table[cell & (table["percent"] == 1) & (table["layer"] == "conv1") & (table["fill"] == "mean")]
    for unit, keys in (("image", ["identity", "image"]), ("identity", ["identity"])):
        values = table.groupby(keys)["drop"].mean().reset_index()
        women, men = (values.loc[values["identity"] < "p05", "drop"], values.loc[values["identity"] >= "p05", "drop"])
        row = assessed[(assessed["model"] == "mine") & (assessed["measure"] == "drop") & (assessed["unit"] == unit)]
        row = row[(row["kind"] == "image") & (row["guide"] == "IR_CASIA") & (row["polarity"] == "loss")]
        row = row[(numbers(row["percent"]) == 1) & (row["fill"] == "mean")]
        assert len(row) == 1
        row = row.iloc[0]
        assert (row["group_a"], row["group_b"], row["n_a"], row["n_b"]) == ("female", "male", len(women), len(men))
        expected = mannwhitneyu(women, men)
        assert float(row["p"]) == pytest.approx(expected.pvalue, rel=1e-4)
        assert float(row["u"]) == expected.statistic
        assert row["untrained"]


def test_first_layers_of_the_guide_and_the_model_and_what_has_no_guide(assessed):
    drops = assessed[(assessed["measure"] == "drop") & (assessed["model"] == "mine")]
    assert set(drops["guide"]) == {"", "IR_CASIA", "mine"}
    assert set(drops["layer"]) == {"", "conv1"}
    assert not drops.duplicated(["unit", *DROP_KEYS]).any()
    shares = assessed[assessed["measure"] == "share"]
    assert len(shares) == 2 * 2 * 2 * 2 * len(REGIONS)  # models, units, polarities, thresholds
    hats = shares[(shares["region"] == "hat") & (shares["unit"] == "image")]
    assert (hats["p"] == "").all()  # nobody wears one


def test_holm_within_a_measure_attribute_unit_and_fill(assessed):
    families = assessed.groupby(["measure", "unit", "fill"])
    assert set(assessed.loc[assessed["measure"] == "share", "fill"]) == {""} and len(families) == 2 * 2 + 2
    for _, family in families:
        p, adjusted = numbers(family["p"]).dropna(), numbers(family["p_holm"]).dropna()
        assert (family["tests"].astype(int) == len(p)).all()
        naive, highest = {}, 0.0  # step down: the k-th smallest times those not yet rejected, never decreasing
        for k, index in enumerate(p.sort_values().index):
            highest = max(highest, min(1.0, (len(p) - k) * p[index]))
            naive[index] = highest
        np.testing.assert_allclose(adjusted, pd.Series(naive)[adjusted.index], rtol=1e-4)
        assert (numbers(family["p_attainable"]).dropna() <= adjusted * 1.0001).all()
    drops = assessed[(assessed["unit"] == "identity") & (assessed["measure"] == "drop") & (assessed["fill"] == "mean")]
    least = min(1, len(drops) * 2 / 252)  # 10 people, five of each: the two extremes of 252 arrangements
    np.testing.assert_allclose(numbers(drops["p_attainable"]), least, rtol=1e-4)
    assert (drops["detectable_difference"] == "").all()  # so none could have been seen
    images = assessed[(assessed["unit"] == "image") & (assessed["measure"] == "drop")]
    assert (numbers(images["p_attainable"]) < 0.05).all() and (numbers(images["detectable_difference"]) > 0).all()


def test_the_figure_says_what_differences_that_are_not_shown_could_have_been(assessed):
    tested = assessed[(assessed["unit"] == "image") & (assessed["p"] != "")]
    tests = tested.assign(**{name: numbers(tested[name]) for name in CORRECTED})
    lost = tests[tests["p_holm"] >= 0.05]
    assert 0 < len(lost) < len(tests)
    few = tests.assign(p_attainable=np.where(tests.index == lost.index[0], 0.6, tests["p_attainable"]))
    said = groups_figure._say_what_is_not_shown(few)  # one with too few people beside others that have enough
    seen = lost["detectable_difference"].iloc[1:]
    expected = f"{len(seen)} would have seen {seen.min():.2g} to {seen.max():.2g}; 1 too few people"
    assert said == f"not shown: {expected}"
    assert groups_figure._say_what_is_not_shown(tests.drop(lost.index)) == "all differences hold"
    assert groups_figure._say_what_is_not_shown(tests.iloc[:0]) == "not tested"


def test_tables_22_and_23_are_means_of_their_own_people_beside_the_paper(files):
    folder, drops, _, _ = files
    outputs = {name: str(folder / f"{name}.csv") for name in ("drops_by_group", "table22", "table23")}
    groups_table.tabulate_drops(drops, folder / "people.csv", outputs, guide="IR_CASIA", fill="mean")
    found = {name: pd.read_csv(path) for name, path in outputs.items()}
    table = pd.concat([pd.read_parquet(path) for path in drops["IR_CASIA"]])
    random = table[(table["kind"] == "random") & (table["percent"] == 1) & (table["fill"] == "mean")]
    for name, women in (("table22", True), ("table23", False)):
        own = random[(random["identity"] < "p05") == women]
        row = found[name].query("model == 'IR_CASIA' and occlusion == 'random' and occlusion_percent == 1").iloc[0]
        assert row["cosine_drop"] == pytest.approx(own.groupby("identity")["drop"].mean().mean(), rel=1e-5)
        assert (row["identities"], row["fill"], row["paper_of"]) == (5, "mean", "IR_CASIA")
        theirs = paper.read_table(name).query(
            "model == 'IR_CASIA' and occlusion == 'random' and occlusion_percent == 1"
        )
        assert row["paper"] == theirs["cosine_drop"].iloc[0]
    women, men = (found[name].query("occlusion == 'leam'")["cosine_drop"] for name in ("table22", "table23"))
    np.testing.assert_allclose(women.mean() - men.mean(), 0.2, atol=0.03)
    groups = found["drops_by_group"]
    assert set(groups["group"]) == {"female", "male"} and not groups.duplicated(["model", "group", *DROP_KEYS]).any()
