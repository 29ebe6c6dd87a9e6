"""leam.joblog: nothing a job says is lost."""

import subprocess
import sys
from pathlib import Path

import pytest

from leam import joblog

JOB = """
import logging, sys
from leam import joblog
joblog.start(sys.argv[1])
logging.getLogger("leam.faces").info("s003: 7 of 8 images kept")
logging.getLogger("leam.faces").warning("slow")
print("printed")
print("complained", file=sys.stderr)
{end}
"""


def run(log, end=""):
    return subprocess.run(
        [sys.executable, "-c", JOB.format(end=end), str(log)],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    )


def test_everything_said_is_in_the_log(tmp_path):
    job = run(tmp_path / "logs" / "job.log")
    lines = (tmp_path / "logs" / "job.log").read_text().splitlines()
    assert job.returncode == 0
    assert lines == ["s003: 7 of 8 images kept", "WARNING: slow", "printed", "complained"]
    assert job.stdout + job.stderr == ""  # no terminal is watching


def test_errors_reach_the_log_and_the_caller(tmp_path):
    for end, message in (("raise ValueError('what and where')", "what and where"), ("import no_such", "no_such")):
        job = run(tmp_path / "job.log", end)
        assert job.returncode == 1
        assert message in job.stderr
        assert message in (tmp_path / "job.log").read_text()


def test_import_is_light():
    code = "import sys; from leam import joblog; sys.exit(bool({'numpy', 'pandas', 'h5py'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


RUN_LOG = """
[Mon Nov 23 19:21:39 2026]
Error in rule compute_maps:
    message: None
    jobid: 20
    output: {folder}/maps/m/00001.h5
    log: {folder}/00001.log, {folder}/slurm/21.log (check log file(s) for error details)
    external_jobid: 21
Trying to restart job 20.
Error in rule compute_maps:
    jobid: 21
    output: {folder}/maps/m/00000.h5
    log: {folder}/00000.log (check log file(s) for error details)
Error in rule tabulate_regions:
    jobid: 1
    output: {folder}/a.csv, {folder}/b.csv
"""


@pytest.mark.parametrize("name", ["results", "my results (1)", "a, b", "a,b", "it's {x}", "(check log file(s)", "é"])
def test_jobs_that_failed_for_good_are_named_and_retried_ones_are_not(tmp_path, name):
    (tmp_path := tmp_path / name).mkdir()
    (tmp_path / "maps/m").mkdir(parents=True)
    (tmp_path / "maps/m/00000.h5").touch()
    (tmp_path / "00001.log").write_text("Traceback\nRuntimeError: too bad\n\n")
    (tmp_path / "run.log").write_text(RUN_LOG.format(folder=tmp_path) * 2)
    assert joblog.failures([tmp_path / "run.log"]).splitlines() == [
        "Failed for good: 2. All else that can be made without is made.",
        f"  compute_maps: {tmp_path}/maps/m/00001.h5",
        f"    {tmp_path}/00001.log: RuntimeError: too bad",
        f"  tabulate_regions: {tmp_path}/a.csv",
    ]
    (tmp_path / "maps/m/00001.h5").touch()
    (tmp_path / "a.csv").touch()
    assert joblog.failures([tmp_path / "run.log"]) == ""


def test_a_log_that_takes_nothing_does_not_silence_the_terminal(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "job.log").symlink_to("/dev/full")
    code = "import sys; from leam import joblog; joblog.start(sys.argv[1]); raise ValueError('what and where')"
    command = [sys.executable, "-c", code, str(tmp_path / "job.log")]
    job = subprocess.run(command, env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True)
    assert "ValueError: what and where" in job.stderr


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("see https://h.org/a/b?key=1, and http://x.org.", "see https://h.org/..., and http://x.org."),
        ("'http://me:word@h.org:80/a b?key=3' failed: x", "'http://h.org:80/...' failed: x"),
        ('("https://h/a,b?key=1")', '("https://h/...")'),
        ("a record of 'https://h/it\\'s?key=1' is", "a record of 'https://h/...' is"),
        ("https://h/: 404; ftp://me@h/x; x://h?key=1", "https://h: 404; ftp://h/...; x://h/..."),
        ("a://b/c\nhttp://[::1]:80/x#key", "a://b/...\nhttp://[::1]:80/..."),
        ("https://user:pa@ss@h/x?next=http://other/key", "https://h/..."),
        ("and/or :// s000 (1 of 2): 3 images", "and/or :// s000 (1 of 2): 3 images"),
    ],
)
def test_urls_are_cut_after_their_host(said, kept):
    assert joblog.without_urls(said) == kept


def test_long_texts_are_read_once():
    """Each of these would take hours if every place were tried with all that follows."""
    assert joblog.without_urls("a" * 10**6) == "a" * 10**6
    assert joblog.without_urls('"a://\\' * 10**5).startswith('"a://')
    assert joblog.without_urls("'" * 10**5 + "a://h/" + "x" * 10**6) == "'" * 10**5 + "a://h/..."


def test_neither_a_log_nor_a_traceback_holds_a_url(tmp_path):
    end = """
logging.getLogger("leam").warning("%s", "https://h.org/key")
try:
    raise ValueError("http://me:word@h.org/key")
except ValueError as error:
    raise RuntimeError("no 'http://h.org/key'") from error
"""
    job = run(tmp_path / "job.log", end)
    log = (tmp_path / "job.log").read_text()
    assert "WARNING: https://h.org/..." in log
    for text in (job.stderr, log):
        assert "RuntimeError: no 'http://h.org/...'" in text and "ValueError: http://h.org/..." in text
        assert "key" not in text
