"""leam as an installed package: its version stands in one place, and a notebook needs no path set."""

import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
import yaml

from leam import __version__
from runs import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(*command, cwd):
    found = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


# ---------------------------------------------------------------------------------------------------------- version


def test_the_version_stands_in_one_place():
    """The package holds it; what installs the package reads it there, and the citation says the same."""
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M).group(1) == __version__


def test_the_version_stands_in_no_other_file_of_the_workflow():
    for folder, ending in (("workflow_scripts", "py"), ("rules", "smk"), ("rules", "yaml"), ("tests", "py")):
        holders = [path.name for path in (ROOT / folder).rglob(f"*.{ending}") if __version__ in path.read_text()]
        assert holders in ([], ["__init__.py"])


# ------------------------------------------------------------------------------------------------------- installing


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of an environment of its own, which sees the packages of this one but not the repository."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    found = folder / "bin" / "python"
    site = Path(run(found, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    packages = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (site / "others.pth").write_text("\n".join(packages))
    return found


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.suffix != ".pyc"}


PIP = ("-m", "pip", "--quiet", "install", "--no-deps", "--no-build-isolation", "--ignore-installed", "--no-index")
USE = "from leam import maps, __version__; import importlib.metadata as m; print(m.version('leam'), maps.__file__)"


@pytest.mark.slow
def test_the_checkout_is_installed_as_a_notebook_needs_it(python, tmp_path):
    run(python, *PIP, "--editable", ROOT, cwd=tmp_path)
    version, file = run(python, "-c", USE, cwd=tmp_path).split()
    assert (version, Path(file).parents[2]) == (__version__, ROOT)


@pytest.mark.slow
def test_a_built_package_holds_the_data_of_the_library(python, tmp_path):
    """Built from a copy, because building leaves folders behind; and without what starts the workflow."""
    copy, target = tmp_path / "copy", tmp_path / "installed"
    copy.mkdir()
    for name in ("pyproject.toml", "requirements.txt", "requirements-photos.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "workflow_scripts", copy / "workflow_scripts", ignore=shutil.ignore_patterns("__pycache__"))
    run(python, *PIP, "--target", target, copy, cwd=tmp_path)
    assert files_of(target / "leam") == files_of(ROOT / "workflow_scripts" / "leam")
    assert {path.name for path in target.iterdir()} == {"leam", f"leam-{__version__}.dist-info"}
