"""leam.faces: everything of a face in one frame, and every image accounted for."""

import io
import json
import logging

import cv2
import numpy as np
import pytest
from PIL import Image

from leam import faces, images, storage
from leam.faces import FaceSettings
from leam.regions import REGIONS

# A drawn face, in fractions of the picture's side: five discs, each of its own colour and region.
PLACES = np.array([[0.36, 0.40], [0.62, 0.42], [0.50, 0.56], [0.41, 0.71], [0.61, 0.70]])
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255]], np.uint8)
LABELS = [REGIONS.index(name) for name in ("re", "le", "nose", "llip", "ulip")]
RADIUS = 0.045


def places_px(size):
    """The discs' centres in pixels: fraction 0 is the left edge of the first pixel."""
    return PLACES * size - 0.5


def landmarks_px(size):
    """68 landmarks: eye outlines around the first two discs, the other discs, and a jaw around them all."""
    angles = np.linspace(0, 2 * np.pi, 7)[:6]
    ring = 0.03 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    landmarks = 0.5 + 0.27 * np.stack([np.cos(np.arange(68)), np.sin(np.arange(68))], axis=1)
    landmarks[36:42], landmarks[42:48] = PLACES[0] + ring, PLACES[1] + ring
    landmarks[[30, 48, 54]] = PLACES[2:]
    return (landmarks * size - 0.5).astype(np.float32)


def draw(size):
    """The drawn face: (size, size, 3) with smooth edges, and its label map (size, size)."""
    fine = 4 if size < 600 else 2
    y, x = (np.mgrid[: size * fine, : size * fine] + 0.5) / (size * fine)
    picture = np.full((*x.shape, 3), 90, np.float32)
    for place, colour in zip(PLACES, COLOURS, strict=True):
        picture[np.hypot(x - place[0], y - place[1]) < RADIUS] = colour
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    labels = np.full((size, size), REGIONS.index("face"), np.uint8)
    for place, label in zip(PLACES, LABELS, strict=True):
        labels[np.hypot(x - place[0], y - place[1]) < RADIUS] = label
    picture = picture.reshape(size, fine, size, fine, 3).mean(axis=(1, 3))
    return np.rint(picture).astype(np.uint8), labels


def png(pixels):
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "PNG")
    return packed.getvalue()


def pictures_of(identity, sizes, labels=True, landmarks=True):
    drawn = [draw(size) for size in sizes]
    return storage.Pictures(
        identity=identity,
        images=[f"{number:02d}" for number in range(len(sizes))],
        encoded=[png(picture) for picture, _ in drawn],
        labels=[png(labels) for _, labels in drawn] if labels else None,
        landmarks=np.stack([landmarks_px(size) for size in sizes]) if landmarks else None,
    )


def write_images(path, people, failed=()):
    """An images shard of ``people``; ``failed`` are further rows of the ledger: identity, image, status."""
    rows = [(person.identity, image, "ok") for person in people for image in person.images]
    with storage.create_shard(path, "images") as shard:
        for person in people:
            storage.write_pictures(shard, person)
        storage.write_ledger(
            shard,
            [
                {"identity": identity, "image": image, "url": "", "status": status, "sha256": ""}
                for identity, image, status in [*rows, *failed]
            ],
        )
    return path


def parse(tmp_path, people, failed=(), **settings):
    """Run the stage; returns {identity: faces} and {(identity, image): reason}."""
    output = tmp_path / "faces.h5"
    faces.parse_faces(write_images(tmp_path / "images.h5", people, failed), output, settings)
    with storage.open_shard(output, "faces") as shard:
        reasons = {(row.identity, row.image): row.reason for row in storage.read_discarded(shard)}
        return {name: storage.read_faces(shard, name) for name in storage.identities(shard)}, reasons


def centroid(weights):
    y, x = np.indices(weights.shape)
    return np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()


def disc_centroids(crop):
    """(5, 2): where each colour is, weighing mixed pixels by how much of the colour they hold."""
    distance = np.linalg.norm(crop[..., None, :].astype(float) - COLOURS, axis=-1)  # (S, S, 5)
    grey = np.linalg.norm(COLOURS.astype(float) - 90, axis=-1)
    return np.stack([centroid((1 - distance / grey).clip(0)[..., k] ** 2) for k in range(5)])


def region_centroids(regions):
    return np.stack([centroid(regions == label) for label in LABELS])


# ---------------------------------------------------------------------------------------------------------- register

MODES = {
    "whole": {"detector": "none", "crop_mode": "whole"},
    "box": {"detector": "given", "crop_mode": "box", "crop_margin": 0.2},
    "aligned": {"detector": "given", "crop_mode": "aligned"},
}


@pytest.mark.parametrize("size", [90, 112, 224, 500, 1200])
@pytest.mark.parametrize("mode", MODES)
def test_image_regions_and_landmarks_stay_in_register(tmp_path, mode, size):
    found, _ = parse(tmp_path, [pictures_of("ann", [size, size])], crop_size=112, **MODES[mode])
    crop = found["ann"]
    assert crop.crops.shape == (2, 112, 112, 3)
    assert abs(disc_centroids(crop.crops[0]) - crop.points[0]).max() < 0.5
    assert abs(region_centroids(crop.regions[0]) - crop.points[0]).max() < 0.5
    assert np.allclose(crop.landmarks[0, [30, 48, 54]], crop.points[0, 2:], atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_two_sizes_of_a_picture_give_the_same_crop(tmp_path, mode):
    crop = parse(tmp_path, [pictures_of("ann", [336, 672])], crop_size=112, **MODES[mode])[0]["ann"]
    assert np.allclose(crop.landmarks[0], crop.landmarks[1], atol=1e-3)
    assert np.allclose(crop.points[0], crop.points[1], atol=1e-3)
    difference = abs(crop.crops[0].astype(int) - crop.crops[1])
    assert difference.mean() < 0.2
    assert difference.max() <= 24
    assert (crop.regions[0] == crop.regions[1]).mean() > 0.99


def test_a_picture_of_the_crops_size_is_the_crop(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
    labels = np.random.default_rng(1).integers(0, 19, (2, 112, 112)).astype(np.uint8)
    landmarks = np.stack([landmarks_px(112)] * 2)
    person = storage.Pictures("ann", ["0", "1"], [*map(png, noise)], [*map(png, labels)], landmarks)
    crop = parse(tmp_path, [person], crop_size=112, **MODES["whole"])[0]["ann"]
    assert np.array_equal(crop.crops, noise)
    assert np.array_equal(crop.regions, labels)
    assert np.array_equal(crop.landmarks, landmarks)


def test_whole_picture_is_padded_to_a_square():
    wide = np.full((40, 80, 3), 200, np.uint8)
    frame = faces.crop_frame(faces.face_of_picture(wide.shape)[0], wide.shape, FaceSettings(crop_mode="whole"))
    crop = faces.warp(wide, frame, 112)
    assert (crop[28:84] == 200).all()  # to the very edge: no dark rim where bilinear samples leave the picture
    assert not crop[:28].any()
    assert not crop[84:].any()


def test_shrinking_averages_instead_of_skipping_pixels():
    stripes = np.zeros((896, 896, 3), np.uint8)
    stripes[:, ::2] = 200
    crop = faces.warp(stripes, faces.square_frame([447.5, 447.5], 896, 112), 112)
    assert (crop == 100).all()


def test_integer_reduction_is_the_mean_of_each_block():
    picture = np.random.default_rng(0).integers(0, 256, (336, 336, 3), np.uint8)
    crop = faces.warp(picture, faces.square_frame([167.5, 167.5], 336, 112), 112)
    blocks = picture.reshape(112, 3, 112, 3, 3).mean(axis=(1, 3))
    assert abs(crop - blocks).max() <= 0.5


def test_rotation_agrees_with_opencv():
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8), (0, 0), 3)
    frame = np.vstack([cv2.getRotationMatrix2D((60, 60), 20, 1.1), [0, 0, 1]])
    ours, theirs = faces.warp(picture, frame, 120), cv2.warpAffine(picture, frame[:2], (120, 120))
    assert abs(ours.astype(int) - theirs)[30:-30, 30:-30].max() <= 3  # the corners lie outside


def test_five_points_land_on_the_arcface_template():
    turn = np.deg2rad(25)
    rotation = 1.7 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = faces.ARCFACE_POINTS @ rotation.T + (40, -7)
    assert np.allclose(
        faces.transform(points, faces.similarity_frame(points, faces.ARCFACE_POINTS)), faces.ARCFACE_POINTS
    )


@pytest.mark.filterwarnings("ignore")
def test_alignment_is_insightfaces():
    face_align = pytest.importorskip("insightface.utils.face_align")
    assert np.allclose(faces.ARCFACE_POINTS, face_align.arcface_dst)
    points = places_px(300) + np.random.default_rng(0).normal(0, 5, (5, 2))
    for size in (112, 224):
        settings = FaceSettings(crop_mode="aligned", crop_size=size)
        ours = faces.crop_frame(faces.Face(np.zeros(4), points), (300, 300), settings)
        assert np.allclose(ours[:2], face_align.estimate_norm(points, size), atol=1e-4)


def test_resized_pictures_keep_their_coordinates():
    small = faces.reduce_picture(draw(600)[0], 150)
    frame = faces._resize_frame((600, 600), small.shape)
    assert small.shape == (150, 150, 3)
    assert abs(disc_centroids(small) - faces.transform(places_px(600), frame)).max() < 0.1
    assert faces.reduce_picture(small, 150) is small


def test_window_keeps_the_pictures_own_pixels():
    picture = np.random.default_rng(0).integers(0, 256, (100, 140, 3), np.uint8)
    frame, side = faces.window(faces.Face(np.array([30.2, 20.7, 60.1, 55.9])), 3.0, 960)
    cut = faces.warp(picture, frame, side)
    x, y = np.rint(faces.transform(np.zeros(2), frame)).astype(int)
    assert frame[0, 0] == 1
    assert np.array_equal(
        cut[max(y, 0) : y + 100, max(x, 0) : x + 140], picture[max(-y, 0) : side - y, max(-x, 0) : side - x]
    )
    assert faces.window(faces.Face(np.array([0, 0, 2000, 2000])), 3.0, 960)[1] == 960


def test_points_of_landmarks_have_the_pictures_left_first():
    points = faces.five_points(landmarks_px(200).astype(float))
    assert np.allclose(points, places_px(200), atol=1e-3)
    assert points[0, 0] < points[1, 0]


# ----------------------------------------------------------------------------------------------------- what is known


def test_without_landmarks_rows_are_nan_unless_required(tmp_path):
    people = [pictures_of("ann", [112, 112], landmarks=False)]
    found, reasons = parse(tmp_path, people, **MODES["whole"])
    assert np.isnan(found["ann"].landmarks).all()
    assert np.isnan(found["ann"].points).all()
    assert reasons == {}
    found, reasons = parse(tmp_path, people, landmarks_required=True, **MODES["whole"])
    assert found == {}
    assert reasons == {("ann", ""): storage.TOO_FEW, ("ann", "00"): "no landmarks", ("ann", "01"): "no landmarks"}


def test_given_landmarks_can_be_left_out(tmp_path):
    found, _ = parse(tmp_path, [pictures_of("ann", [112, 112])], landmarks="none", **MODES["box"])
    assert np.isnan(found["ann"].landmarks).all()
    assert np.isfinite(found["ann"].points).all()


@pytest.mark.parametrize("value", [np.nan, 1e30, -500])
def test_landmarks_that_are_no_face(tmp_path, value):
    person = pictures_of("ann", [112, 112, 112])
    person.landmarks[1, 5] = value
    found, reasons = parse(tmp_path, [person], **MODES["box"])
    assert found["ann"].images == ["00", "02"]
    assert reasons == {("ann", "01"): "no face"}


def test_aligned_crop_needs_points(tmp_path):
    person = pictures_of("ann", [112, 112, 112])
    person.landmarks[1] = np.nan
    reasons = parse(tmp_path, [person], detector="none", crop_mode="aligned")[1]
    assert reasons == {("ann", "01"): "no landmarks"}


# -------------------------------------------------------------------------------------------------------- accounting


class StubDetector:
    """As many faces as a picture's side says: 101 one face, 102 two, 100 none; the box is 40 x 50 px."""

    def __call__(self, pictures):
        box = np.array([20.0, 20.0, 60.0, 70.0])
        return [[faces.Face(box, places_px(len(p))) for _ in range(len(p) - 100)] for p in pictures]


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setattr(faces, "load_models", lambda settings, device: faces.Models(detector=StubDetector()))
    monkeypatch.setattr(FaceSettings, "weights", lambda self: {})
    return {"detector": "retinaface"}


def test_every_link_is_kept_or_discarded_with_its_reason(tmp_path, stub, caplog):
    caplog.set_level(logging.INFO, logger="leam.faces")
    ann = pictures_of("ann", [101, 100, 102, 101, 101])
    ann.encoded[3] = ann.encoded[3][:-50]
    bob, eve = pictures_of("bob", [101, 100]), pictures_of("eve", [101, 101], labels=False)
    failed = [
        ("ann", "x", "missing"),
        ("ann", "y", "duplicate of 00"),
        ("zoe", "", "no images"),
        ("yan", "0", "missing"),
    ]
    found, reasons = parse(tmp_path, [ann, bob, eve], failed, **stub)
    assert {name: person.images for name, person in found.items()} == {"ann": ["00", "04"]}
    assert reasons.pop(("ann", "03")).startswith("unreadable: ")
    assert reasons == {
        ("ann", "01"): "no face",
        ("ann", "02"): "several faces",
        ("ann", "x"): "missing",
        ("ann", "y"): "duplicate of 00",
        ("bob", ""): storage.TOO_FEW,
        ("bob", "00"): storage.TOO_FEW,
        ("bob", "01"): "no face",
        ("eve", ""): storage.TOO_FEW,
        ("eve", "00"): "no label map",
        ("eve", "01"): "no label map",
        ("yan", ""): storage.TOO_FEW,
        ("yan", "0"): "missing",
        ("zoe", ""): storage.TOO_FEW,
    }
    assert caplog.messages == [
        "ann: 2 of 7 images kept (1 duplicate, 1 missing, 1 no face, 1 several faces, 1 unreadable)",
        f"bob: 0 of 2 images kept (1 {storage.TOO_FEW}, 1 no face)",
        "eve: 0 of 2 images kept (2 no label map)",
        "yan: 0 of 1 images kept (1 missing)",
        "zoe: 0 of 0 images kept",
    ]


def test_small_faces_are_discarded_by_the_shorter_side(tmp_path, stub):
    people = [pictures_of("ann", [101, 101])]
    assert set(parse(tmp_path, people, min_face_px=40, **stub)[1]) == set()
    assert parse(tmp_path, people, min_face_px=41, **stub)[1][("ann", "00")] == "too small: 40 px < 41"


def test_a_lost_link_is_an_error_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(faces, "parse_identity", lambda *args: (None, {}))
    with pytest.raises(storage.StorageError, match="2 links, but 0 accounted for"):
        parse(tmp_path, [pictures_of("ann", [112, 112])], **MODES["box"])
    assert not (tmp_path / "faces.h5").exists()


def test_batches_are_bounded_and_complete(monkeypatch):
    monkeypatch.setattr(faces, "BATCH_PX", 2 * 64 * 64)
    person = pictures_of("ann", [64] * 5)
    person.encoded[2] = b""
    reasons = {}
    batches = [[picture.image for picture in batch] for batch in faces._decoded(person, reasons)]
    assert batches == [["00", "01"], ["03", "04"]]
    assert list(reasons) == ["02"]
    shapes = [(10, 10, 3), (20, 10, 3), (10, 10, 3)]
    assert list(faces._batches_of_one_size(shapes)) == [[0, 2], [1]]


def test_exif_orientation_turns_the_picture_before_all_else(tmp_path):
    upright, labels = draw(112)
    exif = Image.Exif()
    exif[0x0112] = 6
    packed = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(packed, "PNG", exif=exif)
    person = storage.Pictures("ann", ["0", "1"], [packed.getvalue()] * 2, [png(labels)] * 2, None)
    crop = parse(tmp_path, [person], **MODES["whole"])[0]["ann"]
    assert np.array_equal(crop.crops[0], upright)
    assert np.array_equal(crop.regions[0], labels)


def test_two_runs_write_the_same_bytes(tmp_path):
    people = [pictures_of("ann", [112, 150]), pictures_of("bob", [200, 90])]
    parse(tmp_path, people, **MODES["aligned"])
    first = storage.sha256(tmp_path / "faces.h5")
    parse(tmp_path, people, **MODES["aligned"])
    assert storage.sha256(tmp_path / "faces.h5") == first


def test_the_file_says_how_it_was_made(tmp_path):
    path = write_images(tmp_path / "images.h5", [pictures_of("ann", [112, 112])])
    faces.parse_faces(path, tmp_path / "f.h5", {"crop_size": 64}, attributes={"config_sha256": "abc"})
    with storage.open_shard(tmp_path / "f.h5", "faces") as shard:
        assert shard.attrs["config_sha256"] == "abc"
        assert json.loads(shard.attrs["settings"])["crop_size"] == 64
        assert "numpy" in json.loads(shard.attrs["versions"])


# ------------------------------------------------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    "section, message",
    [
        ({"detector": "mtcnn"}, r"faces\.detector: expected one of given, retinaface, none; found 'mtcnn'"),
        ({"regions": None}, r"faces\.regions: expected one of given, pyfacer"),
        ({"crop_mode": "tight"}, r"faces\.crop_mode"),
        ({"crop_size": 0}, r"faces\.crop_size: expected a number from 8 to 4096, found 0"),
        ({"crop_size": 112.5}, r"faces\.crop_size: expected whole pixels"),
        ({"crop_margin": -1}, r"faces\.crop_margin"),
        ({"detector_threshold": "high"}, r"faces\.detector_threshold"),
        ({"sise": 112}, r"faces\.sise: no such setting; there are detector, "),
        ({"detector": "none", "landmarks": "none", "crop_mode": "aligned"}, r"faces\.crop_mode: .* five points"),
        ({"detector": "none", "landmarks": "none", "regions": "pyfacer"}, r"faces\.regions: .* five points"),
        ({"detector": "retinaface"}, r"faces\.detector_weights: expected the path"),
    ],
)
def test_faulty_settings_are_one_clear_error(tmp_path, section, message):
    with pytest.raises(ValueError, match=message):
        parse(tmp_path, [], **section)


def test_missing_weights_are_found_before_the_first_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "decode", lambda *args, **kwargs: pytest.fail("a picture was decoded"))
    with pytest.raises(FileNotFoundError, match=r"faces\.landmark_weights: no such file: .*nowhere\.dat"):
        parse(tmp_path, [], landmarks="dlib", landmark_weights=str(tmp_path / "nowhere.dat"))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "name, section",
    [
        ("detector_weights", {"detector": "retinaface"}),
        ("parser_weights", {"regions": "pyfacer"}),
        ("landmark_weights", {"landmarks": "dlib"}),
    ],
)
def test_files_that_are_no_weights_are_named(tmp_path, name, section):
    pytest.importorskip("dlib" if section.get("landmarks") else "facer")
    (tmp_path / "weights").write_bytes(b"no weights at all")
    with pytest.raises(ValueError, match=rf"faces\.{name}: .*weights"):
        parse(tmp_path, [], **section, **{name: str(tmp_path / "weights")})


def test_a_detector_file_that_lacks_layers_is_refused(tmp_path):
    torch, _ = pytest.importorskip("torch"), pytest.importorskip("facer")
    torch.save({"body.stage1.0.0.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"faces\.detector_weights: .*lacks"):
        parse(tmp_path, [], detector="retinaface", detector_weights=str(tmp_path / "part.pth"))
