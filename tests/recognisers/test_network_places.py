"""leam.recognisers.places: the first, the middle and the last map of networks of many shapes."""

import logging

import pytest
import torch
from torch import nn
from torch.nn import functional

from leam.methods import Activated
from leam.recognisers import folding, graphs, networks, registry
from leam.recognisers.lattice import find_lattices, lattices_where_possible
from leam.recognisers.places import find_places
from leam.recognisers.taps import Taps
from small_recognisers import export
from test_networks import untrained


@pytest.mark.parametrize(
    ("name", "middle", "last", "sides"),
    [
        ("sample_arcface", "layer3", "bn2", (14, 7)),  # within layer4 there are later ones of 14 x 14, with a way round
        ("dlib_resnet", "layer2", "layer5", (17, 2)),
        pytest.param("IR_CASIA", "repeat_1", "block8", (17, 3), marks=pytest.mark.slow),
    ],
)
def test_of_the_recognisers_that_come_with_it(name, middle, last, sides):
    recogniser = untrained(name)
    network = networks.build_network(recogniser)
    found = find_places(network, recogniser.layers, recogniser.input_size)
    assert found == {"first": recogniser.layers[0], "middle": middle, "last": last}
    folded = folding.fold_norms(network, tuple(found.values()))
    with Taps(folded, tuple(found.values())) as taps:
        _, maps = taps.run(torch.randn(1, 3, *recogniser.input_size))
        assert (maps[middle].shape[-1], maps[last].shape[-1]) == sides


def test_of_an_onnx_file_by_the_files_own_names(tmp_path, narrow):
    export(networks.build_network(narrow), tmp_path / "m.onnx")
    entry = {key: list(getattr(narrow, key)) for key in ("input_size", "mean", "std")}
    entry |= {"architecture": "onnx", "weights": str(tmp_path / "m.onnx"), "layers": ["/conv1/Conv"]}
    recogniser = registry.recogniser("pack", entry)
    network = networks.build_network(recogniser)
    found = find_places(network, recogniser.layers, recogniser.input_size)
    with Taps(folding.fold_norms(network, tuple(found.values())), tuple(found.values())) as taps:
        _, maps = taps.run(torch.randn(1, 3, 112, 112))
    assert [maps[place].shape[-1] for place in found.values()] == [112, 14, 7]
    assert not any(place.startswith("n0") for place in found.values())


class Plain(nn.Module):
    """Maps of given sides one after the other, then the head."""

    def __init__(self, sides, head=None):
        super().__init__()
        self.sides, self.convs = sides, nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in sides)
        self.head = head or nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 8, 1), nn.Flatten())

    def forward(self, x):
        for side, conv in zip(self.sides, self.convs, strict=True):
            x = conv(functional.adaptive_avg_pool2d(x, side))
        return self.head(x)


@pytest.mark.parametrize(
    ("sides", "middle", "last"),
    [
        ((20, 14, 14, 7), "convs.2", "convs.3"),  # the last at 14 x 14
        ((20, 16, 12, 7), "convs.2", "convs.3"),  # of two as near, the last
        ((20, 15, 7), "convs.1", "convs.2"),
        (((14, 12), 7), "convs.0", "convs.1"),  # by its area
        ((4, 2), "convs.0", "convs.1"),
        ((32,), "convs.0", "convs.0"),
        ((28, 1), "convs.0", "convs.0"),  # a single unit is no map
    ],
)
def test_the_middle_is_the_last_output_nearest_to_14_units(sides, middle, last):
    torch.manual_seed(0)
    network = Plain(sides).eval().requires_grad_(False)
    assert find_places(network, ("convs.0",), (40, 40)) == {"first": "convs.0", "middle": middle, "last": last}


class Round(nn.Module):
    """Something of the picture goes round every convolution."""

    def __init__(self, head=False):
        super().__init__()
        self.conv, self.side, self.sum = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1), nn.Identity()
        self.is_joined = head

    def forward(self, x):
        if self.is_joined:
            return self.sum(self.conv(x) + self.side(x)).mean((2, 3))
        return torch.cat([self.conv(x).mean((2, 3)), self.side(x).mean((2, 3))], 1)


@pytest.mark.parametrize("trainable", [False, True])
def test_a_place_that_something_goes_round_is_none(trainable):
    network = Round(head=True).eval().requires_grad_(trainable)
    assert find_places(network, ("conv",), (14, 14)) == {"first": "conv", "middle": "sum", "last": "sum"}
    with pytest.raises(registry.ModelError, match="no map has a middle or last place: something goes round each"):
        find_places(Round().eval().requires_grad_(trainable), ("conv",), (14, 14))


class Unrelated(nn.Module):
    """Runs a convolution that leads nowhere, uses one and an activation twice, gives a tuple within."""

    def __init__(self):
        super().__init__()
        self.conv, self.twice, self.nowhere, self.idle = (nn.Conv2d(3, 3, 1) for _ in range(4))
        self.pair, self.tail, self.act = Pair(), nn.Conv2d(3, 6, 1), nn.ReLU()

    def forward(self, x):
        y, _ = self.pair(self.twice(self.twice(self.conv(x))))
        z = self.act(self.act(self.tail(y)))
        self.nowhere(x)
        return z.mean((2, 3))


class Pair(nn.Module):
    def forward(self, x):
        return x, x


def test_only_what_leads_to_the_embedding_once_is_a_place():
    network = Unrelated().eval().requires_grad_(False)
    assert find_places(network, ("conv",), (14, 14)) == {"first": "conv", "middle": "tail", "last": "tail"}


def test_places_without_a_lattice_are_stretched_and_that_is_said(caplog):
    caplog.set_level(logging.INFO)
    recogniser = untrained("sample_arcface")
    network = networks.build_network(recogniser)
    found = lattices_where_possible(network, ("conv1", "layer3", "bn2"), recogniser.input_size)
    assert found == find_lattices(network, ("conv1", "layer3"), recogniser.input_size)
    assert [record.message for record in caplog.records] == [
        "layer 'bn2' has no lattice: its maps are stretched over the input"
    ]
    with pytest.raises(registry.ModelError, match="no layer is called 'nothing'"):
        lattices_where_possible(network, ("conv1", "nothing"), recogniser.input_size)


def test_a_place_may_be_looked_at_after_its_activation():
    recogniser = untrained("dlib_resnet")
    network = networks.build_network(recogniser)
    places = tuple(find_places(network, recogniser.layers, recogniser.input_size).values())
    assert graphs.activated_layers(network, places) == places
    looked = ("layer5", Activated("layer5"))
    with Taps(folding.fold_norms(network, looked), looked) as taps:
        _, maps = taps.run(torch.randn(1, 3, *recogniser.input_size))
    assert torch.equal(maps["layer5"], maps[Activated("layer5")]) and maps["layer5"].min() >= 0
