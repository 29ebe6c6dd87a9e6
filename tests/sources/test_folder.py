"""leam.sources.folder: which subfolders are people and which files their pictures."""

import os

import pytest

from leam import links
from listed import make_folder, people_of, table


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
    with pytest.raises(ValueError, match="no subfolder 'carl'"):
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
