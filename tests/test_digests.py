"""A digest beside every output: what it covers, that the stage which reads the file looks at it, what damage does."""

import ast
import contextlib
import hashlib
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import damaged
from leam import code, files, maps, storage
from leam.analyses.occlusion.averages import average_maps
from leam.analyses.regions import figure as regions_figure
from leam.analyses.regions.measure import count_regions
from leam.analyses.regions.table import tabulate_regions
from leam.analyses.retention.table import tabulate_retention
from leam.analyses.similarity import measure as similarity
from leam.analyses.verification.table import tabulate_verification
from leam.faces import duplicates
from leam.faces import stage as faces_stage
from leam.sample import rendering
from leam.tables import read_output
from shards import make_faces, write_faces

# Who reads files by itself: behind the look at a digest, or what is no output of a stage.
READERS = {
    "tables": {"read_csv", "read_parquet"},
    "storage": {"File"},
    "faces.duplicates": {"DictReader"},
    "demographics": {"read_csv"},  # a table of the user's
    "paper": {"read_csv"},  # tables that ship
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return damaged.make_run(tmp_path_factory.mktemp("run"))


def refused(path, reason):
    return pytest.raises(files.StorageError, match=f"{path.name} is damaged .*{reason}.*run again")


# ------------------------------------------------------------------------------------------------- what is written


def test_every_output_has_a_digest_that_it_agrees_with(run):
    for path in run.values():
        assert files.verify(path), path


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum here")
def test_sha256sum_checks_the_digest_of_a_table(run):
    digest = files.digest_path(run["regions"])
    subprocess.run(["sha256sum", "--check", "--strict", digest.name], cwd=digest.parent, check=True)


def test_every_byte_of_an_hdf5_file_is_in_its_digest_or_in_a_chunk_with_a_checksum(run):
    for kind in ("images", "faces", "maps", "averages", "population"):
        covered = np.zeros(run[kind].stat().st_size, np.int8)
        content = run[kind].read_bytes()
        pieces = damaged.unchecked_pieces(run[kind])
        for start, size in pieces:
            covered[start : start + size] += 1
        joined = b"".join(content[start : start + size] for start, size in pieces)
        assert files.digest_path(run[kind]).read_text().startswith(hashlib.sha256(joined).hexdigest())
        with h5py.File(run[kind]) as shard:
            names: list[str] = []
            shard.visit(names.append)
            for dataset in (shard[name] for name in names if getattr(shard[name], "chunks", None)):
                assert dataset.fletcher32
                for number in range(dataset.id.get_num_chunks()):
                    chunk = dataset.id.get_chunk_info(number)
                    covered[chunk.byte_offset : chunk.byte_offset + chunk.size] += 1
        assert (covered == 1).all()


def test_a_download_of_known_digest_has_none_beside_it(tmp_path):
    with files.whole_file(tmp_path / "x.pt", digest=None) as part:
        part.write_bytes(b"weights")
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]


# ----------------------------------------------------------------------------------------- two names, one after another


def write(path, text):
    with files.whole_file(path) as part:
        part.write_text(text)


@pytest.mark.parametrize("step", range(6))
@pytest.mark.parametrize("older", [True, False])
def test_a_stop_at_any_step_leaves_a_file_with_its_own_digest_or_none(tmp_path, monkeypatch, step, older):
    """Every change of a name may be the last one that a killed process makes."""
    path, steps = tmp_path / "x.csv", iter(range(100))
    if older:
        write(path, "a\n1\n")

    def stopping(change):
        def changed(*arguments, **options):
            if next(steps) == step:
                raise KeyboardInterrupt
            return change(*arguments, **options)

        return changed

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "replace", stopping(files.os.replace))
        patched.setattr(Path, "unlink", stopping(Path.unlink))
        with contextlib.suppress(KeyboardInterrupt):
            write(path, "a\n2\n")
    if path.exists():
        files.verify(path)
        assert read_output(path)["a"].tolist() in ([1], [2])
    write(path, "a\n3\n")
    assert files.verify(path) and set(tmp_path.iterdir()) == {path, files.digest_path(path)}


WRITE_OFTEN = """
import sys
from leam import files
for number in range(1, 300):
    with files.whole_file(sys.argv[1]) as part:
        part.write_text(sys.argv[2] * number)
"""


def test_two_jobs_at_one_file_and_a_third_that_reads_it_raise_no_alarm(tmp_path):
    path = tmp_path / "x.csv"
    write(path, "first")
    command, environment = [sys.executable, "-c", WRITE_OFTEN, path], {"PYTHONPATH": ":".join(sys.path)}
    writers = [subprocess.Popen([*command, letter], env=environment) for letter in "ab"]
    looks = 0
    while any(writer.poll() is None for writer in writers):
        files._verified.clear()
        files.verify(path)
        looks += 1
    assert looks > 10 and [writer.returncode for writer in writers] == [0, 0]
    files._verified.clear()
    files.verify(path)
    assert not files.aside(path).exists()


def test_the_digest_of_an_earlier_file_does_not_outlive_it(tmp_path):
    path = tmp_path / "x.csv"
    write(path, "a\n1\n")
    path.unlink()  # as Snakemake does with the output of a job that failed
    write(path, "a\n2\n")
    assert files.verify(path)


# --------------------------------------------------------------------------------------------------- what is read


def test_every_stage_looks_at_the_digests_of_what_it_reads(run, tmp_path):
    out = [tmp_path / f"out{number}" for number in range(9)]
    drawn = {"shard": "00000", "seed": 0, "size": 96, "region": None}
    plain_faces = faces_stage.FaceSettings()
    plain_maps, plain_similarity = maps.MapSettings(grid=56), damaged.SIMILARITY
    tables = dict.fromkeys(damaged.REGION_TABLES, out[0])
    stages = {
        "links": [
            lambda at: rendering.render_sample(at("links"), out[0], **drawn),
            lambda at: tabulate_retention(at("links"), [run["faces"]], {}, out[0], out[1]),
        ],
        "images": [
            lambda at: faces_stage.parse_faces(at("images"), out[0], plain_faces),
            lambda at: duplicates.find_duplicates([at("images")], [run["faces"]], out[0]),
        ],
        "faces": [
            lambda at: duplicates.find_duplicates([run["images"]], [at("faces")], out[0]),
            lambda at: maps.compute_maps(at("faces"), out[0], damaged.NARROW, plain_maps),
            lambda at: count_regions([run["maps"]], [at("faces")], out[0], out[1], "narrow", 56),
            lambda at: tabulate_retention(run["links"], [at("faces")], {}, out[0], out[1]),
            lambda at: similarity.average_population([run["maps"]], [at("faces")], out[0], settings=plain_similarity),
        ],
        "duplicates": [
            lambda at: maps.compute_maps(run["faces"], out[0], damaged.NARROW, plain_maps, duplicates=at("duplicates")),
        ],
        "maps": [
            lambda at: average_maps([at("maps")], out[0]),
            lambda at: tabulate_verification({"narrow": [at("maps")]}, out[0]),
            lambda at: count_regions([at("maps")], [run["faces"]], out[0], out[1], "narrow", 56),
            lambda at: similarity.average_population([at("maps")], [run["faces"]], out[0], settings=plain_similarity),
        ],
        "population": [
            lambda at: similarity.measure_similarity(
                [run["maps"]], [run["faces"]], at("population"), out[0], out[1], settings=plain_similarity
            ),
        ],
        "averages": [lambda at: storage.read_averages(at("averages"))],
        "counts": [lambda at: tabulate_regions({"narrow": at("counts")}, tables)],
        "regions": [
            lambda at: regions_figure.plot_thresholds(at("regions"), out[0], out[1], model="narrow", confidence=0.95)
        ],
    }
    number = 0
    for kind, reading in stages.items():
        for stage in reading:
            number += 1
            (_, path) = next(damaged.copies({kind: run[kind]}, tmp_path / f"{number}", 1))
            damaged.flip(path, path.stat().st_size - 1 if path.suffix != ".h5" else 200, 0)
            with refused(path, "do not agree"):
                stage({kind: path}.__getitem__)
    assert not any(path.exists() for path in out)


def test_no_module_reads_outputs_in_another_way():
    found = {}
    for path in sorted(code.PACKAGE.rglob("*.py")):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        module = ".".join(path.relative_to(code.PACKAGE).with_suffix("").parts)
        ways = {"pd.read_csv", "pd.read_parquet", "h5py.File", "csv.DictReader", "json.load"}
        found[module] = {call.attr for call in calls if isinstance(call, ast.Attribute) and ast.unparse(call) in ways}
    assert {module: called for module, called in found.items() if called} == READERS


def test_a_file_is_looked_at_once_per_process(run, monkeypatch):
    files._verified.clear()
    looks, look = [], files._is_digest_of
    monkeypatch.setattr(files, "_is_digest_of", lambda *arguments: looks.append(arguments) or look(*arguments))
    for _ in range(3):
        damaged.read_faces(run["faces"])
        read_output(run["counts"])
    assert [path.name for path, _ in looks] == ["faces.h5", "counts.parquet"]


def test_a_file_without_a_digest_is_read_with_a_line_in_the_log(run, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    for kind in ("faces", "counts", "verification", "weights"):
        expected = damaged.read(kind, run[kind])
        shutil.copy(run[kind], tmp_path)
        path = tmp_path / run[kind].name
        assert damaged.read(kind, path) == expected
        assert f"{path} has no digest beside it and is read unchecked" in caplog.text


def test_a_damaged_file_is_set_aside_and_made_anew_by_the_next_run(run, tmp_path):
    path = Path(shutil.copy(run["verification"], tmp_path))
    shutil.copy(files.digest_path(run["verification"]), tmp_path)
    damaged.flip(path, 10, 2)
    with refused(path, "set aside as verification.csv.damaged"):
        read_output(path)
    with pytest.raises(files.StorageError, match="was damaged and set aside; run again"):
        read_output(path)
    assert [left.name for left in tmp_path.iterdir()] == ["verification.csv.damaged"]
    tabulate_verification({"narrow": [run["maps"]]}, path)
    assert damaged.read("verification", path) == damaged.read("verification", run["verification"])


def test_of_two_files_that_are_open_the_damaged_one_is_named(tmp_path):
    """The error of a chunk does not say which file it is of, and reaches the file that was opened last first."""
    paths = [write_faces(tmp_path / f"{name}.h5", [make_faces("a", 3)]) for name in ("first", "second")]
    with h5py.File(paths[0]) as shard:
        place = shard["a/crops"].id.get_chunk_info(0).byte_offset
    damaged.flip(paths[0], place + 50, 3)
    with (
        refused(paths[0], "read data"),
        storage.open_shard(paths[0], "faces") as first,
        storage.open_shard(paths[1], "faces") as second,
    ):
        storage.read_faces(second, "a")
        storage.read_faces(first, "a")
    assert not paths[0].exists() and paths[1].exists()


def test_a_fault_of_the_reader_is_not_taken_for_damage(run):
    with pytest.raises(KeyError, match="nobody"), storage.open_shard(run["faces"], "faces") as shard:
        storage.read_faces(shard, "nobody")
    with pytest.raises(KeyError, match="absent"):
        read_output(run["verification"])["absent"]
    assert run["faces"].exists()


@pytest.mark.parametrize("kind", ["counts", "links", "regions", "weights", "duplicates"])
def test_what_cannot_be_read_of_a_table_without_a_digest_is_one_sentence(run, tmp_path, kind):
    path = tmp_path / run[kind].name
    path.write_bytes(run[kind].read_bytes()[:50] + b'\xff"\n')
    found = damaged.outcome(kind, path)
    assert "is damaged or of another version (" in found["refused"] and "delete it and run again" in found["refused"]


def test_what_hdf5_cannot_follow_in_a_file_without_a_digest_is_one_sentence(run, tmp_path):
    """The signatures of the nodes of its trees and heaps are spoilt, one after another."""
    content, found = run["faces"].read_bytes(), []
    for signature in (b"TREE", b"SNOD", b"HEAP", b"GCOL"):
        for number, place in enumerate(places(content, signature)[:5]):
            path = tmp_path / f"{signature.decode()}{number}.h5"
            path.write_bytes(content[:place] + b"X" + content[place + 1 :])
            found.append(("faces", path))
    for (_, path), became in zip(found, damaged.outcomes(found), strict=True):
        assert f"{path} is damaged (" in became["refused"] and "set aside" in became["refused"]


def places(content, signature):
    found = [content.find(signature)]
    while found[-1] >= 0:
        found.append(content.find(signature, found[-1] + 1))
    return found[:-1]


# ------------------------------------------------------------------------------------------------------------ siege


def besiege(run, folder, attack, number, seed):
    """So many damaged files of all kinds, read in processes that may crash: refused in a sentence, or as before."""
    rng, before = np.random.default_rng(seed), {kind: damaged.read(kind, path) for kind, path in run.items()}
    refusals = 0
    for start in range(0, number, 100):  # their files take room
        cases = list(damaged.copies(run, folder / f"{start}", min(100, number - start)))
        attacks = [attack(path, rng) for _, path in cases]
        for (kind, path), done, became in zip(cases, attacks, damaged.outcomes(cases), strict=True):
            sentence = became.get("refused")
            if sentence is None:
                assert became == {"data": before[kind]}, f"{kind}, {done}"
            else:
                assert f"{path} is damaged (" in sentence and "run again" in sentence and "\n" not in sentence, done
            refusals += sentence is not None
        shutil.rmtree(folder / f"{start}")
    return refusals


def test_flipped_bits_are_refused_or_change_nothing(run, tmp_path):
    assert besiege(run, tmp_path, damaged.damage, 120, seed=1) > 100


def test_cut_files_are_refused(run, tmp_path):
    assert besiege(run, tmp_path, damaged.cut, 12, seed=2) == 12


@pytest.mark.siege
@pytest.mark.parametrize("seed", range(10, 14))
def test_very_many_flipped_bits_are_refused_or_change_nothing(run, tmp_path, seed):
    assert besiege(run, tmp_path, damaged.damage, 400, seed) > 350


@pytest.mark.siege
def test_very_many_cut_files_are_refused(run, tmp_path):
    assert besiege(run, tmp_path, damaged.cut, 60, seed=3) == 60
