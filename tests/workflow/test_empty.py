"""What is empty is ordinary: every table and figure is made, whoever and whatever is missing."""

import csv

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from album import SUFFIXES, write_album
from leam import plotting, reasons
from runs import snakemake, write_config
from small_recognisers import NARROW
from test_explorer import data_of

pytestmark = pytest.mark.slow
TWO, THREE = ["10", "25"], ["11", "26", "40"]
FACES = {"detector": "none", "landmarks": "auto", "label_maps": "given", "crop_mode": "whole", "crop_size": 112}
ONE_LAYER = NARROW | {"layers": ["conv1", "layer1.0.conv1"]}
GENDERS = {"ann": "female", "bob": "male", "cid": "male", "dan": "female"}
UNSEEN = "hair, ears and all else that landmarks do not outline"
PER_SHARD = "an empty shard, an empty person, and people of one picture"

# {what is missing: (people with their pictures, further settings)}
MISSING = {
    PER_SHARD: (
        {"ann": TWO, "bob": THREE, "cid": [], "dan": ["20"], "eve": ["30"], "fay": []},
        {"identities_per_job": 2},
    ),
    "everybody but one, so that there are no impostors": ({"ann": THREE}, {}),
    "a second group": ({"ann": TWO, "dan": TWO}, {}),
    "landmarks": ({"ann": TWO, "bob": TWO}, {"landmark_suffix": None, "faces": {"landmarks": "none"}}),
    UNSEEN: ({"ann": TWO, "bob": THREE}, {"label_suffix": None, "faces": {"label_maps": "landmarks"}}),
    "ages": ({"ann": ["a", "b"], "bob": ["a", "b"]}, {}),
    "regions": ({"ann": TWO, "bob": TWO}, {"regions": False, "label_check": False}),
}
QUICK = (PER_SHARD, "regions", UNSEEN)
# Nobody has two usable images: {why: (people with their pictures, further settings)}
NOBODY = {
    "a second picture of anybody": ({"ann": ["20"], "bob": ["30"]}, {}),
    "pictures of all but one person, who has one": ({"ann": ["20"], "bob": []}, {}),
}
# Figures of all pictures and of the rendered worlds; and a note that speaks of ages too.
OTHERS = {"retention", "localisation", "ages"}


def run(tmp_path, people, changes):
    album, changes = tmp_path / "album", dict(changes)
    write_album(album, people)
    if not changes.pop("regions", True):
        for file in album.glob(f"*/*{SUFFIXES['label_suffix']}"):
            Image.fromarray(np.zeros((64, 64), np.uint8)).save(file)
    known = [name for name in people if name in GENDERS]
    table = pd.DataFrame({"identity": known, "gender": [GENDERS[name] for name in known], "ethnicity": "African"})
    table.to_csv(tmp_path / "people.csv", index=False)
    faces, per_job = FACES | changes.pop("faces", {}), changes.pop("identities_per_job", 4)
    file = write_config(
        tmp_path / "mine.yaml",
        identities_per_job=per_job,
        source={"kind": "folder", "folder": {"path": str(album)} | SUFFIXES | changes},
        faces=faces,
        demographics=str(tmp_path / "people.csv"),
        age_pattern=r"^(\d{2})",
        models=["own"],
        recognisers={"own": ONE_LAYER},
        calibration={"when": "never"},  # it is of rendered people, whoever is in the run
        localisation={"when": "always", "regions": ["nose"], "identities": 2, "images": 2},
        occlusion={"percents": [1], "fills": ["black", "mean"]},
        similarity={"pairs": 20},
    )
    return snakemake("--cores", 2, "--keep-going", "--configfile", file, directory=tmp_path, warm=True)


def check(results):
    """Every table has a heading, and every figure is drawn."""
    for path in (results / "tables").glob("*.csv"):
        with open(path, newline="", encoding="utf-8") as file:
            assert len(next(csv.reader(file))) > 2, path.name
    assert len(list((results / "figures").glob("*.png"))) >= 12


@pytest.mark.parametrize(
    "missing", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.siege) for name in MISSING]
)
def test_everything_is_made_though_there_is_no(missing, tmp_path):
    said, results = run(tmp_path, *MISSING[missing]), tmp_path / "results"
    assert reasons.NOBODY not in said
    check(results)
    if missing == PER_SHARD:
        check_types(results)


def check_types(results):
    """Files of shards without anybody have the columns and the types of those with people."""
    for folder in ("occlusion/own", "similarity/own", "ages/own"):
        for kind in ("[0-9].parquet", "null.parquet"):
            tables = [pd.read_parquet(path) for path in sorted((results / folder).glob(f"*{kind}"))]
            kinds = [{name: pd.api.types.is_numeric_dtype(table[name]) for name in table} for table in tables]
            assert all(each == kinds[0] for each in kinds), folder
            assert kind == "null.parquet" or sorted(map(len, tables))[:2] == [0, 0] < sorted(map(len, tables))[2:]


@pytest.mark.parametrize("missing", NOBODY)
def test_a_run_of_nobody_ends_well_and_says_so(missing, tmp_path):
    said, results = run(tmp_path, *NOBODY[missing]), tmp_path / "results"
    check(results)
    assert said.count(reasons.NOBODY) == 1  # what the console says
    assert "nobody" in said.split("Complete log(s)")[0].splitlines()[-1]
    note = tmp_path / "note.png"
    plotting.save_note(reasons.NOBODY, note, note.with_suffix(".pdf"))
    figures = {path.stem: path.read_bytes() for path in (results / "figures").glob("*.png")}
    others = {name for name, drawn in figures.items() if drawn != note.read_bytes()}
    assert others == OTHERS and len(figures) > 15
    assert data_of(results / "explorer" / "index.html")["note"] == reasons.NOBODY
    assert len(pd.read_csv(results / "tables" / "discarded.csv")) >= 1
    assert "nobody" in (results / "verdict.txt").read_text()
    snakemake("--report", "report.html", "--configfile", tmp_path / "mine.yaml", directory=tmp_path)
    assert (tmp_path / "report.html").stat().st_size > 100_000
