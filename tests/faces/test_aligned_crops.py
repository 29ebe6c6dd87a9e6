"""Aligned crops with a margin: one crop for all recognisers, of which each sees its own window."""

import dataclasses

import dlib
import numpy as np
import pytest

from leam import config, model_package
from leam.faces import detection, frames, landmarks
from leam.faces.stage import FaceSettings, crop_frame
from leam.recognisers import networks, registry
from leam.recognisers.registry import REGISTRY, ModelError
from leam.sample import people, rendering

CASIA = {  # sees 96 of 112 columns
    "architecture": "mine:network",
    "input_size": [112, 96],
    "mean": [127.5] * 3,
    "std": [128] * 3,
    "layers": ["conv"],
    "window": [0, 8, 112, 104],
}
WIDE = CASIA | {"input_size": [150, 150], "window": [0, 0, 112, 112], "aligned_window": list(landmarks.CHIP)}


@pytest.fixture(scope="module")
def face():
    """A rendered picture and its face, with five points and 68 landmarks."""
    who, shown = people.draw_identity(4, 0), people.draw_picture(4, 0, 3)
    drawn = rendering.render(who, shown, 400)
    found = detection.Face(np.array([0.0, 0, 399, 399]), landmarks=drawn.landmarks.astype(float))
    found.points = detection.five_points(found.landmarks)
    return drawn.image, found


def cropped(face, size, **settings):
    picture, found = face
    frame = crop_frame(found, picture.shape, FaceSettings(crop_mode="aligned", crop_size=size, **settings))
    return frames.warp(picture, frame, size)[None]


def test_without_a_margin_the_template_is_multiplied(face):
    for size in (112, 150):
        frame = crop_frame(face[1], face[0].shape, FaceSettings(crop_mode="aligned", crop_size=size))
        expected = frames.similarity_frame(face[1].points, frames.ARCFACE_POINTS * size / 112)
        np.testing.assert_array_equal(frame, expected)


@pytest.mark.parametrize("margin", [0.125, 0.25, 0.5, 1])
@pytest.mark.parametrize("entry", [None, CASIA])
def test_arcface_recognisers_see_the_middle(face, margin, entry):
    """At one pixel per pixel of the template the input is that of a crop without a margin."""
    plain = REGISTRY["AF_R18"] if entry is None else registry.recogniser("mine", entry)
    seen = dataclasses.replace(plain, window=registry.window_in_crop(plain, margin))
    wide = networks.to_input(cropped(face, round(112 * (1 + 2 * margin)), crop_margin=margin), seen)
    narrow = networks.to_input(cropped(face, 112), plain)
    assert wide.shape == narrow.shape
    apart = (wide - narrow).abs() * 127.5
    assert apart.max() <= 1.01 and (apart > 0.01).float().mean() < 0.001


def test_a_window_beyond_the_template_is_that_part_of_the_picture(face):
    """A recogniser with a window of 100 template pixels at 150 px sees what the picture warped there holds."""
    recogniser = registry.recogniser("wide", WIDE)
    margin = registry.least_margin([recogniser])
    assert margin == 0.125
    seen = registry.recogniser("wide", WIDE | {"window": list(registry.window_in_crop(recogniser, margin))})
    x = networks.to_input(cropped(face, 210, crop_margin=margin), seen)[0].numpy().transpose(1, 2, 0) * 128 + 127.5
    top, left, bottom, _ = landmarks.CHIP
    to_template = frames.similarity_frame(face[1].points, frames.ARCFACE_POINTS)
    middle = [left + 50 - 0.5, top + 50 - 0.5]
    chip = frames.warp(face[0], frames.square_frame(middle, bottom - top, 150) @ to_template, 150)
    assert abs(x - chip).max() <= 1.01 and (abs(x - chip) > 0.01).mean() < 0.001


def test_by_landmarks_the_chip_is_dlibs_own(face):
    """dlib cuts its chip by methods of its own, so that colours differ where they change fast."""
    picture, found = face
    shape = dlib.full_object_detection(
        dlib.rectangle(0, 0, 1, 1), [dlib.point(*map(int, point)) for point in np.rint(found.landmarks)]
    )
    theirs = dlib.get_face_chip(picture, shape, 150, landmarks.CHIP_PADDING).astype(int)
    frame = landmarks.landmark_frame(np.rint(found.landmarks), 210, 0.125)
    top, left = (round((edge + 14) * 1.5) for edge in landmarks.CHIP[:2])
    ours = frames.warp(picture, frame, 210)[top : top + 150, left : left + 150].astype(int)

    def apart(one, other):
        return np.median(abs(one - other).max(-1)), abs(one - other).mean()

    assert apart(ours, theirs)[1] < 2.5
    shifted = [apart(np.roll(ours, step, axis), theirs)[1] for step in (-1, 1) for axis in (0, 1)]
    assert apart(ours, theirs)[1] < 0.7 * min(shifted)


def test_five_points_and_landmarks_agree_on_an_upright_face(face):
    """Both put the eyes of a face where ArcFace's template has them, within some pixels of it."""
    for align_by in ("points", "landmarks"):
        settings = FaceSettings(crop_mode="aligned", crop_size=140, crop_margin=0.125, align_by=align_by)
        placed = frames.transform(face[1].points, crop_frame(face[1], face[0].shape, settings)) - 14
        assert abs(placed[:2] - frames.ARCFACE_POINTS[:2]).max() < 6


def test_a_turned_picture_gives_the_same_crop_by_landmarks(face):
    picture, found = face
    quarter = np.rot90(picture, -1)  # clockwise: (x, y) becomes (H - 1 - y, x)
    turned = np.stack([picture.shape[0] - 1 - found.landmarks[:, 1], found.landmarks[:, 0]], axis=1)
    one = frames.warp(picture, landmarks.landmark_frame(found.landmarks, 140, 0.125), 140).astype(int)
    other = frames.warp(np.ascontiguousarray(quarter), landmarks.landmark_frame(turned, 140, 0.125), 140)
    assert abs(one - other).mean() < 1


def test_a_face_without_landmarks_has_no_place_by_them(face):
    found = detection.Face(face[1].box, face[1].points)
    settings = FaceSettings(crop_mode="aligned", align_by="landmarks")
    with pytest.raises(Exception, match="no landmarks"):
        crop_frame(found, face[0].shape, settings)
    with pytest.raises(ValueError, match=r"faces\.align_by"):
        FaceSettings(detector="mtcnn", landmarks="none", crop_mode="aligned", align_by="landmarks")


def settings_of(**faces):
    return {
        "models": ["sample_arcface", "wide"],
        "recognisers": {"wide": WIDE},
        "faces": {"crop_mode": "aligned"} | faces,
    }


def test_the_margin_is_what_the_recognisers_need():
    found = config.complete(settings_of())
    assert config.faces_settings(found)["crop_margin"] == 0.125
    assert config.recogniser_in_crop(found, "sample_arcface")["window"] == pytest.approx([11.2, 11.2, 100.8, 100.8])
    assert config.recogniser_in_crop(found, "wide")["window"] == pytest.approx([28.8, 16, 108.8, 96])
    alone = config.complete(settings_of() | {"models": ["sample_arcface"]})
    assert config.faces_settings(alone)["crop_margin"] is None
    assert "window" not in config.recogniser_in_crop(alone, "sample_arcface")
    boxes = config.complete(settings_of(crop_mode="box"))
    assert config.recogniser_in_crop(boxes, "wide")["window"] == [0, 0, 112, 112]


@pytest.mark.parametrize(
    ("margin", "words"),
    [
        (0, r"wide sees \[22, 6, 122, 106\] of ArcFace's template.*faces.crop_margin of at least 0.089, or null"),
        (0.2, r"sample_arcface: window .* does not fall on whole pixels.*in eighths, or null"),
    ],
)
def test_a_margin_that_does_not_serve_all_is_refused(margin, words):
    with pytest.raises(config.ConfigError, match=words):
        config.complete(settings_of(crop_margin=margin))


def test_dlibs_recogniser_sees_dlibs_chip():
    assert REGISTRY["dlib_resnet"].aligned_window == landmarks.CHIP


@pytest.mark.parametrize("entry", [{"window": [0, 0, 113, 112]}, {"aligned_window": [50, 0, 50, 112]}])
def test_windows_of_built_in_recognisers_are_checked_too(entry):
    with pytest.raises(ModelError, match="window"):
        registry.recogniser("AF_R18", entry)


def test_dlibs_chip_by_the_installed_predictor_is_a_face(face):
    """The predictor of the package, on a rendered face: its landmarks align it as the true ones do."""
    predictor = landmarks.LandmarkPredictor(model_package.LANDMARKS.path(), "detected")
    edges = face[1].landmarks
    box = np.concatenate([edges.min(axis=0) - (0, 0.3 * np.ptp(edges[:, 1])), edges.max(axis=0)])
    found = predictor(face[0], detection.Face(box))
    corners = np.array([[0, 0], [139, 0], [0, 139], [139, 139]])
    ours, true = (np.linalg.inv(landmarks.landmark_frame(points, 140, 0.125)) for points in (found, edges))
    apart = np.linalg.norm(frames.transform(corners, ours) - frames.transform(corners, true), axis=1)
    assert apart.max() < 0.15 * np.linalg.norm(np.ptp(edges, axis=0))
