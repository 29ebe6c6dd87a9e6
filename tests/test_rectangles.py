"""leam.rectangles: what a table of rectangles says of which picture, and what of it is of none."""

import random
import unicodedata

import pytest

from leam.rectangles import HEADING, VGGFACE2, fault_of_rectangles, open_rectangles, place_rectangles
from leam.sources.base import LINE_TOO_LONG, LONGEST_LINE, OUTSIDE_PICTURE, REPEATED, Row

OWN, LOOSE = ",".join(HEADING), ",".join(VGGFACE2)
JOSE = "José"
APART = unicodedata.normalize("NFD", JOSE)
PEOPLE = {"ann": ["01.jpg", "02.png"], "007": ["1.jpg"], "empty": [""]}


def write(path, *lines, encoding="utf-8"):
    path.write_bytes("\n".join(lines).encode(encoding))
    return path


def place(path, people=PEOPLE):
    """{(identity, image): rect} and [(line, reason)]."""
    rows = [Row(identity, image) for identity, images in people.items() for image in images]
    placed, rejected = place_rectangles(open_rectangles(path), rows)
    assert [row[:2] for row in placed] == [row[:2] for row in rows]
    return {row[:2]: row.rect for row in placed if row.rect}, rejected


def match(path, people=PEOPLE):
    return fault_of_rectangles(open_rectangles(path), people, people.get)


# --------------------------------------------------------------------------------------------------------- what it says


@pytest.mark.parametrize(
    "lines",
    [
        (OWN, "ann,01.jpg,1,2,30,40.5", "007,1.jpg,-3,0,5,6", ""),
        ("\ufeff" + OWN + "\r", "ann,01.jpg,1,2,30,40.5\r", "007,1.jpg,-3,0,5,6\r"),
        ("top,left,identity,image,right,bottom", "2, 1,ann,01.jpg,30,40.5", "", "0,-3,007,1.jpg,5,6"),
        (" identity, image,left,top,right,bottom", '"ann","01.jpg",1,2,30,40.5', '007,1.jpg,"-3",0,5,6'),
    ],
)
def test_edges_are_taken_as_they_stand(tmp_path, lines):
    found = {("ann", "01.jpg"): "1 2 30 40.5", ("007", "1.jpg"): "-3 0 5 6"}
    assert place(write(tmp_path / "t.csv", *lines)) == (found, [])
    assert match(tmp_path / "t.csv") is None


def test_vggface2_s_own_table_has_corner_and_size_and_names_without_suffix(tmp_path):
    path = write(tmp_path / "loose.csv", LOOSE, '"ann/01",1,2,29,38.5', "ann/02,0,0,3,4", '"007/1",-3,0,8,6')
    found = {("ann", "01.jpg"): "1 2 30 40.5", ("ann", "02.png"): "0 0 3 4", ("007", "1.jpg"): "-3 0 5 6"}
    assert place(path) == (found, []) and match(path) is None
    twice = {"ann": ["01.jpg", "01.png"]}  # the table cannot say which
    assert set(place(path, twice)[0]) == {("ann", "01.jpg"), ("ann", "01.png")}


@pytest.mark.parametrize(("in_table", "on_disk"), [(JOSE, APART), (APART, JOSE)])
def test_names_are_compared_in_one_form_of_unicode(tmp_path, in_table, on_disk):
    people = {on_disk: [f"{on_disk}.jpg"]}
    path = write(tmp_path / "t.csv", OWN, f"{in_table},{in_table}.jpg,1,2,3,4")
    assert place(path, people) == ({(on_disk, f"{on_disk}.jpg"): "1 2 3 4"}, []) and match(path, people) is None
    path = write(tmp_path / "t.csv", LOOSE, f"{in_table}/{in_table},1,2,2,2")
    assert place(path, people) == ({(on_disk, f"{on_disk}.jpg"): "1 2 3 4"}, [])


def test_names_are_text_and_may_be_marked_against_spreadsheets(tmp_path):
    people = {"=dan": ["+1.jpg"], "NA": ["null"], "7": ["1.jpg"], "a,b": ['x"y.jpg']}
    lines = ("'=dan,'+1.jpg,1,2,3,4", "NA,null,1,2,3,5", "007,1.jpg,1,2,3,6", '"a,b","x""y.jpg",1,2,3,7')
    found, rejected = place(write(tmp_path / "t.csv", OWN, *lines), people)
    assert found == {("=dan", "+1.jpg"): "1 2 3 4", ("NA", "null"): "1 2 3 5", ("a,b", 'x"y.jpg'): "1 2 3 7"}
    assert rejected == [(4, "identity: nobody of this name in the run, in 1 row")]


# ------------------------------------------------------------------------------------------------- what is of no use

BAD = {
    "ann,01.jpg,1,2,3": "5 fields: expected 6",
    "ann,01.jpg,1,2,3,4,": "7 fields: expected 6",
    "ann,01.jpg,1,2,x,4": "edges: expected numbers of pixels",
    "ann,01.jpg,1,2,,4": "edges: expected numbers of pixels",
    "ann,01.jpg,1,2,nan,4": "edges: expected numbers of pixels",
    "ann,01.jpg,-inf,2,3,4": "edges: expected numbers of pixels",
    "ann,01.jpg,1,2,3,1e999": "edges: expected numbers of pixels",
    "ann,01.jpg,1,2,3,1e7": "edges: expected numbers of pixels",
    "ann,01.jpg,3,2,3,4": "edges: expected left < right and top < bottom",
    "ann,01.jpg,1,5,3,4": "edges: expected left < right and top < bottom",
    "ann,01.jpg,-9,2,0,4": OUTSIDE_PICTURE,
    "ann,03.jpg,1,2,3,4": "image: no picture of this name",
    "ann,01.JPG,1,2,3,4": "image: no picture of this name",
    "007,1.jpg,9,9,10,10": REPEATED,
    '"ann,01.jpg,1,2,3,4': "1 fields: expected 6",
    "x" * (LONGEST_LINE + 1): LINE_TOO_LONG,
    '"' + 140_000 * "x" + '",01.jpg,1,2,3,4': LINE_TOO_LONG,
    "ann,,1,2,3,4": "image: no picture of this name",
    "ann\0,01.jpg,1,2,3,4": "identity: nobody of this name in the run, in 1 row",
    "bob,01.jpg,x,y": "4 fields: expected 6",
    "empty,,1,2,3,4": "image: no picture of this name",
}


def test_a_row_of_no_use_is_named_by_its_line_and_the_rest_is_read(tmp_path):
    lines = [OWN, "007,1.jpg,1,2,3,4", *BAD, "carl,1.jpg,0,0,1,1", "carl,2.jpg,not,read,for,him", "ann,01.jpg,5,6,7,8"]
    found, rejected = place(write(tmp_path / "t.csv", *lines))
    assert found == {("007", "1.jpg"): "1 2 3 4", ("ann", "01.jpg"): "5 6 7 8"}
    expected = [*BAD.values(), "identity: nobody of this name in the run, in 2 rows"]
    assert rejected == list(enumerate(expected, start=3))


def test_rows_of_vggface2_of_no_use(tmp_path):
    bad = {
        "ann/01,1,2,0,4": "edges: expected left < right and top < bottom",
        "ann/01,1,2,3,-4": "edges: expected left < right and top < bottom",
        "ann/01,-9,2,9,4": OUTSIDE_PICTURE,
        "ann/01.jpg,1,2,3,4": "image: no picture of this name",
        "ann_01,1,2,3,4": "identity: nobody of this name in the run, in 1 row",
    }
    found, rejected = place(write(tmp_path / "t.csv", LOOSE, *bad, "ann/01,1,2,3,4"))
    assert found == {("ann", "01.jpg"): "1 2 4 6"} and rejected == list(enumerate(bad.values(), start=2))


def test_a_row_that_is_no_utf8_harms_itself_alone(tmp_path):
    path = write(tmp_path / "t.csv", OWN, f"{JOSE},1.jpg,1,2,3,4", "ann,01.jpg,1,2,3,4", encoding="latin-1")
    assert place(path) == ({("ann", "01.jpg"): "1 2 3 4"}, [(2, "line: expected UTF-8")])


def test_what_does_not_match_is_counted_in_the_log(tmp_path, caplog):
    caplog.set_level("INFO", logger="leam.rectangles")
    lines = (OWN, "ann,01.jpg,1,2,3,4", "ann,09.jpg,1,2,3,4", "ann,01.jpg,x,2,3,4", "bob,1.jpg,1,2,3,4")
    people = {"ann": ["01.jpg", "02.png", "notes.txt"]}
    place(path := write(tmp_path / "t.csv", *lines), people)
    assert caplog.messages == [
        f"{path}: rectangles of 1 of 2 pictures",
        "pictures without a rectangle: 1, such as 'ann/02.png'",
        f"{path}: rows without use: 2, such as line 3: image: no picture of this name",
        f"{path}: rows of people who are not in the run: 1, such as line 5",
    ]
    caplog.clear()
    place(write(path, OWN, "ann,01.jpg,1,2,3,4"), {"ann": ["01.jpg"]})
    assert caplog.messages == [f"{path}: rectangles of 1 of 1 pictures"]


@pytest.mark.parametrize(
    "heading",
    [
        "",
        "identity,image,left,top,right",
        "identity;image;left;top;right;bottom",
        "identity,image,left,top,width,height",
        "identity,image,left,top,right,bottom,left",
        "Identity,image,left,top,right,bottom",
        "ann,01.jpg,1,2,3,4",
        "NAME_ID,X,Y,W",
        "PK\x03\x04\0\0",
        '"identity',
        "x" * 1_000_000,
    ],
)
def test_another_heading_is_one_sentence(tmp_path, heading):
    path = write(tmp_path / "t.csv", heading, "ann,01.jpg,1,2,3,4")
    with pytest.raises(ValueError) as refused:
        open_rectangles(path)
    said = str(refused.value)
    assert said.startswith(f"{path}: the heading is {heading[:200]!r}; expected '{OWN}', or VGGFace2's '{LOOSE}'")
    assert "\n" not in said and len(said) < len(str(path)) + 400


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), "there is none below the heading"),
        (("7,1.jpg,1,2,3,4", "8,1.jpg,1,2,3,4"), "the first, line 2: identity '7', image '1.jpg'"),
        (("", "ann,1.jpg,1,2,3,4"), "the first, line 3: identity 'ann', image '1.jpg'"),
        (
            ("ann,01.jpg,3,2,3,4",),
            "the first, line 2: identity 'ann', image '01.jpg', edges: expected left < right and top < bottom",
        ),
        (("ann;01.jpg;1;2;3;4",), "the first, line 2: 1 fields: expected 6"),
    ],
)
def test_a_table_of_other_pictures_is_one_sentence(tmp_path, lines, said):
    path = write(tmp_path / "t.csv", OWN, *lines)
    assert match(path) == f"{path}: no row is of a picture of this run, of '007', 'ann', 'empty', ...; {said}"


def test_a_match_asks_for_no_more_people_than_it_needs(tmp_path):
    """A folder on a slow file system is not listed while the run is planned."""
    path = write(tmp_path / "t.csv", OWN, "bob,1.jpg,1,2,3,4", "ann,01.jpg,1,2,3,4", "007,1.jpg,1,2,3,4")
    asked = []
    assert (
        fault_of_rectangles(open_rectangles(path), PEOPLE, lambda name: [*map(str, asked.append(name) or PEOPLE[name])])
        is None
    )
    assert asked == ["ann"]


def test_every_row_of_a_damaged_table_is_accounted_for(tmp_path):
    """Rows that are used, rejected by line, or counted under somebody who is not in the run: 400 tables of damage."""
    names = {f"p{k}": [f"{k}.jpg", f"{JOSE}.png"] for k in range(5)}
    good = [f"{name},{image},1,2,3,4" for name, images in names.items() for image in images]
    for seed in range(400):
        draw = random.Random(seed)
        rows = draw.choices(good, k=12)
        text = bytearray("\n".join(rows).encode())
        for _ in range(draw.randint(0, 12)):
            at = draw.randrange(len(text))
            text[at : at + draw.randint(0, 2)] = draw.choice(
                [b"", b"\n", b",", b'"', b"\xff", b"\0", b"'", b"\r", b"9e9"]
            )
        path = tmp_path / "t.csv"
        path.write_bytes(OWN.encode() + b"\n" + text)
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[1:]
        found, rejected = place(path, names)
        strangers = [int(reason.split()[-2]) for _, reason in rejected if reason.startswith("identity: nobody")]
        used = len(found) + len(rejected) - len(strangers) + sum(strangers)
        assert used == len([line for line in lines if line]), (seed, found, rejected)
