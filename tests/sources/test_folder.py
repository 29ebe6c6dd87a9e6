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


def test_folder_lists_pictures_only(tmp_path, folder):
    found = table(tmp_path, people_of(folder))
    assert list(found.columns) == list(links.LINK_COLUMNS)
    assert list(zip(found.identity, found.image, found.url, strict=True)) == [
        ("ann", "01.JPG", "ann/01.JPG"),
        ("ann", "02.png", "ann/02.png"),
        ("bob", "a.jpeg", "bob/a.jpeg"),
        ("bob", "b.webp", "bob/b.webp"),
        ("empty", "", ""),
    ]
    assert (found[["rect", "height", "width"]] == "").all().all()


def test_own_label_suffix_is_no_picture(folder):
    (folder / "ann" / "02_LABEL.PNG").write_bytes(b"")
    assert people_of(folder, label_suffix="_label.png").images("ann") == ["01.JPG", "02.png"]


def test_include_filters_and_must_exist(tmp_path, folder):
    assert set(table(tmp_path, people_of(folder, include=["bob"])).identity) == {"bob"}
    with pytest.raises(ValueError, match="no subfolder 'carl'"):
        people_of(folder, include=["bob", "carl"]).identities()
    with pytest.raises(ValueError, match="holds no identities"):
        people_of(folder, include=[]).identities()


@pytest.mark.parametrize("name, message", [("absent", "does not exist"), ("bare", "holds no identities")])
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
