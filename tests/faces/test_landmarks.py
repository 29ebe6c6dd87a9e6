"""leam.landmarks: where dlib's predictor is asked to look, and that its answer comes back to the picture.

A predictor is trained here on a few rendered heads; that of real photographs is in test_faces_real.
"""

import dlib
import numpy as np
import pytest

from leam.faces import detection, landmarks
from leam.sample import rendering


def head(number, size=240):
    return rendering.render_person(5, number, [0], size)[0]


@pytest.fixture(scope="module")
def heads():
    return [head(number) for number in range(4)]


@pytest.fixture(scope="module")
def mtcnn_faces(heads):
    import torch

    found = detection.find_faces(detection.Mtcnn(0.9, torch.device("cpu")), [rendered.image for rendered in heads])
    return [face for (face,) in found]


def rectangle_of(rectangle, rendered, face):
    """Where a predictor of this kind is trained to look."""
    if rectangle == "dlib":
        return dlib.get_frontal_face_detector()(rendered.image, 0)[0]
    return dlib.rectangle(*(int(edge) for edge in np.rint(landmarks.usual_rectangle(face.box))))


@pytest.fixture(scope="module", params=landmarks.RECTANGLES)
def predictor(request, heads, mtcnn_faces, tmp_path_factory):
    """A small predictor that knows these heads by heart (dlib's own training), and looks where it was taught to."""
    path = tmp_path_factory.mktemp("dlib") / "predictor.dat"
    truth = []
    for rendered, face in zip(heads, mtcnn_faces, strict=True):
        parts = [dlib.point(*(int(v) for v in np.rint(point))) for point in rendered.landmarks]
        truth.append([dlib.full_object_detection(rectangle_of(request.param, rendered, face), parts)])
    options = dlib.shape_predictor_training_options()
    options.oversampling_amount, options.oversampling_translation_jitter = 20, 0.02
    options.tree_depth, options.cascade_depth, options.num_trees_per_cascade_level = 3, 8, 60
    options.be_verbose, options.num_threads = False, 1
    dlib.train_shape_predictor([rendered.image for rendered in heads], truth, options).save(str(path))
    return landmarks.LandmarkPredictor(path, request.param)


def test_landmarks_are_those_of_the_picture(heads, mtcnn_faces, predictor):
    """dlib's own rectangle is of another size in the view than in the picture, by the steps of its pyramid."""
    share = 0.1 if predictor.detector is None else 0.3
    for rendered, face in zip(heads, mtcnn_faces, strict=True):
        found = predictor(rendered.image, face)
        eye_distance = np.linalg.norm(np.subtract(*detection.five_points(rendered.landmarks)[:2]))
        assert np.linalg.norm(found - rendered.landmarks, axis=1).mean() < share * eye_distance


def test_a_shifted_picture_shifts_the_landmarks(heads, mtcnn_faces, predictor):
    rendered, face = heads[1], mtcnn_faces[1]
    large = np.pad(rendered.image, ((70, 0), (30, 0), (0, 0)), mode="edge")
    moved = predictor(large, face.moved(np.array([[1, 0, 30], [0, 1, 70], [0, 0, 1.0]])))
    assert np.allclose(moved - (30, 70), predictor(rendered.image, face), atol=0.6)


def test_without_a_face_only_the_detected_box_gives_landmarks(predictor):
    empty, face = np.full((200, 200, 3), 127, np.uint8), detection.Face(np.array([60.0, 60, 140, 140]))
    assert np.isfinite(predictor(empty, face)).all() == (predictor.detector is None)


def test_the_usual_rectangle_is_a_square_over_the_lower_face():
    found = landmarks.usual_rectangle(np.array([100.0, 100.0, 200.0, 240.0]))
    assert found[2] - found[0] == pytest.approx(found[3] - found[1]) == pytest.approx(110)
    assert ((found[0] + found[2]) / 2, (found[1] + found[3]) / 2) == pytest.approx((150, 170 + 0.07 * 140))


def test_overlap_is_intersection_over_union():
    a = np.array([0.0, 0, 10, 10])
    assert landmarks._overlap(a, a) == 1
    assert landmarks._overlap(a, np.array([5.0, 0, 15, 10])) == pytest.approx(50 / 150)
    assert landmarks._overlap(a, np.array([20.0, 0, 30, 10])) == 0


def test_a_file_that_is_no_predictor_is_named(tmp_path):
    (tmp_path / "weights.dat").write_bytes(b"no weights at all")
    with pytest.raises(ValueError, match=r"faces\.landmark_weights: .*weights\.dat"):
        landmarks.LandmarkPredictor(tmp_path / "weights.dat")


# ------------------------------------------------------------------------------------------------------------ orders

FGNET_FROM_IBUG = {  # the points that both have, FG-NET's number -> iBUG's
    **{0: 0, 7: 8, 14: 16, 21: 17, 24: 21, 15: 26, 18: 22},
    **{27: 36, 29: 39, 34: 42, 32: 45, 41: 33, 67: 30},
    **{number: number for number in range(48, 60)},
    **{61: 66, 66: 62},
}


def fgnet_points(ibug):
    """FG-NET's 68 points of a face of which iBUG's are known: the common ones, the others between their neighbours."""
    points = np.full((68, 2), np.nan)
    for number, other in FGNET_FROM_IBUG.items():
        points[number] = ibug[other]
    points[:15] = np.stack([np.interp(np.linspace(0, 16, 15), np.arange(17), ibug[:17, k]) for k in range(2)], 1)
    points[[22, 23]], points[[17, 16]] = ibug[[18, 20]], ibug[[23, 25]]
    points[[28, 30]] = ibug[[37, 40]] / 2 + ibug[[38, 41]] / 2
    points[[33, 35]] = ibug[[43, 46]] / 2 + ibug[[44, 47]] / 2
    points[[31, 36]] = ibug[36:42].mean(0), ibug[42:48].mean(0)
    points[[37, 45]] = ibug[27] + np.array([[-3, 0], [3, 0]])
    points[[39, 40, 42, 43]] = ibug[[31, 32, 34, 35]]
    return points


def test_fgnet_points_come_close_to_ibugs(heads):
    for rendered in heads:
        ibug = rendered.landmarks.astype(float)
        found = landmarks.ibug_of_fgnet(fgnet_points(ibug))  # what FG-NET has and iBUG has not stays NaN and unused
        eye_distance = np.linalg.norm(ibug[45] - ibug[36])
        error = np.linalg.norm(found - ibug, axis=1) / eye_distance
        assert error.max() < 0.12 and error.mean() < 0.03
        same = list(FGNET_FROM_IBUG.values())
        np.testing.assert_allclose(found[same], ibug[same], atol=1e-4)


def test_a_line_is_divided_anew_and_keeps_ends_and_middle():
    line = np.array([[0.0, 0], [3, 0], [3, 1]])
    assert np.allclose(landmarks.divide(line, 5), [[0, 0], [1.5, 0], [3, 0], [3, 0.5], [3, 1]])


def test_eyes_are_parabolas_through_their_four_points():
    eye = landmarks._eye(*np.array([[-1.0, 0], [0, -0.5], [1, 0], [0, 0.4]]))
    for point in eye[1:3]:
        assert point[1] == pytest.approx(-0.5 * (1 - point[0] ** 2))
    for point in eye[4:6]:
        assert point[1] == pytest.approx(0.4 * (1 - point[0] ** 2))
    assert np.allclose(eye[:, 0], [-1, -1 / 3, 1 / 3, 1, 1 / 3, -1 / 3])
