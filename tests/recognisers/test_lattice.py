"""Where the units of layers lie, found by a probe, against the receptive-field arithmetic done by hand."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional

from leam.grid import Lattice
from leam.recognisers import networks, registry
from leam.recognisers.lattice import find_lattices

ROOT = Path(__file__).parents[2]
C3, C3_S2, C1, POOL = (3, 1, 1), (3, 2, 1), (1, 1, 0), (2, 2, 0)  # kernel, stride, padding
VALID, VALID_S2, VALID_POOL = (3, 1, 0), (3, 2, 0), (3, 2, 0)


def by_hand(*steps):
    """Centre of unit 0 and stride after steps of (kernel, stride, padding), in pixels of the input."""
    offset, stride = 0.0, 1
    for kernel, step, padding in steps:
        offset += stride * ((kernel - 1) / 2 - padding)
        stride *= step
    return offset, float(stride)


IRESNET = {
    "conv1": [C3],
    "layer1.0.conv1": [C3] * 2,
    "layer1.0.conv2": [C3, C3, C3_S2],
    "layer1.1.conv1": [C3, C3, C3_S2, C3],
    "layer1.1.conv2": [C3, C3, C3_S2, C3, C3],
    "layer2.0.conv1": [C3, C3, C3_S2, C3, C3, C3],
    "layer2.0.conv2": [C3, C3, C3_S2, C3, C3, C3, C3_S2],
    "layer2.1.conv1": [C3, C3, C3_S2, C3, C3, C3, C3_S2, C3],
    "layer2.1.conv2": [C3, C3, C3_S2, C3, C3, C3, C3_S2, C3, C3],
}
STEM = [VALID_S2, VALID, C3, VALID_POOL, C1, VALID, VALID_S2]  # InceptionResnetV1 up to conv2d_4b
INCEPTION = {
    "conv2d_1a": STEM[:1],
    "conv2d_2a": STEM[:2],
    "conv2d_2b": STEM[:3],
    "conv2d_3b": STEM[:5],
    "conv2d_4a": STEM[:6],
    "conv2d_4b": STEM,
    "repeat_1.0.branch0": [*STEM, C1],
    "repeat_1.0.branch1.0": [*STEM, C1],
    "repeat_1.0.branch1.1": [*STEM, C1, C3],
}
VGG = {
    "conv1_1": [C3],
    "conv1_2": [C3] * 2,
    "conv2_1": [C3, C3, POOL, C3],
    "conv2_2": [C3, C3, POOL, C3, C3],
    "conv3_1": [C3, C3, POOL, C3, C3, POOL, C3],
    "conv3_2": [C3, C3, POOL, C3, C3, POOL, C3, C3],
    "conv3_3": [C3, C3, POOL, C3, C3, POOL, C3, C3, C3],
    "conv4_1": [C3, C3, POOL, C3, C3, POOL, C3, C3, C3, POOL, C3],
    "conv4_2": [C3, C3, POOL, C3, C3, POOL, C3, C3, C3, POOL, C3, C3],
}
DLIB_STEM = [(7, 2, 0), VALID_POOL]
DLIB = {
    "conv1": DLIB_STEM[:1],
    "layer1.0.conv1": [*DLIB_STEM, C3],
    "layer1.0.conv2": [*DLIB_STEM, *[C3] * 2],
    "layer1.1.conv1": [*DLIB_STEM, *[C3] * 3],
    "layer1.1.conv2": [*DLIB_STEM, *[C3] * 4],
    "layer1.2.conv1": [*DLIB_STEM, *[C3] * 5],
    "layer1.2.conv2": [*DLIB_STEM, *[C3] * 6],
    "layer2.0.conv1": [*DLIB_STEM, *[C3] * 6, VALID_S2],
    "layer2.0.conv2": [*DLIB_STEM, *[C3] * 6, VALID_S2, C3],
}
STEPS = dict.fromkeys(("AF_R18", "AF_R50", "AF_R100", "CF_R18", "CF_R50", "CF_R100"), IRESNET)
STEPS |= {"IR_CASIA": INCEPTION, "IR_VGG": INCEPTION, "VGG_16": VGG, "sample_arcface": IRESNET, "dlib_resnet": DLIB}


@pytest.mark.parametrize("name", STEPS)
def test_the_recognisers_lattices_are_those_of_the_arithmetic(name):
    recogniser = dataclasses.replace(registry.REGISTRY[name], untrained=True)
    if name[3:] in ("R50", "R100"):  # of more than two blocks in a stage, the same first two
        assert recogniser.layers == registry.REGISTRY["AF_R18"].layers
    found = find_lattices(networks.build_network(recogniser), recogniser.layers, recogniser.input_size)
    assert list(found) == list(recogniser.layers) == list(STEPS[name])
    for layer, steps in STEPS[name].items():
        offset, stride = by_hand(*steps)
        assert found[layer] == Lattice((offset, offset), (stride, stride)), layer


class Chain(nn.Module):
    """Modules one after the other, then the mean."""

    def __init__(self, *modules):
        super().__init__()
        self.steps = nn.Sequential(*modules)

    def forward(self, x):
        return self.steps(x).mean((2, 3))


def conv(*arguments, **options):
    return nn.Conv2d(3, 3, *arguments, **options)


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        ([conv(3, 2, 1)], Lattice((0, 0), (2, 2))),
        ([conv(3, padding=2, dilation=2), conv(2, 2)], Lattice((0.5, 0.5), (2, 2))),
        ([conv((5, 3), (4, 3), (1, 0))], Lattice((1, 1), (4, 3))),
        (
            [conv(3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True), conv(3)],
            Lattice((3, 3), (2, 2)),
        ),
        ([nn.ZeroPad2d((0, 1, 0, 1)), conv(2, 2), nn.AvgPool2d(2), conv(1)], Lattice((1.5, 1.5), (4, 4))),
        ([conv(31, padding=15), conv(31, padding=15)], Lattice((0, 0), (1, 1))),  # fields wider than the input
        ([conv(40)], Lattice((19.5, 19.5), (1, 1))),
    ],
)
def test_other_ways_to_see_an_image(modules, expected):
    torch.manual_seed(0)
    network = Chain(*modules).eval()
    last = f"steps.{len(modules) - 1}"
    assert find_lattices(network, (last,), (41, 48)) == {last: expected}


class Attention(Chain):
    def forward(self, x):
        return self.steps(x * torch.sigmoid(x.mean((2, 3), keepdim=True))).mean((2, 3))


class Halves(Chain):
    """A map enlarged by half before the layer: neighbouring units are not one stride apart."""

    def forward(self, x):
        return self.steps(functional.interpolate(x, scale_factor=1.5, mode="nearest")).mean((2, 3))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Attention(conv(3)), r"layer 'steps.0' cannot be placed .*: its units see the input from edge to edge; take a"),
        (
            Halves(conv(3)),
            r"layer 'steps.0' cannot be placed .*not equal and one stride apart .*maps.placement: stretch",
        ),
    ],
)
def test_what_is_no_lattice_is_refused_by_name(network, message):
    with pytest.raises(registry.ModelError, match=message):
        find_lattices(network.eval(), ("steps.0",), (40, 40))


def test_the_network_is_left_as_it_was():
    network = Chain(conv(3), nn.ReLU()).eval().requires_grad_(False)
    find_lattices(network, ("steps.0",), (20, 20))
    assert not network.steps[0]._forward_hooks and network.steps[0].weight.grad is None
    assert np.isfinite(network(torch.zeros(1, 3, 20, 20)).numpy()).all()


REAL = Path(os.environ.get("LEAM_REAL", "unset"))


def steps_in_file(path, layers):
    """{layer: the (kernel, stride, padding) of the convolutions up to it}, read from an ONNX file without running it.

    Of an addition the longer of its ways is taken: both have the same strides, and keep the middle where it is.
    """
    graph = onnx.load(path).graph
    makers = {output: node for node in graph.node for output in node.output}

    def way(name):
        if name not in makers:
            return []
        node = makers[name]
        found = max((way(given) for given in node.input), key=len, default=[])
        if node.op_type == "Conv":
            given = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
            found = [*found, (given["kernel_shape"][0], given["strides"][0], given["pads"][0])]
        return found

    written = {node.name.strip("/").replace(".", "/"): node.output[0] for node in graph.node}
    return {layer: way(written[layer]) for layer in layers}


@pytest.mark.skipif(not (REAL / "models").is_dir(), reason="no real recognisers (LEAM_REAL is to name their folder)")
@pytest.mark.parametrize("name", ["mobilefacenet_y1", "mobilefacenet_casia"])
def test_lattices_of_onnx_files_are_those_of_their_convolutions(name):
    entry = yaml.safe_load((ROOT / "docs" / "examples" / "real.yaml").read_text())["recognisers"][name]
    recogniser = registry.recogniser(name, entry | {"weights": str(REAL / entry["weights"])})
    found = find_lattices(networks.build_network(recogniser), recogniser.layers, recogniser.input_size)
    for layer, steps in steps_in_file(recogniser.weights, recogniser.layers).items():
        offset, stride = by_hand(*steps)
        assert found[layer] == Lattice((offset, offset), (stride, stride)), layer
    assert len(steps) >= 8
