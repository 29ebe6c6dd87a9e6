"""Maps on the common grid: PyTorch's own bilinear resizing, arrays and tensors alike, and windows."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from leam import maps
from leam.grid import Grid, Lattice, largest_pixels


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


@pytest.mark.parametrize("window", [(0, 0, 112, 112), (0, 8, 112, 104)])
def test_units_lie_where_the_lattice_says(window):
    """One unit alone is a tent whose peak is its place: input pixel 3 + 4 * 5, the 24th, of 112 (96) that are seen."""
    top, left, bottom, right = window
    size = (bottom - top, right - left)
    m = torch.zeros(1, 12, 12, dtype=torch.float64)
    m[0, 5, 5] = 1
    placed = Grid(112, window, size, {"a": Lattice((3, 3), (4, 4))}).place(m, "a")[0]
    tent = [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0]
    torch.testing.assert_close(placed[top + 23, left + 19 : left + 28], torch.tensor(tent, dtype=torch.float64))
    assert (placed.argmax() == (top + 23) * 112 + left + 23) and placed.sum() == pytest.approx(16)


def test_beyond_the_outermost_units_their_values_are_held():
    m = torch.arange(1.0, 4, dtype=torch.float64).expand(1, 3, 3)
    placed = Grid(12, input_size=(12, 12), lattices={"a": Lattice((4, 4), (2, 2))}).place(m, "a")[0]
    expected = [1, 1, 1, 1, 1, 1.5, 2, 2.5, 3, 3, 3, 3]
    torch.testing.assert_close(placed, torch.tensor(expected, dtype=torch.float64).expand(12, 12))


class Blurs(nn.Module):
    """Convolutions that blur with 1 2 1, which moves no centre of mass, of strides and paddings as recognisers have."""

    LAYERS = ("a", "b", "c", "d", "e")

    def __init__(self):
        super().__init__()
        kernel = torch.tensor([1.0, 2, 1]).outer(torch.tensor([1.0, 2, 1])) / 16
        for layer, (stride, padding) in zip(self.LAYERS, ((1, 1), (2, 1), (2, 0), (1, 1), (2, 1)), strict=True):
            conv = nn.Conv2d(3, 3, 3, stride, padding, groups=3, bias=False)
            conv.weight.data = kernel.expand(3, 1, 3, 3).clone()
            self.add_module(layer, conv)

    def forward(self, x):
        for layer in self.LAYERS:
            x = getattr(self, layer)(x)
        return x.sum((2, 3))


@pytest.mark.parametrize(("row", "column"), [(48, 60), (53, 41), (60, 66)])
def test_a_block_of_pixels_is_found_where_it_is_at_every_layer(row, column):
    """Centred maps have their centre of mass in the block's middle; stretched ones lie up to 4 pixels off."""
    x = torch.zeros(2, 3, 112, 112)
    x[:, :, row : row + 2, column : column + 2] = torch.tensor([[3.0, 1, 1], [1, 2, 1]])[..., None, None]
    regions = np.zeros((2, 112, 112), np.uint8)
    network = Blurs().eval().requires_grad_(False)
    off = {}
    for placement in ("centred", "stretched"):
        settings = maps.MapSettings(placement=placement)
        found = maps.explain(network, Blurs.LAYERS, x, regions, settings)
        lattices = maps.lattices_of(network, Blurs.LAYERS, (112, 112), placement)
        grid = Grid(112, lattices=lattices)
        for number, layer in enumerate(Blurs.LAYERS):
            placed = grid.place(found[f"maps.{number}"][1], layer)[0]
            places = np.indices(placed.shape).reshape(2, -1) @ placed.ravel() / placed.sum()
            off[placement, layer] = np.abs(places - (row + 0.5, column + 0.5)).max()
    assert max(off["centred", layer] for layer in Blurs.LAYERS) < 0.1
    assert off["stretched", "b"] > 0.4 and off["stretched", "e"] > 1
