"""Areas of the regions at each crop margin beside the paper's."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from leam.plotting import KEPT, MUTED, SETS, STYLE, region_titles, save
from leam.regions import TOP_1


def plot_margins(table: pd.DataFrame, png: str | Path, pdf: str | Path, *, used: float) -> None:
    """How far the regions' areas are from the paper's at each crop margin, and region by region at the closest.

    table : of ``calibration.compare_margins``; used : the margin of the settings
    """
    distance = table.groupby("margin")["distance_percent"].first()
    best = distance.idxmin()
    closest = table[(table["margin"] == best) & (table["paper"] > 0)].sort_values("paper")
    with pyplot.rc_context(STYLE):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.5, 3.8), layout="constrained")
        left.plot(distance.index, distance, color=KEPT, lw=1.5)
        left.plot(best, distance[best], "o", color=SETS[TOP_1][1], label=f"closest: {best:.2f}")
        left.axvline(used, color=MUTED, lw=1, ls="--", label=f"in the settings: {used:.2f}")
        left.set(ylim=(0, None), xlabel="margin on each side, in sides of the box", ylabel="percent of the crop")
        left.set_title("In other regions than in the paper", loc="left")
        left.legend(frameon=False)
        place = np.arange(len(closest))
        known = closest["area_percent"] > 0
        right.hlines(
            place[known], closest["paper"][known], closest["area_percent"][known], color="#dedede", lw=3, zorder=0
        )
        right.plot(closest["paper"], place, "o", ms=7, mfc="none", color=MUTED, label="the paper (table 20)")
        right.plot(closest["area_percent"].where(known), place, "o", ms=4, color=KEPT, label="these crops")
        right.set_yticks(place, region_titles(list(closest["region"])))
        right.set(xscale="log", xlabel="area, percent of the crop (logarithmic)")
        right.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        right.xaxis.set_minor_formatter(NullFormatter())
        right.set_title(f"Regions at margin {best:.2f}", loc="left")
        right.legend(frameon=False, loc="lower right")
        save(figure, png, pdf)
