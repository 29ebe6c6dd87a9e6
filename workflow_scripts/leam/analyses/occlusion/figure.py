"""The figures of occlusion: drop against the occluded share, guide against model, and "Is it person-specific?"."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from leam import paper
from leam.analyses.occlusion import MAPLESS_KINDS
from leam.controls import CENTRE, IMAGE, OTHER_MEAN, OWN_MEAN, POPULATION_MEAN, RANDOM, SHUFFLED
from leam.plotting import (
    INK,
    MUTED,
    STYLE,
    UNTRAINED_NOTE,
    legend_above,
    or_note,
    rows_to_show,
    save,
    short_name,
    shown_name,
    sparse_ticks,
)
from leam.statistics import HOLDS, LEVEL, REVERSED, UNTESTED, verdict
from leam.tables import read_output

# Kinds in the order of the chain, what a reader calls them, and a colour each: warm for one's own, blue for others'.
KIND_LOOKS = {
    IMAGE: ("own image", "#c2410c"),
    OWN_MEAN: ("own mean, other images", "#eda13f"),
    OTHER_MEAN: ("another person's mean", "#2a6fb0"),
    POPULATION_MEAN: ("population mean", "#8cbbe0"),
    CENTRE: ("centre disc", "#5b8c5a"),
    RANDOM: ("random pixels", "#8a8a8a"),
    SHUFFLED: ("own image, permuted weights", "#8b63b8"),
}
GUIDE = ("guide {}: its image", "#7a1f5c")
PAPER_LOOKS = {paper.PAPER_LEAM: ("guide IR_CASIA", INK), paper.PAPER_RANDOM: (paper.PAPER_RANDOM, MUTED)}
READING = "If it is, each line drops more than the next; what decides is one's own mean against another's (bold)."
ARROWS = {HOLDS: "↑ ", REVERSED: "↓ "}
BESIDE = 1.05  # how far points of the same percent stand apart
DROP_LABELS = {"drop": "drop of the cosine", "lost_percent": "accepted genuine pairs lost, percent"}


def read_guided_table(path: str | Path) -> pd.DataFrame:
    table = read_output(path, dtype={"polarity": str, "fill": str, "percent": float})
    return table.fillna(dict.fromkeys([name for name in ("polarity", "fill") if name in table], ""))


def model_panels(table: pd.DataFrame, width: float, height: float) -> tuple[Figure, dict[tuple[str, str, str], Axes]]:
    """One row of panels per model, one column per fill and polarity; titles say which, and what is untrained.

    Raises NothingToShowError where the table has no rows.
    """
    models = list(pd.unique(rows_to_show(table)["model"]))
    polarities = [polarity for polarity in pd.unique(table["polarity"]) if polarity]
    columns = list(itertools.product(pd.unique(table["fill"]), polarities))
    figure, axes = pyplot.subplots(
        len(models),
        len(columns),
        figsize=(width * len(columns), 0.7 + height * len(models)),
        squeeze=False,
        sharex="row",
        sharey="row",
        layout="constrained",
    )
    panels = {}
    for row, model in zip(axes, models, strict=True):
        untrained = UNTRAINED_NOTE * bool(table.loc[table["model"] == model, "untrained"].any())
        for axis, (fill, polarity) in zip(row, columns, strict=True):
            axis.set_title(f"{model}{untrained}\nfill {fill}, polarity {polarity}", loc="left")
            panels[model, fill, polarity] = axis
    return figure, panels


def label_models(panels: dict[tuple[str, str, str], Axes], label: str) -> None:
    """What the ordinate of ``model_panels`` is, at the first panel of each row."""
    columns = len({(fill, polarity) for _, fill, polarity in panels})
    for axis in list(panels.values())[::columns]:
        axis.set_ylabel(label)


def scale_percents(axis: Axes, percents: pd.Series, confidence: float) -> None:
    """An abscissa of occluded shares, and a line at no drop."""
    axis.set_xscale("log")
    ticks = sparse_ticks(pd.unique(percents))
    axis.set_xticks(ticks, [f"{percent:g}" for percent in ticks])
    axis.minorticks_off()
    axis.axhline(0, color=MUTED, lw=0.6, zorder=0)
    axis.set_xlabel(f"occluded, percent of the pixels (bands: {100 * confidence:g} % over identities)")


@or_note
def plot_occlusion(
    occlusion: str | Path,
    decisions: str | Path,
    outputs: dict[str, str],
    *,
    guide: str,
    fill: str,
    confidence: float = 0.95,
) -> None:
    """Paper figure 8 and the decision view: both against the occluded share, a line per kind, bands over identities.

    What was tried at one percent alone is a point with its interval.

    occlusion, decisions : the tables of these names; outputs : paths by the names drop_png, drop_pdf, lost_png and
    lost_pdf; guide : the model whose maps the paper's figure follows; fill : what hides the pixels; the paper's own
    curves are dashed
    """
    for value, path in {"drop": occlusion, "lost_percent": decisions}.items():
        short, table = value.split("_")[0], read_guided_table(path)
        files = outputs[f"{short}_png"], outputs[f"{short}_pdf"]
        _plot_curves(table[table["fill"] == fill], value, guide, confidence, *files)


def _plot_curves(table: pd.DataFrame, value: str, guide: str, confidence: float, png: str, pdf: str) -> None:
    with pyplot.rc_context(STYLE):
        figure, panels = model_panels(table, 5.2, 3.1)
        for (model, _, polarity), axis in panels.items():
            of_model = table[(table["model"] == model) & table["polarity"].isin([polarity, ""])]
            _plot_kinds(axis, of_model, model, guide, value)
            if value == "drop":
                _plot_paper(axis, model, of_model["percent"].min(), of_model["percent"].max())
            scale_percents(axis, of_model["percent"], confidence)
        label_models(panels, DROP_LABELS[value])
        legend_above(figure, panels, 4)
        save(figure, png, pdf)


def _plot_kinds(axis: Axes, table: pd.DataFrame, model: str, guide: str, value: str) -> None:
    """A line per kind under the model's own first layer, and one for the guide where that is another model."""
    lines = [(guide if guide != model else None, IMAGE, (GUIDE[0].format(guide), GUIDE[1]))]
    lines += [(model, kind, look) for kind, look in KIND_LOOKS.items()]
    for place, (name, kind, (label, colour)) in enumerate(lines):
        rows = table[(table["kind"] == kind) & table["guide"].isin([name, ""])]
        rows = rows[rows["layer"] == rows["layer"].iloc[0]] if len(rows) else rows
        if len(rows):
            rows = rows.sort_values("percent")
            low, high = rows[f"{value}_low"], rows[f"{value}_high"]
            points = len(rows) == 1
            across = rows["percent"] * (BESIDE ** (place - len(KIND_LOOKS) / 2) if points else 1)
            axis.plot(across, rows[value], marker="o", ms=2.5, lw=1.3, color=colour, label=label)
            if points:
                axis.vlines(across, low, high, color=colour, lw=1)
            else:
                axis.fill_between(across, low, high, color=colour, alpha=0.1, lw=0)


def _plot_paper(axis: Axes, model: str, least: float, most: float) -> None:
    """The paper's curves, dashed: of this model where it has it, otherwise the mean of its nine."""
    table, name = paper.read_table("table21"), "paper, this recogniser"
    table = table[table["model"] == model]
    if not len(table):
        table, name = paper.read_table("table09").melt("occlusion_percent", var_name="occlusion"), "paper, mean of nine"
    else:
        table = table.rename(columns={"cosine_drop": "value"})
    for occlusion, (label, colour) in PAPER_LOOKS.items():
        rows = table[(table["occlusion"] == occlusion) & table["occlusion_percent"].between(least, most)]
        rows = rows.sort_values("occlusion_percent")
        shown = f"{name}: {label}"
        axis.plot(rows["occlusion_percent"], rows["value"], ls=(0, (4, 2)), lw=1, color=colour, label=shown)


@or_note
def plot_transfer(transfer: str | Path, png: str | Path, pdf: str | Path, *, percent: float, fill: str) -> None:
    """Whose maps hurt whom: the drop of every model (down) under every guide's first layer (across), and random pixels.

    transfer : the table of this name; percent, fill : the occluded share shown, and what hides it; a frame marks a
    model's own maps
    """
    table = read_guided_table(transfer)
    table = rows_to_show(table[np.isclose(table["percent"], percent) & (table["fill"] == fill)])
    polarities, models = list(pd.unique(table["polarity"])), list(pd.unique(table["model"]))
    guides = [name for name in models if name in set(table["guide"])]
    names = {name: name + " *" * bool(rows["untrained"].any()) for name, rows in table.groupby("model")}
    top = max(float(table["drop"].max()), 1e-9)
    with pyplot.rc_context(STYLE):
        wide, high = 0.62 * (len(guides) + 1) + 1.6, 0.42 * len(models) + 2
        figure, axes = pyplot.subplots(
            1, len(polarities), figsize=(wide * len(polarities) + 0.6, high), squeeze=False, layout="constrained"
        )
        for axis, polarity in zip(axes[0], polarities, strict=True):
            rows = table[table["polarity"] == polarity]
            drops = rows.pivot(index="model", columns="guide", values="drop").reindex(index=models, columns=guides)
            random = rows.groupby("model")["random_drop"].first().reindex(models)
            image = _draw_matrix(axis, drops.assign(**{"random pixels": random}), top, models)
            axis.set_xticks(range(len(guides) + 1), [*(names[name] for name in guides), "random pixels"])
            axis.tick_params(axis="x", rotation=40, length=0)
            pyplot.setp(axis.get_xticklabels(), ha="right", rotation_mode="anchor")
            axis.set_yticks(range(len(models)), [names[name] for name in models])
            axis.set_title(f"polarity {polarity}", loc="left")
            axis.set_xlabel("guide: whose maps choose the pixels")
        axes[0, 0].set_ylabel("recogniser that is tested")
        figure.colorbar(image, ax=axes[0], fraction=0.04, pad=0.02).set_label(
            f"drop of the cosine, {percent:g} % {fill}"
        )
        if table["untrained"].any():
            figure.supxlabel("* untrained: random weights, its own or its guide's", fontsize=7, x=0.02, ha="left")
        save(figure, png, pdf)


def _draw_matrix(axis: Axes, drops: pd.DataFrame, top: float, models: list[str]) -> AxesImage:
    """Cells with their numbers; the model's own guide is framed, random pixels stand apart."""
    image = axis.imshow(drops.to_numpy(), cmap="YlOrRd", vmin=0, vmax=top, aspect="auto")
    for y, model in enumerate(models):
        for x, guide in enumerate(drops.columns):
            value = drops.iloc[y, x]
            if np.isnan(value):
                continue
            axis.text(x, y, f"{value:.3f}", ha="center", va="center", color="white" if value > 0.6 * top else INK)
            if guide == model:
                axis.add_patch(Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, fill=False, ec=INK, lw=1.2, zorder=3))
    axis.axvline(len(drops.columns) - 1.5, color="white", lw=4)
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.tick_params(length=0)
    return image


@or_note
def plot_person_specific(
    occlusion: str | Path,
    steps: str | Path,
    outputs: dict[str, str],
    *,
    percent: float,
    fill: str,
    confidence: float = 0.95,
    verdicts: str | Path | None = None,
) -> None:
    """The chain of controls at one percent: under the first layer, every fill and polarity side by side, with each
    step's test; and layer by layer under one fill.

    occlusion : the table of this name; steps : person_specific.csv; fill : of the comparison of layers; verdicts :
    verdict.csv, which stands beneath each panel
    outputs : paths by the names chain_png, chain_pdf, layers_png, layers_pdf
    """
    table, tested = read_guided_table(occlusion), read_guided_table(steps)
    table, tested = (each[np.isclose(each["percent"], percent)] for each in (table, tested))
    own = table[(table["guide"] == table["model"]) | (table["guide"] == "")]
    with pyplot.rc_context(STYLE):
        figure, panels = model_panels(own, 4.1, 2.9)
        for (model, filled, polarity), axis in panels.items():
            rows = own[(own["model"] == model) & own["polarity"].isin([polarity, ""]) & (own["fill"] == filled)]
            first = rows.loc[rows["kind"] == IMAGE, "layer"].iloc[0]
            chosen = (tested["model"] == model) & (tested["polarity"] == polarity) & (tested["layer"] == first)
            chosen &= tested["fill"] == filled
            _plot_chain(axis, rows[rows["layer"].isin([first, ""])].set_index("kind"), tested[chosen])
            said = None if verdicts is None else _verdict_of(read_output(verdicts), model, filled, polarity)
            axis.set_xlabel("\n".join(filter(None, [f"drop of the cosine, {shown_name(first)}", said])))
        interval = f" {percent:g} % occluded, {100 * confidence:g} % intervals."
        figure.suptitle("Is it person-specific? " + READING + interval, x=0.01, ha="left", fontsize=9)
        save(figure, outputs["chain_png"], outputs["chain_pdf"])
        _plot_layers(own[own["fill"] == fill], percent, outputs["layers_png"], outputs["layers_pdf"])


def _verdict_of(verdicts: pd.DataFrame, model: str, fill: str, polarity: str) -> str:
    """What the calibration allows to say of a panel, in two lines."""
    cell = (verdicts["model"] == model) & (verdicts["fill"] == fill) & (verdicts["polarity"] == polarity)
    if not cell.any():
        return ""
    row = verdicts[cell].iloc[0]
    if np.isnan(row["power_percent"]):
        return f"{row['verdict'].upper()} (not calibrated)"
    power, false = (f"{row[name]:.0f} %" for name in ("power_percent", "false_percent"))
    found = f"such a run finds a person-specific world\nin {power}, and calls null ones so in {false}"
    return f"{row['verdict'].upper()}: {found}"


def _plot_chain(axis: Axes, rows: pd.DataFrame, steps: pd.DataFrame) -> None:
    """A dot with its interval per kind, from one's own image down to random; between two, whether the step holds."""
    kinds = [kind for kind in KIND_LOOKS if kind in rows.index]
    place = {kind: -float(number) - 0.35 * (kind == SHUFFLED) for number, kind in enumerate(kinds)}
    for kind in kinds:
        drop, low, high = rows.loc[kind, ["drop", "drop_low", "drop_high"]].astype(float)
        axis.plot([0, drop], [place[kind]] * 2, color=KIND_LOOKS[kind][1], lw=6, alpha=0.25, solid_capstyle="butt")
        axis.plot([low, high], [place[kind]] * 2, color=KIND_LOOKS[kind][1], lw=1.4)
        axis.plot(drop, place[kind], "o", color=KIND_LOOKS[kind][1], ms=5)
    axis.set_yticks(list(place.values()), [KIND_LOOKS[kind][0] for kind in kinds])
    axis.tick_params(axis="y", length=0)
    axis.axvline(0, color=MUTED, lw=0.6)
    axis.margins(x=0.02)
    for number, step in enumerate(steps.itertuples()):
        adjacent = step.less in place and abs(place[step.more] - place[step.less]) == 1
        between = (place[step.more] + place[step.less]) / 2 if adjacent else place[step.less]
        axis.text(
            1.02,
            between,
            ("" if adjacent else "own image: ") + _describe_step(steps.iloc[[number]]),
            transform=axis.get_yaxis_transform(),
            va="center",
            fontsize=7,
            color=INK if step.p_holm < LEVEL else MUTED,
            weight="bold" if (step.more, step.less) == (OWN_MEAN, OTHER_MEAN) else "normal",
        )
    axis.set_ylim(min(place.values()) - 0.5, 0.5)


def _describe_step(step: pd.DataFrame) -> str:
    """One row of person_specific.csv in words: the step's size, and what its test says."""
    words, (difference, p) = verdict(step), step[["difference", "p_holm"]].iloc[0]
    if words == UNTESTED:
        return f"{difference:+.3f}  {words}"
    return f"{difference:+.3f} (p {p:.2g})\n{ARROWS.get(words, '')}{words}"


def _plot_layers(own: pd.DataFrame, percent: float, png: str, pdf: str) -> None:
    """Drops per layer of the model's own maps; what has no layer is a level line."""
    with pyplot.rc_context(STYLE):
        figure, panels = model_panels(own, 5.2, 3.1)
        for (model, _, polarity), axis in panels.items():
            rows = own[(own["model"] == model) & own["polarity"].isin([polarity, ""])]
            layers = list(pd.unique(rows.loc[rows["layer"] != "", "layer"]))
            for number, (kind, (label, colour)) in enumerate(KIND_LOOKS.items()):
                of_kind = rows[rows["kind"] == kind]
                if kind in MAPLESS_KINDS and len(of_kind):
                    axis.axhline(of_kind["drop"].iloc[0], color=colour, lw=1.3, ls=(0, (1, 1.5)), label=label)
                elif len(of_kind):
                    across = np.arange(len(layers)) + 0.06 * (number - 2)  # side by side, so that intervals are seen
                    spread = np.abs(of_kind[["drop_low", "drop_high"]].to_numpy().T - of_kind["drop"].to_numpy())
                    axis.errorbar(
                        across,
                        of_kind["drop"],
                        yerr=np.nan_to_num(spread),
                        fmt="o-",
                        ms=3,
                        lw=1.2,
                        elinewidth=0.8,
                        color=colour,
                        label=label,
                    )
            short = [short_name(layer) for layer in layers]
            axis.set_xticks(range(len(layers)), short, rotation=35, ha="right", rotation_mode="anchor")
            axis.axhline(0, color=MUTED, lw=0.6, zorder=0)
        label_models(panels, f"drop of the cosine at {percent:g} %")
        legend_above(figure, panels, 4)
        save(figure, png, pdf)
