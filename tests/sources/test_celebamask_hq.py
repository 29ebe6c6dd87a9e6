"""leam.sources.celebamask_hq: CelebAMask-HQ as it is published, from its lists to the images shard."""

import numpy as np
import pytest
from PIL import Image

from drawn import png
from leam import images
from leam.regions import CELEBAMASK_HQ, REGIONS
from leam.sample import rendering
from leam.sources import celebamask_hq, source_of
from listed import imported, make_folder, table


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
    source = {"kind": "celebamask_hq", "path": str(root), "identity_file": str(people), "mapping_file": None}
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
        source_of(celebamask | {"identity_file": str(tmp_path / "absent")}).identities()
    text = people.read_text()
    people.write_text(text + "000001.jpg\n")
    with pytest.raises(ValueError, match=r"line 6: expected a CelebA file and a number; found '000001\.jpg'"):
        source_of(celebamask).identities()
    people.write_text("200999.jpg 1\n")
    with pytest.raises(ValueError, match=r"identity_CelebA\.txt have no identity of any picture in"):
        source_of(celebamask).identities()


def test_pictures_without_an_identity_are_left_out_by_name(tmp_path, celebamask):
    people = tmp_path / "identity_CelebA.txt"
    people.write_text(people.read_text().replace("200122.jpg 2880\n", ""))
    source = source_of(celebamask | {"min_images": 1})
    assert ("2.jpg", "02880") not in [(row.image, row.identity) for row in source.rows()]
    unused = dict(source.unused())
    assert unused["CelebA-HQ-img/2.jpg"].startswith("no identity of it in CelebA-HQ-to-CelebA-mapping.txt and identity")


@pytest.fixture
def published(tmp_path):
    """Two pictures of one person, number 3 and 2001, twice as large as their masks, which are sample label maps."""
    root = tmp_path / "CelebAMask-HQ"
    (root / celebamask_hq.PICTURES).mkdir(parents=True)
    rendered = {}
    for number in (3, 2001):
        scene = rendering.render_person(5, number, [0], 64)[0]
        large = Image.fromarray(scene.image).resize((128, 128))
        large.save(root / celebamask_hq.PICTURES / f"{number}.jpg", "JPEG")
        masks = root / celebamask_hq.MASKS / str(number // 2000)
        masks.mkdir(parents=True)
        for label in np.unique(scene.regions[scene.regions > 0]):
            part = celebamask_hq.MASK_PARTS[CELEBAMASK_HQ.index(REGIONS[label]) - 1]
            mask = Image.fromarray(np.where(scene.regions == label, 255, 0).astype(np.uint8))
            mask.convert("RGB" if part == "hair" else "L").save(masks / f"{number:05d}_{part}.png")
        rendered[number] = scene.regions
    (root / celebamask_hq.MAPPING).write_text("idx orig_idx orig_file\n3 0 000001.jpg\n2001 1 000002.jpg\n")
    (tmp_path / "identity_CelebA.txt").write_text("000001.jpg 7\n000002.jpg 7\n")
    source = {"kind": "celebamask_hq", "path": str(root), "identity_file": str(tmp_path / "identity_CelebA.txt")}
    return source | {"mapping_file": None, "min_images": 2, "max_images": None, "seed": 0}, rendered


def test_part_masks_become_a_label_map_of_the_pictures_size(tmp_path, published):
    source, rendered = published
    ledger, people = imported(tmp_path, source_of(source))
    assert set(ledger.values()) == {"ok"}
    assert people["00007"].images == ["2001.jpg", "3.jpg"] and people["00007"].landmarks is None
    for number, encoded in zip((2001, 3), people["00007"].labels, strict=True):
        labels = images.decode_labels(encoded, (128, 128))
        assert np.array_equal(labels, rendered[number].repeat(2, 0).repeat(2, 1))


def test_later_parts_lie_over_earlier_ones(tmp_path, published):
    source, _ = published
    masks = tmp_path / "CelebAMask-HQ" / celebamask_hq.MASKS / "0"
    for part in ("skin", "l_eye", "cloth"):
        (masks / f"00003_{part}.png").write_bytes(png(np.full((64, 64), 255, np.uint8)))
    (masks / "00003_cloth.png").write_bytes(png(np.tri(64, dtype=np.uint8) * 255))
    for other in set(masks.glob("00003_*")) - {masks / f"00003_{part}.png" for part in ("skin", "l_eye", "cloth")}:
        other.unlink()
    labels = images.decode_labels(imported(tmp_path, source_of(source))[1]["00007"].labels[1], (128, 128))
    assert labels[100, 10] == REGIONS.index("cloth") and labels[10, 100] == REGIONS.index("le")


def test_masks_that_are_missing_or_broken_are_reasons(tmp_path, published):
    source, _ = published
    root = tmp_path / "CelebAMask-HQ" / celebamask_hq.MASKS
    for mask in (root / "1").iterdir():
        mask.unlink()
    (root / "0" / "00003_skin.png").write_bytes(b"no picture")
    ledger, people = imported(tmp_path, source_of(source))
    assert ledger["2001.jpg"] == "label map missing"
    assert ledger["3.jpg"].startswith("label map unreadable: 00003_skin.png: ")
    assert people == {}
