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

Shape letters: N images, L layers, G side of the grid, I identities, T thresholds, R regions,
K cells (polarity x layer x threshold).
"""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from leam import files, maps, regions, storage
from leam.analyses.localisation import GENERAL, MEAN, SEED_OFFSET, SHARD, TRAINED, UNTRAINED
from leam.analyses.regions import measure as regions_measure
from leam.analyses.verification import table as verification_table
from leam.controls import CENTRE, RANDOM, SHUFFLED
from leam.faces import stage as faces_stage
from leam.grid import Grid, centre_scores
from leam.maps import MapSettings
from leam.methods import POLARITIES
from leam.pixel_sets import RegionCounter
from leam.recognisers import registry
from leam.recognisers.registry import Recogniser
from leam.regions import REGIONS, WHOLE_MODEL
from leam.sample import rendering, training
from leam.tables import read_output


def recognisers_of(region: str, entries: dict[str, dict] | None = None) -> list[tuple[str, Recogniser]]:
    """Kind and recogniser of all that are looked into in a world, the one trained for it first.

    entries : what the configuration says of recognisers, by name; all are looked into at the layers of the first
    Raises models.ModelError when none is called ``sample_{region}``.
    """
    entries, name = entries or {}, registry.world_model(region)
    trained = registry.recogniser(name, entries.get(name))
    general = [registry.recogniser(other, entries.get(other)) for other in registry.GENERAL_MODELS]
    return [
        (TRAINED, trained),
        *((GENERAL, dataclasses.replace(other, layers=trained.layers)) for other in general),
        (SHUFFLED, dataclasses.replace(trained, name=f"{name}_{SHUFFLED}", shuffled=True)),
        (UNTRAINED, dataclasses.replace(trained, name=f"{name}_{UNTRAINED}", untrained=True)),
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
    for key in ("world", "kind", *regions_measure.COUNT_KEYS):
        table[key] = pd.Categorical(table[key], categories=table[key].unique())
    with files.whole_file(measured) as part:
        table.to_parquet(part, index=False)


def render_world(
    region: str | None, folder: Path, faces_output: str | Path, identities: int, images: int, size: int, seed: int
) -> None:
    """Render, crop and parse people who differ in one region only, as the embedded sample is; folder : for scratch."""
    rows = [(f"s{person:03d}", f"{image:02d}", SHARD) for person in range(identities) for image in range(images)]
    links, pictures = folder / "links.parquet", folder / "images.h5"
    with files.whole_file(links) as part:
        pd.DataFrame(rows, columns=["identity", "image", "shard"]).to_parquet(part)
    rendering.render_sample(links, pictures, shard=SHARD, seed=SEED_OFFSET + seed, size=size, region=region)
    faces_stage.parse_faces(
        pictures, faces_output, faces_stage.FaceSettings(crop_margin=training.CROP_MARGIN, crop_size=training.INPUT_PX)
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
        regions_measure.count_regions([file], [faces_path], counts, of_images, recogniser.name, settings.grid)
        counted.append(read_output(counts).assign(kind=kind))
        files[recogniser.name] = [file]
    counted.append(count_pixels(faces_path, maps_output, settings, seed))
    verification_table.tabulate_verification(files, folder / "verification.csv", seed)
    auc = read_output(folder / "verification.csv").set_index("model")["auc"]
    table = pd.concat(
        [rows.astype(dict.fromkeys(regions_measure.COUNT_KEYS, str)) for rows in counted], ignore_index=True
    )
    return table.assign(auc=table["model"].map(auc))


def count_pixels(faces_path: str | Path, maps_path: str | Path, settings: MapSettings, seed: int) -> pd.DataFrame:
    """The pixel controls of a world: rows as those of ``regions.count_regions``, and their kind.

    Each control is a map of its own that is counted as any other, so it has the same number of pixels in the same
    images. ``pairs`` are images here.
    """
    with storage.open_shard(maps_path, "maps") as shard, storage.open_shard(faces_path, "faces") as parsed:
        layers, thresholds = storage.read_layers(shard), storage.read_thresholds(shard)
        placed, labels = {}, {}
        for name in storage.identities(shard):
            placed[name] = place_maps(storage.read_maps(shard, name).maps, storage.read_grid(shard))
            used = storage.used_faces(shard, parsed, name)
            labels[name] = regions.resize_regions(storage.read_regions(parsed, name)[used], settings.grid)
    axes = {"layer": [*layers, WHOLE_MODEL], "threshold": thresholds, "region": list(REGIONS)}
    rng, mean = np.random.default_rng(seed), np.mean(list(placed.values()), 0)
    centre = centre_scores(settings.grid).astype(np.float32)
    counted = []
    for name, of_identity in labels.items():
        shape = (len(of_identity), 2 * len(layers), settings.grid, settings.grid)
        drawn = 1 - rng.random(shape, np.float32)  # above 0, as only such pixels count
        for kind, grids in ((RANDOM, drawn), (CENTRE, centre), (MEAN, mean)):
            counts = count_grids(np.broadcast_to(grids, shape), of_identity, settings)
            rows = count_polarities(counts, of_identity, axes)
            counted.append(rows.assign(model=kind, kind=kind, identity=name, untrained=False))
    return pd.concat(counted, ignore_index=True)


def place_maps(image_maps: dict[str, dict[str, np.ndarray]], grid: Grid) -> np.ndarray:
    """{polarity: {layer: (N, h, w)}} of an identity -> (2 L, G, G): the mean of its image maps, on the common grid."""
    cells = [(polarity, layer) for polarity in POLARITIES for layer in image_maps[polarity]]
    means = ((torch.from_numpy(image_maps[polarity][layer].mean(0)), layer) for polarity, layer in cells)
    return np.stack([grid.place(image_map, layer).numpy() for image_map, layer in means])


def count_grids(grids: np.ndarray, labels: np.ndarray, settings: MapSettings) -> np.ndarray:
    """Maps (N, 2 L, G, G) on regions (N, G, G) -> (2, N, L, T, R), polarity first."""
    counter = RegionCounter(torch.from_numpy(labels), settings.top_percents)
    counts = counter.count(torch.from_numpy(grids.copy())).numpy()
    return counts.reshape(len(grids), 2, -1, *counts.shape[2:]).swapaxes(0, 1)


def count_polarities(counts: np.ndarray, labels: np.ndarray, axes: dict[str, list[str]]) -> pd.DataFrame:
    """Counts (2, N, L, T, R) on regions (N, G, G) as rows, both polarities."""
    return pd.concat(
        [
            regions_measure.count_polarity(of_polarity, labels, axes).assign(polarity=polarity)
            for polarity, of_polarity in zip(POLARITIES, counts, strict=True)
        ]
    )
