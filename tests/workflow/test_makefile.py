"""The Makefile's choice of a Python, and what it says where there is none."""

import os
import shutil
import subprocess

import pytest

from runs import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
STUB = """#!/bin/sh
case "$1" in
--version) echo "Python {version}" ;;
-c) exit {refused} ;;
*) mkdir -p .venv/bin && echo "{version} $*" > .venv/bin/python ;;
esac
"""


def make(directory, *arguments, pythons):
    """What `make .venv/bin/python` says, and does, where these commands are Pythons: {name: (version, usable)}."""
    commands = directory / "commands"
    commands.mkdir()
    for name, (version, usable) in pythons.items():
        (commands / name).write_text(STUB.format(version=version, refused=int(not usable)))
        (commands / name).chmod(0o755)
    for needed in ("sh", "mkdir", "make", "sed", "nproc"):
        if found := shutil.which(needed):
            (commands / needed).symlink_to(found)
    shutil.copy(ROOT / "Makefile", directory)
    command = ["make", *(arguments or [".venv/bin/python"])]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "PYTHON", "MFLAGS"))}
    environment["PATH"] = str(commands)
    found = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
    return found.returncode, found.stdout, found.stderr


@pytest.mark.parametrize(
    ("pythons", "taken"),
    [
        ({"python3.12": ("3.12.1", True), "python3.13": ("3.13.0", True)}, "python3.12"),
        ({"python3.11": ("3.11.9", False), "python3.14": ("3.14.0", True)}, "python3.14"),  # a shim without a version
        ({"python3.10": ("3.10.2", True), "python3": ("3.13.5", True)}, "python3"),
    ],
)
def test_the_first_usable_python_is_taken_and_named(tmp_path, pythons, taken):
    code, said, _ = make(tmp_path, pythons=pythons)
    version = pythons[taken][0]
    assert code == 0 and f"is made by {taken} (Python {version})" in said
    assert (tmp_path / ".venv/bin/python").read_text().startswith(f"{version} -m venv")


def test_without_a_usable_python_one_sentence_says_what_to_do(tmp_path):
    code, _, said = make(tmp_path, pythons={"python3": ("3.15.0", False)})
    first, *rest = said.splitlines()
    assert code != 0 and first.startswith("None of python3.11 ") and "make PYTHON=" in first
    assert all(line.startswith("make:") for line in rest) and not (tmp_path / ".venv").exists()


def test_help_names_the_targets_and_makes_nothing(tmp_path):
    code, said, _ = make(tmp_path, "help", pythons={})
    assert code == 0 and {"make demo", "make test"} <= {" ".join(line.split()[:2]) for line in said.splitlines()}
    assert not (tmp_path / ".venv").exists()
