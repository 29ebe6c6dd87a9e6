"""What is empty is ordinary: every table and figure is made, whoever and whatever is missing."""

import csv

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from album import SUFFIXES, write_album
from runs import snakemake, write_config
from small_recognisers import NARROW

pytestmark = pytest.mark.slow
TWO, THREE = ["10", "25"], ["11", "26", "40"]
FACES = {"detector": "none", "landmarks": "auto", "label_maps": "given", "crop_mode": "whole", "crop_size": 112}
ONE_LAYER = NARROW | {"layers": ["conv1", "layer1.0.conv1"]}
GENDERS = {"ann": "female", "bob": "male", "cid": "male", "dan": "female"}

# {what is missing: (people with their pictures, further settings)}
MISSING = {
    "an empty shard, an empty person, and people of one picture": (
        {"ann": TWO, "bob": THREE, "cid": [], "dan": ["20"], "eve": ["30"], "fay": []},
        {"identities_per_job": 2},
    ),
    "everybody but one, so that there are no impostors": ({"ann": THREE}, {}),
    "a second group": ({"ann": TWO, "dan": TWO}, {}),
    "landmarks": ({"ann": TWO, "bob": TWO}, {"landmark_suffix": None}),
    "ages": ({"ann": ["a", "b"], "bob": ["a", "b"]}, {}),
    "regions": ({"ann": TWO, "bob": TWO}, {"regions": False, "label_check": False}),
    "a second picture of anybody": ({"ann": ["20"], "bob": ["30"]}, {}),
    "pictures of all but one person, who has one": ({"ann": ["20"], "bob": []}, {}),
}


def run(tmp_path, people, changes):
    album, changes = tmp_path / "album", dict(changes)
    write_album(album, people)
    if not changes.pop("regions", True):
        for file in album.glob(f"*/*{SUFFIXES['label_suffix']}"):
            Image.fromarray(np.zeros((64, 64), np.uint8)).save(file)
    known = [name for name in people if name in GENDERS]
    table = pd.DataFrame({"identity": known, "gender": [GENDERS[name] for name in known], "ethnicity": "African"})
    table.to_csv(tmp_path / "people.csv", index=False)
    per_job = changes.pop("identities_per_job", 4)
    file = write_config(
        tmp_path / "mine.yaml",
        identities_per_job=per_job,
        source={"kind": "folder", "folder": {"path": str(album)} | SUFFIXES | changes},
        faces=FACES,
        demographics=str(tmp_path / "people.csv"),
        age_pattern=r"^(\d{2})",
        models=["own"],
        recognisers={"own": ONE_LAYER},
        localisation={"when": "always", "regions": ["nose"], "identities": 2, "images": 2},
        occlusion={"percents": [1], "fills": ["black", "mean"]},
        similarity={"pairs": 20},
    )
    return snakemake("--cores", 2, "--keep-going", "--configfile", file, directory=tmp_path, warm=True, check=False)


@pytest.mark.parametrize("missing", MISSING)
def test_everything_is_made_though_there_is_no(missing, tmp_path):
    people, changes = MISSING[missing]
    said = run(tmp_path, people, changes)
    results = tmp_path / "results"
    assert "Failed for good" not in said, said[said.rfind("Failed for good") :]
    assert (results / "explorer" / "index.html").exists()
    for path in (results / "tables").glob("*.csv"):
        with open(path, newline="", encoding="utf-8") as file:
            assert len(next(csv.reader(file))) > 2, path.name
    assert len(list((results / "figures").glob("*.png"))) >= 12
