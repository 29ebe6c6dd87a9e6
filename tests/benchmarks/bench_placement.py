"""What placement changes: enrichment in worlds of known truth, and what occluding the marked pixels costs.

    PYTHONPATH=workflow_scripts python tests/benchmarks/bench_placement.py
        [--identities 12] [--images 4] [--faces results/real/faces/00000.h5 --real REAL]

Of each world its own recogniser is asked: by layer and polarity, the share of the top 1 % in the region that carries
the identity over that region's share of the area, with maps centred and stretched. Then the mean drop of the cosine
when the top 1 % of each image map are occluded (black; the picture's mean colour), for the worlds' people and, where a
faces file of real photographs is given, for its people under the recognisers of docs/examples/real.yaml, whose models
lie in REAL.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import torch
import yaml

from leam import maps, storage
from leam.analyses.localisation import measure as localisation_measure
from leam.analyses.occlusion import measure as occlusion_measure
from leam.device import tune_cpu
from leam.grid import PLACEMENTS, set_size
from leam.methods import POLARITIES
from leam.pixel_sets import order_pixels
from leam.recognisers import networks, registry
from leam.recognisers.registry import Recogniser
from leam.regions import REGIONS, TOP_1, area_percents, resize_regions

WORLDS = ("hair", "nose", "llip")
ROOT = Path(__file__).parents[2]


def enrichment(maps_file: Path, faces_file: Path, region: str) -> np.ndarray:
    """(polarities, layers): the share of the top 1 % in a region, over its share of the area; means over identities."""
    number, shares, areas = REGIONS.index(region), [], []
    with storage.open_shard(maps_file, "maps") as shard, storage.open_shard(faces_file, "faces") as parsed:
        column, side = storage.read_thresholds(shard).index(TOP_1), int(shard.attrs["grid"])
        for identity in storage.identities(shard):
            counts = storage.read_counts(shard, identity)
            top = np.stack([counts[polarity][:, :, column].sum(0) for polarity in POLARITIES])  # (2, L, R)
            shares.append(top[..., number] / top.sum(-1))
            used = storage.used_faces(shard, parsed, identity)
            areas.append(
                area_percents(resize_regions(storage.read_regions(parsed, identity)[used], side))[number] / 100
            )
    return np.mean(shares, axis=0) / np.mean(areas)


def drops(maps_file: Path, faces_file: Path, recogniser: Recogniser, fill: str) -> np.ndarray:
    """(polarities, layers): mean over identities and images of the drop when the top 1 % are occluded."""
    tune_cpu()
    network, found = networks.build_network(recogniser), []
    with storage.open_shard(maps_file, "maps") as shard, storage.open_shard(faces_file, "faces") as parsed:
        grid, layers = storage.read_grid(shard), storage.read_layers(shard)
        size = set_size(1, grid.side**2)
        for identity in storage.identities(shard):
            used = storage.used_faces(shard, parsed, identity)
            x = networks.to_input(storage.read_faces(parsed, identity).crops[used], recogniser)
            unit = torch.from_numpy(storage.read_embeddings(shard, identity))
            filled = occlusion_measure.filling(fill, x, recogniser)
            occluder = occlusion_measure.Occluder(network, recogniser, x, filled, unit, grid.side)
            placed = [
                grid.place(torch.from_numpy(storage.read_layer_maps(shard, identity, polarity, layer)).float(), layer)
                for polarity in POLARITIES
                for layer in layers
            ]
            orders = [order_pixels(each, size) for each in placed]
            measured = occluder.measure(torch.arange(len(x)), orders, [[size]] * len(orders))
            found.append(np.nanmean(measured.drop, axis=0).reshape(2, -1))
    return np.mean(found, axis=0)


def report(name: str, layers: tuple[str, ...], found: dict[str, np.ndarray], unit: str) -> None:
    for sign, polarity in enumerate(POLARITIES):
        for number, layer in enumerate(layers):
            for placement, values in found.items():
                label = f"{name}_{polarity}_{layer.replace('/', '.')}_{placement}"
                print(f"figure {label} {values[sign, number]:.3f} {unit}", flush=True)


def compare(name: str, faces: Path, recogniser: Recogniser, folder: Path, region: str | None) -> None:
    files = {}
    for placement in PLACEMENTS:
        files[placement] = folder / f"{name}.{placement}.h5"
        settings = maps.MapSettings(placement=placement)
        maps.compute_maps(faces, files[placement], recogniser, settings, device="cpu")
    if region:
        found = {placement: enrichment(file, faces, region) for placement, file in files.items()}
        report(f"{name}_enrichment", recogniser.layers, found, "times_the_area")
    for fill in ("black", "mean"):
        found = {placement: drops(file, faces, recogniser, fill) for placement, file in files.items()}
        report(f"{name}_drop_{fill}", recogniser.layers, found, "of_the_cosine")


def real_recognisers(folder: Path) -> list[Recogniser]:
    entries = yaml.safe_load((ROOT / "docs/examples/real.yaml").read_text())["recognisers"]
    found = (registry.recogniser(name, entry) for name, entry in entries.items())
    return [dataclasses.replace(each, weights=str(folder / str(each.weights))) for each in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--identities", type=int, default=12)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--faces", type=Path)
    parser.add_argument("--real", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for world in WORLDS:
            faces = folder / f"{world}.faces.h5"
            localisation_measure.render_world(world, folder, faces, options.identities, options.images, 192, 0)
            (trained,) = (each for kind, each in localisation_measure.recognisers_of(world, {}) if kind == "trained")
            compare(world, faces, trained, folder, world)
        if options.faces:
            for recogniser in real_recognisers(options.real):
                compare(f"real_{recogniser.name}", options.faces, recogniser, folder, None)


if __name__ == "__main__":
    main()
