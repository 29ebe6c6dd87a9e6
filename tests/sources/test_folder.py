"""leam.sources.folder: which subfolders are people and which files their pictures."""

import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leam import links
from listed import imported, make_folder, people_of, table


@pytest.fixture
def folder(tmp_path):
    tree = {
        "ann": ["01.JPG", "02.png", "02.regions.png", "02.pts", ".hidden.png", "notes.txt"],
        "bob": ["b.webp", "a.jpeg"],
        "empty": [],
        ".git": ["x.png"],
    }
    root = make_folder(tmp_path / "people", tree)
    (root / "bob" / "nested").mkdir()
    (root / "bob" / "nested" / "c.jpg").write_bytes(b"")
    (root / "readme.jpg").write_bytes(b"")
    return root


def test_every_file_of_a_person_is_listed_but_label_maps(tmp_path, folder):
    found = table(tmp_path, people_of(folder))
    assert list(found.columns) == list(links.LINK_COLUMNS)
    assert list(zip(found.identity, found.image, found.url, strict=True)) == [
        ("ann", "01.JPG", "ann/01.JPG"),
        ("ann", "02.png", "ann/02.png"),
        ("ann", "02.pts", "ann/02.pts"),
        ("ann", "notes.txt", "ann/notes.txt"),
        ("bob", "a.jpeg", "bob/a.jpeg"),
        ("bob", "b.webp", "bob/b.webp"),
        ("empty", "", ""),
    ]
    assert (found[["rect", "height", "width"]] == "").all().all()


def test_what_is_of_no_use_is_listed_with_its_reason(tmp_path, folder):
    (folder / "ann" / "03.regions.png").write_bytes(b"")
    source = people_of(folder, landmark_suffix=".pts", label_suffix=".regions.png")
    links.list_links(tmp_path / "l.parquet", source=source, identities_per_job=9, unused=tmp_path / "unused.csv")
    assert (tmp_path / "unused.csv").read_text().splitlines() == [
        "file,reason",
        "ann/03.regions.png,a label map or landmarks of no picture",
        "bob/nested,a folder beside pictures",
        "readme.jpg,not in the folder of a person",
    ]


@pytest.fixture
def grouped(tmp_path):
    tree = {"African/m.1": ["a.jpg", "b.jpg"], "Indian/m.2": ["a.jpg"], "Indian/m.3": []}
    return make_folder(tmp_path / "data", tree)


def test_people_below_folders_of_groups_have_their_attributes(grouped):
    source = people_of(grouped, layout="ethnicity/identity/image")
    assert source.identities() == ["m.1", "m.2", "m.3"] and source.told == ("ethnicity",)
    assert [row[:3] for row in source.rows()] == [
        ("m.1", "a.jpg", "African/m.1/a.jpg"),
        ("m.1", "b.jpg", "African/m.1/b.jpg"),
        ("m.2", "a.jpg", "Indian/m.2/a.jpg"),
        ("m.3", "", ""),
    ]
    assert source.attributes() == {"ethnicity": {"m.1": "African", "m.2": "South Asian", "m.3": "South Asian"}}
    assert people_of(grouped, layout="*/identity/image").attributes() == {}
    assert people_of(grouped, layout="*/identity/image", include=["m.2"]).identities() == ["m.2"]


def test_folders_that_the_layout_does_not_fit_are_told(grouped):
    with pytest.raises(ValueError, match=r"layout says that 'African' is gender; allowed: female, male"):
        people_of(grouped, layout="gender/identity/image").identities()
    make_folder(grouped, {"African/m.2": ["c.jpg"]})
    with pytest.raises(ValueError, match=r"'m\.2' is a person in two folders: African/m\.2 and Indian/m\.2"):
        people_of(grouped, layout="*/identity/image").identities()


def test_each_picture_may_be_a_person(grouped):
    (grouped / "Indian" / "m.2" / "notes.txt").write_bytes(b"")
    source = people_of(grouped, layout="*/*/image")
    assert [row[:3] for row in source.rows()] == [
        (path, path.rpartition("/")[2], path) for path in ("African/m.1/a.jpg", "African/m.1/b.jpg", "Indian/m.2/a.jpg")
    ]
    assert list(source.unused()) == [("Indian/m.2/notes.txt", "no picture")]


def test_a_new_picture_is_noticed_in_every_layout(grouped):
    for layout in ("*/identity/image", "*/*/image"):
        before = people_of(grouped, layout=layout).fingerprint()
        (grouped / "Indian" / "m.2" / f"{len(layout)}.jpg").write_bytes(b"")
        assert people_of(grouped, layout=layout).fingerprint() != before


def test_names_that_are_written_in_another_form_of_unicode_are_the_same(tmp_path):
    make_folder(tmp_path / "people", {"Jose\N{COMBINING ACUTE ACCENT}": ["a.jpg"], "bob": []})
    assert people_of(tmp_path / "people", include=["Jos\N{LATIN SMALL LETTER E WITH ACUTE}"]).identities() == [
        "Jose\N{COMBINING ACUTE ACCENT}"
    ]


def test_own_label_suffix_is_no_picture(folder):
    (folder / "ann" / "02_LABEL.PNG").write_bytes(b"")
    names = people_of(folder, label_suffix="_label.png", landmark_suffix=".pts").images("ann")
    assert names == ["01.JPG", "02.png", "notes.txt"]


def test_a_folder_in_which_nobody_can_be_found_is_told_with_what_is_there(tmp_path):
    make_folder(tmp_path / "VGG-Face2" / "train", {"n000001": ["0001_01.jpg"], "n000002": ["0001_01.jpg"]})
    with pytest.raises(
        ValueError, match=r"found 0 files and 1 folders in it, and in these 2 folders and no files: is `path` a"
    ):
        people_of(tmp_path / "VGG-Face2").identities()
    with pytest.raises(ValueError, match=r"found 1 files and 0 folders in it.*: is `path` a level too low\?"):
        people_of(tmp_path / "VGG-Face2" / "train" / "n000001").identities()
    assert people_of(tmp_path / "VGG-Face2" / "train").identities() == ["n000001", "n000002"]
    make_folder(tmp_path / "texts", {"a": ["1.txt", "2.doc", "3.txt"]})
    with pytest.raises(ValueError, match=r"in these 0 folders and 2 \.txt, 1 \.doc"):
        people_of(tmp_path / "texts").identities()


def test_include_filters_and_must_exist(tmp_path, folder):
    assert set(table(tmp_path, people_of(folder, include=["bob"])).identity) == {"bob"}
    with pytest.raises(ValueError, match="has no folder of 'carl'"):
        people_of(folder, include=["bob", "carl"]).identities()
    with pytest.raises(ValueError, match="holds no pictures"):
        people_of(folder, include=["empty"]).identities()


@pytest.mark.parametrize("name, message", [("absent", "does not exist"), ("bare", "holds no pictures")])
def test_unusable_folder_is_one_clear_error(tmp_path, name, message):
    (tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match=f"{name}.*{message}.*identity/image.jpg"):
        people_of(tmp_path / name).identities()


def test_names_must_be_utf8(tmp_path):
    try:
        (tmp_path / "caf\udce9").mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(ValueError, match="expected UTF-8"):
        people_of(tmp_path).identities()


def test_listing_digest_follows_added_pictures(folder):
    source = people_of(folder)
    before = source.fingerprint()
    assert source.fingerprint() == before
    (folder / "bob" / "z.png").write_bytes(b"")
    os.utime(folder / "bob", (1, 1))  # file systems with coarse times would not show it
    assert source.fingerprint() != before


# -------------------------------------------------------------------------------------------------------- rectangles


def rects(path, *lines):
    path.write_text("\n".join(["identity,image,left,top,right,bottom", *lines, ""]))
    return str(path)


def test_rectangles_stand_in_the_list_and_rows_of_no_use_beside_it(tmp_path, folder):
    lines = "bob,a.jpeg,1,2,30,40", "bob,c.jpg,1,2,3,4", "ann,02.png,5,5,4,9", "carl,1.jpg,1,2,3,4"
    source = people_of(folder, rects=rects(tmp_path / "rects.csv", *lines))
    rejected = tmp_path / "links_rejected.csv"
    links.list_links(tmp_path / "links.parquet", source=source, identities_per_job=9, rejected=rejected)
    found = pd.read_parquet(tmp_path / "links.parquet")
    assert dict(zip(found.image, found.rect, strict=True)) == dict.fromkeys(found.image, "") | {"a.jpeg": "1 2 30 40"}
    assert (found[["height", "width"]] == "").all().all()
    assert pd.read_csv(rejected).to_records(index=False).tolist() == [
        (3, "image: no picture of this name"),
        (4, "edges: expected left < right and top < bottom"),
        (5, "identity: nobody of this name in the run, in 1 row"),
    ]
    assert source.rejects and source.files() == {"rects": str(tmp_path / "rects.csv")}
    without = people_of(folder)
    assert not without.rejects and without.files() == {} and without.faults({}) == []


def test_a_table_in_which_all_is_well_leaves_an_empty_one_beside_the_list(tmp_path, folder):
    source = people_of(folder, include=["bob"], rects=rects(tmp_path / "r.csv", "bob,a.jpeg,1,2,3,4"))
    rejected = tmp_path / "links_rejected.csv"
    links.list_links(tmp_path / "links.parquet", source=source, identities_per_job=9, rejected=rejected)
    assert rejected.read_text() == "line,reason\n"


def test_a_rectangle_comes_with_its_picture_and_one_beside_it_is_a_reason(tmp_path):
    root = make_folder(tmp_path / "people", {"ann": [], "bob": []})
    names = [("ann", "0.png"), ("ann", "1.png"), ("ann", "2.png"), ("ann", "3.png"), ("bob", "4.png")]
    for number, (person, name) in enumerate(names):
        Image.fromarray(np.full((20, 30, 3), number, np.uint8)).save(root / person / name)
    lines = "ann,0.png,1,2,3.5,4", "ann,1.png,-5,-5,90,90", "ann,2.png,30,2,40,4", "ann,3.png,1,20.5,3,40"
    ledger, found = imported(tmp_path, people_of(root, rects=rects(tmp_path / "rects.csv", *lines)))
    assert ledger == dict.fromkeys(["0.png", "1.png", "4.png"], "ok") | {
        "2.png": "rectangle outside the picture: 30 2 40 4 in 30 x 20 px",
        "3.png": "rectangle outside the picture: 1 20.5 3 40 in 30 x 20 px",
    }
    assert found["ann"].rect.tolist() == [[1, 2, 3.5, 4], [-5, -5, 90, 90]]
    assert np.isnan(found["bob"].rect).all() and found["bob"].rect.shape == (1, 4)
    assert imported(tmp_path, people_of(root))[1]["ann"].rect is None


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (None, "source.folder.rects: no such file: {path}; allowed: a CSV of rectangles"),
        (["identity,x"], "source.folder.rects: {path}: the heading is 'identity,x'; expected 'identity,image,left,"),
        (["NAME_ID,X,Y,W,H", "ann/01.JPG,1,2,3,4"], "source.folder.rects: {path}: no row is of a picture of this run"),
        (["NAME_ID,X,Y,W,H", "ann/01,1,2,3,4"], None),
    ],
)
def test_a_table_of_no_use_is_said_while_the_run_is_planned(tmp_path, folder, lines, said):
    path = tmp_path / "rects.csv"
    if lines is not None:
        path.write_text("\n".join(lines))
    faults = people_of(folder, rects=str(path)).faults({})
    assert len(faults) == (said is not None)
    assert said is None or faults[0].startswith(said.format(path=path))


def test_rectangles_of_a_folder_that_is_not_there_are_no_fault_of_theirs(tmp_path):
    path = rects(tmp_path / "rects.csv", "ann,1.jpg,1,2,3,4")
    for folder in (None, str(tmp_path / "absent")):
        assert people_of(folder, rects=path).faults({}) == []


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "device"])
def test_a_table_that_is_no_file_is_refused_at_once(tmp_path, folder, kind):
    path = tmp_path / "rects.csv"
    {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "loop": lambda: path.symlink_to(path),
        "device": lambda: path.symlink_to("/dev/zero"),
    }[kind]()
    assert people_of(folder, rects=str(path)).faults({})[0].startswith("source.folder.rects: no such file")
