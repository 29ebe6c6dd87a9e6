"""Networks with fewer steps against themselves."""

import copy

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from leam.recognisers import folding, networks, onnx_network, registry
from small_recognisers import export
from test_networks import untrained


@torch.no_grad()
def with_statistics(network):
    """BatchNorm away from its initial, do-nothing state."""
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d)) and module.track_running_stats:
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                module.weight.uniform_(-1.5, 1.5)
                module.bias.normal_(0, 0.2)
    return network


@torch.no_grad()
def prelus_with_slopes(network):
    for module in network.modules():
        if isinstance(module, nn.PReLU):
            module.weight.uniform_(-0.5, 1.5)
    return network


def outputs_and_gradients(network, layers, x):
    """The embeddings; of each layer its output, and the gradient of a weighted sum of the embeddings with respect to it
    by PyTorch alone.
    """
    found = {}

    def record(layer):
        def hook(_module, _inputs, output):
            found[layer] = output if output.requires_grad else output.requires_grad_()
            return found[layer].clone()

        return hook

    handles = [
        module.register_forward_hook(record(layer)) for layer, module in networks.find_layers(network, layers).items()
    ]
    embeddings = network(x)
    for handle in handles:
        handle.remove()
    weights = torch.linspace(-1, 1, embeddings.numel(), dtype=embeddings.dtype).view_as(embeddings)
    gradients = torch.autograd.grad((weights * embeddings).sum(), list(found.values()))
    return embeddings, found, dict(zip(found, gradients, strict=True))


def steps(network, kind):
    """How many steps of a kind a traced network takes."""
    modules = dict(network.named_modules())
    return sum(node.op == "call_module" and type(modules[node.target]) is kind for node in network.graph.nodes)


def assert_same(network, folded, layers, x):
    expected, found = (outputs_and_gradients(each, layers, x) for each in (network, folded))
    torch.testing.assert_close(found[0], expected[0])
    for layer in layers:  # a target's output is the convolution's own, before its BatchNorm
        torch.testing.assert_close(found[1][layer], expected[1][layer])
        torch.testing.assert_close(found[2][layer], expected[2][layer])


@pytest.mark.parametrize(
    ("name", "frozen"),
    [
        ("sample_arcface", 1 + 8 * 2 + 4 + 1),  # conv1's, two in each block, bn3 behind each target, the last
        ("IR_CASIA", 9),  # behind the targets
        ("dlib_resnet", 9),  # likewise
        pytest.param("VGG_16", 0, marks=pytest.mark.slow),
    ],
)
def test_folding_changes_nothing_but_the_steps(name, frozen):
    recogniser = untrained(name)
    network = prelus_with_slopes(with_statistics(networks.build_network(recogniser))).double()
    folded = folding.fold_norms(network, recogniser.layers)
    assert steps(folded, folding.Frozen) == frozen
    assert steps(folded, nn.BatchNorm2d) == steps(folded, nn.PReLU) == 0
    assert_same(network, folded, recogniser.layers, torch.randn(2, 3, *recogniser.input_size, dtype=torch.float64))


def test_the_prelus_of_an_onnx_file_are_frozen_too(tmp_path, narrow):
    network = prelus_with_slopes(with_statistics(networks.build_network(narrow)))
    export(network, tmp_path / "m.onnx")
    entry = {key: list(getattr(narrow, key)) for key in ("input_size", "mean", "std")}
    entry |= {"architecture": "onnx", "weights": str(tmp_path / "m.onnx")}
    entry |= {"layers": ["/layer1/layer1.0/conv2/Conv", "/layer4/layer4.1/conv2/Conv"]}
    recogniser = registry.recogniser("pack", entry)
    network = networks.build_network(recogniser).requires_grad_(False)
    folded = folding.fold_norms(network, recogniser.layers)
    assert steps(folded, folding.Frozen) == 9 + 9  # PReLUs, and the BatchNorms that the export could not fold away
    assert steps(network, nn.PReLU) == 9 and not steps(network, folding.Frozen)  # the file's own network stays
    x = torch.randn(2, 3, 112, 112)
    torch.testing.assert_close(folded(x), network(x), rtol=0, atol=1e-5)
    assert_same(network.double(), folded.double(), recogniser.layers, x.double())


@pytest.mark.parametrize(
    ("shape", "frozen"), [((1,), 1), ((1, 1, 1), 1), ((4, 1, 1), 1), ((1, 4, 1, 1), 1), ((4, 6, 6), 0), ((6,), 0)]
)
def test_slopes_of_an_onnx_file_are_frozen_where_there_is_one_per_channel(shape, frozen):
    rng = np.random.default_rng(0)
    weight, slope = rng.normal(size=(4, 3, 3, 3)).astype(np.float32), rng.random(shape).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("PRelu", ["a", "slope"], ["b"]),
        helper.make_node("ReduceMean", ["b"], ["y"], axes=[2, 3], keepdims=0),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [value("y", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(slope, "slope")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    x = torch.randn(2, 3, 8, 8)
    built = onnx_network.build(model, x, channels_last=False, images=0)
    onnx_network.keep_output(built, 0)
    folded = folding.fold_norms(built.network, ("n0",))
    assert steps(folded, folding.Frozen) == frozen
    assert_same(built.network.double(), folded.double(), ("n0",), x.double())
    convolved = torch.nn.functional.conv2d(x.double(), torch.from_numpy(weight).double())
    expected = np.where(convolved >= 0, convolved, slope.astype(float) * convolved.numpy()).mean((2, 3))
    np.testing.assert_allclose(folded(x.double()).numpy(), expected, atol=1e-12)


class Odd(nn.Module):
    """Steps that must not be taken together: shared ones, ones whose output is used twice, and targets."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
        self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False), nn.BatchNorm2d(4)
        self.own = nn.BatchNorm2d(4, track_running_stats=False)
        self.bn4, self.bn5 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.shared, self.single, self.single2, self.flat = nn.PReLU(4), nn.PReLU(1), nn.PReLU(1), nn.PReLU(4)

    def forward(self, x):
        x = self.shared(self.bn1(self.conv1(x)))  # this PReLU runs again
        y = self.bn2(self.conv2(x))  # its output is used twice
        x = self.shared(self.single(y) + y)
        x = self.single(self.bn3(self.conv3(x)))
        x = self.single(self.bn3(x))  # this BatchNorm too
        x = self.single2(self.bn4(x) + self.bn5(x))
        return self.flat(self.own(x).mean((2, 3)))


@pytest.mark.parametrize("layers", [("conv1",), ("conv1", "conv2", "conv3"), ("bn1", "conv3"), ("single2", "bn4")])
def test_steps_that_do_not_belong_together_stay_apart(layers):
    torch.manual_seed(0)
    network = prelus_with_slopes(with_statistics(Odd())).double().eval().requires_grad_(False)
    folded = folding.fold_norms(network, layers)
    assert steps(folded, nn.PReLU) == 0 and steps(folded, nn.BatchNorm2d) == 1  # the one on statistics of the batch
    assert_same(network, folded, layers, torch.randn(2, 3, 12, 12, dtype=torch.float64))


def test_two_batch_norms_in_a_row_fold_into_one_convolution():
    torch.manual_seed(0)
    network = with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)))
    network = network.double().eval().requires_grad_(False)
    folded = folding.fold_norms(network, ())
    assert steps(folded, nn.Conv2d) == 1 and steps(folded, nn.BatchNorm2d) == steps(folded, folding.Frozen) == 0
    x = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    torch.testing.assert_close(folded(x), network(x))


def test_types_stay_what_they_are():
    frozen = folding.Frozen(with_statistics(nn.BatchNorm2d(4)).bfloat16().eval(), nn.PReLU(4).bfloat16())
    x = torch.randn(2, 4, 5, 5, dtype=torch.bfloat16).requires_grad_()
    y = frozen(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert y.dtype == gradient.dtype == torch.bfloat16


class Branching(nn.Module):
    """Its control flow depends on the data, so it cannot be traced."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.bn(self.conv(x)).mean((2, 3)) if x.sum() > 0 else self.conv(x).mean((2, 3))


def test_a_network_that_cannot_be_traced_stays_as_it_is():
    network = Branching().eval()
    assert folding.fold_norms(network, ("conv",)) is network


@pytest.mark.parametrize(
    "name",
    [
        'a"); open("PWNED", "w"); ("',
        "\\frac{1}",
        '"""',
        "a\nb",
        "{x}",
        "名",
        'a"',
        "é",
        "x y",
    ],
)
@pytest.mark.parametrize("kind", ["module", "parameter", "buffer"])
def test_no_name_of_a_part_reaches_the_source_that_tracing_runs(tmp_path, monkeypatch, name, kind):
    monkeypatch.chdir(tmp_path)
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten())
    register = {
        "module": network.add_module,
        "parameter": network[0].register_parameter,
        "buffer": network.register_buffer,
    }
    register[kind](name, {"module": nn.ReLU(), "parameter": nn.Parameter(torch.ones(1)), "buffer": torch.ones(1)}[kind])
    assert folding.fold_norms(network.eval(), ("0",)) is network
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize("name", ["sample_arcface", "IR_CASIA"])
def test_channels_last_changes_the_order_in_memory_alone(name):
    recogniser = untrained(name)
    network = with_statistics(networks.build_network(recogniser))
    ordered = folding.order_channels_last(copy.deepcopy(network), recogniser.input_size)
    x = torch.randn(2, 3, *recogniser.input_size, dtype=torch.float64)
    first = outputs_and_gradients(ordered.float(), recogniser.layers, x.float())[1][recogniser.layers[0]]
    assert first.is_contiguous(memory_format=torch.channels_last) and not first.is_contiguous()
    assert_same(network.double(), ordered.double(), recogniser.layers, x)


class Noisy(nn.Module):
    """It draws numbers of its own, which tracing would draw once and for all."""

    def __init__(self, noise):
        super().__init__()
        self.conv, self.bn, self.noise = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), noise

    def forward(self, x):
        return self.bn(self.conv(x)).mean((2, 3)) + self.noise * torch.randn(4)


@pytest.mark.parametrize("noise", [0, 1])
def test_a_network_whose_embeddings_would_change_is_not_folded(noise, caplog):
    torch.manual_seed(0)
    network = Noisy(noise).eval().requires_grad_(False)
    prepared = folding.fold_network(network, (), (12, 12), torch.device("cpu"))
    assert (prepared is network) == ("stays as it is" in caplog.text) == bool(noise)


class Viewing(nn.Module):
    """It flattens a convolution's output with ``view``, which needs the usual order in memory."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x).view(len(x), -1)


def test_a_network_that_needs_the_usual_order_keeps_it():
    network = folding.order_channels_last(Viewing().eval(), (8, 8))
    assert network.conv.weight.is_contiguous()
