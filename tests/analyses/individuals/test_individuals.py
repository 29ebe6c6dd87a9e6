"""Spread within and across individuals against plain computations; what is shown is drawn with the seed."""

import numpy as np
import pandas as pd
import pytest

from leam import paper
from leam.analyses.individuals import table as individuals_table
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
    noses = found["table07"].query("region == 'nose'")
    np.testing.assert_allclose(noses["paper"], theirs.mean(), rtol=1e-5)
    np.testing.assert_allclose(noses["difference"], noses["percent"] - noses["paper"], atol=1e-3)


def test_table_8_has_the_spread_over_images_and_over_identities(tabulated):
    _, _, found = tabulated
    table = (
        found["table08"].set_index(["over", "identity", "polarity", "threshold", "region", "statistic"]).sort_index()
    )
    everyone = (
        found["individuals"].set_index(["polarity", "threshold", "region"]).sort_index().loc[("loss", "full", "le")]
    )
    within = table.loc[("images", "all", "loss", "full", "le")]
    across = table.loc[("identities", "all", "loss", "full", "le")]
    assert within.loc["std", "value"] == pytest.approx(everyone["std"].mean(), rel=1e-4)
    assert across.loc["std", "value"] == pytest.approx(everyone["percent"].std(), rel=1e-4)
    assert within.loc["cv", "paper"] == 57.01  # table 8, left eye
    ten = pd.read_csv(paper.FOLDER / "table07_regions_by_individual.csv").query("region == 'left eye'")["percent"]
    assert across.loc["max", "paper"] == pytest.approx(ten.max())
    assert table.loc["images"].index.get_level_values("identity").nunique() == 4  # three, and all
