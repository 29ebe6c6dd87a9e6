"""Spread within and across individuals against plain computations; what is shown is drawn with the seed."""

import numpy as np
import pandas as pd
import pytest

from leam import paper
from leam.analyses.individuals import table as individuals_table
from leam.statistics import intraclass_correlation
from naive_statistics import naive_icc, naive_interval, without_each
from planted import IMAGES, make_counts, make_image_shares


@pytest.fixture
def tabulated(tmp_path):
    counts, images = make_counts(), make_image_shares()
    counts.to_parquet(tmp_path / "m.parquet")
    images.to_parquet(tmp_path / "m.images.parquet")
    outputs = {name: str(tmp_path / f"{name}.csv") for name in ("individuals", "table07", "table08")}
    files = {"m": str(tmp_path / "m.parquet")}, {"m": str(tmp_path / "m.images.parquet")}
    individuals_table.tabulate_individuals(*files, outputs, table_identities=3, seed=2)
    found = {name: pd.read_csv(path, dtype={"threshold": str}) for name, path in outputs.items()}
    return counts, images, found


def test_individuals_against_a_plain_computation(tabulated):
    counts, images, found = tabulated
    everyone = found["individuals"].set_index(["polarity", "threshold", "identity", "region"]).sort_index()
    assert len(everyone) == 5 * 2 * 2 * 19 and (everyone["images"] == IMAGES).all()
    own = images[(images["identity"] == "p3") & (images["polarity"] == "similarity") & (images["threshold"] == "1")]
    values = own[own["region"] == "nose"]["percent"].to_numpy()
    row = everyone.loc[("similarity", "1", "p3", "nose")]
    expected = [np.std(values, ddof=1), values.mean(), values.min(), values.max()]
    np.testing.assert_allclose(row[["std", "mean", "min", "max"]].astype(float), expected, rtol=1e-5)
    assert row["cv"] == pytest.approx(100 * expected[0] / expected[1], rel=1e-5)
    cell = counts.set_index(["layer", "polarity", "threshold", "identity", "region"]).sort_index()
    assert row["percent"] == pytest.approx(cell.loc[("all", "similarity", "1", "p3", "nose"), "percent"], rel=1e-5)
    assert everyone.loc[("loss", "1", "p0", "hat"), "std"] == 0
    assert np.isnan(everyone.loc[("loss", "1", "p0", "hat"), "cv"])
    np.testing.assert_allclose(everyone.groupby(["polarity", "threshold", "identity"])["percent"].sum(), 100, rtol=1e-4)


def test_table_7_shows_drawn_individuals_beside_the_mean_of_the_papers_ten(tabulated):
    _, _, found = tabulated
    assert found["table07"]["identity"].nunique() == 3
    theirs = pd.read_csv(paper.FOLDER / "table07_regions_by_individual.csv").query("region == 'nose'")["percent"]
    noses = found["table07"].query("region == 'nose'").set_index("threshold")
    np.testing.assert_allclose(noses.loc["1", "paper"], theirs.mean(), rtol=1e-5)
    assert noses.loc["full", "paper"].isna().all()  # the paper's are of the top 1 %
    assert set(noses.loc["1", "paper_of"]) == {"mean of 10 individuals, over all recognisers"}
    np.testing.assert_allclose(noses["difference"], noses["percent"] - noses["paper"], atol=1e-3)


def test_rows_over_all_recognisers_are_means_of_identities_and_images_over_them(tabulated, tmp_path):
    counts, images, _ = tabulated
    second = make_counts(seed=4), make_image_shares(seed=4)
    second = [table.assign(model="n", untrained=True) for table in second]
    files = [{}, {}]
    for name, tables in {"m": (counts, images), "n": second}.items():
        for paths, table, kind in zip(files, tables, ("", ".images"), strict=True):
            paths[name] = str(tmp_path / f"{name}{kind}.parquet")
            table.to_parquet(paths[name])
    outputs = {name: str(tmp_path / f"both_{name}.csv") for name in ("individuals", "table07", "table08")}
    individuals_table.tabulate_individuals(*files, outputs, table_identities=5)
    found = {name: pd.read_csv(path, dtype={"threshold": str}) for name, path in outputs.items()}
    keys = ["polarity", "threshold", "identity", "region"]
    by_model = {name: table.set_index(keys)["percent"] for name, table in found["table07"].groupby("model")}
    assert set(by_model) == {"m", "n", "all"} and set(found["individuals"]["model"]) == {"m", "n"}
    np.testing.assert_allclose(by_model["all"], (by_model["m"] + by_model["n"])[by_model["all"].index] / 2, rtol=1e-4)
    of_images = pd.concat((images, second[1])).groupby([*keys, "image"])["percent"].mean()
    expected = of_images.loc["loss", "1", "p2", "nose"].std()
    rows = found["table08"].set_index(["model", "over", "statistic", *keys]).sort_index()
    row = rows.loc["all", "images", "std", "loss", "1", "p2", "nose"]
    assert row["value"] == pytest.approx(expected, rel=1e-5)
    assert row["paper"] == 3.32 or row["paper"] > 0
    assert found["table07"].groupby("model")["untrained"].any().to_dict() == {"m": False, "n": True, "all": True}


def test_the_intraclass_correlation_says_whether_a_share_is_a_trait(tabulated):
    _, images, found = tabulated
    cell = images.query("polarity == 'loss' and threshold == '1' and region == 'nose'")
    identities = cell["identity"].to_numpy()
    expected = intraclass_correlation(cell[["percent"]].to_numpy(), identities, 0.95)
    assert expected[0] == pytest.approx(naive_icc(cell["percent"].to_numpy(), identities)[0])
    cells = ["polarity", "threshold", "region"]
    wide = found["individuals"].set_index(cells).sort_index().loc[("loss", "1", "nose"), ["icc", "icc_low", "icc_high"]]
    long = found["table08"].query("model == 'm' and statistic == 'icc'").set_index(cells).loc["loss", "1", "nose"]
    for row in (*wide.to_numpy(), long[["value", "value_low", "value_high"]].to_numpy(float)):
        np.testing.assert_allclose(row, np.ravel(expected), rtol=1e-4)
    assert long["over"] == "identities" and np.isnan(long["paper"])


def test_means_over_identities_have_intervals(tabulated):
    _, _, found = tabulated
    everyone = found["individuals"].query("polarity == 'loss' and threshold == '1' and region == 'nose'")
    table = found["table08"].query("model == 'm' and polarity == 'loss' and threshold == '1' and region == 'nose'")
    table = table[table["identity"] == "all"].set_index(["over", "statistic"])
    for over, statistic, values in (("images", "cv", everyone["cv"]), ("identities", "mean", everyone["percent"])):
        ends = naive_interval(values.mean(), without_each(np.mean, values.to_numpy()))
        row = table.loc[over, statistic][["value_low", "value_high"]].to_numpy(float)
        np.testing.assert_allclose(row, np.clip(ends, 0, None if over == "images" else 100), rtol=1e-3)
    assert table.loc[("identities", "cv"), ["value_low", "value_high"]].isna().all()


def test_table_8_has_the_spread_over_images_and_over_identities(tabulated):
    _, _, found = tabulated
    table = found["table08"].query("model == 'm'")
    table = table.set_index(["over", "identity", "polarity", "threshold", "region", "statistic"]).sort_index()
    everyone = found["individuals"].set_index(["polarity", "threshold", "region"]).sort_index().loc[("loss", "1", "le")]
    within = table.loc[("images", "all", "loss", "1", "le")]
    across = table.loc[("identities", "all", "loss", "1", "le")]
    assert table.xs("full", level="threshold")["paper"].isna().all()
    assert within.loc["std", "value"] == pytest.approx(everyone["std"].mean(), rel=1e-4)
    assert across.loc["std", "value"] == pytest.approx(everyone["percent"].std(), rel=1e-4)
    assert within.loc["cv", "paper"] == 57.01  # table 8, left eye
    ten = pd.read_csv(paper.FOLDER / "table07_regions_by_individual.csv").query("region == 'left eye'")["percent"]
    assert across.loc["max", "paper"] == pytest.approx(ten.max())
    assert table.loc["images"].index.get_level_values("identity").nunique() == 4  # three, and all
