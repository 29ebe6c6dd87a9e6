"""Maps on the common grid: PyTorch's own bilinear resizing, arrays and tensors alike, and windows."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from leam.grid import Grid, largest_pixels


@pytest.mark.parametrize(("native", "grid"), [(56, 112), (7, 112), (112, 42), (224, 112), (1, 5), (112, 112)])
def test_resizing_is_pytorchs_bilinear(native, grid):
    m = torch.rand(2, 3, native, native, dtype=torch.float64)
    expected = functional.interpolate(m, size=(grid, grid), mode="bilinear", align_corners=False)
    placed = Grid(grid).place(m)
    torch.testing.assert_close(placed, expected)
    assert isinstance(Grid(grid).place(m.numpy()), np.ndarray)
    np.testing.assert_allclose(Grid(grid).place(m.numpy()), placed, rtol=1e-12, atol=1e-15)


def test_a_window_is_placed_not_stretched():
    m = torch.rand(1, 112, 96, dtype=torch.float64)
    placed = Grid(112, (0, 8, 112, 104)).place(m)
    torch.testing.assert_close(placed[..., 8:104], m)
    assert placed[..., :8].abs().sum() + placed[..., 104:].abs().sum() == 0


def test_the_largest_pixels_are_the_first_of_a_stable_sort_that_are_above_zero():
    values = np.array([[0, 3, 1], [3, 0, 1], [2, 1, 0]], np.float32)
    for percent, expected in ((1, [1]), (22.2, [1, 3]), (50, [1, 3, 6, 2, 5]), (100, [1, 3, 6, 2, 5, 7])):
        assert largest_pixels(values, percent).tolist() == expected
    assert largest_pixels(np.zeros((3, 3)), 50).tolist() == []
