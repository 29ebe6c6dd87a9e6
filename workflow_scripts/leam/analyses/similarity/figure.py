"""Similarity of maps by layer, same against different people, frames side by side."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from leam import paper
from leam.analyses.similarity import BC, CANONICAL, DIFFERENT, EMD, IDENTITY, LEAM_MAPS, SAME, TOP, UNALIGNED
from leam.analyses.similarity.table import PAPER_SIMILARITY
from leam.controls import POPULATION_MEAN
from leam.plotting import MUTED, STYLE, UNTRAINED_NOTE, or_note, rows_to_show, save, short_name
from leam.tables import read_output

PAIRING_LOOKS = {SAME: ("same person", "#2a6fb0"), DIFFERENT: ("different people", "#c2410c")}
SIMILARITY_LABELS = {BC: "BC (square-root scale)", EMD: "EMD, pixels"}
FRAME_TITLES = {IDENTITY: "frame: each identity's own", CANONICAL: "frame: canonical", UNALIGNED: "frame: none"}
PAPER_FRAME = IDENTITY


@or_note
def plot_similarity(
    similarity: str | Path, png: str | Path, pdf: str | Path, *, polarity: str, confidence: float
) -> None:
    """BC and EMD of the top 1 % by layer, same against different people, frames side by side, a row per model.

    similarity : similarity.csv of ``tabulate_similarity``. Dashed lines are the null: the population's mean map
    on the same faces. Crosses are the paper's numbers, where it has the model and layer, in the paper's frame.
    """
    table = rows_to_show(read_output(similarity))
    table = table[(table["polarity"] == polarity) & (table["part"] == TOP)]
    models, frames = (list(pd.unique(table[name])) for name in ("model", "frame"))
    measures = [measure for measure in SIMILARITY_LABELS if measure in set(table["measure"])]
    columns = [(measure, frame) for measure in measures for frame in frames]
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            len(models),
            len(columns),
            figsize=(0.6 + 2.3 * len(columns), 0.9 + 2.4 * len(models)),
            squeeze=False,
            layout="constrained",
        )
        for row, model in zip(axes, models, strict=True):
            of_model = table[table["model"] == model]
            untrained = UNTRAINED_NOTE * bool(of_model["untrained"].any())
            for axis, (measure, frame) in zip(row, columns, strict=True):
                chosen = of_model[(of_model["measure"] == measure) & (of_model["frame"] == frame)]
                _plot_pairings(axis, chosen, model, measure, frame)
            row[0].set_title(f"{model}{untrained}\n{FRAME_TITLES[columns[0][1]]}", loc="left")
            _share_limits(row, columns)
        _legend_similarity(figure, axes, f"{100 * confidence:g} % interval over identities")
        save(figure, png, pdf)


def _plot_pairings(axis: Axes, table: pd.DataFrame, model: str, measure: str, frame: str) -> None:
    """One panel: a marker with its interval per layer and pairing, the null dashed, the paper's number as a cross."""
    layers = list(pd.unique(table["layer"]))
    for offset, (pairing, (_, colour)) in zip((-0.12, 0.12), PAIRING_LOOKS.items(), strict=True):
        place = np.arange(len(layers)) + offset
        rows = table[table["kind"] == LEAM_MAPS].set_index("layer").reindex(layers)
        low, high = (np.abs(rows[f"{pairing}_{end}"] - rows[pairing]).fillna(0) for end in ("low", "high"))
        axis.errorbar(place, rows[pairing], yerr=[low, high], fmt="o", ms=3.2, lw=1, color=colour)
        null = table[table["kind"] == POPULATION_MEAN].set_index("layer").reindex(layers)
        axis.plot(np.arange(len(layers)), null[pairing], ls="--", lw=0.9, color=colour, alpha=0.75)
        if frame == PAPER_FRAME:
            axis.plot(place, _paper_similarity(model, layers, measure, pairing), ls="", marker="x", ms=5, color=colour)
    axis.set_xticks(range(len(layers)), [short_name(layer) for layer in layers], rotation=90, fontsize=6.5)
    axis.set_xlim(-0.6, len(layers) - 0.4)
    axis.set_ylabel(SIMILARITY_LABELS[measure])
    axis.set_title(FRAME_TITLES[frame], loc="left")


def _paper_similarity(model: str, layers: list[str], measure: str, pairing: str) -> np.ndarray:
    """The paper's numbers for these layers, NaN where it has none."""
    name, value = next((table, value) for table, (*key, value) in PAPER_SIMILARITY.items() if key == [pairing, measure])
    found = paper.read_table(name)
    return found[found["model"] == model].set_index("layer")[value].reindex(layers).to_numpy(float)


def _share_limits(row: np.ndarray, columns: list[tuple[str, str]]) -> None:
    """Panels of one measure in a row share their scale, which starts at 0."""
    for measure in {measure for measure, _ in columns}:
        axes = [axis for axis, (of, _) in zip(row, columns, strict=True) if of == measure]
        top = max(axis.get_ylim()[1] for axis in axes)
        for number, axis in enumerate(axes):
            axis.set_ylim(0, top)
            if measure == BC:  # between 0 and 1, most of the maps' close to 0
                axis.set_yscale("function", functions=(_root, np.square))
                axis.set_yticks([0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1])
                axis.set_ylim(0, 1.02)
            if number:
                axis.set_ylabel("")
                axis.tick_params(labelleft=False)


def _root(values: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(values, 0))


def _legend_similarity(figure: Figure, axes: np.ndarray, interval: str) -> None:
    handles = [
        Line2D([], [], marker="o", ms=3.2, lw=1, color=colour, label=f"{label} ({interval})")
        for label, colour in PAIRING_LOOKS.values()
    ]
    handles.append(Line2D([], [], ls="--", lw=0.9, color=MUTED, label="null: the population's mean map"))
    if any(
        len(line.get_xdata()) and line.get_marker() == "x" and np.isfinite(line.get_ydata()).any()
        for axis in axes.flat
        for line in axis.get_lines()
    ):
        handles.append(Line2D([], [], ls="", marker="x", ms=5, color=MUTED, label="the paper"))
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), frameon=False)
