"""leam.detection: MTCNN on rendered heads whose geometry is known; batches, rectangles and sizes."""

import functools
import itertools

import cv2
import numpy as np
import pytest
import torch

from drawn import disc_centroids, draw, landmarks_px, places_px
from leam import images
from leam.faces import detection, frames
from leam.sample import rendering

CPU = torch.device("cpu")


@functools.cache
def head(number, size):
    return rendering.render_person(5, number, [0], size)[0]


def hull(landmarks):
    return np.concatenate([landmarks.min(0), landmarks.max(0)])


@pytest.fixture(scope="module")
def mtcnn():
    return detection.Mtcnn(detection.THRESHOLDS["mtcnn"], CPU)


@pytest.fixture(scope="module")
def scene():
    """A picture 1,500 px wide with two heads, and the landmarks of each."""
    picture = np.full((500, 1500, 3), 127, np.uint8)
    heads = []
    for number, (x, y, size) in enumerate([(150, 40, 300), (900, 60, 420)]):
        rendered = head(number, size)
        picture[y : y + size, x : x + size] = rendered.image
        heads.append(rendered.landmarks + np.array([x, y]))
    return picture, heads


# ------------------------------------------------------------------------------------------------- without a network


def test_resized_pictures_keep_their_coordinates():
    small = detection.reduce_picture(draw(600)[0], 150)
    frame = frames.resize_frame((600, 600), small.shape)
    assert small.shape == (150, 150, 3)
    assert abs(disc_centroids(small) - frames.transform(places_px(600), frame)).max() < 0.1
    assert detection.reduce_picture(small, 150) is small


def test_points_of_landmarks_have_the_pictures_left_first():
    points = detection.five_points(landmarks_px(200).astype(float))
    assert np.allclose(points, places_px(200), atol=1e-3)
    assert points[0, 0] < points[1, 0]


def test_padding_adds_black_below_and_at_the_right():
    picture = np.full((100, 128, 3), 9, np.uint8)
    padded = detection.pad_picture(picture)
    assert padded.shape == (128, 128, 3)
    assert np.array_equal(padded[:100], picture) and not padded[100:].any()
    assert detection.pad_picture(padded).shape == padded.shape


def test_batches_hold_one_size_and_are_bounded(monkeypatch):
    monkeypatch.setattr(detection, "BATCH_PX", 200)
    shapes = [(10, 10, 3), (20, 10, 3), (10, 10, 3), (10, 10, 3)]
    assert list(detection.batches_of_one_size(shapes)) == [[0, 2], [3], [1]]


# ------------------------------------------------------------------------------------------------------------- mtcnn


@pytest.mark.parametrize("times", [1, 5])
def test_mtcnn_finds_a_rendered_head_where_it_was_drawn(mtcnn, times):
    rendered = [head(number, 192) for number in range(4)]
    pictures = [cv2.resize(r.image, None, fx=times, fy=times) for r in rendered]  # 960 px is reduced to 640
    enlarged = frames.resize_frame((192, 192), (192 * times, 192 * times))
    for found, truth in zip(detection.find_faces(mtcnn, pictures), rendered, strict=True):
        (face,) = found
        landmarks = frames.transform(truth.landmarks.astype(float), enlarged)
        expected = detection.five_points(landmarks)
        eye_distance = np.linalg.norm(expected[1] - expected[0])
        assert np.linalg.norm(face.points - expected, axis=1).max() < 0.2 * eye_distance
        box, jaw = face.box, hull(landmarks)
        assert abs(box[[0, 2, 3]] - jaw[[0, 2, 3]]).max() < 0.4 * eye_distance
        assert box[1] < jaw[1]  # the box has the forehead


def test_a_batch_finds_what_one_by_one_finds(mtcnn):
    """Sizes that differ by a few pixels, and one that is portrait: several batches, some of several pictures."""
    pictures = [head(number, size).image for number, size in enumerate([192, 180, 230, 192])]
    pictures.append(np.pad(pictures[0], ((60, 0), (0, 0), (0, 0))))
    together = detection.find_faces(mtcnn, pictures)
    assert [len(faces) for faces in together] == [1] * 5
    for picture, (face,) in zip(pictures, together, strict=True):
        ((alone,),) = detection.find_faces(mtcnn, [picture])
        np.testing.assert_allclose(face.box, alone.box, atol=0.01)
        np.testing.assert_allclose(face.points, alone.points, atol=0.01)


def test_a_small_head_in_a_large_picture_is_found_at_the_larger_size(mtcnn):
    picture = np.full((1600, 1600, 3), 127, np.uint8)
    rendered = head(1, 44)
    picture[700:744, 300:344] = rendered.image
    assert detection._find_reduced(mtcnn, [picture], detection.SIDES_PX[0]) == [[]]
    ((face,),) = detection.find_faces(mtcnn, [picture])
    expected = detection.five_points(rendered.landmarks + np.array([300.0, 700.0]))
    assert np.linalg.norm(face.points - expected, axis=1).max() < 5


def test_nothing_in_a_picture_without_a_face_however_small(mtcnn):
    rng = np.random.default_rng(0)
    pictures = [np.zeros((8, 8, 3), np.uint8), rng.integers(0, 256, (100, 30, 3), np.uint8)]
    assert detection.find_faces(mtcnn, pictures) == [[], []]
    assert detection.find_faces(mtcnn, []) == []


def test_mtcnn_that_stumbles_over_one_picture_still_does_the_others(mtcnn, monkeypatch, caplog):
    from facenet_pytorch.models.utils import detect_face as package

    def stumble(pictures, *arguments, whole=package.detect_face):
        if (pictures[..., 0] == 255).all(axis=(1, 2)).any():
            raise IndexError("The shape of the mask does not match")
        return whole(pictures, *arguments)

    monkeypatch.setattr(package, "detect_face", stumble)
    red = np.full((192, 192, 3), (255, 0, 0), np.uint8)
    found = detection.find_faces(mtcnn, [head(0, 192).image, red])
    assert [len(faces) for faces in found] == [1, 0]
    assert "counts as one without a face" in caplog.text


def test_weights_come_with_the_package_and_hold_no_code(mtcnn):
    for file, network in zip(detection.mtcnn_files(), mtcnn.networks, strict=True):
        stored = torch.load(file, weights_only=True)
        assert all(torch.equal(value, network.state_dict()[name]) for name, value in stored.items())
        assert not network.training


# -------------------------------------------------------------------------------------------------------- rectangles


def test_two_heads_are_several_faces_unless_a_rectangle_says_which(mtcnn, scene):
    picture, heads = scene
    (both,) = detection.find_faces(mtcnn, [picture])
    assert len(both) == 2
    for landmarks in heads:
        (found,) = detection.find_faces(mtcnn, [picture], [hull(landmarks)], margin=0.3)
        (face,) = found
        expected = detection.five_points(landmarks.astype(float))
        assert np.linalg.norm(face.points - expected, axis=1).max() < 0.2 * np.linalg.norm(expected[1] - expected[0])


def test_a_face_in_the_margin_alone_does_not_count(mtcnn, scene):
    picture, _ = scene
    rect = np.array([470.0, 40.0, 800.0, 480.0])  # between the heads, both of them within the margin
    assert detection.find_faces(mtcnn, [picture], [rect], margin=2.0) == [[]]
    both = np.array([100.0, 0.0, 1400.0, 499.0])
    assert len(detection.find_faces(mtcnn, [picture], [both], margin=0.0)[0]) == 2


@pytest.mark.parametrize("rect", [[2000, 0, 2100, 90], [-90, -90, -10, -10], [50, 50, 40, 40]])
def test_a_rectangle_without_pixels_has_no_face(mtcnn, scene, rect):
    assert detection.find_faces(mtcnn, [scene[0]], [np.array(rect, float)], margin=0.0) == [[]]


def test_pictures_with_and_without_rectangles_share_a_call(mtcnn, scene):
    picture, heads = scene
    single = head(2, 192)
    found = detection.find_faces(mtcnn, [picture, single.image], [hull(heads[1]), np.full(4, np.nan)], margin=0.3)
    assert [len(faces) for faces in found] == [1, 1]


# -------------------------------------------------------------------------------------------------------- retinaface


@pytest.fixture
def retinaface_file(tmp_path):
    """Random weights in the format of pyfacer's file, with its ``module.`` prefix."""
    with detection.without_known_warnings():
        from facer.face_detection import retinaface
    torch.manual_seed(0)
    network = retinaface.RetinaFace(cfg=retinaface.cfg_mnet, phase="test").eval()
    path = tmp_path / "retinaface.pth"
    torch.save({f"module.{name}": value for name, value in network.state_dict().items()}, path)
    return path, network


def test_retinaface_is_pyfacers_with_the_files_weights(retinaface_file):
    path, network = retinaface_file
    ours = detection.RetinaFace(path, 0.5, CPU)
    for name, value in network.state_dict().items():
        assert torch.equal(ours.network.state_dict()[name], value), name
    assert not ours.network.training


def test_a_state_dict_that_would_run_code_is_refused(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    torch.save({"state_dict": Harmful()}, tmp_path / "harmful.pth")
    with pytest.raises(ValueError, match=r"faces\.detector_weights: .*harmful\.pth"):
        detection.RetinaFace(tmp_path / "harmful.pth", 0.8, CPU)
    assert not (tmp_path / "harm").exists()


def test_a_detector_file_that_lacks_layers_is_refused(tmp_path):
    torch.save({"body.stage1.0.0.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"faces\.detector_weights: .*lacks"):
        detection.RetinaFace(tmp_path / "part.pth", 0.8, CPU)


# --------------------------------------------------------------------------------------------------------- only face


def test_only_one_face_of_sufficient_size_will_do():
    face = detection.Face(np.array([0.0, 0.0, 40.0, 50.0]))
    middle = np.zeros(2)
    assert detection.choose_face([face], "discard", middle, 40) is face
    for faces, least, reason in [([], 1, "no face"), ([face, face], 1, "several faces"), ([face], 41, "too small")]:
        with pytest.raises(images.UnusablePictureError, match=reason):
            detection.choose_face(faces, "discard", middle, least)


def test_a_rectangle_encloses_whole_pixels():
    """Edges, 0 being the picture's: of the first pixel 0 and 1, whose centre is (0, 0)."""
    (face,) = detection.face_of_rect(np.array([0.0, 0.0, 1.0, 1.0]))
    assert face.centre.tolist() == [0, 0] and face.sides.tolist() == [1, 1]
    assert detection.face_of_rect(np.full(4, np.nan)) == []


def boxes(*edges):
    return [detection.Face(np.array(box, float)) for box in edges]


SMALL_IN_THE_MIDDLE, LARGE, TALL = [90, 40, 110, 60], [10, 0, 70, 90], [140, 0, 180, 95]


@pytest.mark.parametrize(
    ("several", "middle", "expected"),
    [
        ("largest", (99.5, 49.5), LARGE),
        ("central", (99.5, 49.5), SMALL_IN_THE_MIDDLE),
        ("largest", (170, 50), LARGE),
        ("central", (170, 50), TALL),
    ],
)
def test_of_several_faces_the_largest_or_the_most_central_is_taken(several, middle, expected):
    for order in itertools.permutations((SMALL_IN_THE_MIDDLE, LARGE, TALL)):
        assert detection.choose_face(boxes(*order), several, np.array(middle), 1).box.tolist() == expected
    with pytest.raises(images.UnusablePictureError, match="several faces"):
        detection.choose_face(boxes(LARGE, TALL), "discard", np.array(middle), 1)


@pytest.mark.parametrize("several", ["largest", "central"])
def test_ties_are_broken_whatever_the_order(several):
    """By the other measure (the first two pairs), then the left edge, then the upper one."""
    middle = np.array([50.0, 50.0])
    of_one_size, of_one_centre = ([40, 40, 60, 60], [0, 0, 20, 20]), ([30, 30, 70, 70], [40, 40, 60, 60])
    mirrored, one_above_the_other = ([0, 40, 20, 60], [80, 40, 100, 60]), ([40, 0, 60, 20], [40, 80, 60, 100])
    for first, second in (of_one_size, of_one_centre, mirrored, one_above_the_other):
        for pair in ((first, second), (second, first)):
            assert detection.choose_face(boxes(*pair), several, middle, 1).box.tolist() == first


def test_the_least_size_is_judged_after_the_choice():
    """A large bystander does not stand in for a small face in the middle."""
    faces, middle = boxes(LARGE, SMALL_IN_THE_MIDDLE), np.array([99.5, 49.5])
    with pytest.raises(images.UnusablePictureError, match="too small: 20 px < 40"):
        detection.choose_face(faces, "central", middle, 40)
    assert detection.choose_face(faces, "largest", middle, 40).box.tolist() == LARGE


def test_a_face_moves_as_a_whole():
    face = detection.Face(np.array([0.0, 0.0, 40.0, 50.0]), np.ones((5, 2)))
    moved = face.moved(np.array([[2, 0, 3], [0, 2, -1], [0, 0, 1.0]]))
    assert moved.box.tolist() == [3, -1, 83, 99]
    assert (moved.points == (5, 1)).all() and np.isnan(moved.landmarks).all()
    assert moved.centre.tolist() == [43, 49] and moved.sides.tolist() == [80, 100]
