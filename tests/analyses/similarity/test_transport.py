"""The exact Earth Mover's Distance against linear programming, plain POT, the whole grid, and cases known by hand."""

import numpy as np
import ot
import pytest
from scipy.optimize import linprog

from leam.analyses.similarity import transport
from leam.analyses.similarity.transport import Ground


def linear_programme(p, q):
    """EMD of two small maps (G, G): every pixel to every pixel, mass kept by equations."""
    side, pixels = len(p), p.size
    places = np.stack(np.divmod(np.arange(pixels), side), axis=1)
    costs = np.linalg.norm(places[:, None] - places[None], axis=-1)
    keep = np.zeros((2 * pixels, pixels, pixels))
    for pixel in range(pixels):
        keep[pixel, pixel, :] = 1
        keep[pixels + pixel, :, pixel] = 1
    masses = np.concatenate((p.ravel() / p.sum(), q.ravel() / q.sum()))
    return linprog(costs.ravel(), A_eq=keep.reshape(2 * pixels, -1), b_eq=masses, method="highs").fun


def plain(p, q):
    """POT's own way: every point with mass, all distances, ot.emd2."""
    points = [np.argwhere(m > 0).astype(float) for m in (p, q)]
    masses = [m[m > 0] / m.sum() for m in (p, q)]
    return ot.emd2(*masses, ot.dist(*points, metric="euclidean"))


def support(ground, image):
    pixels = np.flatnonzero(image)
    return ground.support(pixels, image.ravel()[pixels])


def emd(p, q):
    ground = Ground(len(p))
    return ground.emd(support(ground, p), support(ground, q))


def sparse_map(rng, side, points):
    image = np.zeros((side, side))
    image.flat[rng.choice(side * side, points, replace=False)] = rng.random(points) + 0.01
    return image


@pytest.mark.parametrize("seed", range(20))
def test_tiny_maps_against_linear_programming(seed):
    rng = np.random.default_rng(seed)
    p, q = (sparse_map(rng, 5, rng.integers(1, 25)) for _ in range(2))
    assert emd(p, q) == pytest.approx(linear_programme(p, q), abs=1e-9)


@pytest.mark.parametrize("shift", [(0, 1), (7, 0), (3, 4), (-6, 8)])
def test_a_map_shifted_by_k_pixels_is_k_pixels_away(shift):
    rng = np.random.default_rng(0)
    p = np.zeros((40, 40))
    p[15:25, 15:25] = rng.random((10, 10))
    q = np.roll(p, shift, axis=(0, 1))
    assert emd(p, q) == pytest.approx(np.hypot(*shift), abs=1e-9)


@pytest.mark.parametrize("common", [0, 30, 124])
def test_on_supports_as_on_the_points_and_on_the_whole_grid(common):
    rng = np.random.default_rng(common)
    p, q = np.zeros((112, 112)), np.zeros((112, 112))
    places = rng.choice(1600, 250 - common, replace=False)
    rows, columns = places // 40 + 30, places % 40 + 40  # a patch of 40 x 40, so that the whole grid stays affordable
    p[rows[:125], columns[:125]] = rng.random(125)
    q[rows[-125:], columns[-125:]] = rng.random(125)
    assert ((p > 0) & (q > 0)).sum() == common
    found = emd(p, q)
    assert found == pytest.approx(plain(p, q), abs=1e-9)
    patch = np.s_[30:70, 40:80]
    grid = np.indices((40, 40)).reshape(2, -1).T.astype(float)
    whole = ot.emd2(p[patch].ravel() / p.sum(), q[patch].ravel() / q.sum(), ot.dist(grid, metric="euclidean"))
    assert found == pytest.approx(whole, abs=1e-9)


def test_a_map_of_the_whole_grid_against_pot():
    rng = np.random.default_rng(3)
    p, q = rng.random((2, 14, 14))
    assert emd(p, q) == pytest.approx(plain(p, q), abs=1e-9)


def test_it_is_a_metric_and_keeps_no_state():
    rng = np.random.default_rng(1)
    ground = Ground(20)
    a, b, c = (support(ground, sparse_map(rng, 20, 30)) for _ in range(3))
    assert ground.emd(a, a) == 0
    first = ground.emd(a, b)
    assert ground.emd(b, a) == pytest.approx(first, abs=1e-9)
    assert ground.emd(a, c) <= first + ground.emd(b, c) + 1e-9
    assert ground.emd(a, b) == first


def test_little_mass_moved_is_still_measured():
    p = np.zeros((10, 10))
    p[0, 0], p[9, 9] = 1, 1e-7
    q = np.zeros((10, 10))
    q[0, 0], q[9, 8] = 1, 1e-7
    assert emd(p, q) == pytest.approx(1e-7 / (1 + 1e-7), rel=1e-6)


def test_an_empty_map_has_no_distance():
    ground = Ground(8)
    nothing = ground.support(np.empty(0, int), np.empty(0))
    something = ground.support(np.array([3]), np.array([1.0]))
    assert np.isnan(ground.emd(nothing, something)) and np.isnan(ground.emd(something, nothing))


def test_pixels_may_have_another_length():
    ground = Ground(10, pixel=4.0)
    a, b = (ground.support(np.array([pixel]), np.array([2.0])) for pixel in (0, 34))
    assert ground.emd(a, b) == pytest.approx(4 * 5)


def test_a_solver_that_gives_up_is_no_result(monkeypatch):
    monkeypatch.setattr(transport, "MAX_STEPS", 1)
    rng = np.random.default_rng(2)
    with pytest.raises(transport.TransportError, match="stopped with code"):
        emd(sparse_map(rng, 30, 100), sparse_map(rng, 30, 100))
