"""The paper's tables: complete, and consistent where the paper's own tables can be checked against each other."""

import numpy as np
import pandas as pd
import pytest

from leam import paper
from leam.regions import REGIONS


def test_every_table_reads_and_names_regions_as_we_do():
    names = sorted(path.stem for path in paper.FOLDER.glob("*.csv"))
    assert len(names) == 16
    for name in names:
        table = paper.read_table(name)
        assert len(table)
        if "region" in table:
            assert set(table["region"]) <= set(REGIONS), name


def test_table_9_is_the_mean_of_table_21_over_models():
    mean = paper.read_table("table21").groupby(["occlusion", "occlusion_percent"])["cosine_drop"].mean().unstack(0)
    ours = paper.read_table("table09").set_index("occlusion_percent")
    np.testing.assert_allclose(mean[["leam", "random"]], ours.loc[mean.index, ["leam", "random"]], atol=6e-5)


def test_base_rates_are_the_loose_crop_of_the_paper():
    rates = paper.base_rates()
    assert rates["background"] == pytest.approx(32.9, abs=0.1)
    assert abs(rates.sum() - 100) < 0.5


def test_an_unknown_or_ambiguous_table_is_named():
    with pytest.raises(ValueError, match="names 0 of the paper's tables"):
        paper.read_table("table99")
    with pytest.raises(ValueError, match="names 9 of"):
        paper.read_table("table0")


def test_beside_puts_the_papers_number_and_the_difference_and_keeps_every_row_of_ours():
    ours = pd.DataFrame({"model": ["AF_R18", "mine"], "layer": ["conv1", "conv1"], "bc": [0.5, 0.4]})
    joined = paper.beside(ours, paper.read_table("table03"), ["model", "layer"], "bc")
    assert joined["paper"].iloc[0] == 0.32
    assert joined["difference"].iloc[0] == pytest.approx(0.18)
    assert joined[["paper", "difference"]].iloc[1].isna().all()


def test_the_same_recogniser_stands_beside_itself_and_any_other_beside_the_mean():
    theirs = pd.DataFrame({"model": ["a", "b", "a", "b"], "region": ["x", "x", "y", "y"], "percent": [1.0, 3, 5, 9]})
    ours = pd.DataFrame(
        {"model": ["mine", "b", "mine", "b"], "region": ["x", "x", "z", "y"], "percent": [0.0, 4, 1, 9]}
    )
    found = paper.beside_models(ours, theirs, ["model", "region"], "percent")
    np.testing.assert_array_equal(found["paper"], [2, 3, np.nan, 9])
    np.testing.assert_array_equal(found["difference"], [-2, 1, np.nan, 0])
    assert found["paper_of"].tolist() == ["mean of 2 recognisers", "b", "", "b"]


def test_full_activation_of_every_model_comes_from_table_10():
    table = paper.shares_by_threshold().set_index(["model", "region", "threshold_percent"])["percent"]
    original = paper.read_table("table12").set_index(["model", "region", "threshold_percent"])["percent"]
    assert set(table.index) == set(original.index)
    changed = [key for key in table.index if table[key] != original[key]]
    assert {(model, percent) for model, _, percent in changed} == {("VGG_16", 100.0)}
    assert table[("VGG_16", "background", 100.0)] < original[("VGG_16", "background", 100.0)]
