"""What users add without touching a file of the repository: leam as a Snakemake module, and rules of their own."""

import operator

import pandas as pd
import pytest
import yaml

import pages
from runs import ROOT, jobs, snakemake

SMALL = {
    "source": {"sample": {"identities": 3, "images": 3, "size": 128}},
    "localisation": {"when": "never"},
    "calibration": {"when": "never"},
}

MODULE = """
module leam:
    snakefile: "{root}/Snakefile"
    config: config["leam"]


use rule * from leam{exclude}{renamed}


rule count_pictures:
    default_target: True
    input:
        leam.results("links.parquet"),
        leam.results("config.yaml"),
    output:
        "pictures.txt",
    run:
        import pandas as pd

        text = str(len(pd.read_parquet(input[0])))
        open(output[0], "w").write(text)
"""


# --------------------------------------------------------------------------------------------------- leam as a module


def parent(directory, exclude="", renamed=" as leam_*"):
    """A workflow elsewhere that uses leam as a module: its Snakefile, and the settings for leam in its own."""
    (directory / "parent.yaml").write_text(yaml.safe_dump({"mine": 1, "leam": SMALL}))
    text = MODULE.format(root=ROOT, exclude=exclude, renamed=renamed)
    (directory / "Snakefile").write_text(text)
    return "--snakefile", directory / "Snakefile", "--configfile", directory / "parent.yaml"


@pytest.mark.parametrize(("exclude", "renamed", "prefix"), [("", " as leam_*", "leam_"), (" exclude all", "", "")])
def test_as_a_module_leam_plans_all_its_jobs(tmp_path, exclude, renamed, prefix):
    workflow = parent(tmp_path, exclude, renamed)
    targets = ("results/explorer/index.html", "results/tables/regions.csv")
    found = jobs(snakemake("-n", *targets, *workflow, directory=tmp_path))
    assert found[f"{prefix}compute_maps"] == 2 and found[f"{prefix}build_explorer"] == 1


def test_rule_all_of_the_module_asks_for_every_table_and_figure(tmp_path):
    found = jobs(snakemake("-n", "leam_all", *parent(tmp_path), directory=tmp_path))
    assert found["leam_all"] == 1 and found["leam_tabulate_regions"] == found["leam_plot_maps"] / 2 == 1


@pytest.mark.slow
def test_a_rule_of_the_parent_reads_what_the_module_makes(tmp_path):
    workflow = parent(tmp_path)
    snakemake("--cores", 1, *workflow, directory=tmp_path)
    assert (
        (tmp_path / "pictures.txt").read_text() == str(len(pd.read_parquet(tmp_path / "results/links.parquet"))) == "9"
    )
    merged = yaml.safe_load((tmp_path / "results/config.yaml").read_text())
    assert merged["source"]["sample"]["identities"] == 3 and merged["maps"]["grid"] == 112
    assert "Nothing to be done" in snakemake("--cores", 1, *workflow, directory=tmp_path)
    snakemake(*workflow, "--report", "report.html", directory=tmp_path)
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_a_wrong_setting_of_the_module_is_one_sentence(tmp_path):
    workflow = parent(tmp_path)
    (tmp_path / "parent.yaml").write_text(yaml.safe_dump({"leam": {"seed": -1}}))
    text = snakemake("-n", *workflow, directory=tmp_path, check=False)
    assert "config: seed is -1; allowed: integer, at least 0" in text and "Traceback" not in text


# ---------------------------------------------------------------------------------------------- the page's examples

PAGE = ROOT / "docs" / "extending.md"


def write_example(heading, directory):
    """The files of a section of docs/extending.md: each block whose first line names one."""
    for block in filter(operator.attrgetter("name"), pages.section_blocks(PAGE, heading)):
        file = directory / block.name
        file.parent.mkdir(exist_ok=True)
        file.write_text(pages.body(block).replace("/path/to/leam", str(ROOT)))


def make_smaller(file):
    file.write_text(yaml.safe_dump(SMALL | yaml.safe_load(file.read_text())))
    return "--configfile", file


def test_the_example_of_a_table(tmp_path):
    write_example("A table of your own", tmp_path)
    smaller = make_smaller(tmp_path / "mine.yaml")
    snakemake("results/tables/pictures.csv", "--cores", 1, *smaller, directory=tmp_path)
    assert pd.read_csv(tmp_path / "results/tables/pictures.csv")["pictures"].tolist() == [3, 3, 3]


@pytest.mark.slow
def test_the_example_of_a_figure(tmp_path):
    write_example("A figure of your own", tmp_path)
    smaller = make_smaller(tmp_path / "mine.yaml")
    snakemake("results/figures/enrichment.png", "--cores", 2, *smaller, directory=tmp_path)
    assert (tmp_path / "results/figures/enrichment.png").stat().st_size > 5000


def test_the_example_of_a_module(tmp_path):
    write_example("leam as a module", tmp_path)
    workflow = ("--snakefile", tmp_path / "Snakefile")
    snakemake("--cores", 1, *workflow, directory=tmp_path)
    assert (tmp_path / "people.txt").read_text() == "4 people\n"


# ------------------------------------------------------------------------------------------------ rules of one's own


@pytest.fixture
def custom(tmp_path):
    """A working directory with a user's rule and its script, and the settings that include it."""
    write_example("A table of your own", tmp_path)
    return tmp_path / "mine.yaml"


def test_the_file_of_ones_own_rules_may_lie_in_the_home(custom, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    custom.write_text(yaml.safe_dump(SMALL | {"custom_rules": ["~/mine/pictures.smk"]}))
    (tmp_path / "elsewhere").mkdir()
    found = snakemake("-n", "--configfile", custom, directory=tmp_path / "elsewhere")
    assert jobs(found)["tabulate_pictures"] == 1


def test_a_missing_file_of_rules_is_one_sentence(custom, tmp_path):
    custom.write_text(yaml.safe_dump({"custom_rules": ["absent.smk"]}))
    text = snakemake("-n", "--configfile", custom, directory=tmp_path, check=False)
    assert f"config: custom_rules: no such file: {tmp_path}/absent.smk; allowed: files of Snakemake rules" in text
    assert "Traceback" not in text
