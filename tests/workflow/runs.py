"""Snakemake as a user calls it."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SNAKEMAKE = (sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile")
# Faces found and parsed by models whose files a plan does not need.
ABSENT_MODELS = {
    "detector": "retinaface",
    "detector_weights": "absent.pth",
    "label_maps": "pyfacer",
    "parser_weights": "absent.pt",
    "landmarks": "none",
}


def snakemake(*arguments, directory, check=True):
    command = [*SNAKEMAKE, "--directory", directory, *arguments]
    found = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert not check or found.returncode == 0, found.stdout + found.stderr
    return found.stdout + found.stderr


def jobs(text):
    """{rule: number of jobs} from a dry run."""
    table = text.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.M)}


def write_config(path, **changes):
    path.write_text(yaml.safe_dump(changes))
    return path
