"""How far can this instrument be believed? Agreement of fills, power of the chain, gain of the layers."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes

from leam.analyses.calibration import (
    AGREEMENT,
    ATTAINABLE,
    CENTRE_GAIN,
    CHAIN_POWER,
    CHAIN_WORLDS,
    ENOUGH_POWER,
    EVERYBODY,
    GAIN,
    HALVES,
    MOST_FALSE,
    RUN_PEOPLE,
)
from leam.methods import POLARITIES
from leam.plotting import INK, MUTED, STYLE, save, shown_name
from leam.tables import read_output

FILL_COLOURS = ("#c2410c", "#2a6fb0", "#5b8c5a", "#8b63b8", "#a16207")  # of fills, in their order
POLARITY_LINES = dict(zip(POLARITIES, ("-", "--"), strict=True))


def plot_calibration(
    calibration: str | Path, png: str | Path, pdf: str | Path, *, placement: str, target: str, images: int
) -> None:
    """Three questions, three panels, of the maps of one placement and target: does a fill order maps as twins do? How
    often is a world found to be person-specific? How much of the true effect do the largest pixels hold?

    calibration : calibration.csv; images : per person in the worlds of the second panel
    """
    table = read_output(calibration)
    table = table[(table["placement"] == placement) & (table["target"] == target)]
    fills = list(dict.fromkeys(table.loc[table["measure"] == AGREEMENT, "fill"]))
    colours = dict(zip(fills, FILL_COLOURS, strict=False))
    power = table[(table["measure"] == CHAIN_POWER) & (table["images"] == images)]
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(1, 3, figsize=(13.5, 4.2), layout="constrained", width_ratios=(0.8, 1.1, 1.2))
        _plot_agreement(axes[0], table[table["measure"] == AGREEMENT], colours)
        _plot_power(axes[1], power, colours, images)
        _plot_gain(axes[2], table[(table["measure"] == GAIN) & (table["part"] == EVERYBODY)])
        figure.suptitle(
            f"How far can this instrument be believed? Rendered people, maps {placement}, target {target}",
            x=0.01,
            ha="left",
            fontsize=10,
        )
        save(figure, png, pdf)


def _plot_agreement(axis: Axes, table: pd.DataFrame, colours: dict[str, str]) -> None:
    models = list(dict.fromkeys(table["model"]))
    for across, model in enumerate(models):
        for number, (fill, colour) in enumerate(colours.items()):
            rows = table[(table["model"] == model) & (table["fill"] == fill)].set_index("part")["value"]
            place = across + (number - (len(colours) - 1) / 2) * 0.3
            axis.bar(place, rows[EVERYBODY], 0.26, color=colour, label=fill if not across else None)
            axis.plot([place] * 2, rows[list(HALVES)], "o", ms=4, mfc="white", color=INK, mew=0.8)
    axis.axhline(0, color=MUTED, lw=0.6)
    axis.set_xticks(range(len(models)), [shown_name(model) for model in models])
    axis.set(ylim=(min(0, axis.get_ylim()[0]), 1), ylabel="Kendall's tau with the order under twins")
    axis.set_title("Does a fill order maps as the truth does?\n(dots: each half of the people)", loc="left", fontsize=8)
    axis.legend(frameon=False, loc="upper left", ncols=2, title="fill", fontsize=7, title_fontsize=7)


def _plot_power(axis: Axes, table: pd.DataFrame, colours: dict[str, str], images: int) -> None:
    signature = table[table["world"] == CHAIN_WORLDS[0]]
    others = table[table["world"] != CHAIN_WORLDS[0]]
    for (fill, polarity), rows in signature.groupby(["fill", "polarity"], sort=False):
        rows = rows.sort_values("people")
        colour, line = colours[fill], POLARITY_LINES[polarity]
        axis.plot(
            rows["people"], rows["value"], lw=1.8, marker="o", ms=4, label=f"{fill}, {polarity}", color=colour, ls=line
        )
        null = others[(others["fill"] == fill) & (others["polarity"] == polarity)]
        null = null.groupby("people")["value"].mean()
        axis.plot(null.index, null, lw=0.9, marker="x", ms=4, color=colour, ls=line)
    axis.axhline(100 * ENOUGH_POWER, color=MUTED, lw=0.6, ls=":")
    axis.axhline(100 * MOST_FALSE, color=MUTED, lw=0.6, ls=":")
    axis.set_xscale("log")
    axis.set_xticks(RUN_PEOPLE, [str(people) for people in RUN_PEOPLE])
    axis.minorticks_off()
    axis.set(ylim=(-3, 103), xlabel="people of a run", ylabel="runs that say person-specific, percent")
    axis.set_title(
        "Is a person-specific world (dots, thick) found, and\n"
        f"a world of one region (crosses, thin) not? {images} images each",
        loc="left",
        fontsize=8,
    )
    axis.legend(frameon=False, fontsize=7)


def _plot_gain(axis: Axes, table: pd.DataFrame) -> None:
    layers = list(dict.fromkeys(table.loc[~table["layer"].isin([ATTAINABLE, CENTRE_GAIN]), "layer"]))
    for (model, _), colour in zip(table.groupby("model", sort=False), FILL_COLOURS, strict=False):
        rows = table[table["model"] == model]
        for polarity in POLARITIES:
            of = rows[rows["polarity"] == polarity].set_index("layer").reindex(layers)
            x = np.arange(len(layers))
            axis.plot(
                x, of["value"], POLARITY_LINES[polarity], color=colour, marker="o", ms=3, label=f"{model}, {polarity}"
            )
            axis.fill_between(x, of["low"].astype(float), of["high"].astype(float), color=colour, alpha=0.12, lw=0)
        free = rows.set_index("layer")["value"]
        axis.axhline(free[ATTAINABLE], color=colour, lw=0.8, ls=":")
        axis.axhline(free[CENTRE_GAIN], color=colour, lw=0.8, ls="-.")
    axis.axhline(1, color=INK, lw=0.6)
    axis.set_xticks(
        range(len(layers)), map(shown_name, layers), rotation=40, ha="right", rotation_mode="anchor", fontsize=7
    )
    axis.set(ylim=(0, 1.25 * axis.get_ylim()[1]), ylabel="gain of the top 5 % over random pixels")
    axis.set_title(
        "How much of the true effect of regions do maps hold?\n"
        "(dotted: the most there is; dash-dotted: the centre disc)",
        loc="left",
        fontsize=8,
    )
    axis.legend(frameon=False, fontsize=7, loc="upper right", ncols=2)
