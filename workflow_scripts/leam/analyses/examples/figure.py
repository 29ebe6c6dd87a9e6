"""Examples of maps, each chosen by a stated rule and never by hand (paper figures 1 and 3-7, RQ1).

The rules rest on two measures of an image: its mean cosine with the other images of its person, and how far its mouth
is open. Ties are drawn with the run's seed. Shape letters: N images, L layers, G side of the common grid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes

from leam import storage
from leam.analyses.similarity import bhattacharyya
from leam.grid import largest_pixels
from leam.plotting import (
    STYLE,
    UNTRAINED_NOTE,
    NothingToShowError,
    draw_map,
    label_rows,
    or_note,
    picture_grid,
    rows_to_show,
    save,
    short_name,
    shown_name,
)
from leam.reasons import NOBODY
from leam.selection import draw_identities

SENSITIVITY_PERCENTS = (0.1, 0.5, 1, 2, 5, 10)  # of plot_sensitivity, percent of the grid
FRACTIONS = (0.5, 0.25, 0.1, 0.05, 0.01)  # of the map's maximum; the last is the full activation
INNER_LIPS = ((61, 67), (62, 66), (63, 65))  # upper and lower landmarks (iBUG 68)
MOUTH_CORNERS = (60, 64)


def list_images(maps: list[str]) -> pd.DataFrame:
    """Every image of a recogniser's maps files: identity, image, shard (position in ``maps``), cosine (the mean over
    the other images of the person)."""
    rows = []
    for number, path in enumerate(maps):
        with storage.open_shard(path, "maps") as shard:
            for identity in storage.identities(shard):
                pairs, cosine = storage.read_pairs(shard, identity)
                means = pd.Series(cosine.astype(float)).groupby(pairs[:, 0]).mean()
                names = storage.read_images(shard, identity)
                rows += [(identity, image, number, means[place]) for place, image in enumerate(names)]
    return pd.DataFrame(rows, columns=["identity", "image", "shard", "cosine"]).astype({"shard": int, "cosine": float})


def list_shared_images(maps: dict[str, list[str]]) -> pd.DataFrame:
    """The images that every recogniser has maps of; ``cosine`` is the mean over the recognisers.

    Raises NothingToShowError where there is none.
    """
    tables = rows_to_show(pd.concat([list_images(paths) for paths in maps.values()]))
    found = tables.groupby(["identity", "image", "shard"], sort=False)["cosine"].agg(["mean", "size"])
    without = "no image has maps of every recogniser: tables/discarded.csv says why"
    found = rows_to_show(found[found["size"] == len(maps)], without)
    return found["mean"].rename("cosine").reset_index()


def nearest_the_median(values: np.ndarray, seed: int) -> int:
    """Position of the value nearest to the median of them all; ties are drawn with the seed."""
    distance = np.abs(values - np.median(values))
    return int(np.random.default_rng(seed).choice(np.flatnonzero(distance == distance.min())))


def choose_image(images: pd.DataFrame, seed: int) -> pd.Series:
    """The most ordinary image: its mean cosine is nearest to the median of all images of the run.

    Raises NothingToShowError where there is none.
    """
    images = rows_to_show(images)
    return images.iloc[nearest_the_median(images["cosine"].to_numpy(), seed)]


def choose_person(images: pd.DataFrame, seed: int) -> pd.Series:
    """The most ordinary person: their images' mean cosine is nearest to the median of all people; identity, shard."""
    people = images.groupby(["identity", "shard"], sort=True)["cosine"].mean().reset_index()
    return people.iloc[nearest_the_median(people["cosine"].to_numpy(), seed)]


def open_mouth(landmarks: np.ndarray) -> np.ndarray:
    """How far each mouth is open: mean distance of the inner lips over the inner mouth's width.

    landmarks : (N, 68, 2) -> (N,), NaN where unknown or where the mouth has no width
    """
    upper, lower = np.transpose(INNER_LIPS)
    gap = np.linalg.norm(landmarks[:, upper] - landmarks[:, lower], axis=-1).mean(1)
    width = np.linalg.norm(landmarks[:, MOUTH_CORNERS[0]] - landmarks[:, MOUTH_CORNERS[1]], axis=-1)
    return np.divide(gap, width, out=np.full(len(gap), np.nan), where=width > 0)


def choose_expressions(mouths: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """The people whose mouth differs most between two images: one row each, with the most closed and most open image.

    mouths : identity, image, shard, mouth (NaN is left out). Ties are drawn with the seed.
    """
    known = mouths.dropna(subset="mouth").sample(frac=1, random_state=seed).sort_values("mouth", kind="stable")
    ends = known.groupby("identity").agg(
        shard=("shard", "first"),
        closed=("image", "first"),
        open=("image", "last"),
        narrowest=("mouth", "first"),
        widest=("mouth", "last"),
    )
    ends = ends[ends["closed"] != ends["open"]].sample(frac=1, random_state=seed)
    spread = (ends["narrowest"] - ends["widest"]).sort_values(kind="stable")  # largest difference first
    return ends.loc[spread.index[:count]].reset_index()


def list_mouths(maps: list[str], faces: list[str]) -> pd.DataFrame:
    """How far the mouth is open in every image that has maps: identity, image, shard, mouth."""
    rows = []
    for number, (maps_path, faces_path) in enumerate(zip(maps, faces, strict=True)):
        with storage.open_shard(maps_path, "maps") as shard, storage.open_shard(faces_path, "faces") as parsed:
            for identity in storage.identities(shard):
                used = storage.used_faces(shard, parsed, identity)
                mouth = open_mouth(storage.read_landmarks(parsed, identity)[used])
                names = storage.read_images(shard, identity)
                rows += [(identity, image, number, value) for image, value in zip(names, mouth, strict=True)]
    return pd.DataFrame(rows, columns=["identity", "image", "shard", "mouth"])


def title_of_image(identity: str, image: str) -> str:
    return f"{shown_name(identity)} / {shown_name(Path(image).stem)}"


@dataclass
class Example:
    """One image and its maps under one recogniser: crop (S, S, 3), maps {polarity: {layer: (G, G)}}, on the grid."""

    identity: str
    image: str
    crop: np.ndarray
    maps: dict[str, dict[str, np.ndarray]]

    @property
    def title(self) -> str:
        return title_of_image(self.identity, self.image)


def read_examples(maps: str, faces: str, identity: str, images: list[str]) -> list[Example]:
    """Images of one identity with their maps, from the files of its shard."""
    with storage.open_shard(maps, "maps") as shard, storage.open_shard(faces, "faces") as parsed:
        found, names = storage.read_maps(shard, identity), storage.read_images(parsed, identity)
        crops, grid = storage.read_faces(parsed, identity).crops, storage.read_grid(shard)
    examples = []
    for image in images:
        place = found.images.index(image)
        of_image = {
            polarity: {layer: grid.place(array[place], layer) for layer, array in layers.items()}
            for polarity, layers in found.maps.items()
        }
        examples.append(Example(identity, image, crops[names.index(image)], of_image))
    return examples


def read_example(maps: list[str], faces: list[str], chosen: pd.Series) -> Example:
    """The image of a row of ``list_images`` with its maps."""
    shard = chosen["shard"]
    return read_examples(maps[shard], faces[shard], chosen["identity"], [chosen["image"]])[0]


def title_of(maps: list[str]) -> tuple[str, list[str]]:
    """The recogniser's name, marked when untrained, and its layers."""
    with storage.open_shard(maps[0], "maps") as shard:
        return str(shard.attrs["model"]) + UNTRAINED_NOTE * storage.is_untrained(shard), storage.read_layers(shard)


def spread_over(layers: list[str], count: int = 3) -> list[str]:
    """The first, middle and last of the layers, by their place; fewer when there are fewer."""
    places = np.linspace(0, len(layers) - 1, min(count, len(layers))).round().astype(int)
    return [layers[place] for place in places]


def _show_rows(
    title: str, layers: list[str], rows: list[tuple[str, str, Example]], png: str | Path, pdf: str | Path
) -> None:
    """The picture and its maps of all layers across, one row per (label, polarity, example)."""
    with pyplot.rc_context(STYLE):
        figure, axes = picture_grid(len(rows), len(layers) + 1, title)
        for panels, (_, polarity, example) in zip(axes, rows, strict=True):
            panels[0].imshow(example.crop)
            for axis, layer in zip(panels[1:], layers, strict=True):
                draw_map(axis, example.crop, example.maps[polarity][layer])
        for axis, name in zip(axes[0], ["picture", *layers], strict=True):
            axis.set_title(short_name(name), fontsize=7)
        label_rows(axes, [label for label, _, _ in rows])
        save(figure, png, pdf)


@or_note
def plot_layers(maps: list[str], faces: list[str], png: str | Path, pdf: str | Path, *, seed: int = 0) -> None:
    """One image through all layers, in both polarities: the most ordinary one (``choose_image``).

    maps, faces : the shards' files of one recogniser, in the same order
    """
    model, layers = title_of(maps)
    chosen = choose_image(list_images(maps), seed)
    example = read_example(maps, faces, chosen)
    rows = [(polarity, polarity, example) for polarity in example.maps]
    title = f"{model}: layer by layer, {example.title} (mean cosine {chosen['cosine']:.2f})"
    _show_rows(title, layers, rows, png, pdf)


@or_note
def plot_expressions(
    maps: list[str],
    faces: list[str],
    png: str | Path,
    pdf: str | Path,
    *,
    polarity: str,
    identities: int = 2,
    seed: int = 0,
) -> None:
    """People with the mouth closed and open, through all layers: those who differ most (``choose_expressions``)."""
    model, layers = title_of(maps)
    mouths = rows_to_show(list_mouths(maps, faces))
    without = "nobody has landmarks in two images, so there are no expressions to show"
    chosen = rows_to_show(choose_expressions(mouths, identities, seed), without)
    rows = []
    for person in chosen.itertuples():
        examples = read_examples(maps[person.shard], faces[person.shard], person.identity, [person.closed, person.open])
        for example, mouth in zip(examples, (person.narrowest, person.widest), strict=True):
            rows.append((f"{example.title}\nmouth {mouth:.2f}", polarity, example))
    _show_rows(f"{model}: expressions, polarity {polarity}", layers, rows, png, pdf)


def top_set(grid_map: np.ndarray, percent: float) -> np.ndarray:
    """The round(p / 100 * G * G) largest > 0 of (G, G), at least 1, ties by lowest index (docs/method.md 2.5)."""
    chosen = np.zeros(grid_map.size, bool)
    chosen[largest_pixels(grid_map, percent)] = True
    return chosen.reshape(grid_map.shape)


def fraction_set(grid_map: np.ndarray, fraction: float) -> np.ndarray:
    """The pixels of (G, G) above this fraction of the map's maximum; none when the map is zero."""
    return grid_map > fraction * grid_map.max()


@or_note
def plot_sensitivity(
    maps: list[str],
    faces: list[str],
    png: str | Path,
    pdf: str | Path,
    *,
    polarity: str,
    seed: int = 0,
) -> None:
    """How the activated set of one image grows with the threshold: top p % of the grid, and fractions of the maximum.

    The most ordinary image (``choose_image``); the first, middle and last layer. Under each set its share of the grid.
    """
    model, layers = title_of(maps)
    chosen = choose_image(list_images(maps), seed)
    example = read_example(maps, faces, chosen)
    columns: list[tuple[str, Callable[[np.ndarray, float], np.ndarray], float]] = [
        (f"top {percent:g} %", top_set, percent) for percent in SENSITIVITY_PERCENTS
    ]
    columns += [(f"> {fraction:g} of max", fraction_set, fraction) for fraction in FRACTIONS]
    shown = spread_over(layers)
    title = f"{model}: thresholds, {example.title}, polarity {polarity}"
    with pyplot.rc_context(STYLE):
        figure, axes = picture_grid(len(shown), len(columns) + 1, title, captions=True)
        for panels, layer in zip(axes, shown, strict=True):
            on_grid = example.maps[polarity][layer]
            draw_map(panels[0], example.crop, on_grid)
            for axis, (_, choose, threshold) in zip(panels[1:], columns, strict=True):
                _draw_set(axis, example.crop, choose(on_grid, threshold))
        for axis, name in zip(axes[0], ["map", *(name for name, _, _ in columns)], strict=True):
            axis.set_title(name, fontsize=7)
        label_rows(axes, shown)
        save(figure, png, pdf)


def _draw_set(axis: Axes, crop: np.ndarray, pixels: np.ndarray) -> None:
    """A set of pixels (G, G) over its crop, with its share of the grid beneath."""
    side = crop.shape[0]
    axis.imshow(0.5 * 255 + 0.5 * crop.mean(2), cmap="gray", vmin=0, vmax=255)
    colour = np.zeros((*pixels.shape, 4))
    colour[pixels] = (0.76, 0.25, 0.05, 0.9)
    axis.imshow(colour, extent=(-0.5, side - 0.5, side - 0.5, -0.5), interpolation="nearest")
    axis.set_xlabel(f"{100 * pixels.mean():.2g} %", fontsize=6, labelpad=1)


@or_note
def plot_person(
    maps: dict[str, list[str]],
    faces: list[str],
    png: str | Path,
    pdf: str | Path,
    *,
    polarity: str,
    images: int = 4,
    seed: int = 0,
) -> None:
    """Images of one person down, recognisers across (paper figure 1): the most ordinary person (``choose_person``).

    maps : the shards' files per recogniser; each panel is ``mean_over_layers``
    """
    shared = list_shared_images(maps)
    person = choose_person(shared, seed)
    names = sorted(shared[shared["identity"] == person["identity"]]["image"])[:images]
    rows: list[list[np.ndarray]] = [[] for _ in names]
    for paths in maps.values():
        examples = read_examples(paths[person["shard"]], faces[person["shard"]], person["identity"], names)
        for row, example in zip(rows, examples, strict=True):
            row.append(mean_over_layers(example.maps[polarity]))
    title = f"{shown_name(person['identity'])} under every recogniser\nmean over the layers, polarity {polarity}"
    _show_recognisers(title, maps, [example.crop for example in examples], rows, names, png, pdf)


def mean_over_layers(placed: dict[str, np.ndarray]) -> np.ndarray:
    """The mean of maps on the common grid, {layer: (G, G)} -> (G, G), in which each layer weighs the same.

    Each sums to 1 on the grid first: at their own sizes they do, but placing one multiplies its sum by its enlargement.
    A map without mass is left out.
    """
    shares = [m / m.sum() for m in placed.values() if m.sum() > 0]
    return np.mean(shares, axis=0) if shares else next(iter(placed.values()))


@or_note
def plot_recognisers(
    maps: dict[str, list[str]],
    faces: list[str],
    png: str | Path,
    pdf: str | Path,
    *,
    polarity: str,
    seed: int = 0,
) -> None:
    """One image under every recogniser: the first, middle and last layer down. The most ordinary image
    (``choose_image`` of those that all recognisers have).

    Under each map its Bhattacharyya coefficient with that of the first recogniser (docs/method.md 4).
    """
    chosen = choose_image(list_shared_images(maps), seed)
    depths = ["first layer", "middle layer", "last layer"]
    rows: list[list[np.ndarray]] = [[] for _ in depths]
    for paths in maps.values():
        example = read_example(paths, faces, chosen)
        layers = list(example.maps[polarity])
        for row, place in zip(rows, (0, (len(layers) - 1) // 2, -1), strict=True):
            row.append(example.maps[polarity][layers[place]])
    title = f"{example.title} under every recogniser\npolarity {polarity}"
    _show_recognisers(title, maps, [example.crop] * len(depths), rows, depths, png, pdf, compare=True)


def overlap(p: np.ndarray, q: np.ndarray) -> float:
    """BC of two maps (G, G), each first made to sum to 1 (equation 6); 0 when one is zero everywhere."""
    p, q = (on_grid.reshape(1, -1) / max(on_grid.sum(), np.finfo(np.float32).tiny) for on_grid in (p, q))
    return bhattacharyya(p, q).item()


def _show_recognisers(
    title: str,
    maps: dict[str, list[str]],
    crops: list[np.ndarray],
    rows: list[list[np.ndarray]],
    labels: list[str],
    png: str | Path,
    pdf: str | Path,
    compare: bool = False,
) -> None:
    """The picture and its map (G, G) under each recogniser across; compare : write the BC with the first beneath."""
    with pyplot.rc_context(STYLE):
        figure, axes = picture_grid(len(rows), len(maps) + 1, title, captions=compare)
        for panels, crop, row in zip(axes, crops, rows, strict=True):
            panels[0].imshow(crop)
            for number, (axis, on_grid) in enumerate(zip(panels[1:], row, strict=True)):
                draw_map(axis, crop, on_grid)
                if compare and number:
                    axis.set_xlabel(f"BC {overlap(row[0], on_grid):.2f}", fontsize=6, labelpad=1)
        for axis, paths in zip(axes[0, 1:], maps.values(), strict=True):
            axis.set_title(title_of(paths)[0].replace(" (", "\n("), fontsize=7)
        axes[0, 0].set_title("picture", fontsize=7)
        label_rows(axes, [Path(label).stem for label in labels])
        save(figure, png, pdf)


@or_note
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
    people = choose_shown_identities(maps, faces, identities, seed)
    columns = [(found, crop, number) for found, crops in people for number, crop in enumerate(crops[:images])]
    model, layers = title_of(maps)
    with storage.open_shard(maps[0], "maps") as shard:
        grid = storage.read_grid(shard)
    with pyplot.rc_context(STYLE):
        figure, axes = picture_grid(len(layers) + 1, len(columns), f"{model}: LEAM, polarity {polarity}")
        for across, (found, crop, number) in enumerate(columns):
            axes[0, across].imshow(crop)
            axes[0, across].set_title(title_of_image(found.identity, found.images[number]), fontsize=7)
            for down, layer in enumerate(layers, start=1):
                draw_map(axes[down, across], crop, grid.place(found.maps[polarity][layer][number], layer))
        label_rows(axes, ["picture", *layers])
        save(figure, png, pdf)


def choose_shown_identities(
    maps: list[str], faces: list[str], count: int, seed: int
) -> list[tuple[storage.IdentityMaps, np.ndarray]]:
    """Maps and crops (N, S, S, 3) of identities drawn with the seed (``draw_identities``).

    Raises NothingToShowError where nobody has two images.
    """
    chosen = []
    for number, identity in draw_identities(maps, "maps", count, seed):
        with storage.open_shard(maps[number], "maps") as shard, storage.open_shard(faces[number], "faces") as parsed:
            used = storage.used_faces(shard, parsed, identity)
            chosen.append((storage.read_maps(shard, identity), storage.read_faces(parsed, identity).crops[used]))
    if not chosen:
        raise NothingToShowError(NOBODY)
    return chosen
