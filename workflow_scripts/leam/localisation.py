"""Does LEAM find where identity is? Asked where the answer is known: of rendered people who differ in one region only.

A *world* is such a set of people, named by its region. Pictures, faces, maps and counts come from the stages that
serve every other picture. The recogniser trained for the world has nothing else to go by; beside it stand controls:

    general      trained on people who differ everywhere
    shuffled     the world's own recogniser, the weights of each convolution permuted
    untrained    random weights
    random       pixels drawn at random, no recogniser
    centre       the pixels nearest to the middle of the crop
    mean         the largest pixels of the mean of all image maps of the world's own recogniser: not a null, as it has
                 seen the region too, but it tells whether the single picture's map says more than their average

Shape letters: N images, L layers, G side of the grid, I identities, B bootstrap samples, T thresholds, R regions,
K cells (polarity x layer x threshold).
"""

import dataclasses
import json
import logging
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.ticker import StrMethodFormatter

from leam import faces, figures, maps, models, regions, sample, storage, tables, training, verification
from leam.maps import POLARITIES, MapSettings
from leam.models import Recogniser
from leam.regions import FULL, REGIONS, WHOLE_MODEL

log = logging.getLogger(__name__)

SEED_OFFSET = 10_000  # worlds are drawn from seeds that no recogniser was trained or measured with
SHARD = "00000"
TRAINED, MEAN = "trained", "mean"
RECOGNISER_CONTROLS, PIXEL_CONTROLS = ("general", "shuffled", "untrained"), ("random", "centre")
CONTROLS = (*RECOGNISER_CONTROLS, *PIXEL_CONTROLS)


# ------------------------------------------------------------------------------------------------------- measurement


def recognisers_of(region: str, entries: dict[str, dict] | None = None) -> list[tuple[str, Recogniser]]:
    """Kind and recogniser of all that are looked into in a world, the one trained for it first.

    entries : what the configuration says of recognisers, by name; all are looked into at the layers of the first
    Raises models.ModelError when none is called ``sample_{region}``.
    """
    entries, name = entries or {}, models.world_model(region)
    trained = models.recogniser(name, entries.get(name))
    general = [models.recogniser(other, entries.get(other)) for other in models.GENERAL_MODELS]
    return [
        (TRAINED, trained),
        *(("general", dataclasses.replace(other, layers=trained.layers)) for other in general),
        ("shuffled", dataclasses.replace(trained, name=f"{name}_shuffled", shuffled=True)),
        ("untrained", dataclasses.replace(trained, name=f"{name}_untrained", untrained=True)),
    ]


def measure_localisation(
    region: str,
    measured: str | Path,
    faces_output: str | Path,
    maps_output: str | Path,
    *,
    recognisers: list[tuple[str, Recogniser]],
    settings: MapSettings,
    identities: int,
    images: int,
    size: int = 192,
    seed: int = 0,
) -> None:
    """Render the people of a world and count where each recogniser's LEAM, and each control's pixels, fall.

    recognisers : see ``recognisers_of``; size : side of the pictures, px
    measured : Parquet, what ``count_world`` gives
    faces_output, maps_output : the world's faces, and the maps of its own recogniser, as those of any other shard
    """
    with tempfile.TemporaryDirectory() as scratch:
        render_world(region, Path(scratch), faces_output, identities, images, size, seed)
        table = count_world(faces_output, maps_output, Path(scratch), recognisers, settings, seed)
    table.insert(0, "world", region)
    for key in ("world", "kind", *regions.KEYS):
        table[key] = pd.Categorical(table[key], categories=table[key].unique())
    with storage.whole_file(measured) as part:
        table.to_parquet(part, index=False)


def render_world(
    region: str, folder: Path, faces_output: str | Path, identities: int, images: int, size: int, seed: int
) -> None:
    """Render, crop and parse people who differ in one region only, as the embedded sample is; folder : for scratch."""
    rows = [(f"s{person:03d}", f"{image:02d}", SHARD) for person in range(identities) for image in range(images)]
    links, pictures = folder / "links.parquet", folder / "images.h5"
    pd.DataFrame(rows, columns=["identity", "image", "shard"]).to_parquet(links)
    sample.render_sample(links, pictures, shard=SHARD, seed=SEED_OFFSET + seed, size=size, region=region)
    faces.parse_faces(
        pictures, faces_output, faces.FaceSettings(crop_margin=training.MARGIN, crop_size=training.INPUT_PX)
    )


def count_world(
    faces_path: str | Path,
    maps_output: str | Path,
    folder: Path,
    recognisers: list[tuple[str, Recogniser]],
    settings: MapSettings,
    seed: int,
) -> pd.DataFrame:
    """Counts on a world's faces under recognisers and pixel controls: the rows of ``regions.count_regions``, with kind
    and auc, the recogniser's verification AUC on these very people (NaN for pixels without a recogniser).

    maps_output : where the maps of the recogniser of kind "trained" are kept; folder : for those of the others
    """
    counted, files = [], {}
    for kind, recogniser in recognisers:
        file = str(maps_output if kind == TRAINED else folder / f"{recogniser.name}.h5")
        maps.compute_maps(faces_path, file, recogniser, settings, device="cpu", seed=seed)
        counts, of_images = folder / "counts.parquet", folder / "images.parquet"
        regions.count_regions([file], [faces_path], counts, of_images, recogniser.name, settings.grid)
        counted.append(pd.read_parquet(counts).assign(kind=kind))
        files[recogniser.name] = [file]
    counted.append(count_pixels(faces_path, maps_output, settings, seed))
    verification.tabulate_verification(files, folder / "verification.csv", seed)
    auc = pd.read_csv(folder / "verification.csv").set_index("model")["auc"]
    table = pd.concat([rows.astype(dict.fromkeys(regions.KEYS, str)) for rows in counted], ignore_index=True)
    return table.assign(auc=table["model"].map(auc))


# ---------------------------------------------------------------------------------------------------- pixel controls


def count_pixels(faces_path: str | Path, maps_path: str | Path, settings: MapSettings, seed: int) -> pd.DataFrame:
    """The pixel controls of a world: rows as those of ``regions.count_regions``, and their kind.

    Each control is a map of its own that is counted as any other, so it has the same number of pixels in the same
    images. ``pairs`` are images here.
    """
    with storage.open_shard(maps_path, "maps") as shard, storage.open_shard(faces_path, "faces") as parsed:
        layers, thresholds = storage.read_layers(shard), storage.read_thresholds(shard)
        placed, labels = {}, {}
        for name in storage.identities(shard):
            placed[name] = place_maps(storage.read_maps(shard, name).maps, settings.grid)
            used = storage.used_faces(shard, parsed, name)
            labels[name] = regions.resize_regions(storage.read_regions(parsed, name)[used], settings.grid)
    axes = {"layer": [*layers, WHOLE_MODEL], "threshold": thresholds, "region": list(REGIONS)}
    rng, centre, mean = np.random.default_rng(seed), centre_map(settings.grid), np.mean(list(placed.values()), 0)
    counted = []
    for name, of_identity in labels.items():
        shape = (len(of_identity), 2 * len(layers), settings.grid, settings.grid)
        drawn = 1 - rng.random(shape, np.float32)  # above 0, as only such pixels count
        for kind, grids in (("random", drawn), ("centre", centre), (MEAN, mean)):
            counts = count_grids(np.broadcast_to(grids, shape), of_identity, settings)
            rows = count_polarities(counts, regions.area_percents(of_identity), axes)
            counted.append(rows.assign(model=kind, kind=kind, identity=name, untrained=False))
    return pd.concat(counted, ignore_index=True)


def place_maps(image_maps: dict[str, dict[str, np.ndarray]], side: int) -> np.ndarray:
    """{polarity: {layer: (N, h, w)}} of an identity -> (2 L, G, G): the mean of its image maps, on the common grid."""
    grid = maps.Grid(side)
    found = [image_maps[polarity][layer].mean(0) for polarity in POLARITIES for layer in image_maps[polarity]]
    return np.stack([grid.place(torch.from_numpy(image_map)).numpy() for image_map in found])


def centre_map(side: int) -> np.ndarray:
    """(G, G) float32, 1 in the middle and less the farther from it, above 0: its largest pixels are a disc."""
    away = np.hypot(*np.mgrid[:side, :side] - (side - 1) / 2)
    return (1 - away / side).astype(np.float32)


def count_grids(grids: np.ndarray, labels: np.ndarray, settings: MapSettings) -> np.ndarray:
    """Maps (N, 2 L, G, G) on regions (N, G, G) -> (2, N, L, T, R), polarity first."""
    counter = maps.RegionCounter(torch.from_numpy(labels), settings.top_percents)
    counts = counter.count(torch.from_numpy(grids.copy())).numpy()
    return counts.reshape(len(grids), 2, -1, *counts.shape[2:]).swapaxes(0, 1)


def count_polarities(counts: np.ndarray, area: np.ndarray, axes: dict[str, list[str]]) -> pd.DataFrame:
    """Counts (2, N, L, T, R) as rows, both polarities."""
    return pd.concat(
        [
            regions.count_polarity(of_polarity, area, axes).assign(polarity=polarity)
            for polarity, of_polarity in zip(POLARITIES, counts, strict=True)
        ]
    )


# ------------------------------------------------------------------------------------------------------------ tables


def tabulate_localisation(
    measured: list[str],
    output: str | Path,
    regions_output: str | Path,
    *,
    bootstrap_samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> None:
    """localisation.csv (is the region found? one row per world, polarity, layer and pixel set) and
    localisation_regions.csv (every region under every recogniser and control, the columns of regions.csv).

    measured : the files of ``measure_localisation``, one per world. Pixel sets: the top 1 % and the full activation.
    """
    found, shares = [], []
    for path in measured:
        counts = pd.read_parquet(path)
        counts = counts[counts["threshold"].isin([FULL, tables.TOP_1])]
        of_world = share_models(counts, bootstrap_samples, confidence, seed)
        shares.append(of_world)
        found.append(find_region(counts, of_world, bootstrap_samples, confidence, seed))
    for path, rows in ((output, found), (regions_output, shares)):
        with storage.whole_file(path) as part:
            pd.concat(rows).to_csv(part, index=False, float_format="%.6g")


def share_models(counts: pd.DataFrame, samples: int, confidence: float, seed: int) -> pd.DataFrame:
    """``tables.share_regions`` of every recogniser and control of a world, with world, kind and auc."""
    shares = []
    for model, rows in counts.groupby("model", observed=True, sort=False):
        first = rows.iloc[0]
        facts = {"world": first["world"], "kind": first["kind"], "model": model, "auc": first["auc"]}
        table = tables.share_regions(rows, samples, confidence, seed).astype(dict.fromkeys(tables.CELL, str))
        shares.append(table.assign(**facts)[["world", "kind", "auc", *tables.REGION_COLUMNS]])
    return pd.concat(shares, ignore_index=True)


CELLS = ["polarity", "layer", "threshold"]


def find_region(counts: pd.DataFrame, shares: pd.DataFrame, samples: int, confidence: float, seed: int) -> pd.DataFrame:
    """Is the world's region found by the LEAM of its own recogniser? One row per polarity, layer and pixel set.

    rank : of the region's enrichment among the regions that have any area (``regions``), 1 is the highest
    under_general (the higher of the two), under_shuffled, ... : the region's enrichment under the controls and ``mean``
    nearest, difference : the control that comes closest, and enrichment minus its enrichment, with an interval
        bootstrapped over identities, who are the same under both
    above_chance : the interval of the enrichment lies above 1
    above_recognisers, above_random, above_centre, above_mean : the interval of the difference to each of them lies
        above 0 (to general, shuffled and untrained: all three)
    found : above chance and above every control
    """
    world = shares["world"].iloc[0]
    own = shares[shares["kind"] == TRAINED]
    rank = own.groupby(CELLS, sort=False)["enrichment"].rank(ascending=False, method="min")
    table = own.assign(rank=rank, regions=own.groupby(CELLS)["enrichment"].transform("count"))
    table = table[table["region"] == world].drop(columns=["kind", "region"]).reset_index(drop=True)
    table["rank"] = table["rank"].fillna(0).astype(int)
    under = resample(counts[counts["region"] == world], samples, seed)
    for kind in (*CONTROLS, MEAN):
        table[f"under_{kind}"] = np.max([values[0] for (other, _), values in under.items() if other == kind], axis=0)
    (trained,) = (values for (kind, _), values in under.items() if kind == TRAINED)
    gaps = {key: trained - values for key, values in under.items() if key[0] != TRAINED}
    above = {key: tables.interval(gap[1:], confidence)[0] > 0 for key, gap in gaps.items()}
    table = pd.concat(
        [table, _nearest({m: gap for (kind, m), gap in gaps.items() if kind != MEAN}, confidence)], axis=1
    )
    table["above_chance"] = table["enrichment_low"] > 1
    table["above_recognisers"] = np.all([of for (kind, _), of in above.items() if kind in RECOGNISER_CONTROLS], axis=0)
    for kind in (*PIXEL_CONTROLS, MEAN):
        table[f"above_{kind}"] = above[kind, kind]
    claims = ["above_chance", "above_recognisers", *(f"above_{kind}" for kind in PIXEL_CONTROLS)]
    table["found"] = table[claims].all(axis=1)
    return table


def resample(counts: pd.DataFrame, samples: int, seed: int) -> dict[tuple[str, str], np.ndarray]:
    """Enrichment of one region by (kind, model): (1 + B, K), first with every identity once, then bootstrapped.

    counts : the region's rows of ``measure_localisation``; the same identities are drawn under every model
    """
    found = {}
    for (kind, model), rows in counts.groupby(["kind", "model"], observed=True, sort=False):
        rows = rows.sort_values("identity", kind="stable")
        i = rows["identity"].astype(str).nunique()
        percent, area = (rows[name].to_numpy(float).reshape(i, -1) for name in ("percent", "area_percent"))
        weights = np.vstack([np.full((1, i), 1 / i), tables.bootstrap_weights(i, samples, seed)])
        mass = weights @ area
        mean = tables.weighted_means(weights, percent)
        found[str(kind), str(model)] = np.divide(mean, mass, out=np.full(mean.shape, np.nan), where=mass > 0)
    return found


def _nearest(gaps: dict[str, np.ndarray], confidence: float) -> pd.DataFrame:
    """The smallest of the differences (1 + B, K) per cell, whose it is, and its interval."""
    nearest = np.argmin([gap[0] for gap in gaps.values()], axis=0)  # (K,)
    gap = np.stack(list(gaps.values()), -1)[:, np.arange(len(nearest)), nearest]  # (1 + B, K)
    low, high = tables.interval(gap[1:], confidence)
    names = np.array(list(gaps))[nearest]
    return pd.DataFrame({"nearest": names, "difference": gap[0], "difference_low": low, "difference_high": high})


# ------------------------------------------------------------------------------------------------------------ figure

LINES = {  # kind: label, colour, line style
    TRAINED: ("trained in this world", "#c2410c", "-"),
    "general": ("trained on people who differ everywhere", "#2a6fb0", "-"),
    "shuffled": ("shuffled weights", "#6b7280", "--"),
    "untrained": ("untrained (random weights)", "#6b7280", ":"),
    MEAN: ("mean map of the first", "#e8a317", "--"),
    "centre": ("centre disc", "#3f3f46", "-."),
    "random": ("random pixels", "#b8b8b8", "-"),
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
    found, shares = (pd.read_csv(path, dtype={"threshold": str}) for path in (found, shares))
    found = found[(found["threshold"] == tables.TOP_1) & (found["layer"] != WHOLE_MODEL)]
    worlds = list(pd.unique(found["world"]))
    with pyplot.rc_context(figures.STYLE):
        figure = pyplot.figure(figsize=(13.5, 0.9 + 3.3 * len(worlds)), layout="constrained")
        rows = figure.subfigures(len(worlds), 1, squeeze=False)[:, 0]
        for row, world, faces_file, maps_file in zip(rows, worlds, faces_files, maps_files, strict=True):
            left, right = row.subfigures(1, 2, width_ratios=[1.75, 1])
            of_world = found[found["world"] == world]
            axes = left.subplots(1, 2, sharey=True)
            for axis, polarity in zip(axes, POLARITIES, strict=True):
                _plot_layers(axis, shares[shares["world"] == world], world, polarity)
                here = of_world[of_world["polarity"] == polarity]
                above = [here[f"above_{control}"].sum() for control in ("recognisers", "centre")]
                axis.set_title(
                    f"{polarity}: of {len(here)} layers {above[0]} above all recognisers, {above[1]} above the disc",
                    loc="left",
                    fontsize=8.5,
                )
            axes[0].set_ylabel("enrichment of the region")
            title = figures.REGION_TITLES[REGIONS.index(world)]
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
        figures.save(figure, png, pdf)


def _plot_layers(axis: Axes, shares: pd.DataFrame, world: str, polarity: str) -> None:
    chosen = (shares["polarity"] == polarity) & (shares["threshold"] == tables.TOP_1) & (shares["region"] == world)
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
    axis.axhline(1, color=figures.INK, lw=0.6)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_xticks(x, rows["layer"], rotation=40, ha="right", rotation_mode="anchor", fontsize=7)


def _plot_examples(figure: SubFigure, found: pd.DataFrame, faces_file: str, maps_file: str, seed: int) -> None:
    """People down; the picture and its maps across, the true region outlined."""
    world, axes = found["world"].iloc[0], figure.subplots(SHOWN, 3)
    best = {p: rows.loc[rows["enrichment"].idxmax(), "layer"] for p, rows in found.groupby("polarity", sort=False)}
    people = figures.choose_identities([maps_file], [faces_file], SHOWN, seed)
    with storage.open_shard(maps_file, "maps") as shard, storage.open_shard(faces_file, "faces") as parsed:
        window = json.loads(shard.attrs["recogniser"])["window"]
        for row, (person, crops) in zip(axes, people, strict=True):
            used = storage.used_faces(shard, parsed, person.identity)
            outline = storage.read_regions(parsed, person.identity)[used][0] == REGIONS.index(world)
            row[0].imshow(crops[0])
            for axis, polarity in zip(row[1:], POLARITIES, strict=True):
                figures.draw_map(axis, crops[0], person.maps[polarity][best[polarity]][0], window)
            for axis in row:
                axis.contour(outline, levels=[0.5], colors="#36d6e7", linewidths=0.8)
                axis.set_axis_off()
    for axis, title in zip(axes[0], ("picture", *(f"{p}\n{best[p]}" for p in POLARITIES)), strict=True):
        axis.set_title(title, fontsize=7)
