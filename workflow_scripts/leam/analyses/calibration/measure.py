"""What the calibration is made of, measured on rendered people by the stages that serve every other picture.

Shape letters: N images, G side of the grid, I identities.
"""

import dataclasses
import itertools
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from leam import files, maps, storage
from leam.analyses.calibration import ATTAINABLE, CENTRE_GAIN, GAIN_PERCENT, Size
from leam.analyses.localisation import SEED_OFFSET
from leam.analyses.localisation.measure import render_world
from leam.analyses.occlusion import ALL_MASKS, OCCLUSION_KINDS, TWIN_FILL, averages
from leam.analyses.occlusion.measure import OcclusionSettings, occlude_faces
from leam.controls import OTHER_MEAN, OWN_MEAN, SHUFFLED
from leam.embedding import COSINE, DOT, embed, unit_embeddings
from leam.faces.stage import FaceSettings
from leam.grid import PLACEMENTS, centre_scores, set_size
from leam.maps import MapSettings
from leam.methods import POLARITIES
from leam.pixel_sets import order_pixels
from leam.recognisers import networks
from leam.recognisers.registry import Recogniser
from leam.regions import resize_regions
from leam.sample import grafts, rendering, training
from leam.sample.people import draw_identity, draw_picture
from leam.tables import read_output

RENDERED_CROPS = FaceSettings(
    crop_margin=training.CROP_MARGIN, crop_size=training.INPUT_PX
)  # as ``render_world`` crops them


def map_variants(settings: MapSettings, size: Size) -> list[MapSettings]:
    """The maps that are calibrated: the run's, and with a full size those of every placement and target."""
    settings = dataclasses.replace(settings, pair_maps=False, top_percents=(1.0,), precision="float32")
    if not size.every_map:
        return [settings]
    every = itertools.product(PLACEMENTS, (COSINE, DOT))
    return [dataclasses.replace(settings, placement=placement, target=target) for placement, target in every]


def _occlusion(settings: OcclusionSettings, **changes: object) -> OcclusionSettings:
    """The run's occlusion at the headline's percent, under every fill that photographs have."""
    fills = tuple(fill for fill in settings.fills if fill != TWIN_FILL)
    percents = (settings.headline_percent,)
    found = dataclasses.replace(settings, percents=percents, fills=fills, masks=ALL_MASKS, precision="float32")
    return dataclasses.replace(found, headline_guide=None, **changes)  # type: ignore[arg-type]


def measure_chain(
    world: str,
    output: str | Path,
    *,
    recogniser: Recogniser,
    settings: MapSettings,
    occlusion: OcclusionSettings,
    size: Size,
    seed: int,
) -> None:
    """Drops under a person's own mean map and under other people's: results/calibration/chain/{world}.parquet.

    recogniser : trained for the world. One row per number of images, placement, target, polarity, fill and identity:
    own, other (mean drops over the identity's images, at the headline's percent, under the first layer).
    """
    tables = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        everyone = folder / "faces.h5"
        render_world(world, folder, everyone, size.people, max(size.images), size.side_px, seed)
        chain = _occlusion(occlusion, kinds=(OWN_MEAN, OTHER_MEAN), layers="first", repeats=1)
        for images in size.images:
            faces = _first_images(everyone, folder / f"faces_{images}.h5", images)
            for variant in map_variants(settings, size):
                drops = _drops(faces, folder, recogniser, variant, chain, seed)
                means = drops.pivot_table("drop", ["polarity", "fill", "identity"], "kind", aggfunc="mean")
                table = means.reset_index().rename(columns={OWN_MEAN: "own", OTHER_MEAN: "other"})
                table = table.assign(placement=variant.placement, target=variant.target, images=images)
                tables.append(table)
    table = pd.concat(tables, ignore_index=True).assign(world=world, model=recogniser.name)
    columns = ["world", "model", "images", "placement", "target", "polarity", "fill", "identity", "own", "other"]
    with files.whole_file(output) as part:
        table[columns].to_parquet(part, index=False)


def _first_images(faces: Path, output: Path, images: int) -> Path:
    """A faces file with the first images of everybody."""
    with storage.open_shard(faces, "faces") as source, storage.create_shard(output, "faces") as target:
        for identity in storage.identities(source):
            names = storage.read_images(source, identity)[:images]
            storage.write_faces(target, storage.read_faces(source, identity, names))
        storage.write_discarded(target, [])
    return output


def _drops(
    faces: Path,
    folder: Path,
    recogniser: Recogniser,
    settings: MapSettings,
    occlusion: OcclusionSettings,
    seed: int,
    twins: Path | None = None,
) -> pd.DataFrame:
    """What ``occlude_faces`` writes of some faces; their maps stay in ``folder`` as maps.h5."""
    own, totals, drops = folder / "maps.h5", folder / "averages.h5", folder / "drops.parquet"
    for path in (own, totals, drops):
        path.unlink(missing_ok=True)
        files.digest_path(path).unlink(missing_ok=True)
    maps.compute_maps(faces, own, recogniser, settings, device="cpu", seed=seed)
    averages.average_maps([own], totals, seed)
    occlude_faces(
        faces, {recogniser.name: own}, totals, drops, recogniser, occlusion, device="cpu", twins=twins, seed=seed
    )
    found = read_output(drops)
    found.attrs = {}  # are of that file
    return found.astype(dict.fromkeys(("kind", "layer", "polarity", "fill", "identity", "image"), str))


def measure_truth(
    drops_output: str | Path,
    gains_output: str | Path,
    *,
    recogniser: Recogniser,
    settings: MapSettings,
    occlusion: OcclusionSettings,
    size: Size,
    seed: int,
) -> None:
    """The drops of many rankings under every fill and under twins, and the gain of every map, for a recogniser that was
    trained on people who differ everywhere: results/calibration/drops/{model}.parquet and gains/{model}.parquet.

    drops : one row per placement, target, kind, layer, polarity, fill and identity: drop, the mean over its images
    gains : one row per placement, target, polarity, layer and identity: gain of the GAIN_PERCENT largest pixels of its
    image maps; layers "attainable" and "centre" are the best pixels that there are, and the centre disc
    """
    drops, gains = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        faces, twins = folder / "faces.h5", folder / "twins.h5"
        render_world(None, folder, faces, size.true_people, size.true_images, size.side_px, seed)
        grafts.render_twins(faces, twins, seed=SEED_OFFSET + seed, size=size.side_px, settings=RENDERED_CROPS)
        weights = true_weights(faces, recogniser, settings.grid, size, SEED_OFFSET + seed)
        kinds = tuple(kind for kind in OCCLUSION_KINDS if kind != SHUFFLED)
        ranked = _occlusion(occlusion, kinds=kinds, layers="all", repeats=1, others=1)
        ranked = dataclasses.replace(ranked, fills=(*ranked.fills, TWIN_FILL))
        for variant in map_variants(settings, size):
            named = {"placement": variant.placement, "target": variant.target}
            table = _drops(faces, folder, recogniser, variant, ranked, seed, twins)
            keys = ["kind", "layer", "polarity", "fill", "identity"]
            drops.append(table.groupby(keys, sort=False)["drop"].mean().reset_index().assign(**named))
            gains.append(_gains(folder / "maps.h5", weights).assign(**named))
    for tables, path in ((drops, drops_output), (gains, gains_output)):
        with files.whole_file(path) as part:
            pd.concat(tables, ignore_index=True).assign(model=recogniser.name).to_parquet(part, index=False)


def true_weights(faces: Path, recogniser: Recogniser, grid: int, size: Size, seed: int) -> dict[str, np.ndarray]:
    """{identity: (N, G, G)}: the true effect of what each pixel of the crop belongs to, per pixel.

    The effect of a group of traits is the mean, over people, partners and donors, of cos(x_a, x_j) - cos(x_graft, x_j);
    it is shared out evenly over the group's regions, which take up a fraction of the crop that is a mean over images.
    """
    network = networks.build_network(recogniser)
    effects: dict[str, list[float]] = {group: [] for group in grafts.GRAFTS}
    areas: dict[str, list[np.ndarray]] = {group: [] for group in grafts.GRAFTS}
    labels = {}
    with storage.open_shard(faces, "faces") as parsed:
        for identity in storage.identities(parsed):
            found = storage.read_faces(parsed, identity)
            labels[identity] = resize_regions(found.regions, grid)
            unit = _units(network, found.crops, recogniser)
            index, number = rendering.person_number(identity), int(found.images[0])
            person, picture = draw_identity(seed, index), draw_picture(seed, index, number)
            donors = [draw_identity(seed, grafts.draw_other(seed + k, index, number)) for k in range(size.donors)]
            for group in grafts.GRAFTS:
                areas[group].append(grafts.shaped(group, labels[identity]).mean((1, 2)))
                mixed = [grafts.graft(person, donor, group) for donor in donors]
                crops = np.stack([grafts.crop_as(person, who, picture, size.side_px, RENDERED_CROPS) for who in mixed])
                drop = (unit[0] - _units(network, crops, recogniser)) @ unit[1:].T
                effects[group].append(float(drop.mean()))
    per_pixel = {group: np.mean(effects[group]) / np.concatenate(areas[group]).mean() for group in grafts.GRAFTS}
    return {
        identity: sum(per_pixel[group] * grafts.shaped(group, of_identity) for group in grafts.GRAFTS)
        for identity, of_identity in labels.items()
    }


def _units(network: torch.nn.Module, crops: np.ndarray, recogniser: Recogniser) -> np.ndarray:
    """(N, D) embeddings of crops, of unit norm."""
    return unit_embeddings(embed(network, networks.to_input(crops, recogniser), 64)).numpy().astype(float)


def _gains(path: Path, weights: dict[str, np.ndarray]) -> pd.DataFrame:
    """The gain of every polarity and layer of the maps of each identity, the mean over its images."""
    rows = []
    with storage.open_shard(path, "maps") as shard:
        grid, layers = storage.read_grid(shard), storage.read_layers(shard)
        for identity in storage.identities(shard):
            true = weights[identity]
            for polarity, layer in itertools.product(POLARITIES, layers):
                found = torch.from_numpy(storage.read_layer_maps(shard, identity, polarity, layer))
                rows.append((identity, polarity, layer, gain(grid.place(found, layer).numpy(), true)))
            for layer, scores in ((ATTAINABLE, true - true.min() + 1e-9), (CENTRE_GAIN, centre_scores(grid.side))):
                rows.append((identity, "", layer, gain(np.broadcast_to(scores, true.shape), true)))
    return pd.DataFrame(rows, columns=["identity", "polarity", "layer", "gain"])


def gain(placed: np.ndarray, weights: np.ndarray) -> float:
    """Maps (N, G, G) and true effects per pixel (N, G, G) -> the mean over images of the effect that the GAIN_PERCENT
    largest pixels of a map hold, in units of that of as many pixels drawn at random; NaN without a map."""
    size = set_size(GAIN_PERCENT, placed[0].size)
    orders = order_pixels(torch.from_numpy(np.array(placed, np.float32)), size).numpy()
    found = []
    for order, of_image in zip(orders, weights, strict=True):
        chosen = order[order < of_image.size]  # beyond it where fewer pixels are above 0
        if len(chosen):
            found.append(of_image.ravel()[chosen].mean() / of_image.mean())
    return float(np.mean(found)) if found else float("nan")
