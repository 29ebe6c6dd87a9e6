"""The whole workflow on real photographs with real recognisers, where LEAM_REAL names a folder of them.

A subset with other people and other numbers of images than the folder has, so that nothing depends on those.
"""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leam import files, storage
from leam.methods import POLARITIES
from runs import ROOT, snakemake

REAL = Path(os.environ.get("LEAM_REAL", "unset"))
pytestmark = pytest.mark.skipif(
    not (REAL / "faces").is_dir(), reason="no real photographs (LEAM_REAL is to name a folder that has them)"
)
MODELS = ("mobilefacenet_y1", "mobilefacenet_casia")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run on 3 to 7 images of every other person, one of whom has a picture that is none."""
    root, directory = tmp_path_factory.mktemp("subset"), tmp_path_factory.mktemp("run")
    for name in ("models", "demographics.csv"):
        (root / name).symlink_to(REAL / name)
    people = sorted(path.name for path in (REAL / "faces").iterdir())[::2]
    for number, person in enumerate(people):
        (root / "faces" / person).mkdir(parents=True)
        for picture in sorted((REAL / "faces" / person).glob("[0-9]*[0-9].png"))[: 3 + number % 5]:
            for suffix in (".png", ".regions.png"):
                shutil.copy(picture.with_suffix(suffix), root / "faces" / person)
    (root / "faces" / people[0] / "99.png").write_text("this is no picture")
    config, light = ROOT / "docs" / "examples" / "real.yaml", directory / "light.yaml"
    light.write_text("occlusion: {percents: [1], layers: first, repeats: 1}")
    snakemake("--cores", 2, "--configfile", config, light, "--config", f"root={root}", directory=directory)
    return directory / "results" / "real", people


def test_both_recognisers_verify_these_people(finished):
    table = pd.read_csv(finished[0] / "tables" / "verification.csv").set_index("model")
    assert (table["auc"] > 0.97).all(), table["auc"].to_dict()
    assert list(table.index) == list(MODELS)


def test_every_map_is_finite_and_none_is_empty(finished):
    results, people = finished
    seen = []
    for path in sorted((results / "maps").glob("*/*.h5")):
        with storage.open_shard(path, "maps") as shard:
            for identity in storage.identities(shard):
                found = storage.read_maps(shard, identity)
                seen.append((path.parent.name, identity))
                assert found.nonfinite == 0
                for polarity in POLARITIES:
                    assert (found.counts[polarity].sum(3) > 0).all(), (path, identity)
                    for layer, array in found.maps[polarity].items():
                        assert np.isfinite(array).all() and (array.max((1, 2)) > 0).all(), (path, identity, layer)
                        np.testing.assert_allclose(array.sum((1, 2)), 1, rtol=1e-4)
    assert sorted(seen) == sorted((model, person) for model in MODELS for person in people)


def test_a_recogniser_that_sees_a_window_marks_nothing_outside_it(finished):
    """mobilefacenet_casia sees the columns 8 to 103: no counted pixel may lie in a region that is only outside them."""
    results, people = finished
    with storage.open_shard(results / "maps/mobilefacenet_casia/00000.h5", "maps") as shard:
        found, grid = storage.read_maps(shard, people[0]), storage.read_grid(shard)
    assert found.maps["loss"]["conv1/conv/Conv"].shape[1:] == (56, 48) and grid.window == (0, 8, 112, 104)
    placed = grid.place(found.maps["loss"]["conv1/conv/Conv"], "conv1/conv/Conv")
    assert placed[:, :, :8].max() == placed[:, :, 104:].max() == 0
    assert (placed[:, :, 8:104].sum((1, 2)) > 0).all()


def test_crops_are_the_pictures_themselves_and_the_broken_one_is_recorded(finished):
    from PIL import Image

    results, people = finished
    with storage.open_shard(results / "faces/00000.h5", "faces") as shard:
        faces = storage.read_faces(shard, people[0])
        discarded = {(row.identity, row.image): row.reason for row in storage.read_discarded(shard)}
    for name, crop, regions in zip(faces.images, faces.crops, faces.regions, strict=True):
        path = REAL / "faces" / people[0] / name
        np.testing.assert_array_equal(crop, np.asarray(Image.open(path).convert("RGB")))
        np.testing.assert_array_equal(regions, np.asarray(Image.open(path.with_suffix(".regions.png"))))
    assert "unreadable" in discarded[people[0], "99.png"] or "unsupported" in discarded[people[0], "99.png"]
    table = pd.read_csv(results / "tables" / "retention.csv").set_index("identity")
    assert table.loc[people[0]].to_dict() == {"linked": 4, "kept": 3, "discarded": 1, "kept_percent": 75.0}


def test_shares_by_gender_are_given(finished):
    table = pd.read_csv(finished[0] / "tables" / "groups.csv")
    assert set(table["group"]) <= {"female", "male"}
    sums = table.groupby(["model", "group", "threshold"])["percent"].sum()
    np.testing.assert_allclose(sums, 100, atol=1e-3)


def test_groups_are_tested_and_stand_beside_the_paper(finished):
    results, people = finished
    tests = pd.read_csv(results / "tables" / "significance.csv", dtype={"threshold": str})
    assert set(tests["unit"]) == {"image", "identity"} and set(tests["model"]) == set(MODELS)
    whole = tests[tests["unit"] == "identity"].dropna(subset="p")
    assert ((whole["n_a"] + whole["n_b"]) == len(people)).all()
    assert (whole["p_holm"] >= whole["p"]).all() and whole["rank_biserial"].abs().max() <= 1
    sizes = {}
    for name in ("table22_occlusion_drop_female", "table23_occlusion_drop_male"):
        table = pd.read_csv(results / "tables" / f"{name}.csv")
        assert set(table["model"]) == set(MODELS) and np.isfinite(table["cosine_drop"]).all()
        sizes[name] = table["identities"].max()
    assert sum(sizes.values()) == len(people)


def test_shares_of_individuals_add_up(finished):
    results, people = finished
    table = pd.read_csv(results / "tables" / "individuals.csv", dtype={"threshold": str})
    sums = table.groupby(["model", "polarity", "threshold", "identity"])[["percent", "mean"]].sum()
    np.testing.assert_allclose(sums, 100, atol=1e-3)
    assert set(table["identity"]) == set(people)
    assert (table["min"] <= table["mean"] + 1e-6).all() and (table["mean"] <= table["max"] + 1e-6).all()


def test_occluding_where_a_map_points_hurts_more_than_elsewhere(finished):
    results, people = finished
    table = pd.read_csv(results / "tables" / "occlusion.csv")
    table = table[table["fill"] == "black"]
    drops = table[table["guide"].isna() | (table["guide"] == table["model"])].set_index(["model", "kind", "polarity"])
    for model in MODELS:
        free = drops.loc[model].reset_index().set_index("kind")["drop"]
        assert drops.loc[(model, "image", "loss"), "drop"] > free["random"] > 0
        assert drops.loc[(model, "image", "loss"), "drop"] > drops.loc[(model, "shuffled", "loss"), "drop"]
    assert (table["identities"] == len(people)).all()
    assert set(pd.read_csv(results / "tables" / "transfer.csv")["guide"]) == set(MODELS)


def test_whole_photographs_with_default_settings(tmp_path):
    """MTCNN, the parser and dlib through the rules: model files checked first, then crops at the detector's margin."""
    config = ROOT / "docs" / "examples" / "photos.yaml"
    include = "source={folder: {include: [q02, several_faces]}}"
    target = "results/photos/faces/00000.h5"
    snakemake("--cores", 2, target, "--configfile", config, "--config", f"root={REAL}", include, directory=tmp_path)
    facts = json.loads((tmp_path / "results/photos/face_models/files.json").read_text())
    assert facts["parser_weights"]["sha256"] == files.sha256(REAL / "models/face_parsing_celebm_standin_jit.pt")
    with storage.open_shard(tmp_path / target, "faces") as shard:
        settings = json.loads(shard.attrs["settings"])
        faces = storage.read_faces(shard, "q02")
        reasons = {row.reason for row in storage.read_discarded(shard) if row.image}
    assert (settings["detector"], settings["regions"], settings["landmarks"]) == ("mtcnn", "pyfacer", "dlib")
    assert settings["crop_margin"] == 0.15 and len(settings["files"]) == 5
    assert len(faces.images) == 3 and np.isfinite(faces.landmarks).all() and reasons == {"several faces"}
