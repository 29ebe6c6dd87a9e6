"""What is missing for a run, on one screen: cluster, weights, room, and what the run will cost (`make doctor`).

    PYTHONPATH=workflow_scripts python -m leam.doctor --profile profiles/slurm --configfile mine.yaml

Works without Slurm, and changes nothing. Exit status 1 when something would stop the run.
"""

import argparse
import ast
import contextlib
import operator
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from leam import config as settings
from leam import joblog, links, origins, scale, storage, surroundings, weights
from leam.model_package import IN_PACKAGE
from leam.recognisers import registry
from leam.regions import CROP_UNITS

ROOT = Path(__file__).parents[2]
CLIENTS = ("sbatch", "squeue", "sacct", "scancel", "sinfo", "scontrol", "sacctmgr")
OK, NOTE, FAULT = "ok", "note", "MISSING"


@dataclass(frozen=True)
class Finding:
    """One line of the report: what was looked at, how it is (OK, NOTE or FAULT), and a sentence."""

    subject: str
    state: str
    sentence: str


# ------------------------------------------------------------------------------------------------------- the cluster


def requests(profile: dict) -> set[tuple[str, str, float]]:
    """(partition, QOS, minutes on the last attempt) of every kind of job that a profile submits."""
    default = profile.get("default-resources", {})
    sections = [default, *(default | own for own in profile.get("set-resources", {}).values())]
    last = 1 + int(profile.get("retries", 0))
    return {
        (
            str(section["slurm_partition"]),
            str(profile.get("slurm-qos", section.get("qos", ""))),
            minutes_on(str(section["runtime"]), last),
        )
        for section in sections
    }


ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}
LARGEST_POWER = 64


def minutes_on(runtime: str, attempt: int) -> float:
    """A profile's runtime on an attempt, minutes: a number, one with a unit (30m, 2h, 1d), or arithmetic with
    ``attempt``, min and max.

    Raises ValueError for anything else: a profile that is looked at is not run.
    """

    def value(node: ast.expr) -> float:
        match node:
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.Name(id="attempt"):
                return attempt
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                one, other = value(left), value(right)
                if isinstance(op, ast.Pow) and abs(other) > LARGEST_POWER:
                    raise ValueError
                return ARITHMETIC[type(op)](one, other)
            case ast.Call(func=ast.Name(id="min" | "max" as name), args=args, keywords=[]):
                return {"min": min, "max": max}[name](map(value, args))
        raise ValueError

    if timed := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([mhd])\s*", runtime):
        return float(timed[1]) * {"m": 1, "h": 60, "d": 1440}[timed[2]]
    try:
        return float(value(ast.parse(runtime, mode="eval").body))
    except (ArithmeticError, RecursionError, SyntaxError, TypeError, ValueError) as error:
        raise ValueError(
            f"runtime is {runtime!r}; expected minutes: a number, or arithmetic with attempt, min and max"
        ) from error


def minutes_of(limit: str) -> float:
    """The limits that sinfo prints ("2-00:00:00", "30:00", "infinite"), in minutes."""
    if limit == "infinite":
        return float("inf")
    days, _, clock = limit.rpartition("-")
    hours, minutes, seconds = [0] * (2 - clock.count(":")) + [int(part) for part in clock.split(":")]
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def look_at_cluster(profile: dict, ask: Callable[..., str]) -> list[Finding]:
    """Slurm's commands, and whether the partitions, limits and QOS of a profile exist.

    ask : (command) -> its output, "" when it fails
    """
    absent = [client for client in CLIENTS if not shutil.which(client)]
    if absent:
        known = "this is no login node of a Slurm cluster" if len(absent) == len(CLIENTS) else "it is needed"
        return [Finding("Slurm", FAULT, f"{absent[0]} is not on the path: {known}")]
    partitions = dict(line.split() for line in ask("sinfo", "-h", "-o", "%R %l").splitlines())
    if not partitions:
        return [Finding("Slurm", FAULT, "its commands are here, but its controller does not answer")]
    lines = ask("sacctmgr", "-n", "-P", "list", "qos", "format=name,flags,maxwall").splitlines()
    qos = {name: (flags, wall) for name, flags, wall in (line.split("|") for line in lines)}
    asked = sorted(requests(profile))
    found: list[Finding | None] = [Finding("Slurm", OK, ask("sinfo", "--version").strip())]
    found += [_there("partition", name, partitions) for name in sorted({partition for partition, _, _ in asked})]
    found += [_there("QOS", name, qos) for name in sorted({name for _, name, _ in asked if name})]
    found += [_fits(*request, partitions, qos) for request in asked if request[0] in partitions]
    return [line for line in found if line] + _accounting(ask)


def _there(kind: str, name: str, there: dict) -> Finding:
    if name in there:
        return Finding(kind, OK, name)
    return Finding(kind, FAULT, f"no {name}; there are {', '.join(sorted(there)) or 'none'}")


def _fits(partition: str, name: str, minutes: float, partitions: dict, qos: dict) -> Finding | None:
    """A runtime that Slurm would not grant: such a job may wait for ever. A QOS can overrule its partition."""
    flags, wall = qos.get(name, ("", ""))
    limit = (wall or "infinite") if "PartitionTimeLimit" in flags else partitions[partition]
    if minutes <= minutes_of(limit):
        return None
    where = f"{partition} {f'with QOS {name} ' if name else ''}".strip()
    return Finding("runtime", FAULT, f"{minutes:g} min asked of {where}, which grants {limit}: such jobs wait for ever")


def _accounting(ask: Callable[..., str]) -> list[Finding]:
    """Whether squeue still knows a job when Snakemake looks for the third time."""
    age = re.search(r"^MinJobAge\s*=\s*(\d+)", ask("scontrol", "show", "config"), re.M)
    if age and int(age.group(1)) < 120:
        words = f"MinJobAge is {age.group(1)} s: lower slurm-init-seconds-before-status-checks to a third of it"
        return [Finding("squeue", FAULT, words)]
    return []


# ------------------------------------------------------------------------------------------------------- the account


def look_at_home() -> list[Finding]:
    """Whether Snakemake can keep its cache in this account's home; where it cannot it ends before any other word."""
    fault, lacking = surroundings.home_fault(), surroundings.lacking_variables()
    if fault and lacking:
        words = " ".join(f"{name}={value}" for name, value in lacking.items())
        return [Finding("home", NOTE, f"{fault}: make does without; before any other snakemake, export {words}")]
    return []


def look_at_privacy(config: dict) -> Finding:
    """Who else may read the files of a run."""
    folder = Path(config["results"])
    if not config["private"]:
        return Finding("privacy", NOTE, "private is false: your umask decides who may read faces and embeddings")
    if found := surroundings.readable_by_others(folder):
        words = f"{len(found)} files in {folder} can be read by others, such as {found[0]}: chmod -R go= {folder}"
        return Finding("privacy", NOTE, f"{words} (made before, or where the file system decides)")
    return Finding("privacy", OK, "what the run writes is its owner's only")


# --------------------------------------------------------------------------------------------------- GPU and weights


def look_for_gpu() -> Finding:
    """The GPU that PyTorch sees here; a login node has none."""
    import torch

    if torch.cuda.is_available():
        return Finding("GPU", OK, torch.cuda.get_device_name())
    return Finding("GPU", NOTE, "PyTorch sees none here; login nodes have none, and on a CPU maps take long")


def look_at_weights(config: dict) -> list[Finding]:
    """The weights of every model of a run: present, and verified where size or SHA-256 are known."""
    found = []
    for name in config["models"]:
        recogniser = registry.recogniser(name, settings.recogniser_entry(config, name))
        try:
            found.append(Finding("weights", *_weights(recogniser)))
        except registry.ModelError as error:
            found.append(Finding("weights", FAULT, str(error)))
    return found


def _weights(recogniser: registry.Recogniser) -> tuple[str, str]:
    if recogniser.untrained:
        return NOTE, f"{recogniser.name}: untrained, for a dry test"
    if not recogniser.weights:
        if ":" in recogniser.architecture:
            return OK, f"{recogniser.name}: made by {recogniser.architecture}"
        return FAULT, f"{recogniser.name}: set recognisers.{recogniser.name}.weights to the file of {recogniser.origin}"
    if registry.is_url(recogniser.weights):
        return NOTE, f"{recogniser.name}: will be downloaded from {recogniser.weights}"
    facts = weights.check_weights(recogniser)
    checked = (
        "verified" if recogniser.sha256 else f"SHA-256 {str(facts['sha256'])[:12]}..., with nothing to compare it to"
    )
    place = registry.existing_weights(recogniser) if facts["path"] == IN_PACKAGE else facts["path"]
    return OK, f"{recogniser.name}: {place}, {checked}; licence: {origins.recogniser_origin(recogniser).licence}"


def look_at_face_models(config: dict) -> list[Finding]:
    """What finds, parses and marks faces: where its file is, its licence, and what is lost where there is none."""
    faces = settings.chosen_faces(config)
    places, fault = _face_files(config)
    found = [Finding("faces", FAULT, fault)] * bool(fault)
    for origin in origins.face_origins(faces):
        place = places.get(origin.part)
        said = [f"{origin.part}: {origin.words}", *([f"in {place}"] * bool(place))]
        said += [f"licence: {origin.licence}"] * bool(origin.licence)
        said += [f"without: {origin.lost}"] * bool(origin.lost)
        found.append(Finding("faces", NOTE if origin.lost else OK, "; ".join(said)))
    return found


def _face_files(config: dict) -> tuple[dict[str, str], str]:
    """{part: its file}, verified, and what is wrong with one of them."""
    from leam.faces.stage import FILE_PARTS, face_settings

    section = settings.faces_settings(config)
    fetched = {key for key in FILE_PARTS if section[key] == settings.DOWNLOAD}
    try:
        if not fetched:
            used = face_settings(section).files()
            return {FILE_PARTS[name]: str(path) for name, (path, _) in used.items()}, ""
    except (OSError, ValueError) as error:
        return {}, str(error)
    return {FILE_PARTS[name]: "what is downloaded before the first picture" for name in fetched}, ""


def look_at_crops(config: dict) -> list[Finding]:
    """Recognisers that get fewer pixels of a crop than they take, and those that want it aligned."""
    faces, entries = settings.chosen_faces(config), {}
    for name in config["models"]:
        with contextlib.suppress(registry.ModelError):  # said where weights are looked at
            entries[name] = registry.recogniser(name, settings.recogniser_in_crop(config, name))
    found = []
    wanted = {name: _wanted_px(recogniser) for name, recogniser in entries.items()}
    if coarse := [name for name, pixels in wanted.items() if pixels > faces["crop_size"]]:
        words = f"{faces['crop_size']} px are less than {', '.join(coarse)} can take in"
        found.append(Finding("crops", NOTE, f"{words}; faces.crop_size {max(wanted.values())} gives them all"))
    if faces["crop_mode"] != "aligned":
        found += [
            Finding("crops", NOTE, f"{name} knows people better in aligned crops (faces.crop_mode: aligned)")
            for name, recogniser in entries.items()
            if recogniser.aligned_window is not None
        ]
    return found


def _wanted_px(recogniser: registry.Recogniser) -> int:
    """The side of a crop of which every pixel of the recogniser's window is one of its input, at least."""
    top, left, bottom, right = recogniser.window
    height, width = recogniser.input_size
    return round(CROP_UNITS * max(height / (bottom - top), width / (right - left)))


# ------------------------------------------------------------------------------------------------- results and costs


def look_at_results(folder: Path) -> Finding:
    """Whether a finished file of a run is cut short: a look at its head, not at all of it."""
    damaged = [str(path) for path in sorted(folder.rglob("*.h5")) if storage.is_damaged(path)]
    if damaged:
        return Finding("results", FAULT, f"damaged, delete and run again: {', '.join(damaged)}")
    return Finding("results", OK, f"no file in {folder} is cut short")


def look_at_room(folder: Path, needed_bytes: float, needed_files: int) -> list[Finding]:
    """Room for bytes and files on the file system of a folder that may not exist yet. Quotas are not seen by this."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    facts = os.statvfs(there)
    free_bytes, free_files = facts.f_bavail * facts.f_frsize, facts.f_favail
    found = [
        Finding(
            "disk",
            OK if free_bytes > needed_bytes else FAULT,
            f"about {scale.in_words(needed_bytes)} needed, {scale.in_words(free_bytes)} free on the file system of "
            f"{there} (look at your quota too)",
        )
    ]
    if facts.f_files:  # some file systems make inodes as they need them
        state = OK if free_files > needed_files else FAULT
        found.append(Finding("inodes", state, f"about {needed_files} files needed, {free_files} free"))
    return found


def count_images(config: dict) -> list[int]:
    """The number of pictures of each identity that a run starts from."""
    from leam.tables import read_output

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "links.parquet"
        links.list_links(path, source=settings.chosen_source(config), identities_per_job=config["identities_per_job"])
        table = read_output(path)
    return table[table["image"] != ""].groupby("identity").size().tolist()


def look_at_plan(config: dict) -> list[Finding]:
    """What keeps a run from being planned: files that belong to others or were written in the future, too many jobs."""
    folder, people = Path(config["results"]), settings.chosen_source(config).count()
    faults = {
        "files": surroundings.fault_of_closed(folder)
        or surroundings.fault_of_clock(folder, *settings.brought_files(config)),
        "jobs": links.larger_shards(people, config["identities_per_job"], len(config["models"])),
    }
    return [Finding(subject, FAULT, fault) for subject, fault in faults.items() if fault]


def plan_jobs(arguments: list[str]) -> scale.Plan:
    """What Snakemake plans for a configuration, everything anew. Raises ValueError with what it says of a fault."""
    command = [sys.executable, "-m", "snakemake", "-n", "--forceall", "-s", ROOT / "Snakefile", *arguments]
    environment = os.environ | surroundings.lacking_variables()
    found = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)
    if found.returncode:
        raise ValueError((found.stderr + found.stdout).strip().splitlines()[-1])
    return scale.read_plan(found.stdout + found.stderr)


def look_at_costs(config: dict, planned: scale.Plan, images: list[int]) -> list[Finding]:
    """Jobs, storage, GPU-hours and core-hours of a run from the beginning, and whether there is room for it."""
    costs, names = scale.unit_costs(), config["models"]
    stored = scale.estimate_bytes(images, config, costs)
    hours = {rule: sum(found.values()) for rule, found in scale.estimate_gpu_hours(images, config, costs).items()}
    on_cores = {rule: sum(found.values()) for rule, found in scale.estimate_core_hours(images, config, costs).items()}
    compared, duplicates_mb = scale.estimate_duplicates(sum(images))
    most = sorted(planned.jobs.items(), key=lambda job: -job[1])[:4]
    return [
        *look_at_room(Path(config["results"]).absolute(), sum(stored.values()), planned.files),
        Finding("jobs", NOTE, f"{sum(planned.jobs.values())}: {', '.join(f'{n} {rule}' for rule, n in most)}, ..."),
        Finding("storage", NOTE, ", ".join(f"{name} {scale.in_words(size)}" for name, size in stored.items())),
        Finding(
            "GPU-hours",
            NOTE,
            f"about {sum(hours.values()):.2g} ({', '.join(f'{hour:.2g} {rule}' for rule, hour in hours.items())}) for "
            f"{len(names)} models, {len(images)} identities, {sum(images)} pictures, if a GPU computes "
            f"{scale.ASSUMED_TFLOPS} TFLOP/s (assumed)",
        ),
        Finding(
            "core-hours",
            NOTE,
            f"about {on_cores['measure_similarity']:.2g} for measure_similarity, {compared:.2g} for find_duplicates "
            f"(one job, {scale.in_words(duplicates_mb * 1e6)} of memory); without a GPU "
            f"{sum(on_cores[rule] for rule in hours):.2g} more",
        ),
    ]


def look_at_time(config: dict, planned: scale.Plan, images: list[int], cores: int) -> Finding:
    """How long a run from the beginning takes on some cores."""
    minutes = scale.estimate_minutes(images, config, scale.unit_costs(), sum(planned.jobs.values()), cores)
    words = f"about {minutes:.0f} minutes" if minutes < 120 else f"about {minutes / 60:.0f} hours"
    return Finding("time", NOTE, f"{words} on {cores} cores like those on which the costs were measured, without a GPU")


# -------------------------------------------------------------------------------------------------------- the report


def ask(*command: str) -> str:
    """The output of a command, "" when it fails or does not end within a minute."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def report(findings: list[Finding]) -> str:
    """The findings as aligned lines."""
    lines = (f"{found.subject:<10} {found.state:<8} {found.sentence}" for found in findings)
    return joblog.without_urls("\n".join(lines))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="leam.doctor", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", type=_path, default=ROOT / "profiles" / "slurm")
    parser.add_argument("--workflow-profile", type=_path, help="a variant laid over it")
    parser.add_argument("--configfile", type=_path, help="your settings; without it the embedded sample")
    parser.add_argument("--cores", type=int, help="of this machine: how long a run takes on them, without a GPU")
    return parser.parse_args()


def _path(text: str) -> Path:
    return Path(text).expanduser()


def read_profile(*folders: Path | None) -> dict:
    """A profile, and those laid over it, key by key. Raises OSError or ValueError for one that cannot be read."""
    merged: dict = {}
    for folder in filter(None, folders):
        merged |= _read_yaml(folder / "config.yaml")
    return merged


def _read_yaml(path: Path) -> dict:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {found!r:.60}; expected settings, each with its name")
    return found


def _look_at_profile(*folders: Path | None) -> list[Finding]:
    """Whether the cluster is as a profile wants it, where the profile is one for a cluster."""
    try:
        profile = read_profile(*folders)
    except (OSError, ValueError) as error:
        return [Finding("profile", FAULT, str(error))]
    return look_at_cluster(profile, ask) if profile.get("executor") == "slurm" else []


def main() -> int:
    given = _arguments()
    findings = [*_look_at_profile(given.profile, given.workflow_profile), *look_at_home(), look_for_gpu()]
    try:
        config = settings.complete(_read_yaml(given.configfile) if given.configfile else {})
        findings += [*look_at_weights(config), *look_at_face_models(config), *look_at_crops(config)]
        findings.append(look_at_results(Path(config["results"])))
        findings += [look_at_privacy(config), *(faults := look_at_plan(config))]
        if not faults:
            planned = plan_jobs(["--configfile", given.configfile] if given.configfile else [])
            images = count_images(config)
            findings += look_at_costs(config, planned, images)
            if given.cores:
                findings.append(look_at_time(config, planned, images, given.cores))
    except (settings.ConfigError, ValueError, OSError) as error:
        findings.append(Finding("settings", FAULT, str(error)))
    print(report(findings))
    return int(any(found.state == FAULT for found in findings))


if __name__ == "__main__":
    sys.exit(main())
