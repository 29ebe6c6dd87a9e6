"""How a run differs from the paper's: one true sentence, and a table that counts what was kept."""

import pandas as pd
import yaml

from leam import config, sources
from leam.analyses.run import table as run_table
from leam.sources.sample import Sample

WORDS = Sample.words


def test_the_sentence_names_people_recognisers_and_what_is_untrained():
    merged = config.complete({"models": ["AF_R18", "sample_arcface"], "recognisers": {"AF_R18": {"untrained": True}}})
    text = run_table.describe_run(config.decided(merged), 12, WORDS)
    assert text.startswith("This run differs from the paper's: 12 rendered people") and text.endswith(".")
    assert "recognisers ``AF_R18``, ``sample_arcface``, ``AF_R18`` of them among the paper's nine" in text
    assert "(``AF_R18`` untrained, with random weights)" in text
    assert "label maps that came with the pictures instead of FaRL's parser" in text
    assert "maps placed by receptive fields, target" in text
    as_paper = config.complete({"preset": "paper", "models": list(run_table.PAPER_MODELS)})
    assert "maps" not in run_table.describe_run(config.decided(as_paper), 12, WORDS).replace("label maps", "")
    assert "crop" not in text and text.count(". ") == 0  # the same crop as the paper's is no difference


def test_every_kind_of_source_and_crop_has_words():
    schema = yaml.safe_load(config.SCHEMA_PATH.read_text())["properties"]
    assert set(schema["source"]["properties"]["kind"]["enum"]) == set(sources.kinds())
    assert all(sources.source_class(kind).words for kind in sources.kinds())
    assert set(schema["faces"]["properties"]["crop_mode"]["enum"]) == set(run_table.CROPS)


def test_the_table_counts_what_was_kept(tmp_path):
    retention = tmp_path / "retention.csv"
    rows = [("p1", 5, 4), ("p2", 3, 0), ("all", 8, 4)]
    table = pd.DataFrame(rows, columns=["identity", "linked", "kept"]).assign(discarded=0, kept_percent=50.0)
    table.to_csv(retention, index=False)
    run_table.tabulate_run(retention, tmp_path / "run.csv", config.decided(config.complete({})), WORDS)
    found = pd.read_csv(tmp_path / "run.csv", dtype=str).set_index("fact")
    assert found.loc["images kept"].tolist() == ["13,445", "4"]
    assert found.loc["people without usable images"].tolist() == ["0", "1"]
    assert found.loc["people", "this_run"].startswith("2 rendered people")
    assert found.loc["layers per recogniser"].tolist() == ["9", "9"]
    told = found["this_run"][found.index.str.startswith("origin of ")]
    assert told["origin of landmarks"] == "those that came with the pictures"
    assert told["origin of recogniser"].str.endswith("; the project's own").all() and len(told) == 3 + 2


def test_captions_say_under_which_fill_they_are():
    assert run_table.describe_fill("black") == "The fill is ``black``, as the paper's."
    found = run_table.describe_fill("blur")
    assert found == "The fill is ``blur``; the paper's is black, which is not among this run's."
    why = run_table.describe_fills(["black", "blur"], "blur")
    assert "(``black``, ``blur``)" in why and "stands beside ``blur``, the headline's" in why
