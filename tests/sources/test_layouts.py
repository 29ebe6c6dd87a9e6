"""leam.sources: FG-NET and CelebAMask-HQ as they are published, from files to the images shard."""

import numpy as np
import pytest
from PIL import Image

from drawn import draw, png
from leam import images, links, storage
from leam.faces import landmarks
from leam.regions import CELEBAMASK_HQ, REGIONS
from leam.sample import people, rendering
from leam.sources import celebamask_hq, source_of


def imported(tmp_path, source):
    """The ledger by image and the pictures of a source."""
    table, output = tmp_path / "links.parquet", tmp_path / "images.h5"
    links.list_links(table, source=source_of(source), identities_per_job=100)
    images.import_images(table, output, shard="00000", source=source_of(source))
    with storage.open_shard(output, "images") as shard:
        ledger = {row["image"]: row["status"] for row in storage.read_ledger(shard)}
        return ledger, {name: storage.read_pictures(shard, name) for name in storage.identities(shard)}


# ------------------------------------------------------------------------------------------------------------ fg-net


def write_points(path, points):
    """As FG-NET has them: version, count, braces."""
    rows = "\n".join(f"{x:.3f} {y:.3f}" for x, y in points)
    path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{rows}\n}}\n")


@pytest.fixture
def fgnet(tmp_path):
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
    source = {"kind": "fgnet", "path": str(root / "images"), "points": None, "landmark_order": "ibug"}
    return source | {"min_images": 2, "max_images": None, "seed": 0}, points


def test_fgnet_points_are_found_whatever_their_case_and_may_be_missing(tmp_path, fgnet):
    source, points = fgnet
    ledger, people = imported(tmp_path, source)
    assert people["001"].images == ["001A02.JPG", "001A05.JPG", "001a29b.jpg"]
    found = people["001"].landmarks
    np.testing.assert_allclose(found[0], points - 1, atol=1e-3)  # .pts files count pixels from 1
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[2], points, atol=1e-3)
    assert ledger["002A16.JPG"] == "landmarks unreadable: expected (68, 2) numbers, found (5, 2)"
    assert ledger["002A19.JPG"] == "ok" and people["001"].labels is None


def test_fgnet_points_in_a_folder_of_their_own(tmp_path, fgnet):
    source, _ = fgnet
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "FGNET" / "points" / "001a02.pts").rename(tmp_path / "elsewhere" / "001a05.pts")
    _, people = imported(tmp_path, source | {"points": str(tmp_path / "elsewhere")})
    assert np.isfinite(people["001"].landmarks).all((1, 2)).tolist() == [False, True, False]


def test_fgnets_own_points_are_translated(tmp_path, fgnet):
    source, points = fgnet
    _, people = imported(tmp_path, source | {"landmark_order": "fgnet"})
    np.testing.assert_allclose(people["001"].landmarks[0], landmarks.ibug_of_fgnet(points - 1), atol=0.01)


def test_a_link_out_of_the_folder_is_refused(fgnet):
    source = source_of(fgnet[0])
    for image, url in [("../x.jpg", "../x.jpg"), ("001A02.JPG", "../001A02.JPG"), ("..", "..")]:
        with pytest.raises(images.UnusablePictureError, match="not the name of a file"):
            images.picture_file(source, "001", image, url)


# ----------------------------------------------------------------------------------------------------- celebamask-hq


@pytest.fixture
def celebamask(tmp_path):
    """Two pictures of one person, number 3 and 2001, twice as large as their masks, which are sample label maps."""
    root = tmp_path / "CelebAMask-HQ"
    (root / celebamask_hq.PICTURES).mkdir(parents=True)
    rendered = {}
    for number in (3, 2001):
        scene = rendering.render(people.draw_identity(5, number), people.draw_picture(5, number, 0), 64)
        large = Image.fromarray(scene.image).resize((128, 128))
        large.save(root / celebamask_hq.PICTURES / f"{number}.jpg", "JPEG")
        masks = root / celebamask_hq.MASKS / str(number // 2000)
        masks.mkdir(parents=True)
        for label in np.unique(scene.regions[scene.regions > 0]):
            part = celebamask_hq.PARTS[CELEBAMASK_HQ.index(REGIONS[label]) - 1]
            mask = Image.fromarray(np.where(scene.regions == label, 255, 0).astype(np.uint8))
            mask.convert("RGB" if part == "hair" else "L").save(masks / f"{number:05d}_{part}.png")
        rendered[number] = scene.regions
    (root / celebamask_hq.MAPPING).write_text("idx orig_idx orig_file\n3 0 000001.jpg\n2001 1 000002.jpg\n")
    (tmp_path / "identity_CelebA.txt").write_text("000001.jpg 7\n000002.jpg 7\n")
    source = {"kind": "celebamask_hq", "path": str(root), "identities": str(tmp_path / "identity_CelebA.txt")}
    return source | {"mapping": None, "min_images": 2, "max_images": None, "seed": 0}, rendered


def test_part_masks_become_a_label_map_of_the_pictures_size(tmp_path, celebamask):
    source, rendered = celebamask
    ledger, people = imported(tmp_path, source)
    assert set(ledger.values()) == {"ok"}
    assert people["00007"].images == ["2001.jpg", "3.jpg"] and people["00007"].landmarks is None
    for number, encoded in zip((2001, 3), people["00007"].labels, strict=True):
        labels = images.decode_labels(encoded, (128, 128))
        assert np.array_equal(labels, rendered[number].repeat(2, 0).repeat(2, 1))


def test_later_parts_lie_over_earlier_ones(tmp_path, celebamask):
    source, _ = celebamask
    masks = tmp_path / "CelebAMask-HQ" / celebamask_hq.MASKS / "0"
    for part in ("skin", "l_eye", "cloth"):
        (masks / f"00003_{part}.png").write_bytes(png(np.full((64, 64), 255, np.uint8)))
    (masks / "00003_cloth.png").write_bytes(png(np.tri(64, dtype=np.uint8) * 255))
    for other in set(masks.glob("00003_*")) - {masks / f"00003_{part}.png" for part in ("skin", "l_eye", "cloth")}:
        other.unlink()
    labels = images.decode_labels(imported(tmp_path, source)[1]["00007"].labels[1], (128, 128))
    assert labels[100, 10] == REGIONS.index("cloth") and labels[10, 100] == REGIONS.index("le")


def test_masks_that_are_missing_or_broken_are_reasons(tmp_path, celebamask):
    source, _ = celebamask
    root = tmp_path / "CelebAMask-HQ" / celebamask_hq.MASKS
    for mask in (root / "1").iterdir():
        mask.unlink()
    (root / "0" / "00003_skin.png").write_bytes(b"no picture")
    ledger, people = imported(tmp_path, source)
    assert ledger["2001.jpg"] == "label map missing"
    assert ledger["3.jpg"].startswith("label map unreadable: 00003_skin.png: ")
    assert people == {}
