"""leam.analyses.groups.people: who of a run stands in the table of people."""

import pandas as pd
import pytest

from leam.analyses.groups.people import fault_of_match, join_people, match_people, read_people, say_match
from leam.demographics import read_demographics
from listed import make_folder, people_of, table

E_ACUTE, E_AND_ACUTE = "\N{LATIN SMALL LETTER E WITH ACUTE}", "e\N{COMBINING ACUTE ACCENT}"


def matched(tmp_path, text, identities):
    (tmp_path / "people.csv").write_text(text)
    return join_people(read_demographics(tmp_path / "people.csv"), identities)


def test_zeros_that_a_spreadsheet_took_are_told(tmp_path):
    found = matched(tmp_path, "identity,gender\n1,female\n2,male\n", ["001", "002"])
    assert fault_of_match(found) == (
        "nobody of this run is in it: the run has '001', '002', it has '1', '2' "
        "(is '1' there '001' here: spreadsheets take zeros before a number away?)"
    )


def test_everybody_who_is_in_one_of_both_alone_is_listed(tmp_path):
    found = matched(tmp_path, "identity,gender\nann,female\nBob Roe,male\nzoe,\n", ["ann", "bob_roe", "cid"])
    assert found.people["gender"].to_dict() == {"ann": "female"} and not fault_of_match(found)
    assert found.missing.to_numpy().tolist() == [
        ["bob_roe", "table", ""],
        ["cid", "table", ""],
        ["Bob Roe", "run", "bob_roe"],
        ["zoe", "run", ""],
    ]
    assert say_match(found) == (
        "2 of the run's 3 people are not in it: 'bob_roe', 'cid'; 2 people in it are not in the run: 'Bob Roe', 'zoe' "
        "(is 'Bob Roe' there 'bob_roe' here?)"
    )


def test_a_name_that_may_mean_two_is_said_to_mean_none(tmp_path):
    found = matched(tmp_path, "identity,gender\n7,male\nx,female\n", ["007", "07", "x"])
    assert found.missing.set_index("identity").loc["7", "perhaps"] == ""


def test_a_table_of_everybody_has_nothing_to_say(tmp_path):
    found = matched(tmp_path, "identity,gender\nann,female\n", ["ann"])
    assert say_match(found) == "" and list(found.missing.columns) == ["identity", "missing_from", "perhaps"]


@pytest.mark.parametrize("there, here", [(E_ACUTE, E_AND_ACUTE), (E_AND_ACUTE, E_ACUTE)])
def test_names_in_two_forms_of_unicode_are_the_same(tmp_path, there, here):
    assert list(matched(tmp_path, f"identity,gender\nJos{there},male\n", [f"Jos{here}"]).people.index) == [f"Jos{here}"]


def test_people_who_differ_in_the_form_of_unicode_alone_keep_their_rows(tmp_path):
    text = f"identity,gender\nJos{E_ACUTE},male\nJos{E_AND_ACUTE},female\n"
    both = matched(tmp_path, text, [f"Jos{E_AND_ACUTE}", f"Jos{E_ACUTE}"])
    assert both.people["gender"].to_dict() == {f"Jos{E_ACUTE}": "male", f"Jos{E_AND_ACUTE}": "female"}
    assert len(matched(tmp_path, text, [f"Jos{E_ACUTE}"]).of("run")) == 1


PICTURES = "file,age,gender,race,service_test\n{}"


@pytest.mark.parametrize(
    "identities",
    [["train/1.jpg", "train/2.jpg", "train/3.jpg"], ["train"]],
    ids=["pictures", "folders"],
)
def test_rows_of_pictures_are_joined_to_whoever_they_find(tmp_path, identities):
    rows = "train/1.jpg,20-29,Male,White,True\ntrain/2.jpg,3-9,Female,White,True\ntrain/3.jpg,1,Male,White,False\n"
    found = matched(tmp_path, PICTURES.format(rows), identities)
    assert list(found.people.index) == identities and len(found.missing) == 0
    assert set(found.people["ethnicity"]) == {"Caucasian"}
    # two of three pictures are not enough to call somebody a man
    assert found.people["gender"].tolist() == (["male", "female", "male"] if len(identities) == 3 else [""])


def test_a_person_is_what_most_of_their_pictures_say(tmp_path):
    rows = [f"any/where/bob/{k}.jpg,1,{'Male' if k else 'Female'},Latino_Hispanic,True\n" for k in range(4)]
    found = matched(tmp_path, PICTURES.format("".join(rows)), ["bob", "cid"])
    assert found.people.loc["bob"].tolist() == ["male", ""] and found.missing["identity"].tolist() == ["cid"]


def written(tmp_path, source, text):
    table(tmp_path, source)
    demographics = None if text is None else tmp_path / "mine.csv"
    if text is not None:
        demographics.write_text(text)
    outputs = tmp_path / "people.csv", tmp_path / "missing.csv"
    match_people(tmp_path / "links.parquet", demographics, *outputs, source=source)
    return read_people(outputs[0]), pd.read_csv(outputs[1], keep_default_na=False)


@pytest.fixture
def grouped(tmp_path):
    root = make_folder(tmp_path / "data", {"African/007": ["a.jpg"], "Indian/NA": ["a.jpg"], "Indian/c": []})
    return people_of(root, layout="ethnicity/identity/image")


def test_a_source_alone_may_tell(tmp_path, grouped):
    people, missing = written(tmp_path, grouped, None)
    assert people["ethnicity"].to_dict() == {"007": "African", "NA": "South Asian", "c": "South Asian"}
    assert list(people.columns) == ["ethnicity"] and len(missing) == 0


def test_the_table_goes_before_the_source(tmp_path, grouped, caplog):
    text = "identity,gender,ethnicity\n007,male,\nNA,,Caucasian\nd,male,\n"
    people, missing = written(tmp_path, grouped, text)
    assert people.loc["007"].tolist() == ["male", "African"] and people.loc["NA"].tolist() == ["", "Caucasian"]
    assert people.loc["c"].tolist() == ["", "South Asian"]
    assert missing.to_numpy().tolist() == [["c", "table", ""], ["d", "run", ""]]
    assert "1 of the run's 3 people are not in it: 'c'; 1 people in it are not in the run: 'd'" in caplog.text


def test_a_table_of_others_stops_the_job(tmp_path, grouped):
    with pytest.raises(ValueError, match=r"mine\.csv: nobody of this run is in it: the run has '007', 'NA', 'c'"):
        written(tmp_path, grouped, "identity,gender\nx,male\n")
