"""leam.faces.polygons: regions drawn from 68 landmarks, against a naive loop and against maps that are exact."""

import math

import numpy as np
import pytest

from leam.faces.frames import similarity_frame, transform, warp_labels
from leam.faces.polygons import PAINTED, UNSEEN, inside, landmark_regions, outlines
from leam.reasons import UnusablePictureError
from leam.regions import REGIONS, implausible
from leam.sample import rendering

SIDE = 112
# What bench_regions.txt has over many more people, less a tenth or more.
LEAST_IOU = {"face": 0.7, "rb": 0.55, "lb": 0.55, "re": 0.65, "le": 0.65, "nose": 0.7, "ulip": 0.65, "llip": 0.65}


@pytest.fixture(scope="module")
def scenes():
    """(landmarks, exact label map) of 10 people in two poses each, 160 px a side."""
    drawn = (scene for person in range(10) for scene in rendering.render_person(7, person, [0, 1], 160))
    return [(scene.landmarks.astype(float), scene.regions) for scene in drawn]


def winds_around(polygon, x, y):
    """The sum of the angles under which the edges are seen from a point, in whole turns."""
    total = 0.0
    for (x0, y0), (x1, y1) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        step = math.atan2(y1 - y, x1 - x) - math.atan2(y0 - y, x0 - x)
        total += (step + math.pi) % (2 * math.pi) - math.pi
    return round(total / (2 * math.pi))


def naive_inside(polygon, size):
    points = [tuple(map(float, point)) for point in polygon]
    return np.array([[winds_around(points, x, y) != 0 for x in range(size)] for y in range(size)])


def painted_naively(landmarks, size):
    labels = np.zeros((size, size), np.uint8)
    for region, polygon in outlines(landmarks).items():
        labels[naive_inside(polygon, size)] = REGIONS.index(region)
    return labels


@pytest.mark.parametrize("corners", [3, 4, 7, 12, 40])
def test_a_pixel_belongs_to_a_polygon_when_its_centre_does(corners):
    """Drawn at random, they cross themselves, wind twice around some pixels, and reach far beyond the crop."""
    rng = np.random.default_rng(corners)
    for scale in (3.0, 18.0, 60.0):
        polygon = rng.normal(8, scale, (corners, 2))
        np.testing.assert_array_equal(inside(polygon, 17), naive_inside(polygon, 17))
        np.testing.assert_array_equal(inside(polygon[::-1], 17), naive_inside(polygon, 17))


def test_polygons_of_faces_against_the_naive_loop(scenes):
    landmarks, _ = scenes[3]
    turn = similarity_frame(np.array([[0, 0], [160, 0]]), np.array([[3, 1], [28, 11]]))  # small and tilted
    placed = transform(landmarks, turn)
    np.testing.assert_array_equal(landmark_regions(placed, 34), painted_naively(placed, 34))
    assert list(outlines(placed)) == list(PAINTED)


def test_two_polygons_that_share_an_edge_share_no_pixel_and_leave_none_out():
    left, right = np.array([[1, 1], [4, 1], [6, 8], [1, 8]]), np.array([[4, 1], [9, 1], [9, 8], [6, 8]])
    both = inside(left, 12).astype(int) + inside(right, 12)
    expected = np.zeros((12, 12), int)
    expected[1:8, 1:9] = 1  # of edges through centres the left and upper ones belong to a polygon
    np.testing.assert_array_equal(both, expected)


def test_they_agree_with_the_exact_maps_of_rendered_people(scenes):
    met, joined = dict.fromkeys(PAINTED, 0), dict.fromkeys(PAINTED, 0)
    for landmarks, exact in scenes:
        found = landmark_regions(landmarks, 160)
        for region in PAINTED:
            ours, theirs = found == REGIONS.index(region), exact == REGIONS.index(region)
            met[region] += (ours & theirs).sum()
            joined[region] += (ours | theirs).sum()
        assert implausible(found) == "" and not set(np.unique(found)) & {REGIONS.index(name) for name in UNSEEN}
    overlap = {region: met[region] / joined[region] for region in LEAST_IOU}
    assert all(overlap[region] > least for region, least in LEAST_IOU.items()), overlap


def test_right_and_left_are_the_subject_s_own_as_in_the_exact_maps(scenes):
    for landmarks, exact in scenes:
        found = landmark_regions(landmarks, 160)
        for right, left in (("re", "le"), ("rb", "lb")):
            for labels in (found, exact):
                columns = [np.nonzero(labels == REGIONS.index(name))[1] for name in (right, left)]
                if all(map(len, columns)):  # glasses may hide an eye in the exact ones
                    assert columns[0].mean() < columns[1].mean()  # the picture's left is the subject's right


@pytest.mark.parametrize("degrees", [-150, -35, 20, 90])
def test_a_tilted_face_has_tilted_regions(scenes, degrees):
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    frame = (
        np.array([[1, 0, 79.5], [0, 1, 79.5], [0, 0, 1]]) @ turn @ np.array([[1, 0, -79.5], [0, 1, -79.5], [0, 0, 1]])
    )
    landmarks, _ = scenes[0]
    tilted = landmark_regions(transform(landmarks, frame), 160)
    expected = warp_labels(landmark_regions(landmarks, 160), frame, 160)
    assert (tilted == expected).mean() > 0.985  # but for pixels at edges


def test_a_mirrored_face_has_mirrored_regions_with_right_and_left_exchanged(scenes):
    landmarks, _ = scenes[5]
    mirrored = np.stack([159 - landmarks[:, 0], landmarks[:, 1]], axis=1)
    order = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)]
    order += [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    order += [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
    expected = landmark_regions(landmarks, 160)[:, ::-1]
    exchanged = expected.copy()
    for right, left in (("re", "le"), ("rb", "lb")):
        exchanged[expected == REGIONS.index(right)] = REGIONS.index(left)
        exchanged[expected == REGIONS.index(left)] = REGIONS.index(right)
    assert (landmark_regions(mirrored[order], 160) == exchanged).mean() > 0.999  # but for centres on an edge


@pytest.mark.parametrize("shift", [(-70, 0), (60, 50), (0, 90), (5, -100)])
def test_of_a_face_partly_outside_of_the_crop_the_rest_is_drawn(scenes, shift):
    landmarks, _ = scenes[2]
    wide = np.array([200, 200])
    whole = landmark_regions(landmarks + wide, 560)
    (top, left) = (wide - shift)[::-1]
    np.testing.assert_array_equal(landmark_regions(landmarks + shift, 160), whole[top : top + 160, left : left + 160])


def point(x, y):
    return np.tile([[x, y]], (68, 1)).astype(float)


def attackers(landmarks):
    unknown = landmarks.copy()
    unknown[40] = np.nan
    return {
        "all in one point": point(50, 50.25),
        "all in the centre of a pixel": point(50, 50),
        "all on a line": np.stack([np.linspace(0, 100, 68), np.full(68, 50.0)], axis=1),
        "one unknown": unknown,
        "all unknown": point(np.nan, np.nan),
        "without end": point(np.inf, 3),
        "left of the crop": landmarks - np.array([400, 0]),
        "above the crop": landmarks - np.array([0, 400]),
        "right of the crop": landmarks + np.array([400, 0]),
        "below the crop": landmarks + np.array([0, 400]),
        "beyond what integers hold": point(3e38, -3e38),
    }


@pytest.mark.parametrize("kind", list(attackers(np.zeros((68, 2)))))
def test_landmarks_that_outline_no_pixel_are_no_landmarks(scenes, kind):
    with pytest.raises(UnusablePictureError, match=r"^no landmarks$"):
        landmark_regions(attackers(scenes[0][0])[kind], SIDE)


@pytest.mark.parametrize("seed", range(30))
def test_landmarks_without_sense_give_a_map_or_the_reason(seed):
    """Crossing, repeated, shuffled and as far away as float32 goes: always labels that exist, of the crop's size."""
    rng = np.random.default_rng(seed)
    landmarks = rng.normal(56, 10.0 ** rng.integers(0, 38), (68, 2)).astype(np.float32)
    landmarks[rng.random(68) < 0.3] = landmarks[0]
    try:
        found = landmark_regions(landmarks, SIDE)
    except UnusablePictureError as reason:
        assert str(reason) == "no landmarks"
    else:
        assert found.shape == (SIDE, SIDE) and found.dtype == np.uint8
        assert {REGIONS[label] for label in np.unique(found)} <= {"background", *PAINTED}


def test_a_closed_mouth_has_no_inner_mouth_and_crossed_lips_are_drawn(scenes):
    landmarks = scenes[0][0] / 4
    landmarks[64:68] = landmarks[[64, 63, 62, 61]]
    assert REGIONS.index("imouth") not in landmark_regions(landmarks, 40)
    landmarks[[61, 62, 63], 1] += 3  # below the lower lip's inner edge
    landmarks[[65, 66, 67], 1] -= 3
    np.testing.assert_array_equal(landmark_regions(landmarks, 40), painted_naively(landmarks, 40))
    assert REGIONS.index("imouth") in landmark_regions(landmarks, 40)


def test_every_region_is_painted_unseen_or_the_background():
    assert sorted((*PAINTED, *UNSEEN, "background")) == sorted(REGIONS)
