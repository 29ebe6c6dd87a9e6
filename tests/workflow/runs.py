"""Snakemake as a user calls it."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
WARM = Path(__file__).with_name("warm.py")
WARM_ENVIRONMENT = {"PYTHONPATH": str(ROOT / "workflow_scripts"), "OMP_NUM_THREADS": "1"}
SNAKEMAKE = (sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile")
# Faces found and parsed by models whose files a plan does not need.
ABSENT_MODELS = {
    "detector": "retinaface",
    "detector_weights": "absent.pth",
    "label_maps": "pyfacer",
    "parser_weights": "absent.pt",
    "landmarks": "none",
}


def snakemake(*arguments, directory, check=True, warm=False):
    """What it says; warm : its jobs begin with their imports done (warm.py)."""
    start = [WARM] if warm else ["-m", "snakemake"]
    found = _python(*start, *_called(arguments, directory), environment=WARM_ENVIRONMENT if warm else {})
    assert not check or found.returncode == 0, found.stdout + found.stderr
    return found.stdout + found.stderr


def snakemake_each(calls, directory):
    """[(exit status, what it says)] of several calls, one after the other, their imports done."""
    with warm_snakemake() as called:
        return [called(Path.cwd(), _called(arguments, directory)) for arguments in calls]


@contextlib.contextmanager
def warm_snakemake():
    """A function that calls Snakemake with nothing added, its imports done: (working directory, arguments) -> (exit
    status, what it says)."""
    command, environment = [sys.executable, str(WARM), "--each"], os.environ | WARM_ENVIRONMENT
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
    with subprocess.Popen(command, env=environment, **pipes) as process:

        def called(directory, arguments):
            process.stdin.write(json.dumps([str(directory), [*map(str, arguments)]]) + "\n")
            process.stdin.flush()
            return tuple(json.loads(process.stdout.readline()))

        yield called


def _called(arguments, directory):
    return ["-s", ROOT / "Snakefile", "--directory", directory, *arguments]


def _python(*arguments, environment, **options):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, **options)


def jobs(text):
    """{rule: number of jobs} from a dry run."""
    table = text.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}


def write_config(path, **changes):
    path.write_text(yaml.safe_dump(changes))
    return path
