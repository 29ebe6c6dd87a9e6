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

import pytest
import torch
import yaml

import faulty
from cluster import Cluster, missing
from leam import models, storage

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TABLES = ("results/tables/regions.csv", "results/tables/verification.csv")
# Persons s000 and s001 are shard 00000, s002 shard 00001.
SMALL = {
    "identities_per_job": 2,
    "source": {"sample": {"identities": 3, "images": 3, "size": 128}},
    "analysis": {"bootstrap_samples": 100, "figure_identities": 1, "figure_images": 3},
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
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

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

    def on_laptop(self, *targets) -> str:
        return self.snakemake("--profile", ROOT / "profiles/laptop", "--cores", 2, *targets)

    def on_slurm(self, *arguments, variant: str | None = None) -> list[str]:
        """The arguments of a run through sbatch: the profile that ships, only asked to be quick."""
        overlay = yaml.safe_load((HERE / "quick.yaml").read_text())
        if variant:
            overlay |= yaml.safe_load((ROOT / f"profiles/{variant}/config.yaml").read_text())
        (self.folder / "quick").mkdir(exist_ok=True)
        (self.folder / "quick/config.yaml").write_text(yaml.safe_dump(overlay))
        return ["--profile", ROOT / "profiles/slurm", "--workflow-profile", "quick", *arguments]

    def jobs(self, rule: str = "", states: str = "") -> list[dict[str, str]]:
        """The Slurm jobs of this folder, finished or not, that ran a rule and ended in a state."""
        found = [job for job in self.cluster.history() if Path(job["WorkDir"]) == self.folder]
        return [job for job in found if rule in job["Comment"] and (not states or job["State"].split()[0] in states)]

    def digests(self, names: tuple[str, ...] = TABLES) -> dict[str, str]:
        return {name: storage.sha256(self.folder / name) for name in names}

    def order(self, recogniser: str, fault: str, person: str, once: bool = True) -> None:
        """Let a recogniser fail at a person."""
        shard = {"s000": "00000", "s001": "00000", "s002": "00001"}[person]
        with storage.open_shard(self.folder / f"results/faces/{shard}.h5", "faces") as file:
            crops = storage.read_faces(file, person).crops
        entry = yaml.safe_load(self.config.read_text())["recognisers"][recogniser]
        x = models.prepare(crops, models.recogniser(recogniser, entry))
        faulty.order(self.folder, recogniser, fault, faulty.digest(x), once)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if reason := missing():
        pytest.fail(reason)
    folder = Path(tempfile.mkdtemp(prefix="leam-slurm-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield stack.enter_context(Cluster(folder))


@pytest.fixture(scope="session")
def made_before(cluster, tmp_path_factory):
    """(recognisers) -> a folder with everything up to faces and weights, made on this machine without Slurm."""
    made = {}

    def make(*recognisers: str) -> Path:
        if recognisers not in made:
            run = Run(tmp_path_factory.mktemp("before") / "run", cluster, *recognisers)
            targets = [f"results/faces/0000{shard}.h5" for shard in (0, 1)]
            run.on_laptop(*targets, *(f"results/weights/{name}.ok" for name in recognisers))
            made[recognisers] = run.folder
        return made[recognisers]

    return make


@pytest.fixture
def disturbed(cluster, made_before, tmp_path):
    """(recognisers) -> a run that has its faces, to be disturbed, and the digests of the undisturbed one's tables."""
    torch.set_num_threads(1)

    def make(*recognisers: str) -> tuple[Run, dict[str, str]]:
        folders = [tmp_path / name for name in ("undisturbed", "disturbed")]
        for folder in folders:
            shutil.copytree(made_before(*recognisers), folder)
        undisturbed, run = (Run(folder, cluster, *recognisers) for folder in folders)
        undisturbed.on_laptop(*TABLES)
        run.log.unlink(missing_ok=True)
        return run, undisturbed.digests()

    return make
