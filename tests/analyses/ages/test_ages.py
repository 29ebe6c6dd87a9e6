"""Ages in names, occluded pairs against a naive loop, and what the tables say of planted slopes."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import linregress, wilcoxon

from leam import maps, paper, storage
from leam.analyses import ages
from leam.analyses.ages import figure as ages_figure
from leam.analyses.ages import measure as ages_measure
from leam.analyses.ages import table as ages_table
from leam.analyses.occlusion import measure as occlusion_measure
from leam.recognisers import networks
from leam.sources.fgnet import Fgnet
from shards import make_faces, write_faces
from small_recognisers import make_narrow

GRID = 28
NAMES = {"001": ["001A02.JPG", "001A10.JPG", "001A10a.JPG"], "002": ["002A05.JPG", "002a43b.jpg"]}
SETTINGS = occlusion_measure.OcclusionSettings(polarities=("loss",), repeats=2, batch_images=2, masks="all")
CELL = ["kind", "fill", "percent"]


def test_ages_stand_in_the_names():
    assert [ages_measure.read_age(name, Fgnet.age_pattern) for names in NAMES.values() for name in names] == [
        2,
        10,
        10,
        5,
        43,
    ]
    assert np.isnan(ages_measure.read_age("portrait.jpg", Fgnet.age_pattern))
    assert ages_measure.read_age("anna_31y.png", r"_(\d+)y") == 31


@pytest.mark.parametrize(
    "name, age",
    [("001A02.JPG", 2), ("047a43b.jpg", 43), ("009A00.JPG", 0), ("s01/02.png", np.nan), ("1A02.JPG", np.nan)],
)
def test_age_is_in_the_name(name, age):
    np.testing.assert_equal(ages_measure.read_age(name, Fgnet.age_pattern), age)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ages")
    people = []
    for identity, names in (*NAMES.items(), ("003", ["003A07.JPG", "unknown.JPG"])):
        people.append(make_faces(identity, len(names)))
        people[-1].images = names
    faces = write_faces(folder / "faces.h5", people)
    tested, guide = (make_narrow(name, layers=["conv1", "layer1.0.conv1"]) for name in ("tested", "guide"))
    paths = {}
    for seed, recogniser in enumerate((tested, guide)):
        paths[recogniser.name] = folder / f"{recogniser.name}.h5"
        maps.compute_maps(faces, paths[recogniser.name], recogniser, maps.MapSettings(grid=GRID), seed=seed)
    output = folder / "ages.parquet"
    ages_measure.measure_ages(faces, paths, output, tested, SETTINGS, guide="guide", pattern=Fgnet.age_pattern)
    return people, tested, paths, pd.read_parquet(output)


def test_every_ordered_pair_of_known_ages_is_there_once_per_cell(measured):
    *_, table = measured
    assert list(table.columns) == ages.AGE_COLUMNS
    assert not table.duplicated([*CELL, "identity", "image", "partner"]).any()
    sizes = table.groupby(CELL).size()
    assert (sizes == 3 * 2 + 2).all() and len(sizes) == 1 + 2 * 2 * 2  # nobody of 003 has a partner of known age
    pair = table[(table["image"] == "002A05.JPG")].iloc[0]
    assert (pair["partner"], pair["age_difference_years"]) == ("002a43b.jpg", 38)
    assert table["untrained"].all()


def test_occluded_pairs_against_a_naive_loop(measured):
    """One anchor at a time: hide the pixels in the input, embed, compare with the partner as it is."""
    people, tested, paths, table = measured
    network = networks.build_network(tested, 0).eval()
    with storage.open_shard(paths["guide"], "maps") as shard:
        native = {name: storage.read_maps(shard, name).maps["loss"]["conv1"] for name in NAMES}
        grid = storage.read_grid(shard)
    rows = table[(table["kind"] == "image") & (table["identity"].isin(NAMES))]
    assert set(rows["fill"]) == {"black", "mean"}
    for row in rows.itertuples():
        person = next(each for each in people if each.identity == row.identity)
        i, j = person.images.index(row.image), person.images.index(row.partner)
        placed = grid.place(torch.from_numpy(native[row.identity][i]).float()[None], "conv1")[0].numpy()
        order = np.argsort(-placed.ravel(), kind="stable")[: max(1, round(row.percent / 100 * GRID**2))]
        hidden = np.zeros(GRID * GRID, bool)
        hidden[order] = True
        hidden = hidden.reshape(GRID, GRID).repeat(4, 0).repeat(4, 1)
        x = networks.to_input(person.crops[[i, j]], tested).clone()
        colour = x[0].mean((1, 2)) if row.fill == "mean" else torch.full((3,), -1.0)
        x[0, :, torch.from_numpy(hidden)] = colour[:, None]
        with torch.no_grad():
            anchor, partner = torch.nn.functional.normalize(network(x))
        assert row.cosine == pytest.approx(float(anchor @ partner), abs=2e-5)


def test_unoccluded_and_random_pairs(measured):
    _, _, paths, table = measured
    with storage.open_shard(paths["tested"], "maps") as shard:
        unit = storage.read_embeddings(shard, "001")
    none = table[(table["kind"] == "none") & (table["identity"] == "001")]
    expected = [unit[i] @ unit[j] for i in range(3) for j in range(3) if i != j]
    np.testing.assert_allclose(none["cosine"], expected, atol=1e-6)
    random = table[table["kind"] == "random"].set_index(["fill", "percent", "image", "partner"])["cosine"].sort_index()
    assert not np.allclose(random.loc["black", 0.1], random.loc["black", 1.0])
    assert not np.allclose(random.loc["black", 1.0], random.loc["mean", 1.0])


def test_where_maps_are_in_bf16_cosines_are_those_of_their_embeddings(measured, tmp_path):
    people, tested, *_ = measured
    faces, file = write_faces(tmp_path / "faces.h5", people[:1]), tmp_path / "maps.h5"
    maps.compute_maps(faces, file, tested, maps.MapSettings(grid=GRID, precision="bf16"))
    output, settings = tmp_path / "ages.parquet", dataclasses.replace(SETTINGS, masks="shown", fills=("black",))
    paths = {tested.name: file}
    ages_measure.measure_ages(faces, paths, output, tested, settings, guide=tested.name, pattern=Fgnet.age_pattern)
    table = pd.read_parquet(output)
    none = table[table["kind"] == "none"].set_index(["image", "partner"])["cosine"]
    with storage.open_shard(file, "maps") as shard:
        unit, images = storage.read_embeddings(shard, "001"), storage.read_images(shard, "001")
    for (one, two), cosine in none.items():
        assert cosine == pytest.approx(unit[images.index(one)] @ unit[images.index(two)], abs=1e-6)
    assert len(none) == 6 and table["cosine"].notna().all()


def test_what_is_shown_is_what_is_tried_and_the_same_numbers(measured, tmp_path):
    """Black at both percents, mean at 1 %; of blur, which nothing shows, nothing."""
    people, tested, paths, everything = measured
    faces = write_faces(tmp_path / "faces.h5", people)
    settings = dataclasses.replace(SETTINGS, masks="shown", fills=("black", "mean", "blur"))
    output = tmp_path / "ages.parquet"
    ages_measure.measure_ages(faces, paths, output, tested, settings, guide="guide", pattern=Fgnet.age_pattern)
    shown, masks = pd.read_parquet(output), {("black", 0.1), ("black", 1.0), ("mean", 1.0)}
    assert {*zip(shown["kind"], shown["fill"], shown["percent"], strict=True)} == {
        ("none", "", 0.0),
        *((kind, *mask) for kind in ("image", "random") for mask in masks),
    }
    places = [cell in masks | {("", 0.0)} for cell in zip(everything["fill"], everything["percent"], strict=True)]
    keys = [*ages.AGE_KEYS, "identity", "image", "partner"]
    expected = everything[places].set_index(keys)["cosine"]
    pd.testing.assert_series_equal(shown.set_index(keys)["cosine"].sort_index(), expected.sort_index())


@pytest.mark.parametrize(
    ("fills", "headline", "masks"),
    [
        (("mean", "blur"), "mean", {("mean", 0.1), ("mean", 1.0)}),  # the paper's fill is the first
        (("black",), "black", {("black", 0.1), ("black", 1.0)}),
        (("blur", "black"), "blur", {("black", 0.1), ("black", 1.0), ("blur", 1.0)}),
    ],
)
def test_shown_masks_of_other_fills(fills, headline, masks):
    settings = dataclasses.replace(SETTINGS, masks="shown", fills=fills, headline_fill=headline)
    rankings = ages_measure.plan_age_rankings("guide", "conv1", settings)
    assert len(rankings) == 1 + 2 and all(set(ranking.masks) == masks for ranking in rankings)
    assert all(len(ranking.masks) == len(masks) for ranking in rankings)


KINDS = (
    ("none", "", "", "", "", 0.0),
    ("image", "g", "c", "loss", "black", 1.0),
    ("image", "g", "c", "loss", "mean", 1.0),
)


def make_pairs(slope, model="mine", people=12, seed=0):
    """Ordered pairs as ``measure_ages`` writes them: the cosine falls by ``slope`` per ten years, people differ, and an
    occluded pair depends on which of the two images is the occluded one.
    """
    rng, rows = np.random.default_rng(seed), []
    for identity in range(people):
        level, ages_of = rng.normal(0.6, 0.05), rng.choice(30, 5, replace=False)
        for i, j in itertools.combinations(range(5), 2):
            years = abs(int(ages_of[i]) - int(ages_of[j]))
            plain = level - slope * years / 10 + rng.normal(0, 0.01)
            for cell in KINDS:
                for image, partner in ((i, j), (j, i)):
                    cosine = plain - (cell[0] == "image") * rng.uniform(0, 0.1)
                    rows.append((model, *cell, f"p{identity}", f"{image}", f"{partner}", years, cosine, False))
    return pd.DataFrame(rows, columns=ages.AGE_COLUMNS)


def tabulated(folder, tables, fill="black"):
    files = {model: [str(folder / f"{model}.parquet")] for model in tables}
    for model, table in tables.items():
        table.to_parquet(files[model][0])
    outputs = {name: str(folder / f"{name}.csv") for name in ("table24", "age_slopes")}
    ages_table.tabulate_ages(files, outputs, fill=fill)
    return tuple(
        pd.read_csv(outputs[name], keep_default_na=False, na_values=[""]) for name in ("table24", "age_slopes")
    )


def test_table_24_and_the_slopes_against_plain_computations(tmp_path):
    found, slopes = tabulated(tmp_path, {model: make_pairs(0.08, model) for model in ("IR_CASIA", "mine")})
    assert set(found["kind"]) == {"none", "image"} and set(found["fill"].dropna()) == {"black"}
    pairs = make_pairs(0.08, "mine")
    checked = 0
    for row in found[found["model"] == "mine"].itertuples():
        own = pairs[(pairs["kind"] == row.kind) & (pairs["age_difference_years"] == row.age_difference_years)]
        own = own[own["fill"].isin(["", "black"])]
        once = {}  # unordered pairs: each side's cosine, averaged
        for pair in own.itertuples():
            once.setdefault((pair.identity, frozenset((pair.image, pair.partner))), []).append(pair.cosine)
        assert {len(sides) for sides in once.values()} == {2}
        people = {}
        for (identity, _), sides in once.items():
            people.setdefault(identity, []).append(np.mean(sides))
        assert row.pooled_cosine == pytest.approx(np.mean([np.mean(sides) for sides in once.values()]), rel=1e-5)
        assert row.cosine == pytest.approx(np.mean([np.mean(mine) for mine in people.values()]), rel=1e-5)
        assert (row.pairs, row.identities) == (len(once), len(people))
        checked += row.pairs
    assert checked == 2 * 12 * 10  # kinds, people, unordered pairs of five images
    naive = [
        linregress(own["age_difference_years"] / 10, own["cosine"]).slope
        for _, own in pairs[pairs["fill"] == "mean"].groupby("identity")
    ]
    row = slopes[(slopes["model"] == "mine") & (slopes["fill"] == "mean")].iloc[0]
    assert row["cosine_per_decade"] == pytest.approx(np.mean(naive), rel=1e-5)
    assert row["p"] == pytest.approx(wilcoxon(naive).pvalue, rel=1e-4)
    assert row["falling_percent"] == 100 and len(slopes) == 2 * 3


def test_the_papers_table_24_stands_beside_what_it_measured(tmp_path):
    """Its numbers are of pairs under the guide's maps at 1 %: not beside unoccluded ones."""
    found, _ = tabulated(tmp_path, {model: make_pairs(0.08, model) for model in ("IR_CASIA", "mine")})
    theirs = pd.read_csv(paper.FOLDER / "table24_age_difference.csv").set_index(["model", "age_difference_years"])
    ours = found[found["kind"] == "image"].set_index(["model", "age_difference_years"])
    assert ours.loc[("IR_CASIA", 7), "paper"] == theirs.loc[("IR_CASIA", 7), "cosine_similarity"]
    assert ours.loc[("IR_CASIA", 7), "paper_of"] == "IR_CASIA"
    assert ours.loc[("mine", 7), "paper"] == pytest.approx(theirs.xs(7, level=1)["cosine_similarity"].mean(), rel=1e-5)
    assert found.loc[found["kind"] == "none", ["paper", "difference", "paper_of"]].isna().all(axis=None)


def test_slopes_of_known_lines(tmp_path):
    """Three people on lines of -0.10, -0.04 and +0.02 per ten years, and one whose pairs are all seven years apart."""
    rows = []
    for number, slope in enumerate((-0.10, -0.04, 0.02)):
        for i, j in itertools.permutations((0, 10, 30), 2):
            cosine = 0.5 + 0.1 * number + slope * abs(i - j) / 10
            rows.append(("mine", *KINDS[0], f"p{number}", f"{i}", f"{j}", abs(i - j), cosine, False))
    rows += [("mine", *KINDS[0], "same", image, partner, 7, 0.9, False) for image, partner in ("ab", "ba")]
    _, slopes = tabulated(tmp_path, {"mine": pd.DataFrame(rows, columns=ages.AGE_COLUMNS)})
    (row,) = slopes.to_dict("records")
    assert row["cosine_per_decade"] == pytest.approx(-0.04)
    assert row["cosine_per_decade_low"] < -0.04 < row["cosine_per_decade_high"]
    assert (row["identities"], row["falling_percent"]) == (3, pytest.approx(100 * 2 / 3, rel=1e-5))
    # ranks 3, 2, 1: of the eight arrangements of signs two have a sum of at most 1, and two of at least 5
    assert row["p"] == row["p_holm"] == pytest.approx(4 / 8)


def test_without_ages_tables_and_figure_have_nothing_and_say_so(tmp_path, caplog):
    years, slopes = tabulated(tmp_path, {"m": make_pairs(0.1)[:0]})
    assert caplog.messages == [f"m: {ages.NO_AGES}"]
    some = tabulated(tmp_path, {"m": make_pairs(0.1)})
    assert len(years) == len(slopes) == 0 and [list(years), list(slopes)] == [list(table) for table in some]
    tabulated(tmp_path, {"m": make_pairs(0.1)[:0]})
    files = [tmp_path / "a.png", tmp_path / "a.pdf"]
    ages_figure.plot_ages(tmp_path / "table24.csv", *files, polarity="loss", confidence=0.95)
    assert all(file.stat().st_size > 1000 for file in files)


@pytest.mark.parametrize(
    ("pattern", "age"),
    [(r"A(\d+)", 12), ("(x)?A", None), ("A(.*)", None), ("(A)", None), ("(nan|A)", None), (r"A(\d+\.\d)", 12.5)],
)
def test_an_age_is_a_number_whatever_the_pattern_finds(pattern, age):
    found = ages_measure.read_age("001A12.5b-nan.JPG", pattern)
    assert found == age or (age is None and np.isnan(found))
