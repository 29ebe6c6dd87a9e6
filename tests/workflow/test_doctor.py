"""leam.doctor: what it says of a cluster that lacks something, of weights, of room, and as a whole without Slurm."""

import os
import subprocess
import sys

import pytest
import yaml

from leam import config as settings
from leam import doctor, model_package, surroundings
from runs import ROOT
from shards import make_faces, write_faces

SLURM = doctor.read_profile(ROOT / "profiles" / "slurm")
SAID = {
    ("sinfo", "-h"): "batch 2-00:00:00\ngpu 2-00:00:00\n",
    ("sinfo", "--version"): "slurm 22.05.8\n",
    ("sacctmgr", "-n"): "normal||\niris-gpu-long|PartitionTimeLimit|14-00:00:00\niris-batch-long||\n",
    ("scontrol", "show"): "MinJobAge               = 300 sec\n",
}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A folder of empty commands on the path, so that Slurm seems to be there; and what it answers."""
    for client in doctor.CLIENTS:
        (tmp_path / client).touch(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def ask_with(**changes):
        said = SAID | {tuple(key.split("_")): text for key, text in changes.items()}
        return lambda *command: said[command[:2]]

    return ask_with


def states(findings):
    return {(found.subject, found.state) for found in findings}


def test_a_cluster_as_the_profile_wants_it(cluster):
    found = doctor.look_at_cluster(SLURM, cluster())
    assert states(found) == {("Slurm", "ok"), ("partition", "ok"), ("QOS", "ok")}
    assert doctor.report(found).splitlines() == [
        "Slurm      ok       slurm 22.05.8",
        "partition  ok       batch",
        "partition  ok       gpu",
        "QOS        ok       normal",
    ]


def test_what_a_cluster_lacks_is_named_with_what_it_has(cluster):
    ask = cluster(**{"sinfo_-h": "batch 1:00:00\n", "sacctmgr_-n": "low||\n", "scontrol_show": "MinJobAge = 60 sec\n"})
    words = doctor.report(doctor.look_at_cluster(SLURM, ask))
    assert "partition  MISSING  no gpu; there are batch" in words
    assert "runtime    MISSING  960 min asked of batch with QOS normal, which grants 1:00:00: such jobs wait" in words
    assert "QOS        MISSING  no normal; there are low" in words
    assert "squeue     MISSING  MinJobAge is 60 s" in words


def test_a_controller_that_does_not_answer_is_one_line(cluster):
    (found,) = doctor.look_at_cluster(SLURM, cluster(**{"sinfo_-h": ""}))
    assert found.state == doctor.FAULT and "controller does not answer" in found.sentence


def test_a_qos_may_overrule_the_limit_of_its_partition(cluster):
    long = doctor.read_profile(ROOT / "profiles/slurm", ROOT / "profiles/slurm-long")
    words = doctor.report(doctor.look_at_cluster(long, cluster()))
    assert "20160 min asked of batch with QOS iris-batch-long, which grants 2-00:00:00" in words
    assert "iris-gpu-long, which" not in words


def test_without_slurm_one_line_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = doctor.look_at_cluster(SLURM, doctor.ask)
    assert found.state == doctor.FAULT and "this is no login node" in found.sentence


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("2-00:00:00", 2880), ("4:00:00", 240), ("30:00", 30), ("1-12:30:00", 2190), ("infinite", float("inf"))],
)
def test_limits_in_minutes(limit, minutes):
    assert doctor.minutes_of(limit) == minutes


@pytest.mark.parametrize("variant", ["slurm-aion", "slurm-long", "slurm-besteffort"])
def test_variants_are_laid_over_the_profile(variant):
    merged = doctor.read_profile(ROOT / "profiles/slurm", ROOT / "profiles" / variant)
    assert merged["executor"] == "slurm" and merged["retries"] == SLURM["retries"]
    gpus = any("gpu" in section for section in merged["set-resources"].values())
    assert gpus == (variant != "slurm-aion")


def test_weights_are_looked_at(tmp_path):
    config = settings.complete({"models": ["sample_arcface", "AF_R18"], "root": str(tmp_path)})
    shipped, absent = doctor.look_at_weights(config)
    assert shipped.state == "ok" and "sample_arcface.safetensors" in shipped.sentence
    assert absent.state == "MISSING" and "InsightFace model zoo" in absent.sentence
    (tmp_path / "w.pth").write_bytes(b"x")
    config["recognisers"] = {"AF_R18": {"weights": "w.pth", "sha256": "0" * 64}}
    assert "expected 0000" in doctor.look_at_weights(config)[1].sentence
    config["recognisers"] = {"AF_R18": {"untrained": True}}
    assert doctor.look_at_weights(config)[1].state == "note"


def of_photographs(tmp_path, **more):
    (tmp_path / "people" / "ann").mkdir(parents=True)
    (tmp_path / "people" / "ann" / "1.jpg").touch()
    source = {"kind": "folder", "folder": {"path": str(tmp_path / "people")}}
    return settings.complete({"source": source, "models": ["dlib_resnet"]} | more)


def test_what_finds_and_marks_faces_is_named_with_its_file_licence_and_what_is_lost(tmp_path):
    found = {line.sentence.split(":")[0]: line for line in doctor.look_at_face_models(of_photographs(tmp_path))}
    assert found["detector"].state == "ok" and "licence: MIT" in found["detector"].sentence
    assert f"in {model_package.LANDMARKS.path()}" in found["landmarks"].sentence
    assert "iBUG 300-W" in found["landmarks"].sentence
    assert found["regions"].state == "note" and "without: hair, ears" in found["regions"].sentence


def test_a_model_file_that_is_missing_or_another_is_a_fault(tmp_path):
    config = of_photographs(tmp_path, faces={"landmark_weights": str(tmp_path / "absent.dat")})
    fault, *others = doctor.look_at_face_models(config)
    assert fault.state == "MISSING" and "faces.landmark_weights: no such file" in fault.sentence and len(others) == 3
    (tmp_path / "w.dat").write_bytes(b"x")
    faces = {"landmark_weights": str(tmp_path / "w.dat"), "landmark_sha256": "0" * 64}
    again = settings.complete(config | {"faces": config["faces"] | faces})
    assert "expected 0000" in doctor.look_at_face_models(again)[0].sentence


def test_crops_that_are_too_coarse_or_not_aligned_are_said(tmp_path):
    config = of_photographs(tmp_path)
    coarse, boxes = doctor.look_at_crops(config)
    assert "112 px are less than dlib_resnet can take in; faces.crop_size 150" in coarse.sentence
    assert "crop_mode: aligned" in boxes.sentence
    aligned = settings.complete(config | {"faces": config["faces"] | {"crop_mode": "aligned", "crop_size": 140}})
    (coarse,) = doctor.look_at_crops(aligned)
    assert "faces.crop_size 210 gives them all" in coarse.sentence
    fine = settings.complete(aligned | {"faces": aligned["faces"] | {"crop_size": 210}})
    assert doctor.look_at_crops(fine) == []


def test_files_that_are_cut_short_are_named(tmp_path):
    for name in ("whole", "cut"):
        write_faces(tmp_path / f"{name}.h5", [make_faces("a", 2)])
    assert doctor.look_at_results(tmp_path).state == "ok"
    os.truncate(tmp_path / "cut.h5", 5000)
    found = doctor.look_at_results(tmp_path)
    assert found.state == "MISSING" and "cut.h5" in found.sentence and "whole.h5" not in found.sentence
    assert (tmp_path / "cut.h5").exists()


def test_room_is_compared_with_what_is_needed(tmp_path):
    folder = tmp_path / "not" / "yet" / "there"
    assert doctor.look_at_room(folder, 1, 1)[0].state == "ok"
    disk, *inodes = doctor.look_at_room(folder, 1e18, 10**15)
    assert disk.state == "MISSING" and "1e+06 TB needed" in disk.sentence
    assert all(found.state == "MISSING" for found in inodes)


def test_pictures_are_counted_per_identity(tmp_path):
    for identity, count in (("a", 3), ("b", 1), ("c", 0)):
        (tmp_path / "people" / identity).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "people" / identity / f"{number}.jpg").touch()
    source = {"kind": "folder", "folder": {"path": "people"}}
    whole = {"detector": "none", "landmarks": "none", "crop_mode": "whole", "label_maps": "given"}
    source["folder"]["label_suffix"] = ".regions.png"
    config = settings.complete({"root": str(tmp_path), "source": source, "faces": whole})
    assert doctor.count_images(config) == [3, 1]


def test_a_home_that_cannot_be_written_is_said_with_what_to_export(monkeypatch):
    monkeypatch.setenv("HOME", "/dev/null/home")  # nobody can write there, root included
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("LOGNAME", "me")
    (found,) = doctor.look_at_home()
    assert (
        found.state == "note"
        and "make does without; before any other snakemake, export XDG_CACHE_HOME=" in found.sentence
    )
    for name, value in surroundings.lacking_variables().items():
        monkeypatch.setenv(name, value)
    assert doctor.look_at_home() == []


def test_who_may_read_a_run_is_said(tmp_path):
    given = {"results": str(tmp_path), "private": True}
    (tmp_path / "own.h5").touch(0o600)
    assert doctor.look_at_privacy(given).state == "ok"
    (tmp_path / "seen.h5").touch()
    (tmp_path / "seen.h5").chmod(0o640)
    said = doctor.look_at_privacy(given)
    assert (
        said.state == "note"
        and f"1 files in {tmp_path} can be read by others, such as {tmp_path}/seen.h5" in said.sentence
    )
    assert "private is false" in doctor.look_at_privacy(given | {"private": False}).sentence
    (tmp_path / "seen.h5").chmod(0o600)
    assert doctor.look_at_privacy(given).state == "ok"


def test_what_keeps_a_run_from_being_planned_is_said_in_its_place(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "links.parquet").touch()
    os.utime(tmp_path / "results" / "links.parquet", (4e9, 4e9))
    found = examine(tmp_path, source={"sample": {"identities": 30_000}}, identities_per_job=3)
    assert found.returncode == 1 and "GPU-hours" not in found.stdout
    assert "files      MISSING  files of a time to come, such as results/links.parquet (1 in all)" in found.stdout
    assert "jobs       MISSING  identities_per_job: 3 makes about 80000 jobs of 30000 identities" in found.stdout


def examine(tmp_path, **changes):
    """The doctor as a user calls it, in a folder of its own and without Slurm."""
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(changes))
    command = [
        sys.executable,
        "-m",
        "leam.doctor",
        "--configfile",
        str(file),
        "--profile",
        str(ROOT / "profiles/laptop"),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow_scripts")}
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)


def test_the_whole_on_one_screen(tmp_path):
    found = examine(tmp_path, source={"sample": {"identities": 3, "images": 3}})
    assert found.returncode == 0, found.stdout + found.stderr
    assert len(found.stdout.splitlines()) <= 24
    for words in (
        "GPU ",
        "weights    ok",
        "disk       ok",
        "jobs ",
        "storage ",
        "GPU-hours  note     about",
        "core-hours note     about",
    ):
        assert words in found.stdout
    assert not (tmp_path / "results").exists()


def test_wrong_settings_are_said_in_one_line(tmp_path):
    found = examine(tmp_path, maps={"batch_images": 0})
    assert found.returncode == 1
    assert "settings   MISSING  config: maps.batch_images is 0; allowed: integer or null, at least 1" in found.stdout


def test_old_keys_are_said_with_their_new_names(tmp_path):
    found = examine(tmp_path, occlusion={"percent": 1}, significance={"individuals": 5})
    assert found.returncode == 1
    assert "settings   MISSING  config: occlusion.percent is now occlusion.headline_percent" in found.stdout
    assert "config: significance.individuals is now analysis.table_identities" in found.stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory: '{}'"),
        (b"", "{} holds None; expected settings, each with its name"),
        (b"- models", "{} holds ['models']; expected settings"),
        (b"models: [a", "{} is no YAML: while parsing a flow sequence"),
        (b"results: \xe9", "{} is no YAML: 'utf-8' codec can't decode"),
    ],
)
def test_a_file_that_holds_no_settings_is_one_line(content, said, tmp_path, monkeypatch, capsys):
    """Of settings and of a profile, in the reader's home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "lists").mkdir()
    if content is not None:
        (tmp_path / "lists/config.yaml").write_bytes(content)
    command = ["doctor", "--profile", "~/lists", "--configfile", "~/lists/config.yaml"]
    monkeypatch.setattr(sys, "argv", command)
    assert doctor.main() == 1
    for line in (lines := capsys.readouterr().out.splitlines())[0], lines[-1]:
        assert line.startswith(("profile    MISSING", "settings   MISSING"))
        assert said.format(tmp_path / "lists/config.yaml") in line


@pytest.mark.parametrize(
    ("runtime", "minutes"),
    [
        ("120", 120),
        ("2h", 120),
        ("1.5 d", 2160),
        ("min(2880, 120 * 2 ** (attempt - 1))", 480),
        ("max(1, attempt)//2", 1),
    ],
)
def test_a_runtime_is_arithmetic(runtime, minutes):
    assert doctor.minutes_on(runtime, 3) == minutes


@pytest.mark.parametrize(
    "runtime",
    [
        "__import__('os').system('touch harm')",
        "(lambda: 5)()",
        "attempt.__class__",
        "[5 for _ in 'a'][0]",
        "min(5, open('harm', 'w').write('x'))",
        "9 ** 9 ** 9 ** 9",
        "'5'",
        "(" * 500 + "5" + ")" * 500,
        "1 / 0",
        "wildcards.shard",
        "",
    ],
)
def test_a_profile_that_is_looked_at_is_not_run(runtime, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="expected minutes: a number"):
        doctor.minutes_on(runtime, 3)
    assert not list(tmp_path.iterdir())
