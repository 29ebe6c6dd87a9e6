"""A run of the workflow on few people, from a link to the report, and what runs again."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

import formats
import strikes
from leam import files, storage
from leam.analyses.ages import AGE_COLUMNS, AGE_TYPES
from leam.analyses.occlusion import DROP_COLUMNS, DROP_TYPES
from leam.surroundings import readable_by_others
from leam.tables import no_rows
from runs import ROOT, SNAKEMAKE, snakemake, write_config

pytestmark = pytest.mark.slow
MADE = (".h5", ".parquet", ".csv", ".png", ".pdf", ".html")

# With what is only made when asked for, groups and ages. The rendered people have neither: a table gives them a gender
# and an ethnicity, and the images' numbers stand for ages.
PEOPLE = "identity,gender,ethnicity\ns000,female,African\ns001,male,Caucasian\ns002,male,\n"
FEW = {
    "demographics": "people.csv",
    "age_pattern": r"^(\d\d)",
    "identities_per_job": 2,
    "source": {"sample": {"identities": 3, "images": 3, "size": 128}},
    "analysis": {"figure_identities": 1, "figure_images": 3},
    "localisation": {"regions": ["nose"], "identities": 3, "images": 2, "size": 96},
    "occlusion": {"percents": [1, 10], "layers": "first", "repeats": 1, "fills": ["black", "mean", "twin"]},
}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A finished run on three rendered people, of all that there is."""
    directory = tmp_path_factory.mktemp("few")
    (directory / "people.csv").write_text(PEOPLE)
    file = write_config(directory / "few.yaml", **FEW)
    command = ["all", "calibrate_margin", "--cores", 2, "--configfile", file, "--skip-script-cleanup"]
    snakemake(*command, directory=directory)
    return directory


def test_every_output_is_there_and_nothing_is_left_over(few):
    results = few / "results"
    assert {path.name for path in (results / "maps" / "sample_arcface").glob("*.h5")} == {"00000.h5", "00001.h5"}
    for table in ("retention", "discarded", "verification", "regions", "table10_regions_full"):
        assert (results / "tables" / f"{table}.csv").stat().st_size > 0
    for figure in ("regions.png", "regions.pdf", "maps_sample_cosface.png"):
        assert (results / "figures" / figure).stat().st_size > 5000
    assert (results / "explorer" / "index.html").stat().st_size > 100_000
    assert not list(results.rglob("*.part")) and not list(results.rglob("*.journal"))
    merged = yaml.safe_load((results / "config.yaml").read_text())
    assert merged["source"]["sample"]["identities"] == 3 and merged["maps"]["grid"] == 112


def test_every_output_has_a_digest_that_it_agrees_with(few):
    results, left = few / "results", {"logs", "benchmarks"}
    outputs = [path for path in results.rglob("*") if path.is_file() and path.relative_to(results).parts[0] not in left]
    for path in outputs:
        assert path.suffix == ".sha256" or files.verify(path), path
    assert len([path for path in outputs if path.suffix == ".sha256"]) == len(outputs) / 2


def test_the_run_is_its_owners_only(few):
    assert readable_by_others(few / "results") == []
    folders = [few / "results", *(path for path in (few / "results").rglob("*") if path.is_dir())]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


@pytest.mark.parametrize(
    ("columns", "types", "files_of"),
    [(DROP_COLUMNS, DROP_TYPES, "occlusion/*/*.parquet"), (AGE_COLUMNS, AGE_TYPES, "ages/*/*.parquet")],
    ids=["occlusion", "ages"],
)
def test_a_table_without_rows_has_the_types_of_a_full_one(few, columns, types, files_of):
    for path in (few / "results").glob(files_of):
        full, empty = pd.read_parquet(path), no_rows(columns, **types)
        assert list(full) == list(empty)
        for column in full:
            kinds = {pd.api.types.is_numeric_dtype(table[column]) for table in (full, empty)}
            assert len(kinds) == 1, column
        assert len(pd.concat([full, empty], ignore_index=True).select_dtypes("number").columns) >= len(types) - 2


def test_one_line_per_identity_in_the_log(few):
    log = (few / "results/logs/compute_maps/sample_arcface/00000.log").read_text()
    assert "s000 (1 of 2): 3 images" in log and "s001 (2 of 2): 3 images" in log


def test_images_in_are_kept_plus_discarded(few):
    table = pd.read_csv(few / "results/tables/retention.csv").set_index("identity")
    assert table.loc["all", "linked"] == 9 == table.loc["all", "kept"] + table.loc["all", "discarded"]


def test_shares_of_the_run_add_up(few):
    table = pd.read_csv(few / "results/tables/regions.csv", dtype={"threshold": str})
    keys = ["model", "polarity", "layer", "threshold"]
    assert len(table) == 2 * 2 * 10 * 15 * 19
    np.testing.assert_allclose(table.groupby(keys)["percent"].sum(), 100, atol=1e-3)
    np.testing.assert_allclose(table.groupby(keys)["area_percent"].sum(), 100, atol=1e-3)


def test_one_photograph_can_be_followed_from_its_link_to_a_table_cell(few):
    results = few / "results"
    links = pd.read_parquet(results / "links.parquet")
    link = links[(links["identity"] == "s002") & (links["image"] == "01")].iloc[0]
    assert link["shard"] == "00001"
    with storage.open_shard(results / "images/00001.h5", "images") as shard:
        assert "01" in storage.read_pictures(shard, "s002").images
    with storage.open_shard(results / "faces/00001.h5", "faces") as shard:
        number = storage.read_images(shard, "s002").index("01")
        regions = storage.read_regions(shard, "s002")
    with storage.open_shard(results / "maps/sample_arcface/00001.h5", "maps") as shard:
        maps = storage.read_maps(shard, "s002")
    assert maps.maps["loss"]["conv1"][number].sum() == pytest.approx(1, rel=1e-5)
    counts = maps.counts["loss"][maps.pairs[:, 0] >= 0].sum(0, dtype=int)  # (L, T, R), every pair of the identity
    table = pd.read_parquet(results / "regions/sample_arcface.parquet")
    chosen = (table["identity"] == "s002") & (table["polarity"] == "loss") & (table["layer"] == "conv1")
    row = table[chosen & (table["threshold"] == "full") & (table["region"] == "nose")].iloc[0]
    assert row["count"] == counts[0, 14, 10]
    assert row["area_percent"] == pytest.approx(100 * (regions == 10).mean())


def test_occlusion_of_the_run_has_every_guide_and_every_control(few):
    drops = pd.concat([pd.read_parquet(path) for path in sorted((few / "results/occlusion").glob("*/*.parquet"))])
    # Of both polarities: black at both percents the own image and what has no map, at 1 % four controls; mean at 1 %
    # five own kinds, the other guide and what has no map; twin at 1 % the same without another guide. The guide of the
    # headline is tried in black on the other, too.
    black, mean, twin = 2 * 2 + 2 * 2 + 2 * 4, 2 * 5 + 2 + 2, 2 * 5 + 2
    assert len(drops) == 9 * (2 * (black + mean + twin) + 2 * 2)
    assert drops["drop"].notna().all()
    table = pd.read_csv(few / "results/tables/transfer.csv")
    assert set(table["identities"]) == {3}
    assert table["fill"].value_counts().to_dict() == {"black": 2 * 2 * (2 + 1), "mean": 2 * 2 * 2, "twin": 2 * 2}
    steps = pd.read_csv(few / "results/tables/person_specific.csv")
    # Models and polarities; at 10 % in black the disc and random pixels alone.
    assert len(steps) == 2 * 2 * (6 + 6 + 6 + 1)
    beside = pd.read_csv(few / "results/tables/table09_occlusion_drop.csv")
    assert beside["paper"].notna().all() and not beside["untrained"].any() and set(beside["fill"]) == {"black"}


def test_a_second_run_finds_nothing_to_do(few):
    assert "Nothing to be done" in snakemake("--cores", 1, "--configfile", few / "few.yaml", directory=few)


def checkout(folder):
    """A copy of this checkout's own files elsewhere, with their times."""
    for name in ("Snakefile", "config.yaml", "rules", "envs", "workflow_scripts"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, folder / name)
    return folder / "Snakefile"


def planned(snakefile, directory, file):
    """{rules that a checkout would run in a folder with results} by Snakemake itself."""
    command = [sys.executable, "-m", "snakemake", "-s", snakefile, "--directory", directory, "-n", "--quiet", "rules"]
    found = subprocess.run([*command, "--configfile", file], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    return set(re.findall(r"^(\w+) +\d+$", found.stdout, re.M)) - {"total", "all"}


def test_a_moved_checkout_and_moved_results_run_nothing_again(few, tmp_path):
    (tmp_path / "code of mine").mkdir()
    moved = shutil.copytree(few, tmp_path / "results of mine")
    assert planned(checkout(tmp_path / "code of mine"), moved, moved / "few.yaml") == set()


@pytest.mark.parametrize(
    ("module", "some", "none"),
    [
        ("faces/frames.py", {"parse_faces", "measure_localisation"}, {"render_sample", "fetch_weights"}),
        ("sample/training.py", {"measure_localisation"}, {"parse_faces", "compute_maps", "plot_regions"}),
        ("paper.py", {"tabulate_regions", "plot_regions"}, {"compute_maps", "parse_faces", "occlude_faces"}),
        ("plotting.py", {"plot_regions"}, {"tabulate_regions", "compute_maps"}),
        ("doctor.py", set(), {"write_config", "compute_maps", "plot_regions"}),
    ],
)
def test_a_changed_formula_runs_again_what_comes_from_it(few, tmp_path, module, some, none):
    snakefile = checkout(tmp_path)
    path = tmp_path / "workflow_scripts" / "leam" / module
    path.write_text(path.read_text() + "\nCHANGED = 1\n")
    found = planned(snakefile, few, few / "few.yaml")
    assert some <= found and not found & none


def test_groups_and_ages_are_asked_for_by_their_settings(few):
    targets = ("tables/table23_occlusion_drop_male.csv", "figures/drops_by_gender.png", "figures/ages.png")
    results = few / "results"
    assert all((results / name).stat().st_size > 1000 for name in targets)
    tests = pd.read_csv(results / "tables" / "significance.csv")
    assert set(tests["measure"]) == {"drop", "share"} and set(tests["n_a"]) <= {0, 1, 3}
    men = pd.read_csv(results / targets[0])
    drops = pd.concat([pd.read_parquet(path) for path in (results / "occlusion/sample_cosface").glob("*.parquet")])
    random = drops[(drops["kind"] == "random") & (drops["percent"] == 1) & (drops["fill"] == "black")]
    random = random[random["identity"] != "s000"]
    row = men[(men["model"] == "sample_cosface") & (men["occlusion"] == "random") & (men["occlusion_percent"] == 1)]
    assert row["cosine_drop"].iloc[0] == pytest.approx(random.groupby("identity", observed=True)["drop"].mean().mean())
    ages = pd.read_csv(results / "tables/table24_age_difference.csv")
    assert set(ages["age_difference_years"]) == {1, 2} and set(ages["kind"]) == {"none", "random", "image"}
    assert set(ages["fill"].dropna()) == {"black"}
    assert set(pd.read_csv(results / "tables/age_slopes.csv")["fill"].dropna()) == {"black", "mean"}


def test_the_same_seed_gives_the_same_bytes(few, tmp_path):
    for name in ("few.yaml", "people.csv"):
        shutil.copy(few / name, tmp_path)
    snakemake("--cores", 2, "--configfile", tmp_path / "few.yaml", directory=tmp_path)
    made = [path for path in (tmp_path / "results").rglob("*") if path.suffix in MADE]
    assert len(made) > 60
    for path in made:
        assert files.sha256(path) == files.sha256(few / path.relative_to(tmp_path)), path.name


def test_the_report_is_made(few):
    snakemake("--configfile", few / "few.yaml", "--report", "results/report.html", directory=few)
    text = (few / "results/report.html").read_text()
    assert len(text) > 100_000
    for words in (
        "Is it person-specific?",
        "Shares and enrichment",
        "Maps over the pictures",
        "Images kept and discarded",
    ):
        assert words in text


def test_docs_formats_lists_every_file_and_column_of_a_run(few):
    assert formats.check(few / "results") == []
    described, _ = formats.read_page(formats.PAGE.read_text())
    of_links_and_model_files = {"links_rejected.csv", "images/{shard}.csv", "tables/scraping.csv"}
    of_links_and_model_files |= {"face_models/files.json"}
    assert set(described) - set(formats.list_run(few / "results")) == of_links_and_model_files


@pytest.fixture
def struck(few, tmp_path):
    """A copy of the run, whose jobs may be killed."""
    return shutil.copytree(few, tmp_path / "struck")


def test_jobs_that_are_killed_leave_whole_files_or_none(struck):
    """The short form of the next one: a list, a table, a journal, a figure."""
    jobs = {script.rule: script for script in strikes.scripts(struck)}
    for number, rule in enumerate(("list_links", "tabulate_retention", "compute_maps", "plot_thresholds")):
        strikes.check_strikes(jobs[rule], 1, random.Random(number))


@pytest.mark.siege
def test_every_job_that_writes_may_be_killed_at_any_moment(struck):
    jobs = strikes.scripts(struck)
    assert len(jobs) > 40
    for number, script in enumerate(jobs):
        strikes.check_strikes(script, 6, random.Random(number))


@pytest.mark.siege
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("alone", [True, False])
def test_snakemake_is_killed_and_the_next_one_goes_on(few, tmp_path, number, alone):
    """Alone, so that its jobs go on beside those of the next one, or with all of its jobs."""
    for name in ("few.yaml", "people.csv"):
        shutil.copy(few / name, tmp_path)
    targets = ["results/tables/regions.csv", "results/figures/layers_sample_cosface.png"]
    command = [*targets, "--profile", ROOT / "profiles/laptop", "--cores", 2, "--configfile", tmp_path / "few.yaml"]
    draw = random.Random(int(number) + 100 * alone)
    for _ in range(4):
        found = subprocess.Popen(
            [str(word) for word in (*SNAKEMAKE, "--directory", tmp_path, *command)],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            found.wait(draw.uniform(2, 25))
        with contextlib.suppress(ProcessLookupError):
            os.kill(found.pid, number) if alone else os.killpg(found.pid, number)
        found.wait(120)
        snakemake("--unlock", "--configfile", tmp_path / "few.yaml", directory=tmp_path)
    snakemake(*command, directory=tmp_path)
    made = [path for path in (tmp_path / "results").rglob("*") if path.suffix in MADE]
    assert len(made) > 10
    for path in made:
        assert files.sha256(path) == files.sha256(few / path.relative_to(tmp_path)), path.name
    assert not list((tmp_path / "results").rglob("*.part")) and not list((tmp_path / "results").rglob("*.journal"))
