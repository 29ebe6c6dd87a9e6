"""Settings drawn at random over every key: what the schema allows ends in tables, or is refused before any job."""

import csv
import re
from collections import Counter

import pytest
from jsonschema import Draft202012Validator

from drawn_settings import SCHEMA, draw_settings, leaves, prepare
from leam import config
from runs import snakemake_each, write_config

pytestmark = pytest.mark.slow
DRAWS = range(200)
KEYS = {key for key, _ in leaves(SCHEMA)}
ONLY_TABLES = "rule tables:\n    input:\n        TABLES.values(),\n"
SENTENCE = re.compile(r"(config: |source )\w.+")  # each line of a refusal: what is wrong, and where


def test_draws_are_allowed_by_the_schema_and_set_every_key():
    found, validator = Counter(), Draft202012Validator(SCHEMA)
    for seed in DRAWS:
        drawn = draw_settings(seed)
        validator.validate(drawn)
        found.update(keys_of(drawn))
    assert set(found) == KEYS and min(found.values()) >= 20


def keys_of(drawn, path=""):
    for key, value in drawn.items():
        here = re.sub(r"^recognisers\.[^.]+", "recognisers.NAME", f"{path}.{key}".lstrip("."))
        yield from [here] if here in KEYS else keys_of(value, here)


def refusal(given):
    """What the settings themselves are refused with, "" where they are not."""
    try:
        config.chosen_source(config.complete(given)).count()
    except (config.ConfigError, ValueError) as error:
        return str(error)
    return ""


def test_what_is_refused_is_refused_in_sentences(tmp_path, monkeypatch):
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    refused = [text for text in map(refusal, map(draw_settings, DRAWS)) if text]
    assert 40 < len(refused) < 120  # neither all nor none
    for text in refused:
        assert all(SENTENCE.fullmatch(line) for line in text.splitlines()), text


@pytest.mark.siege
def test_every_draw_is_planned_or_refused_before_the_first_job(tmp_path, monkeypatch):
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    drawn = {seed: draw_settings(seed) for seed in DRAWS}
    files = [write_config(tmp_path / f"{seed}.yaml", **given) for seed, given in drawn.items()]
    calls = [["-n", "--quiet", "--configfile", file] for file in files]
    for (seed, given), (status, text) in zip(drawn.items(), snakemake_each(calls, tmp_path), strict=True):
        expected = refusal(given)
        assert bool(status) == bool(expected), (seed, text)
        assert expected in text and "Traceback" not in text, (seed, text)


def runs(folder, seeds, targets):
    """Run the settings of some draws, those that are planned, each into a folder of its own."""
    prepare(folder)
    (folder / "tables.smk").write_text(ONLY_TABLES)
    given = {seed: draw_settings(seed) | {"custom_rules": ["tables.smk"], "results": f"run {seed}"} for seed in seeds}
    files = [write_config(folder / f"{seed}.yaml", **settings) for seed, settings in given.items()]
    calls = [[*targets, "--cores", 2, "--keep-going", "--configfile", file] for file in files]
    return zip(given, snakemake_each(calls, folder), strict=True)


def check(folder, seed, status, text):
    """The run ended well, and its tables have headings, though in some nobody has two usable images."""
    paths = sorted((folder / f"run {seed}" / "tables").glob("*.csv"))
    for path in paths:
        with open(path, newline="", encoding="utf-8") as file:
            assert len(next(csv.reader(file))) > 2, (seed, path.name)
    assert {"retention", "discarded", "regions"} <= {path.stem for path in paths}, (seed, text)
    assert status == 0, (seed, text)


SHORT = (4, 21, 36)  # quick ones: of rendered people and of a folder, with landmarks and without


def test_some_draws_end_in_tables(tmp_path):
    for seed, (status, text) in runs(tmp_path, SHORT, ["tables"]):
        check(tmp_path, seed, status, text)


@pytest.mark.siege
def test_many_draws_end_in_tables_figures_and_the_explorer(tmp_path, monkeypatch):
    prepare(tmp_path / "names")
    monkeypatch.chdir(tmp_path / "names")
    planned = [seed for seed in DRAWS if seed % 5 and not refusal(draw_settings(seed))][:20]
    assert len(planned) == 20
    for seed, (status, text) in runs(tmp_path / "run", planned, ["tables", "all"]):
        check(tmp_path / "run", seed, status, text)
