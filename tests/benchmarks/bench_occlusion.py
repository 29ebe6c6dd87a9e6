"""Occlusion against the floor: the same number of bare forwards of the same network, on the same machine in turns.

    PYTHONPATH=workflow_scripts python tests/benchmarks/bench_occlusion.py [--models AF_R18 ...] [--device cuda]

The work: one identity of a few images, all kinds, both polarities, the recogniser as its own guide; the paper's twelve
percents and all layers, or, for large networks on a CPU, three percents and the first layer (``--short``). Ours reads
the maps, ranks their pixels, draws the masks, occludes, embeds and compares; without and with the kind `shuffled`,
whose maps are backwards besides. The floor embeds as many faces in batches of the same size and does nothing else, on
the network as ours runs it (BatchNorm folded, on a CPU channels last) and as it was built.

And how many faces are embedded per image of the embedded sample under the default settings, beside those of leam 0.1.0:
one fill, every kind and guide at every percent, one other person.

On a CPU the process's own time on one thread is taken, since machines are shared; on a GPU the wall clock.
"""

import argparse
import contextlib
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from bench_scale import render
from leam import config as choices
from leam import maps, paper, storage
from leam.analyses.occlusion import ALL_MASKS, BLACK_FILL, averages
from leam.analyses.occlusion import measure as occlusion_measure
from leam.device import arithmetic
from leam.recognisers import networks, registry

PEOPLE = ("a", "b", "c", "d")


def write_faces(path: Path, images: int, side: int) -> None:
    """People with smooth random pictures."""
    random = torch.Generator().manual_seed(0)
    with storage.create_shard(path, "faces") as shard:
        for identity in PEOPLE:
            coarse = torch.rand(images, 3, 14, 14, generator=random)
            crops = 255 * functional.interpolate(coarse, size=(side, side), mode="bilinear")
            crops = crops.permute(0, 2, 3, 1).byte().numpy()
            points = np.zeros((images, 68, 2), np.float32)
            names = [f"{number:02d}" for number in range(images)]
            regions = np.zeros((images, side, side), np.uint8)
            storage.write_faces(shard, storage.Faces(identity, names, crops, regions, points, points[:, :5]))


def clock(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def floor(network: torch.nn.Module, x: torch.Tensor, forwards: int, batch: int) -> None:
    """Bare forwards: ``forwards`` faces in batches, nothing else."""
    faces = x[torch.arange(batch, device=x.device) % len(x)]
    with torch.no_grad():
        for start in range(0, forwards, batch):
            network(faces[: min(batch, forwards - start)])


class Work:
    """The occlusion of one identity with everything opened and built."""

    def __init__(
        self, folder: Path, name: str, images: int, device: str, settings: occlusion_measure.OcclusionSettings
    ):
        entry = {"untrained": True} if registry.REGISTRY[name].weights is None else {}
        self.recogniser, self.device = registry.recogniser(name, entry), torch.device(device)
        self.batch, self.fills = settings.batch_images, settings.fills
        faces, path, totals = folder / "faces.h5", folder / "maps.h5", folder / "averages.h5"
        write_faces(faces, images, self.recogniser.input_size[0])
        maps.compute_maps(faces, path, self.recogniser, maps.MapSettings(), device=device)
        averages.average_maps([path], totals)
        self.own = storage.h5py.File(path)
        self.images = storage.read_images(self.own, PEOPLE[0])
        with storage.open_shard(faces, "faces") as shard:
            self.crops = storage.read_faces(shard, PEOPLE[0]).crops
        averaged = storage.read_averages(totals)
        self.sources = occlusion_measure.Sources(
            self.recogniser, {name: self.own}, averaged, others=settings.others, batch=settings.batch_images
        )
        self.rankings = occlusion_measure.plan_rankings(settings, name, self.sources.layers)
        self.network = occlusion_measure.ready_networks(self.sources, self.rankings, self.recogniser, self.device)
        self.built = networks.build_network(self.recogniser).to(self.device)
        self.x = networks.to_input(self.crops, self.recogniser).to(self.device)

    def run(self, shuffled: bool) -> occlusion_measure.Measured:
        rankings = [ranking for ranking in self.rankings if shuffled or ranking.kind != "shuffled"]
        x = networks.to_input(self.crops, self.recogniser).to(self.device)
        unit = torch.from_numpy(storage.read_embeddings(self.own, PEOPLE[0])).to(self.device)
        fills = {fill: occlusion_measure.filling(fill, x, self.recogniser) for fill in self.fills}
        occluder = occlusion_measure.Occluder(
            self.network, self.recogniser, x, fills, unit, threshold=0.3, batch=self.batch
        )
        orders = self.sources.orders(rankings, self.sources.read(rankings, PEOPLE[0], self.images), PEOPLE[0], x)
        return occlusion_measure._measure(occluder, orders, rankings)


def measure(name: str, images: int, device: str, settings: occlusion_measure.OcclusionSettings, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder, arithmetic("float32", torch.device(device)):
        work, batch = Work(Path(folder), name, images, device, settings), settings.batch_images
        found = {shuffled: work.run(shuffled) for shuffled in (False, True)}
        counts = {shuffled: each.forwards for shuffled, each in found.items()}
        contestants = {
            "floor": lambda: floor(work.network, work.x, counts[False], batch),
            "built_floor": lambda: floor(work.built, work.x, counts[False], batch),
            "ours": lambda: work.run(False),
            "floor_shuffled": lambda: floor(work.network, work.x, counts[True], batch),
            "ours_shuffled": lambda: work.run(True),
        }
        seconds = {contestant: [] for contestant in contestants}
        for _ in range(rounds):
            for contestant, run in contestants.items():
                started = clock(device)
                run()
                seconds[contestant].append(clock(device) - started)
        work.own.close()
    report(name, images, found[True], {key: statistics.median(each) for key, each in seconds.items()}, counts)


def report(name: str, images: int, found: occlusion_measure.Measured, seconds: dict[str, float], counts: dict) -> None:
    print(f"figure {name}_masks_per_image {found.drop.shape[1]} masks")
    print(f"figure {name}_forwards_per_image {counts[True] / images:.1f} forwards")
    print(f"figure {name}_ours_of_floor {100 * seconds['floor'] / seconds['ours']:.0f} percent")
    print(f"figure {name}_ours_of_floor_as_built {100 * seconds['built_floor'] / seconds['ours']:.0f} percent")
    with_maps = 100 * seconds["floor_shuffled"] / seconds["ours_shuffled"]
    print(f"figure {name}_ours_with_shuffled_maps_of_floor {with_maps:.0f} percent")
    print(f"figure {name}_forwards_per_second {counts[False] / seconds['ours']:.0f} 1/s", flush=True)


def as_before(settings: occlusion_measure.OcclusionSettings) -> occlusion_measure.OcclusionSettings:
    """The same as leam 0.1.0 had it."""
    return dataclasses.replace(settings, fills=(BLACK_FILL,), headline_fill=BLACK_FILL, masks=ALL_MASKS, others=1)


def paper_size() -> None:
    """Forwards of the paper's run with every model as guide: nine models, 13,445 images."""
    names = list(registry.REGISTRY)[:9]
    layers = {name: list(registry.REGISTRY[name].layers) for name in names}
    now = occlusion_measure.OcclusionSettings(headline_guide="IR_CASIA")
    for when, settings in (("", now), ("_before", as_before(now))):
        masks = 0
        for name in names:
            rankings = occlusion_measure.plan_rankings(settings, name, layers)
            masks += sum(len(ranking.masks) for ranking in rankings)
        print(f"figure paper_masks_per_image_and_model{when} {masks / len(names):.0f} masks")
        print(f"figure paper_forwards{when} {masks * paper.IMAGES_KEPT / 1e6:.1f} million")
    first = occlusion_measure.plan_rankings(
        dataclasses.replace(now, layers="first"), "IR_CASIA", {"IR_CASIA": ["conv"]}
    )
    print(f"figure paper_masks_first_layer_own_guide_only {sum(len(each.masks) for each in first)} masks")


def sample_size(identities: int, images: int) -> None:
    """Faces embedded per image and recogniser of the sample, by default now and as before."""
    config = choices.complete({"source": {"sample": {"identities": identities, "images": images}}})
    settings = occlusion_measure.occlusion_settings(choices.chosen_occlusion(config))
    with tempfile.TemporaryDirectory() as name:
        folder, paths = Path(name), {}
        render(folder, config)
        for model in config["models"]:
            paths[model] = folder / f"{model}.h5"
            maps.compute_maps(folder / "faces.h5", paths[model], registry.recogniser(model), maps.MapSettings())
        for when, chosen in (("before", as_before(settings)), ("now", settings)):
            counts = {model: count_faces(folder, paths, model, chosen) / (identities * images) for model in paths}
            for model, count in counts.items():
                print(f"figure {model}_sample_faces_per_image_{when} {count:.1f} faces", flush=True)
            print(f"figure sample_faces_per_image_{when} {sum(counts.values()) / len(counts):.1f} faces", flush=True)


def count_faces(folder: Path, paths: dict[str, Path], model: str, settings: occlusion_measure.OcclusionSettings) -> int:
    """Faces that are embedded, over all images of a shard."""
    recogniser, device, total = registry.recogniser(model), torch.device("cpu"), 0
    averages.average_maps([paths[model]], folder / "averages.h5")
    averaged = storage.read_averages(folder / "averages.h5")
    with contextlib.ExitStack() as stack:
        parsed = stack.enter_context(storage.open_shard(folder / "faces.h5", "faces"))
        opened = {name: stack.enter_context(storage.open_shard(path, "maps")) for name, path in paths.items()}
        sources = occlusion_measure.Sources(recogniser, opened, averaged, others=settings.others)
        rankings = occlusion_measure.plan_rankings(settings, model, sources.layers)
        network = occlusion_measure.ready_networks(sources, rankings, recogniser, device)
        for identity in storage.identities(opened[model]):
            images = storage.read_images(opened[model], identity)
            crops = storage.read_faces(parsed, identity).crops[storage.used_faces(opened[model], parsed, identity)]
            x = networks.to_input(crops, recogniser)
            unit = torch.from_numpy(storage.read_embeddings(opened[model], identity))
            fills = {fill: occlusion_measure.filling(fill, x, recogniser) for fill in settings.fills}
            occluder = occlusion_measure.Occluder(network, recogniser, x, fills, unit, threshold=0.3)
            orders = sources.orders(rankings, sources.read(rankings, identity, images), identity, x)
            total += occlusion_measure._measure(occluder, orders, rankings).forwards
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["sample_arcface"])
    parser.add_argument("--people", type=int, default=4, help="of the sample, whose embedded faces are counted")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="three percents and the first layer only")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, 1 thread, {torch.backends.cpu.get_cpu_capability()}, batch {given.batch}")
    if given.device == "cuda":
        print(torch.cuda.get_device_name())
    paper_size()
    sample_size(given.people, given.images)
    settings = occlusion_measure.OcclusionSettings(batch_images=given.batch)
    if given.short:
        settings = dataclasses.replace(settings, percents=(0.1, 1.0, 10.0), layers="first")
    for name in given.models:
        measure(name, given.images, given.device, settings, given.rounds)


if __name__ == "__main__":
    main()
