"""Jobs of a run, started again as Snakemake started them, and killed on their way.

The run is made with `--skip-script-cleanup`, so that the scripts that Snakemake wrote for its jobs stay. They are run
in processes that have the heavy imports behind them, as most of a small job's time is spent there.
"""

import ast
import contextlib
import multiprocessing
import os
import pickle
import random
import re
import runpy
import signal
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from leam import files

HEAVY = [
    "torch",
    "pandas",
    "h5py",
    "matplotlib.pyplot",
    "scipy.stats",
    "leam.maps",
    "leam.faces.stage",
    "leam.explorer",
]
TIMED = {"scrape_images": ".csv", "tabulate_scraping": ".csv"}
LEFT_OVER = ("*.part", "*.journal")
GONE_S = 20  # in which all processes of a job that was killed are gone


@dataclass
class JobScript:
    """The script of one job, which Snakemake left in the folder of a run."""

    folder: Path
    path: Path

    @cached_property
    def job(self):
        text = self.path.read_text()
        return pickle.loads(
            ast.literal_eval(re.search(r"pickle\.loads\((b'(?:[^'\\]|\\.)*'|b\"(?:[^\"\\]|\\.)*\")\)", text)[1])
        )

    @property
    def rule(self) -> str:
        return self.job.rule

    @property
    def outputs(self) -> list[Path]:
        return [self.folder / path for path in self.job.output]

    def digests(self) -> dict[str, str]:
        """SHA-256 of the outputs that exist and of what lies beside them to prove them; of those that say how long the
        job took, only how many lines they have.
        """
        found = {}
        for path in filter(Path.exists, self.outputs):
            if path.suffix == TIMED.get(self.rule):
                found[path.name] = str(len(path.read_text().splitlines()))
            else:
                proof = files.digest_path(path)
                found |= {each.name: files.sha256(each) for each in (path, proof) if each.exists()}
        return found

    def left_over(self) -> list[Path]:
        return [each for path in self.outputs for kind in LEFT_OVER for each in path.parent.glob(f"{path.name}{kind}")]

    def remove_outputs(self) -> None:
        for path in self.outputs:
            path.unlink(missing_ok=True)

    def start(self) -> multiprocessing.Process:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(HEAVY)
        process = context.Process(target=_run, args=(self.folder, self.path))
        process.start()
        return process

    def finish(self) -> float:
        """Run to the end; the seconds it took."""
        begun = time.monotonic()
        process = self.start()
        process.join()
        assert process.exitcode == 0, (self.folder / self.job.log[0]).read_text()
        return time.monotonic() - begun


def scripts(folder: Path) -> list[JobScript]:
    """The scripts of a run, one for every rule."""
    found = [JobScript(folder, path) for path in sorted((folder / ".snakemake" / "scripts").glob("*.py"))]
    return list({script.rule: script for script in found}.values())


def _run(folder: Path, script: Path) -> None:
    os.setsid()  # a job that is killed alone leaves the processes that it started, which are looked for
    os.chdir(folder)
    runpy.run_path(str(script), run_name="__main__")


def strike(script: JobScript, seconds: float, draw: random.Random, number: signal.Signals, at_writing: bool) -> None:
    """Kill the job of a script: at any moment of the seconds that it takes, or shortly after it began to write."""
    process = script.start()
    deadline = time.monotonic() + draw.uniform(0, seconds)
    if at_writing:
        while process.is_alive() and not script.left_over():
            time.sleep(2e-4)
        deadline = time.monotonic() + draw.choice([0, 1e-3, 0.01])
    process.join(max(deadline - time.monotonic(), 0))
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode is not None, f"{script.rule} does not end on {number.name}"
    deadline = time.monotonic() + GONE_S
    while (left := _of_session(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, f"{script.rule} was killed and leaves {left}"


def _of_session(session: int) -> list[str]:
    """The processes of a session that are alive."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, facts = path.read_text().rsplit(")", 1)
            state, _, _, of = facts.split()[:4]
            found += [name] * (int(of) == session and state != "Z")
    return found


def check_strikes(script: JobScript, strikes: int, draw: random.Random) -> None:
    """Kill a job again and again, and see that an output which exists is whole, that the next run makes what an
    undisturbed one makes, and that nothing else stays.
    """
    expected = script.digests()
    assert all(path.name in expected for path in script.outputs)
    seconds = script.finish()
    assert script.digests() == expected, f"{script.rule} makes other bytes"
    for turn in range(strikes):
        script.remove_outputs()
        number = signal.SIGTERM if turn % 4 == 3 else signal.SIGKILL
        strike(script, seconds, draw, number, at_writing=turn % 2 == 0)
        assert script.digests().items() <= expected.items(), f"{script.rule} leaves a broken output"
    script.finish()
    assert script.digests() == expected, f"{script.rule} makes other bytes after it was killed"
    assert not script.left_over(), script.rule
