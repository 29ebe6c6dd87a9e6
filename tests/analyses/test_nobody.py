"""Of nobody: every table has the heading of one with people, every figure is a note, and who is there loses nothing."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leam import explorer, plotting, reasons, selection, storage
from leam.analyses.ages import figure as ages_figure
from leam.analyses.examples import figure as examples_figure
from leam.analyses.groups import figure as groups_figure
from leam.analyses.groups import table as groups_table
from leam.analyses.individuals import table as individuals_table
from leam.analyses.occlusion import figure as occlusion_figure
from leam.analyses.occlusion import table as occlusion_table
from leam.analyses.regions import figure as regions_figure
from leam.analyses.regions import measure as regions_measure
from leam.analyses.regions import table as regions_table
from leam.analyses.similarity import figure as similarity_figure
from leam.analyses.similarity import table as similarity_table
from leam.analyses.verification import table as verification_table
from leam.maps import MapSettings, compute_maps
from leam.tables import categorise
from planted import make_counts, make_drops, make_image_shares
from shards import write_embeddings, write_faces
from test_explorer import data_of

REGIONS = ("regions", "table01", "table02", "table10", "table11", "table12_to_20")
OCCLUSION = ("occlusion", "decisions", "person_specific", "transfer", "table09", "table21")
GROUPS = ("drops_by_group", "table22", "table23")
PRIMARY = {"polarity": "loss", "fill": "mean", "percent": 1.0}
FORMS = {"polarity": "loss", "confidence": 0.95}
PEOPLE = "identity,gender,ethnicity\n" + "".join(f"p{n},{'fe' * (n % 2)}male,Asian\n" for n in range(5))


def make_pairs(model):
    """Pairs as ``measure_similarity`` writes them, of three people."""
    who = [("a", "same", "a"), ("b", "same", "b"), ("a", "different", "b"), ("b", "different", "c")]
    table = pd.DataFrame(who, columns=["identity", "pairing", "other_identity"])
    facts = {"layer": "conv1", "polarity": "loss", "frame": "none", "part": "top1", "reason": "", "untrained": False}
    return table.assign(model=model, bc=[0.2, 0.4, 0.1, 0.2], emd_px=[4.0, 6.0, 9.0, 8.0], **facts)


def make_tables(model):
    """{stage: what it writes of five people}, their images among them."""
    drops = make_drops(model, (model,), identities=5)
    drops["identity"] = drops["identity"].str.replace("p0", "p")
    pairs = make_pairs(model)
    return {
        "counts": make_counts().assign(model=model),
        "images": make_image_shares().assign(model=model),
        "drops": drops,
        "pairs": pairs,
        "nulls": pairs.assign(kind="population_mean", region=""),
    }


def tabulate(folder, models):
    """{table: its file}. models : {recogniser: whether it has people}"""
    folder.mkdir()
    (folder / "people.csv").write_text(PEOPLE)
    facts = {"model": list(models), "threshold": 0.4, "false_match_rate": 1e-3, "impostor_pairs": 4000}
    pd.DataFrame(facts).to_csv(folder / "verification.csv", index=False)
    files = {}
    for model, has_people in models.items():
        for stage, table in make_tables(model).items():
            texts = [column for column in table if not pd.api.types.is_numeric_dtype(table[column])]
            path = files.setdefault(stage, {})[model] = str(folder / f"{model}.{stage}.parquet")
            categorise(table if has_people else table[:0], texts).to_parquet(path, index=False)
    names = (*REGIONS, "individuals", "table07", "table08", "groups", "significance", *GROUPS, *OCCLUSION, "similarity")
    outputs = {name: str(folder / f"{name}.csv") for name in (*names, *similarity_table.PAPER_SIMILARITY)}
    drops, pairs, nulls = ({m: [path] for m, path in files[stage].items()} for stage in ("drops", "pairs", "nulls"))
    counts, images, people, guide = files["counts"], files["images"], folder / "people.csv", "m"
    regions_table.tabulate_regions(counts, outputs)
    individuals_table.tabulate_individuals(counts, images, outputs)
    groups_table.tabulate_groups(counts, people, outputs["groups"], polarity="loss")
    groups_table.assess_significance(drops, counts, images, people, outputs["significance"], guide=guide)
    groups_table.tabulate_drops(drops, people, outputs, guide=guide, fill="black")
    verification = folder / "verification.csv"
    occlusion_table.tabulate_occlusion(drops, verification, outputs, guide=guide, fill="black", primary=PRIMARY)
    similarity_table.tabulate_similarity(pairs, nulls, outputs)
    return outputs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("nobody")


@pytest.fixture(scope="module")
def full(folder):
    return tabulate(folder / "full", {"m": True})


@pytest.fixture(scope="module")
def empty(folder):
    return tabulate(folder / "empty", {"m": False})


def test_tables_of_nobody_have_the_headings_of_others(full, empty):
    for name, path in full.items():
        some, none = pd.read_csv(path), pd.read_csv(empty[name])
        assert len(some) and not len(none) and list(none) == list(some), name


@pytest.mark.parametrize("models", [{"m": True, "n": False}, {"l": False, "m": True}], ids=["after", "before"])
def test_a_recogniser_of_nobody_leaves_the_others_as_they_are(full, folder, models):
    found = tabulate(folder / "".join(models), models)
    differ = [name for name, path in full.items() if Path(path).read_bytes() != Path(found[name]).read_bytes()]
    assert differ == []


# ------------------------------------------------------------------------------------------------------ regions counted


def write_maps(path, people):
    """A maps file of two layers, and of one pair of images of each of these people."""
    facts = {"model": "m", "layers": ["a", "b"], "thresholds": ["1", "full"], "untrained": False}
    with storage.create_shard(path, "maps", **facts) as shard:
        for name in people:
            pairs = np.array([(0, 1), (1, 0)], np.int16)
            group = storage.start_maps(shard, name, ["1", "2"], pairs, np.zeros(2, "f4"), np.eye(2, dtype="f4"), 0)
            counts = np.ones((2, 2, 2, 19), np.uint16)
            storage.add_maps(group, 0, {"loss": counts, "similarity": counts}, {}, {}, "float32")
    return str(path)


def count(folder, people):
    folder.mkdir()
    labels, points = np.zeros((2, 4, 4), np.uint8), np.zeros((2, 5, 2), np.float32)
    landmarks = np.zeros((2, 68, 2), np.float32)
    crops = np.zeros((2, 4, 4, 3), np.uint8)
    found = [storage.Faces(name, ["1", "2"], crops, labels, landmarks, points) for name in people]
    files = [write_maps(folder / "maps.h5", people)], [str(write_faces(folder / "faces.h5", found))]
    outputs = folder / "counts.parquet", folder / "images.parquet"
    regions_measure.count_regions(*files, *outputs, "m", grid=4)
    return [pd.read_parquet(path) for path in outputs]


def test_counts_of_nobody_have_the_types_of_others(tmp_path):
    for some, none in zip(count(tmp_path / "some", ["p"]), count(tmp_path / "none", []), strict=True):
        assert len(some) and not len(none) and list(some) == list(none)
        kinds = [[dtype.kind for dtype in table.dtypes] for table in (some, none)]
        assert kinds[0] == kinds[1]


# ------------------------------------------------------------------------------------------------- figures and explorer


@pytest.fixture(scope="module")
def shards(folder, narrow):
    """{recogniser: its maps files} of two shards without anybody, and as many faces files."""
    faces = [str(write_faces(folder / f"{number}.faces.h5", [])) for number in range(2)]
    maps = [str(folder / f"{number}.maps.h5") for number in range(2)]
    for files in zip(faces, maps, strict=True):
        compute_maps(*files, narrow, MapSettings(grid=56))
    return {"m": maps, "n": maps}, faces


@pytest.fixture
def note(tmp_path):
    """The bytes of a note with this sentence."""

    def write(sentence):
        paths = tmp_path / "note.png", tmp_path / "note.pdf"
        plotting.save_note(sentence, *paths)
        return [path.read_bytes() for path in paths]

    return write


FIGURES = {
    "regions": partial(regions_figure.plot_regions, **FORMS),
    "thresholds": partial(regions_figure.plot_thresholds, model="m", confidence=0.95),
    "similarity": partial(similarity_figure.plot_similarity, **FORMS),
    "transfer": partial(occlusion_figure.plot_transfer, percent=1.0, fill="mean"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_a_table_without_rows_is_a_note(name, empty, tmp_path, note):
    out = tmp_path / "a.png", tmp_path / "a.pdf"
    FIGURES[name](empty[{"thresholds": "regions"}.get(name, name)], *out)
    assert [path.read_bytes() for path in out] == note(reasons.NOBODY)


def test_figures_of_occlusion_are_notes_both(empty, tmp_path, note):
    names = [f"{name}_{kind}" for name in ("drop", "lost", "chain", "layers") for kind in ("png", "pdf")]
    out = {name: str(tmp_path / name.replace("_", ".")) for name in names}
    occlusion_figure.plot_occlusion(empty["occlusion"], empty["decisions"], out, guide="m", fill="black")
    occlusion_figure.plot_person_specific(empty["occlusion"], empty["person_specific"], out, percent=1.0, fill="mean")
    expected = dict(zip(("png", "pdf"), note(reasons.NOBODY), strict=True))
    assert all(Path(path).read_bytes() == expected[name.split("_")[1]] for name, path in out.items())


def test_the_figure_of_groups_says_whether_it_lacks_people_or_what_they_are(empty, full, tmp_path, note):
    plot = partial(groups_figure.plot_groups, attribute="gender", guide="m", fill="black", confidence=0.95)
    out = tmp_path / "a.png", tmp_path / "a.pdf"
    plot(empty["drops_by_group"], empty["significance"], *out)
    assert [path.read_bytes() for path in out] == note(reasons.NOBODY)
    table = pd.read_csv(full["drops_by_group"])
    table[table["attribute"] == "gender"].assign(group="unknown").to_csv(tmp_path / "unknown.csv", index=False)
    plot(tmp_path / "unknown.csv", empty["significance"], *out)
    assert [path.read_bytes() for path in out] == note("of nobody with maps the gender is known: see tables/people.csv")


def test_thresholds_of_a_recogniser_without_anybody_beside_one_with(full, tmp_path, note):
    out = tmp_path / "a.png", tmp_path / "a.pdf"
    regions_figure.plot_thresholds(full["regions"], *out, model="n", confidence=0.95)
    assert [path.read_bytes() for path in out] == note(reasons.NOBODY)


@pytest.mark.parametrize("kind", ["maps", "layers", "sensitivity", "expressions", "person", "recognisers"])
def test_examples_of_nobody_are_notes(kind, shards, tmp_path, note):
    maps, faces = shards
    out, options = (tmp_path / "a.png", tmp_path / "a.pdf"), {} if kind == "layers" else {"polarity": "loss"}
    several = kind in ("person", "recognisers")
    getattr(examples_figure, f"plot_{kind}")(maps if several else maps["m"], faces, *out, **options)
    assert [path.read_bytes() for path in out] == note(reasons.NOBODY)


def test_ages_that_nobody_has_are_a_note(tmp_path, note):
    columns = ["model", "polarity", "fill", "percent", "untrained"]
    pd.DataFrame(columns=columns).to_csv(tmp_path / "table24.csv", index=False)
    out = tmp_path / "a.png", tmp_path / "a.pdf"
    ages_figure.plot_ages(tmp_path / "table24.csv", *out, **FORMS)
    assert [path.read_bytes() for path in out] == note(ages_figure.NO_AGES)


def test_the_explorer_says_that_there_is_nobody(shards, tmp_path):
    maps, faces = shards
    verification_table.tabulate_verification(maps, tmp_path / "verification.csv")
    explorer.build_explorer(maps, faces, tmp_path / "verification.csv", tmp_path / "index.html")
    data = data_of(tmp_path / "index.html")
    assert data["note"] == reasons.NOBODY and not data["people"] and len(data["recognisers"][0]["layers"]) == 9


def test_what_goes_wrong_in_a_figure_is_no_note(tmp_path):
    with pytest.raises(FileNotFoundError):
        FIGURES["regions"](tmp_path / "absent.csv", tmp_path / "a.png", tmp_path / "a.pdf")
    assert not (tmp_path / "a.png").exists()


def test_who_has_nobody_is_said_of_each_recogniser(tmp_path):
    files = {
        name: str(write_embeddings(tmp_path / f"{name}.h5", {"p": np.eye(2)} if people else {}))
        for name, people in {"one": True, "two": False}.items()
    }
    one, two = files.values()
    assert selection.say_nobody({"a": [two, one], "b": [one]}) == ""
    said = selection.say_nobody({"a": [two, one], "b": [two, two], "c": [two]})
    assert said.startswith(f"Under b, c {reasons.NOBODY}. ") and said.count(".csv") == 1


def test_the_explorer_shows_people_though_its_first_recogniser_has_none(shards, narrow, faces_shard, tmp_path):
    compute_maps(faces_shard, tmp_path / "maps.h5", narrow, MapSettings(grid=56))
    nobody, somebody = {"m": shards[0]["m"][:1]}, {"n": [str(tmp_path / "maps.h5")]}
    verification_table.tabulate_verification(nobody | somebody, tmp_path / "verification.csv")
    for maps in (nobody | somebody, somebody | nobody):
        explorer.build_explorer(maps, [str(faces_shard)], tmp_path / "verification.csv", tmp_path / "index.html")
        data = data_of(tmp_path / "index.html")
        assert data["note"] == "" and len(data["people"]) == 4
        strips = {recogniser["name"]: len(recogniser["strips"]) for recogniser in data["recognisers"]}
        assert strips == {"m": 0, "n": 4}
