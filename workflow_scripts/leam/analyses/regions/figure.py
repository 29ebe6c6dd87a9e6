"""Shares of the regions against their area, and enrichment by layer; shares by the size of the pixel set."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm

from leam import paper
from leam.analyses.regions.table import with_threshold_percent
from leam.plotting import (
    INK,
    MUTED,
    POLARITY_COLOURS,
    SETS,
    STYLE,
    UNTRAINED_NOTE,
    or_note,
    region_titles,
    rows_to_show,
    save,
    shown_name,
)
from leam.regions import FULL, REGIONS, TOP_1, WHOLE_MODEL
from leam.tables import read_output

FULL_PLACE = 40.0  # where the full activation stands on a scale of percents up to 10


@or_note
def plot_regions(regions: str | Path, png: str | Path, pdf: str | Path, *, polarity: str, confidence: float) -> None:
    """Shares per region against the regions' area, and enrichment per layer, one row of panels per model.

    regions : regions.csv of ``tabulate_regions``. A region without any area in these images is left out.
    """
    table = rows_to_show(read_output(regions, dtype={"threshold": str}))
    table = table[(table["polarity"] == polarity) & (table["area_percent"] > 0)]
    models = list(pd.unique(table["model"]))
    shown = [region for region in REGIONS if region in set(table["region"])]
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            len(models),
            2,
            figsize=(11, 0.9 + 3.9 * len(models)),
            squeeze=False,
            layout="constrained",
            gridspec_kw={"width_ratios": [1, 1.25]},
        )
        for row, model in zip(axes, models, strict=True):
            of_model = table[table["model"] == model]
            title = model + UNTRAINED_NOTE * bool(of_model["untrained"].any())
            _plot_shares(row[0], of_model[of_model["layer"] == WHOLE_MODEL], shown, f"{100 * confidence:g} % interval")
            row[0].set_title(f"{title}: where the activated pixels are", loc="left")
            _plot_enrichment(row[1], of_model, shown)
            row[1].set_title(f"{title}: enrichment of the top 1 %", loc="left")
        save(figure, png, pdf)


def _plot_shares(axis: Axes, table: pd.DataFrame, regions: list[str], interval: str) -> None:
    """Markers with intervals for the pixel sets, a bar for the area: what chance alone would give."""
    place = np.arange(len(regions))[::-1]
    area = table[table["threshold"] == FULL].set_index("region")["area_percent"].reindex(regions)
    axis.barh(place, area, color="#dedede", height=0.75, label="area (base rate)")
    for offset, (threshold, (label, colour)) in zip((0.16, -0.16), SETS.items(), strict=True):
        rows = table[table["threshold"] == threshold].set_index("region").reindex(regions)
        spread = np.abs(rows[["percent_low", "percent_high"]].to_numpy().T - rows["percent"].to_numpy())
        known = ~np.isnan(spread)
        axis.errorbar(
            rows["percent"],
            place + offset,
            xerr=np.nan_to_num(spread),
            fmt="o",
            ms=3.5,
            lw=1,
            color=colour,
            label=label,
        )
    axis.set_yticks(place, region_titles(regions))
    axis.set_xlim(left=0)
    axis.set_xlabel("share of pixels, percent" + (f"; {interval} over identities" if known.any() else ""))
    axis.legend(frameon=False, loc="lower right")


def _plot_enrichment(axis: Axes, table: pd.DataFrame, regions: list[str]) -> None:
    """log2 of share / area in the top 1 %: 0 is chance; a dot marks intervals that include it."""
    top = table[table["threshold"] == TOP_1]
    layers = list(pd.unique(top["layer"]))
    ratio, low, high = (
        top.pivot(index="layer", columns="region", values=name).reindex(index=layers, columns=regions).to_numpy()
        for name in ("enrichment", "enrichment_low", "enrichment_high")
    )
    with np.errstate(divide="ignore"):
        shown = np.clip(np.log2(ratio), -4, 4)
    image = axis.imshow(shown, cmap="RdBu_r", norm=TwoSlopeNorm(0, -4, 4), aspect="auto")
    for y, x in zip(*np.nonzero((low <= 1) & (high >= 1)), strict=True):
        axis.plot(x, y, marker=".", ms=3, color=INK)
    axis.set_xticks(range(len(regions)), region_titles(regions), rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(
        range(len(layers)), ["whole model" if layer == WHOLE_MODEL else shown_name(layer) for layer in layers]
    )
    axis.set_xlabel("1 is chance; a dot: the interval includes it", labelpad=2)
    bar = axis.figure.colorbar(image, ax=axis, fraction=0.03, pad=0.02)
    bar.set_ticks([-4, -2, 0, 2, 4], labels=["≤ 1/16", "1/4", "1", "4", "≥ 16"])


@or_note
def plot_thresholds(
    regions: str | Path, png: str | Path, pdf: str | Path, *, model: str, confidence: float, columns: int = 5
) -> None:
    """Share of each region against the size of the pixel set, both polarities, the paper's tables 12-20 dashed.

    regions : regions.csv of ``tabulate_regions``. A region without any area in these images is left out.
    """
    table = read_output(regions, dtype={"threshold": str})
    table = rows_to_show(table[table["model"] == model])
    table = table[(table["layer"] == WHOLE_MODEL) & (table["area_percent"] > 0)]
    keys = ["model", "region", "threshold_percent"]
    table = paper.beside_models(with_threshold_percent(table), paper.shares_by_threshold(), keys, "percent")
    shown = [region for region in REGIONS if region in set(table["region"])]
    rows = -(-len(shown) // columns)
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            rows, columns, figsize=(11, 0.9 + 1.75 * rows), squeeze=False, sharex=True, layout="constrained"
        )
        for place, (axis, region) in enumerate(zip(axes.flat, shown, strict=False)):
            _plot_curves(axis, table[table["region"] == region].sort_values("threshold_percent"))
            axis.set_title(region_titles([region])[0], loc="left")
            axis.tick_params(labelbottom=place + columns >= len(shown))
        for axis in axes.flat[len(shown) :]:
            axis.set_visible(False)
        title = model + UNTRAINED_NOTE * bool(table["untrained"].any())
        bands = f"bands: {100 * confidence:g} % interval over identities"
        what = "share of the activated pixels, percent, in the top p % of the grid and, last, in the full activation"
        figure.suptitle(f"{title}: {what}\n{bands}", x=0.005, ha="left", fontsize=9)
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        save(figure, png, pdf)


def _plot_curves(axis: Axes, table: pd.DataFrame) -> None:
    """The curves of one region, a band for the interval; the full activation stands apart, one step further right."""
    for polarity, colour in POLARITY_COLOURS.items():
        axis.plot([], [], color=colour, lw=1.2, marker="o", ms=2, label=polarity)
        rows = table[table["polarity"] == polarity]
        for part in _parts(rows):
            place = part["threshold_percent"].where(part["threshold"] != FULL, FULL_PLACE)
            axis.plot(place, part["percent"], color=colour, lw=1.2, marker="o", ms=2)
            known = part.dropna(subset="percent_low")
            spread = known["percent_low"], known["percent_high"]
            if len(known) == 1:
                axis.vlines(place[known.index], *spread, color=colour, alpha=0.4, lw=3)
            axis.fill_between(place[known.index], *spread, color=colour, alpha=0.18, lw=0)
    for part in _parts(rows):
        place = part["threshold_percent"].where(part["threshold"] != FULL, FULL_PLACE)
        axis.plot(place, part["paper"], color=INK, lw=1, ls="--", marker="_", ms=5)
    axis.plot([], [], color=INK, lw=1, ls="--", label=f"paper ({table['paper_of'].iloc[0]})")
    axis.axhline(rows["area_percent"].iloc[0], color=MUTED, lw=0.8, ls=":", label="area (base rate)")
    axis.set(xscale="log", ylim=(0, None))
    ticks = [tick for tick in (0.01, 0.1, 1, 10) if (rows["threshold_percent"] == tick).any()]
    axis.set_xticks([*ticks, FULL_PLACE], [*(f"{tick:g}" for tick in ticks), "full"])
    axis.minorticks_off()


def _parts(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The top-p sets, and the full activation by itself, since it is no point of the same scale."""
    full = table["threshold"] == FULL
    return [table[~full], table[full]]
