"""leam.landmarks: where dlib's predictor is asked to look, and that its answer comes back to the picture.

A predictor is trained here on a few rendered heads; that of real photographs is in test_faces_real.
"""

import dlib
import numpy as np
import pytest

from leam import detection, landmarks, sample


def head(number, size=240):
    return sample.render(sample.draw_identity(5, number), sample.draw_picture(5, number, 0), size)


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
