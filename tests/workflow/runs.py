"""Snakemake as a user calls it."""

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
    calls = [list(map(str, _called(arguments, directory))) for arguments in calls]
    found = _python(WARM, "--each", environment=WARM_ENVIRONMENT, input=json.dumps(calls))
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


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
