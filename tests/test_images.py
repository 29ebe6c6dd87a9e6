"""leam.images: decoding, label maps, landmarks, and the ledger that accounts for every link."""

import io
import itertools
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from leam import decoding, files, images, links, storage
from leam.regions import CELEBAMASK_HQ, REGIONS
from listed import people_of


def picture(height=24, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encode(pixels, kind="PNG", **options):
    packed = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(packed, kind, **options)
    return packed.getvalue()


def pack(root, **options):
    """List and import everything in ``root`` as one shard; returns the ledger as a dict, and the pictures."""
    table, output = root.parent / "links.parquet", root.parent / "images.h5"
    limit = {name: options.pop(name) for name in ("max_megapixels",) if name in options}
    links.list_links(table, source=people_of(root, **options), identities_per_job=1000)
    images.import_images(table, output, shard="00000", source=people_of(root, **options), **limit)
    with storage.open_shard(output, "images") as shard:
        ledger = {(row["identity"], row["image"]): row["status"] for row in storage.read_ledger(shard)}
        return ledger, {name: storage.read_pictures(shard, name) for name in storage.identities(shard)}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "people" / "ann").mkdir(parents=True)
    return tmp_path / "people"


# ---------------------------------------------------------------------------------------------------------- decoding


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_undone(orientation):
    upright = picture()
    # What a camera in that orientation stores, so that displaying it gives `upright`.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(images.decode(encode(np.ascontiguousarray(stored), exif=exif)), upright)


def test_colour_modes_become_rgb():
    rgb = picture()
    grey = rgb[..., 0]
    as_rgb = np.repeat(grey[..., None], 3, 2)
    assert np.array_equal(images.decode(encode(rgb)), rgb)
    assert np.array_equal(images.decode(encode(grey)), as_rgb)
    assert np.array_equal(images.decode(encode(grey.astype(np.uint16) * 257)), as_rgb)
    assert np.array_equal(images.decode(encode(Image.fromarray(grey).convert("P"))), as_rgb)
    cmyk = images.decode(encode(Image.fromarray(np.full((8, 8, 3), (200, 100, 50), np.uint8)).convert("CMYK"), "JPEG"))
    assert abs(cmyk.astype(int) - (200, 100, 50)).max() < 8


def test_transparent_parts_are_black():
    rgba = np.dstack([picture(), np.zeros((24, 32), np.uint8)])
    rgba[:, :16, 3] = 255
    shown = images.decode(encode(rgba))
    assert np.array_equal(shown[:, :16], rgba[:, :16, :3])
    assert not shown[:, 16:].any()


@pytest.mark.parametrize(
    "encoded, reason",
    [
        (b"", "unreadable: "),
        (b"\x89PNG but no more", "unreadable: "),
        (b"what is this", "unsupported format"),
        (encode(picture(), "ICO"), "unsupported format"),
        (encode(picture())[:-40], "unreadable: "),
        (encode(picture(200, 200), "JPEG")[:3000], "unreadable: "),
    ],
)
def test_unusable_pictures_say_why(encoded, reason):
    with pytest.raises(images.UnusablePictureError, match=f"^{reason}"):
        images.decode(encoded)


@pytest.mark.parametrize("kind", ["AVIF", "BMP", "GIF", "PPM", "TIFF", "WEBP"])
def test_what_pillow_decodes_is_decoded(kind):
    rgb = np.zeros((24, 32, 3), np.uint8)
    rgb[4:12, 8:20] = 255
    options = {"lossless": True} if kind == "WEBP" else {}
    packed = io.BytesIO()
    Image.fromarray(rgb).save(packed, kind, **options)
    assert abs(images.decode(packed.getvalue()).astype(int) - rgb).max() <= (12 if kind == "AVIF" else 0)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_grey_of_any_depth_is_scaled_to_eight_bits(bits):
    deep = np.random.default_rng(0).integers(0, 2**bits, (24, 32)).astype(np.uint16)
    deep[0, 0] = 2**bits - 1
    coming = decoding.unpack("picture", encode(deep), max_megapixels=1)
    assert np.array_equal(coming.array()[..., 1], deep >> (bits - 8))
    assert coming.note() == ("" if bits == 16 else f"{bits} bits of 16")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", [2, 9, 150])
def test_a_jpeg_that_lacks_its_end_is_shown_and_said(cut, progressive):
    smooth = np.asarray(Image.fromarray(picture(30, 40)).resize((400, 320)))
    packed = io.BytesIO()
    Image.fromarray(smooth).save(packed, "JPEG", quality=90, progressive=progressive)
    whole = images.decode(packed.getvalue())
    coming = decoding.unpack("picture", packed.getvalue()[:-cut], max_megapixels=1)
    shown = coming.array()
    assert np.array_equal(shown[:300], whole[:300]) and abs(shown.astype(int) - whole).mean() < 4
    assert coming.note().startswith("lacks its end") and (progressive or " rows at most" in coming.note())
    with pytest.raises(images.UnusablePictureError, match=r"^unreadable: .*truncated"):
        images.decode(packed.getvalue()[: len(packed.getvalue()) * 3 // 4])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_size_is_checked_before_decoding(kind):
    encoded = encode(picture(), kind)
    encoded = encoded[: -len(encoded) // 3]
    with pytest.raises(images.UnusablePictureError, match=r"^unreadable"):
        images.decode(encoded)
    with pytest.raises(images.UnusablePictureError, match=r"^too large: 32 x 24 px"):
        images.decode(encoded, max_megapixels=0.0007)


# ---------------------------------------------------------------------------------------------- labels and landmarks


def test_celebamask_order_becomes_farl_order_with_left_and_right():
    every = np.arange(19, dtype=np.uint8).reshape(1, 19)
    converted = images.decode_labels(encode(every), (1, 19), "celebamask_hq")
    assert [REGIONS[label] for label in converted[0]] == list(CELEBAMASK_HQ)
    assert REGIONS[converted[0, 4]] == "le"
    assert REGIONS[converted[0, 5]] == "re"
    assert np.array_equal(images.decode_labels(encode(every), (1, 19), "farl"), every)


def test_palette_labels_are_indices():
    labels = np.array([[0, 3, 18]], np.uint8)
    indexed = Image.fromarray(labels)
    indexed.putpalette([255 - k % 256 for k in range(768)])
    assert np.array_equal(images.decode_labels(encode(indexed), (1, 3)), labels)


@pytest.mark.parametrize(
    "labels, reason",
    [
        (encode(np.full((4, 4), 19, np.uint8)), "label out of range: 19"),
        (encode(np.full((4, 4), 300, np.uint16)), "label out of range: 300"),
        (encode(np.zeros((4, 5), np.uint8)), "label map of another size: 5 x 4 px"),
        (encode(np.zeros((4, 4, 3), np.uint8)), "label map unreadable: expected one channel, found mode RGB"),
        (b"no picture", "label map unreadable: "),
    ],
)
def test_faulty_label_maps_say_why(labels, reason):
    with pytest.raises(images.UnusablePictureError, match=f"^{reason}"):
        images.decode_labels(labels, (4, 4))


LANDMARKS = np.random.default_rng(1).uniform(0, 30, (68, 2)).round(3).astype(np.float32)


def as_text(separator, first=0):
    return "".join(f"{x + first:.3f}{separator}{y + first:.3f}\n" for x, y in LANDMARKS)


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.txt", as_text(" ")),
        ("a.csv", "x,y\n" + as_text(",")),
        ("a.pts", "version: 1\nn_points: 68\n{\n" + as_text(" ", first=1) + "}\n"),
    ],
)
def test_landmark_text_formats(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert np.allclose(images.read_landmark_file(tmp_path / name), LANDMARKS, atol=1e-4)


def test_landmark_arrays(tmp_path):
    np.save(tmp_path / "a.npy", LANDMARKS)
    assert np.array_equal(images.read_landmark_file(tmp_path / "a.npy"), LANDMARKS)


def test_faulty_landmarks_say_why(tmp_path):
    np.save(tmp_path / "short.npy", LANDMARKS[:5])
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "bad.csv").write_text("1,2\n3,x\n")
    for name in ("short.npy", "objects.npy", "bad.csv"):
        with pytest.raises(images.UnusablePictureError, match=r"^landmarks unreadable: "):
            images.read_landmark_file(tmp_path / name)


def test_a_rectangle_is_scaled_by_width_and_height():
    found = images.scale_rect([10, 20, 30.5, 40], size=(100, 200), found=(50, 800))
    assert found.tolist() == [40, 10, 122, 20]
    assert images.scale_rect([1, 2, 3, 4], (7, 9), (7, 9)).tolist() == [1, 2, 3, 4]


# ------------------------------------------------------------------------------------------------------------ import


def test_every_link_is_accounted_for(root):
    good = encode(picture())
    files = {"01.png": good, "02.jpg": encode(picture(seed=2), "JPEG"), "03.png": good, "04.png": good[:-40]}
    for name, encoded in (files | {"05.png": b"text", "06.png": encode(picture(), "ICO")}).items():
        (root / "ann" / name).write_bytes(encoded)
    (root / "none").mkdir()
    (root / "gone").mkdir()
    (root / "gone" / "01.png").symlink_to(root / "nowhere")
    (root / "gone" / "02.png").write_bytes(good)
    ledger, packed = pack(root)
    assert ledger.pop(("ann", "04.png")).startswith("unreadable: ")
    assert ledger == {
        ("ann", "01.png"): "ok",
        ("ann", "02.jpg"): "ok",
        ("ann", "03.png"): "duplicate of 01.png",
        ("ann", "05.png"): "unsupported format",
        ("ann", "06.png"): "unsupported format",
        ("gone", "02.png"): "ok",
        ("none", ""): "no images",
    }
    assert packed["ann"].images == ["01.png", "02.jpg"]
    assert packed["ann"].encoded == [good, files["02.jpg"]]
    assert packed["ann"].labels is None
    assert packed["ann"].landmarks is None


def test_vanished_and_foreign_files(root, tmp_path):
    import pandas as pd

    (tmp_path / "secret.png").write_bytes(encode(picture()))
    (root / "ann" / "sub").mkdir()
    (root / "ann" / "sub" / "x.png").write_bytes(encode(picture()))
    rows = [
        ("ann", "gone.png", "ann/gone.png"),
        ("..", "secret.png", "../secret.png"),
        ("ann", "../../secret.png", "ann/../../secret.png"),
        ("ann", "sub/x.png", "ann/sub/x.png"),
        ("ann", "y.png", "../secret.png"),
        ("ann", str(tmp_path / "secret.png"), f"ann/{tmp_path / 'secret.png'}"),
    ]
    table = pd.DataFrame(rows, columns=["identity", "image", "url"])
    table = table.assign(shard="00000", rect="", height="", width="")
    table.to_parquet(tmp_path / "links.parquet")
    images.import_images(tmp_path / "links.parquet", tmp_path / "images.h5", shard="00000", source=people_of(root))
    with storage.open_shard(tmp_path / "images.h5", "images") as shard:
        statuses = [row["status"] for row in storage.read_ledger(shard)]
        assert storage.identities(shard) == []
    assert sorted(set(statuses)) == ["missing", "unreadable: not the name of a file in the source folder"]
    assert len(statuses) == len(rows)


def test_labels_come_out_in_farl_order_and_must_fit(root):
    labels = np.zeros((24, 32), np.uint8)
    labels[5:9, 4:8] = CELEBAMASK_HQ.index("le")
    for name, file in {"01": labels, "02": labels[:-1], "03": labels + 15}.items():
        (root / "ann" / f"{name}.png").write_bytes(encode(picture(seed=int(name))))
        (root / "ann" / f"{name}.mask.png").write_bytes(encode(file))
    (root / "ann" / "04.png").write_bytes(encode(picture(seed=4)))
    ledger, packed = pack(root, label_suffix=".mask.png", label_order="celebamask_hq")
    assert list(ledger.values()) == [
        "ok",
        "label map of another size: 32 x 23 px",
        "label out of range: 19",
        "label map missing",
    ]
    stored = images.decode_labels(packed["ann"].labels[0], (24, 32))
    assert np.array_equal(stored == REGIONS.index("le"), labels > 0)


def test_label_maps_of_another_size_are_resized_where_the_proportion_is_the_pictures(root):
    labels = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16) % 19
    found = images.decode_labels(encode(labels), (24, 32))
    assert np.array_equal(found, labels.repeat(2, 0).repeat(2, 1))
    assert np.array_equal(images.decode_labels(encode(found), (12, 16)), labels)
    with pytest.raises(images.UnusablePictureError, match="another size: 16 x 12 px"):
        images.decode_labels(encode(labels), (24, 36))


def upright():
    """A label map of a face: eyes above the nose above the lips."""
    labels = np.full((24, 32), REGIONS.index("face"), np.uint8)
    for name, (y, x) in {"re": (6, 8), "le": (6, 22), "nose": (11, 15), "llip": (18, 15)}.items():
        labels[y : y + 3, x : x + 3] = REGIONS.index(name)
    return labels


@pytest.mark.parametrize("upside_down", [0, 2, 3])
def test_label_maps_that_look_like_no_face_stop_the_import_where_most_do(root, caplog, upside_down):
    for number in range(4):
        (root / "ann" / f"{number}.png").write_bytes(encode(picture(seed=number)))
        labels = upright()[:: -1 if number < upside_down else 1]
        (root / "ann" / f"{number}.regions.png").write_bytes(encode(labels))
    if upside_down == 3:
        with pytest.raises(
            ValueError, match=r"3 of 4 label maps look like no face: ann/0\.png: eyes not above nose; label_"
        ):
            pack(root, label_suffix=".regions.png")
        pack(root, label_suffix=".regions.png", label_check=False)
    else:
        pack(root, label_suffix=".regions.png")
    assert ("look like no face" in caplog.text) == (upside_down > 0)


def test_landmarks_may_be_missing_but_not_broken(root):
    for name in ("01", "02", "03"):
        (root / "ann" / f"{name}.png").write_bytes(encode(picture(seed=int(name))))
    np.save(root / "ann" / "01.npy", LANDMARKS)
    np.save(root / "ann" / "03.npy", LANDMARKS[1:])
    ledger, packed = pack(root, landmark_suffix=".npy")
    assert list(ledger.values()) == ["ok", "ok", "landmarks unreadable: expected (68, 2) numbers, found (67, 2)"]
    assert np.array_equal(packed["ann"].landmarks[0], LANDMARKS)
    assert np.isnan(packed["ann"].landmarks[1]).all()


@pytest.mark.parametrize(
    "options, message", [({"label_order": "lapa"}, "label_order 'lapa'"), ({"label_suffix": ""}, "label_suffix")]
)
def test_configuration_faults_are_one_clear_error(root, options, message):
    (root / "ann" / "01.png").write_bytes(encode(picture()))
    with pytest.raises(ValueError, match=message):
        pack(root, **options)


def test_unknown_shard_and_folder_are_named(root, tmp_path):
    (root / "ann" / "01.png").write_bytes(encode(picture()))
    pack(root)
    for shard, folder, message in (("00007", root, "no links of shard '00007'"), ("00000", root / "x", "no folder")):
        with pytest.raises(ValueError, match=message):
            images.import_images(tmp_path / "links.parquet", tmp_path / "x.h5", shard=shard, source=people_of(folder))
    assert not (tmp_path / "x.h5").exists()


def test_two_runs_write_the_same_bytes(root):
    (root / "ann" / "01.png").write_bytes(encode(picture()))
    pack(root)
    first = files.sha256(root.parent / "images.h5")
    pack(root)
    assert files.sha256(root.parent / "images.h5") == first


def header(text: str) -> bytes:
    """A .npy file whose header is this text, with room for nothing behind it."""
    return b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text.encode()


def zipped() -> bytes:
    packed = io.BytesIO()
    np.savez(packed, points=np.zeros((68, 2)))
    return packed.getvalue()


HOSTILE = {
    "archive": zipped(),
    "terabytes": header("{'descr': '<f8', 'fortran_order': False, 'shape': (200000000000, 2), }") + bytes(64),
    "negative": header("{'descr': '<f8', 'fortran_order': False, 'shape': (-68, 2), }") + bytes(1088),
    "nested": header("(" * 5000 + ")" * 5000),
    "objects": header("{'descr': '|O', 'fortran_order': False, 'shape': (68, 2), }") + pickle.dumps([1] * 136),
    "code": header("__import__('os').system('touch harm')"),
    "zeros": bytes(2000),
    "large": b"1 2\n" * 300_000,
    "not text": b"\xff\xfe\x00" * 99,
}


@pytest.mark.parametrize(("name", "suffix"), list(itertools.product(HOSTILE, [".npy", ".txt", ".pts"])))
def test_a_hostile_landmark_file_is_a_reason(tmp_path, monkeypatch, name, suffix):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"a{suffix}").write_bytes(HOSTILE[name])
    with pytest.raises(images.UnusablePictureError, match=r"^landmarks unreadable") as caught:
        images.read_landmark_file(tmp_path / f"a{suffix}")
    assert len(str(caught.value).splitlines()) == 1 and not (tmp_path / "harm").exists()


@pytest.mark.parametrize("kind", ["pipe", "loop", "folder", "device"])
def test_what_is_no_file_of_landmarks_is_a_reason(tmp_path, kind):
    path = tmp_path / "a.npy"
    {
        "pipe": lambda: os.mkfifo(path),
        "loop": lambda: path.symlink_to(path),
        "folder": lambda: path.mkdir(),
        "device": lambda: path.symlink_to("/dev/zero"),
    }[kind]()
    with pytest.raises(images.UnusablePictureError, match=r"^landmarks unreadable"):
        images.read_landmark_file(path)
