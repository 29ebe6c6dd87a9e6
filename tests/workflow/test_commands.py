"""Every command of every page is run, planned without its jobs, or taken apart and looked at; what else pages show,
settings and programs, is what the workflow and the library know."""

import ast
import functools
import grp
import importlib
import itertools
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from snakemake import cli

import small_packs
import test_contributing
from album import write_album
from leam import config as settings
from leam import doctor, files, surroundings
from pages import COMMENTED, PAGES, README, SHELL, Block, Command, blocks, body, commands, section_blocks
from runs import ROOT, warm_snakemake
from shards import make_faces, write_faces
from test_kinds import imdb

CHECKOUT = ("Makefile", "Snakefile", "config.yaml", "docs", "envs", "profiles", "rules", "tests", "workflow_scripts")
CHECKOUT += (".pre-commit-config.yaml", "pyproject.toml")
CHECKOUT += ("requirements.txt", "requirements-dev.txt", "requirements-photos.txt")
# Sections whose every block is used as the page says, by tests of their own.
ADDED = re.findall(r'blocks\("(.*?)"', Path(test_contributing.__file__).read_text())
DONE = {*(("CONTRIBUTING.md", section) for section in ADDED), ("sources.md", "Data sets")}  # test_published_layouts.py
NO_JOBS = {"-n", "--dry-run", "--list", "--unlock", "--lint", "--report"}  # of Snakemake, which then needs no cores
OPTIONS_OF = {"--no-deps": "pip install", "--exclude": "sbatch"}  # that are named alone, and are not Snakemake's
# Programs of a site, of Slurm or of others that these tests cannot count on: the files that they are given must exist.
ELSEWHERE = ("micromamba", "module", "pip", "scontrol", "source", "tmux")


def is_done_elsewhere(found):
    return (found.page.name, found.section) in DONE


# ---------------------------------------------------------------------------------------- where a reader types commands


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """What readers bring, small: under data/ what the pages call /data/, and a folder as docs/examples describes it."""
    root = tmp_path_factory.mktemp("reader")
    people = {"ann": ["1", "2"], "bob": ["1", "2"]}
    write_album(root / "data" / "people", people)
    write_album(root / "folder" / "photos", people)
    write_album(root / "folder" / "faces", people)
    for labels in (root / "folder" / "faces").rglob("*.labels.png"):
        labels.rename(str(labels).replace(".labels.png", ".regions.png"))
    (root / "folder" / "demographics.csv").write_text("identity,gender\nann,female\nbob,male\n")
    small_packs.write_pack(root / "data" / "insightface" / "models" / "buffalo_l")
    imdb(root / "data")
    (root / "data" / "list.csv").rename(root / "data" / "IMDb-Face.csv")
    return root


@functools.cache
def page_files(page, line):
    """{name: text} of the files that a page shows before a line; where it shows no settings, those of the README."""
    shown = [block for block in blocks(page) if block.name and block.line < line and not is_done_elsewhere(block)]
    base = [] if any(block.language == "yaml" for block in shown) else [b for b in blocks(README) if b.name]
    return {block.name: body(block) for block in (*base, *shown)}


def distinct():
    """[(places, command)]: a command that is typed beside the same files stands there once."""
    found = {}
    for command in commands():
        if not is_done_elsewhere(command):
            shown = page_files(command.page, command.line)
            beside = {name: text for name, text in shown.items() if "Snakefile" in shown or ".yaml" in command.text}
            found.setdefault((command.text, *beside.items()), []).append(command)
    return [(" ".join(command.place for command in same), same[0]) for same in found.values()]


def as_of(reader, text):
    """A page's text with the reader's own files and the checkout where they are."""
    return text.replace("/data/", f"{reader}/data/").replace("/path/to/leam", str(ROOT))


@pytest.fixture
def desk(reader, tmp_path, monkeypatch):
    """A function that sets up the checkout in which a command of a page is typed, with the files that the page shows;
    it is the working directory then, and the home of a reader is elsewhere."""
    folder = tmp_path / "leam"

    def set_up(command):
        for name, text in page_files(command.page, command.line).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(as_of(reader, text))
        folder.mkdir(exist_ok=True)
        for name in CHECKOUT:
            if not (folder / name).exists():
                (folder / name).symlink_to(ROOT / name)
        for name in re.findall(r"\bREAL=(\w+)", command.text):
            (folder / name).symlink_to(reader / "folder")
        for name in re.findall(r"\bPHOTOS=(\w+)", command.text):
            (folder / name).symlink_to(reader / "folder" / "photos")
            (folder / "mine.yaml").unlink(missing_ok=True)  # which the command writes
        (tmp_path / "home").mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        return folder

    return set_up


def shell(text, **environment):
    """What a command line prints."""
    found = subprocess.run(["bash", "-euc", text], capture_output=True, text=True, env=os.environ | environment)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


# ------------------------------------------------------------------------------------------------------- the commands


@pytest.fixture(scope="module")
def called():
    """Snakemake with its imports done: (working directory, arguments) -> (exit status, what it says). What was planned
    beside the same files is not planned again."""
    found = {}
    with warm_snakemake() as call:

        def once(folder, words):
            shown = [path.read_text() for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink()]
            key = tuple(sorted(words)), *shown
            if key not in found:
                found[key] = call(folder, words)
            return found[key]

        yield once


@pytest.mark.parametrize(("places", "command"), [pytest.param(*pair, id=pair[1].text) for pair in distinct()])
def test_every_command_of_a_page_works(places, command, reader, desk, called, monkeypatch, capsys):
    folder = desk(command)
    try:
        Accounts(command, folder, called, monkeypatch, capsys).account(as_of(reader, command.text))
    except (AssertionError, SystemExit) as error:
        raise AssertionError(f"{places}: {command.text}: {error}") from error


class Accounts:
    """One method per program, which looks at a simple command of it; for what a shell makes of several, ``lines``."""

    def __init__(self, command, folder, called, monkeypatch, capsys):
        self.command, self.folder, self.called = command, folder, called
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def account(self, text):
        if text.startswith(("-", "... -")):
            return self.options(shlex.split(text.removeprefix("... ")))
        lines = {"squeue": self.cancel_what_is_left_over, "chgrp": self.share_results, "mkdir": self.link_profile}
        if whole := lines.get(text.split()[0]):
            return whole(text)
        for part in re.split("&&", text):
            words = shell(f"told() {{ printf '%s\\n' \"$@\"; }}; told {part}").splitlines()
            while "=" in words[0]:
                words.pop(0)
            program = Path(words[0]).name
            told = f"no test accounts for `{part.strip()}`: add to Accounts what looks at it; PHRASES are no commands"
            assert hasattr(self, program.replace("-", "_")) or program in ELSEWHERE, told
            written = [after for word, after in itertools.pairwise(words) if word == "--output"]
            self.files([word for word in words[1:] if word not in written])
            getattr(self, program.replace("-", "_"), lambda _: None)(words)

    def files(self, words):
        """What looks like a path of the repository is there."""
        named = [word for word in words if re.fullmatch(r"[\w.-]+/[\w./-]+|[\w/-]+\.(?:yaml|txt|py|md)", word)]
        absent = [name for name in named if not name.startswith(("results/", ".venv/", "env/", "lang/"))]
        assert [name for name in absent if not (self.folder / name).exists()] == []

    def options(self, words):
        if words[0] in OPTIONS_OF:
            return
        self.files(words)
        known = {option for action in cli.get_argument_parser()._actions for option in action.option_strings}
        assert words[0] in known, f"Snakemake has no {words[0]}"

    def snakemake(self, words):
        _, given = cli.parse_args(words[1:])
        if not NO_JOBS & {*words}:
            assert given.cores or given.jobs, "Snakemake will ask for --cores"
            words = [words[0], "-n", *words[1:]]
        # make lint, the runs of the workflow and test_profiles.py do these
        if not {"--lint", "--report", "--workflow-profile"} & {*words}:
            status, said = self.called(self.folder, words[1:])
            assert status == 0 and "Traceback" not in said, said
            for name in given.until or given.targets or (self.own_rules() if "-n" in words else ()):
                assert name in said, f"{name} is not planned: {said}"

    def own_rules(self):
        """The rules that the page shows beside the command."""
        shown = section_blocks(self.command.page, self.command.section) if self.command.section else []
        return [rule for block in shown for rule in re.findall(r"^rule (\w+):", block.text, re.M)]

    def make(self, words):
        text = (ROOT / "Makefile").read_text()
        target, *variables = words[1:]
        assert target in re.search(r"^\.PHONY: (.*)$", text, re.M)[1].split(), f"no target {target}"
        for variable in variables:
            assert f"$({variable.partition('=')[0]})" in text, f"the Makefile does not know {variable}"
        if words[1:] in (["real"], ["photos"]):
            return  # ask for REAL and PHOTOS: see test_docs.py
        (self.folder / ".venv").mkdir()
        (self.folder / ".venv/.dev").touch()  # as make setup leaves them
        (self.folder / ".venv/.run").touch()
        (self.folder / ".venv/.photos").touch()
        for line in shell(f"make -n {shlex.join(words[1:])}").replace("\\\n", "").splitlines():
            if line.startswith(".venv/bin/snakemake") or " -m leam." in line:
                self.account(line)

    def python(self, words):
        match words[1:]:
            case ["-m", "pytest", *arguments]:
                assert pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *arguments]) == 0
            case ["-m", "leam.doctor", "--profile", _, "--configfile", _]:
                self.doctor(words[3:])
            case ["-m", "leam.guess", *_]:
                self.run(words, PYTHONPATH="workflow_scripts")
            case ["-m", "leam.doctor", "--profile", "profiles/laptop", "--cores", _, "--configfile", _]:
                assert "\ntime " in self.run(words, PYTHONPATH="workflow_scripts")
            case ["-m", "leam.defaults"]:
                Path("config.yaml").unlink()
                self.run(words, PYTHONPATH="workflow_scripts")
                assert Path("config.yaml").read_text() == (ROOT / "config.yaml").read_text()
            case ["-m", module, *arguments] if module.startswith("leam."):  # trains or measures for hours
                self.ask_for_help(module, arguments)
            case ["-m", "venv", _]:
                pass
            case [_, *folders]:
                for folder in map(Path, folders):
                    folder.mkdir()
                    (folder / "table.csv").write_text("a\n1\n")
                self.run(words)

    def insightface_cli(self, words):
        """It would download: it is asked whether there is such a command."""
        program = "from insightface.commands.insightface_cli import main; main()"
        assert "usage: " in self.run([words[0], "-c", program, words[1], "--help"])

    def ask_for_help(self, module, arguments):
        """Its parser takes the arguments, and it is a program; it does nothing else."""
        self.monkeypatch.setattr(sys, "argv", [module, *arguments, "--help"])
        with pytest.raises(SystemExit, match="0"):
            runpy.run_path(importlib.util.find_spec(module).origin, run_name="__main__")
        assert self.capsys.readouterr().out.startswith("usage: ")

    def run(self, words, **environment):
        command, environment = [sys.executable, *words[1:]], os.environ | environment
        found = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout

    def doctor(self, arguments):
        """What it says of a machine without Slurm: nothing of the settings that the page shows."""
        (programs := self.folder / "programs").mkdir()
        for name in ("sh", "uname", "which"):
            (programs / name).symlink_to(shutil.which(name))
        self.monkeypatch.setenv("PATH", str(programs))
        self.monkeypatch.setattr(sys, "argv", ["doctor", *arguments])
        assert doctor.main() == 1
        said = self.capsys.readouterr().out
        assert "no login node of a Slurm cluster" in said and "GPU-hours  note" in said, said

    def pre_commit(self, words):
        assert words[1:] == ["install"]
        (hooks,) = yaml.safe_load(Path(".pre-commit-config.yaml").read_text())["repos"]
        for hook in hooks["hooks"]:
            self.make(hook["entry"].split())

    def export(self, words):
        """What a page exports is what the doctor says, or a variable of Slurm's own commands."""
        for name, value in (word.split("=") for word in words[1:]):
            cache = {"XDG_CACHE_HOME": str(surroundings.CACHE.absolute())}
            assert name.startswith("SBATCH_") or cache.get(name) == value

    def umask(self, words):
        assert int(words[1], 8) & 0o070 == 0  # a group's

    def sha256sum(self, words):
        with files.whole_file("some.csv") as part:
            part.write_text("1,2\n")
        assert shell(f"sha256sum {words[1]} some.csv.sha256") == "some.csv: OK\n"

    # ---------------------------------------------------------------------------------------------- lines for a shell

    def cancel_what_is_left_over(self, text):
        """With what squeue prints of three jobs, of which two are a run's."""
        for name, script in (("squeue", "echo 7 leam_a; echo 8 other_leam_; echo 9 leam_b"), ("scancel", 'echo "$@"')):
            Path(name).write_text(f"#!/bin/sh\n{script}\n")
            Path(name).chmod(0o755)
        assert shell(text, PATH=f"{self.folder}:{os.environ['PATH']}") == "7 9\n"

    def share_results(self, text):
        Path("results").mkdir()
        shell(re.sub(r"\bGROUP\b", grp.getgrgid(os.getgid()).gr_name, text))
        assert Path("results").stat().st_mode & 0o2070 == 0o2070

    def link_profile(self, text):
        shell(text)
        assert cli.get_profile_dir("slurm")[1].samefile(ROOT / "profiles/slurm/config.yaml")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("curl -O x && make demo", "no test accounts for `curl -O x`"),
        (
            "snakemake --profile profiles/laptop --configfile mine.yaml calibrate_margin",
            "'calibrate_margin'",
        ),  # taken for a second file
        ("snakemake calibrate_margin --configfile mine.yaml", "will ask for --cores"),
        ("snakemake --cores 2 calibrate_margins --configfile mine.yaml", "calibrate_margins"),
        ("snakemake --profile profiles/laptop --configfile mine.yaml --until scrape_images", "No rule to produce"),
        ("snakemake -n --config-file mine.yaml", "2"),
        ("... --workflow-profile profiles/slurm-iris", "profiles/slurm-iris"),
        ("make margin", "no target margin"),
        ("make doctor SETTINGS=mine.yaml", "does not know SETTINGS"),
        ("python -m leam.sample.training measure", "Regex pattern did not match"),
        (".venv/bin/python -m pytest tests/test_design.py::test_absent", "USAGE_ERROR"),
        (".venv/bin/pip install -r requirement.txt", "requirement.txt"),
        ("export XDG_CACHE_HOME=$PWD/cache", "assert"),
    ],
)
def test_a_command_that_does_not_work_is_said(text, fault, desk, called, monkeypatch, capsys):
    command = Command(README, len(README.read_text()), "", text)
    with pytest.raises((AssertionError, SystemExit), match=fault):
        Accounts(command, desk(command), called, monkeypatch, capsys).account(text)


# ----------------------------------------------------------------------------------------------- settings and programs


def ids(found):
    return [f"{block.page.relative_to(ROOT)}:{block.line}" for block in found]


BLOCKS = [block for page in PAGES for block in blocks(page) if not is_done_elsewhere(block)]
EXAMPLES = [
    Block(page, 1, "", "yaml", "", page.read_text()) for page in COMMENTED if page.parent == ROOT / "docs/examples"
]
SETTINGS = [*(block for block in BLOCKS if block.language == "yaml"), *EXAMPLES]
PROGRAMS = [block for block in BLOCKS if block.language == "python" and not re.search(r"\.smk$|Snakefile$", block.name)]


def test_every_block_is_looked_at():
    assert {block.language for block in BLOCKS} <= {*SHELL, "yaml", "python"}


@pytest.mark.parametrize("block", SETTINGS, ids=ids(SETTINGS))
def test_settings_that_a_page_shows_are_complete_and_allowed(block, reader, desk):
    desk(Command(block.page, len(block.page.read_text()), "", "REAL=folder"))
    given = yaml.safe_load(as_of(reader, body(block)))
    given = given["leam"] if [*given] == ["leam"] else given  # of a workflow that has leam as a module
    complete = settings.complete({"root": "folder"} | given if block in EXAMPLES else given)
    assert settings.chosen_source(complete).count() > 0


@pytest.mark.parametrize("block", PROGRAMS, ids=ids(PROGRAMS))
def test_programs_that_a_page_shows_are_python_and_use_what_leam_has(block):
    tree, there = ast.parse(block.text), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "leam":
            module = importlib.import_module(node.module)
            for alias in node.names:
                there[alias.name] = getattr(module, alias.name, None) or importlib.import_module(
                    f"{node.module}.{alias.name}"
                )
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    assert [f"{node.value.id}.{node.attr}" for node in used if not _has(there, node)] == []


def _has(there, node):
    return node.value.id not in there or hasattr(there[node.value.id], node.attr)


@pytest.fixture
def one_thread():
    """Of PyTorch's, as in make test: several on fewer cores wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_program_for_a_notebook_computes_maps(tmp_path, monkeypatch, one_thread):
    monkeypatch.chdir(tmp_path)
    write_faces("results/faces/00000.h5", [make_faces("s002", 2)])
    (program,) = (block for block in PROGRAMS if block.section == "In a notebook")
    exec(compile(program.text, str(program.page), "exec"), space := {})
    assert space["found"]["maps.0"][0].shape == (2, 112, 112) and space["found"]["counts"].shape[:2] == (2, 2)
