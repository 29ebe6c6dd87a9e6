"""leam.surroundings: what others may read, homes that cannot be written, no name, files of the future."""

import ast
import os
import time
from pathlib import Path

import pytest

from leam import surroundings

NOBODY = 12345  # an account that stands in no list
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")


def in_account(number, work):
    """What a function returns, as text, in a process of another account that has no rights of root."""
    here, there = os.pipe()
    if not (child := os.fork()):
        try:
            os.setgroups([])
            os.setresgid(number, number, number)
            os.setresuid(number, number, number)
            said = str(work())
        except BaseException as error:
            said = repr(error)
        os.write(there, said.encode())
        os._exit(0)
    os.close(there)
    with open(here) as told:
        text = told.read()
    os.waitpid(child, 0)
    return text


@pytest.fixture
def shared(tmp_path):
    """A folder that everyone may reach and write."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == tmp_path.owner() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    tmp_path.chmod(0o777)
    return tmp_path


@pytest.mark.parametrize("before", [0o000, 0o022, 0o077, 0o027, 0o277])
def test_what_is_written_is_its_owners_only_whatever_the_umask(tmp_path, before):
    begun = tmp_path / "begun.log"
    begun.touch(0o666)

    def work():
        os.umask(before)
        surroundings.keep_private([begun])
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "file").touch()
        found = (begun, tmp_path / "folder", tmp_path / "folder" / "file")
        return [oct(path.stat().st_mode & 0o777) for path in found]

    expected = ["0o600", "0o700", "0o600"] if before != 0o277 else ["0o600", "0o500", "0o400"]
    account = os.geteuid()
    if account == 0:
        assert in_account(0, work) == str(expected)
    elif before != 0o277:
        old = os.umask(before)
        assert work() == expected
        os.umask(old)


def test_files_that_others_may_read_are_found(tmp_path):
    for name, folder_mode, mode in (
        ("open/seen.h5", 0o755, 0o644),
        ("open/group.h5", 0o755, 0o640),
        ("open/README.md", 0o755, 0o644),
        ("open/own.h5", 0o755, 0o600),
        ("closed/hidden.h5", 0o700, 0o644),
        ("group/seen.h5", 0o710, 0o604),
        ("closed/deep/hidden.h5", 0o777, 0o666),
    ):
        path = tmp_path / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(mode)
        path.parent.chmod(folder_mode)
    (tmp_path / "results" / "open" / "link.h5").symlink_to("own.h5")
    (tmp_path / "results" / "open" / "loop").symlink_to(".")
    found = surroundings.readable_by_others(tmp_path / "results")
    assert [str(path.relative_to(tmp_path / "results")) for path in found] == [
        "group/seen.h5",
        "open/group.h5",
        "open/seen.h5",
    ]
    assert surroundings.readable_by_others(tmp_path / "absent") == []


@ROOT_ONLY
@pytest.mark.parametrize("name", ["results", "results/images", "results/maps"])
def test_results_that_another_account_keeps_to_itself_are_said(shared, name):
    for folder in ("results", "results/images", "results/maps"):
        (shared / folder).mkdir(0o755)
        (shared / folder).chmod(0o755)
    assert in_account(NOBODY, lambda: surroundings.fault_of_closed(shared / "results")) == ""
    (shared / name).chmod(0o700)
    said = in_account(NOBODY, lambda: surroundings.fault_of_closed(shared / "results"))
    assert said.startswith(f"{shared / name} belongs to root, whose run keeps it private: set `results` to a folder")
    assert surroundings.fault_of_closed(shared / "results") == ""  # root itself


CACHES = {
    "XDG_CACHE_HOME": ".snakemake/cache",
    "MPLCONFIGDIR": ".snakemake/cache/matplotlib",
    "TRITON_CACHE_DIR": ".snakemake/cache/triton",
}


@pytest.fixture
def look(shared, monkeypatch):
    """What somebody who has no name finds with this HOME (None: unset): the fault, and the variables it lacks."""
    for variable in (*CACHES, "LOGNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(shared)

    def told(home):
        os.environ.pop("HOME", None) if home is None else os.environ.update(HOME=str(home))
        return ast.literal_eval(
            in_account(NOBODY, lambda: (surroundings.home_fault(), surroundings.lacking_variables()))
        )

    monkeypatch.setenv("HOME", os.environ["HOME"])  # to be restored
    return told


@ROOT_ONLY
def test_an_account_without_a_home_or_one_that_cannot_be_written(shared, look, monkeypatch):
    home, named = shared / "home", {"LOGNAME": f"account-{NOBODY}"}
    caches = {name: str(shared / path) for name, path in CACHES.items()}
    assert look(home) == ("", named)  # it can be made
    home.mkdir(0o755)
    cannot = "cannot be written, where this account has its home"
    assert look(home) == (f"{home} {cannot}", caches | named)
    (home / ".cache").mkdir()
    (home / ".cache").chmod(0o777)
    assert look(home) == ("", named)
    (home / ".cache" / "snakemake").mkdir(0o755)
    assert look(home) == (f"{home}/.cache/snakemake {cannot}", caches | named)
    home.chmod(0o700)
    assert look(home) == (f"{home} {cannot}", caches | named)
    assert look("/proc/nowhere/deep") == (f"/proc {cannot}", caches | named)
    fault, lacking = look(None)
    assert fault == "this account has no home: HOME is not set, and its number stands in no list of accounts"
    assert lacking == {"HOME": caches["XDG_CACHE_HOME"]} | caches | named
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")  # whoever has set one keeps it
    monkeypatch.setenv("LOGNAME", "me")
    assert look(None)[1].keys() == {"HOME", "MPLCONFIGDIR", "TRITON_CACHE_DIR"}


def test_an_account_with_a_home_lacks_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOGNAME", "me")
    assert surroundings.home_fault() == "" and surroundings.lacking_variables() == {}


@pytest.mark.parametrize("ahead_s", [-1e9, -1, 30, 3600, 1e8])
def test_files_of_a_time_to_come_are_said(tmp_path, ahead_s):
    results = tmp_path / "my results"
    (results / "images").mkdir(parents=True)
    for path in (results / "images" / "00000.h5", results / "links.parquet", tmp_path / "w.pth"):
        path.touch()
    paths = (results, tmp_path / "w.pth", tmp_path / "absent")
    assert surroundings.fault_of_clock(*paths) == ""
    for path in (results / "images" / "00000.h5", tmp_path / "w.pth"):
        os.utime(path, (time.time() + ahead_s,) * 2)
    said = surroundings.fault_of_clock(*paths)
    if ahead_s < surroundings.AHEAD_S:
        assert said == ""
        return
    assert said.startswith(f"files of a time to come, such as {results}/images/00000.h5 (2 in all): set the clock")
    os.system(said.rpartition("its time: ")[2])
    assert surroundings.fault_of_clock(*paths) == ""


@pytest.mark.parametrize(
    ("path", "is_fine"),
    [
        ("/usr/bin/python3", True),
        ("/data/leam-0.2/.venv/bin/python", True),
        ("/data/My Drive/.venv/bin/python", False),
        ("/data/a;b/bin/python", False),
        ("/data/$x/bin/python", False),
        ("/data/(1)/bin/python", False),
    ],
)
def test_an_environment_that_no_shell_finds_is_said(path, is_fine):
    fault = surroundings.fault_of_interpreter(path)
    assert (fault == "") == is_fine and (is_fine or path in fault)
