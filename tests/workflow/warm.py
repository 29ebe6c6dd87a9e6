"""Snakemake for tests, whose jobs begin with their imports done.

    python tests/workflow/warm.py ARGUMENTS            as `snakemake ARGUMENTS`
    python tests/workflow/warm.py --each < CALLS       calls one after the other: a line of JSON each,
                                                       [folder, [argument, ...]] -> [exit status, what was said]

Rules, plan, files and reports are Snakemake's own. Only the Python process of each job (of each call) is forked from
this one, which has imported what jobs import, instead of started anew: tenths of a second where it took seconds.
"""

import json
import os
import runpy
import sys
import tempfile
import traceback
from collections.abc import Callable

import matplotlib.pyplot  # noqa: F401
import torch
from snakemake import cli
from snakemake.exceptions import WorkflowError
from snakemake.script import PythonScript

import leam.analyses.similarity.measure
import leam.code
import leam.config
import leam.faces.stage
import leam.maps
import leam.recognisers.networks


def fork(call: Callable[[], object]) -> int:
    """Call it in a process of its own; the exit status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        call()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        if sys.stderr is not sys.__stderr__:
            traceback.print_exc(file=sys.__stderr__)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def run_forked(script: PythonScript, path: str, edit: bool = False) -> None:
    """What Snakemake calls for a job's script. Raises WorkflowError where it fails, having told why on stderr."""
    status = fork(lambda: runpy.run_path(path, run_name="__main__"))
    script.bench_record.running_time = 0.0  # the file of a benchmark needs one
    if status:
        raise WorkflowError(f"{script.rulename} failed")


def read_library() -> None:
    """What every call would read anew: the source of the library, for the digests of rules, and the schema."""
    for adapter in leam.code.PACKAGE.parent.glob("*.py"):
        leam.code.digest_code(adapter)
    leam.config.complete({})


def call(directory: str, arguments: list[str]) -> tuple[int, str]:
    """The exit status of a call of Snakemake in a working directory, and what it said."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:

        def called() -> None:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # the next call stands there
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            os.chdir(directory)
            cli.main(arguments)

        status = fork(called)
        said.seek(0)
        return status, said.read()


if __name__ == "__main__":
    torch.set_num_threads(1)  # a forked process has no threads of OpenMP but its own
    PythonScript.execute_script = run_forked
    if sys.argv[1] == "--each":
        read_library()
        for line in sys.stdin:
            print(json.dumps(call(*json.loads(line))), flush=True)
    else:
        cli.main(sys.argv[1:])
