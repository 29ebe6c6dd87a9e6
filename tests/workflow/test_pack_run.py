"""A pack of InsightFace, through the workflow: its detector finds and aligns faces, its recogniser is looked into.

The pack is a small one of the same inputs and outputs, whose detector finds drawn faces.
"""

import json

import numpy as np
import onnx
import pytest
import yaml
from PIL import Image

from drawn import disc_centroids, draw
from leam import files, storage
from runs import jobs, snakemake
from small_packs import write_pack

pytestmark = pytest.mark.slow  # one run of the workflow

FACES = "results/faces/00000.h5"
MAPS = "results/maps/mine/00000.h5"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed")
    write_pack(folder / "packs" / "mine")
    for person, sizes in {"ann": (200, 336), "bob": (240, 300)}.items():
        (folder / "album" / person).mkdir(parents=True)
        for size in sizes:
            for suffix, pixels in zip(("png", "labels.png"), draw(size), strict=True):
                Image.fromarray(pixels).save(folder / "album" / person / f"{size}.{suffix}")
    config = {
        "source": {"kind": "folder", "folder": {"path": "album", "label_suffix": ".labels.png"}},
        "faces": {"detector": "scrfd", "detector_weights": "packs/mine", "crop_mode": "aligned", "landmarks": "none"}
        | {"duplicates": "keep"},
        "models": ["mine"],
        "recognisers": {"mine": {"pack": "packs/mine"}},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    snakemake(
        "--cores", 2, "--configfile", folder / "mine.yaml", "--", MAPS, "results/tables/run.csv", directory=folder
    )
    return folder


def test_faces_are_found_and_aligned_by_the_packs_detector(directory):
    digest = files.sha256(directory / "packs" / "mine" / "det_10g.onnx")
    with storage.open_shard(directory / FACES, "faces") as shard:
        assert json.loads(shard.attrs["settings"])["files"] == {"detector_weights": digest}
        assert storage.identities(shard) == ["ann", "bob"] and not list(storage.read_discarded(shard))
        for identity in ("ann", "bob"):
            found = storage.read_faces(shard, identity)
            for crop, points in zip(found.crops, found.points, strict=True):
                assert abs(disc_centroids(crop) - points).max() < 0.7


def test_the_recogniser_is_the_packs_with_its_licence(directory):
    facts = json.loads((directory / "results" / "weights" / "mine.ok").read_text())
    assert facts["licence"] == "non-commercial research only (InsightFace)" and len(facts["layers"]) == 9
    assert facts["sha256"] == files.sha256(directory / "packs" / "mine" / "w600k_r50.onnx")
    told = (directory / "results" / "tables" / "run.csv").read_text()
    assert "InsightFace's pack mine: w600k_r50.onnx" in told and "non-commercial research only (InsightFace)" in told
    with storage.open_shard(directory / MAPS, "maps") as shard:
        assert shard.attrs["weights_sha256"] == facts["sha256"] and len(shard.attrs["layers"]) == 9
        assert np.isfinite(shard["ann/embeddings"][()]).all()


def test_nothing_runs_again_until_a_file_of_the_pack_changes(directory):
    plan = ("-n", "--configfile", directory / "mine.yaml", "--", MAPS)
    assert "Nothing to be done" in snakemake(*plan, directory=directory)
    detector = directory / "packs" / "mine" / "det_10g.onnx"
    model = onnx.load(detector)
    model.doc_string = "another"
    onnx.save(model, detector)
    again = jobs(snakemake(*plan, directory=directory))
    assert {"fetch_face_models", "parse_faces", "compute_maps"} <= again.keys() and "fetch_weights" not in again
