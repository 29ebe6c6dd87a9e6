"""The engine and occlusion's forwards on a GPU, and what the paper's size takes there.

    PYTHONPATH=workflow_scripts:tests:tests/benchmarks python tests/benchmarks/bench_gpu.py [--parts engine ...]

The work is that of the paper's mean person: 13 images, 156 ordered pairs, nine layers, maps of both polarities and
their counts. ``counts`` is the engine with several people per block, ``alone`` with one, and ``floor`` bare backwards
of the same network to the first layer, as many images at a time. Random weights; every figure is a median, and the
machine's clock speed is as it comes. Each part catches its errors, and begins no model when its time is over.

    env         the card, and its rate of products in each precision
    engine      ms per pair in float32, tf32 and bf16, each in the order of memory that the stage takes
    choices     of the first model: the other order of memory, cuDNN free to choose, one person at a time
    busy        of the first model: the share of time that the card works, and its kernels per shift
    stages      of the first model: compute_maps and occlude_faces per person, and the share that the card works
    occlusion   forwards per second
    projection  from these, the paper's size: 13,445 images of 1,000 people, nine recognisers
"""

import argparse
import contextlib
import dataclasses
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

import bench_maps
from leam import device, embedding, maps, paper, pixel_sets, storage
from leam.analyses.occlusion import averages
from leam.analyses.occlusion import measure as occlusion_measure
from leam.grid import Grid
from leam.journal import Journal
from leam.methods import cells_of, leam_triton
from leam.methods.leam import LEAM
from leam.recognisers import folding, networks, registry
from leam.recognisers.taps import Taps
from shards import make_faces, write_faces

PARTS = ("env", "engine", "choices", "busy", "stages", "occlusion", "projection")
PRECISIONS = ("float32", "tf32", "bf16")
MASKS = 290  # of the default percents under nine guides
FORWARDS = (64, 256, 1024)
STAGE_PEOPLE, OCCLUSION_BATCH = 16, 256


class Bench:
    """What is measured, on what, and until when; ``figures`` holds what was found."""

    def __init__(self, given: argparse.Namespace):
        self.device, self.models, self.tiny = torch.device(given.device), given.models, given.tiny
        self.end = time.monotonic() + 60 * given.minutes
        self.images, self.people = (2, 2) if given.tiny else (13, 8)
        self.precisions = PRECISIONS if self.device.type == "cuda" else ("float32",)
        self.figures: dict[str, float] = {}

    def figure(self, name: str, value: float, unit: str) -> None:
        self.figures[name] = value
        print(f"figure {name} {value:.4g} {unit}", flush=True)

    def seconds(self, work: Callable, rounds: int = 3) -> float:
        """Median wall time; a first call warms up (cuDNN picks its algorithms, Triton compiles)."""
        if not self.tiny:
            work()
        found = []
        for _ in range(1 if self.tiny else rounds):
            self.wait()
            begun = time.perf_counter()
            work()
            self.wait()
            found.append(time.perf_counter() - begun)
        return statistics.median(found)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def in_time(self, names: list[str]) -> Iterator[str]:
        for name in names:
            if time.monotonic() > self.end:
                print("no time for", name)
            else:
                yield name

    def ms_per_pair(self, work: Callable, people: int) -> float:
        return 1e3 * self.seconds(work) / (people * self.images * (self.images - 1))


@dataclasses.dataclass
class Case:
    """A folded network and the input of several people."""

    network: nn.Module
    recogniser: registry.Recogniser
    xs: list[torch.Tensor]
    regions: list[np.ndarray]

    def counts(self, counter: type[pixel_sets.RegionCounter] | None = None) -> None:
        settings, grid = maps.MapSettings(), Grid(112, self.recogniser.window)
        maps.map_together(
            self.network, cells_of((LEAM,), self.recogniser.layers), self.xs, self.regions, settings, grid, counter
        )

    def alone(self) -> None:
        maps.explain(self.network, self.recogniser.layers, self.xs[0], self.regions[0])

    def floor(self) -> None:
        x = torch.cat(self.xs)
        anchors = maps.Anchors([len(each) for each in self.xs], x.device)
        with Taps(self.network, self.recogniser.layers[:1]) as taps:
            embeddings, activations = taps.run(x)
            unit, own = embedding.normalise(embeddings.detach()), embedding.normalise(embeddings)
            for positives in anchors.positives:
                torch.autograd.grad(own, list(activations.values()), unit[positives], retain_graph=True)


def case(bench: Bench, name: str, precision: str) -> Case:
    """The network in the order of memory that the stage takes in this precision."""
    network, recogniser = bench_maps.build(name, "cpu")
    network = folding.fold_network(network, recogniser.layers, recogniser.input_size, bench.device, precision)
    x = bench_maps.inputs(recogniser, str(bench.device), images=bench.images)
    regions = np.random.default_rng(0).integers(0, 19, (bench.images, 112, 112)).astype(np.uint8)
    return Case(network, recogniser, [x] * bench.people, [regions] * bench.people)


def env(bench: Bench) -> None:
    card = torch.cuda.get_device_name() if bench.device.type == "cuda" else "CPU"
    print(f"# {card}, torch {torch.__version__}, Python {sys.version.split()[0]}, Triton {bool(leam_triton.triton)}")
    side = 512 if bench.tiny else 8192
    square = torch.randn(side, side, device=bench.device)
    for precision in bench.precisions:
        with device.arithmetic(precision, bench.device):
            seconds = bench.seconds(lambda: square @ square)
        bench.figure(f"products_{precision}", 2 * side**3 / seconds / 1e12, "TFLOP/s")


def engine(bench: Bench) -> None:
    for name in bench.in_time(bench.models):
        for precision in bench.precisions:
            given = case(bench, name, precision)
            with device.arithmetic(precision, bench.device):
                for what, work in (("counts", given.counts), ("floor", given.floor)):
                    bench.figure(f"{name}_{precision}_{what}", bench.ms_per_pair(work, bench.people), "ms/pair")
            del given
        if bench.device.type == "cuda":
            bench.figure(f"{name}_peak_memory", torch.cuda.max_memory_allocated() / 1e9, "GB")
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def choices(bench: Bench) -> None:
    name = bench.models[0]
    for precision in bench.in_time(bench.precisions):
        given = case(bench, name, precision)
        with device.arithmetic(precision, bench.device):
            bench.figure(f"{name}_{precision}_alone", bench.ms_per_pair(given.alone, 1), "ms/pair")
            plain = bench.ms_per_pair(lambda given=given: given.counts(pixel_sets.RegionCounter), bench.people)
            bench.figure(f"{name}_{precision}_wide_keys", plain, "ms/pair")
            torch.backends.cudnn.deterministic = False
            bench.figure(f"{name}_{precision}_not_repeatable", bench.ms_per_pair(given.counts, bench.people), "ms/pair")
            torch.backends.cudnn.deterministic = True
            order = turn_round(given, bench.device.type == "cpu" or precision != "float32")
            for what, work in (("counts", given.counts), ("floor", given.floor)):
                milliseconds = bench.ms_per_pair(work, bench.people)
                bench.figure(f"{name}_{precision}_{order}_{what}", milliseconds, "ms/pair")


def turn_round(given: Case, is_last: bool) -> str:
    """Put the network's channels last, or back first if they are last; says which."""
    if not is_last:
        folding.order_channels_last(given.network, given.recogniser.input_size)
        return "channels_last"
    for module in given.network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.contiguous_format)
    return "channels_first"


def busy(bench: Bench) -> None:
    """Over several blocks, so that what lies between two of them counts too."""
    if bench.device.type != "cuda":
        return print("the share of time that the card works needs a card")
    for precision in bench.in_time(list(bench.precisions)):
        given = case(bench, bench.models[0], precision)
        with device.arithmetic(precision, bench.device):
            seconds = bench.seconds(given.counts)
            with torch.profiler.profile(activities=list(torch.profiler.supported_activities())) as profiler:
                given.counts()
                bench.wait()
        kernels = [event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA]
        at_work = sum(event.device_time for event in kernels) / 1e6
        bench.figure(f"{bench.models[0]}_{precision}_busy", 100 * at_work / seconds, "percent of the time")
        bench.figure(f"{bench.models[0]}_{precision}_kernels", len(kernels) / (bench.images - 1), "per shift")
        if precision == "tf32":
            table = profiler.key_averages().table(
                sort_by="self_cuda_time_total", row_limit=25, max_name_column_width=70
            )
            print(*(line[:72] + line[-100:] for line in table.splitlines()), sep="\n")
    return None


@contextlib.contextmanager
def timed(owner: object, name: str, spent: dict[str, float]) -> Iterator[None]:
    """Adds up the wall time of a function of a module or class."""
    inner = getattr(owner, name)

    def measured(*args, **options):
        begun = time.perf_counter()
        try:
            return inner(*args, **options)
        finally:
            spent[name] = spent.get(name, 0) + time.perf_counter() - begun

    setattr(owner, name, measured)
    try:
        yield
    finally:
        setattr(owner, name, inner)


def stages(bench: Bench) -> None:
    """compute_maps and occlude_faces on a shard, from file to file; the functions' times contain one another.

    ``share`` is how much of the time after the network is ready the card works, by the profiler's kernels of another
    run of the same; a first run warms up.
    """
    recogniser = dataclasses.replace(registry.REGISTRY[bench.models[0]], untrained=True)
    people = 2 if bench.tiny else STAGE_PEOPLE
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        faces, made, totals = (folder / name for name in ("faces.h5", "maps.h5", "averages.h5"))
        write_faces(faces, (make_faces(f"p{number:02d}", bench.images) for number in range(people)))
        for precision in bench.precisions[1::-1]:  # the coarser first
            settings = maps.MapSettings(batch_images=None, precision=precision)

            def compute(settings: maps.MapSettings = settings) -> None:
                maps.compute_maps(faces, made, recogniser, settings, device=str(bench.device), together=True)

            prefix = f"{recogniser.name}_{precision}"
            functions = [
                (maps, "make_ready"),
                (maps, "map_together"),
                (networks, "to_input"),
                (storage, "read_faces"),
                (Journal, "add_all"),
            ]
            share(bench, f"{prefix}_maps", compute, functions, people)
        averages.average_maps([made], totals)
        drops = {}
        for precision in bench.precisions[1::-1]:  # the coarser first
            chosen = occlusion_measure.OcclusionSettings(
                batch_images=4 if bench.tiny else OCCLUSION_BATCH, precision=precision
            )
            output = folder / f"{precision}.parquet"

            def occlude(output: Path = output, settings: occlusion_measure.OcclusionSettings = chosen) -> None:
                guides = {recogniser.name: made}
                occlusion_measure.occlude_faces(
                    faces, guides, totals, output, recogniser, settings, device=str(bench.device)
                )

            functions = [
                (occlusion_measure, "ready_networks"),
                (occlusion_measure.Occluder, "measure"),
                (occlusion_measure.Sources, "read"),
                (occlusion_measure.Sources, "orders"),
                (occlusion_measure, "_table"),
            ]
            with counted(bench, f"{recogniser.name}_{precision}_occlusion_forwards"):
                share(bench, f"{recogniser.name}_{precision}_occlusion", occlude, functions, people)
            drops[precision] = pd.read_parquet(output)["drop"].to_numpy()
        if len(drops) == 2:
            apart = np.abs(drops["tf32"] - drops["float32"])
            bench.figure(f"{recogniser.name}_tf32_drops_apart", float(np.nanmax(apart)), "of cosine, at most")
            bench.figure(
                f"{recogniser.name}_drops", float(np.nanmean(np.abs(drops["float32"]))), "of cosine, mean size"
            )


@contextlib.contextmanager
def counted(bench: Bench, name: str) -> Iterator[None]:
    """How many faces occlude_faces embeds of a person."""
    inner, found = occlusion_measure._measure, []

    def measured(*given: Any) -> occlusion_measure.Measured:
        found.append(inner(*given))
        return found[-1]

    occlusion_measure._measure = measured
    try:
        yield
    finally:
        occlusion_measure._measure = inner
    bench.figure(name, statistics.median(each.forwards for each in found), "per person")


def share(
    bench: Bench, prefix: str, work: Callable[[], None], functions: list[tuple[object, str]], people: int
) -> None:
    spent: dict[str, float] = {}
    if not bench.tiny:
        work()
    with contextlib.ExitStack() as stack:
        for owner, name in functions:
            stack.enter_context(timed(owner, name, spent))
        begun = time.perf_counter()
        work()
        seconds = time.perf_counter() - begun
    for name, each in spent.items():
        bench.figure(f"{prefix}_stage_{name.strip('_')}", 1e3 * each / people, "ms/person")
    starting = spent.get("make_ready", 0) + spent.get("ready_networks", 0)
    bench.figure(f"{prefix}_stage", 1e3 * (seconds - starting) / people, "ms/person")
    bench.figure(f"{prefix}_stage_starts", starting, "s")
    if bench.device.type == "cuda":
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
            work()
        on_card = [event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA]
        at_work = sum(event.device_time for event in on_card) / 1e6
        bench.figure(f"{prefix}_stage_share", 100 * at_work / (seconds - starting), "percent of the time")


@torch.no_grad()
def occlusion(bench: Bench) -> None:
    for name in bench.in_time(bench.models):
        recogniser = dataclasses.replace(registry.REGISTRY[name], untrained=True)
        for precision in bench.precisions:
            network = networks.build_network(recogniser)
            network = folding.fold_network(network, (), recogniser.input_size, bench.device, precision)
            for batch in (4,) if bench.tiny else FORWARDS:
                x = torch.randn(batch, 3, *recogniser.input_size, device=bench.device)
                with device.arithmetic(precision, bench.device):
                    rate = batch / bench.seconds(lambda network=network, x=x: network(x))
                bench.figure(f"{name}_{precision}_forwards_{batch}", rate, "1/s")


def projection(bench: Bench) -> None:
    """What all five architectures were measured for; each stands for one or two of the paper's recognisers."""
    weights, found = bench_maps.PAPER_MODELS, bench.figures
    for precision in bench.precisions:
        for what in ("counts", "floor"):
            cost = {name: found.get(f"{name}_{precision}_{what}") for name in weights}
            if all(cost.values()):
                milliseconds = sum(weights[name] * cost[name] for name in weights) * bench_maps.PAPER_PAIRS
                bench.figure(f"paper_maps_{precision}_{what}", milliseconds / 6e4, "minutes")
        rates = {
            name: max(found.get(f"{name}_{precision}_forwards_{batch}", 0) for batch in FORWARDS) for name in weights
        }
        if all(rates.values()):
            seconds = sum(weights[name] / rates[name] for name in weights) * paper.IMAGES_KEPT * MASKS
            bench.figure(f"paper_occlusion_{precision}", seconds / 3600, "hours")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--models", nargs="+", default=list(bench_maps.PAPER_MODELS))
    parser.add_argument("--minutes", type=float, default=8.0, help="begin no model after these")
    parser.add_argument("--tiny", action="store_true", help="small and once, to see that it runs")
    given = parser.parse_args()
    if given.tiny:
        given.models = given.models[:1]
    bench = Bench(given)
    for part in given.parts:
        try:
            globals()[part](bench)
        except Exception:  # the next part may well succeed
            traceback.print_exc()


if __name__ == "__main__":
    main()
