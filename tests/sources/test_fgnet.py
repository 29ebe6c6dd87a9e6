"""leam.sources.fgnet: FG-NET as it is published, from names to the images shard."""

import numpy as np
import pytest
from PIL import Image

from drawn import draw
from leam import images
from leam.faces import landmarks
from leam.sources import source_of
from listed import imported, make_folder, table

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


def write_points(path, points):
    """As FG-NET has them: version, count, braces."""
    rows = "\n".join(f"{x:.3f} {y:.3f}" for x, y in points)
    path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{rows}\n}}\n")


@pytest.fixture
def published(tmp_path):
    """Subject 001 with three pictures, two of which have points, in another case; 002 with a broken file."""
    root = tmp_path / "FGNET"
    for folder in ("images", "points"):
        (root / folder).mkdir(parents=True)
    for number, name in enumerate(["001A02.JPG", "001A05.JPG", "001a29b.jpg", "002A16.JPG", "002A19.JPG"]):
        Image.fromarray(draw(80 + number)[0]).save(root / "images" / name, "JPEG")
    points = np.random.default_rng(0).uniform(10, 70, (68, 2))
    write_points(root / "points" / "001a02.pts", points)
    write_points(root / "points" / "001A29B.PTS", points + 1)
    write_points(root / "points" / "002a16.pts", points[:5])
    source = {"kind": "fgnet", "path": str(root / "images"), "landmark_folder": None, "landmark_order": "ibug"}
    return source | {"min_images": 2, "max_images": None, "seed": 0}, points


def test_fgnet_points_are_found_whatever_their_case_and_may_be_missing(tmp_path, published):
    source, points = published
    ledger, people = imported(tmp_path, source_of(source))
    assert people["001"].images == ["001A02.JPG", "001A05.JPG", "001a29b.jpg"]
    found = people["001"].landmarks
    np.testing.assert_allclose(found[0], points - 1, atol=1e-3)  # .pts files count pixels from 1
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[2], points, atol=1e-3)
    assert ledger["002A16.JPG"] == "landmarks unreadable: expected (68, 2) numbers, found (5, 2)"
    assert ledger["002A19.JPG"] == "ok" and people["001"].labels is None


def test_fgnet_points_in_a_folder_of_their_own(tmp_path, published):
    source, _ = published
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "FGNET" / "points" / "001a02.pts").rename(tmp_path / "elsewhere" / "001a05.pts")
    _, people = imported(tmp_path, source_of(source | {"landmark_folder": str(tmp_path / "elsewhere")}))
    assert np.isfinite(people["001"].landmarks).all((1, 2)).tolist() == [False, True, False]


def test_fgnets_own_points_are_translated(tmp_path, published):
    source, points = published
    _, people = imported(tmp_path, source_of(source | {"landmark_order": "fgnet"}))
    np.testing.assert_allclose(people["001"].landmarks[0], landmarks.ibug_of_fgnet(points - 1), atol=0.01)


def test_a_link_out_of_the_folder_is_refused(published):
    source = source_of(published[0])
    for image, url in [("../x.jpg", "../x.jpg"), ("001A02.JPG", "../001A02.JPG"), ("..", "..")]:
        with pytest.raises(images.UnusablePictureError, match="not the name of a file"):
            images.picture_file(source, "001", image, url)
