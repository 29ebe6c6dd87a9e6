"""One Slurm cluster for all tests of this folder, and the runs that they compare with."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

import faulty
from cluster import Cluster, missing
from leam import files, storage
from leam.recognisers import networks, registry

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TABLES = ("results/tables/regions.csv", "results/tables/verification.csv")
ONE_THREAD = {"compute_maps": 1}
SHARDS = {"00000": ("s000", "s001"), "00001": ("s002",)}
SMALL = {
    "identities_per_job": 2,
    "source": {"sample": {"identities": 3, "images": 3, "size": 128}},
    "analysis": {"figure_identities": 1, "figure_images": 3},
    "localisation": {"when": "never"},
    "calibration": {"when": "never"},
    "occlusion": {"percents": [1, 10], "layers": "first", "repeats": 1},
}


def small_config(path: Path, *recognisers: str) -> Path:
    """Few people, under the recognisers that ship or under those of ``faulty``."""
    entry = {
        "architecture": "faulty:build",
        "input_size": [112, 112],
        "mean": [127.5, 127.5, 127.5],
        "std": [127.5, 127.5, 127.5],
        "layers": ["network.conv1", "network.layer1.0.conv1"],
    }
    config = dict(SMALL)
    if recognisers:
        config["models"] = list(recognisers)
        config["recognisers"] = {name: entry | {"arguments": {"name": name}} for name in recognisers}
    path.write_text(yaml.safe_dump(config))
    return path


class Run:
    """A folder with results, and Snakemake running in it."""

    started: ClassVar[list[subprocess.Popen]] = []

    def __init__(self, folder: Path, cluster: Cluster, *recognisers: str):
        self.folder, self.cluster = folder, cluster
        folder.mkdir(parents=True, exist_ok=True)
        self.config = small_config(folder / "config.yaml", *recognisers)
        self.log = folder / "snakemake.log"

    def command(self, *arguments) -> list[str]:
        words = (sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "--configfile", "config.yaml", *arguments)
        return [str(word) for word in words]

    @property
    def environment(self) -> dict[str, str]:
        """The user's: clients of the cluster on the path, the account, and no GPU to compute on."""
        return self.cluster.environment | {
            "PYTHONPATH": f"{HERE}:{ROOT / 'workflow_scripts'}",
            "SBATCH_ACCOUNT": "project_leam",
            "LEAM_DEVICE": "cpu",
            "OMP_NUM_THREADS": "1",
        }

    def start(self, *arguments) -> subprocess.Popen:
        """Snakemake in the background; what it says goes to ``log``."""
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen, seconds: float = 900) -> int:
        """Wait for it; stopped (and the run failed) when it hangs."""
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"Snakemake hangs: ...{self.log.read_text()[-3000:]}") from None

    def snakemake(self, *arguments, ok: bool = True) -> str:
        """What a run to its end says."""
        before = self.log.stat().st_size if self.log.exists() else 0
        code = self.finish(self.start(*arguments))
        text = self.log.read_text()[before:]
        assert (code == 0) == ok, f"exit status {code}\n{text}"
        return text

    def on_laptop(self, *arguments, threads: dict[str, int] | None = None) -> str:
        """threads : of rules, by default one of the maps; another number adds floats up in another order."""
        counts = [f"{rule}={count}" for rule, count in (threads or ONE_THREAD).items()]
        laptop = ("--profile", ROOT / "profiles/laptop", "--cores", max(2, *(threads or ONE_THREAD).values()))
        return self.snakemake(*laptop, *arguments, "--set-threads", *counts)

    def on_slurm(self, *arguments, variant: str | None = None, **overlay) -> list[str]:
        """The arguments of a run through sbatch: the profile that ships, only asked to be quick; and an overlay."""
        quick = yaml.safe_load((HERE / "quick.yaml").read_text())
        overlay = quick | {"set-threads": ONE_THREAD} | overlay
        if variant:
            overlay |= yaml.safe_load((ROOT / f"profiles/{variant}/config.yaml").read_text())
        (self.folder / "quick").mkdir(exist_ok=True)
        (self.folder / "quick/config.yaml").write_text(yaml.safe_dump(overlay))
        return ["--profile", ROOT / "profiles/slurm", "--workflow-profile", "quick", *arguments]

    def jobs(self, rule: str = "", states: tuple[str, ...] = ()) -> list[dict[str, str]]:
        """The Slurm jobs of this folder, finished or not, of a rule (and its wildcards) and in one of the states."""
        self.cluster.wait(self._is_accounted, "the accounting of every job")
        found = [job for job in self.cluster.history() if job["WorkDir"] == str(self.folder)]
        return [job for job in found if rule in job["Comment"] and (not states or job["State"].split()[0] in states)]

    def _is_accounted(self) -> bool:
        """Whether the accounting has caught up with the controller: no other jobs are under way there."""
        active = ("PENDING", "RUNNING", "COMPLETING")
        jobs = [job for job in self.cluster.history() if job["WorkDir"] == str(self.folder)]
        queued = {job["id"] for job in self.cluster.queue() if job["folder"] == str(self.folder)}
        under_way = {job["JobIDRaw"] for job in jobs if job["State"] in active}
        return under_way <= queued <= {job["JobIDRaw"] for job in jobs}

    def queued(self, comment: str, state: str) -> list[str]:
        """The Slurm ids of this folder's jobs of a rule and its wildcards that wait (PENDING) or run (RUNNING)."""
        queue = [job for job in self.cluster.queue() if (job["folder"], job["state"]) == (str(self.folder), state)]
        return [job["id"] for job in queue if job["comment"].startswith(comment)]

    @staticmethod
    def rules() -> list[str]:
        """Names of rules, longest first: none is taken for another that begins like it."""
        return sorted((path.stem for path in (ROOT / "workflow_scripts").glob("*.py")), key=len, reverse=True)

    def digests(self, names: tuple[str, ...] = TABLES) -> dict[str, str]:
        return {name: files.sha256(self.folder / name) for name in names}

    def order(self, recogniser: str, fault: str, person: str, once: bool = True) -> None:
        """Let a recogniser fail at a person."""
        shard = next(shard for shard, persons in SHARDS.items() if person in persons)
        with storage.open_shard(self.folder / f"results/faces/{shard}.h5", "faces") as file:
            crops = storage.read_faces(file, person).crops
        entry = yaml.safe_load(self.config.read_text())["recognisers"][recogniser]
        x = networks.to_input(crops, registry.recogniser(recogniser, entry))
        faulty.order(self.folder, recogniser, fault, faulty.digest(x), once)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if reason := missing():
        pytest.fail(reason)
    folder = Path(tempfile.mkdtemp(prefix="leam-slurm-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield stack.enter_context(Cluster(folder))


@pytest.fixture(autouse=True)
def calm(cluster) -> Iterator[None]:
    """No test suffers from what a failed one left running."""
    yield
    left = [process for process in Run.started if process.poll() is None]
    for process in left:
        process.kill()
        process.wait()
    if left or cluster.queue():
        cluster.calm()


@pytest.fixture(scope="session")
def disturbed(cluster, tmp_path_factory):
    """(recognisers) -> a run to disturb, with faces and duplicates, and the digests of an undisturbed one's tables."""
    made = {}

    def make(*recognisers: str) -> tuple[Run, dict[str, str]]:
        if recognisers not in made:
            folder = tmp_path_factory.mktemp("undisturbed")
            undisturbed = Run(folder / "run", cluster, *recognisers)
            shards = [f"results/faces/{shard}.h5" for shard in SHARDS]
            weights = [f"results/weights/{name}.ok" for name in recognisers]
            undisturbed.on_laptop(*shards, *weights, "results/tables/duplicates.csv")
            shutil.copytree(undisturbed.folder, folder / "faces")
            undisturbed.on_laptop(*TABLES)
            made[recognisers] = folder / "faces", undisturbed.digests()
        faces, expected = made[recognisers]
        folder = shutil.copytree(faces, tmp_path_factory.mktemp("disturbed") / "run")
        (folder / "snakemake.log").unlink()
        return Run(folder, cluster, *recognisers), expected

    return make
