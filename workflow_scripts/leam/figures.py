"""The figures: PNG to look at, PDF to print, both the same to the byte for the same data.

Shape letters: N images, S side of a crop, L layers.
"""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from leam import paper, storage
from leam.regions import FULL, REGION_TITLES, REGIONS, TOP_1, WHOLE_MODEL
from leam.tables import with_threshold_percent

INK, MUTED = "#1a1a1a", "#8a8a8a"
SETS = {FULL: ("full activation", "#2a6fb0"), TOP_1: ("top 1 %", "#c2410c")}  # apart in hue and in lightness
POLARITY_COLOURS = {"loss": "#2a6fb0", "similarity": "#c2410c"}
FULL_PLACE = 40.0  # where the full activation stands on a scale of percents up to 10
UNTRAINED = " (untrained: random weights)"
STYLE = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "svg.hashsalt": "leam",
    "pdf.fonttype": 42,
}


def save(figure: Figure, png: str | Path, pdf: str | Path) -> None:
    """Write both files, without the dates that would make equal figures differ."""
    for path, options in (
        (png, {"dpi": 160, "metadata": {"Software": None}}),
        (pdf, {"metadata": {"CreationDate": None}}),
    ):
        with storage.whole_file(path) as part:
            figure.savefig(part, format=Path(path).suffix[1:], **options)
    pyplot.close(figure)


# ---------------------------------------------------------------------------------------------------------- regions


def plot_regions(regions: str | Path, png: str | Path, pdf: str | Path, *, polarity: str, confidence: float) -> None:
    """Shares per region against the regions' area, and enrichment per layer, one row of panels per model.

    regions : regions.csv of ``tables.tabulate_regions``. A region without any area in these images is left out.
    """
    table = pd.read_csv(regions, dtype={"threshold": str})
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
            title = model + UNTRAINED * bool(of_model["untrained"].any())
            _plot_shares(row[0], of_model[of_model["layer"] == WHOLE_MODEL], shown, f"{100 * confidence:g} % interval")
            row[0].set_title(f"{title}: where the activated pixels are", loc="left")
            _plot_enrichment(row[1], of_model, shown)
            row[1].set_title(f"{title}: enrichment of the top 1 %", loc="left")
        save(figure, png, pdf)


def _titles(regions: list[str]) -> list[str]:
    return [REGION_TITLES[REGIONS.index(region)] for region in regions]


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
    axis.set_yticks(place, _titles(regions))
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
    axis.set_xticks(range(len(regions)), _titles(regions), rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(layers)), ["whole model" if layer == WHOLE_MODEL else layer for layer in layers])
    axis.set_xlabel("1 is chance; a dot: the interval includes it", labelpad=2)
    bar = axis.figure.colorbar(image, ax=axis, fraction=0.03, pad=0.02)
    bar.set_ticks([-4, -2, 0, 2, 4], labels=["≤ 1/16", "1/4", "1", "4", "≥ 16"])


# ------------------------------------------------------------------------------------------------------- thresholds


def plot_thresholds(
    regions: str | Path, png: str | Path, pdf: str | Path, *, model: str, confidence: float, columns: int = 5
) -> None:
    """Share of each region against the size of the pixel set, both polarities, the paper's tables 12-20 dashed.

    regions : regions.csv of ``tables.tabulate_regions``. A region without any area in these images is left out.
    """
    table = pd.read_csv(regions, dtype={"threshold": str})
    table = table[(table["model"] == model) & (table["layer"] == WHOLE_MODEL) & (table["area_percent"] > 0)]
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
            axis.set_title(_titles([region])[0], loc="left")
            axis.tick_params(labelbottom=place + columns >= len(shown))
        for axis in axes.flat[len(shown) :]:
            axis.set_visible(False)
        title = model + UNTRAINED * bool(table["untrained"].any())
        bands = f"bands: {100 * confidence:g} % interval over identities"
        figure.suptitle(f"{title}: share of the activated pixels, percent ({bands})", x=0.005, ha="left", fontsize=10)
        figure.supxlabel("top p % of the grid; at the right end the full activation", fontsize=8)
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


# ------------------------------------------------------------------------------------------------------------- maps


def plot_maps(
    maps: list[str],
    faces: list[str],
    png: str | Path,
    pdf: str | Path,
    *,
    polarity: str,
    identities: int = 2,
    images: int = 4,
    seed: int = 0,
) -> None:
    """Image maps over the pictures: layers down, images across (paper figures 3 and 4).

    maps, faces : the shards' files of one model, in the same order; the identities shown are drawn with ``seed``.
    Each map is scaled to its own maximum.
    """
    people = choose_identities(maps, faces, identities, seed)
    if not people:
        raise ValueError(f"{maps[0]}: no identity has two usable images; see the discarded images in the tables")
    columns = [(found, crop, number) for found, crops in people for number, crop in enumerate(crops[:images])]
    with storage.open_shard(maps[0], "maps") as shard:
        layers, model = storage.read_layers(shard), str(shard.attrs["model"])
        model += UNTRAINED * storage.is_untrained(shard)
        window = storage.read_recogniser(shard)["window"]
    with pyplot.rc_context(STYLE):
        figure, axes = picture_grid(len(layers) + 1, len(columns), f"{model}: LEAM, polarity {polarity}")
        for across, (found, crop, number) in enumerate(columns):
            axes[0, across].imshow(crop)
            axes[0, across].set_title(f"{found.identity} / {Path(found.images[number]).stem}", fontsize=7)
            for down, layer in enumerate(layers, start=1):
                draw_map(axes[down, across], crop, found.maps[polarity][layer][number], window)
        label_rows(axes, ["picture", *layers])
        save(figure, png, pdf)


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


def short_name(name: str) -> str:
    """The end of a long layer's or recogniser's name, which tells them apart."""
    return name if len(name) < 18 else "…" + name[-16:]


def label_rows(axes: np.ndarray, labels: list[str]) -> None:
    for axis, label in zip(axes[:, 0], labels, strict=True):
        lines = "\n".join(short_name(line) for line in label.split("\n"))
        axis.set_ylabel(lines, rotation=0, ha="right", va="center", fontsize=7)


def draw_map(axis: Axes, crop: np.ndarray, image_map: np.ndarray, window: list[int]) -> None:
    """One image map (h, w) over its crop (S, S, 3), placed where the recogniser looked."""
    side = crop.shape[0]
    grey = crop.mean(2)
    axis.imshow(0.35 * 255 + 0.65 * grey, cmap="gray", vmin=0, vmax=255)
    top, left, bottom, right = (edge * side / 112 - 0.5 for edge in window)
    strength = image_map / max(float(image_map.max()), np.finfo(np.float32).tiny)
    axis.imshow(
        strength,
        cmap="inferno",
        vmin=0,
        vmax=1,
        alpha=np.sqrt(strength),
        extent=(left, right, bottom, top),
        interpolation="bilinear",
    )
    axis.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))


def choose_identities(
    maps: list[str], faces: list[str], count: int, seed: int
) -> list[tuple[storage.IdentityMaps, np.ndarray]]:
    """Maps and crops (N, S, S, 3) of identities drawn with the seed, shard by shard until there are enough."""
    rng = np.random.default_rng(seed)
    chosen: list[tuple[storage.IdentityMaps, np.ndarray]] = []
    for number in rng.permutation(len(maps)):
        with storage.open_shard(maps[number], "maps") as shard, storage.open_shard(faces[number], "faces") as parsed:
            names = storage.identities(shard)
            for position in sorted(rng.permutation(len(names))[: count - len(chosen)]):
                found = storage.read_maps(shard, names[position])
                seen = storage.read_faces(parsed, names[position])
                chosen.append((found, seen.crops[storage.used_faces(shard, parsed, names[position])]))
        if len(chosen) == count:
            break
    return sorted(chosen, key=lambda person: person[0].identity)
