"""What CONTRIBUTING.md says of adding a recogniser, done as it is written, in a copy of the repository."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def blocks(heading):
    """The fenced blocks of a section."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S).group(1)
    return re.findall(r"^```\w*\n(.*?)^```", section, re.M | re.S)


@pytest.fixture
def copy(tmp_path):
    """What a run needs of the repository, elsewhere."""
    target = tmp_path / "copy"
    for name in ("rules", "envs", "workflow_scripts"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, target)
    return target


@pytest.mark.slow
def test_a_recogniser_is_added_as_the_page_says(copy):
    before = {path for path in copy.rglob("*") if path.is_file()}
    settings, command = blocks("Add a recogniser")
    (copy / settings.split()[1]).write_text(settings)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    found = subprocess.run(shlex.split(command), cwd=copy, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    table = pd.read_csv(copy / "results/mine/tables/regions.csv")
    assert set(table["model"]) == {"mine"} and set(table["layer"]) == {"conv1", "layer1.0.conv1", "all"}
    made = {path for path in copy.rglob("*") if path.is_file() and ".snakemake" not in path.parts} - before
    assert {path.relative_to(copy).parts[0] for path in made if path.suffix != ".pyc"} == {"mine.yaml", "results"}


def test_the_commands_of_the_page_exist():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    told = re.findall(r"^make ([a-z-]+)", "".join(blocks("Set up, and the checks")), re.M)
    assert told and set(told) <= set(targets)
