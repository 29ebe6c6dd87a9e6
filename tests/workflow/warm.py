"""Snakemake, as `snakemake` is called, for tests: its jobs begin with their imports done.

    python tests/workflow/warm.py ARGUMENTS

Rules, plan, files and reports are Snakemake's own. Only the Python process of each job is forked from this one, which
has imported what jobs import, instead of started anew: a job takes tenths of a second where it took seconds.
"""

import os
import runpy
import sys
import traceback
from typing import NoReturn

import matplotlib.pyplot  # noqa: F401
import torch
from snakemake import cli
from snakemake.exceptions import WorkflowError
from snakemake.script import PythonScript

import leam.analyses.similarity.measure
import leam.faces.stage
import leam.maps
import leam.recognisers.networks  # noqa: F401


def run_forked(script: PythonScript, path: str, edit: bool = False) -> None:
    """What Snakemake calls for a job's script. Raises WorkflowError where it fails, having told why on stderr."""
    child = os.fork()
    if not child:
        _run(path)
    _, status = os.waitpid(child, 0)
    script.bench_record.running_time = 0.0  # the file of a benchmark needs one
    if status:
        raise WorkflowError(f"{script.rulename} failed")


def _run(path: str) -> NoReturn:
    status = 1
    try:
        runpy.run_path(path, run_name="__main__")
        status = 0
    except SystemExit as end:
        status = bool(end.code)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        traceback.print_exc(file=sys.__stderr__)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    torch.set_num_threads(1)  # a forked process has no threads of OpenMP but its own
    PythonScript.execute_script = run_forked
    cli.main(sys.argv[1:])
