"""What CONTRIBUTING.md says of adding something, done as it is written, in a copy of the repository."""

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image

import formats
import pages
from drawn import draw
from leam import storage
from leam.methods import POLARITIES
from leam.recognisers import registry
from runs import ROOT


def blocks(heading):
    """The texts of the fenced blocks of a section."""
    found = [block.text for block in pages.section_blocks(ROOT / "CONTRIBUTING.md", heading)]
    assert found, heading
    return found


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
    """What a command of the page prints, in a copy of the repository, under the Python of these tests."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MAKEFLAGS")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    found = subprocess.run(shlex.split(command), cwd=folder, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def take_few(copy):
    """Make the sample that a copy of the repository renders a small one."""
    few = {"identities": 3, "images": 3, "size": 128}
    (copy / "config.yaml").write_text(yaml.safe_dump({"source": {"sample": few}}))


@pytest.mark.slow
def test_a_recogniser_is_added_as_the_page_says(copy):
    take_few(copy)
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
    for name in ("Makefile", "pyproject.toml", "requirements.txt", "requirements-dev.txt", "requirements-photos.txt"):
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


def write_blocks(heading, folder):
    """Write the files of a section, or its lines into files that are there; the commands of the section."""
    commands = []
    for text in blocks(heading):
        named = re.match(r"# (\S+)(?:, before (.+))?\n", text)
        if not named:
            commands += text.splitlines()
            continue
        file, body = folder / named.group(1), text[named.end() :]
        if named.group(2):
            above, line, below = re.split(rf"^({re.escape(named.group(2))})$", file.read_text(), flags=re.M)
            body = above + body + line + below
        else:
            assert not file.exists()
            file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(body)
    return commands


def check_style(folder, before):
    """Pass the checks of `make lint` on what is new; the names of what a contributor would commit."""
    names = {name for name, text in texts(folder).items() if before.get(name) != text}
    names = {name for name in names if not name.startswith("results/")}
    python = " ".join(name for name in names if name.endswith(".py"))
    rules = " ".join(name for name in names if name.startswith("rules/"))
    for command in (f"ruff check {python}", f"ruff format --check {python}", f"snakefmt --check Snakefile {rules}"):
        run(command, folder)
    return names


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_a_method_is_added_as_the_page_says(checkout):
    before = texts(checkout)
    for command in write_blocks("Add a method", checkout):
        run(command, checkout)
    run(".venv/bin/python -m pytest tests/test_design.py", checkout)
    assert check_style(checkout, before) == {
        "docs/design.md",
        "tests/methods/test_elementwise.py",
        "workflow_scripts/leam/methods/elementwise.py",
    }


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_an_analysis_is_added_as_the_page_says(checkout):
    take_few(checkout)
    before = texts(checkout)
    *checks, command = write_blocks("Add an analysis", checkout)
    for check in checks:
        run(check, checkout)
    tests = "tests/test_design.py tests/test_code.py tests/workflow/test_workflow.py"
    said = run(f'.venv/bin/python -m pytest -v {tests} -k "_spread or test_design or adapters_are_thin"', checkout)
    assert all(f"share_one_name[{rule}] PASSED" in said for rule in ("measure_spread", "tabulate_spread"))
    assert "tabulate_spread" in run("snakemake -n", checkout)  # by rule all
    run(command, checkout)
    results = checkout / "results"
    table = pd.read_csv(results / "tables/spread.csv")
    keys = [*itertools.product(("sample_arcface", "sample_cosface"), POLARITIES, registry.IRESNET_LAYERS)]
    assert [*table[["model", "polarity", "layer"]].itertuples(index=False, name=None)] == keys
    low, spread, high = (table[f"spread_percent{ending}"] for ending in ("_low", "", "_high"))
    assert (low >= 0).all() and (low < spread).all() and (spread < high).all() and (high <= 100).all()
    assert set(table["identities"]) == {3} and not table["untrained"].any()
    made = ("spread/{model}/{shard}.parquet", "tables/spread.csv")
    (results / "config.yaml").write_text(yaml.safe_dump({"models": [*table["model"]], "localisation": {"regions": []}}))
    page, optional = formats.read_page((checkout / "docs/formats.md").read_text())
    found = formats.list_run(results)
    assert formats.compare({file: found[file] for file in made}, {file: page[file] for file in made}, optional) == []
    assert {name for name in check_style(checkout, before) if "spread" not in name} == {
        "Snakefile",
        "docs/design.md",
        "docs/formats.md",
    }


@pytest.mark.slow
def test_the_types_of_what_the_page_adds_to_the_library_are_right(checkout):
    for heading in ("Add a source", "Add a method", "Add an analysis"):
        files = {named[1]: text for text in blocks(heading) if (named := re.match(r"# (\S+/leam/\S+)\n", text))}
        assert files
        for name, text in files.items():
            (checkout / name).parent.mkdir(exist_ok=True)
            (checkout / name).write_text(text)
    run("mypy", checkout)
