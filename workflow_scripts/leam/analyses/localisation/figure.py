"""Enrichment of the true region by layer, and maps over faces of the world."""

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.ticker import StrMethodFormatter

from leam import paper, plotting, regions, storage
from leam.analyses.examples import figure as examples_figure
from leam.analyses.localisation import GENERAL, MEAN, TRAINED, UNTRAINED
from leam.controls import CENTRE, RANDOM, SHUFFLED
from leam.methods import POLARITIES
from leam.regions import REGIONS, WHOLE_MODEL
from leam.statistics import verdict
from leam.tables import read_output

LINES = {  # kind: label, colour, line style
    TRAINED: ("trained in this world", "#c2410c", "-"),
    GENERAL: ("trained on people who differ everywhere", "#2a6fb0", "-"),
    SHUFFLED: ("shuffled weights", "#6b7280", "--"),
    UNTRAINED: ("untrained (random weights)", "#6b7280", ":"),
    MEAN: ("mean map of the first", "#e8a317", "--"),
    CENTRE: ("centre disc", "#3f3f46", "-."),
    RANDOM: ("random pixels", "#b8b8b8", "-"),
}
SHOWN = 2  # people in the strip of pictures, one picture each
FLOOR = 0.05  # enrichment below it is drawn there, on the logarithmic axis


def plot_localisation(
    found: str | Path,
    shares: str | Path,
    faces_files: list[str],
    maps_files: list[str],
    png: str | Path,
    pdf: str | Path,
    *,
    seed: int = 0,
) -> None:
    """Enrichment of the true region by layer, a row of panels per world, a panel per polarity; top 1 %. Beside them
    pictures of two people, drawn with the seed, under the layer where the region is most enriched in each polarity.

    found, shares : the tables of ``tabulate_localisation``; faces_files, maps_files : of the worlds, in their order
    """
    table, by_region = (read_output(path, dtype={"threshold": str}) for path in (found, shares))
    table = table[(table["threshold"] == regions.TOP_1) & (table["layer"] != WHOLE_MODEL)]
    worlds = list(pd.unique(table["world"]))
    with pyplot.rc_context(plotting.STYLE):
        figure = pyplot.figure(figsize=(13.5, 0.9 + 3.3 * len(worlds)), layout="constrained")
        rows = figure.subfigures(len(worlds), 1, squeeze=False)[:, 0]
        for row, world, faces_file, maps_file in zip(rows, worlds, faces_files, maps_files, strict=True):
            left, right = row.subfigures(1, 2, width_ratios=[1.75, 1])
            of_world = table[table["world"] == world]
            axes = left.subplots(1, 2, sharey=True)
            for axis, polarity in zip(axes, POLARITIES, strict=True):
                _plot_layers(axis, by_region[by_region["world"] == world], world, polarity)
                here = of_world[of_world["polarity"] == polarity]
                axis.set_title(f"{polarity}: {_say_what_holds(here)}", loc="left", fontsize=8)
            axes[0].set_ylabel("enrichment of the region")
            title = paper.REGION_TITLES[REGIONS.index(world)]
            left.suptitle(
                f"Identity in the {title} only. AUC of the recogniser trained for it: {of_world['auc'].iloc[0]:.2f}",
                x=0.01,
                ha="left",
                fontsize=10,
            )
            _plot_examples(right, of_world, faces_file, maps_file, seed)
        handles, labels = axes[0].get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        figure.legend(unique.values(), unique.keys(), loc="outside lower left", ncols=4, frameon=False)
        plotting.save(figure, png, pdf)


def _say_what_holds(found: pd.DataFrame) -> str:
    """Of one panel's rows of localisation.csv: how many layers are above controls, by intervals and by tests."""
    above = [found[f"above_{control}"].sum() for control in ("recognisers", CENTRE)]
    counts = f"of {len(found)} layers {above[0]} above all recognisers, {above[1]} above the disc"
    tested = f"above every control, after Holm's correction: {verdict(found.drop(columns='difference'))}"
    return f"{counts}\n{textwrap.fill(tested, 66)}"


def _plot_layers(axis: Axes, shares: pd.DataFrame, world: str, polarity: str) -> None:
    chosen = (shares["polarity"] == polarity) & (shares["threshold"] == regions.TOP_1) & (shares["region"] == world)
    shares = shares[chosen & (shares["layer"] != WHOLE_MODEL)]
    for kind, (label, colour, style) in LINES.items():
        for _, rows in shares[shares["kind"] == kind].groupby("model", sort=False):
            x, y = np.arange(len(rows)), rows["enrichment"].clip(lower=FLOOR)
            own = kind == TRAINED
            axis.plot(
                x, y, style, color=colour, label=label, lw=1.8 if own else 1.1, marker="o" * own, ms=4, zorder=2 + own
            )
            if own:
                low, high = (rows[f"enrichment_{side}"].clip(lower=FLOOR) for side in ("low", "high"))
                axis.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
    axis.axhline(1, color=plotting.INK, lw=0.6)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    layers = rows["layer"].map(plotting.shown_name)
    axis.set_xticks(x, layers, rotation=40, ha="right", rotation_mode="anchor", fontsize=7)


def _plot_examples(figure: SubFigure, found: pd.DataFrame, faces_file: str, maps_file: str, seed: int) -> None:
    """People down; the picture and its maps across, the true region outlined."""
    world, axes = found["world"].iloc[0], figure.subplots(SHOWN, 3)
    best = {p: rows.loc[rows["enrichment"].idxmax(), "layer"] for p, rows in found.groupby("polarity", sort=False)}
    people = examples_figure.choose_shown_identities([maps_file], [faces_file], SHOWN, seed)
    with storage.open_shard(maps_file, "maps") as shard, storage.open_shard(faces_file, "faces") as parsed:
        grid = storage.read_grid(shard)
        for row, (person, crops) in zip(axes, people, strict=True):
            used = storage.used_faces(shard, parsed, person.identity)
            outline = storage.read_regions(parsed, person.identity)[used][0] == REGIONS.index(world)
            row[0].imshow(crops[0])
            for axis, polarity in zip(row[1:], POLARITIES, strict=True):
                image_map = person.maps[polarity][best[polarity]][0]
                plotting.draw_map(axis, crops[0], grid.place(image_map, best[polarity]))
            for axis in row:
                axis.contour(outline, levels=[0.5], colors="#36d6e7", linewidths=0.8)
                axis.set_axis_off()
    for axis, title in zip(
        axes[0], ("picture", *(f"{p}\n{plotting.shown_name(best[p])}" for p in POLARITIES)), strict=True
    ):
        axis.set_title(title, fontsize=7)
