"""Where a run may lie: in a home, or beside one that cannot be written, in other working directories, below folders of
any name, on file systems without locks."""

import os
import re
import shutil
import subprocess
import sys
import venv

import pytest
import yaml

from album import write_album
from leam import config as settings
from leam import surroundings
from runs import ROOT, warm_snakemake, write_config

CHECKOUT = ("Snakefile", "config.yaml", "envs", "profiles", "rules", "workflow_scripts")
NO_HOME = "/dev/null/home"  # which nobody can make, root included
ODD = "My Drive (1), it's $HOME; & `x` é"
FEW = {"source": {"sample": {"identities": 2, "images": 2, "size": 64}}, "models": ["sample_arcface"]}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The home of whoever works here, and of what they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder := tmp_path_factory.mktemp("home")))
        yield folder


@pytest.fixture(scope="module")
def called(home):
    """Snakemake with its imports done: (working directory, arguments) -> (exit status, what it says)."""
    with warm_snakemake() as call:
        yield call


def checkout_in(folder):
    """A checkout in a folder of any name."""
    (folder / "leam").mkdir(parents=True)
    for name in CHECKOUT:
        (folder / "leam" / name).symlink_to(ROOT / name)
    return folder / "leam"


def snakemake(*arguments, cwd, python=sys.executable, **environment):
    """As a user calls it, without anything added: (exit status, what it says)."""
    command, given = [python, "-m", "snakemake", *map(str, arguments)], os.environ | environment
    kept = {name: value for name, value in given.items() if value is not None}
    found = subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True)
    return found.returncode, found.stdout + found.stderr


# --------------------------------------------------------------------------------------------------------------- homes


def path_settings(schema, above=()):
    """The path of every setting that is a path, as the schema says."""
    found = [above] if "path" in schema.get("unit", "") else []
    for key, part in schema.get("properties", {}).items():
        found += path_settings(part, (*above, key))
    others = schema.get("additionalProperties")
    return found + (path_settings(others, (*above, "mine")) if isinstance(others, dict) else [])


PATHS = path_settings(yaml.safe_load(settings.SCHEMA_PATH.read_text()))
# Files that are looked into before the first job, by the last part of their setting's name.
READ = {"custom_rules": "", "demographics": "identity,gender\nann,female\n"}
READ["rects"] = "identity,image,left,top,right,bottom\nann,1.png,0,0,9,9\n"


def read(section, keys):
    for key in keys:
        section = section[key]
    return section


def test_home_is_meant_in_every_setting_that_is_a_path(home):
    assert len(PATHS) >= 15 and ("recognisers", "mine", "weights") in PATHS
    write_album(home / "here", {"ann": ["1", "2"]})
    for name, text in READ.items():
        (home / name).write_text(text)
    given = {"source": {"kind": "folder"}, "recognisers": {"mine": {}, "packed": {"pack": "~/here"}}}
    for *above, key in PATHS:
        if key == "pack":  # in place of weights: of another entry
            continue
        section = given
        for name in above:
            section = section.setdefault(name, {})
        path = f"~/{key if key in READ else 'here'}"
        section[key] = [path] if key == "custom_rules" else path
    found = settings.complete(given)
    for keys in PATHS:
        value = read(found, ("recognisers", "packed", "pack") if keys[-1] == "pack" else keys)
        expected = str(home / (keys[-1] if keys[-1] in READ else "here"))
        assert (value[0] if keys == ("custom_rules",) else value) == expected, keys
    assert settings.chosen_source(found).identities() == ["ann"]
    assert settings.recogniser_entry(found, "mine")["weights"] == str(home / "here")


def test_home_is_meant_on_the_command_line_and_no_folder_has_its_sign_for_a_name(home, tmp_path, called):
    write_config(home / "mine.yaml", **FEW, results="~/out")
    for extra, folder in (([], "out"), (["--config", "results=~/other"], "other")):
        words = ["-s", ROOT / "Snakefile", "--cores", 1, "list_links", "--configfile", home / "mine.yaml", *extra]
        status, said = called(tmp_path, words)
        assert status == 0, said
        assert (home / folder / "links.parquet").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {".snakemake"}


@pytest.mark.parametrize("profile", ["laptop", "slurm"])
def test_the_profiles_do_without_a_home_that_can_be_written(profile, tmp_path):
    words = ("-n", "results/links.parquet", "-s", ROOT / "Snakefile", "--profile", ROOT / "profiles" / profile)
    status, said = snakemake(*words, cwd=tmp_path, HOME=NO_HOME, XDG_CACHE_HOME=None)
    assert status == 0 and "list_links" in said, said


def test_what_the_doctor_says_to_export_is_enough_without_a_profile(tmp_path, monkeypatch):
    words = ("-n", "results/links.parquet", "-s", ROOT / "Snakefile")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", NO_HOME)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    status, said = snakemake(*words, cwd=tmp_path, **surroundings.lacking_variables())
    assert status == 0, said


@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_make_sets_what_an_account_lacks(tmp_path, monkeypatch):
    (tmp_path / "Makefile").symlink_to(ROOT / "Makefile")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", NO_HOME)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    expected = {name: value for name, value in surroundings.lacking_variables().items() if name != "LOGNAME"}
    command = ["make", "--no-print-directory", "--eval", "told: ; @env", "told"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert expected and {f"{name}={value}" for name, value in expected.items()} <= {*said.splitlines()}


# -------------------------------------------------------------------------------------------------------------- folders


def test_checkout_settings_and_results_may_lie_in_folders_of_any_name(tmp_path):
    """Each somewhere else, and every path is a relative one."""
    checkout_in(tmp_path / ODD)
    (there := tmp_path / f"of {ODD}" / "w{o}rk").mkdir(parents=True)
    write_config(there / "my settings.yaml", **FEW, results=f"results {ODD}")
    leam = f"../../{ODD}/leam"
    words = ("--profile", f"{leam}/profiles/laptop", "--configfile", "my settings.yaml", "--cores", 1)
    target = f"results {ODD}/images/00000.h5"
    status, said = snakemake("-s", f"{leam}/Snakefile", target, *words, cwd=there)
    assert status == 0, said
    assert (there / target).is_file()
    assert {path.name for path in tmp_path.iterdir()} == {ODD, f"of {ODD}"}
    assert {path.name for path in (tmp_path / ODD / "leam").iterdir()} == {*CHECKOUT}


@pytest.mark.parametrize("name", ["[x]*", "%20 %s", "a#b?c:d", "http:", "~", "a\\b", "-n", ' "q" '])
def test_a_checkout_in_a_folder_of_any_name_is_planned(name, tmp_path, called):
    leam = checkout_in(tmp_path / name)
    status, said = called(tmp_path / name, ["-s", "leam/Snakefile", "-n", "results/weights/sample_arcface.ok"])
    assert status == 0, said
    status, said = called(leam, ["-n", "results/weights/sample_arcface.ok"])
    assert status == 0, said


@pytest.mark.parametrize("name", ["{{x}}", "w{o}rk", "}"])
def test_a_checkout_below_braces_is_one_sentence_before_the_first_job(name, tmp_path, called):
    leam = checkout_in(tmp_path / name)
    status, said = called(leam, ["--cores", 1, "list_links"])
    assert status == 1 and f"leam lies at {str(leam / 'workflow_scripts')!r}; Snakemake takes braces" in said
    assert "Traceback" not in said and not (leam / "results").exists()


def test_an_environment_below_a_space_is_one_sentence_before_the_first_job(tmp_path):
    folder = tmp_path / "my environment"
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    python = folder / "bin" / "python"
    status, said = snakemake("--cores", 1, "-s", ROOT / "Snakefile", "list_links", cwd=tmp_path, python=python)
    assert status == 1 and f"Python lies at {str(python)!r}; Snakemake cannot run programs below" in said, said
    assert "Traceback" not in said and not (tmp_path / "results").exists()


@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_make_takes_paths_with_spaces_and_leaves_homes_to_who_reads_them(tmp_path):
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").touch()
    for name in ("Makefile", "requirements.txt", "requirements-photos.txt"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv/.run").touch()
    (tmp_path / ".venv/.photos").touch()

    def recipe(*words):
        found = subprocess.run(["make", "-n", *words], cwd=tmp_path, capture_output=True, text=True, check=True)
        return re.findall(r'(?<= )(?:root=)?"[^"]*"', found.stdout)

    assert recipe("doctor", "CONFIG=~/my settings.yaml") == ['"profiles/slurm"', '"~/my settings.yaml"']
    assert recipe("real", "REAL=my people (1)")[0] == 'root="my people (1)"'
    photos = recipe("photos", "PHOTOS=~/my people (1)", "MINE=my own.yaml")
    assert photos[:2] == ['"my own.yaml"', '"~/my people (1)"'] and '"results/my own/report.html"' in photos


# ---------------------------------------------------------------------------------------------------------------- locks

NO_LOCKS = """
#include <errno.h>
#include <stdlib.h>
int flock(int fd, int operation) { errno = atoi(getenv("FLOCK_ERRNO")); return -1; }
"""
RUN = """
import fcntl, os, sys
from leam import storage
for number in sys.argv[1:]:
    os.environ["FLOCK_ERRNO"] = number
    try:
        fcntl.flock(0, fcntl.LOCK_EX)
    except OSError as error:
        print(error.errno)
    with storage.create_shard(f"{number}.h5", "images", rendered=number) as shard:
        storage.write_discarded(shard, [storage.Discarded("ann", "1", "reason")])
    with storage.open_shard(f"{number}.h5", "images") as shard, storage.open_shard(f"{number}.h5", "images"):
        print(shard.attrs["rendered"], storage.read_discarded(shard)[0].reason)
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="no compiler")
def test_files_are_written_and_read_where_there_are_no_locks(tmp_path):
    """As NFS and Lustre without them answer: ENOLCK, EOPNOTSUPP, and 524, which has no name. The kernel's own call, not
    Python's, is the one that fails; HDF5 makes it too where it is asked for a lock."""
    (tmp_path / "locks.c").write_text(NO_LOCKS)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "locks.so", "locks.c"], cwd=tmp_path, check=True)
    environment = {"LD_PRELOAD": str(tmp_path / "locks.so"), "PYTHONPATH": str(ROOT / "workflow_scripts")}
    command = [sys.executable, "-c", RUN, "37", "95", "524"]
    found = subprocess.run(command, cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == [word for number in ("37", "95", "524") for word in (number, number, "reason")]
