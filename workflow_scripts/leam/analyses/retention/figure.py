"""Images kept and discarded by reason, beside the paper's share."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes

from leam import paper
from leam.analyses.retention import read_retention
from leam.plotting import INK, KEPT, STYLE, save, shown_name
from leam.reasons import reason_kind
from leam.tables import read_output

BEFORE_MAPS = ("faces", "duplicates")  # stages that decide whether an image is used at all
REASONS = ("#c2410c", "#e08e45", "#7a5195", "#4d7c0f", "#b0413e", "#0f766e", "#a16207", "#64748b")


def plot_retention(retention: str | Path, discarded: str | Path, png: str | Path, pdf: str | Path) -> None:
    """Images kept and discarded by reason: in total beside the paper's 97.2 %, and of every identity.

    retention, discarded : the tables of ``tabulate_retention``
    """
    people, _ = read_retention(retention)
    reasons = count_reasons(read_output(discarded), people.index)
    counts = pd.concat([people[["kept"]], reasons], axis=1)
    colours = {"kept": KEPT} | {name: REASONS[k % len(REASONS)] for k, name in enumerate(reasons)}
    with pyplot.rc_context(STYLE):
        figure, (total, each) = pyplot.subplots(
            2, 1, figsize=(8, 4.6), layout="constrained", gridspec_kw={"height_ratios": [1, 1.5]}
        )
        _plot_total_retention(total, counts.sum(), colours)
        _plot_each_retention(each, counts, colours)
        save(figure, png, pdf)


def count_reasons(discarded: pd.DataFrame, identities: pd.Index) -> pd.DataFrame:
    """Images of each identity discarded before the maps, one column per kind of reason, the most frequent first."""
    rows = discarded[discarded["stage"].isin(BEFORE_MAPS) & (discarded["image"] != "")]
    counts = pd.crosstab(rows["identity"], rows["reason"].map(reason_kind)).reindex(identities, fill_value=0)
    return counts[counts.sum().sort_values(ascending=False, kind="stable").index]


def _plot_total_retention(axis: Axes, counts: pd.Series, colours: dict[str, str]) -> None:
    """Two bars of 100 %: this run by reason, and the paper's."""
    left, images = 0.0, counts.sum()
    for name, count in counts.items():
        percent = 100 * count / max(images, 1)
        axis.barh(1, percent, left=left, color=colours[name], label=f"{name}: {count:,}", height=0.6)
        left += percent
    share = 100 * paper.IMAGES_KEPT / paper.IMAGES_LINKED
    axis.barh(0, share, color=KEPT, alpha=0.55, height=0.6)
    axis.barh(0, 100 - share, left=share, color="#dedede", height=0.6, label="paper, discarded")
    kept = 100 * counts["kept"] / max(images, 1)
    for y, percent, of_images, colour in ((1, kept, images, "white"), (0, share, paper.IMAGES_LINKED, INK)):
        axis.text(1, y, f"{percent:.1f} % of {of_images:,} kept", va="center", color=colour)
    axis.set_yticks([1, 0], ["this run", "the paper"])
    axis.set(xlim=(0, 100), xlabel="images, percent")
    axis.set_title("Images kept, and discarded by reason", loc="left")
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _plot_each_retention(axis: Axes, counts: pd.DataFrame, colours: dict[str, str]) -> None:
    """A bar for each identity, those that keep most images first."""
    ordered = counts.sort_values("kept", ascending=False, kind="stable")
    place, bottom = np.arange(len(ordered)), np.zeros(len(ordered))
    for name in ordered:
        axis.bar(place, ordered[name], bottom=bottom, color=colours[name], width=1.0 if len(ordered) > 60 else 0.8)
        bottom += ordered[name].to_numpy()
    names = [shown_name(name) for name in ordered.index]
    named = len(names) if len(names) <= 40 else 0
    axis.set_xticks(place[:named], names[:named], rotation=90)
    axis.set(xlim=(-0.6, len(names) - 0.4), ylabel="images")
    axis.set_xlabel("" if len(names) <= 40 else f"{len(names):,} identities")
    lost = int((counts["kept"] == 0).sum())
    axis.set_title(f"Of each identity ({lost} of {len(names):,} without any)", loc="left")
