"""The largest pixels of a map and their counts per region, against a full sort."""

import numpy as np
import pytest
import torch

import naive
from leam import pixel_sets
from leam.grid import TOP_PERCENTS
from leam.regions import REGIONS


def sizes_of(side, percents=TOP_PERCENTS):
    return [max(1, round(percent / 100 * side * side)) for percent in percents]


def test_counts_equal_a_full_sort_with_ties():
    rng = np.random.default_rng(0)
    side = 40
    grids = rng.integers(0, 6, (3, 4, side, side)).astype(np.float32)  # many ties
    grids[0, 0] = 0  # an empty map
    grids[1, 1] = 0
    grids[1, 1, 3, 4] = 2.0  # fewer positive pixels than any set but the smallest
    grids[2, 2] = rng.random((side, side), dtype=np.float32)
    regions = rng.integers(0, 19, (3, side, side)).astype(np.uint8)
    found = pixel_sets.RegionCounter(torch.from_numpy(regions)).count(torch.from_numpy(grids)).numpy()
    for image in range(3):
        for m in range(4):
            expected = naive.count(grids[image, m].ravel(), regions[image].ravel(), TOP_PERCENTS, len(REGIONS))
            np.testing.assert_array_equal(found[image, m], expected)


def some_ties(side=40):
    """Grids (3, 4, side, side) with ties, empty maps and nearly empty ones, that a margin suffices for, and regions."""
    rng = np.random.default_rng(0)
    grids = rng.integers(1, 400, (3, 4, side, side)).astype(np.float32)
    grids[0, 0] = grids[1, 1] = grids[2, 3] = 0
    grids[1, 1, 3, 4] = 2.0
    grids[2, 3, 5, :20] = 2.0  # equal ones that end before the margin
    return torch.from_numpy(grids), torch.from_numpy(rng.integers(0, 19, (3, side, side)).astype(np.uint8))


def test_quick_counts_equal_a_full_sort_too():
    grids, regions = some_ties()
    counter = pixel_sets.QuickCounter(regions)
    found = counter.count(grids)
    assert counter.is_settled()
    for image in range(3):
        for m in range(4):
            flat, labels = grids[image, m].flatten().numpy(), regions[image].flatten().numpy()
            expected = naive.count(flat, labels, TOP_PERCENTS, len(REGIONS))
            np.testing.assert_array_equal(found[image, m], expected)
    part = pixel_sets.QuickCounter(regions).count(grids[:2])  # of the first images alone
    assert torch.equal(part, found[:2])


@pytest.mark.parametrize(("equal", "settled"), [(160 + 127, True), (160 + 128, False), (1600, False)])
def test_quick_counts_say_when_equal_pixels_reach_beyond_the_margin(equal, settled):
    grids = torch.zeros(1, 1, 40, 40)
    grids.flatten(2)[..., -equal:] = 1.0  # the largest set has 160 pixels
    counter = pixel_sets.QuickCounter(torch.zeros(1, 40, 40, dtype=torch.uint8))
    counter.count(grids)
    assert counter.is_settled() == settled


def test_ties_fall_to_the_lowest_index():
    grids = torch.ones(1, 1, 10, 10)
    regions = torch.arange(100).reshape(1, 10, 10).remainder(19).to(torch.uint8)
    counts = pixel_sets.RegionCounter(regions, (2.0,)).count(grids)
    assert counts[0, 0, 0].nonzero().flatten().tolist() == [0, 1]


def test_sizes_of_the_pixel_sets():
    counter = pixel_sets.RegionCounter(torch.zeros(1, 112, 112, dtype=torch.uint8))
    assert counter.sizes == sizes_of(112)
    assert (counter.sizes[0], counter.sizes[6]) == (1, 125)


def test_order_is_a_full_stable_sort_and_stops_where_nothing_is_left():
    scores = torch.tensor([[[0.0, 2, 1], [2, 0, 1], [0, 0, 1]], [[0.0, 0, 0], [0, 0, 5], [0, 0, 0]]])
    found = pixel_sets.order_pixels(scores, 6).tolist()
    assert found == [[1, 3, 2, 5, 8, 9], [5, 9, 9, 9, 9, 9]]
