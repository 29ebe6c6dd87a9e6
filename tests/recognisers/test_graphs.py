"""leam.recognisers.graphs: what activation functions and blocks give, in networks of every way of writing them."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from leam.methods import INPUT, Activated
from leam.recognisers import folding, graphs, networks, registry
from leam.recognisers.taps import Taps
from small_recognisers import export
from test_networks import untrained


class Steps(nn.Module):
    """Convolution, BatchNorm, an activation written in one of many ways, and a second convolution."""

    def __init__(self, act):
        super().__init__()
        self.conv, self.bn, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 3)
        if isinstance(act, nn.Module):
            self.act = act
        else:
            self.function = act

    def forward(self, x):
        y = self.bn(self.conv(x))
        y = self.act(y) if hasattr(self, "act") else self.function(y)
        return torch.tanh(self.conv2(y)).mean((2, 3))


WAYS = {
    "module": lambda: nn.ReLU(),
    "module in place": lambda: nn.ReLU(inplace=True),
    "prelu": lambda: nn.PReLU(4),
    "prelu of one slope": lambda: nn.PReLU(),
    "leaky": lambda: nn.LeakyReLU(0.1),
    "silu": lambda: nn.SiLU(),
    "block": lambda: nn.Sequential(nn.Identity(), nn.Sequential(nn.ELU())),
    "function": lambda: functional.relu,
    "function in place": lambda: torch.relu_,
    "functional in place": lambda: lambda y: functional.relu(y, inplace=True),
    "leaky function": lambda: lambda y: functional.leaky_relu(y, 0.1),
    "gelu": lambda: functional.gelu,
    "method": lambda: lambda y: y.relu(),
    "method in place": lambda: lambda y: y.relu_(),
    "clamp": lambda: lambda y: y.clamp(min=0),
    "scaled": lambda: lambda y: functional.relu(y * 0.3),
    "with a term": lambda: lambda y: functional.hardswish(y + 1.0),
}


def settled(network):
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.reset_parameters()
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    return network.double().eval().requires_grad_(False)


PICTURES = torch.linspace(-1, 1, 2 * 3 * 144, dtype=torch.float64).sin().mul(7).cos().view(2, 3, 12, 12)


def recorded(network, places, x=PICTURES):
    """Embeddings, and at each place what stood there and the gradient of the embeddings' sum of squares."""
    with Taps(network, places) as taps:
        embeddings, found = taps.run(x)
        gradients = torch.autograd.grad(embeddings.square().sum(), list(found.values()))
        return embeddings.detach(), [each.detach().clone() for each in found.values()], gradients


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_what_comes_after_the_activation_is_found_however_it_is_written(way, folded):
    network = settled(Steps(WAYS[way]()))
    places = (INPUT, "conv", Activated("conv"), "conv2", Activated("conv2"))
    make = folding.fold_norms if folded else graphs.mark_places
    embeddings, found, gradients = recorded(make(network, places), places)
    torch.testing.assert_close(embeddings, network(PICTURES))
    leaf = PICTURES.clone().requires_grad_()
    conv = network.conv(leaf)
    after = (network.act if hasattr(network, "act") else network.function)(network.bn(conv.clone()))
    conv2 = network.conv2(after)
    tanh = torch.tanh(conv2)
    loss = tanh.mean((2, 3)).square().sum()
    expected = leaf, conv, after, conv2, tanh
    for one, two, g in zip(found, expected, gradients, strict=True):
        torch.testing.assert_close(one, two.detach())
        torch.testing.assert_close(g, torch.autograd.grad(loss, two, retain_graph=True)[0])


def test_the_marked_network_is_the_same_one_and_marks_nothing_twice():
    network = settled(Steps(nn.ReLU()))
    assert graphs.mark_places(network, (INPUT, "conv", "conv2")) is network
    marked = graphs.mark_places(network, (Activated("conv"),))
    assert graphs.mark_places(marked, ("conv", Activated("conv"))) is marked
    more = folding.fold_norms(marked, (Activated("conv"), Activated("conv2"), "conv2"))
    assert [name for name, _ in more.named_modules() if name.startswith("mark")] == ["mark0", "mark1"]
    _, found, _ = recorded(more, (Activated("conv"), Activated("conv2"), "conv2"))
    torch.testing.assert_close(found[1], found[2].tanh())
    assert not [name for name, _ in network.named_modules() if name.startswith("mark")]  # as it was


class Residual(nn.Module):
    """Two blocks that add what they were given: one with an activation function behind the sum, one without."""

    def __init__(self):
        super().__init__()
        self.mark0 = nn.Conv2d(3, 4, 1)  # a name that the marks might take
        self.a, self.b, self.c = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.bn, self.relu = nn.BatchNorm2d(4), nn.ReLU(inplace=True)  # the one activation is used twice
        self.blocks = nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)), nn.PReLU(4))

    def forward(self, x):
        x = self.mark0(x)
        y = self.relu(self.a(x))
        y = self.bn(self.b(y))
        y += x
        y = self.relu(y)
        y = self.c(y) + y
        return self.blocks(y).mean((2, 3))


def test_behind_a_sum_it_is_the_blocks_activation_and_where_a_path_divides_there_is_none():
    network = settled(Residual())
    layers = ("mark0", "a", "b", "c", "blocks.0", "blocks.0.0", "blocks", "blocks.1", "relu")
    assert graphs.activated_layers(network, layers) == (
        "a", "b", "blocks.0", "blocks.0.0", "blocks", "blocks.1", "relu",
    )  # fmt: skip
    places = Activated("a"), Activated("b"), Activated("blocks.0"), "blocks.0", "blocks"
    for marked in (graphs.mark_places(network, places), folding.fold_norms(network, places)):
        _, found, _ = recorded(marked, places)
        x = network.mark0(PICTURES)
        a = network.a(x).relu()
        b = (network.bn(network.b(a)) + x).relu()
        inner = network.blocks[0](network.c(b) + b)
        outer = network.blocks[1](inner)
        for one, two in zip(found, (a, b, outer, inner, outer), strict=True):
            torch.testing.assert_close(one, two)
    with pytest.raises(registry.ModelError, match=r"^layer 'mark0', 'c' has no activation function of its own behind"):
        graphs.mark_places(network, (Activated("a"), Activated("mark0"), Activated("c")))


def test_blocks_have_their_outputs_in_a_folded_network_too():
    network, recogniser = (
        networks.build_network(untrained("sample_arcface")).double(),
        registry.REGISTRY["sample_arcface"],
    )
    x = torch.randn(2, 3, *recogniser.input_size, dtype=torch.float64)
    places = "conv1", "layer1", "layer1.0", "layer3", "bn2", "layer4.1"
    expected, found = (recorded(each, places, x) for each in (network, folding.fold_norms(network, places)))
    torch.testing.assert_close(found, expected)


class Shortcut(nn.Module):
    """A shortcut without steps: what it gives is what others take too."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.shortcut = nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Sequential()
        self.left = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        x = self.act(self.conv(x))
        return torch.tanh(self.left(x) + self.shortcut(x)).mean((2, 3))


def test_what_goes_round_a_block_without_steps_is_none_of_its_output():
    network = settled(Shortcut())
    act = network.conv(PICTURES).relu().requires_grad_()
    short = act.clone()
    loss = torch.tanh(network.left(act) + short).mean((2, 3)).square().sum()
    expected = torch.autograd.grad(loss, (short, act, short))
    places = ("shortcut", "act", Activated("shortcut"))
    for make in (graphs.mark_places, folding.fold_norms):
        torch.testing.assert_close(recorded(make(network, places), places)[2], expected)
    torch.testing.assert_close(recorded(network, places[:2])[2], expected[:2])


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())

    def forward(self, x):
        return self.block(self.block(x)).mean((2, 3))


@pytest.mark.parametrize("place", ["block", "block.0", Activated("block.0"), Activated("block")])
def test_what_runs_twice_is_refused_by_name(place):
    network = folding.fold_norms(settled(Twice()), (place,))
    with pytest.raises(
        registry.ModelError, match=r"layer 'block(\.0)?'( after its activation function)? runs more than"
    ):
        recorded(network, (place,))


class Branching(nn.Module):
    """What it does depends on the picture, so that it cannot be traced."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 4, 3), nn.ReLU()

    def forward(self, x):
        return (self.relu(self.conv(x)) if x.sum() > -1e9 else self.conv(x)).mean((2, 3))


def test_of_a_network_that_cannot_be_traced_the_activations_own_module_is_taken():
    network = settled(Branching())
    for make in (graphs.mark_places, folding.fold_norms):
        assert make(network, (Activated("conv"),)) is network
    with pytest.raises(registry.ModelError, match=r"layer 'conv' has no activation function of its own behind it"):
        recorded(network, (Activated("conv"),))
    assert graphs.activated_layers(network, ("conv", "relu")) == ("relu",)
    _, (one, two), _ = recorded(network, ("conv", Activated("relu")))
    torch.testing.assert_close(two, one.relu())


def test_a_layer_that_is_not_there_is_said_as_ever():
    network = settled(Residual())
    for find in (graphs.mark_places, graphs.find_modules, folding.fold_norms):
        with pytest.raises(registry.ModelError, match="no layer is called 'nothing'; convolutions are mark0, a, b"):
            find(network, (Activated("nothing"),))
    with pytest.raises(registry.ModelError, match="no layer is called 'nothing'"):
        graphs.activated_layers(network, ("nothing",))


def test_the_layers_of_an_onnx_file_have_their_activations(tmp_path, narrow):
    network = networks.build_network(narrow)
    export(network, tmp_path / "m.onnx")
    entry = {key: list(getattr(narrow, key)) for key in ("input_size", "mean", "std")}
    layers = ["/conv1/Conv", "/layer1/layer1.0/conv1/Conv", "/layer1/layer1.0/conv2/Conv"]
    entry |= {"architecture": "onnx", "weights": str(tmp_path / "m.onnx"), "layers": layers}
    read = networks.build_network(registry.recogniser("pack", entry))
    assert list(graphs.activated_layers(read, tuple(layers))) == layers[:2]
    places = Activated(layers[0]), Activated(layers[1])
    x = torch.randn(2, 3, 112, 112)
    _, expected, _ = recorded(network, ("prelu", "layer1.0.prelu"), x)
    for make in (graphs.mark_places, folding.fold_norms):
        _, found, _ = recorded(make(read, places), places, x)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


class Normalising(nn.Module):
    """Normalises its input in place, as some do."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x.sub_(0.5).div_(0.25)).mean((2, 3))


def test_an_input_that_the_network_overwrites_is_recorded_as_it_came():
    network, before = settled(Normalising()), PICTURES.clone()
    _, (found,), _ = recorded(network, (INPUT,))
    assert torch.equal(found, before) and torch.equal(PICTURES, before)


def test_the_activations_of_the_recognisers_that_come_with_it():
    for name, count in (("sample_arcface", 5), ("dlib_resnet", 9)):
        recogniser = dataclasses.replace(registry.REGISTRY[name], untrained=True)
        network = networks.build_network(recogniser)
        assert len(graphs.activated_layers(network, recogniser.layers)) == count


@pytest.mark.parametrize("name", ['a"); open("PWNED", "w"); ("', "a\nb", "{x}", "é"])
def test_no_name_of_a_part_reaches_the_source_that_marking_runs(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Sequential(nn.ReLU()), nn.Flatten()).eval()
    network[1].add_module(name, nn.ReLU())
    for place in (Activated("0"), Activated("1"), Activated(f"1.{name}")):
        assert graphs.mark_places(network, (place,)) is network
    assert not [*tmp_path.iterdir()]
