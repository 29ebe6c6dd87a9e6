"""leam.joblog: nothing a job says is lost."""

import subprocess
import sys

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
