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
from leam.faces import reason_kind
from leam.regions import FULL, REGION_TITLES, REGIONS, TOP_1, WHOLE_MODEL
from leam.tables import PAPER_SIMILARITY, with_threshold_percent

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


# ------------------------------------------------------------------------------------------------------- similarity

PAIRINGS = {"same": ("same person", "#2a6fb0"), "different": ("different people", "#c2410c")}
MEASURES = {"bc": "BC (square-root scale)", "emd_px": "EMD, pixels"}
FRAME_TITLES = {"identity": "frame: each identity's own", "canonical": "frame: canonical", "none": "frame: none"}
PAPER_FRAME = "identity"


def plot_similarity(
    similarity: str | Path, png: str | Path, pdf: str | Path, *, polarity: str, confidence: float
) -> None:
    """BC and EMD of the top 1 % by layer, same against different people, frames side by side, a row per model.

    similarity : similarity.csv of ``tables.tabulate_similarity``. Dashed lines are the null: the population's mean map
    on the same faces. Crosses are the paper's numbers, where it has the model and layer, in the paper's frame.
    """
    table = pd.read_csv(similarity)
    table = table[(table["polarity"] == polarity) & (table["part"] == "top1")]
    models, frames = (list(pd.unique(table[name])) for name in ("model", "frame"))
    measures = [measure for measure in MEASURES if measure in set(table["measure"])]
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
            untrained = UNTRAINED * bool(of_model["untrained"].any())
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
    for offset, (pairing, (_, colour)) in zip((-0.12, 0.12), PAIRINGS.items(), strict=True):
        place = np.arange(len(layers)) + offset
        rows = table[table["kind"] == "leam"].set_index("layer").reindex(layers)
        low, high = (np.abs(rows[f"{pairing}_{end}"] - rows[pairing]).fillna(0) for end in ("low", "high"))
        axis.errorbar(place, rows[pairing], yerr=[low, high], fmt="o", ms=3.2, lw=1, color=colour)
        null = table[table["kind"] == "population_mean"].set_index("layer").reindex(layers)
        axis.plot(np.arange(len(layers)), null[pairing], ls="--", lw=0.9, color=colour, alpha=0.75)
        if frame == PAPER_FRAME:
            axis.plot(place, _paper_similarity(model, layers, measure, pairing), ls="", marker="x", ms=5, color=colour)
    axis.set_xticks(range(len(layers)), [short_name(layer) for layer in layers], rotation=90, fontsize=6.5)
    axis.set_xlim(-0.6, len(layers) - 0.4)
    axis.set_ylabel(MEASURES[measure])
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
            if measure == "bc":  # between 0 and 1, most of the maps' close to 0
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
        pyplot.Line2D([], [], marker="o", ms=3.2, lw=1, color=colour, label=f"{label} ({interval})")
        for label, colour in PAIRINGS.values()
    ]
    handles.append(pyplot.Line2D([], [], ls="--", lw=0.9, color=MUTED, label="null: the population's mean map"))
    if any(
        len(line.get_xdata()) and line.get_marker() == "x" and np.isfinite(line.get_ydata()).any()
        for axis in axes.flat
        for line in axis.get_lines()
    ):
        handles.append(pyplot.Line2D([], [], ls="", marker="x", ms=5, color=MUTED, label="the paper"))
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), frameon=False)
