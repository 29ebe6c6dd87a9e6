"""Unit costs of a run, measured here; and what 1,000 and 20,000 identities under nine recognisers then cost.

    PYTHONPATH=workflow_scripts python tests/benchmarks/bench_scale.py measure   # leam/unit_costs.json, a few minutes
    PYTHONPATH=workflow_scripts python tests/benchmarks/bench_scale.py plan      # docs/scale.md, a minute

`measure` computes the maps of one person under every recogniser (random weights), counting bytes, floating-point
operations and seconds, and runs the jobs that read all shards on two sizes of made-up data. `plan` lets Snakemake plan
both scales for real, and multiplies.
"""

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from leam import config as settings
from leam import device, links, maps, maps_file, regions, scale, storage
from leam.analyses.occlusion import averages
from leam.analyses.occlusion import measure as occlusion_measure
from leam.analyses.similarity import measure as similarity_measure
from leam.analyses.verification import table as verification_table
from leam.faces import stage as faces_stage
from leam.grid import TOP_PERCENTS, Grid
from leam.methods import POLARITIES
from leam.recognisers import folding, networks, registry
from leam.sample import rendering

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "scale.md"
PLANS = {1000: "paper_scale.yaml", 20000: "imdb_face_scale.yaml"}
NINE = ("AF_R18", "AF_R50", "AF_R100", "CF_R18", "CF_R50", "CF_R100", "IR_CASIA", "IR_VGG", "VGG_16")
SAMPLE = tuple(name for name in registry.REGISTRY if name.startswith("sample_"))
MEASURED = (*NINE, registry.DLIB, *SAMPLE)
SAME = {"CF_R18": "AF_R18", "CF_R50": "AF_R50", "CF_R100": "AF_R100", "IR_VGG": "IR_CASIA"}  # the same network
ARGUMENTS = {name: registry.REGISTRY[name].arguments for name in SAMPLE}
SAME |= {name: SAMPLE[0] for name in SAMPLE[1:] if ARGUMENTS[name] == ARGUMENTS[SAMPLE[0]]}
IMAGES = (2, 3)  # of one person: two equations for the operations of an image and of a pair
FACES = 4  # of each of the two people whose maps' bytes are measured
MADE_UP = {"regions": (100, 300), "verification": (200, 600)}  # identities of the made-up shards, twice
ALL_SHARDS = {
    "average_maps": "verification",
    "count_regions": "regions",
    "tabulate_regions": "regions",
    "tabulate_verification": "verification",
    "tabulate_similarity": "regions",
    "tabulate_occlusion": "regions",
    "tabulate_individuals": "regions",
}
OWN = ("maps", "population", "pairs", "null", "averages", "verification", "occlusion")  # what analysis_costs leaves
OUTPUTS = (
    *("regions", "table01", "table02", "table10", "table11", "table12_to_20"),
    *("similarity", "table03", "table04", "table05", "table06"),
    *("occlusion", "decisions", "person_specific", "transfer", "table09", "table21"),
    *("individuals", "table07", "table08"),
)
SITE_INODES = 1_000_000
GPU_JOB_MB = 4900  # compute_maps on a CPU at its largest: IResNet-100, maps.batch_images 32 (bench_memory.txt)


# ---------------------------------------------------------------------------------------------------------- measure


def measure() -> dict:
    """The unit costs, as ``scale.unit_costs`` reads them."""
    torch.set_num_threads(1)
    device.tune_cpu()
    with tempfile.TemporaryDirectory() as folder:
        config = settings.complete({"source": {"sample": {"identities": 2, "images": FACES}}})
        people = render(Path(folder), config)
        costs = picture_costs(Path(folder), people)
        measured = {name: model_costs(Path(folder), name, people) for name in MEASURED if name not in SAME}
        costs["models"] = {name: measured[SAME.get(name, name)] for name in MEASURED}
        costs |= analysis_costs(Path(folder))
        costs |= all_shards_costs(Path(folder))
    return costs


def render(folder: Path, config: dict) -> list[storage.Faces]:
    """The people of the embedded sample, in one shard of a folder."""
    source = settings.chosen_source(config)
    links.list_links(folder / "links.parquet", source=source, identities_per_job=source.count())
    rendering.render_sample(
        folder / "links.parquet", folder / "images.h5", shard="00000", seed=0, size=source.settings["size"], region=None
    )
    faces_stage.parse_faces(folder / "images.h5", folder / "faces.h5", settings.faces_settings(config))
    with storage.open_shard(folder / "faces.h5", "faces") as shard:
        return [storage.read_faces(shard, name) for name in storage.identities(shard)]


def picture_costs(folder: Path, people: list[storage.Faces]) -> dict:
    count, side = sum(len(person.images) for person in people), people[0].crops.shape[1]
    return {
        "bytes_per_picture": (folder / "images.h5").stat().st_size / count,
        "bytes_per_face_pixel": (folder / "faces.h5").stat().st_size / count / side**2,
    }


def model_costs(folder: Path, name: str, people: list[storage.Faces]) -> dict:
    """What an identity, an image and a pair cost under one recogniser: bytes, and floating-point operations."""
    recogniser = registry.recogniser(name, {"untrained": True} if name in NINE else None)
    output = folder / "maps.h5"
    maps.compute_maps(folder / "faces.h5", output, recogniser, maps.MapSettings(), device="cpu")
    with storage.open_shard(output, "maps") as shard:
        names = storage.identities(shard)
        images = sum(len(storage.read_images(shard, identity)) for identity in names)
        pairs = sum(scale.pairs([len(storage.read_images(shard, identity))]) for identity in names)
        of_maps, of_pairs = (sum(stored_bytes(shard[name][kind]) for name in names) for kind in ("maps", "counts"))
    image_flop, pair_flop = per_image_and_pair([operations(recogniser, people[0], n) for n in IMAGES])
    print(f"{name} done", file=sys.stderr)
    return {
        "bytes_per_identity": (output.stat().st_size - of_maps - of_pairs) / len(names),
        "bytes_per_image": of_maps / images,
        "bytes_per_pair": of_pairs / pairs,
        "gflop_per_image": image_flop / 1e9,
        "gflop_per_pair": pair_flop / 1e9,
        "gflop_per_core_second": operations(recogniser, people[0], 3) / core_seconds(recogniser, people[0], 3) / 1e9,
    }


def analysis_costs(folder: Path) -> dict:
    """What a comparison of two maps and an occluded face cost; their files stay in the folder, by the names of OWN."""
    recogniser, config = (
        registry.recogniser(SAMPLE[0]),
        settings.complete({"models": [SAMPLE[0]], "similarity": {"pairs": None}}),
    )
    shard, own = folder / "faces.h5", {name: folder / f"own_{name}" for name in OWN}
    maps.compute_maps(shard, own["maps"], recogniser, maps.MapSettings(), device="cpu")
    chosen = similarity_measure.similarity_settings(config["similarity"], config["maps"]["grid"])
    similarity_measure.average_population([own["maps"]], [shard], own["population"], settings=chosen)
    started = time.process_time()
    similarity_measure.measure_similarity(
        [own["maps"]], [shard], own["population"], own["pairs"], own["null"], settings=chosen
    )
    seconds = time.process_time() - started
    averages.average_maps([own["maps"]], own["averages"])
    verification_table.tabulate_verification({recogniser.name: [own["maps"]]}, own["verification"])
    masks = occlusion_measure.occlusion_settings(settings.chosen_occlusion(config))
    occlusion_measure.occlude_faces(
        shard, {recogniser.name: own["maps"]}, own["averages"], own["occlusion"], recogniser, masks, device="cpu"
    )
    compared = len(pd.read_parquet(own["pairs"], columns=["bc"]).index) / 2  # two parts: top 1 % and full
    occluded = 2 * FACES * scale.occluded_faces(config)[recogniser.name]
    return {
        "core_seconds_per_comparison": seconds / compared,
        "bytes_per_comparison": (own["pairs"].stat().st_size + own["null"].stat().st_size) / compared,
        "bytes_per_occluded_face": own["occlusion"].stat().st_size / occluded,
    }


def multiply(path: Path, folder: Path, identities: int, per_shard: int = 100) -> list[str]:
    """The table of one identity as shards of many; their paths."""
    table, outputs = pd.read_parquet(path), []
    one = table[table["identity"] == table["identity"].iloc[0]].astype({"identity": str})
    for start in range(0, identities, per_shard):
        names = [f"p{number:05d}" for number in range(start, min(start + per_shard, identities))]
        outputs.append(str(folder / f"{path.name}_{start}"))
        many = pd.concat([one.assign(identity=name) for name in names], ignore_index=True)
        many.astype({"identity": "category"}).to_parquet(outputs[-1], index=False)
    return outputs


def stored_bytes(group: h5py.Group) -> int:
    """What the datasets of a group take in the file, compressed."""
    sizes = []
    group.visititems(
        lambda _, item: sizes.append(item.id.get_storage_size()) if isinstance(item, h5py.Dataset) else None
    )
    return sum(sizes)


def operations(recogniser: registry.Recogniser, person: storage.Faces, n: int) -> int:
    """Floating-point operations of the maps of n images of one person, as PyTorch counts them (two per product)."""
    compute = maps_of(recogniser, person, n)
    with FlopCounterMode(display=False) as counter:
        compute()
    return counter.get_total_flops()


def core_seconds(recogniser: registry.Recogniser, person: storage.Faces, n: int) -> float:
    """Processor time of the same on one thread of this machine: a busy machine does not make it longer."""
    compute = maps_of(recogniser, person, n)
    compute()
    started = time.process_time()
    compute()
    return time.process_time() - started


def maps_of(recogniser: registry.Recogniser, person: storage.Faces, n: int):
    network = networks.build_network(recogniser)
    network = folding.fold_network(network, recogniser.layers, recogniser.input_size, torch.device("cpu"))
    x = networks.to_input(person.crops[:n], recogniser)
    grid = Grid(person.crops.shape[1], recogniser.window, recogniser.input_size)  # given, so that none is looked for
    return lambda: maps.explain(network, recogniser.layers, x, person.regions[:n], grid=grid)


def per_image_and_pair(totals: list[float]) -> tuple[float, float]:
    """Solve total = n * image + n (n - 1) * pair for the two numbers of images."""
    return tuple(np.linalg.solve([[n, n * (n - 1)] for n in IMAGES], totals))


JOB = """
import re
import leam.analyses.{module}
leam.analyses.{module}.{call}
print(int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read()).group(1)) / 1024)
"""


def all_shards_costs(folder: Path) -> dict:
    """Peak memory of the jobs that read all shards of a model, as a constant and per identity; bytes of regions/."""
    peaks = {rule: [] for rule in ALL_SHARDS}
    outputs = {name: str(folder / f"{name}.csv") for name in OUTPUTS}
    checked = str(folder / "own_verification")
    sizes = []
    for number in MADE_UP["regions"]:
        names = ("maps", "faces", "counts", "images")
        maps_path, faces_path, counts, per_image = (str(folder / f"{number}_{name}") for name in names)
        made_up_shards(maps_path, faces_path, number, images=4, layers=9, thresholds=15)
        peaks["count_regions"].append(
            peak_mb(f"regions.measure.count_regions([{maps_path!r}], [{faces_path!r}], {counts!r}, {per_image!r}, 'm')")
        )
        peaks["tabulate_regions"].append(peak_mb(f"regions.table.tabulate_regions({{'m': {counts!r}}}, {outputs!r})"))
        sizes.append(Path(counts).stat().st_size + Path(per_image).stat().st_size)
        of_nine = [{name: renamed(path, name) for name in NINE} for path in (counts, per_image)]
        call = f"tabulate_individuals({of_nine[0]!r}, {of_nine[1]!r}, {outputs!r})"
        peaks["tabulate_individuals"].append(peak_mb(f"individuals.table.{call}"))
        pairs, null, occluded = (
            {SAMPLE[0]: multiply(folder / f"own_{name}", folder, number)} for name in ("pairs", "null", "occlusion")
        )
        call = f"tabulate_similarity({pairs!r}, {null!r}, {outputs!r})"
        peaks["tabulate_similarity"].append(peak_mb(f"similarity.table.{call}"))
        headline = {"polarity": "loss", "fill": "mean", "percent": 1.0}
        options = f"guide={SAMPLE[0]!r}, fill='black', primary={headline!r}"
        call = f"tabulate_occlusion({occluded!r}, {checked!r}, {outputs!r}, {options})"
        peaks["tabulate_occlusion"].append(peak_mb(f"occlusion.table.{call}"))
    for number in MADE_UP["verification"]:  # enough images for the sample of impostor pairs to be as large as it gets
        made_up_shards(maps_path, faces_path, number, images=14, layers=1, thresholds=1)
        call = f"verification.table.tabulate_verification({{'m': [{maps_path!r}]}}, {str(folder / 'v.csv')!r})"
        peaks["tabulate_verification"].append(peak_mb(call))
        peaks["average_maps"].append(
            peak_mb(f"occlusion.averages.average_maps([{maps_path!r}], {str(folder / 'a.h5')!r})")
        )
    one, two = MADE_UP["regions"]
    return {
        "regions_bytes_per_identity": (sizes[1] - sizes[0]) / (two - one),
        "all_shards": {rule: as_line(MADE_UP[ALL_SHARDS[rule]], found) for rule, found in peaks.items()},
    }


def renamed(path: str, model: str) -> str:
    """The same table as if it were of another model."""
    pd.read_parquet(path).assign(model=model).to_parquet(f"{path}_{model}", index=False)
    return f"{path}_{model}"


def as_line(identities: tuple[int, int], mb: list[float]) -> dict[str, float]:
    slope = (mb[1] - mb[0]) / (identities[1] - identities[0])
    return {"mb": mb[0] - identities[0] * slope, "mb_per_identity": slope}


def made_up_shards(
    maps_path: str, faces_path: str, identities: int, images: int, layers: int, thresholds: int, grid: int = 28
) -> None:
    """Files of the right shapes; embeddings of 512 numbers. The last threshold is the full activation."""
    rng = np.random.default_rng(0)
    names, pairs = [f"{number:02d}" for number in range(images)], maps_file.ordered_pairs(images)
    sets = [*(f"{percent:g}" for percent in TOP_PERCENTS), regions.FULL][-thresholds:]
    counts = rng.integers(0, 900, (len(pairs), layers, thresholds, len(regions.REGIONS)), dtype=np.uint16)
    points = np.zeros((images, 68, 2), np.float32)
    described = {"model": "m", "layers": list(registry.IRESNET_LAYERS[:layers]), "thresholds": sets, "grid": grid}
    described |= {"recogniser": "{}", "untrained": True}
    flat = np.full((images, grid, grid), grid**-2.0, np.float32)
    with (
        storage.create_shard(maps_path, "maps", **described) as shard,
        storage.create_shard(faces_path, "faces") as parsed,
    ):
        for number in range(identities):
            identity = f"p{number:05d}"
            areas = rng.integers(0, 19, (images, grid, grid), dtype=np.uint8)
            crops = np.zeros((images, grid, grid, 3), np.uint8)
            storage.write_faces(parsed, storage.Faces(identity, names, crops, areas, points, points[:, :5]))
            embeddings = rng.standard_normal((images, 512)).astype(np.float32)
            embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
            cosine = (embeddings @ embeddings.T)[tuple(pairs.T)]
            leam = dict.fromkeys(POLARITIES, dict.fromkeys(described["layers"], flat))
            both = dict.fromkeys(POLARITIES, counts)
            storage.write_maps(shard, storage.IdentityMaps(identity, names, pairs, cosine, embeddings, leam, both))


def peak_mb(call: str) -> float:
    """Peak memory, MB, of a process that makes one call of a module of an analysis."""
    analysis, module, call = call.split(".", 2)
    code = JOB.format(module=f"{analysis}.{module}", call=call)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow_scripts"), "OMP_NUM_THREADS": "1"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(found.stdout)


# ------------------------------------------------------------------------------------------------------------- plan


@dataclasses.dataclass
class DryRun:
    """``snakemake -n`` of one configuration: what it plans, and what planning takes."""

    config: dict
    plan: scale.Plan
    seconds: float
    mb: float


SNAKEMAKE = """
import atexit
from snakemake.cli import main
atexit.register(lambda: print(open("/proc/self/status").read()))
main()
"""


def dry_run(name: str) -> DryRun:
    path = ROOT / "docs" / "examples" / name
    config = settings.complete(json.loads(json.dumps(settings.yaml.safe_load(path.read_text()))))
    command = [sys.executable, "-c", SNAKEMAKE, "-n", "-s", ROOT / "Snakefile", "--configfile", path]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        words = [str(word) for word in (*command, "--directory", folder)]
        found = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seconds = time.perf_counter() - started
    if found.returncode:
        raise RuntimeError(found.stdout[-2000:])
    mb = int(re.search(r"^VmHWM:\s*(\d+)", found.stdout, re.M).group(1)) / 1024
    return DryRun(config, scale.read_plan(found.stdout), seconds, mb)


def plan_scales() -> str:
    """docs/scale.md."""
    costs = scale.unit_costs()
    runs = {identities: dry_run(name) for identities, name in PLANS.items()}
    rows = {identities: describe(identities, run, costs) for identities, run in runs.items()}
    columns = list(rows.values())
    titles = [f"{identities:,} identities" for identities in rows]
    lines = [f"| | {' | '.join(titles)} |", f"|---|{'---:|' * len(rows)}"]
    lines += [f"| {name} | " + " | ".join(column[name] for column in columns) + " |" for name in columns[0]]
    for identities, run in runs.items():
        print(f"figure dry_run_{identities}_identities_seconds {run.seconds:.1f} s")
        print(f"figure dry_run_{identities}_identities_peak {run.mb:.0f} MB")
        print(f"figure jobs_{identities}_identities {sum(run.plan.jobs.values())} -")
        print(f"figure files_{identities}_identities {run.plan.files} -")
    return "\n".join(lines)


def describe(identities: int, run: DryRun, costs: dict) -> dict[str, str]:
    """One column of the table."""
    images = [run.config["source"]["sample"]["images"]] * identities
    stored = scale.estimate_bytes(images, run.config, costs)
    memory = scale.estimate_memory(identities, costs)
    shard = run.config["identities_per_job"]
    largest = max(
        scale.estimate_bytes(images[:shard], run.config | {"models": [model]}, costs)["maps"]
        for model in run.config["models"]
    )
    column = {
        "images (ordered pairs per recogniser)": f"{sum(images):,} ({scale.pairs(images):,})",
        "`snakemake -n`": f"{run.seconds:.0f} s, {scale.in_words(run.mb * 1e6)}",
    }
    jobs = {
        rule: count for rule, count in run.plan.jobs.items() if rule != "write_config"
    }  # which runs on the login node
    many = {rule: count for rule, count in jobs.items() if count >= identities // shard}
    column["Slurm jobs"] = f"{sum(jobs.values()):,}"
    column |= {f"... `{rule}`": f"{count:,}" for rule, count in many.items()}
    column["... others, however many identities"] = f"{sum(jobs.values()) - sum(many.values()):,}"
    column["files, digests and Snakemake's records included"] = (
        f"{run.plan.files:,} ({100 * run.plan.files / SITE_INODES:.1f} % of 1 M)"
    )
    column |= {f"bytes in `results/{name}/`": scale.in_words(size) for name, size in stored.items()}
    column["bytes in all"] = scale.in_words(sum(stored.values()))
    column["largest file"] = scale.in_words(largest)
    column["peak memory `compute_maps` (CPU, batch 32)"] = scale.in_words(GPU_JOB_MB * 1e6)
    column |= {f"peak memory `{rule}`": scale.in_words(mb * 1e6) for rule, mb in memory.items()}
    of_duplicates = scale.estimate_duplicates(sum(images))
    column["peak memory `find_duplicates`"] = scale.in_words(of_duplicates[1] * 1e6)
    share = shard / identities  # of a job
    for unit, hours in (
        ("GPU-hours", scale.estimate_gpu_hours(images, run.config, costs)),
        ("core-hours", scale.estimate_core_hours(images, run.config, costs)),
    ):
        for rule, of_models in hours.items():
            slowest = max(of_models, key=of_models.get)
            longest = f"{of_models[slowest] * share:.2g}, {slowest}"
            total = sum(of_models.values())
            total = f"{total:,.0f}" if total >= 100 else f"{total:.3g}"
            column[f"{unit} `{rule}` (longest job)"] = f"{total} ({longest})"
    column["core-hours `find_duplicates` (one job)"] = f"{of_duplicates[0]:.2g}"
    return column


MARKS = ("<!-- made by tests/benchmarks/bench_scale.py plan -->", "<!-- end -->")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("measure", "plan"))
    if parser.parse_args().what == "measure":
        scale.UNIT_COSTS.write_text(json.dumps(measure(), indent=2) + "\n")
        return
    table = plan_scales()
    before, rest = DOCUMENT.read_text().split(MARKS[0])
    DOCUMENT.write_text(f"{before}{MARKS[0]}\n{table}\n{MARKS[1]}{rest.split(MARKS[1])[1]}")


if __name__ == "__main__":
    main()
