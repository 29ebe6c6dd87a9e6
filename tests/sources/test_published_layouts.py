"""Data sets as they are published, by the lines that docs/sources.md shows: look-alikes with their usual names."""

import re
from pathlib import Path

import pytest
import yaml

from leam import config as settings
from leam.analyses.groups.people import fault_of_match, join_people
from leam.demographics import read_demographics
from listed import make_folder

PAGE = Path(__file__).parents[2] / "docs" / "sources.md"
LFW = "\tperson\timagenum\tMale\tAsian\tWhite\tBlack\tIndian"
VGGFACE2 = 'Class_ID, Name, Sample_Num, Flag, Gender\nn000001, "A", 2, 0, m\nn000002, "B", 2, 1, f\n'
LOOSE = (
    'NAME_ID,X,Y,W,H\n"n000002/0001_01",161,140,224,324\n"n000002/0002_01",-3,7,90,110.5\n"n000003/0001_01",1,2,3,4\n'
)
# {data set: (its files, its tables, each run's people with their number of pictures and what is said of them)}
PUBLISHED = {
    "LFW": (
        {"lfw/Ann_Roe": ["Ann_Roe_0001.jpg", "Ann_Roe_0002.jpg"], "lfw/Bob": ["Bob_0001.jpg"]},
        {"lfw_attributes.txt": f"# LFW\n#{LFW}\nAnn Roe\t1\t-1\t-1\t2\t-1\t-1\nBob\t1\t1\t-1\t-2\t3\t-1\n"},
        [{"Ann_Roe": (2, "female", "Caucasian"), "Bob": (1, "male", "African")}],
    ),
    "VGGFace2": (
        {
            "VGGFace2/train/n000002": ["0001_01.jpg", "0002_01.jpg"],
            "VGGFace2/test/n000001": ["0001_01.jpg"],
            "VGGFace2/meta": [],
            "VGGFace2/bb_landmark": [],
        },
        {"VGGFace2/meta/identity_meta.csv": VGGFACE2, "VGGFace2/bb_landmark/loose_bb_train.csv": LOOSE},
        [{"n000002": (2, "female")}, {"n000001": (1, "male"), "n000002": (2, "female")}],
    ),
    "CASIA-WebFace": (
        {"CASIA-WebFace/0000045": ["001.jpg", "002.jpg"], "CASIA-WebFace/0000099": ["001.jpg"]},
        {"people.csv": "identity,gender\n0000045,male\n0000099,\n"},
        [{"0000045": (2, "male"), "0000099": (1, "")}],
    ),
    "FairFace": (
        {"fairface/train": ["1.jpg", "2.jpg"], "fairface/val": []},
        {
            "fairface_label_train.csv": "file,age,gender,race,service_test\ntrain/1.jpg,50-59,Male,East Asian,True\n"
            "train/2.jpg,3-9,Female,Middle Eastern,False\n"
        },
        [{"train/1.jpg": (1, "male", "East Asian"), "train/2.jpg": (1, "female", "")}],
    ),
    "RFW": (
        {
            "RFW/test/data/African/m.0abc": ["m.0abc_0001.jpg", "m.0abc_0002.jpg"],
            "RFW/test/data/Indian/m.0d": ["m.0d_0001.jpg"],
            "RFW/test/txts/African": [],
        },
        {"RFW/test/txts/African/African_people.txt": "m.0abc\t2\n"},
        [{"m.0abc": (2, "African"), "m.0d": (1, "South Asian")}],
    ),
}


def shown(data_set):
    """The settings that the page shows under the name of a data set."""
    section = re.split(r"^##+ ", PAGE.read_text().split("\n## Data sets\n")[1], flags=re.M)
    text = next(part for part in section if part.startswith(f"{data_set}\n"))
    return [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)]


def test_every_data_set_of_the_page_is_tried():
    headings = re.findall(r"^### (.*)$", PAGE.read_text(), re.M)
    assert headings == list(PUBLISHED)
    assert all(len(shown(name)) == len(PUBLISHED[name][2]) for name in headings)


@pytest.mark.parametrize("data_set", PUBLISHED)
def test_the_lines_of_the_page_find_people_pictures_and_groups(tmp_path, data_set):
    tree, tables, runs = PUBLISHED[data_set]
    make_folder(tmp_path, tree)
    for name, text in tables.items():
        (tmp_path / name).write_text(text)
    for given, expected in zip(shown(data_set), runs, strict=True):
        config = settings.complete({"root": str(tmp_path), "faces": {"parser_weights": "parser.pt"}} | given)
        source = settings.chosen_source(config)
        rows = list(source.rows())
        assert source.identities() == sorted(expected) and all((source.folder / row.url).is_file() for row in rows)
        counted = {name: sum(row.identity == name for row in rows) for name in expected}
        assert all(bool(row.rect) == ("rects" in given["source"]["folder"]) for row in rows)
        assert counted == {name: of_person[0] for name, of_person in expected.items()}
        known = [source.attributes().get(column, {}) for column in source.told]
        if "demographics" in given:
            match = join_people(read_demographics(tmp_path / given["demographics"]), expected)
            assert not fault_of_match(match) and not len(match.of("table"))
            known += [match.people[column].to_dict() for column in match.people]
        for name, (_, *words) in expected.items():
            assert [column[name] for column in known] == words
