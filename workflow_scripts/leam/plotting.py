"""What figures share: style, saving, picture grids, maps drawn over faces."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

import numpy as np
import pandas as pd
from matplotlib import font_manager, pyplot
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

from leam import files
from leam.methods import POLARITIES
from leam.names import printable
from leam.paper import REGION_TITLES
from leam.reasons import NOBODY
from leam.regions import FULL, REGIONS, TOP_1

INK, MUTED = "#1a1a1a", "#8a8a8a"
SETS = {FULL: ("full activation", "#2a6fb0"), TOP_1: ("top 1 %", "#c2410c")}  # apart in hue and in lightness
POLARITY_COLOURS = dict(zip(POLARITIES, ("#2a6fb0", "#c2410c"), strict=True))
LONGEST_SHOWN = 40  # characters of a name in a figure; the tables have it whole
UNTRAINED_NOTE = " (untrained: random weights)"
STYLE: dict[RcKeyType, object] = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "svg.hashsalt": "leam",
    "pdf.fonttype": 42,
    "text.parse_math": False,  # a name with dollars in it is no formula
}


def save(figure: Figure, png: str | Path, pdf: str | Path) -> None:
    """Write both files, without the dates that would make equal figures differ."""
    for path, options in (
        (png, {"dpi": 160, "metadata": {"Software": None}}),
        (pdf, {"metadata": {"CreationDate": None}}),
    ):
        with files.whole_file(path) as part:
            figure.savefig(part, format=Path(path).suffix[1:], **options)
    pyplot.close(figure)


class NothingToShowError(Exception):
    """There is nothing of what a figure shows; the message says why, in one sentence for its reader."""


def rows_to_show(table: pd.DataFrame, without: str = NOBODY) -> pd.DataFrame:
    """The table, if it has rows; otherwise raises NothingToShowError with the sentence ``without``."""
    if not len(table):
        raise NothingToShowError(without)
    return table


Given = ParamSpec("Given")


def or_note(plot: Callable[Given, None]) -> Callable[Given, None]:
    """A figure of which there is nothing (NothingToShowError) is a note that says why.

    plot : draws into the files ``png`` and ``pdf``, or into those of ``outputs``, whose names end so
    """

    @functools.wraps(plot)
    def plotted(*args: Given.args, **options: Given.kwargs) -> None:
        try:
            plot(*args, **options)
        except NothingToShowError as nothing:
            given = inspect.signature(plot).bind(*args, **options).arguments
            written = given.get("outputs", given)
            for stem in [name.removesuffix("png") for name in written if name.endswith("png")]:
                save_note(f"{nothing}", written[f"{stem}png"], written[f"{stem}pdf"])

    return plotted


def save_note(sentence: str, png: str | Path, pdf: str | Path) -> None:
    """A figure that is one sentence, with a capital letter."""
    with pyplot.rc_context(STYLE):
        figure = pyplot.figure(figsize=(6, 0.8))
        figure.text(0.5, 0.5, sentence[:1].upper() + sentence[1:], ha="center", va="center", wrap=True)
        save(figure, png, pdf)


def region_titles(regions: list[str]) -> list[str]:
    return [REGION_TITLES[REGIONS.index(region)] for region in regions]


def picture_grid(rows: int, columns: int, title: str, captions: bool = False) -> tuple[Figure, np.ndarray]:
    """Panels (rows, columns) without axes for pictures of 1.15 inches, with room for labels on the left and above.

    captions : leave room for a line beneath each panel
    """
    gap = 0.15 if captions else 0.03  # between panels, in panels
    above = 0.55 + 0.17 * title.count("\n")  # inches
    width, height = 1.15 * (1 + gap) * columns + 1.3, 1.15 * (1 + gap) * rows + above + 0.05
    figure, axes = pyplot.subplots(
        rows,
        columns,
        figsize=(width, height),
        squeeze=False,
        gridspec_kw={
            "wspace": gap,
            "hspace": gap,
            "left": 1.25 / width,
            "right": 1 - 0.05 / width,
            "bottom": (0.05 + 0.15 * captions) / height,
            "top": 1 - above / height,
        },
    )
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        for spine in axis.spines.values():
            spine.set_visible(False)
    figure.suptitle(title, x=0.05 / width, y=1 - 0.08 / height, ha="left", va="top", fontsize=10)
    return figure, axes


def shown_name(name: str) -> str:
    """A name as figures write it: on one line, what the font lacks escaped as in Python's strings, long ones cut."""
    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties()))
    plain = printable(name)
    text = "".join(c if font.get_char_index(ord(c)) else c.encode("unicode_escape").decode() for c in plain)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN // 2]}…{text[-LONGEST_SHOWN // 2 :]}"


def short_name(name: str) -> str:
    """The end of a long layer's or recogniser's name, which tells them apart; otherwise as ``shown_name``."""
    text = shown_name(name)
    return text if len(text) < 18 else "…" + text[-16:]


def label_rows(axes: np.ndarray, labels: list[str]) -> None:
    for axis, label in zip(axes[:, 0], labels, strict=True):
        lines = "\n".join(short_name(line) for line in label.split("\n"))
        axis.set_ylabel(lines, rotation=0, ha="right", va="center", fontsize=7)


def draw_map(axis: Axes, crop: np.ndarray, placed: np.ndarray) -> None:
    """One map on the common grid (G, G) over its crop (S, S, 3)."""
    side = crop.shape[0]
    grey = crop.mean(2)
    axis.imshow(0.35 * 255 + 0.65 * grey, cmap="gray", vmin=0, vmax=255)
    strength = placed / max(float(placed.max()), np.finfo(np.float32).tiny)
    axis.imshow(
        strength,
        cmap="inferno",
        vmin=0,
        vmax=1,
        alpha=np.sqrt(strength),
        extent=(-0.5, side - 0.5, side - 0.5, -0.5),
        interpolation="bilinear",
    )
    axis.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))


KEPT = "#2a6fb0"


def legend_above(figure: Figure, panels: dict[tuple[str, str, str], Axes], columns: int) -> None:
    """One legend for all panels, above them."""
    found: dict[str, Artist] = {}
    for axis in panels.values():
        handles, labels = axis.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    figure.legend(list(found.values()), list(found), frameon=False, loc="outside upper left", ncols=columns)


def sparse_ticks(percents: np.ndarray) -> list[float]:
    """Ticks of a logarithmic axis that do not touch: each at least 1.6 times the one before."""
    kept: list[float] = []
    for percent in sorted(percents):
        if not kept or percent >= 1.6 * kept[-1]:
            kept.append(float(percent))
    return kept
