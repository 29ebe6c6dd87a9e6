"""Similarity against the difference in age beside the paper's (table 24)."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from leam.analyses.ages import NO_AGES, PAPER_PERCENT, UNOCCLUDED
from leam.controls import IMAGE, RANDOM
from leam.plotting import INK, MUTED, STYLE, UNTRAINED_NOTE, or_note, rows_to_show, save
from leam.tables import read_output

CONDITIONS = {  # (kind, percent): label, colour, line
    (UNOCCLUDED, 0.0): ("unoccluded", INK, "-"),
    (RANDOM, 0.1): ("random, 0.1 %", "#8cbbe0", "-"),
    (RANDOM, 1.0): ("random, 1 %", "#2a6fb0", "-"),
    (IMAGE, 0.1): ("guide's maps, 0.1 %", "#eda13f", "-"),
    (IMAGE, 1.0): ("guide's maps, 1 %", "#c2410c", "-"),
}


@or_note
def plot_ages(ages: str | Path, png: str | Path, pdf: str | Path, *, polarity: str, confidence: float) -> None:
    """Cosine against the difference in age, one panel per model (paper figure 11; its table 24 dashed).

    ages : table24.csv of ``tabulate_ages``, of one fill; intervals are bands of the unoccluded pairs alone
    """
    table = read_output(ages).fillna(dict.fromkeys(("polarity", "fill"), ""))
    table = rows_to_show(table[table["polarity"].isin([polarity, ""])], NO_AGES)
    models = list(pd.unique(table["model"]))
    columns = min(3, len(models))
    rows = -(-len(models) // columns)
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            rows, columns, figsize=(4.2 * columns, 0.8 + 2.9 * rows), squeeze=False, sharex=True, layout="constrained"
        )
        for axis, model in zip(axes.flat, models, strict=False):
            of_model = table[table["model"] == model]
            _plot_years(axis, of_model)
            axis.set_title(model + UNTRAINED_NOTE * bool(of_model["untrained"].any()), loc="left")
        for axis in axes.flat[len(models) :]:
            axis.set_visible(False)
        bands = f"band: {100 * confidence:g} % over identities"
        fills = " and ".join(fill for fill in pd.unique(table["fill"]) if fill)
        figure.supxlabel(f"difference in age, years ({bands}; polarity {polarity}; fill {fills})", fontsize=8)
        figure.supylabel("cosine similarity", fontsize=8)
        handles = [Line2D([], [], color=c, ls=line, lw=1.3, label=label) for label, c, line in CONDITIONS.values()]
        label = f"paper, guide's maps, {PAPER_PERCENT:g} %"
        handles.append(Line2D([], [], color=MUTED, ls="--", lw=1, label=label))
        figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False)
        save(figure, png, pdf)


def _plot_years(axis: Axes, table: pd.DataFrame) -> None:
    for (kind, percent), (_, colour, line) in CONDITIONS.items():
        rows = table[(table["kind"] == kind) & np.isclose(table["percent"], percent)]
        rows = rows.sort_values("age_difference_years")
        years = rows["age_difference_years"]
        axis.plot(years, rows["cosine"], line, marker="o", ms=1.8, lw=1.1, color=colour)
        if kind == UNOCCLUDED:
            axis.fill_between(years, rows["cosine_low"], rows["cosine_high"], color=colour, alpha=0.12, lw=0)
        if (kind, percent) == (IMAGE, PAPER_PERCENT):
            axis.plot(years, rows["paper"], color=MUTED, lw=1, ls="--")
