"""Duplicates over all shards: fingerprints and comparisons against plain loops, and what is left out."""

import csv
import dataclasses
import io

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leam import maps, storage
from leam.analyses.retention import table as retention_table
from leam.faces import duplicates
from leam.faces.fingerprints import fingerprints, thumbnail
from leam.sample import rendering
from shards import make_faces, write_faces


def copies(crop: np.ndarray) -> dict[str, np.ndarray]:
    """The same picture again: compressed, made smaller and large again, brighter, grey, and moved by half a pixel."""

    def jpeg(quality: int) -> np.ndarray:
        packed = io.BytesIO()
        Image.fromarray(crop).save(packed, "JPEG", quality=quality)
        return np.array(Image.open(packed))

    side = crop.shape[0]
    small = cv2.resize(crop, (side // 2, side // 2), interpolation=cv2.INTER_AREA)
    moved = cv2.warpAffine(crop, np.array([[1, 0, 0.5], [0, 1, 0.5]]), (side, side), borderMode=cv2.BORDER_REPLICATE)
    return {
        "jpeg 90": jpeg(90),
        "jpeg 20": jpeg(20),
        "half": cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC),
        "bright": (crop * 0.8 + 40).astype(np.uint8),
        "grey": cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB),
        "moved": moved,
    }


@pytest.fixture(scope="module")
def rendered():
    """Three people, four pictures each: (3, 4, 112, 112, 3)."""
    people = [rendering.render_person(5, person, [0, 1, 2, 3], 112) for person in range(3)]
    return np.array([[scene.image for scene in scenes] for scenes in people])


def prints_of(pictures):
    return fingerprints(np.stack([thumbnail(picture) for picture in pictures]))


def plain_fingerprint(picture):
    """Cell by cell; sides that 16 divides."""
    grey = picture @ np.array([0.299, 0.587, 0.114])
    (down, across), cells = (np.array(grey.shape) // 16), []
    for y in range(16):
        rows = grey[y * down : (y + 1) * down]
        cells.append([rows[:, x * across : (x + 1) * across].mean() for x in range(16)])
    down = [cells[y + 1][x] - cells[y][x] for y in range(15) for x in range(16)]
    across = [cells[y][x + 1] - cells[y][x] for y in range(16) for x in range(15)]
    return np.array(down + across) / sum(step**2 for step in down + across) ** 0.5


def test_fingerprints_against_loops_over_cells(rendered):
    pictures = [*rendered[0], rendered[1, 0][:96], rendered[1, 0][:, 16:]]  # and two that are not square
    for picture, fingerprint in zip(pictures, prints_of(pictures), strict=True):
        np.testing.assert_allclose(fingerprint, plain_fingerprint(picture), atol=2e-3)  # OpenCV rounds each pixel


def test_cells_that_cut_pixels_have_their_share_of_them():
    levels = np.arange(24, dtype=np.uint8) * 10
    picture = np.broadcast_to(levels[:, None, None], (24, 24, 3)).copy()  # cells of one and a half pixels
    expected = [10 / 3, 50 / 3, 100 / 3]  # (0 + 10 / 2) / 1.5, (10 / 2 + 20) / 1.5, (30 + 40 / 2) / 1.5
    np.testing.assert_allclose(thumbnail(picture)[:3], np.repeat(expected, 16).reshape(3, 16), rtol=1e-5)


def test_flat_crops_are_alike_and_like_nothing_else(rendered):
    flat = np.stack([np.full((112, 112, 3), value, np.uint8) for value in (0, 128)])
    found = prints_of([*flat, *rendered[0]])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert found[0] @ found[1] == pytest.approx(1)
    assert np.abs(found[2:] @ found[0]).max() < 0.5


def test_copies_are_alike_and_other_pictures_are_not(rendered):
    crops = rendered.reshape(-1, 112, 112, 3)
    prints = prints_of(crops)
    for crop, fingerprint in zip(crops, prints, strict=True):
        again = prints_of(copies(crop).values())
        assert (again @ fingerprint).min() > duplicates.ALIKE
    apart = (prints @ prints.T)[~np.eye(len(prints), dtype=bool)]
    assert apart.max() < duplicates.ALIKE - 0.05


def joined(alike):
    """Union-find, one pair after another: (n, n) of what is directly alike -> sets of what is alike."""
    parent = list(range(len(alike)))

    def root(i):
        return i if parent[i] == i else root(parent[i])

    for i in range(len(alike)):
        for j in range(i):
            if alike[i][j]:
                parent[root(i)] = root(j)
    return [{j for j in range(len(alike)) if root(j) == root(i)} for i in range(len(alike))]


def check_compared(crops, pictures, people, alike):
    """The comparison against a loop over each image and those that are alike to it; what stays is returned."""
    others, number = duplicates.compare(crops, pictures, people)
    for i, together in enumerate(joined(alike)):
        across = sorted(j for j in together if people[j] != people[i])
        earlier = sorted(j for j in together if j < i)
        assert others[i] == [*across, *earlier, -1][0] and number[i] == len(together) - 1
        if others[i] >= 0 and people[others[i]] == people[i]:
            assert others[others[i]] < 0  # what stays of this person
    return np.flatnonzero(others < 0).tolist()


@pytest.mark.parametrize("compared", [2**25, 90, 20])
def test_the_comparison_against_a_double_loop(monkeypatch, compared):
    """Pictures alike and crops at least of one face, or crops alike: correlations of 0, 0.7 and 1 of each."""
    monkeypatch.setattr(duplicates, "COMPARED", compared)  # rows at a time: all, a few, or one
    rng = np.random.default_rng(3)
    n, stay = 40, set()
    for people_count in (1, 4, 30):
        people, places = rng.integers(0, people_count, n), rng.integers(0, (10, 4), (n, 2)).T
        crops, pictures = (np.eye(11, dtype=np.float32)[place] for place in places)
        crops[::3] = 0.7 * crops[::3] + 0.51**0.5 * np.eye(11, dtype=np.float32)[10]
        same_face, same_crop = ([[a @ b > least for b in crops] for a in crops] for least in (0.6, 0.9))
        alike = [
            [same_crop[i][j] or (places[1][i] == places[1][j] and same_face[i][j]) for j in range(n)] for i in range(n)
        ]
        assert any(len(each) > sum(row) for each, row in zip(joined(alike), alike, strict=True))  # there is a chain
        stay.add(len(check_compared(crops, pictures, people, alike)))
    assert max(stay) > min(stay) > 0


def turned(*degrees):
    """Fingerprints on a circle: those 18.19 degrees apart correlate by 0.95."""
    return np.array([[np.cos(np.radians(angle)), np.sin(np.radians(angle))] for angle in degrees], np.float32)


@pytest.mark.parametrize(
    ("degrees", "people", "others", "copies"),
    [
        (
            (0, 15, 30),
            "aaa",
            [-1, 0, 0],
            [2, 2, 2],
        ),  # a chain: the third is not alike to the first but through the second
        ((30, 0, 15), "aaa", [-1, 0, 0], [2, 2, 2]),  # the last one joins two that stood apart
        ((0, 15, 30), "aab", [2, 2, 0], [2, 2, 2]),  # whose end is another person's
        ((0, 30, 15), "aab", [2, 2, 0], [2, 2, 2]),
        ((0, 90, 15, 30, 105), "abbaa", [2, 4, 0, 2, 1], [2, 1, 2, 2, 1]),
        ((0, 20, 40), "aaa", [-1, -1, -1], [0, 0, 0]),
    ],
)
def test_chains_of_copies_are_one(degrees, people, others, copies):
    prints = turned(*degrees)
    found = duplicates.compare(prints, prints, np.array(list(people)))
    assert (found[0].tolist(), found[1].tolist()) == (others, copies)
    near = [[abs(a - b) < 18.19 for b in degrees] for a in degrees]
    check_compared(prints, prints, np.array(list(people)), near)


def test_a_picture_that_is_dropped_is_named_for_no_other(tmp_path):
    """Chains of near pictures of one person: all rows name the one that stays."""
    base, last = np.random.default_rng(1).normal(0, 1, (2, 16, 16))
    steps = [128 + 25 * (np.cos(angle) * base + np.sin(angle) * last) for angle in np.radians([0, 14, 28, 90])]
    pictures = [
        np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, 2).repeat(7, 0).repeat(7, 1) for grey in steps
    ]
    prints = prints_of(pictures)
    assert prints[0] @ prints[2] < duplicates.ALIKE < min(prints[0] @ prints[1], prints[1] @ prints[2])
    faces = write_faces(tmp_path / "faces.h5", [person("ann", *pictures)])
    duplicates.find_duplicates([], [faces], tmp_path / "found.csv")
    found = duplicates.read_duplicates(tmp_path / "found.csv")
    assert found == {("ann", "01"): "duplicate of 00", ("ann", "02"): "duplicate of 00"}
    with storage.open_shard(faces, "faces") as shard:
        assert duplicates.kept_images(shard, duplicates.leave_out(shard, tmp_path / "found.csv")) == {
            "ann": ["00", "03"]
        }


def person(identity, *crops):
    """Faces of these pictures."""
    blank = make_faces(identity, len(crops))
    return dataclasses.replace(blank, crops=np.stack(crops))


def write_ledger(path, rows):
    with storage.create_shard(path, "images") as shard:
        names = storage.LEDGER_COLUMNS
        storage.write_ledger(
            shard, [dict(zip(names, (who, image, "", *rest), strict=True)) for who, image, *rest in rows]
        )
    return path


@pytest.fixture
def crowd(tmp_path, rendered):
    """Two shards. ann has a picture, its JPEG and two more; bob ann's third as the same file, and a placeholder that
    cat has in another size; cat also two of her own; dan two files whose crops are the same to the byte."""
    ann, bob, cat = rendered
    placeholder = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8).repeat(7, 0).repeat(7, 1)
    people = [
        person("ann", ann[0], copies(ann[0])["jpeg 20"], ann[1], ann[2]),
        person("bob", ann[1], placeholder, bob[0]),
        person("cat", cat[0], copies(placeholder)["half"], cat[1]),
        person("dan", bob[1], bob[1], bob[2]),
    ]
    faces = [write_faces(tmp_path / f"faces{k}.h5", people[2 * k : 2 * k + 2]) for k in range(2)]
    rows = [(who.identity, image, "ok", f"{who.identity}{image}") for who in people for image in who.images]
    rows = [(*row[:3], "shared") if row[:2] in (("ann", "02"), ("bob", "00")) else row for row in rows]
    rows += [("ann", "09", "duplicate of 03", "ann03"), ("dan", "08", "missing", "")]
    images = [write_ledger(tmp_path / f"images{k}.h5", rows[k::2]) for k in range(2)]
    duplicates.find_duplicates(images, faces, tmp_path / "duplicates.csv")
    return faces, tmp_path / "duplicates.csv"


def test_each_copy_is_named_with_whose_it_is_and_how_alike(crowd):
    with open(crowd[1], newline="") as file:
        rows = {(row["identity"], row["image"]): row for row in csv.DictReader(file)}
    named = {key: (row["other_identity"], row["other_image"], row["alike"], row["copies"]) for key, row in rows.items()}
    assert named == {
        ("ann", "01"): ("ann", "00", "near", "1"),
        ("ann", "02"): ("bob", "00", "file", "1"),
        ("ann", "09"): ("ann", "03", "file", "1"),
        ("bob", "00"): ("ann", "02", "file", "1"),
        ("bob", "01"): ("cat", "01", "near", "1"),
        ("cat", "01"): ("bob", "01", "near", "1"),
        ("dan", "01"): ("dan", "00", "pixels", "1"),
    }
    assert all(0.95 <= float(row["correlation"]) <= 1 for row in rows.values())
    assert float(rows["dan", "01"]["correlation"]) == 1 > float(rows["ann", "01"]["correlation"])


def test_of_a_person_the_first_copy_stays_and_of_a_picture_of_several_people_none(crowd):
    faces, table = crowd
    kept, left_out = {}, []
    for path in faces:
        with storage.open_shard(path, "faces") as shard:
            rows = duplicates.leave_out(shard, table)
            kept |= duplicates.kept_images(shard, rows)
            left_out += [(row.identity, row.image, row.reason) for row in rows]
            assert duplicates.leave_out(shard, None) == []
    assert kept == {"ann": ["00", "03"], "cat": ["00", "02"], "dan": ["00", "02"]}
    assert sorted(left_out) == [
        ("ann", "01", "duplicate of 00"),
        ("ann", "02", "under another person too: bob, 00"),
        ("bob", "", storage.TOO_FEW),
        ("bob", "00", "under another person too: ann, 02"),
        ("bob", "01", "under another person too: cat, 01"),
        ("bob", "02", storage.TOO_FEW),
        ("cat", "01", "under another person too: bob, 01"),
        ("dan", "01", "duplicate of 00"),
    ]


def test_what_is_left_out_has_no_maps_and_is_accounted_for(crowd, tmp_path, narrow):
    faces, table = crowd
    narrow = dataclasses.replace(narrow, layers=narrow.layers[:1])
    settings, outputs = maps.MapSettings(grid=28, batch_images=8), []
    for together in (False, True):
        output = tmp_path / f"{together}.h5"
        maps.compute_maps(faces[0], output, narrow, settings, duplicates=table, together=together)
        with storage.open_shard(output, "maps") as shard:
            assert storage.identities(shard) == ["ann"] and storage.read_images(shard, "ann") == ["00", "03"]
            assert "left_out_sha256" in shard.attrs and storage.read_discarded(shard) == []
            outputs.append(storage.read_maps(shard, "ann"))
    with storage.open_shard(faces[0], "faces") as shard:
        alone = write_faces(tmp_path / "alone.h5", [storage.read_faces(shard, "ann", ["00", "03"])])
    maps.compute_maps(alone, tmp_path / "alone_maps.h5", narrow, settings)
    with storage.open_shard(tmp_path / "alone_maps.h5", "maps") as shard:
        expected = storage.read_maps(shard, "ann")
        assert "left_out_sha256" not in shard.attrs
    for found in outputs:
        np.testing.assert_allclose(found.cosine, expected.cosine, rtol=1e-6)
        np.testing.assert_array_equal(found.counts["loss"], expected.counts["loss"])

    links = [(who, f"{k:02d}") for who, count in (("ann", 4), ("bob", 3)) for k in range(count)]
    pd.DataFrame(links, columns=["identity", "image"]).to_parquet(tmp_path / "links.parquet")
    for given, expected in (
        (table, {"linked": 7, "kept": 2, "discarded": 5}),
        (None, {"linked": 7, "kept": 7, "discarded": 0}),
    ):
        names = [
            tmp_path / "links.parquet",
            [str(faces[0])],
            {},
            tmp_path / "retention.csv",
            tmp_path / "discarded.csv",
        ]
        retention_table.tabulate_retention(*names, duplicates=given)
        total = pd.read_csv(tmp_path / "retention.csv").set_index("identity").loc["all"]
        assert {name: total[name] for name in expected} == expected
        discarded = pd.read_csv(tmp_path / "discarded.csv", dtype=str, keep_default_na=False)
        assert len(discarded[discarded["image"] != ""]) == expected["discarded"]
        assert set(discarded["stage"]) <= {"duplicates"}


def test_nobody_at_all_is_an_empty_table(tmp_path):
    faces, images = write_faces(tmp_path / "faces.h5", []), write_ledger(tmp_path / "images.h5", [])
    duplicates.find_duplicates([images], [faces], tmp_path / "none.csv")
    assert (tmp_path / "none.csv").read_text() == ",".join(duplicates.DUPLICATE_COLUMNS) + "\n"
    assert duplicates.read_duplicates(tmp_path / "none.csv") == {}


def test_names_of_people_are_text_whatever_they_look_like(tmp_path, rendered):
    people = [person(name, rendered[0][0], rendered[k][1]) for k, name in enumerate(("001", 'NA, "x"', "a\nb"))]
    faces = write_faces(tmp_path / "faces.h5", people)
    images = write_ledger(
        tmp_path / "images.h5", [(who.identity, image, "ok", "") for who in people for image in who.images]
    )
    duplicates.find_duplicates([images], [faces], tmp_path / "found.csv")
    found = duplicates.read_duplicates(tmp_path / "found.csv")
    assert set(found) == {("001", "00"), ('NA, "x"', "00"), ("a\nb", "00")}
    assert found["001", "00"] == 'under another person too: NA, "x", 00'


def test_a_copy_is_known_by_its_picture_where_its_face_was_found_a_little_off(tmp_path, rendered):
    """And one photograph of two people is no copy: their crops differ. Nor is another crop of another picture."""
    picture, moved = rendered[0][0], np.roll(rendered[0][0], (3, 2), axis=(0, 1))
    assert duplicates.SAME_FACE < prints_of([picture, moved])[0] @ prints_of([picture, moved])[1] < duplicates.ALIKE
    group, other = thumbnail(rendered[1][0]), thumbnail(rendered[1][1])
    crops = {"ann": moved, "bob": rendered[2][0], "cat": moved, "dan": picture}
    thumbnails = {"ann": group, "bob": group, "cat": other, "dan": group}
    people = [
        dataclasses.replace(person(name, crop), thumbnails=thumbnails[name][None]) for name, crop in crops.items()
    ]
    faces = write_faces(tmp_path / "faces.h5", [people[0], people[1], people[3]])
    more = write_faces(tmp_path / "more.h5", [dataclasses.replace(people[2], crops=rendered[2][1][None])])
    duplicates.find_duplicates([], [faces, more], tmp_path / "found.csv")
    assert set(duplicates.read_duplicates(tmp_path / "found.csv")) == {("ann", "00"), ("dan", "00")}
