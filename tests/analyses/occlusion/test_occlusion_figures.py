"""The figures of occlusion are drawn from the tables alone, say what is untrained, and are the same to the byte."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

from leam.analyses.occlusion import figure as occlusion_figure
from leam.statistics import CORRECTED
from test_occlusion_tables import NAMES, folder  # noqa: F401  (folder is a fixture)


@pytest.fixture
def paths(folder):  # noqa: F811
    return {name: folder / f"{name}.csv" for name in NAMES}


def draw(paths, to):
    to.mkdir()

    def files(*names):
        return {f"{name}_{kind}": str(to / f"{name}.{kind}") for name in names for kind in ("png", "pdf")}

    occlusion_figure.plot_occlusion(
        paths["occlusion"], paths["decisions"], files("drop", "lost"), guide="IR_CASIA", fill="black"
    )
    occlusion_figure.plot_transfer(paths["transfer"], to / "transfer.png", to / "transfer.pdf", percent=1, fill="mean")
    occlusion_figure.plot_person_specific(
        paths["occlusion"], paths["person_specific"], files("chain", "layers"), percent=1, fill="mean"
    )
    return {path.name: path.read_bytes() for path in to.iterdir() if path.suffix != ".sha256"}


@pytest.mark.slow
def test_the_same_tables_give_the_same_bytes(paths, tmp_path):
    one, two = draw(paths, tmp_path / "one"), draw(paths, tmp_path / "two")
    assert len(one) == 10 and min(len(content) for content in one.values()) > 5000
    assert [one[name] == two[name] for name in one] == [True] * 10


def test_beneath_a_panel_stands_what_the_calibration_allows():
    rows = [("m", "mean", "loss", "cannot tell", 23.4, 2.2), ("m", "black", "loss", "cannot tell", np.nan, np.nan)]
    columns = ["model", "fill", "polarity", "verdict", "power_percent", "false_percent"]
    verdicts = pd.DataFrame(rows, columns=columns)
    said = occlusion_figure._verdict_of(verdicts, "m", "mean", "loss")
    assert said == "CANNOT TELL: such a run finds a person-specific world\nin 23 %, and calls null ones so in 2 %"
    assert occlusion_figure._verdict_of(verdicts, "m", "black", "loss") == "CANNOT TELL (not calibrated)"
    assert occlusion_figure._verdict_of(verdicts, "n", "black", "loss") == ""


def test_titles_say_what_is_untrained(paths):
    table = occlusion_figure.read_guided_table(paths["occlusion"])
    figure, panels = occlusion_figure.model_panels(table, 4, 3)
    titles = {key: axis.get_title(loc="left") for key, axis in panels.items()}
    assert titles["VGG_16", "mean", "loss"] == "VGG_16 (untrained: random weights)\nfill mean, polarity loss"
    assert titles["mine", "black", "similarity"] == "mine\nfill black, polarity similarity"
    pyplot.close(figure)


def test_curves_show_the_guide_the_controls_and_the_paper(paths):
    table = occlusion_figure.read_guided_table(paths["occlusion"])
    figure, axis = pyplot.subplots()
    occlusion_figure._plot_kinds(
        axis,
        table[(table["model"] == "VGG_16") & (table["polarity"] != "loss") & (table["fill"] == "black")],
        "VGG_16",
        "IR_CASIA",
        "drop",
    )
    occlusion_figure._plot_paper(axis, "VGG_16", 0.1, 1.0)
    lines = {line.get_label(): line for line in axis.get_lines()}
    assert len(lines) == 1 + 7 + 2
    assert list(lines["guide IR_CASIA: its image"].get_xdata()) == [0.1, 1.0]
    dashed = lines["paper, this recogniser: guide IR_CASIA"]
    assert dashed.get_ydata()[-1] == 0.0969 and dashed.get_xdata()[0] == 0.1
    occlusion_figure._plot_paper(axis, "mine", 0.1, 1.0)
    assert axis.get_lines()[-2].get_ydata()[-1] == 0.1148
    pyplot.close(figure)


@pytest.mark.parametrize(
    ("difference", "p", "attainable", "words"),
    [
        (0.02, 0.01, 0.001, "holds"),
        (-0.02, 0.01, 0.001, "reversed"),
        (0.02, 0.2, 0.001, "would have seen 0.031"),
        (0.02, 0.2, 0.03, "too few people by itself"),
        (0.02, 0.75, 0.75, "too few people"),
        (0.02, float("nan"), float("nan"), "not tested"),
    ],
)
def test_a_step_is_said_in_words(difference, p, attainable, words):
    detectable = 0.0312 if attainable < 0.01 else float("nan")
    step = pd.DataFrame([(difference, p, attainable, detectable)], columns=["difference", "p_holm", *CORRECTED[2:]])
    said = occlusion_figure._describe_step(step)
    assert said.endswith(words) and said.startswith(f"{difference:+}") and "nan" not in said
