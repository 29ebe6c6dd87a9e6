"""leam.demographics: tables of people, one's own and published ones."""

import pytest

from leam.demographics import read_demographics


def read(tmp_path, text, name="people.csv"):
    (tmp_path / name).write_text(text, newline="")
    return read_demographics(tmp_path / name)


def test_vggface2s_table(tmp_path):
    found = read(
        tmp_path, 'Class_ID, Name, Sample_Num, Flag, Gender\nn000001, "Jan, Roe", 424, 0, m\nn000009, "B", 7, 1, f\n'
    )
    assert found["gender"].to_dict() == {"n000001": "male", "n000009": "female"} and list(found.columns) == ["gender"]


@pytest.mark.parametrize("title", ["", "# LFW Attributes 1.0\n"], ids=["bare", "titled"])
def test_lfws_attributes_are_means_of_scores(tmp_path, title):
    head = title + "#\tperson\timagenum\tMale\tAsian\tWhite\tBlack\tBaby\tIndian\n"
    rows = [
        "Ann Lee Roe\t1\t-1.5\t0.5\t-0.5\t-1\t9\t-2",
        "Ann Lee Roe\t2\t0.5\t-0.1\t-0.5\t-1\t9\t-2",
        "Bob Roe\t1\t0.2\t-1\t-1\t-0.1\t9\t-1",
    ]
    found = read(tmp_path, head + "\n".join(rows) + "\n", "lfw_attributes.txt")
    assert found.loc["Ann_Lee_Roe"].tolist() == ["female", "East Asian"]  # -0.5 of Male, 0.2 of Asian
    assert found.loc["Bob_Roe"].tolist() == ["male", ""]


@pytest.mark.parametrize(
    "head, rest",
    [
        ("file,age,gender,race,service_test", "{},1,{},{},True"),
        ("face_name_align,race,race4,gender", "{0},{2},White,{1}"),
    ],
)
def test_fairfaces_labels_and_predictions(tmp_path, head, rest):
    rows = [
        rest.format(f"train/{k}.jpg", *row) for k, row in enumerate([("Male", "Black"), ("Female", "Southeast Asian")])
    ]
    found = read(tmp_path, "\n".join([head, *rows, ""]))
    assert found.index.name == "picture"
    assert found.loc["train/0.jpg"].to_dict() == {"gender": "male", "ethnicity": "African"}
    assert found.loc["train/1.jpg"].to_dict() == {"gender": "female", "ethnicity": ""}


@pytest.mark.parametrize("mark", [";", "\t"])
def test_what_a_spreadsheet_writes_is_read(tmp_path, mark):
    text = "\ufeffIdentity,Gender\r\n007,F\r\nNA,Male\r\n,\r\n".replace(",", mark)
    assert read(tmp_path, text)["gender"].to_dict() == {"007": "female", "NA": "male"}


@pytest.mark.parametrize("head", ["identity", "identity,sex", "name,gender", "gender"])
def test_a_heading_of_no_known_table_is_told(tmp_path, head):
    with pytest.raises(ValueError, match=r"people\.csv: columns are .*; expected identity and any of \['gender', "):
        read(tmp_path, f"{head}\na\n" if "," not in head else f"{head}\na,b\n")


def test_a_name_stands_there_once(tmp_path):
    with pytest.raises(ValueError, match="'a' stands there more than once"):
        read(tmp_path, "identity,gender\na,male\na,male\n")
