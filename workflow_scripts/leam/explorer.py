"""The explorer: one page, without a server or a network, to look at the maps of a few identities in any way.

Shape letters: N images, S side of a crop, L layers, G side of the common grid, T pixel sets (the full activation last).
"""

import base64
import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

from leam import files, storage
from leam.grid import FULL_ACTIVATION, Grid, largest_pixels, set_size
from leam.methods import POLARITIES
from leam.names import in_script
from leam.paper import REGION_TITLES
from leam.reasons import NOBODY
from leam.regions import FULL, REGIONS, resize_regions
from leam.selection import draw_identities
from leam.tables import read_output

TEMPLATE = Path(__file__).with_name("explorer.html")
OUTSIDE = 255  # the level of pixels in no set
LOSSY_QUALITY = 80  # of photographs and heat; sets and regions are exact


def pixel_levels(grid_map: np.ndarray, top_percents: list[float]) -> np.ndarray:
    """The smallest pixel set that each pixel of a map (G, G) is in: (G, G) uint8, counted from 0.

    The sets of docs/method.md 2.5, for the image map: top p %, then the full activation; OUTSIDE where in none.
    """
    flat = grid_map.ravel()
    levels = np.full(flat.size, OUTSIDE, np.uint8)
    if flat.max() <= 0:
        return levels.reshape(grid_map.shape)
    levels[flat / flat.max() > FULL_ACTIVATION] = len(top_percents)
    largest = largest_pixels(flat, max(top_percents))
    for level, percent in reversed(list(enumerate(top_percents))):
        levels[largest[: set_size(percent, flat.size)]] = level
    return levels.reshape(grid_map.shape)


def encode(picture: np.ndarray, kind: str) -> str:
    """A picture (h, w) or (h, w, 3) uint8 as a data address: "webp" (lossy) or "png" (exact)."""
    options: dict[str, dict[str, int]] = {"webp": {"quality": LOSSY_QUALITY, "method": 4}, "png": {"optimize": True}}
    with io.BytesIO() as stream:
        Image.fromarray(picture).save(stream, format=kind, **options[kind])
        return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def build_explorer(
    maps: dict[str, list[str]],
    faces: list[str],
    verification: str | Path,
    output: str | Path,
    *,
    identities: int = 4,
    images: int = 4,
    seed: int = 0,
) -> None:
    """index.html: pictures, regions and maps of some identities, under every recogniser, layer and polarity.

    maps : {model: its files, one per shard}; faces : the shards' files, in the same order
    verification : verification.csv, so that each recogniser's AUC stands beside its maps
    The identities are drawn with the seed among those with maps of the first recogniser that has any, and the page says
    where none has; it holds the photographs that these maps are of.
    """
    people = []
    for first in maps.values():
        if drawn := draw_identities(first, "maps", identities, seed):
            break
    for number, identity in drawn:
        with storage.open_shard(faces[number], "faces") as parsed, storage.open_shard(first[number], "maps") as shard:
            people.append((number, storage.read_faces(parsed, identity, storage.read_images(shard, identity))))
    recognisers = [_recogniser(model, paths, people, images) for model, paths in maps.items()]
    data = {
        "people": [_person(found, images, recognisers[0]["grid"]) for _, found in people],
        "recognisers": recognisers,
        "polarities": list(POLARITIES),
        "regions": dict(zip(REGIONS, REGION_TITLES, strict=True)),
        "auc": _areas_under_curve(verification),
        "note": "" if people else NOBODY,
    }
    page = TEMPLATE.read_text(encoding="utf-8").replace("{{DATA}}", in_script(data))
    with files.whole_file(output) as part:
        part.write_text(page, encoding="utf-8")


def _person(found: storage.Faces, images: int, grid: int) -> dict:
    regions = resize_regions(found.regions[:images], grid)
    rows = zip(found.images, found.crops, regions, strict=False)  # regions end first
    return {
        "identity": found.identity,
        "images": [
            {"name": name, "crop": encode(crop, "webp"), "regions": encode(labels, "png")}
            for name, crop, labels in rows
        ],
    }


def _recogniser(model: str, paths: list[str], people: list[tuple[int, storage.Faces]], images: int) -> dict:
    """What the page needs of one recogniser: names, and a strip of maps per identity, image and polarity."""
    strips: dict[str, dict] = {}
    with storage.open_shard(paths[0], "maps") as shard:
        layers, sets = storage.read_layers(shard), storage.read_thresholds(shard)
        untrained, grid = storage.is_untrained(shard), storage.read_grid(shard)
    for number, faces in people:
        with storage.open_shard(paths[number], "maps") as shard:
            if faces.identity in storage.identities(shard):
                found = storage.read_maps(shard, faces.identity)
                strips[faces.identity] = _strips(found, faces.images[:images], grid, sets)
    return {"name": model, "untrained": untrained, "layers": layers, "sets": sets, "grid": grid.side, "strips": strips}


def _strips(found: storage.IdentityMaps, names: list[str], grid: Grid, sets: list[str]) -> dict:
    """{image: {polarity: {heat, levels}}}, each a picture (L * G, G): the layers' maps one below the other."""
    top_percents = [float(name) for name in sets if name != FULL]
    strips: dict[str, dict] = {}
    for position, name in enumerate(found.images):
        if name not in names:
            continue
        strips[name] = {}
        for polarity, by_layer in found.maps.items():
            placed = [grid.place(maps[position], layer) for layer, maps in by_layer.items()]
            heat = [255 * np.sqrt(m / m.max()) if m.max() > 0 else m for m in placed]  # roots keep weak places apart
            levels = [pixel_levels(m, top_percents) for m in placed]
            strips[name][polarity] = {
                "heat": encode(np.concatenate(heat).round().astype(np.uint8), "webp"),
                "levels": encode(np.concatenate(levels), "png"),
            }
    return strips


def _areas_under_curve(verification: str | Path) -> dict[str, float | None]:
    """{model: AUC}, None where there were no pairs."""
    found = read_output(verification).set_index("model")["auc"]
    return {model: None if math.isnan(auc) else round(auc, 4) for model, auc in found.items()}
