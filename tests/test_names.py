"""leam.names, and what writes with it: whatever a name is, an output says it, and nothing takes it for more."""

import csv
import json
import subprocess
import sys
import unicodedata
import warnings
from html.parser import HTMLParser

import h5py
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

from hostile_names import PIECES, hostile_names
from leam import names, plotting, tables
from leam.methods import POLARITIES
from leam.recognisers import registry
from small_recognisers import NARROW

MANY = hostile_names(2000, seed=0, allowed=lambda name: "\0" not in name)


# ------------------------------------------------------------------------------------------------------------- HDF5


def test_every_identity_has_a_group_of_its_own(tmp_path):
    people = [*MANY, "a/b", "a%2Fb", "/", ".", "..", "%.", "%discarded", "%25discarded", "a%00b", "../../x"]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in people:
            file.create_group(names.group_name(name)).attrs["identity"] = name
        assert len(file) == len(people) and not set(names.RESERVED) & set(file)
        assert {group.attrs["identity"] for group in file.values()} == set(people)


def test_layers_have_a_dataset_each_or_are_called_twins(tmp_path):
    layers = [*MANY, "a/b", "/conv1/Conv", ".", "..", "a\0b"]
    written = [names.layer_name(layer) for layer in layers]
    twins = set(names.twins(layers, written))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name, layer in zip(written, layers, strict=True):
            if layer not in twins:
                file[f"maps/loss/{name}"] = 1
        assert len(file["maps/loss"]) == len(layers) - len(twins) > 2000
    assert names.layer_name("/conv1/Conv") == ".conv1.Conv"  # as files of earlier versions have it


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["a/b", "c", "a.b"], r"layers a/b, a\.b would have one name in the files"),
        (["a\0", "a%00"], "would have one name in the files"),
        (["conv1", "all"], "a layer is called 'all', which tables call all layers together"),
    ],
)
def test_layers_that_outputs_could_not_tell_apart_are_refused(layers, message):
    with pytest.raises(registry.ModelError, match=message):
        registry.recogniser("mine", NARROW | {"layers": layers})


# -------------------------------------------------------------------------------------------------------------- CSV


def test_no_cell_is_a_formula_and_each_gives_its_text_back():
    cells = [names.csv_cell(name) for name in MANY]
    assert [names.from_cell(cell) for cell in cells] == MANY and len(set(cells)) == len(MANY)
    for name, cell in zip(MANY, cells, strict=True):
        assert unicodedata.normalize("NFKC", cell.strip())[:1] not in tuple("=+-@") and cell[:1] not in tuple("\t\r\n")
        assert cell in (name, f"'{name}")


@pytest.mark.parametrize("name", ["a", "'s-Gravenhage", "O'Neill", "''", "a=b", "1-2", "", "'a", " a"])
def test_an_ordinary_name_is_written_as_it_stands(name):
    assert names.csv_cell(name) == name == names.from_cell(name)


@pytest.mark.parametrize("some", [MANY, [name for name in MANY if "\r" not in name]], ids=["any", "no returns"])
def test_a_table_gives_back_every_name_and_every_number(tmp_path, some):
    columns = {column: some[k:] + some[:k] for k, column in enumerate(tables.NAMES)}
    numbers = np.where(np.arange(len(some)) % 7, np.linspace(-0.3, 1e6, len(some)), np.nan)
    table = pd.DataFrame(columns).assign(drop=numbers, pairs=-np.arange(len(some)), untrained=True)
    table["kind"] = pd.Categorical(np.where(numbers > 0, "=image", "random"))
    tables.write_table(table, tmp_path / "t.csv", float_format=None)
    found = tables.read_output(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(found, table, check_dtype=False, check_categorical=False)
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:  # as others read it
        rows = list(csv.DictReader(file))
    assert [row["identity"] for row in rows] == [names.csv_cell(name) for name in some]
    assert rows[1]["pairs"] == "-1" and rows[0]["drop"] == ""  # numbers are no formulas


def test_an_empty_name_is_empty_and_an_empty_number_is_none(tmp_path):
    table = pd.DataFrame({"guide": ["", "NA"], "drop": [np.nan, 1.5], "fill": [None, "nan"]})
    tables.write_table(table, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "guide,drop,fill\n,,\nNA,1.5,nan\n"
    found = tables.read_output(tmp_path / "t.csv")
    assert found["guide"].tolist() == ["", "NA"] and found["fill"].tolist()[1] == "nan"
    assert found["drop"].isna().tolist() == [True, False] and pd.isna(found["fill"][0])


# ------------------------------------------------------------------------------------------------------------- pages


class Page(HTMLParser):
    """What a browser finds: the tags, and what stands in scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "script":
            self.scripts.append(data)


@pytest.mark.parametrize("some", [[piece] for piece in PIECES] + [MANY])
def test_no_name_ends_a_script_or_begins_a_tag(some):
    written = names.in_script(some)
    page = Page(f'<script type="application/json">{written}</script><p>')
    assert page.tags == ["script", "p"] and json.loads(page.scripts[0]) == some
    assert "<" not in written and written.isascii()


# -------------------------------------------------------------------------------------------------------------- logs

JOB = """
import json, logging, sys
from leam import joblog
joblog.start(sys.argv[1])
for name in json.loads(sys.argv[2]):
    logging.getLogger("leam").warning("%s (1 of 2): 3 images", name)
raise ValueError(f"no {name}") from KeyError(name)
"""


def test_no_name_forges_a_line_of_a_log(tmp_path):
    some = [*PIECES, "evil\nERROR: forged\x1b[2K", "a\u202eb", "evil\nValueError: forged"]
    command = [sys.executable, "-c", JOB, str(tmp_path / "job.log"), json.dumps(some)]
    job = subprocess.run(command, env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True)
    text = (tmp_path / "job.log").read_text(encoding="utf-8")
    assert job.returncode == 1 and text.replace("\n", "").isprintable()
    lines = text.split("\n")
    assert [line for line in lines if line.startswith("WARNING: ")] == lines[: len(some)]
    assert lines[lines.index("ValueError: no evil") + 1] == "    ValueError: forged"
    assert "ERROR: forged" not in lines and "ValueError: forged" not in lines
    assert lines[-2] == "    ValueError: forged"
    for name, line in zip(some, lines, strict=False):
        assert line.encode().decode() == f"WARNING: {names.printable(name)} (1 of 2): 3 images"


def test_a_line_says_ordinary_names_as_they_stand():
    for name in ("s000", "Å 漢", "José", "a b", "'s", "\\d"):
        assert names.printable(name) == name
    assert names.printable("a\nb\x1b\u202e") == r"a\nb\x1b\u202e"


# ----------------------------------------------------------------------------------------------------------- figures


def test_a_figure_shows_every_name_with_the_letters_that_it_has(tmp_path):
    shown = [plotting.shown_name(name) for name in MANY]
    assert all(0 < len(text) <= plotting.LONGEST_SHOWN + 1 and text.isprintable() for text in shown)
    assert plotting.shown_name("José") == "José" and plotting.shown_name("王") == r"\u738b"
    assert plotting.shown_name(100 * "a" + "z") == 20 * "a" + "…" + 19 * "a" + "z"
    with warnings.catch_warnings(), pyplot.rc_context(plotting.STYLE):
        warnings.simplefilter("error")  # a letter that the font lacks
        figure, axis = pyplot.subplots(figsize=(2, 2))
        axis.set_xticks(range(40), shown[:40], rotation=90)
        axis.set_title("\n".join(plotting.shown_name(piece) for piece in PIECES[:80]))
        plotting.save(figure, tmp_path / "f.png", tmp_path / "f.pdf")
    assert axis.get_xticklabels()[3].get_text() == shown[3]


def test_layers_are_told_apart_by_their_ends():
    assert plotting.short_name("layer1.0.conv1") == "layer1.0.conv1"
    assert plotting.short_name("/backbone/stage1/block0/conv1") == "…ge1/block0/conv1"
    assert plotting.short_name("a\nb") == r"a\nb" and set(POLARITIES) == set(map(plotting.short_name, POLARITIES))


# ------------------------------------------------------------------------------------------------------------- paths


def test_names_of_recognisers_that_paths_cannot_hold_are_told():
    assert names.path_faults(["a", "b.c-d_1", "0123456789" * (names.LONGEST // 10), "x" * 19]) == []
    for some, words in (
        (["Net", "other", "net"], "'Net' and 'net' differ in case alone"),
        (["éàü" * 17], "has 102 bytes; allowed: at most 100"),
        (["x" * 100], r"ends in 'x' over and over"),
        (["net-" + "ab" * 20], r"ends in 'ab' over and over"),
        (["a", "a.images"], r"'a.images' ends as a file of another recogniser may"),
    ):
        (fault,) = names.path_faults(some)
        assert words in fault
