"""Names that are more than names to somebody, of people, pictures, recognisers and layers, through the whole workflow:
from a folder to the report, every output says them, and nothing takes them for anything else."""

import csv
import json
import re
import unicodedata

import pandas as pd
import pytest

from album import SUFFIXES, write_album
from hostile_names import hostile_names, is_file_name, is_module_name
from leam import names, storage, tables
from runs import snakemake_each, write_config

pytestmark = pytest.mark.slow  # a run of the workflow

RECOGNISERS = ["a_", "NA", "__", "0123456789" * 10, "_x-1.", "1e5", "con", "constructor"]  # what the settings allow
NETWORK = """
import torch
from torch import nn


def build(layers):
    torch.manual_seed(0)
    network = nn.Sequential()
    for number, name in enumerate(layers):
        network.add_module(name, nn.Conv2d(4 if number else 3, 4, 3 if number < 2 else 1, stride=1 if number else 2))
    network.add_module("pool of mine", nn.AdaptiveAvgPool2d(2))
    network.add_module("flat of mine", nn.Flatten())
    return network
"""
INPUT = {"input_size": [32, 32], "mean": [127.5] * 3, "std": [127.5] * 3}


def is_picture_name(stem):
    """Whether a source of folders sees a picture in it: KK.regions.png is a label map to it."""
    return is_file_name(stem) and not stem.lower().endswith((".regions", ".labels"))


TABLES = "rule tables:\n    input:\n        TABLES.values(),\n"


def run(folder, people, recognisers, layers, seed, figures):
    """A run on so many people with two pictures each, and its report; the names, by what has them.

    Each recogniser has so many layers; names of layers that one recogniser could not tell apart are left out.
    figures : of these, or of all
    """
    found = {
        "people": hostile_names(people, seed, allowed=is_file_name),
        "pictures": hostile_names(2 * people, seed + 1, allowed=is_picture_name),
        "recognisers": RECOGNISERS[seed:][:recognisers],
    }
    named = hostile_names(recognisers * layers + 9, seed + 2, most=90, allowed=is_module_name)
    twins = names.twins(named, map(names.layer_name, named))
    named = [name for name in named if name not in (*twins, "all")][: recognisers * layers]
    of = {name: named[k::recognisers] for k, name in enumerate(found["recognisers"])}
    for k in range(0, 2 * people, 3):  # some have an age
        found["pictures"][k] += f" {10 + k}"
    pictures = {name: found["pictures"][2 * k : 2 * k + 2] for k, name in enumerate(found["people"])}
    write_album(folder / "album", pictures)
    (folder / "hostile_networks.py").write_text(NETWORK)
    (folder / "tables.smk").write_text(TABLES)
    with open(folder / "people.csv", "w", newline="", encoding="utf-8") as file:
        rows = [(names.csv_cell(name), ("male", "female")[k % 2]) for k, name in enumerate(found["people"])]
        csv.writer(file).writerows([("identity", "gender"), *rows])
    config = {
        "source": {"kind": "folder", "folder": {"path": "album"} | SUFFIXES},
        "faces": {"detector": "none", "crop_mode": "whole", "crop_size": 32, "min_face_px": 1},
        "identities_per_job": -(-people // 2),
        "demographics": "people.csv",
        "age_pattern": "([0-9]+)",
        "models": found["recognisers"],
        "recognisers": {
            name: INPUT | {"architecture": "hostile_networks:build", "layers": own, "arguments": {"layers": own}}
            for name, own in of.items()
        },
        "maps": {"grid": 16, "top_percents": [1, 10]},
        "occlusion": {"percents": [1, 10], "repeats": 1, "others": 1},
        "localisation": {"when": "never"},
        "calibration": {"when": "never"},
        "custom_rules": ["tables.smk"],
        "explorer": {"identities": min(people, 50), "images": 2},
        "analysis": {"figure_images": 2, "table_identities": people},
    }
    file = write_config(folder / "mine.yaml", **config)
    targets = ["all"]
    if figures:
        of_models = [f"{figure}_{name}" for figure in figures for name in found["recognisers"]]
        paths = [f"results/figures/{figure}.png" for figure in ("retention", "person", *of_models)]
        targets = ["tables", "results/explorer/index.html", *paths]
    run = [*targets, "--cores", "2", "--configfile", file]
    report = [*targets, "--configfile", file, "--report", "results/report.html"]
    for status, text in snakemake_each([run, report], folder):
        assert status == 0 and "ERROR" not in text, text
    return found | {"layers": of, "pictures": pictures}


FEW = (12, 1, 3, 0, ("maps", "layers"))  # people, recognisers, layers of each, seed, figures
MANY = [pytest.param(sizes, marks=pytest.mark.siege) for sizes in ((50, 1, 26, 1, ()), (50, 2, 13, 2, ()))]


@pytest.fixture(scope="module", params=[FEW, *MANY], ids=["few", "many", "more"])
def finished(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("names")
    return folder / "results", run(folder, *request.param)


def test_files_have_every_person_picture_and_layer(finished):
    results, given = finished
    links = pd.read_parquet(results / "links.parquet")
    expected = {(name, f"{stem}.png") for name, stems in given["pictures"].items() for stem in stems}
    assert set(zip(links["identity"], links["image"], strict=True)) == expected
    stages = [(kind, kind) for kind in ("images", "faces")] + [(f"maps/{name}", "maps") for name in given["layers"]]
    for folder, kind in stages:
        found = set()
        for path in sorted((results / folder).glob("*.h5")):
            with storage.open_shard(path, kind) as shard:
                people = storage.identities(shard)
                found |= {(name, image) for name in people for image in storage.read_images(shard, name)}
                if kind == "maps":
                    layers = given["layers"][folder.removeprefix("maps/")]
                    assert storage.read_layers(shard) == layers
                    assert all(list(storage.read_maps(shard, name).maps["loss"]) == layers for name in people)
        assert found == expected


def test_tables_have_every_name_and_no_formula(finished):
    results, given = finished
    paths = sorted((results / "tables").glob("*.csv"))
    assert len(paths) > 25
    for path in paths:
        table = tables.read_output(path)
        with open(path, newline="", encoding="utf-8") as file:
            heading, *rows = csv.reader(file)
        assert len(rows) == len(table) and {len(row) for row in rows} <= {len(heading)}, path.name
        for cell in {cell for row in rows for cell in row}:
            assert re.fullmatch(r"[^=+@\t\r\n-].*|-[\d.e-]+|", unicodedata.normalize("NFKC", cell.strip(" ")), re.S)
        for column, known in (
            ("identity", {*given["people"], "all"}),
            ("model", {*given["layers"], "all"}),
            ("guide", {*given["layers"], ""}),
            ("layer", {"", "all"}.union(*given["layers"].values())),
        ):
            assert column not in table or set(table[column]) <= known, path.name
    people = {
        name: set(tables.read_output(results / f"tables/{name}.csv")["identity"])
        for name in ("retention", "individuals")
    }
    assert people["retention"] == {*given["people"], "all"} and people["individuals"] == set(given["people"])
    regions = tables.read_output(results / "tables/regions.csv")
    for name, layers in given["layers"].items():
        assert list(regions[regions["model"] == name]["layer"].unique()) == [*layers, "all"]
    groups = tables.read_output(results / "tables/groups.csv")
    assert set(groups["group"]) == {"male", "female"}  # everybody was found in the table of people


def test_the_explorer_has_the_names_as_data(finished):
    results, given = finished
    page = (results / "explorer/index.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.S)
    data = json.loads(scripts[0])
    assert len(scripts) == page.count("<script") == page.count("</script") == 2
    assert {person["identity"] for person in data["people"]} <= set(given["people"])
    for person in data["people"]:
        stems = given["pictures"][person["identity"]]
        assert {image["name"] for image in person["images"]} == {f"{stem}.png" for stem in stems}
    assert {each["name"]: each["layers"] for each in data["recognisers"]} == given["layers"]


def test_logs_have_a_line_per_person_and_none_of_a_name_s_own(finished):
    results, given = finished
    for path in sorted((results / "logs").rglob("*.log")):
        text = path.read_text(encoding="utf-8")
        assert text.replace("\n", "").isprintable(), path.name
        assert not re.search("^(WARNING: forged|Error in|ERROR|Traceback)|Glyph .* missing", text, re.M), text
    for model in given["layers"]:
        log = "".join(path.read_text() for path in sorted((results / f"logs/compute_maps/{model}").glob("*.log")))
        said = re.findall(r"^(.*) \(\d+ of \d+\): \d+ images", log, re.M)
        assert sorted(said) == sorted(map(names.printable, given["people"]))


def test_figures_and_the_report_are_there(finished):
    results, given = finished
    for model in given["layers"]:
        assert all((results / f"figures/{figure}_{model}.png").stat().st_size > 5000 for figure in ("maps", "layers"))
    for path in (results / "figures").iterdir():
        assert path.suffix == ".sha256" or path.stat().st_size > 1000
    report = (results / "report.html").read_text(encoding="utf-8")
    assert "system-message" not in report and "alert(1)" not in report
    for model in given["layers"]:
        assert f'<tt class=\\"docutils literal\\">{model}</tt>' in report
