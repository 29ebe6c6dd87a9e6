"""Figures show what the data say: which identities, where a map lies, and the same bytes for the same data."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

from leam import maps, plotting
from leam.analyses.examples import figure as examples_figure
from leam.analyses.regions import figure as regions_figure
from leam.analyses.regions import table as regions_table
from leam.analyses.retention import figure as retention_figure
from leam.files import sha256
from planted import make_counts


@pytest.fixture
def computed(tmp_path, faces_shard, narrow):
    output = tmp_path / "maps.h5"
    maps.compute_maps(faces_shard, output, narrow, maps.MapSettings(grid=56))
    return [str(output)], [str(faces_shard)]


def test_identities_are_drawn_with_the_seed(computed):
    drawn = {
        seed: [found.identity for found, _ in examples_figure.choose_shown_identities(*computed, 2, seed)]
        for seed in range(8)
    }
    assert drawn[0] == [found.identity for found, _ in examples_figure.choose_shown_identities(*computed, 2, 0)]
    assert len({tuple(names) for names in drawn.values()}) > 1
    assert all(len(set(names)) == 2 for names in drawn.values())
    everyone = examples_figure.choose_shown_identities(*computed, 9, 0)
    assert [found.identity for found, _ in everyone] == list("abcd")
    assert all(len(crops) == len(found.images) for found, crops in everyone)


def test_a_map_lies_over_its_crop_where_the_grid_has_it():
    placed = np.zeros((56, 56), np.float32)
    placed[10, 5] = 1.0
    figure, axis = pyplot.subplots()
    plotting.draw_map(axis, np.zeros((224, 224, 3), np.uint8), placed)
    left, right, bottom, top = axis.images[1].get_extent()
    assert (left, right, bottom, top) == (-0.5, 223.5, 223.5, -0.5)
    assert (np.argwhere(axis.images[1].get_array() == 1) == (10, 5)).all()
    pyplot.close(figure)


@pytest.mark.parametrize("kind", ["maps", "regions"])
def test_the_same_data_give_the_same_bytes(kind, computed, tmp_path):
    written = []
    for attempt in ("one", "two"):
        files = [tmp_path / f"{attempt}.{suffix}" for suffix in ("png", "pdf")]
        if kind == "maps":
            examples_figure.plot_maps(*computed, *files, polarity="loss", identities=1, images=2)
        else:
            table = regions_table.share_regions(make_counts()).assign(model="m")
            table.to_csv(tmp_path / "regions.csv", index=False)
            regions_figure.plot_regions(tmp_path / "regions.csv", *files, polarity="loss", confidence=0.95)
        written.append([file.read_bytes() for file in files])
    same = [one == two for one, two in zip(*written, strict=True)]  # not compared as wholes: pytest would diff them
    assert same == [True, True]
    assert written[0][0].startswith(b"\x89PNG") and written[0][1].startswith(b"%PDF")


def test_regions_of_one_identity_have_no_interval_and_still_a_figure(tmp_path):
    table = regions_table.share_regions(make_counts(1)).assign(model="m")
    table.to_csv(tmp_path / "regions.csv", index=False)
    regions_figure.plot_regions(
        tmp_path / "regions.csv", tmp_path / "a.png", tmp_path / "a.pdf", polarity="similarity", confidence=0.9
    )
    assert (tmp_path / "a.png").stat().st_size > 5000


# -------------------------------------------------------------------------------------------------------- retention


@pytest.fixture
def retention(tmp_path):
    """Two people: one keeps 3 of 5 images, one none of 2; a third loses an image only later."""
    (tmp_path / "retention.csv").write_text(
        "identity,linked,kept,discarded,kept_percent\n01,5,3,2,60.0\nNA,2,0,2,0.0\nc,2,2,0,100.0\nall,9,5,4,55.56\n"
    )
    (tmp_path / "discarded.csv").write_text(
        "stage,identity,image,reason\nfaces,01,a,no face\nfaces,01,b,too small: 20 px < 40\n"
        "faces,NA,a,too small: 9 px < 40\nfaces,NA,b,identity has fewer than two usable images\n"
        "faces,NA,,identity has fewer than two usable images\nmaps/m,c,a,embedding is zero or not finite\n"
    )
    return tmp_path / "retention.csv", tmp_path / "discarded.csv"


def test_reasons_are_counted_by_kind_for_every_identity(retention):
    table = pd.read_csv(retention[1], dtype=str, keep_default_na=False)
    found = retention_figure.count_reasons(table, pd.Index(["01", "NA", "c"], name="identity"))
    assert found.columns[0] == "too small" and found.to_numpy().sum() == 4
    assert found.loc["01"].to_dict() == {
        "too small": 1, "no face": 1, "identity has fewer than two usable images": 0
    }  # fmt: skip
    assert found.loc["c"].sum() == 0


def test_retention_is_drawn_beside_the_papers(retention, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(retention_figure, "save", lambda figure, *files: drawn.append(figure))
    retention_figure.plot_retention(*retention, tmp_path / "a.png", tmp_path / "a.pdf")
    total, each = drawn[0].axes
    assert [text.get_text() for text in total.texts] == ["55.6 % of 9 kept", "97.2 % of 13,838 kept"]
    labels = {text.get_text() for text in total.get_legend().get_texts()}
    assert {"kept: 5", "too small: 2", "no face: 1"} <= labels
    assert [label.get_text() for label in each.get_xticklabels()] == ["01", "c", "NA"]
    assert sum(bar.get_height() for bar in each.patches) == 9
    pyplot.close(drawn[0])


def test_retention_without_any_discarded_image(tmp_path):
    (tmp_path / "r.csv").write_text("identity,linked,kept,discarded,kept_percent\na,2,2,0,100.0\nall,2,2,0,100.0\n")
    (tmp_path / "d.csv").write_text("stage,identity,image,reason\n")
    written = []
    for attempt in ("one", "two"):
        files = [tmp_path / f"{attempt}.{suffix}" for suffix in ("png", "pdf")]
        retention_figure.plot_retention(tmp_path / "r.csv", tmp_path / "d.csv", *files)
        written.append([sha256(file) for file in files])
    assert written[0] == written[1]


@pytest.mark.parametrize("name", [r"$\bad{$", "$x$", r"\frac{1}", "a_$b^c$", "%$#&~"])
def test_a_name_is_no_formula(tmp_path, name):
    """Written as it stands, and the same in both files; Matplotlib would read what lies between dollars."""
    with pyplot.rc_context(plotting.STYLE):
        figure, axis = pyplot.subplots()
        axis.set_title(name)
        axis.plot([1, 10], [0, 1], label=name)
        axis.legend()
        plotting.save(figure, tmp_path / "f.png", tmp_path / "f.pdf")
    assert not axis.title.get_parse_math() and (tmp_path / "f.png").stat().st_size > 1000


def test_no_axis_writes_its_numbers_as_formulas():
    """What a logarithmic axis writes by itself is a formula, which figures do not read (``STYLE``)."""
    sources = [path.read_text() for path in Path(plotting.__file__).parent.rglob("figure.py")]
    logarithmic = [text for text in sources if 'scale="log"' in text or 'scale("log")' in text]
    assert len(logarithmic) >= 4
    for text in logarithmic:
        assert "set_xticks(" in text or "FormatStrFormatter" in text or "StrMethodFormatter" in text
