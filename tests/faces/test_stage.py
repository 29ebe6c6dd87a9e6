"""leam.faces: everything of a face in one frame, and every image accounted for."""

import io
import json
import logging

import numpy as np
import pytest
from PIL import Image

from drawn import disc_centroids, draw, landmarks_px, pictures_of, places_px, png, region_centroids
from leam import files, images, model_package, storage
from leam.faces import detection, frames, parsing, polygons
from leam.faces import stage as faces_stage
from leam.faces.stage import FaceSettings
from leam.regions import REGIONS
from leam.sample import rendering
from listed import imported, people_of
from picture_server import serve_folder
from shards import rendered, write_images


def parse(tmp_path, people, failed=(), **settings):
    """Run the stage; returns {identity: faces} and {(identity, image): reason}."""
    output = tmp_path / "faces.h5"
    faces_stage.parse_faces(write_images(tmp_path / "images.h5", people, failed), output, settings)
    with storage.open_shard(output, "faces") as shard:
        reasons = {(row.identity, row.image): row.reason for row in storage.read_discarded(shard)}
        return {name: storage.read_faces(shard, name) for name in storage.identities(shard)}, reasons


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
    frame = faces_stage.crop_frame(
        detection.face_of_picture(wide.shape)[0], wide.shape, FaceSettings(crop_mode="whole")
    )
    crop = frames.warp(wide, frame, 112)
    assert (crop[28:84] == 200).all()  # to the very edge: no dark rim where bilinear samples leave the picture
    assert not crop[:28].any()
    assert not crop[84:].any()


@pytest.mark.filterwarnings("ignore")
def test_alignment_is_insightfaces():
    face_align = pytest.importorskip("insightface.utils.face_align")
    assert np.allclose(frames.ARCFACE_POINTS, face_align.arcface_dst)
    points = places_px(300) + np.random.default_rng(0).normal(0, 5, (5, 2))
    for size in (112, 224):
        settings = FaceSettings(crop_mode="aligned", crop_size=size)
        ours = faces_stage.crop_frame(detection.Face(np.zeros(4), points), (300, 300), settings)
        assert np.allclose(ours[:2], face_align.estimate_norm(points, size), atol=1e-4)


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


# --------------------------------------------------------------------------------------------- regions by landmarks


@pytest.mark.parametrize("mode", MODES)
def test_regions_by_landmarks_are_drawn_in_the_crop_and_the_file_says_what_they_cannot_have(tmp_path, mode):
    pictures, landmarks = rendered("ann", [0, 1, 2])
    pictures.labels, pictures.landmarks = None, landmarks.copy()
    pictures.landmarks[1] = np.nan
    found, reasons = parse(tmp_path, [pictures], label_maps="landmarks", crop_size=96, **MODES[mode])
    assert reasons == {("ann", "1"): "no face" if MODES[mode]["detector"] == "given" else "no landmarks"}
    for labels, points in zip(found["ann"].regions, found["ann"].landmarks, strict=True):
        assert (labels == polygons.landmark_regions(points.astype(float), 96)).mean() > 0.999  # float32 at edges
    with storage.open_shard(tmp_path / "faces.h5", "faces") as shard:
        assert storage.read_unseen_regions(shard) == list(polygons.UNSEEN)
    pictures, _ = rendered("ann", [0, 1])
    parse(tmp_path, [pictures], **MODES["whole"])
    with storage.open_shard(tmp_path / "faces.h5", "faces") as shard:
        assert storage.read_unseen_regions(shard) == [] and "unseen_regions" not in shard.attrs


def test_regions_of_the_package_s_landmarks_lie_where_the_rendered_ones_do(tmp_path):
    pictures, _ = rendered("ann", [0, 1, 2, 3])
    settings = {"landmarks": "dlib", "landmark_weights": "package", "crop_size": 96} | MODES["whole"]
    exact, drawn = (
        parse(tmp_path, [pictures], label_maps=maps, **settings)[0]["ann"] for maps in ("given", "landmarks")
    )
    assert len(drawn.images) >= 2  # dlib's own detector is trained on photographs
    for row, image in enumerate(drawn.images):
        theirs = exact.regions[exact.images.index(image)]
        for region in ("face", "nose", "llip"):
            ours, seen = (labels == REGIONS.index(region) for labels in (drawn.regions[row], theirs))
            assert (ours & seen).sum() / (ours | seen).sum() > 0.3
    with storage.open_shard(tmp_path / "faces.h5", "faces") as shard:
        assert model_package.LANDMARKS.sha256 in shard.attrs["settings"]
        assert "site-packages" not in "".join(map(str, shard.attrs.values()))


def test_a_face_without_landmarks_has_no_regions_by_them(tmp_path, stub):
    found, reasons = parse(tmp_path, [pictures_of("ann", [101, 101], landmarks=False)], label_maps="landmarks", **stub)
    assert found == {} and reasons[("ann", "00")] == "no landmarks"


# -------------------------------------------------------------------------------------------------------- accounting


class StubDetector:
    """As many faces as a picture's side says: 101 one face, 102 two, 100 none; the box is 40 x 50 px."""

    def __call__(self, pictures):
        box = np.array([20.0, 20.0, 60.0, 70.0])
        sizes = [int((picture[..., 0] > 0).any(1).sum()) for picture in pictures]  # without the padding
        return [[detection.Face(box, places_px(size)) for _ in range(size - 100)] for size in sizes]


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setattr(faces_stage, "load_models", lambda *_: faces_stage.Models(detector=StubDetector()))
    return {"detector": "mtcnn"}


def test_every_link_is_kept_or_discarded_with_its_reason(tmp_path, stub, caplog):
    caplog.set_level(logging.INFO, logger="leam.faces.stage")
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


@pytest.mark.parametrize(
    ("section", "words"),
    [({"detector": "mtcnn"}, "faces.detector: mtcnn needs a model"), ({"landmarks": "dlib"}, "faces.landmarks: dlib")],
)
def test_a_model_that_was_not_loaded_is_named(section, words):
    pictures = pictures_of("ann", [112, 112])
    with pytest.raises(ValueError, match=words):
        faces_stage.parse_identity(pictures, FaceSettings(**section), faces_stage.Models())


def test_small_faces_are_discarded_by_the_shorter_side(tmp_path, stub):
    people = [pictures_of("ann", [101, 101])]
    assert set(parse(tmp_path, people, min_face_px=40, **stub)[1]) == set()
    assert parse(tmp_path, people, min_face_px=41, **stub)[1][("ann", "00")] == "too small: 40 px < 41"


def test_one_of_several_faces_is_taken_and_counted(tmp_path, stub, caplog):
    caplog.set_level(logging.INFO, logger="leam.faces.stage")
    people = [pictures_of("ann", [101, 102, 103, 100])]
    found, reasons = parse(tmp_path, people, several="largest", **stub)
    assert found["ann"].images == ["00", "01", "02"] and reasons == {("ann", "03"): "no face"}
    assert found["ann"].faces_found.tolist() == [1, 2, 3]
    assert caplog.messages == ["ann: 3 of 4 images kept, in 2 of them one of several faces (1 no face)"]
    with storage.open_shard(tmp_path / "faces.h5", "faces") as shard:
        assert storage.read_faces(shard, "ann", ["02"]).faces_found.tolist() == [3]
        assert json.loads(shard.attrs["settings"])["several"] == "largest"


@pytest.mark.parametrize("settings", [{"detector": "given"}, {"detector": "none"}, {"detector": "mtcnn"}])
def test_the_choice_among_faces_changes_no_file_in_which_there_is_none(tmp_path, stub, settings):
    """Under other detectors, and by its default, the file is the one of a version without the setting."""
    people, without = [pictures_of("ann", [101, 101])], set()
    for several in ("discard", *(("largest", "central") if settings["detector"] != "mtcnn" else ())):
        parse(tmp_path, people, several=several, **settings)
        without.add(files.sha256(tmp_path / "faces.h5"))
        with storage.open_shard(tmp_path / "faces.h5", "faces") as shard:
            assert "several" not in json.loads(shard.attrs["settings"]) and "faces_found" not in shard["ann"]
    assert len(without) == 1


def test_without_a_detector_the_rectangle_is_the_face(tmp_path):
    """To the pixel; and where pictures come with rectangles, one without has none."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 90, 150, 3), np.uint8)
    labels = np.random.default_rng(1).integers(0, 19, (3, 90, 150)).astype(np.uint8)
    rect = np.array([[20, 10, 84, 74], [0, 26, 64, 90], [np.nan] * 4], np.float32)
    person = storage.Pictures("ann", ["0", "1", "2"], [*map(png, noise)], [*map(png, labels)], None, rect)
    settings = {"detector": "none", "landmarks": "none", "crop_size": 64}
    found, reasons = parse(tmp_path, [person], **settings)
    assert reasons == {("ann", "2"): "no rectangle"} and found["ann"].images == ["0", "1"]
    for got, whole in ((found["ann"].crops, noise), (found["ann"].regions, labels)):
        assert np.array_equal(got[0], whole[0, 10:74, 20:84]) and np.array_equal(got[1], whole[1, 26:90, 0:64])
    whole = parse(tmp_path, [person], **settings, crop_mode="whole")[0]["ann"]
    assert np.array_equal(whole.regions, np.stack([frames.warp_labels(of, WIDE, 64) for of in labels[:2]]))
    assert parse(tmp_path, [person], **settings, min_face_px=65)[1]["ann", "0"] == "too small: 64 px < 65"


WIDE = frames.square_frame(np.array([74.5, 44.5]), 150, 64)  # all of 150 x 90 px


def test_the_most_central_face_is_the_nearest_to_the_rectangles_centre(tmp_path, monkeypatch):
    boxes = [[10.0, 10, 50, 60], [60, 10, 100, 60], [100, 10, 140, 60]]
    stub = lambda pictures: [[detection.Face(np.array(box)) for box in boxes] for _ in pictures]  # noqa: E731
    monkeypatch.setattr(faces_stage, "load_models", lambda *_: faces_stage.Models(detector=stub))
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 192, 3), np.uint8)  # of multiples of 64: not padded
    rect = np.array([[np.nan] * 4, [10, 0, 119, 64], [40, 0, 192, 64]], np.float32)
    blank = [png(np.zeros((64, 192), np.uint8))] * 3
    person = storage.Pictures("ann", ["0", "1", "2"], [*map(png, noise)], blank, None, rect)
    settings = {"detector": "mtcnn", "landmarks": "none", "several": "central", "rect_margin": 10}
    found = parse(tmp_path, [person], **settings)[0]["ann"]
    expected = [boxes[1], boxes[1], boxes[2]]
    for crop, picture, box in zip(found.crops, noise, expected, strict=True):
        face = detection.Face(np.array(box))
        frame = faces_stage.crop_frame(face, picture.shape, FaceSettings(detector="mtcnn"))
        assert np.array_equal(crop, frames.warp(picture, frame, 112))
    assert found.faces_found.tolist() == [3, 2, 2]  # of those centred within the rectangle


def side_by_side(*numbers, gap=40):
    """A picture of rendered heads, each larger than the one before, with label map; and the middle of each."""
    scenes = [rendering.render_person(5, number, [0], 160 + 40 * k)[0] for k, number in enumerate(numbers)]
    width = sum(scene.image.shape[1] + gap for scene in scenes)
    picture = np.full((160 + 40 * len(scenes), width, 3), 127, np.uint8)
    labels, middles, left = np.zeros(picture.shape[:2], np.uint8), [], gap // 2
    for scene in scenes:
        side = len(scene.image)
        for canvas, part in ((picture, scene.image), (labels, scene.regions)):
            canvas[:side, left : left + side] = part
        middles.append(scene.landmarks.mean(0) + np.array([left, 0]))
        left += side + gap
    return picture, labels, np.stack(middles)


@pytest.mark.parametrize(("several", "expected"), [("discard", None), ("largest", 2), ("central", 1)])
def test_a_photograph_with_bystanders_gives_the_face_that_is_asked_for(tmp_path, several, expected):
    """Three rendered heads, the last the largest, the second in the middle, found by MTCNN."""
    picture, labels, middles = side_by_side(0, 1, 2)
    crowd = storage.Pictures("ann", ["0", "1"], [png(picture)] * 2, [png(labels)] * 2, None)
    settings = {"detector": "mtcnn", "landmarks": "none", "crop_mode": "box", "crop_size": 112, "several": several}
    found, reasons = parse(tmp_path, [crowd], **settings)
    if expected is None:
        assert found == {} and reasons["ann", "0"] == "several faces"
        return
    assert found["ann"].faces_found.tolist() == [3, 3]
    alone = np.zeros_like(picture)
    left, side = middles[expected][0], 160 + 40 * expected
    columns = slice(int(left - side / 2), int(left + side / 2))
    alone[:, columns] = picture[:, columns]
    person = storage.Pictures("ann", ["0", "1"], [png(alone)] * 2, [png(labels)] * 2, None)
    (tmp_path / "alone").mkdir()
    by_itself = parse(tmp_path / "alone", [person], **settings)[0]["ann"]
    assert np.abs(found["ann"].points - by_itself.points).max() < 3  # px of the crop: the same face


@pytest.mark.parametrize("detector", ["mtcnn", "none"])
def test_two_people_in_one_photograph_are_told_apart_by_a_table_of_rectangles(tmp_path, detector):
    """From the folder to the faces: each of the two has the photograph, and a row for it."""
    picture, labels, middles = side_by_side(0, 1)
    for name in ("ann", "bob"):
        (tmp_path / "people" / name).mkdir(parents=True)
        for number in range(2):
            shifted = np.roll(picture, number, axis=0)  # another picture, but for find_duplicates
            Image.fromarray(shifted).save(tmp_path / "people" / name / f"{number}.png")
            Image.fromarray(labels).save(tmp_path / "people" / name / f"{number}.regions.png")
    rows = ["NAME_ID,X,Y,W,H"]
    for name, (x, y) in zip(("ann", "bob"), middles, strict=True):
        rows += [f'"{name}/{number}",{x - 60:.1f},{y - 60:.1f},120,120' for number in range(2)]
    (tmp_path / "loose_bb_mine.csv").write_text("\n".join(rows))
    options = {"label_suffix": ".regions.png", "label_check": False, "rects": str(tmp_path / "loose_bb_mine.csv")}
    source = people_of(tmp_path / "people", **options)
    imported(tmp_path, source)
    settings = {"detector": detector, "landmarks": "none", "crop_size": 112}
    faces_stage.parse_faces(tmp_path / "images.h5", tmp_path / "faces.h5", settings)
    with storage.open_shard(tmp_path / "faces.h5", "faces") as shard:
        assert storage.read_discarded(shard) == []
        found = {name: storage.read_faces(shard, name) for name in storage.identities(shard)}
    models = faces_stage.load_models(FaceSettings(detector="mtcnn"), "cpu")
    (both,) = detection.find_faces(models.detector, [picture])
    assert len(both) == 2
    boxes = [min(both, key=lambda face: np.linalg.norm(face.centre - middle)) for middle in middles]
    if detector == "none":
        boxes = [detection.Face(np.array([x - 60, y - 60, x + 60, y + 60]) - 0.5) for x, y in middles]
    expected = []
    for face in boxes:
        frame = faces_stage.crop_frame(face, picture.shape, FaceSettings(detector=detector))
        expected.append(frames.warp(picture, frame, 112).astype(int))
    for ours, other, crops in zip(expected, expected[::-1], (found["ann"].crops, found["bob"].crops), strict=True):
        apart = abs(crops[0] - ours).mean()  # the detector saw less of the picture, and wavers a little
        assert apart < (1 if detector == "none" else 0.5 * abs(crops[0] - other).mean())


def test_a_lost_link_is_an_error_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(faces_stage, "parse_identity", lambda *args: (None, {}))
    with pytest.raises(files.StorageError, match="2 links, but 0 accounted for"):
        parse(tmp_path, [pictures_of("ann", [112, 112])], **MODES["box"])
    assert not (tmp_path / "faces.h5").exists()


def test_batches_are_bounded_and_complete(monkeypatch):
    monkeypatch.setattr(faces_stage, "DECODED_PX", 2 * 64 * 64)
    person = pictures_of("ann", [64] * 5)
    person.encoded[2] = b""
    reasons = {}
    batches = [[picture.image for picture in batch] for batch in faces_stage._decoded(person, reasons)]
    assert batches == [["00", "01"], ["03", "04"]]
    assert list(reasons) == ["02"]


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
    first = files.sha256(tmp_path / "faces.h5")
    parse(tmp_path, people, **MODES["aligned"])
    assert files.sha256(tmp_path / "faces.h5") == first


def test_the_file_says_how_it_was_made(tmp_path):
    path = write_images(tmp_path / "images.h5", [pictures_of("ann", [112, 112])])
    faces_stage.parse_faces(path, tmp_path / "f.h5", {"crop_size": 64}, attributes={"config_sha256": "abc"})
    with storage.open_shard(tmp_path / "f.h5", "faces") as shard:
        assert shard.attrs["config_sha256"] == "abc"
        assert json.loads(shard.attrs["settings"])["crop_size"] == 64
        assert "numpy" in json.loads(shard.attrs["versions"])


# ------------------------------------------------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    "section, message",
    [
        ({"detector": "haar"}, r"faces\.detector: expected one of given, mtcnn, .*, none; found 'haar'"),
        ({"label_maps": None}, r"faces\.label_maps: expected one of given, pyfacer, landmarks"),
        (
            {"landmarks": "none", "label_maps": "landmarks"},
            r"faces\.label_maps: landmarks, but faces\.landmarks is none",
        ),
        ({"crop_mode": "tight"}, r"faces\.crop_mode"),
        ({"crop_size": 0}, r"faces\.crop_size: expected a number from 8 to 4096, found 0"),
        ({"crop_size": 112.5}, r"faces\.crop_size: expected a whole number"),
        ({"crop_margin": -1}, r"faces\.crop_margin"),
        ({"detector_threshold": "high"}, r"faces\.detector_threshold"),
        ({"sise": 112}, r"faces\.sise: no such setting; there are detector, "),
        ({"detector": "none", "landmarks": "none", "crop_mode": "aligned"}, r"faces\.crop_mode: .* five points"),
        ({"detector": "none", "landmarks": "none", "label_maps": "pyfacer"}, r"faces\.label_maps: .* five points"),
        ({"detector": "retinaface"}, r"faces\.detector_weights: expected the path"),
        ({"batch_images": 0}, r"faces\.batch_images: expected a number from 1"),
        ({"several": "first"}, r"faces\.several: expected one of discard, largest, central; found 'first'"),
        ({"landmark_box": "mine"}, r"faces\.landmark_box: expected one of dlib, detected"),
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
        ("parser_weights", {"label_maps": "pyfacer"}),
        ("landmark_weights", {"landmarks": "dlib"}),
    ],
)
def test_files_that_are_no_weights_are_named(tmp_path, name, section):
    pytest.importorskip("dlib" if section.get("landmarks") else "facer")
    (tmp_path / "weights").write_bytes(b"no weights at all")
    with pytest.raises(ValueError, match=rf"faces\.{name}: .*weights"):
        parse(tmp_path, [], **section, **{name: str(tmp_path / "weights")})


@pytest.mark.parametrize(
    "kind, section",
    [
        ("detector", {"detector": "retinaface"}),
        ("parser", {"label_maps": "pyfacer"}),
        ("landmark", {"landmarks": "dlib"}),
    ],
)
def test_a_file_of_another_digest_is_refused_before_it_is_opened(tmp_path, monkeypatch, kind, section):
    for loader in ("RetinaFace", "RegionParser", "LandmarkPredictor"):
        monkeypatch.setattr(faces_stage, loader, lambda *args: pytest.fail("the file was opened"))
    (tmp_path / "weights").write_bytes(b"other weights")
    given = {f"{kind}_weights": str(tmp_path / "weights"), f"{kind}_sha256": "0" * 64}
    with pytest.raises(
        ValueError, match=rf"faces\.{kind}_weights: .*weights has SHA-256 [0-9a-f]{{64}}, expected 0000"
    ):
        parse(tmp_path, [], **section, **given)


def test_the_expected_digest_may_be_written_in_capitals(tmp_path):
    (tmp_path / "weights").write_bytes(b"weights")
    digest = files.sha256(tmp_path / "weights")
    found = faces_stage.verified_file("faces.x", str(tmp_path / "weights"), digest.upper())
    assert found == (tmp_path / "weights", digest)


# ------------------------------------------------------------------------------------------------------------- mtcnn


@pytest.mark.parametrize("mode", ["box", "aligned"])
def test_rendered_heads_found_by_mtcnn_are_cropped_in_register(tmp_path, mode):
    person, _ = rendered("ann", [0, 1, 2])
    settings = {"detector": "mtcnn", "crop_mode": mode, "crop_size": 112}
    found, reasons = parse(tmp_path, [person], **settings, landmarks="none")
    assert reasons == {} and found["ann"].images == ["0", "1", "2"]
    for regions, points in zip(found["ann"].regions, found["ann"].points, strict=True):
        eyes = [np.argwhere(regions == label).mean(0)[::-1] for label in (8, 9)]
        eye_distance = np.linalg.norm(points[1] - points[0])
        assert np.linalg.norm(eyes[0] - points[0]) < 0.2 * eye_distance
        assert np.linalg.norm(eyes[1] - points[1]) < 0.2 * eye_distance


def test_a_rectangle_makes_one_of_two_heads_usable(tmp_path):
    person, landmarks = rendered("ann", [0, 1])
    both = np.concatenate([images.decode(encoded) for encoded in person.encoded], axis=1)
    labels = np.concatenate([images.decode_labels(encoded, (192, 192)) for encoded in person.labels], axis=1)
    landmarks[1, :, 0] += 192
    hulls = [np.concatenate([points.min(0), points.max(0)]) for points in landmarks]
    pictures = storage.Pictures(
        "ann", ["a", "b", "c"], [png(both)] * 3, [png(labels)] * 3, None, np.stack([*hulls, np.full(4, np.nan)])
    )
    found, reasons = parse(tmp_path, [pictures], detector="mtcnn", landmarks="none")
    assert found["ann"].images == ["a", "b"]
    assert reasons == {("ann", "c"): "several faces"}
    alone, _ = parse(tmp_path, [person], detector="mtcnn", landmarks="none")
    overlap = (found["ann"].regions == alone["ann"].regions).mean((1, 2))
    assert (overlap > 0.85).all()


# ------------------------------------------------------------------------------------------------------- model files


@pytest.fixture
def parser_settings(tmp_path):
    """A section that needs a parser's file, and one that is there."""
    (tmp_path / "parser.pt").write_bytes(b"a parser")
    section = {"detector": "mtcnn", "label_maps": "pyfacer", "landmarks": "none", "detector_weights": "unused"}
    return section | {"parser_weights": str(tmp_path / "parser.pt"), "parser_sha256": None, "detector_sha256": None}


def test_facts_of_the_files_in_use_are_written_and_passed_on(tmp_path, parser_settings):
    faces_stage.fetch_face_models(tmp_path / "out" / "files.json", parser_settings)
    digest = files.sha256(tmp_path / "parser.pt")
    facts = json.loads((tmp_path / "out" / "files.json").read_text())
    assert facts == {"parser_weights": {"path": str(tmp_path / "parser.pt"), "sha256": digest, "bytes": 8}}
    section = faces_stage.with_face_models(parser_settings, tmp_path / "out" / "files.json")
    assert section == parser_settings | {"parser_sha256": digest}
    (tmp_path / "parser.pt").write_bytes(b"changed!")
    with pytest.raises(ValueError, match="has SHA-256"):
        faces_stage.face_settings(section).files()
    assert faces_stage.with_face_models(parser_settings, None) == parser_settings


def test_the_package_s_landmark_file_is_verified_and_its_place_stands_in_no_file(tmp_path, model_package_here):
    section = {"detector": "none", "label_maps": "given", "landmarks": "dlib", "landmark_weights": "package"}
    with pytest.raises(
        ValueError, match=r"faces\.landmark_weights: .*68_face_landmarks\.dat has SHA-256 .*expected fbdc"
    ):
        faces_stage.fetch_face_models(tmp_path / "files.json", section)
    digest = files.sha256(model_package_here / model_package.LANDMARKS.name)
    faces_stage.fetch_face_models(tmp_path / "files.json", section | {"landmark_sha256": digest})
    facts = json.loads((tmp_path / "files.json").read_text())
    assert facts == {"landmark_weights": {"path": "package", "sha256": digest, "bytes": 12}}
    given = faces_stage.with_face_models(section, tmp_path / "files.json")
    (path, found) = faces_stage.face_settings(given).files()["landmark_weights"]
    assert (path, found) == (model_package_here / model_package.LANDMARKS.name, digest)


def test_a_package_that_is_not_installed_is_one_sentence(tmp_path, no_model_package):
    with pytest.raises(
        FileNotFoundError, match=r"faces\.landmark_weights: .* is not installed; .*pip install face-recog"
    ):
        parse(tmp_path, [], landmarks="dlib", landmark_weights="package")


def test_pyfacers_own_file_is_downloaded_once_and_checked(tmp_path, parser_settings, monkeypatch):
    with serve_folder(tmp_path) as (address, asked):
        monkeypatch.setattr(faces_stage, "parser_url", lambda: f"{address}/parser.pt")
        digest = files.sha256(tmp_path / "parser.pt")
        section = parser_settings | {"parser_weights": "download", "parser_sha256": digest}
        for _ in range(2):
            faces_stage.fetch_face_models(tmp_path / "out" / "files.json", section)
        assert len(asked) == 1
        facts = json.loads((tmp_path / "out" / "files.json").read_text())
        assert facts["parser_weights"]["path"] == str(tmp_path / "out" / "parser.pt")
        with pytest.raises(OSError, match=r"faces\.parser_weights: .*has SHA-256"):
            faces_stage.fetch_face_models(tmp_path / "other" / "files.json", section | {"parser_sha256": "0" * 64})
        monkeypatch.setattr(faces_stage, "parser_url", lambda: f"{address}/absent.pt")
        with pytest.raises(OSError, match=r"faces\.parser_weights: download from .*absent\.pt failed .*; give a path"):
            faces_stage.fetch_face_models(tmp_path / "third" / "files.json", section)
        with pytest.raises(ValueError, match=r"a download needs faces\.parser_sha256"):
            faces_stage.fetch_face_models(tmp_path / "third" / "files.json", section | {"parser_sha256": None})
    assert not (tmp_path / "other" / "files.json").exists() and not (tmp_path / "third" / "files.json").exists()


def test_pyfacers_addresses_are_those_of_its_release():
    assert parsing.parser_url().startswith("https://github.com/FacePerceiver/facer/releases/download/")
    assert "celebm" in parsing.parser_url() and parsing.parser_url().endswith(".pt")
    assert detection.retinaface_url().startswith("https://") and "mobilenet0.25" in detection.retinaface_url()
