"""The engine against a naive loop, its signs against a network worked by hand, and the stage's files."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import naive
from leam import device, files, jobs, journal, maps, maps_file, pixel_sets, storage
from leam.grid import TOP_PERCENTS, Grid
from leam.journal import Journal
from leam.methods import INPUT, POLARITIES, Reduction, cells_of
from leam.methods.leam import LEAM, weighted_activation
from leam.recognisers import networks, registry
from leam.recognisers.taps import Taps
from leam.regions import REGIONS
from shards import make_faces, write_faces


def engine(network, layers, x, side=28, reductions=(LEAM,), **options):
    regions = (np.arange(side * side) % 19).astype(np.uint8).reshape(1, side, side).repeat(len(x), axis=0)
    return maps.explain(network, layers, x, regions, maps.MapSettings(grid=side, **options), Grid(side), reductions)


def naive_image_maps(network, layer, x, polarity, target="cosine"):
    """docs/method.md 4: the mean over the anchor's N-1 pairs of the pair maps, each normalised to sum 1."""
    n, means = len(x), []
    for i in range(n):
        found = [naive.pair_map(network, layer, x[i], x[j], polarity, target) for j in range(n) if j != i]
        means.append(sum(m / m.sum() for m in found) / (n - 1))
    return torch.stack(means)


class InPlace(nn.Module):
    """Overwrites its convolutions' outputs in each way seen in the wild: module, function, and addition."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(i, 6, 3, padding=1) for i in (3, 6, 6))
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(6, 8)

    def forward(self, x):
        x = self.relu(self.a(x))
        x = torch.relu_(self.b(x))
        y = self.c(x)
        y += x
        return self.fc(functional.relu(y, inplace=True).mean((2, 3)))


def network_of(name, seed=0):
    torch.manual_seed(seed)
    recogniser = dataclasses.replace(registry.REGISTRY[name], untrained=True)
    network = networks.build_network(recogniser, seed)
    for module in network.modules():  # away from the initial statistics, so that BN does something
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm1d)):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
    return network.double(), recogniser


@pytest.mark.parametrize(
    ("name", "images", "layers"),
    [
        ("sample_arcface", 3, range(9)),
        ("AF_R18", 2, (0, 4, 8)),
        pytest.param("AF_R50", 2, (0, 8), marks=pytest.mark.slow),
        pytest.param("CF_R100", 2, (0, 8), marks=pytest.mark.slow),
        ("IR_CASIA", 2, (0, 5, 6, 8)),
        ("dlib_resnet", 2, (0, 4, 7, 8)),
        pytest.param("VGG_16", 2, (0, 8), marks=pytest.mark.slow),
    ],
)
def test_engine_equals_the_naive_loop(name, images, layers):
    network, recogniser = network_of(name)
    chosen = tuple(recogniser.layers[layer] for layer in layers)
    x = 127.5 / recogniser.std[0] * torch.randn(images, 3, *recogniser.input_size, dtype=torch.float64)
    found = engine(network, chosen, x)
    for number, layer in enumerate(chosen):
        module = f"{layer}.conv" if name == "IR_CASIA" else layer
        for sign, polarity in enumerate(POLARITIES):
            expected = naive_image_maps(network, module, x, polarity)
            np.testing.assert_allclose(found[f"maps.{number}"][sign], expected, rtol=1e-7, atol=1e-14)


@pytest.mark.parametrize("batch_images", [4, 2])
def test_the_product_with_constant_norms_equals_the_naive_loop(batch_images):
    network, recogniser = network_of("sample_cosface", seed=4)
    x = torch.randn(4, 3, 112, 112, dtype=torch.float64)
    layer = recogniser.layers[4]
    found = engine(network, (layer,), x, target="dot", batch_images=batch_images)
    for sign, polarity in enumerate(POLARITIES):
        expected = naive_image_maps(network, layer, x, polarity, "dot")
        np.testing.assert_allclose(found["maps.0"][sign], expected, rtol=1e-7, atol=1e-14)
        assert not np.allclose(expected, naive_image_maps(network, layer, x, polarity), rtol=0.1)


def test_engine_equals_the_naive_loop_with_in_place_activations():
    torch.manual_seed(1)
    network = InPlace().double().eval().requires_grad_(False)
    x = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    found = engine(network, ("a", "b", "c"), x)
    for number, layer in enumerate("abc"):
        for sign, polarity in enumerate(POLARITIES):
            expected = naive_image_maps(network, layer, x, polarity)
            np.testing.assert_allclose(found[f"maps.{number}"][sign], expected, rtol=1e-7)


@pytest.mark.parametrize("batch_images", [8, 2])
def test_pairs_of_equal_embeddings_have_empty_maps_as_in_the_naive_loop(batch_images):
    """1 - cos below 1e-6: the picture itself, one that differs by rounding; a pair just above it has its map."""
    torch.manual_seed(2)
    network = InPlace().double().eval().requires_grad_(False)
    x = torch.randn(5, 3, 16, 16, dtype=torch.float64)
    x[2], x[3] = x[0], x[1] + 1e-6 * x[4]
    x[4] = x[1] + 0.2 * x[4]
    found = engine(network, ("a", "c"), x, batch_images=batch_images)
    unit = functional.normalize(network(x))
    alike = {(i, j) for i in range(5) for j in range(5) if i != j and 1 - float(unit[i] @ unit[j]) < 1e-6}
    assert alike == {(0, 2), (2, 0), (1, 3), (3, 1)} and 1 - unit[1] @ unit[4] < 1e-3
    for number, layer in enumerate("ac"):
        for sign, polarity in enumerate(POLARITIES):
            for pair, (i, j) in enumerate(found["pairs"]):
                is_empty = found["counts"][sign, pair, number].sum() == 0
                assert is_empty == ((i, j) in alike)
            for i in range(5):
                partners = [j for j in range(5) if j != i and (i, j) not in alike]
                maps_of = [naive.pair_map(network, layer, x[i], x[j], polarity) for j in partners]
                expected = sum(m / m.sum() for m in maps_of) / len(partners)
                np.testing.assert_allclose(found[f"maps.{number}"][sign, i], expected, rtol=1e-6)
    assert found["nonfinite"] == 0


def test_float32_rounding_is_no_direction():
    """Of one picture twice the engine's float32 gradient is not 0 everywhere: that noise must not become a map."""
    torch.manual_seed(3)
    network = InPlace().eval().requires_grad_(False)
    x = torch.randn(1, 3, 16, 16).repeat(2, 1, 1, 1)
    noise = naive.pair_map(network, "a", x[0], x[1], "loss")
    assert 0 < noise.max() < 1e-6
    found = engine(network, ("a",), x)
    assert found["counts"].sum() == 0 and found["maps.0"].sum() == 0


def test_pair_maps_cosine_and_pairs_equal_the_naive_ones():
    network, recogniser = network_of("sample_arcface")
    x = torch.randn(3, 3, 112, 112, dtype=torch.float64)
    found = engine(network, recogniser.layers[:2], x, pair_maps=True)
    assert found["pairs"].tolist() == [[0, 1], [0, 2], [1, 0], [1, 2], [2, 0], [2, 1]]
    embeddings = network(x)
    for row, (i, j) in enumerate(found["pairs"]):
        cosine = functional.cosine_similarity(embeddings[i], embeddings[j], dim=0)
        assert found["cosine"][row] == pytest.approx(float(cosine), abs=1e-6)
        for sign, polarity in enumerate(POLARITIES):
            expected = naive.pair_map(network, recogniser.layers[1], x[i], x[j], polarity)
            stored = found["pair_maps.1"][sign, row]
            np.testing.assert_allclose(stored, expected / expected.max(), atol=6e-4)  # float16


def gradient_times_input(gradient, activation):
    """What raises the cosine and what lowers it, apart: unlike LEAM, this looks at the image itself."""
    product = (gradient * activation).sum(1)
    return torch.stack((torch.relu(-product), torch.relu(product)))


def gradient_size(gradient, _activation):
    """One map and no polarity."""
    return gradient.abs().sum(1)[None]


def test_several_methods_share_their_backwards(monkeypatch):
    network, recogniser = network_of("sample_arcface")
    layers, x = recogniser.layers[:2], torch.randn(3, 3, 112, 112, dtype=torch.float64)
    alone, calls, grad = engine(network, layers, x, pair_maps=True), [], torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *given, **options: calls.append(1) or grad(*given, **options))
    reductions = (LEAM, Reduction("gradxinput", INPUT, gradient_times_input))
    together = engine(network, layers, x, pair_maps=True, reductions=reductions)
    assert len(calls) == 2  # the shifts of three images
    assert [cell.name for cell in cells_of(reductions, layers)] == [*layers, "gradxinput@input"]
    for number in range(2):
        np.testing.assert_array_equal(together[f"maps.{number}"], alone[f"maps.{number}"])
    np.testing.assert_array_equal(together["counts"][:, :, :2], alone["counts"])
    for row, (i, j) in enumerate(together["pairs"]):
        image = x[i : i + 1].clone().requires_grad_()
        cosine = functional.cosine_similarity(network(image), network(x[j : j + 1]).detach()).sum()
        product = (grad(cosine, image)[0] * image.detach()).sum(1)[0]
        for sign, expected in enumerate((torch.relu(-product), torch.relu(product))):
            np.testing.assert_allclose(together["pair_maps.2"][sign, row], expected / expected.max(), atol=6e-4)


def test_signs_are_the_methods_own_matter():
    network, recogniser = network_of("sample_arcface")
    x = torch.randn(3, 3, 112, 112, dtype=torch.float64)
    unsigned = Reduction("size", "layers", gradient_size, signs=("any",))
    found = engine(network, recogniser.layers[:2], x, pair_maps=True, reductions=(unsigned,))
    assert found["maps.1"].shape[:2] == (1, 3) and found["counts"].shape[:3] == (1, 6, 2)
    assert found["pair_maps.0"].shape[:2] == (1, 6) and (found["maps.0"].sum((2, 3)) - 1 < 1e-6).all()
    with pytest.raises(maps.MapsError, match=r"same signs; these have leam: loss/similarity, size: any"):
        engine(network, recogniser.layers[:2], x, reductions=(LEAM, unsigned))


class Sums(nn.Module):
    """Embedding = the sums of two channels, which copy the image's first two: every gradient is known by hand."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        self.conv.weight.data = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]).view(2, 3, 1, 1)

    def forward(self, x):
        return self.conv(x).sum((2, 3))


def test_polarity_by_hand():
    """Anchor (3, 4), positive (1, 0): d cos / d(channel sums) = ((1, 0) - 0.6 * (0.6, 0.8)) / 5 = (0.128, -0.096).

    So the similarity rises where channel 0 is active (left), the loss where channel 1 is (right).
    """
    images = torch.zeros(2, 3, 2, 2)
    images[0, 0, :, 0] = torch.tensor([1.0, 2.0])  # channel 0, left column: sums to 3
    images[0, 1, :, 1] = torch.tensor([1.5, 2.5])  # channel 1, right column: sums to 4
    images[1, 0, 0, 0] = 1.0
    with Taps(Sums(), ("conv",)) as taps:
        embeddings, activations = taps.run(images)
        unit = functional.normalize(embeddings.detach())
        batch = next(
            maps.pair_batches(
                activations, cells_of((LEAM,), ("conv",)), embeddings, maps.Anchors([2], torch.device("cpu")), unit
            )
        )
    loss, similarity = batch.maps[0][:, 0]
    torch.testing.assert_close(similarity, 0.128 * torch.tensor([[1.0, 0], [2.0, 0]]))
    torch.testing.assert_close(loss, 0.096 * torch.tensor([[0, 1.5], [0, 2.5]]))


def test_relu_of_the_gradient_not_of_the_product():
    """With a negative activation under a positive gradient, ReLU(g) * A subtracts and ReLU(g * A) would not."""
    gradient = torch.tensor([1.0, 1.0, -2.0]).view(1, 3, 1, 1)
    activation = torch.tensor([3.0, -1.0, -5.0]).view(1, 3, 1, 1)
    loss, similarity = weighted_activation(gradient, activation).flatten()
    assert similarity == 2.0  # 1*3 + 1*(-1)
    assert loss == 0.0  # 2*(-5) < 0


def test_engine_counts_its_own_maps():
    """End to end on a grid other than the maps' own: resized by PyTorch, counted by the full sort."""
    network, recogniser = network_of("sample_cosface", seed=3)
    x = torch.randn(3, 3, 112, 112, dtype=torch.float64)
    found = engine(network, recogniser.layers[5:7], x, side=42)
    regions = torch.arange(42 * 42).remainder(19).numpy()
    for row, (i, j) in enumerate(found["pairs"]):
        for sign, polarity in enumerate(POLARITIES):
            native = naive.pair_map(network, recogniser.layers[6], x[i], x[j], polarity)
            placed = functional.interpolate(native[None, None], size=(42, 42), mode="bilinear", align_corners=False)
            expected = naive.count(placed.float().flatten().numpy(), regions, TOP_PERCENTS, len(REGIONS))
            counted = found["counts"][sign, row, 1].astype(int)
            assert counted.sum(1).tolist() == expected.sum(1).tolist()
            assert abs(counted - expected).sum() <= 0.01 * expected.sum()  # equal but for rounding among neighbours


def test_blocks_give_the_same_as_the_whole():
    network, recogniser = network_of("sample_arcface")
    x = torch.randn(5, 3, 112, 112, dtype=torch.float64)
    whole, blocks = (engine(network, recogniser.layers, x, batch_images=batch) for batch in (5, 2))
    for key, array in whole.items():
        np.testing.assert_allclose(blocks[key], array, rtol=1e-9, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("batch", [4, 8])  # smaller than the identity, and larger
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_out_of_memory_halves_the_batch_and_goes_on(limit, batch):
    network, recogniser = network_of("sample_arcface")

    def refuse(_module, inputs):
        if len(inputs[0]) > limit:
            raise torch.OutOfMemoryError("out of memory")

    x = torch.randn(5, 3, 112, 112, dtype=torch.float64)
    expected = engine(network, recogniser.layers[:2], x)
    network.register_forward_pre_hook(refuse)
    found = engine(network, recogniser.layers[:2], x, batch_images=batch)
    np.testing.assert_allclose(found["maps.1"], expected["maps.1"], rtol=1e-9)
    np.testing.assert_array_equal(found["counts"], expected["counts"])


def test_many_images_are_filled_in_block_by_block(tmp_path, narrow):
    """A file of 5 images in blocks of 2 holds the same as one of a single block, wherever chunks and blocks end."""
    path = write_faces(tmp_path / "faces.h5", [make_faces("a", 5)])
    found = []
    for batch in (2, 5):
        maps.compute_maps(path, tmp_path / f"{batch}.h5", narrow, settings(batch_images=batch, pair_maps=True))
        with storage.open_shard(tmp_path / f"{batch}.h5", "maps") as shard:
            found.append(storage.read_maps(shard, "a", pair_maps=True))
    one, two = found
    np.testing.assert_allclose(one.maps["loss"]["conv1"], two.maps["loss"]["conv1"], rtol=1e-3, atol=1e-8)
    np.testing.assert_allclose(one.cosine, two.cosine, atol=1e-5)
    assert one.counts["loss"].shape == two.counts["loss"].shape == (20, 9, 15, 19)
    totals = [found.counts["similarity"].sum(3, dtype=int) for found in (one, two)]
    assert np.abs(totals[0] - totals[1]).max() <= 0.02 * 56 * 56
    assert one.pair_maps["loss"]["layer2.1.conv2"].shape == (20, 28, 28)


def together(network, layers, xs, side=28, counter=None, **options):
    regions = [(np.arange(side * side) % 19).astype(np.uint8).reshape(1, side, side).repeat(len(x), axis=0) for x in xs]
    settings = maps.MapSettings(grid=side, **options)
    return maps.map_together(network, cells_of((LEAM,), layers), xs, regions, settings, Grid(side), counter)


@pytest.mark.parametrize("counter", [pixel_sets.RegionCounter, pixel_sets.QuickCounter])
def test_identities_in_one_block_get_what_each_gets_alone(counter):
    network, recogniser = network_of("sample_arcface")
    xs = [torch.randn(n, 3, 112, 112, dtype=torch.float64) for n in (3, 2, 5, 3)]
    for x, found in zip(xs, together(network, recogniser.layers, xs, counter=counter, pair_maps=True), strict=True):
        alone = engine(network, recogniser.layers, x, pair_maps=True)
        assert found.keys() == alone.keys() - {"pairs", "cosine"}
        for key, array in found.items():
            np.testing.assert_allclose(array, alone[key], rtol=1e-9, atol=1e-12, err_msg=key)
            assert array.dtype == np.asarray(alone[key]).dtype


def test_the_backwards_of_a_block_are_those_of_its_largest_identity():
    network, recogniser = network_of("sample_arcface")
    backwards = []
    network.layer3[0].conv1.register_full_backward_hook(lambda _m, _i, output: backwards.append(len(output[0])))
    together(network, recogniser.layers, [torch.randn(n, 3, 112, 112, dtype=torch.float64) for n in (2, 4)])
    assert backwards == [6, 6, 6]


class Flat(nn.Module):
    """Its maps are the same everywhere, so that every pixel ties with every other."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 1)

    def forward(self, x):
        return self.conv(x.mean((2, 3), keepdim=True).expand(-1, -1, 16, 16)).mean((2, 3))


def test_ties_that_cannot_be_settled_are_counted_anew():
    torch.manual_seed(0)
    network = Flat().eval().requires_grad_(False)
    xs = [torch.randn(n, 3, 16, 16) for n in (3, 2)]
    alone = [engine(network, ("conv",), x)["counts"] for x in xs]
    assert alone[0].any()
    for found, expected in zip(together(network, ("conv",), xs, counter=pixel_sets.QuickCounter), alone, strict=True):
        np.testing.assert_array_equal(found["counts"], expected)


def test_other_errors_are_not_taken_for_memory():
    network, recogniser = network_of("sample_arcface")
    network.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("a shape is wrong")))
    with pytest.raises(RuntimeError, match="a shape is wrong"):
        engine(network, recogniser.layers[:1], torch.randn(2, 3, 112, 112, dtype=torch.float64))


def test_bf16_maps_are_added_in_float32_and_close():
    network, recogniser = network_of("sample_arcface")
    network, x = network.float(), torch.randn(3, 3, 112, 112)
    exact = engine(network, recogniser.layers, x)
    with device.arithmetic("bf16", torch.device("cpu")):
        found = engine(network, recogniser.layers, x)
    for layer in range(9):
        assert found[f"maps.{layer}"].dtype == np.float32
        for sign in range(2):
            for one, two in zip(found[f"maps.{layer}"][sign], exact[f"maps.{layer}"][sign], strict=True):
                assert np.corrcoef(one.ravel(), two.ravel())[0, 1] > 0.95
    np.testing.assert_allclose(found["cosine"], exact["cosine"], atol=0.02)


def test_bf16_rounds_the_network_and_not_the_counts():
    """A sum of pixels that went through bf16 would be even from 256 on, and divisible by 4 from 512 on."""
    network, recogniser = network_of("sample_arcface")
    with device.arithmetic("bf16", torch.device("cpu")):
        found = engine(network.float(), recogniser.layers, torch.randn(3, 3, 112, 112), side=112)
    full = found["counts"][..., -1, :]
    assert (full[full >= 256] % 2 == 1).any()


def test_the_number_of_images_at_once_is_open_by_default(tmp_path, faces_shard, narrow):
    assert device.images_at_once(torch.device("cpu")) == 32
    found = []
    for batch in (None, 32):
        output = tmp_path / f"{batch}.h5"
        maps.compute_maps(faces_shard, output, narrow, settings(batch_images=batch))
        with storage.open_shard(output, "maps") as shard:
            found.append([storage.read_maps(shard, name) for name in storage.identities(shard)])
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one.counts["loss"], two.counts["loss"])


def test_where_it_is_open_the_engine_too_takes_as_many_images_as_the_device_suggests(monkeypatch):
    torch.manual_seed(0)
    network = InPlace().double().eval().requires_grad_(False)
    x, regions = torch.randn(5, 3, 16, 16, dtype=torch.float64), np.zeros((5, 16, 16), np.uint8)
    monkeypatch.setattr(device, "CPU_BATCH", 2)
    given = maps.MapSettings(grid=16, batch_images=None)
    blocks = maps.map_blocks(network, cells_of((LEAM,), ("a",)), x, regions, given, Grid(16))
    assert [len(block["anchors"]) for block in blocks] == [2, 2, 1]
    opened, bounded = (engine(network, ("a",), x, side=16, batch_images=batch) for batch in (None, 2))
    assert opened.keys() == bounded.keys()
    for key, array in opened.items():
        np.testing.assert_array_equal(array, bounded[key])


def test_hooks_are_always_removed():
    network, recogniser = network_of("sample_arcface")
    x = torch.randn(2, 3, 112, 112, dtype=torch.float64)
    engine(network, recogniser.layers, x)
    with pytest.raises(RuntimeError), Taps(network, recogniser.layers) as taps:
        taps.run(torch.randn(2, 3, 50, 50, dtype=torch.float64))
    assert not any(module._forward_hooks for module in network.modules())


def test_work_is_n_forwards_and_n_times_n_minus_1_image_backwards():
    network, recogniser = network_of("sample_arcface")
    forwards, backwards = [], []
    network.register_forward_hook(lambda _m, _i, output: forwards.append(len(output)))
    network.layer3[0].conv1.register_full_backward_hook(lambda _m, _i, output: backwards.append(len(output[0])))
    engine(network, recogniser.layers, torch.randn(4, 3, 112, 112, dtype=torch.float64))
    assert (sum(forwards), sum(backwards)) == (4, 12)


@pytest.mark.parametrize(
    ("layers", "message"),
    [(("conv9",), "no layer is called 'conv9'; convolutions are conv1, layer1.0.conv1"), (("dropout.x",), "no layer")],
)
def test_a_layer_that_does_not_exist_is_named_with_those_that_do(layers, message):
    network, _ = network_of("sample_arcface")
    with pytest.raises(registry.ModelError, match=message):
        engine(network, layers, torch.randn(2, 3, 112, 112, dtype=torch.float64))


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.twice, self.never, self.aside = (nn.Conv2d(3, 3, 1) for _ in range(3))

    def forward(self, x):
        self.aside(x)
        return self.twice(self.twice(x)).mean((2, 3))


@pytest.mark.parametrize(
    ("layer", "message"),
    [("twice", "more than once"), ("never", "does not run"), ("aside", "does not lead to the embedding")],
)
def test_layers_that_cannot_be_explained(layer, message):
    network = Odd().eval().requires_grad_(False)
    with pytest.raises(registry.ModelError, match=message):
        engine(network, (layer,), torch.randn(2, 3, 8, 8))


# --------------------------------------------------------------------------------------------------------- the stage


def settings(**changes):
    return dataclasses.replace(maps.MapSettings(grid=56, batch_images=4), **changes)


def test_file_holds_what_the_contract_says(tmp_path, faces_shard, narrow):
    output = tmp_path / "maps" / "00000.h5"
    maps.compute_maps(faces_shard, output, narrow, settings(pair_maps=True), attributes={"config_sha256": "x"})
    assert {path.name for path in output.parent.iterdir()} == {"00000.h5", "00000.h5.sha256"}  # no journal, no lock
    with storage.open_shard(output, "maps") as shard:
        assert storage.identities(shard) == list("abcd")
        assert list(shard.attrs["layers"]) == list(registry.IRESNET_LAYERS)
        assert storage.read_thresholds(shard) == [f"{percent:g}" for percent in TOP_PERCENTS] + ["full"]
        assert shard.attrs["untrained"] and shard.attrs["config_sha256"] == "x"
        found = storage.read_maps(shard, "c", pair_maps=True)
    assert found.pairs.shape == (12, 2) and found.pairs.dtype == np.int16
    assert found.counts["loss"].shape == (12, 9, 15, 19)
    assert found.maps["similarity"]["layer2.1.conv2"].shape == (4, 28, 28)
    sums = found.maps["loss"]["conv1"].sum((1, 2))
    np.testing.assert_allclose(sums, 1, rtol=1e-5)
    assert found.pair_maps["loss"]["conv1"].shape == (12, 112, 112)
    assert found.counts["loss"][:, :, 6].sum(2).max() == round(0.01 * 56 * 56)


def test_float16_maps_are_the_same_but_for_rounding(tmp_path, faces_shard, narrow):
    read = {}
    for dtype in ("float32", "float16"):
        maps.compute_maps(faces_shard, tmp_path / dtype, narrow, settings(dtype=dtype))
        with storage.open_shard(tmp_path / dtype, "maps") as shard:
            read[dtype] = storage.read_maps(shard, "a").maps["loss"]["conv1"]
    np.testing.assert_allclose(read["float16"], read["float32"], rtol=1e-3, atol=1e-7 * read["float32"].max())
    with h5py.File(tmp_path / "float16") as file:
        assert file["a/maps/loss/conv1"].dtype == np.float16


def test_a_rerun_gives_the_same_bytes(tmp_path, faces_shard, narrow):
    for name in ("one", "two"):
        maps.compute_maps(faces_shard, tmp_path / name, narrow, settings())
    assert files.sha256(tmp_path / "one") == files.sha256(tmp_path / "two")


KILLED = """
import os, signal, sys
from leam import maps, maps_file, storage
from leam.recognisers import registry
from leam.recognisers.taps import Taps
maps.torch.set_num_threads({threads})  # sums are taken in another order by another number of threads
recogniser = registry.recogniser("narrow", {entry!r})
def progress(names):
    for number, name in enumerate(names):
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield name
maps.compute_maps({faces!r}, {output!r}, recogniser, maps.MapSettings(grid=56, batch_images=4), progress=progress)
"""


def test_killed_half_way_and_started_again_gives_the_undisturbed_file(tmp_path, faces_shard, narrow):
    undisturbed, output = tmp_path / "undisturbed.h5", tmp_path / "maps" / "00000.h5"
    maps.compute_maps(faces_shard, undisturbed, narrow, settings())
    entry = {key: value for key, value in dataclasses.asdict(narrow).items() if key != "name"}
    code = KILLED.format(entry=entry, faces=str(faces_shard), output=str(output), threads=torch.get_num_threads())
    path = str(Path(maps.__file__).parents[1])
    killed = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not output.exists()
    journal = output.with_name("00000.h5.journal")
    journal.write_bytes(journal.read_bytes() + b"half a rec")  # as a kill in the middle of an append leaves it
    computed = []
    maps.compute_maps(faces_shard, output, narrow, settings(), progress=lambda names: computed.extend(names) or names)
    assert computed == ["c", "d"]  # a and b were not computed again
    assert files.sha256(output) == files.sha256(undisturbed)
    assert not journal.exists()


def test_a_journal_of_other_settings_is_started_anew(tmp_path, faces_shard, narrow):
    output = tmp_path / "00000.h5"

    def stop(names):
        yield names[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        maps.compute_maps(faces_shard, output, narrow, settings(grid=28), progress=stop)
    computed = []
    maps.compute_maps(faces_shard, output, narrow, settings(), progress=lambda names: computed.extend(names) or names)
    assert computed == list("abcd")


def test_a_job_stops_itself_before_its_time_is_over(tmp_path, faces_shard, narrow):
    output = tmp_path / "00000.h5"
    with pytest.raises(jobs.OutOfTimeError, match="0 of 4 identities done; the next run goes on from there"):
        maps.compute_maps(faces_shard, output, narrow, settings(), minutes=0.01)
    assert not output.exists()
    maps.compute_maps(faces_shard, output, narrow, settings(), minutes=60)
    assert output.exists()


def test_two_processes_never_write_the_same_shard(tmp_path, faces_shard, narrow):
    output = tmp_path / "00000.h5"
    holder = Journal(f"{output}.journal", "other work")
    with pytest.raises(BlockingIOError, match="another process is writing this shard"):
        maps.compute_maps(faces_shard, output, narrow, settings())
    holder.close()
    maps.compute_maps(faces_shard, output, narrow, settings())


def test_what_another_process_finishes_meanwhile_is_taken_over(tmp_path, faces_shard, narrow, monkeypatch, caplog):
    """The job of a run that was killed goes on; its successor waits for it and does nothing again."""
    caplog.set_level("INFO")
    monkeypatch.setattr(journal, "WAIT_S", 0.01)
    output = tmp_path / "00000.h5"
    maps.compute_maps(faces_shard, output, narrow, settings())
    digest, aside = files.sha256(output), output.rename(tmp_path / "aside.h5")
    holder = Journal(f"{output}.journal", "whatever")

    def finish():
        aside.rename(output)
        holder.remove()

    threading.Timer(0.2, finish).start()
    maps.compute_maps(faces_shard, output, narrow, settings(), minutes=60)
    assert "another process has finished it" in caplog.text
    assert files.sha256(output) == digest
    assert not Path(f"{output}.journal").exists()


class Blind(nn.Module):
    """Embeds a black image as zero."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


def blind():
    torch.manual_seed(0)
    return Blind()


@pytest.mark.parametrize("together", [False, True])
def test_an_image_without_an_embedding_is_recorded_and_the_run_goes_on(tmp_path, together):
    people = [make_faces(identity, 3, 28) for identity in "abc"]
    for faces, black in zip(people, ([1], [0, 1], []), strict=True):
        faces.crops[black] = 0
    path = write_faces(tmp_path / "faces.h5", people)
    entry = {"input_size": [28, 28], "mean": [0, 0, 0], "std": [255, 255, 255], "layers": ["conv"]}
    recogniser = registry.recogniser("blind", {"architecture": f"{__name__}:blind"} | entry)
    maps.compute_maps(path, tmp_path / "maps.h5", recogniser, settings(grid=28, batch_images=12), together=together)
    with storage.open_shard(tmp_path / "maps.h5", "maps") as shard:
        assert storage.identities(shard) == ["a", "c"]
        assert storage.read_maps(shard, "a").images == ["00", "02"]
        discarded = [(row.identity, row.image, row.reason) for row in storage.read_discarded(shard)]
    assert discarded == [
        ("a", "01", maps_file.NO_EMBEDDING),
        ("b", "", storage.TOO_FEW),
        ("b", "00", maps_file.NO_EMBEDDING),
        ("b", "01", maps_file.NO_EMBEDDING),
        ("b", "02", storage.TOO_FEW),
    ]


# --------------------------------------------------------------------------- the stage with several people per block


def read(path, **options):
    with storage.open_shard(path, "maps") as shard:
        return {name: storage.read_maps(shard, name, **options) for name in storage.identities(shard)}


def assert_like(found, expected):
    """The same maps but for rounding, which moves a pixel here and there across the edge of a set."""
    assert list(found) == list(expected)
    for name, person in found.items():
        other = expected[name]
        assert person.images == other.images
        np.testing.assert_allclose(person.cosine, other.cosine, atol=1e-5)
        for polarity in POLARITIES:
            for layer, array in person.maps[polarity].items():
                np.testing.assert_allclose(array, other.maps[polarity][layer], rtol=1e-2, atol=1e-6)
            one, two = (each.counts[polarity].astype(int) for each in (person, other))
            assert np.abs(one - two).sum() < 1e-3 * two.sum()


def test_a_file_of_several_people_per_block_is_that_of_one_at_a_time(tmp_path, faces_shard, narrow):
    for shared in (False, True):  # 12 images in groups of 7 (c and a), and 5 (d and b)
        given = settings(batch_images=7, pair_maps=True)
        maps.compute_maps(faces_shard, tmp_path / str(shared), narrow, given, together=shared)
    one, two = (read(tmp_path / str(shared), pair_maps=True) for shared in (True, False))
    assert_like(one, two)
    pair = [each["d"].pair_maps["similarity"]["layer2.1.conv2"].astype(float) for each in (one, two)]
    np.testing.assert_allclose(*pair, atol=2e-3)


def test_groups_hold_as_many_people_as_the_batch_has_room_for(faces_shard):
    with storage.open_shard(faces_shard, "faces") as shard:
        parsed = maps.Parsed(shard, {name: storage.read_images(shard, name) for name in "abcd"})
        assert maps._groups(parsed, 7, together=True) == [["c", "a"], ["d", "b"]]
        assert maps._groups(parsed, 3, together=True) == [["c"], ["a"], ["d"], ["b"]]
        assert maps._groups(parsed, 100, together=True) == [["c", "a", "d", "b"]]
        assert maps._groups(parsed, 100, together=False) == [["a"], ["b"], ["c"], ["d"]]


def test_a_person_of_more_images_than_the_batch_has_blocks_of_their_own(tmp_path, faces_shard, narrow):
    for shared in (False, True):
        maps.compute_maps(faces_shard, tmp_path / str(shared), narrow, settings(batch_images=3), together=shared)
    assert_like(read(tmp_path / "True"), read(tmp_path / "False"))


@pytest.mark.parametrize("records", [1, 3])  # the first identity of a group has two: stopped within it, and after it
def test_stopped_within_a_group_and_started_again_gives_the_undisturbed_file(
    tmp_path, faces_shard, narrow, monkeypatch, records
):
    maps.compute_maps(faces_shard, tmp_path / "undisturbed.h5", narrow, settings(batch_images=7), together=True)
    add = Journal.add_all

    def stop(journal, found):
        add(journal, found[:records])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Journal, "add_all", stop)
        maps.compute_maps(faces_shard, tmp_path / "m.h5", narrow, settings(batch_images=7), together=True)
    maps.compute_maps(faces_shard, tmp_path / "m.h5", narrow, settings(batch_images=7), together=True)
    assert files.sha256(tmp_path / "m.h5") == files.sha256(tmp_path / "undisturbed.h5")


def test_finished_groups_are_not_computed_again_and_time_is_kept(tmp_path, faces_shard, narrow, monkeypatch):
    given, computed = (faces_shard, tmp_path / "m.h5", narrow, settings(batch_images=7)), []

    def late(names):
        yield names[0]
        monkeypatch.setattr(maps.time, "monotonic", lambda: 1e12)
        yield names[1]

    with monkeypatch.context(), pytest.raises(jobs.OutOfTimeError, match="with 2 of 4 identities done"):
        maps.compute_maps(*given, minutes=60, together=True, progress=late)
    monkeypatch.undo()
    maps.compute_maps(*given, together=True, progress=lambda names: computed.extend(names) or names)
    assert computed == ["d"]  # and b with it


@pytest.mark.parametrize("together", [False, True])
def test_an_output_that_cannot_be_written_is_said_in_one_sentence(tmp_path, faces_shard, narrow, together):
    """Whichever process writes it; what is computed is kept, and a later run takes it."""
    output, computed = tmp_path / "m.h5", []
    output.mkdir()
    with pytest.raises((files.StorageError, OSError), match=r"m\.h5"):
        maps.compute_maps(faces_shard, output, narrow, settings(batch_images=7), together=together)
    output.rmdir()
    maps.compute_maps(
        faces_shard,
        output,
        narrow,
        settings(batch_images=7),
        together=together,
        progress=lambda names: computed.extend(names) or names,
    )
    assert computed == [] and list(read(output)) == list("abcd")


def test_a_writer_that_dies_stops_the_job_and_loses_nothing(tmp_path, faces_shard, narrow, monkeypatch):
    monkeypatch.setattr(maps_file.sys, "executable", "/bin/false")
    with pytest.raises(files.StorageError, match=r"m\.h5: the process that writes it was killed"):
        maps.compute_maps(faces_shard, tmp_path / "m.h5", narrow, settings(batch_images=7), together=True)
    monkeypatch.undo()
    assert not (tmp_path / "m.h5").exists() and (tmp_path / "m.h5.journal").exists()
    maps.compute_maps(faces_shard, tmp_path / "m.h5", narrow, settings(batch_images=7), together=True)
    assert list(read(tmp_path / "m.h5")) == list("abcd")


def test_out_of_memory_halves_the_group(tmp_path, faces_shard, narrow, monkeypatch, caplog):
    maps.compute_maps(faces_shard, tmp_path / "whole.h5", narrow, settings(batch_images=12), together=True)
    fold = maps.folding.fold_network

    def refuse(_module, inputs):
        if len(inputs[0]) > 3:
            raise torch.OutOfMemoryError("out of memory")

    def refusing(*given):
        network = fold(*given)
        network.register_forward_pre_hook(refuse)
        return network

    monkeypatch.setattr(maps.folding, "fold_network", refusing)
    maps.compute_maps(faces_shard, tmp_path / "halved.h5", narrow, settings(batch_images=12), together=True)
    assert "memory ran out with 12 images at once" in caplog.text
    assert_like(read(tmp_path / "halved.h5"), read(tmp_path / "whole.h5"))


def test_no_persons_name_is_that_of_anothers_block(tmp_path, narrow):
    """Names are data: one may look like whatever the journal calls a part of another's maps."""
    people = ["a", "a\n0", "0 a", "a 0"]
    faces = write_faces(tmp_path / "faces.h5", [make_faces(name, 2) for name in people])
    for together in (False, True):
        maps.compute_maps(faces, tmp_path / "m.h5", narrow, settings(batch_images=3), together=together)
        found = read(tmp_path / "m.h5")
        assert sorted(found) == sorted(people)
        for name in people:
            single = write_faces(tmp_path / "one.h5", [make_faces(name, 2)])
            maps.compute_maps(single, tmp_path / "o.h5", narrow, settings(batch_images=3))
            np.testing.assert_allclose(found[name].cosine, read(tmp_path / "o.h5")[name].cosine, atol=1e-5)
