"""Frames against known transforms; warped maps against scipy's interpolation and the grid that counts use."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from leam import links
from leam.analyses.similarity import alignment
from leam.grid import Grid, Lattice


def face(seed=0):
    """68 points spread over a grid of 112 like a face, at no special place."""
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 18, (68, 2)) + 56
    points[36], points[45] = (38, 45), (74, 49)  # eye corners that are not level
    return points


def similarity(scale, degrees, shift):
    angle = np.radians(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.vstack((np.column_stack((turn, shift)), (0, 0, 1)))


def moved(points, frame):
    return points @ frame[:2, :2].T + frame[:2, 2]


def warp_maps(maps, frames, side, window=(0, 0, 112, 112)):
    return alignment.Warp(frames, Grid(side, window))(maps)


CORNERS = np.array([[0, 0], [111, 0], [0, 111], [111, 111.0]])
KNOWN = [similarity(1.3, 25, (4, -9)), similarity(0.7, -160, (90, 100)), similarity(1, 0, (0.4, 0))]


@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("noise", [0, 0.1])
def test_a_known_similarity_transform_is_recovered_to_a_tenth_of_a_pixel(known, noise):
    source = face()
    target = moved(source, known) + np.random.default_rng(5).normal(0, noise, source.shape)
    found = alignment.frames_onto(source[None], target[None])[0]
    assert np.abs(moved(CORNERS, found) - moved(CORNERS, known)).max() < 0.1
    np.testing.assert_allclose(found[:2, :2] @ found[:2, :2].T, np.eye(2) * np.linalg.det(found[:2, :2]), atol=1e-12)


def blob(side, x, y, width=3.0):
    down, across = np.indices((side, side))
    return np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * width**2))


@pytest.mark.parametrize("known", [similarity(1.2, 20, (5, -12)), similarity(0.8, -35, (-10, 50))])
def test_a_warped_map_lies_where_its_frame_puts_it(known):
    image = blob(112, 60, 50)
    warped = warp_maps(torch.from_numpy(image)[None, None], known[None], 112)[0, 0].numpy()
    down, across = np.indices((112, 112))
    centre = np.array([(across * warped).sum(), (down * warped).sum()]) / warped.sum()
    np.testing.assert_allclose(centre, moved(np.array([60, 50.0]), known), atol=0.1)


def test_warped_maps_against_scipy():
    rng = np.random.default_rng(0)
    image, known = rng.random((2, 112, 112)), KNOWN[0]
    warped = warp_maps(torch.from_numpy(image)[None], known[None], 112)[0].numpy()
    down, across = np.indices((112, 112))
    x, y = moved(np.stack((across, down), axis=-1), np.linalg.inv(known)).transpose(2, 0, 1)
    inside = (np.abs(x - 55.5) < 56) & (np.abs(y - 55.5) < 56)
    for one, found in zip(image, warped, strict=True):
        expected = np.where(inside, map_coordinates(one, [y, x], order=1, mode="nearest"), 0)
        np.testing.assert_allclose(found, expected, atol=1e-9)
    assert 0.2 < inside.mean() < 0.95


@pytest.mark.parametrize("native", [(112, 112), (28, 28), (56, 48)])
@pytest.mark.parametrize("window", [(0, 0, 112, 112), (0, 8, 112, 104)])
def test_without_a_frame_maps_lie_as_on_the_grid_of_the_counts(native, window):
    maps = torch.rand(3, 2, *native, generator=torch.Generator().manual_seed(0))
    frames = np.broadcast_to(np.eye(3), (3, 3, 3))
    found = warp_maps(maps, frames, 112, window)
    np.testing.assert_allclose(found, Grid(112, window).place(maps), atol=1e-6)
    grid = Grid(112, window, (160, 120), {"conv": Lattice((3.5, 1), (3, 2))})
    np.testing.assert_allclose(alignment.Warp(frames, grid)(maps, "conv"), grid.place(maps, "conv"), atol=1e-6)


def test_a_map_and_its_face_move_together_whatever_the_sizes():
    """A landmark of a crop of 224 px marked in a map of 56 px ends on the target's landmark."""
    landmarks = np.random.default_rng(1).uniform(60, 160, (68, 2))
    source = alignment.to_grid(landmarks, 224, 112)
    target = moved(source, similarity(1.1, 12, (-6, 3)))
    native = (landmarks[30] + 0.5) * 56 / 224 - 0.5
    frames = alignment.frames_onto(source[None], target[None])
    warped = warp_maps(torch.from_numpy(blob(56, *native))[None, None], frames, 112)[0, 0].numpy()
    down, across = np.indices((112, 112))
    centre = np.array([(across * warped).sum(), (down * warped).sum()]) / warped.sum()
    np.testing.assert_allclose(centre, target[30], atol=0.1)


def test_crop_edges_become_grid_edges():
    np.testing.assert_allclose(alignment.to_grid(np.array([[-0.5, 223.5]]), 224, 112), [[-0.5, 111.5]])


def test_the_reference_has_level_eyes_and_is_drawn_by_seed_and_identity_alone():
    faces = np.stack([face(seed) for seed in range(20)])
    found = alignment.draw_reference("a", faces, 0)
    assert found[36, 1] == pytest.approx(found[45, 1]) and found[36, 0] < found[45, 0]
    sizes = np.linalg.norm(faces[:, 36] - faces[:, 0], axis=1)
    assert np.isclose(sizes, np.linalg.norm(found[36] - found[0])).any()  # one of them, only turned
    np.testing.assert_array_equal(found, alignment.draw_reference("a", faces, 0))
    others = [alignment.draw_reference(name, faces, seed) for name, seed in (("a", 1), ("b", 0), ("c", 0))]
    assert any(not np.allclose(found, other) for other in others)


def test_images_without_landmarks_have_no_frame():
    unknown = np.full((68, 2), np.nan)
    faces = np.stack((face(), unknown, np.zeros((68, 2))))
    assert alignment.are_usable(faces).tolist() == [True, False, False]
    found = alignment.frames_onto(faces, np.broadcast_to(face(1), faces.shape))
    assert np.isfinite(found).all((1, 2)).tolist() == [True, False, False]
    warped = warp_maps(torch.ones(3, 1, 7, 7), found, 16)
    assert warped.isnan().flatten(1).any(1).tolist() == [False, True, True]
    for seed in range(5):
        np.testing.assert_array_equal(alignment.draw_reference("a", faces, seed), alignment.level_eyes(face()))
    assert np.isnan(alignment.draw_reference("a", faces[1:], 0)).all()
    assert np.isnan(alignment.mean_shape(faces[:0])).all()


def test_the_mean_of_one_shape_in_many_places_is_that_shape_at_their_mean_size():
    rng = np.random.default_rng(2)
    shape = alignment.level_eyes(face())
    frames = [similarity(scale, rng.uniform(-40, 40), rng.uniform(-9, 9, 2)) for scale in (0.8, 1.0, 1.2)]
    found = alignment.mean_shape(np.stack([moved(shape, frame) for frame in frames]))
    np.testing.assert_allclose(found - found.mean(0), shape - shape.mean(0), atol=1e-6)


def test_partner_shards_are_drawn_and_do_not_grow_with_the_run():
    names = links.shard_names(100)
    found = links.partner_shards("00007", names, 16, seed=0)
    assert len(set(found)) == 16 and "00007" not in found and found == sorted(found)
    assert found == links.partner_shards("00007", names, 16, seed=0) != links.partner_shards("00008", names, 16, seed=0)
    assert links.partner_shards("00001", names[:4], 16, seed=0) == ["00000", "00002", "00003"]
