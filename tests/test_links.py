"""leam.links and leam.sources: people, shards and the table."""

import os
import subprocess
import sys

import pandas as pd
import pytest

from leam import links
from leam.files import sha256
from leam.sources import base, celebamask_hq, source_of


def make_folder(root, tree):
    for identity, names in tree.items():
        (root / identity).mkdir(parents=True)
        for name in names:
            (root / identity / name).write_bytes(b"")
    return root


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


def people_of(folder, include=None, label_suffix=None):
    """A source of the kind folder."""
    return source_of({"kind": "folder", "path": folder, "include": include, "label_suffix": label_suffix})


def table(tmp_path, source, per_job=1):
    links.list_links(tmp_path / "links.parquet", source=source, identities_per_job=per_job)
    return pd.read_parquet(tmp_path / "links.parquet")


def test_folder_lists_pictures_only(tmp_path, folder):
    found = table(tmp_path, people_of(folder))
    assert list(found.columns) == list(links.COLUMNS)
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
    assert set(table(tmp_path, people_of(folder, ["bob"])).identity) == {"bob"}
    with pytest.raises(ValueError, match="no subfolder 'carl'"):
        people_of(folder, ["bob", "carl"]).identities()
    with pytest.raises(ValueError, match="holds no identities"):
        people_of(folder, []).identities()


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


def test_sample_has_every_picture_of_every_person(tmp_path):
    found = table(tmp_path, source_of({"kind": "sample", "identities": 3, "images": 2}), per_job=2)
    assert list(found.identity + "/" + found.image) == [f"s00{i}/0{k}" for i in range(3) for k in range(2)]
    assert list(found.shard) == ["00000"] * 4 + ["00001"] * 2
    assert (found.url == "").all()


def test_sample_names_sort_as_they_count():
    names = source_of({"kind": "sample", "identities": 1001}).identities()
    assert names == sorted(names)
    assert names[-1] == "s1000"


def test_unknown_source_is_named():
    with pytest.raises(ValueError, match="'imdb': expected one of 'celebamask_hq', 'fgnet', 'folder'"):
        source_of({"kind": "imdb"})


@pytest.mark.parametrize("n, per_job, expected", [(1, 1, 1), (10, 3, 4), (9, 3, 3), (5, 100, 1)])
def test_shards_are_contiguous_and_even(n, per_job, expected):
    assert links.count_shards(n, per_job) == expected
    shards = links.assign_shards([f"i{k:02d}" for k in range(n)][::-1], per_job)
    assert sorted(set(shards.values())) == links.shard_names(expected)
    in_order = [shards[identity] for identity in sorted(shards)]
    assert in_order == sorted(in_order)
    assert max(in_order.count(name) for name in in_order) <= per_job


@pytest.mark.parametrize("n, per_job", [(0, 1), (3, 0), (3, 1.5), (3, True)])
def test_shard_counts_are_checked(n, per_job):
    with pytest.raises(ValueError, match="whole number of at least 1"):
        links.count_shards(n, per_job)


def test_two_runs_write_the_same_bytes(tmp_path, folder):
    table(tmp_path, people_of(folder))
    first = sha256(tmp_path / "links.parquet")
    table(tmp_path, people_of(folder))
    assert sha256(tmp_path / "links.parquet") == first


def test_import_is_light():
    code = "import sys; from leam import links, sources; found = [*map(sources.source_class, sources.kinds())]; "
    code += "sys.exit(len(found) < 5 or bool({'pandas', 'pyarrow', 'torch', 'h5py', 'PIL', 'cv2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


def test_listing_digest_follows_added_pictures(folder):
    source = people_of(folder)
    before = source.fingerprint()
    assert source.fingerprint() == before
    (folder / "bob" / "z.png").write_bytes(b"")
    os.utime(folder / "bob", (1, 1))  # file systems with coarse times would not show it
    assert source.fingerprint() != before
    assert source_of({"kind": "sample"}).fingerprint() == ""


# ----------------------------------------------------------------------------------------------- published data sets

FGNET = [
    "001A02.JPG",
    "001a29b.jpg",
    "001A05.JPG",
    "002A16.JPG",
    "002A03.jpg",
    "003A61.JPG",
    "readme.txt",
    "x01A02.JPG",
]


@pytest.fixture
def fgnet(tmp_path):
    make_folder(tmp_path / "FGNET", {"images": FGNET})
    return {"kind": "fgnet", "path": str(tmp_path / "FGNET" / "images"), "min_images": 2, "max_images": None, "seed": 0}


def test_fgnet_subjects_are_in_the_names_whatever_their_case(tmp_path, fgnet):
    found = table(tmp_path, source_of(fgnet))
    assert list(zip(found.identity, found.image, found.shard, strict=True)) == [
        ("001", "001A02.JPG", "00000"),
        ("001", "001A05.JPG", "00000"),
        ("001", "001a29b.jpg", "00000"),
        ("002", "002A03.jpg", "00001"),
        ("002", "002A16.JPG", "00001"),
    ]
    assert (found.url == found.image).all()
    assert source_of(fgnet).identities() == ["001", "002"]


def test_images_are_drawn_with_the_seed_and_the_identity(fgnet):
    people = {f"{k:03d}": [f"{k:03d}A{age:02d}.JPG" for age in range(20)] for k in range(10)}
    chosen = [base.choose_people(people, fgnet | {"max_images": 5, "seed": seed}) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert all(len(group) == 5 and group == sorted(group) for group in chosen[0].values())
    assert len({tuple(name[4:6] for name in group) for group in chosen[0].values()}) > 5
    fewer = base.choose_people({k: people[k] for k in ("003", "004")}, fgnet | {"max_images": 5})
    assert fewer["003"] == chosen[0]["003"]  # whoever else is there
    with pytest.raises(ValueError, match="no one of 10 people has min_images, 21, pictures"):
        base.choose_people(people, fgnet | {"min_images": 21})


def test_a_folder_without_fgnet_names_is_one_clear_error(tmp_path, fgnet):
    with pytest.raises(ValueError, match=r"holds no pictures named NNNAyy\.JPG"):
        source_of(fgnet | {"path": str(tmp_path)}).identities()
    with pytest.raises(ValueError, match=r"absent.*does not exist or is no folder"):
        source_of(fgnet | {"path": str(tmp_path / "absent")}).identities()


def test_fgnet_listing_digest_follows_added_pictures(fgnet):
    before = source_of(fgnet).fingerprint()
    with open(f"{fgnet['path']}/003A30.JPG", "wb"):
        pass
    assert source_of(fgnet).fingerprint() != before


@pytest.fixture
def celebamask(tmp_path):
    root = make_folder(
        tmp_path / "CelebAMask-HQ", {"CelebA-HQ-img": ["0.jpg", "1.jpg", "2.jpg", "10.jpg", "notes.txt"]}
    )
    rows = [
        "idx  orig_idx  orig_file",
        "0 119613 119614.jpg",
        "1 99094 099095.jpg",
        "2 200121 200122.jpg",
        "10 5 000006.jpg",
    ]
    (root / celebamask_hq.MAPPING).write_text("\n".join(rows) + "\n")
    people = tmp_path / "identity_CelebA.txt"
    people.write_text("119614.jpg 2880\n099095.jpg 17\n200122.jpg 2880\n000006.jpg 17\n000001.jpg 5\n")
    source = {"kind": "celebamask_hq", "path": str(root), "identities": str(people), "mapping": None}
    return source | {"min_images": 2, "max_images": None, "seed": 0}


def test_celebamask_identities_are_celebas(tmp_path, celebamask):
    found = table(tmp_path, source_of(celebamask), per_job=5)
    assert list(zip(found.identity, found.image, found.url, strict=True)) == [
        ("00017", "1.jpg", "CelebA-HQ-img/1.jpg"),
        ("00017", "10.jpg", "CelebA-HQ-img/10.jpg"),
        ("02880", "0.jpg", "CelebA-HQ-img/0.jpg"),
        ("02880", "2.jpg", "CelebA-HQ-img/2.jpg"),
    ]


def test_faults_of_celebas_lists_are_named(tmp_path, celebamask):
    people = tmp_path / "identity_CelebA.txt"
    with pytest.raises(ValueError, match="absent"):
        source_of(celebamask | {"identities": str(tmp_path / "absent")}).identities()
    text = people.read_text()
    people.write_text(text + "000001.jpg\n")
    with pytest.raises(ValueError, match=r"line 6: expected a CelebA file and a number; found '000001\.jpg'"):
        source_of(celebamask).identities()
    people.write_text(text.replace("200122.jpg 2880\n", ""))
    with pytest.raises(ValueError, match=r"no identity of 2\.jpg in"):
        source_of(celebamask).identities()
