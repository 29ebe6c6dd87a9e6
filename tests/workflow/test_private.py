"""Who may read what a run writes, and what its logs say: as Snakemake runs it, with every file looked at."""

import os
import shutil
import subprocess
import sys
import threading

import pytest

from leam import surroundings
from leam.journal import journal_of
from picture_server import answer, picture, serve
from runs import ABSENT_MODELS, ROOT, snakemake, write_config

pytestmark = pytest.mark.slow
FEW = {"models": ["sample_cosface"], "source": {"sample": {"identities": 2, "images": 2, "size": 96}}}
SOMEBODY = 12345
MINE = {
    "architecture": "iresnet18",
    "input_size": [112, 112],
    "mean": [127.5] * 3,
    "std": [127.5] * 3,
    "layers": ["conv1"],
    "sha256": "0" * 64,
}
KEY = "token=9f8e7d"  # in every link, as of servers that sign them


def modes(folder):
    """{path below a folder: its mode}, of files and folders."""
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")}


@pytest.fixture
def mask(request):
    """The test's umask."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


class Watch:
    """Looks at a folder again and again: which files, of however short a life, others could ever read."""

    def __init__(self, folder):
        self.folder, self.seen, self.readable, self.over = folder, set(), set(), False
        self.thread = threading.Thread(target=self.look)

    def look(self):
        while not self.over:
            for path in surroundings.readable_by_others(self.folder):
                self.readable.add(str(path))
            for folder, _, names in os.walk(self.folder):
                self.seen.update(f"{folder}/{name}" for name in names)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join()


@pytest.mark.parametrize("mask", [0o000], indirect=True)
def test_a_run_is_its_owners_only_from_the_first_byte(tmp_path, mask):
    file = write_config(tmp_path / "few.yaml", **FEW)
    results = tmp_path / "results"
    with Watch(results) as watch:
        snakemake("results/maps/sample_cosface/00000.h5", "--cores", 1, "--configfile", file, directory=tmp_path)
    assert watch.readable == set() and {".part", ".journal"} <= {os.path.splitext(name)[1] for name in watch.seen}
    assert {mode for path, mode in modes(tmp_path).items() if path.startswith("results")} == {0o600, 0o700}
    snakemake("results/links.parquet", "--configfile", file, "--report", "results/report.html", directory=tmp_path)
    assert results.joinpath("report.html").stat().st_mode & 0o777 == 0o600
    own = modes(tmp_path / ".snakemake")
    assert {mode for path, mode in own.items() if path.startswith("log/")} == {0o600}
    assert own["metadata"] == own["incomplete"] == own["scripts"] == 0o700


@pytest.mark.parametrize("mask", [0o002], indirect=True)
def test_a_shared_run_is_as_the_umask_says(tmp_path, mask):
    file = write_config(tmp_path / "few.yaml", **FEW, private=False)
    snakemake("results/images/00000.h5", "--cores", 1, "--configfile", file, directory=tmp_path)
    assert {mode for path, mode in modes(tmp_path).items() if path.startswith("results")} == {0o664, 0o775}
    (tmp_path / "results").chmod(0o2775)
    file = write_config(tmp_path / "own.yaml", **FEW)
    snakemake("results/faces/00000.h5", "--cores", 1, "--configfile", file, directory=tmp_path)
    found = modes(tmp_path / "results")  # what was there stays as it was
    assert (found["images/00000.h5"], found["faces"], found["faces/00000.h5"]) == (0o664, 0o700, 0o600)


def test_no_log_holds_a_link(tmp_path):
    """Not where a job fails and its log is printed, not where a server answers as none should, not where the journal
    is damaged.
    """
    with serve() as server:
        lines = ["name,index,image,rect,height width,url"]
        for person, images in (("nm0000001", 3), ("nm0000002", 3)):
            for image in range(images):
                path = f"/secret-of-{person}/{image}.jpg?{KEY}"
                server.routes[path] = answer(picture(image + 7 * int(person[-1])))
                lines.append(f"Some_One,{person},{image},20 30 40 50,60 70,{server.url(path)}")
        server.routes[f"/secret-of-nm0000001/0.jpg?{KEY}"] = answer(b"", 429, Retry_After=99_999)
        server.routes[f"/secret-of-nm0000001/1.jpg?{KEY}"] = answer(b"", 302, Location=f"http://[{KEY}")
        server.routes[f"/secret-of-nm0000002/1.jpg?{KEY}"] = answer(picture(), 200, Content_Encoding=KEY * 999)
        (tmp_path / "list.csv").write_text("\n".join([*lines, f"a,bad,http://x.org/secret-row?{KEY}", ""]))
        source = {"kind": "imdb_face", "imdb_face": {"path": "list.csv", "identities": 2, "min_images": 3}}
        scraping = {"contact": "me@example.org", "hosts": [server.place], "allow_private_addresses": True}
        scraping |= {"requests_per_second": 200, "backoff_s": 0.1}
        given = {"source": source, "scraping": scraping, "faces": ABSENT_MODELS, "identities_per_job": 2}
        given |= {"models": ["mine"], "recognisers": {"mine": MINE | {"weights": server.url(f"/secret.pth?{KEY}")}}}
        file = write_config(tmp_path / "mine.yaml", **given)
        shutil.copytree(ROOT / "profiles" / "laptop", tmp_path / "profile")
        command = [
            "results/images/00000.h5",
            "results/weights/mine.ok",
            "--profile",
            tmp_path / "profile",
            "--configfile",
            file,
            "--cores",
            1,
        ]
        said = snakemake(*command, "--verbose", "--printshellcmds", directory=tmp_path, check=False)
        assert "StoppedError: 1 links wait: 1 for 127.0.0.1, which asks to wait until 2" in said
        assert f"ModelError: recogniser mine: http://{server.place}/...: HTTP Error 404" in said
        server.routes[f"/secret-of-nm0000001/0.jpg?{KEY}"] = answer(picture(99))
        journal = journal_of(tmp_path / "results/images/00000.h5")
        content = bytearray(journal.read_bytes())
        assert KEY.encode() in content
        content[len(content) // 2] ^= 1
        journal.write_bytes(content)
        said += snakemake(*command, "--verbose", directory=tmp_path, check=False)
        logs = [path for path in tmp_path.rglob("*.log") if path.is_file()]
        assert {"results/logs/list_links.log", "results/logs/scrape_images/00000.log"} <= {
            str(path.relative_to(tmp_path)) for path in logs
        }
        assert sum(".snakemake/log" in str(path) for path in logs) == 2
        given["recognisers"]["mine"].pop("sha256")
        said += snakemake("-n", "--configfile", write_config(file, **given), directory=tmp_path, check=False)
        assert f"weights are http://{server.place}/...; a download needs sha256" in said
        for text in (said, *(path.read_text() for path in logs)):
            assert KEY not in text and "secret" not in text


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root may become somebody else")
@pytest.mark.parametrize("home", [{"HOME": "/nonexistent"}, {"HOME": "/proc/1"}])
def test_an_account_without_a_name_and_with_a_home_that_cannot_be_written_runs_with_a_profile(tmp_path, home):
    folder = tmp_path / "of somebody"
    folder.mkdir()
    os.chown(folder, SOMEBODY, SOMEBODY)
    file = write_config(folder / "few.yaml", **FEW)
    reads = "-all,+dac_read_search"  # it may read this checkout and its Python, wherever they lie, and write nothing
    somebody = ["setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups"]
    somebody += [f"--{kind}-caps={reads}" for kind in ("inh", "ambient")] + [f"--bounding-set={reads}"]
    command = [*somebody, sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "--directory", folder]
    command += ["--profile", ROOT / "profiles/laptop", "--configfile", file, "--cores", "1", "results/images/00000.h5"]
    kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
    environment = kept | home | {"PYTHONDONTWRITEBYTECODE": "1"}
    found = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True, cwd="/")
    assert found.returncode == 0, found.stdout + found.stderr
    assert (folder / "results/images/00000.h5").stat().st_uid == SOMEBODY
