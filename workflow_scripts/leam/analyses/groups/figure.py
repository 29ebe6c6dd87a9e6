"""Drops by group of people beside the paper's (tables 22 and 23)."""

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes

from leam import paper
from leam.analyses.groups.table import GENDER_TABLES
from leam.analyses.occlusion.figure import (
    DROP_LABELS,
    label_models,
    model_panels,
    read_guided_table,
    scale_percents,
)
from leam.controls import IMAGE, RANDOM
from leam.demographics import ALLOWED
from leam.plotting import STYLE, legend_above, or_note, rows_to_show, save
from leam.statistics import LEVEL, UNTESTED, verdict

COLOURS = ("#c2410c", "#2a6fb0", "#5b8c5a", "#8b63b8")  # of the groups of an attribute, in its order
KIND_LINES = {IMAGE: ("-", "guide's maps"), RANDOM: (":", "random pixels")}
PAPER_TABLES = {group: table for table, group in GENDER_TABLES.items()}


@or_note
def plot_groups(
    drops: str | Path,
    significance: str | Path,
    png: str | Path,
    pdf: str | Path,
    *,
    attribute: str,
    guide: str,
    fill: str,
    confidence: float,
) -> None:
    """Drop against the occluded share, a line per group: the guide's image map (solid) and random pixels (dotted).

    fill : what hides the pixels
    drops, significance : drops_by_group.csv and significance.csv. A filled marker: the groups differ at this percent,
    by the test over identities after Holm's correction (any two of several groups). A line beneath the title says what
    the others could have shown. The paper's genders are dashed.
    """
    table, tests = rows_to_show(read_guided_table(drops)), read_guided_table(significance)
    known = (table["attribute"] == attribute) & table["group"].isin(ALLOWED[attribute])
    table = rows_to_show(table[known], f"of nobody with maps the {attribute} is known: see tables/people.csv")
    image = (table["kind"] == IMAGE) & (table["guide"] == guide)
    table = table[(image | (table["kind"] == RANDOM)) & (table["fill"] == fill)]
    tests = tests[(tests["attribute"] == attribute) & (tests["unit"] == "identity") & (tests["measure"] == "drop")]
    tests = tests[(tests["fill"] == fill) & tests["kind"].isin(KIND_LINES)]
    with pyplot.rc_context(STYLE):
        figure, panels = model_panels(table, 5.2, 3.1)
        for (model, _, polarity), axis in panels.items():
            rows = table[(table["model"] == model) & table["polarity"].isin([polarity, ""])]
            of_panel = tests[(tests["model"] == model) & tests["guide"].isin([guide, ""])]
            of_panel = of_panel[of_panel["polarity"].isin([polarity, ""])]
            for group, colour in zip(ALLOWED[attribute], COLOURS, strict=False):
                _plot_group(axis, rows[rows["group"] == group], of_panel, group, colour)
                _plot_paper(axis, model, group, colour)
            words = textwrap.fill(_say_what_is_not_shown(of_panel), 60)
            axis.set_title(f"{axis.get_title(loc='left')}\n{words}", loc="left")
            scale_percents(axis, rows["percent"], confidence)
            axis.set_xlim(rows["percent"].min() * 0.85, rows["percent"].max() * 1.15)
        label_models(panels, DROP_LABELS["drop"])
        legend_above(figure, panels, 3)
        save(figure, png, pdf)


def _say_what_is_not_shown(tests: pd.DataFrame) -> str:
    """Of a panel's tests, both kinds and all percents: what those that do not hold could have shown."""
    others = tests[~(tests["p_holm"] < LEVEL)]
    if len(others):
        return f"not shown: {verdict(others)}"
    return "all differences hold" if len(tests) else UNTESTED


def _plot_group(axis: Axes, rows: pd.DataFrame, tests: pd.DataFrame, group: str, colour: str) -> None:
    for kind, (line, label) in KIND_LINES.items():
        of_kind = rows[rows["kind"] == kind].sort_values("percent")
        if not len(of_kind):
            continue
        people = f"{of_kind['identities'].max()} people"
        axis.plot(of_kind["percent"], of_kind["drop"], line, lw=1.3, color=colour, label=f"{group} ({people}), {label}")
        axis.fill_between(of_kind["percent"], of_kind["drop_low"], of_kind["drop_high"], color=colour, alpha=0.12, lw=0)
        marked = tests[(tests["kind"] == kind) & (tests["p_holm"] < LEVEL)]
        marked = marked[(marked["group_a"] == group) | (marked["group_b"] == group)]
        filled = of_kind["percent"].isin(marked["percent"])
        for chosen, face in ((filled, colour), (~filled, "white")):
            axis.plot(of_kind["percent"][chosen], of_kind["drop"][chosen], "o", ms=3.5, color=colour, mfc=face, mew=0.8)


def _plot_paper(axis: Axes, model: str, group: str, colour: str) -> None:
    """The paper's drop under its guide by gender: the same recogniser's, or the mean of its nine."""
    if group not in PAPER_TABLES:
        return
    table = paper.read_table(PAPER_TABLES[group])
    table = table[table["occlusion"] == paper.PAPER_LEAM]
    wanted = table[["occlusion_percent"]].drop_duplicates().assign(model=model, cosine_drop=np.nan)
    found = paper.beside_models(wanted, table, ["model", "occlusion_percent"], "cosine_drop")
    label = f"{group}, paper ({found['paper_of'].iloc[0]})"
    axis.plot(found["occlusion_percent"], found["paper"], color=colour, lw=0.9, ls=(0, (4, 2)), label=label)
