"""The figures: PNG to look at, PDF to print, both the same to the byte for the same data.

Shape letters: N images, S side of a crop, L layers.
"""

import json
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from leam import storage
from leam.faces import reason_kind
from leam.regions import FULL, REGION_TITLES, REGIONS, WHOLE_MODEL
from leam.tables import TOP_1

INK, MUTED = "#1a1a1a", "#8a8a8a"
SETS = {FULL: ("full activation", "#2a6fb0"), TOP_1: ("top 1 %", "#c2410c")}  # apart in hue and in lightness
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
        window = json.loads(shard.attrs["recogniser"])["window"]
    with pyplot.rc_context(STYLE):
        width, height = 1.15 * len(columns) + 1.3, 1.15 * (len(layers) + 1) + 0.6  # inches; 1.3 and 0.6 for labels
        figure, axes = pyplot.subplots(
            len(layers) + 1,
            len(columns),
            figsize=(width, height),
            squeeze=False,
            gridspec_kw={
                "wspace": 0.03,
                "hspace": 0.03,
                "left": 1.25 / width,
                "right": 1 - 0.05 / width,
                "bottom": 0.05 / height,
                "top": 1 - 0.55 / height,
            },
        )
        for across, (found, crop, number) in enumerate(columns):
            axes[0, across].imshow(crop)
            axes[0, across].set_title(f"{found.identity} / {Path(found.images[number]).stem}", fontsize=7)
            for down, layer in enumerate(layers, start=1):
                draw_map(axes[down, across], crop, found.maps[polarity][layer][number], window)
        _label_rows(axes, ["picture", *layers])
        figure.suptitle(
            f"{model}: LEAM, polarity {polarity}", x=0.05 / width, y=1 - 0.08 / height, ha="left", va="top", fontsize=10
        )
        save(figure, png, pdf)


def _label_rows(axes: np.ndarray, labels: list[str]) -> None:
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        for spine in axis.spines.values():
            spine.set_visible(False)
    for axis, label in zip(axes[:, 0], labels, strict=True):
        short = label if len(label) < 18 else "…" + label[-16:]
        axis.set_ylabel(short, rotation=0, ha="right", va="center", fontsize=7)


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


# ------------------------------------------------------------------------------------------------------------ faces

KEPT = "#2a6fb0"
REASONS = ("#c2410c", "#e08e45", "#7a5195", "#4d7c0f", "#b0413e", "#0f766e", "#a16207", "#64748b")
PAPER_KEPT, PAPER_LINKED = 13_445, 13_838  # the paper's images, 97.2 %


def plot_retention(retention: str | Path, discarded: str | Path, png: str | Path, pdf: str | Path) -> None:
    """Images kept and discarded by reason: in total beside the paper's 97.2 %, and of every identity.

    retention, discarded : the tables of ``tables.tabulate_retention``
    """
    table = pd.read_csv(retention, dtype={"identity": str}, keep_default_na=False).set_index("identity")
    reasons = count_reasons(pd.read_csv(discarded, dtype=str, keep_default_na=False), table.index.drop("all"))
    counts = pd.concat([table[["kept"]].drop("all"), reasons], axis=1)
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
    rows = discarded[(discarded["stage"] == "faces") & (discarded["image"] != "")]
    counts = pd.crosstab(rows["identity"], rows["reason"].map(reason_kind)).reindex(identities, fill_value=0)
    return counts[counts.sum().sort_values(ascending=False, kind="stable").index]


def _plot_total_retention(axis: Axes, counts: pd.Series, colours: dict[str, str]) -> None:
    """Two bars of 100 %: this run by reason, and the paper's."""
    left, images = 0.0, counts.sum()
    for name, count in counts.items():
        percent = 100 * count / max(images, 1)
        axis.barh(1, percent, left=left, color=colours[name], label=f"{name}: {count:,}", height=0.6)
        left += percent
    share = 100 * PAPER_KEPT / PAPER_LINKED
    axis.barh(0, share, color=KEPT, alpha=0.55, height=0.6)
    axis.barh(0, 100 - share, left=share, color="#dedede", height=0.6, label="paper, discarded")
    kept = 100 * counts["kept"] / max(images, 1)
    for y, percent, of_images, colour in ((1, kept, images, "white"), (0, share, PAPER_LINKED, INK)):
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
    names = [str(name) for name in ordered.index]
    axis.set_xticks(*((place, names) if len(names) <= 40 else ([], [])), rotation=90)
    axis.set(xlim=(-0.6, len(names) - 0.4), ylabel="images")
    axis.set_xlabel("" if len(names) <= 40 else f"{len(names):,} identities")
    lost = int((counts["kept"] == 0).sum())
    axis.set_title(f"Of each identity ({lost} of {len(names):,} without any)", loc="left")


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
        right.set_yticks(place, _titles(list(closest["region"])))
        right.set(xscale="log", xlabel="area, percent of the crop (logarithmic)")
        right.set_title(f"Regions at margin {best:.2f}", loc="left")
        right.legend(frameon=False, loc="lower right")
        save(figure, png, pdf)
