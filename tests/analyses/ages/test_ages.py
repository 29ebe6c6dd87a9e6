"""Ages in names, occluded pairs against a naive loop, and what the tables say of planted slopes."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import linregress, wilcoxon

from leam import maps, paper, storage
from leam.analyses import ages
from leam.analyses.ages import measure as ages_measure
from leam.analyses.ages import table as ages_table
from leam.analyses.occlusion import measure as occlusion_measure
from leam.recognisers import networks
from leam.sources.fgnet import Fgnet
from shards import make_faces, write_faces
from small_recognisers import make_narrow

GRID = 28
NAMES = {"001": ["001A02.JPG", "001A10.JPG", "001A10a.JPG"], "002": ["002A05.JPG", "002a43b.jpg"]}
SETTINGS = occlusion_measure.OcclusionSettings(polarities=("loss",), repeats=2, batch_images=2)


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
    assert not table.duplicated(["kind", "percent", "identity", "image", "partner"]).any()
    sizes = table.groupby(["kind", "percent"]).size()
    assert (sizes == 3 * 2 + 2).all() and len(sizes) == 5  # nobody of 003 has a partner of known age
    pair = table[(table["image"] == "002A05.JPG")].iloc[0]
    assert (pair["partner"], pair["age_difference_years"]) == ("002a43b.jpg", 38)
    assert table["untrained"].all()


def test_occluded_pairs_against_a_naive_loop(measured):
    """One anchor at a time: blacken the pixels in the input, embed, compare with the partner as it is."""
    people, tested, paths, table = measured
    network = networks.build_network(tested, 0).eval()
    with storage.open_shard(paths["guide"], "maps") as shard:
        native = {name: storage.read_maps(shard, name).maps["loss"]["conv1"] for name in NAMES}
        grid = storage.read_grid(shard)
    rows = table[(table["kind"] == "image") & (table["identity"].isin(NAMES))]
    for row in rows.itertuples():
        person = next(each for each in people if each.identity == row.identity)
        i, j = person.images.index(row.image), person.images.index(row.partner)
        placed = grid.place(torch.from_numpy(native[row.identity][i]).float()[None], "conv1")[0].numpy()
        order = np.argsort(-placed.ravel(), kind="stable")[: max(1, round(row.percent / 100 * GRID**2))]
        hidden = np.zeros(GRID * GRID, bool)
        hidden[order] = True
        hidden = hidden.reshape(GRID, GRID).repeat(4, 0).repeat(4, 1)
        x = networks.to_input(person.crops[[i, j]], tested).clone()
        x[0, :, torch.from_numpy(hidden)] = -1.0
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
    random = table[table["kind"] == "random"].set_index(["percent", "image", "partner"])["cosine"]
    assert not np.allclose(random.loc[0.1], random.loc[1.0])


def make_pairs(slope, model="mine", people=12, seed=0):
    """Pairs as ``measure_ages`` writes them: the cosine falls by ``slope`` per ten years, people differ."""
    rng, rows = np.random.default_rng(seed), []
    for identity in range(people):
        level = rng.normal(0.6, 0.05)
        for pair in range(10):
            years = int(rng.integers(0, 30))
            cosine = level - slope * years / 10 + rng.normal(0, 0.01)
            rows.append((model, "none", "", "", "", 0.0, f"p{identity}", f"{pair}", "x", years, cosine, False))
    return pd.DataFrame(rows, columns=ages.AGE_COLUMNS)


def test_table_24_and_the_slopes_against_plain_computations(tmp_path):
    files = {}
    for model in ("IR_CASIA", "mine"):
        files[model] = [str(tmp_path / f"{model}.parquet")]
        make_pairs(0.08, model).to_parquet(files[model][0])
    outputs = {name: str(tmp_path / f"{name}.csv") for name in ("table24", "age_slopes")}
    ages_table.tabulate_ages(files, outputs)
    found, slopes = (pd.read_csv(outputs[name]).set_index("model") for name in ("table24", "age_slopes"))
    pairs = make_pairs(0.08, "mine")
    for row in found.loc["mine"].itertuples():
        own = pairs[pairs["age_difference_years"] == row.age_difference_years]
        assert row.pooled_cosine == pytest.approx(own["cosine"].mean(), rel=1e-5)
        assert row.cosine == pytest.approx(own.groupby("identity")["cosine"].mean().mean(), rel=1e-5)
        assert (row.pairs, row.identities) == (len(own), own["identity"].nunique())
    theirs = pd.read_csv(paper.FOLDER / "table24_age_difference.csv").set_index(["model", "age_difference_years"])
    ours = found.loc["IR_CASIA"].set_index("age_difference_years")
    assert ours.loc[7, "paper"] == theirs.loc[("IR_CASIA", 7), "cosine_similarity"]
    assert np.isnan(ours.loc[0, "paper"])
    naive = [linregress(own["age_difference_years"] / 10, own["cosine"]).slope for _, own in pairs.groupby("identity")]
    row = slopes.loc["mine"]
    assert row["cosine_per_decade"] == pytest.approx(np.mean(naive), rel=1e-5)
    assert row["p"] == pytest.approx(wilcoxon(naive).pvalue, rel=1e-4)
    assert row["p_holm"] == pytest.approx(2 * row["p"], rel=1e-4)
    assert row["falling_percent"] == 100


def test_names_without_ages_are_one_clear_error(tmp_path):
    make_pairs(0.1)[:0].to_parquet(tmp_path / "none.parquet")
    with pytest.raises(ValueError, match="no pair of images has ages in its names"):
        ages_table.tabulate_ages({"m": [str(tmp_path / "none.parquet")]}, {})
