"""The workflow as a user runs it: planned anywhere, stopped by wrong settings; test_run.py runs it."""

import ast
import os
import re
import subprocess
import time

import pytest
import yaml

from leam import links
from runs import ABSENT_MODELS, ROOT, jobs, snakemake, write_config

SCRIPTS = ROOT / "workflow_scripts"
RULES = {
    name: path
    for path in sorted((ROOT / "rules").glob("*.smk"))
    for name in re.findall(r"^ *rule (\w+):", path.read_text(), re.M)
}


# ------------------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize("rule", RULES)
def test_rule_adapter_function_log_and_benchmark_share_one_name(rule):
    text = re.search(rf"^( *)rule {rule}:\n(.*?)(?=^\1\S|\Z)", RULES[rule].read_text(), re.M | re.S).group(2)
    assert f'"../workflow_scripts/{rule}.py"' in text
    assert re.search(rf'results\("logs/{rule}[./]', text)
    assert re.search(rf'results\("benchmarks/{rule}[./]', text)
    assert '"../envs/leam.yaml"' in text
    adapter = (SCRIPTS / f"{rule}.py").read_text()
    module = re.search(rf"from leam\.([\w.]+) import .*\b{rule}\b", adapter).group(1).replace(".", "/")
    functions = [
        node.name
        for node in ast.parse((SCRIPTS / "leam" / f"{module}.py").read_text()).body
        if isinstance(node, ast.FunctionDef)
    ]
    assert rule in functions


def test_adapters_are_thin_and_none_is_an_orphan():
    adapters = {path.stem: path for path in SCRIPTS.glob("*.py")}
    assert set(adapters) == set(RULES)
    for name, path in adapters.items():
        lines = [line for line in path.read_text().splitlines() if line.strip()]
        assert len(lines) <= 22, name


def test_the_library_never_sees_snakemake_and_has_no_drawer_of_odds_and_ends():
    for path in (SCRIPTS / "leam").rglob("*.py"):
        tree = ast.parse(path.read_text())
        imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        imported += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert not [name for name in imported if name.startswith("snakemake")], path.name
        assert path.stem not in ("utils", "helpers", "common", "misc")


def test_conda_environment_holds_the_pins_of_requirements():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in pin for pin in pins)
    environment = yaml.safe_load((ROOT / "envs" / "leam.yaml").read_text())["dependencies"]
    assert next(part["pip"] for part in environment if isinstance(part, dict)) == pins


# --------------------------------------------------------------------------------------------------------- planning


def test_a_dry_run_needs_no_weights_no_gpu_and_no_slurm(tmp_path):
    people = tmp_path / "people"
    for number in range(4):
        (people / f"p{number}").mkdir(parents=True)
        (people / f"p{number}" / "1.jpg").touch()
    settings = {
        "source": {"kind": "folder", "folder": {"path": "people"}},
        "faces": ABSENT_MODELS,
        "models": ["AF_R18", "IR_CASIA", "VGG_16"],
        "identities_per_job": 3,
    }
    file = write_config(tmp_path / "mine.yaml", **settings)
    found = jobs(snakemake("-n", "--configfile", file, directory=tmp_path))
    assert (found["compute_maps"], found["import_images"], found["fetch_weights"]) == (6, 2, 3)


def test_a_thousand_identities_under_nine_models_are_ninety_gpu_jobs(tmp_path, monkeypatch):
    found = jobs(snakemake("-n", "--configfile", ROOT / "docs/examples/paper_scale.yaml", directory=tmp_path))
    assert (found["compute_maps"], found["parse_faces"], found["count_regions"]) == (90, 10, 9)
    assert (found["occlude_faces"], found["average_maps"]) == (90, 9)
    monkeypatch.setattr(links, "MOST_JOBS", 1)
    of_shards = sum(count for count in found.values() if count in (10, 90))
    assert f"makes about {of_shards} jobs of 1000 identities" in links.larger_shards(1000, 100, 9)


def test_too_many_jobs_are_said_before_they_are_planned(tmp_path):
    source = {"sample": {"identities": 20_000}}
    file = write_config(tmp_path / "mine.yaml", source=source, identities_per_job=2, models=["sample_cosface"])
    text = snakemake("-n", "results/config.yaml", "--configfile", file, directory=tmp_path)
    assert text.index("identities_per_job: 2 makes about 50000 jobs of 20000 identities") < text.index("Building DAG")
    assert "; 10 would do (at most 10000 jobs)" in text


@pytest.mark.slow
def test_files_of_a_time_to_come_stop_the_plan(tmp_path):
    """Snakemake would run every job and then delete what it made, as older than what it is made from."""
    file = write_config(tmp_path / "few.yaml", source={"sample": {"identities": 2, "images": 2, "size": 96}})
    command = ["results/faces/00000.h5", "--cores", 1, "--configfile", file]
    snakemake("results/images/00000.h5", *command[1:], directory=tmp_path)
    (pictures := tmp_path / "results/images/00000.h5").touch()
    os.utime(pictures, (time.time() + 86_400,) * 2)
    text = snakemake(*command, directory=tmp_path, check=False)
    assert "files of a time to come, such as results/images/00000.h5 (1 in all): set the clock" in text
    assert not (tmp_path / "results/faces").exists()
    subprocess.run(["sh", "-c", re.search("find .* {} [+]", text)[0]], cwd=tmp_path, check=True)
    snakemake(*command, directory=tmp_path)
    assert (tmp_path / "results/faces/00000.h5").exists()


RECTANGLES = {
    "identity,image,left,top,right,bottom\np0,1.jpg,1,2,3,4\nnobody,1.jpg,1,2,3,4\n": None,
    '"NAME_ID","X","Y","W","H"\n"p0/1",1,2,3,4\n': None,
    "identity,image,left,top,right,bottom\n0,1.jpg,1,2,3,4\n": "no row is of a picture of this run, of 'p0', ...; "
    "the first, line 2: identity '0', image '1.jpg'",
    "identity,image,box\np0,1.jpg,1 2 3 4\n": "the heading is 'identity,image,box'; expected "
    "'identity,image,left,top,right,bottom', or VGGFace2's 'NAME_ID,X,Y,W,H'",
    None: "config: source.folder.rects: no such file: boxes/r.csv; allowed: a CSV of rectangles",
}


@pytest.mark.parametrize(("text", "message"), RECTANGLES.items())
def test_a_table_of_rectangles_is_judged_before_the_first_job(tmp_path, text, message):
    (tmp_path / "people" / "p0").mkdir(parents=True)
    (tmp_path / "people" / "p0" / "1.jpg").touch()
    if text is not None:
        (tmp_path / "boxes").mkdir()
        (tmp_path / "boxes" / "r.csv").write_text(text)
    source = {"kind": "folder", "folder": {"path": "people", "rects": "boxes/r.csv"}}
    file = write_config(tmp_path / "mine.yaml", source=source, faces=ABSENT_MODELS | {"several": "largest"})
    said = snakemake("-n", "--configfile", file, directory=tmp_path, check=False)
    assert "Traceback" not in said
    if message is None:
        assert jobs(said)["list_links"] == 1 and "links_rejected.csv" in said
    else:
        assert message in said and "config: source.folder.rects: " in said and "Job stats" not in said


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"faces": {"several": "first"}},
            "faces.several is 'first'; allowed: discard or largest or central",
        ),
        (
            {"maps": {"batch_images": "many"}},
            "maps.batch_images is 'many'; allowed: integer or null, at least 1, in images",
        ),
        (
            {"occlusion": {"percent": 1}},
            "config: occlusion.percent is now occlusion.headline_percent: rename it where you set it",
        ),
        (
            {
                "source": {
                    "kind": "folder",
                    "folder": {"path": "absent", "label_suffix": ".png", "landmark_suffix": ".npy"},
                }
            },
            "does not exist or is no folder",
        ),
    ],
)
def test_a_wrong_configuration_stops_before_the_first_job(tmp_path, settings, message):
    file = write_config(tmp_path / "wrong.yaml", **settings)
    text = snakemake("--cores", 1, "--configfile", file, directory=tmp_path, check=False)
    assert message in text
    assert "Traceback" not in text
    assert not (tmp_path / "results").exists()


def test_what_failed_for_good_is_named_at_the_end(tmp_path):
    file = write_config(tmp_path / "mine.yaml", models=["AF_R18"])
    text = snakemake("results/weights/AF_R18.ok", "--cores", 1, "--configfile", file, directory=tmp_path, check=False)
    end = text[text.rindex("Failed for good: 1.") :]
    assert "fetch_weights: results/weights/AF_R18.ok" in end
    assert "ModelError: recogniser AF_R18: no weights are configured" in end
