"""What CONTRIBUTING.md says of adding a recogniser or a source, done as it is written, in a copy of the repository."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from drawn import draw
from leam import storage

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


def run(command, folder):
    """A command of the page, in a copy of the repository, under the Python of these tests."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MAKEFLAGS")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    found = subprocess.run(shlex.split(command), cwd=folder, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.slow
def test_a_recogniser_is_added_as_the_page_says(copy):
    before = {path for path in copy.rglob("*") if path.is_file()}
    settings, command = blocks("Add a recogniser")
    (copy / settings.split()[1]).write_text(settings)
    run(command, copy)
    table = pd.read_csv(copy / "results/mine/tables/regions.csv")
    assert set(table["model"]) == {"mine"} and set(table["layer"]) == {"conv1", "layer1.0.conv1", "all"}
    made = {path for path in copy.rglob("*") if path.is_file() and ".snakemake" not in path.parts} - before
    assert {path.relative_to(copy).parts[0] for path in made if path.suffix != ".pyc"} == {"mine.yaml", "results"}


@pytest.fixture
def checkout(copy):
    """All that a contributor has, with the Python of these tests as its environment."""
    for name in ("tests", "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, copy)
    python = copy / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    (copy / ".venv/.run").touch()
    return copy


def texts(folder):
    """{path: bytes} of the files that a contributor may commit."""
    left = (".snakemake", ".venv", ".pytest_cache", "__pycache__")
    paths = (path for path in folder.rglob("*") if path.is_file() and not {*left} & {*path.parts})
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_a_source_is_added_as_the_page_says(checkout):
    before = texts(checkout)
    source, section, test, checks, settings, command = blocks("Add a source")
    for text in (source, test, settings):
        (checkout / text.split()[1]).write_text(text)
    schema = checkout / "rules/schemas/config.schema.yaml"
    (kinds,) = re.findall(r"^ {6}kind:\n +enum: \[.*(?=\]$)", schema.read_text(), re.M)
    name = re.match(r" +(\w+):", section).group(1)
    text = schema.read_text().replace(kinds, f"{kinds}, {name}")
    end = re.search(r"^  source:\n(?: {3,}.*\n)+", text, re.M).end()
    schema.write_text(text[:end] + section + text[end:])
    (checkout / "pictures").mkdir()
    for size, picture in enumerate(("anna-1.jpg", "anna-2.jpg", "ben-1.jpg", "ben-2.jpg", "carl-1.jpg"), start=80):
        Image.fromarray(draw(size)[0]).save(checkout / "pictures" / picture)
    for line in [*checks.splitlines(), command]:
        run(line, checkout)
    with storage.open_shard(checkout / "results/album/images/00000.h5", "images") as shard:
        assert {name: storage.read_pictures(shard, name).images for name in storage.identities(shard)} == {
            "anna": ["anna-1.jpg", "anna-2.jpg"],
            "ben": ["ben-1.jpg", "ben-2.jpg"],
        }
    after = {name: text for name, text in texts(checkout).items() if not name.startswith(("results/", "pictures/"))}
    assert {name for name, text in after.items() if before.get(name) != text} == {
        "album.yaml",
        "config.yaml",
        "rules/schemas/config.schema.yaml",
        "tests/sources/test_album.py",
        "workflow_scripts/leam/sources/album.py",
    }


def test_the_commands_of_the_page_exist():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    told = re.findall(r"^make ([a-z-]+)", "".join(blocks("Set up, and the checks")), re.M)
    assert told and set(told) <= set(targets)
