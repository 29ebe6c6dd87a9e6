"""Shares, intervals and enrichment against a plain computation; accounts that must balance."""

import numpy as np
import pandas as pd
import pytest

from leam import demographics, paper, storage
from leam.analyses import retention
from leam.analyses.groups import table as groups_table
from leam.analyses.regions import table as regions_table
from leam.analyses.retention import table as retention_table
from naive_statistics import naive_interval, without_each
from planted import make_counts


def test_shares_against_a_plain_computation():
    counts = make_counts()
    found = regions_table.share_regions(counts).set_index(regions_table.REGION_KEYS).sort_index()
    for cell, rows in counts.groupby(regions_table.REGION_KEYS):
        row = found.loc[cell]
        assert row["percent"] == pytest.approx(rows["percent"].mean())
        assert row["area_percent"] == pytest.approx(rows["area_percent"].mean())
        assert row["attainable_percent"] == pytest.approx(rows["attainable_percent"].mean())
        assert row["enrichment"] == pytest.approx(rows["percent"].mean() / rows["area_percent"].mean())
        assert row["percent_low"] <= row["percent"] <= row["percent_high"]
        assert row["enrichment_low"] <= row["enrichment"] <= row["enrichment_high"]
        assert (row["identities"], row["pairs"]) == (5, 60)
    shares = found.groupby(["polarity", "layer", "threshold"])[["percent", "pooled_percent"]].sum()
    np.testing.assert_allclose(shares, 100)


def test_the_rank_is_the_place_among_the_regions_that_occur():
    counts = make_counts()
    counts.loc[counts["region"].isin(["hat", "earr"]), ["area_percent", "percent"]] = 0.0
    found = regions_table.share_regions(counts)
    for _, rows in found.groupby(regions_table.REGION_KEYS[:-1]):
        enrichments = [value for value in rows["enrichment"] if value == value]
        places = {value: 1 + sum(other > value for other in enrichments) for value in enrichments}
        assert sorted(places.values()) == list(range(1, 18)) and set(rows["regions"]) == {17}
        assert [places.get(value) for value in rows["enrichment"]] == [
            rank if rank == rank else None for rank in rows["rank"].astype(float)
        ]


def test_pooled_shares_weigh_identities_by_their_pixels():
    counts = make_counts(2)
    counts.loc[counts["identity"] == "p0", "count"] *= 10
    one = regions_table.share_regions(counts)
    cell = counts[(counts["layer"] == "conv1") & (counts["threshold"] == "1") & (counts["polarity"] == "loss")]
    expected = 100 * cell.groupby("region", sort=False)["count"].sum() / cell["count"].sum()
    found = one[(one["layer"] == "conv1") & (one["threshold"] == "1") & (one["polarity"] == "loss")]
    np.testing.assert_allclose(found["pooled_percent"], expected)


def test_intervals_are_those_of_leaving_out_each_identity():
    counts = make_counts(8)
    found = regions_table.share_regions(counts, confidence=0.9).set_index(regions_table.REGION_KEYS).sort_index()
    cell = ("loss", "conv1", "1", "nose")
    of_cell = counts.set_index(regions_table.REGION_KEYS).sort_index().loc[cell]
    for name in ("percent", "area_percent"):
        values = of_cell[name].to_numpy()
        expected = naive_interval(values.mean(), without_each(np.mean, values), confidence=0.9)
        assert tuple(found.loc[cell, [f"{name}_low", f"{name}_high"]]) == pytest.approx(np.clip(expected, 0, 100))


def test_one_identity_has_no_interval_and_a_region_without_area_no_enrichment():
    counts = make_counts(1)
    counts.loc[counts["region"] == "hat", "area_percent"] = 0.0
    found = regions_table.share_regions(counts)
    assert found["percent_low"].isna().all()
    assert found.loc[found["region"] == "hat", "enrichment"].isna().all()
    assert found.loc[found["region"] == "nose", "enrichment"].notna().all()


def test_identities_without_activation_are_left_out_of_the_mean():
    counts = make_counts(3)
    silent = (counts["identity"] == "p1") & (counts["layer"] == "conv1")
    counts.loc[silent, "percent"] = np.nan
    found = regions_table.share_regions(counts).set_index(regions_table.REGION_KEYS).sort_index()
    rows = counts[(counts["layer"] == "conv1") & (counts["region"] == "nose") & (counts["threshold"] == "1")]
    expected = rows[rows["polarity"] == "loss"]["percent"].mean()
    assert found.loc[("loss", "conv1", "1", "nose"), "percent"] == pytest.approx(expected)


@pytest.fixture
def outputs(tmp_path):
    paths = {}
    for model, seed in (("m", 0), ("n", 1)):
        paths[model] = str(tmp_path / f"{model}.parquet")
        make_counts(seed=seed).assign(model=model).to_parquet(paths[model])
    names = ("regions", "table01", "table02", "table10", "table11", "table12_to_20")
    files = {name: str(tmp_path / f"{name}.csv") for name in names}
    regions_table.tabulate_regions(paths, files)
    return {name: pd.read_csv(path, dtype={"threshold": str}) for name, path in files.items()}


def test_the_papers_tables_hold_the_cells_of_the_long_one(outputs):
    keys = ["model", *regions_table.REGION_KEYS]
    long = outputs["regions"].set_index(keys)["percent"]
    chosen = {
        "table01": (["conv1", "conv2"], ["1", "full"]),
        "table02": (["conv1"], ["1", "full"]),
        "table10": (["all"], ["full"]),
        "table11": (["all"], ["1"]),
        "table12_to_20": (["all"], ["1", "full"]),
    }
    for name, (layers, thresholds) in chosen.items():
        table = outputs[name]
        assert sorted(table["layer"].unique()) == sorted(layers), name
        assert sorted(table["threshold"].unique()) == sorted(thresholds), name
        assert len(table) == 2 * 2 * len(layers) * len(thresholds) * 19, name
        np.testing.assert_array_equal(table["percent"], long.loc[pd.MultiIndex.from_frame(table[keys])])
        np.testing.assert_allclose(table.groupby(keys[:-1])[["percent", "area_percent"]].sum(), 100, rtol=1e-4)
        np.testing.assert_allclose(table["difference"], table["percent"] - table["paper"], atol=1e-3)


def test_the_papers_number_is_that_of_the_same_cell(outputs):
    """Read from the paper's files themselves: models m and n are none of its own, so its mean stands there."""
    folder = paper.FOLDER
    table = outputs["table11"].set_index(["model", "polarity", "region"]).loc[("m", "loss")]
    theirs = pd.read_csv(folder / "table11_regions_top1.csv")
    assert table.loc["hair", "paper"] == pytest.approx(theirs[theirs["region"] == "hair"]["percent"].mean(), rel=1e-5)
    assert table.loc["hair", "paper_of"] == "mean of 9 recognisers"
    first = outputs["table01"].set_index(["model", "polarity", "threshold", "layer", "region"]).sort_index()
    row = first.loc[("n", "similarity", "full", "conv1", "face")]
    assert (row["paper"], row["paper_of"]) == (40.73, "CF_R18")
    assert np.isnan(first.loc[("n", "similarity", "full", "conv2", "face"), "paper"])  # no such layer in the paper
    curve = outputs["table12_to_20"].set_index(["model", "polarity", "region", "threshold_percent"]).sort_index()
    theirs = pd.read_csv(folder / "table12_to_20_regions_by_threshold.csv").query("region == 'upper lip'")
    expected = theirs[theirs["threshold_percent"] == 1]["percent"].mean()
    assert curve.loc[("m", "loss", "ulip", 1), "paper"] == pytest.approx(expected, rel=1e-4)


def test_groups_are_shares_of_their_own_identities(tmp_path, caplog):
    counts = make_counts(5)
    counts.to_parquet(tmp_path / "m.parquet")
    people = tmp_path / "people.csv"
    people.write_text("identity,gender\np0,female\np1,male\np2,female\np3,\np4,\n")
    caplog.set_level("INFO", logger="leam.analyses.groups.table")
    groups_table.tabulate_groups({"m": str(tmp_path / "m.parquet")}, people, tmp_path / "out.csv", polarity="loss")
    found = pd.read_csv(tmp_path / "out.csv", dtype={"threshold": str}).set_index(["group", "threshold", "region"])
    sizes = found.groupby("group")["identities"].first()
    assert sizes.to_dict() == {"female": 2, "male": 1, "unknown": 2}
    assert caplog.messages == ["m: nobody said the gender of 2 of 5 identities"]
    cell = counts.set_index([*regions_table.REGION_KEYS, "identity"]).sort_index().loc[("loss", "all", "1", "nose")]
    expected = cell.loc[["p0", "p2"], "percent"].mean()
    assert found.loc[("female", "1", "nose"), "percent"] == pytest.approx(expected, rel=1e-5)


def test_all_unknown_values_are_listed(tmp_path):
    people = tmp_path / "people.csv"
    people.write_text("identity,gender,ethnicity\na,X,Caucasian\nb,female,Martian\nc,mann,\nd,male,klingon\n")
    with pytest.raises(
        ValueError, match=r"gender 'X', 'mann'; allowed: female, male\. ethnicity 'Martian', 'klingon'; allowed"
    ):
        demographics.read_demographics(people)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("identity,gender\na,female\n".encode("utf-16"), "expected a CSV file in UTF-8"),
        ("identity,gender\nJosé,male\n".encode("latin-1"), "expected a CSV file in UTF-8"),
        (b"identity,gender\na,male,2,3\n", "columns are|expected a CSV file in UTF-8"),
        (b"", "expected a CSV file in UTF-8"),
        (b'identity,gender\n"a,male\nb,male\n', "expected a CSV file in UTF-8|allowed: female, male"),
        (b"identity,identity\na,b\n", "columns are .*; expected identity and any of"),
        (b"identity,gender\n" + b"a," + 200_000 * b"m" + b"\n", "allowed: female, male"),
        (b"\0" * 1000, "columns are|expected a CSV file in UTF-8"),
        (b"identity" + 2_000 * b"," + b"\n", "columns are .*; expected identity"),
    ],
)
def test_a_damaged_table_of_people_is_one_sentence_that_names_it(tmp_path, content, words):
    (tmp_path / "people.csv").write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        demographics.read_demographics(tmp_path / "people.csv")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'people.csv'}: ") and len(said.splitlines()) == 1 and len(said) < 1000


def test_names_in_a_table_of_people_may_be_copied_from_one_of_the_runs(tmp_path):
    (tmp_path / "people.csv").write_text("\ufeffidentity,gender\r\n'=1+1,male\r\nNA,female\r\n007,\r\n", newline="")
    found = demographics.read_demographics(tmp_path / "people.csv")
    assert found["gender"].to_dict() == {"=1+1": "male", "NA": "female", "007": ""}


# -------------------------------------------------------------------------------------------------------- retention


def write_stage(tmp_path, kept, discarded):
    links = pd.DataFrame(
        [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("c", "")], columns=["identity", "image"], dtype="string"
    )
    links.to_parquet(tmp_path / "links.parquet")
    with storage.create_shard(tmp_path / "faces.h5", "faces") as shard:
        for identity, images in kept.items():
            n = len(images)
            points = np.zeros((n, 68, 2), np.float32)
            blank = np.zeros((n, 4, 4, 3), np.uint8)
            storage.write_faces(shard, storage.Faces(identity, images, blank, blank[..., 0], points, points[:, :5]))
        storage.write_discarded(shard, [storage.Discarded(*row) for row in discarded])
    with storage.create_shard(tmp_path / "maps.h5", "maps") as shard:
        storage.write_discarded(shard, [storage.Discarded("a", "2", "embedding is zero or not finite")])
    out = tmp_path / "retention.csv", tmp_path / "discarded.csv"
    retention_table.tabulate_retention(
        tmp_path / "links.parquet", [str(tmp_path / "faces.h5")], {"m": [str(tmp_path / "maps.h5")]}, *out
    )
    return pd.read_csv(out[0]).set_index("identity"), pd.read_csv(out[1])


FEW = "identity has fewer than two usable images"


def test_linked_is_kept_plus_discarded(tmp_path):
    lost = [("a", "3", "no face"), ("b", "1", FEW), ("b", "", FEW), ("c", "", FEW)]
    retention, discarded = write_stage(tmp_path, {"a": ["1", "2"]}, lost)
    assert retention.loc["all"].to_dict() == {"linked": 4, "kept": 2, "discarded": 2, "kept_percent": 50.0}
    assert retention.loc["a", "kept_percent"] == pytest.approx(66.67)
    assert set(discarded["stage"]) == {"faces", "maps/m"}
    assert (discarded["reason"] == "no face").sum() == 1


def test_a_lost_image_is_an_error_that_names_whose(tmp_path):
    with pytest.raises(ValueError, match="images of a were lost: 3 linked, but 2 kept \\+ 0 discarded"):
        write_stage(tmp_path, {"a": ["1", "2"]}, [("b", "1", FEW)])


def test_somebody_may_be_called_like_the_row_of_all(tmp_path):
    write_stage(tmp_path, {"a": ["1", "2", "3"]}, [("b", "1", "no face")])
    links = pd.read_parquet(tmp_path / "links.parquet").replace({"identity": {"b": "all"}})
    links.to_parquet(tmp_path / "links.parquet")
    with storage.create_shard(tmp_path / "faces.h5", "faces") as shard:
        blank = np.zeros((3, 4, 4, 3), np.uint8)
        points = np.zeros((3, 68, 2), np.float32)
        storage.write_faces(shard, storage.Faces("a", ["1", "2", "3"], blank, blank[..., 0], points, points[:, :5]))
        storage.write_discarded(shard, [storage.Discarded("all", "1", "no face")])
    out = tmp_path / "retention.csv", tmp_path / "discarded.csv"
    retention_table.tabulate_retention(tmp_path / "links.parquet", [str(tmp_path / "faces.h5")], {}, *out)
    people, total = retention.read_retention(out[0])
    assert people["discarded"].to_dict() == {"a": 0, "all": 1}
    assert (total["linked"], total["kept"], total["kept_percent"]) == (4, 3, 75)
