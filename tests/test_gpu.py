"""The engine on a GPU against itself on a CPU: ``make gpu``.

What needs no GPU runs without one too; the rest is skipped there. LEAM_DEVICE=cpu tries all that can be tried.
"""

import dataclasses
import itertools
import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional

import naive
from leam import device, embedding, files, maps, pixel_sets, storage
from leam.analyses import occlusion
from leam.analyses.occlusion import measure as occlusion_measure
from leam.grid import TOP_PERCENTS, Grid
from leam.methods import POLARITIES, cells_of, leam_triton
from leam.methods.leam import LEAM, weighted_activation
from leam.recognisers import folding, networks
from leam.recognisers.taps import Taps
from leam.regions import REGIONS
from shards import make_faces, write_faces

DEVICE = device.choose_device("auto")
cuda = pytest.mark.skipif(DEVICE.type != "cuda", reason="needs a GPU")
triton = pytest.mark.skipif(DEVICE.type != "cuda" or leam_triton.triton is None, reason="needs a GPU and Triton")


def prepared(recogniser, images, precision="float32"):
    """The folded network, the input (images, 3, h, w) and the regions, on the device."""
    network = folding.fold_network(
        networks.build_network(recogniser), recogniser.layers, recogniser.input_size, DEVICE, precision=precision
    )
    faces = make_faces("a", images)
    return network, networks.to_input(faces.crops, recogniser).to(DEVICE), faces.regions


def off(found, exact):
    """The largest difference, as a share of the largest number."""
    return float((found.double() - exact).abs().max() / exact.abs().max())


def moved(found, expected):
    """The share of counted pixels that lie in another region."""
    found, expected = found.astype(int), expected.astype(int)
    return np.abs(found - expected).sum() / expected.sum()


@cuda
@pytest.mark.parametrize(("precision", "least", "most"), [("float32", 0, 3e-6), ("tf32", 3e-6, 3e-3)])
def test_precision_reaches_convolutions_and_products(precision, least, most):
    x, w = torch.randn(8, 64, 56, 56, device=DEVICE), torch.randn(64, 64, 3, 3, device=DEVICE)
    rows = x[0].flatten(1)
    with device.arithmetic(precision, DEVICE):
        convolved, product = functional.conv2d(x, w), rows @ rows.T
    errors = (
        off(convolved, functional.conv2d(x.double(), w.double())),
        off(product, rows.double() @ rows.double().T),
    )
    assert least <= min(errors) and max(errors) < most, errors


@triton
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(5, 64, 112, 112), (3, 40, 9, 3), (13, 512, 7, 7)])
def test_one_pass_gives_what_the_steps_give(shape, dtype):
    for formats in ((0, 0), (0, 1), (1, 0), (1, 1)):
        orders = [(torch.contiguous_format, torch.channels_last)[each] for each in formats]
        g, a = (torch.randn(shape, device=DEVICE).to(dtype).contiguous(memory_format=order) for order in orders)
        found = weighted_activation(g[1:], a[1:])
        expected = weighted_activation(g[1:].double(), a[1:].double())
        assert leam_triton.is_possible(g, a) and found.dtype == torch.float32
        assert off(found, expected) < 1e-5


@pytest.mark.parametrize("counter", [pixel_sets.RegionCounter, pixel_sets.QuickCounter])
def test_counts_equal_a_full_sort(counter):
    rng = np.random.default_rng(0)
    grids = rng.integers(0, 400, (2, 2, 40, 40)).astype(np.float32)
    regions = rng.integers(0, 19, (2, 40, 40)).astype(np.uint8)
    counted = counter(torch.from_numpy(regions).to(DEVICE)).count(torch.from_numpy(grids).to(DEVICE)).cpu()
    for image in range(2):
        for m in range(2):
            flat, labels = grids[image, m].ravel(), regions[image].ravel()
            expected = naive.count(flat, labels, TOP_PERCENTS, len(REGIONS))
            np.testing.assert_array_equal(counted[image, m], expected)


def test_counts_of_enlarged_maps_equal_those_on_the_cpu():
    random = torch.Generator().manual_seed(0)
    regions = torch.randint(0, 19, (3, 112, 112), generator=random).to(torch.uint8)
    grids = Grid(112).place(torch.rand(3, 6, 7, 7, generator=random))  # many equal pixels at the corners
    quick = pixel_sets.QuickCounter(regions.to(DEVICE))
    assert torch.equal(quick.count(grids.to(DEVICE)).cpu(), pixel_sets.RegionCounter(regions).count(grids))
    assert quick.is_settled()


def test_pair_maps_equal_the_naive_loop(narrow):
    network, x, _ = prepared(narrow, 3)
    double = networks.build_network(narrow).double()
    with device.arithmetic("float32", DEVICE), Taps(network, narrow.layers) as taps:
        embeddings, activations = taps.run(x)
        unit = embedding.normalise(embeddings.detach())
        batch = next(
            maps.pair_batches(
                activations, cells_of((LEAM,), narrow.layers), embeddings, maps.Anchors([3], DEVICE), unit
            )
        )
    image, positive = x[0].double().cpu(), x[int(batch.positives[0])].double().cpu()
    for layer in (0, 4, 8):
        expected = naive.pair_map(double, narrow.layers[layer], image, positive, "similarity")
        differs = (batch.maps[layer][1, 0].cpu() - expected).abs() > 1e-4 * float(expected.max())
        assert differs.float().mean() < 0.02  # an activation at a ReLU's kink may fall on its other side


@pytest.fixture
def small_shard(tmp_path):
    people = zip("abcde", (3, 2, 5, 4, 9), strict=True)
    return write_faces(tmp_path / "faces.h5", (make_faces(*person) for person in people))


@pytest.mark.parametrize(("precision", "apart", "share"), [("float32", 1e-5, 0.005), ("tf32", 2e-3, 0.1)])
def test_a_shard_is_that_of_the_cpu(small_shard, narrow, tmp_path, monkeypatch, precision, apart, share):
    """Cosines within ``apart``; of the counted pixels at most ``share`` in another region. e is larger than a batch."""
    found = {}
    for where in ("cpu", DEVICE.type):
        monkeypatch.setenv("LEAM_DEVICE", where)
        settings = maps.MapSettings(batch_images=8, precision=precision if where == "cuda" else "float32")
        maps.compute_maps(small_shard, tmp_path / where, narrow, settings, together=where != "cpu")
        with storage.open_shard(tmp_path / where, "maps") as shard:
            found[where] = {name: storage.read_maps(shard, name) for name in storage.identities(shard)}
    assert list(found[DEVICE.type]) == list("abcde")
    for name, expected in found["cpu"].items():
        ours = found[DEVICE.type][name]
        np.testing.assert_allclose(ours.cosine, expected.cosine, atol=apart)
        for polarity in POLARITIES:
            assert moved(ours.counts[polarity], expected.counts[polarity]) < share


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_twice_the_same_bytes(small_shard, narrow, tmp_path, precision):
    for name in ("one", "two"):
        settings = maps.MapSettings(grid=56, batch_images=16, precision=precision)
        maps.compute_maps(small_shard, tmp_path / name, narrow, settings, together=True)
    assert files.sha256(tmp_path / "one") == files.sha256(tmp_path / "two")


def test_bf16_rounds_the_network_and_not_the_counts(narrow):
    network, x, regions = prepared(narrow, 3, "bf16")
    with device.arithmetic("bf16", DEVICE):
        full = maps.explain(network, narrow.layers, x, regions)["counts"][..., -1, :]
    assert (full[full >= 256] % 2 == 1).any()


@cuda
@pytest.mark.parametrize("together", [False, True])
def test_memory_that_does_not_suffice_halves_the_batch(narrow, tmp_path, together, caplog):
    wide = dataclasses.replace(narrow, arguments={"widths": [32, 32, 32, 32], "embedding_size": 16})
    settings = maps.MapSettings(grid=56, batch_images=48)
    people = (make_faces(identity, 6) for identity in "abcdefgh") if together else [make_faces("a", 48)]
    path = write_faces(tmp_path / "faces.h5", people)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    maps.compute_maps(path, tmp_path / "whole", wide, settings)
    held, total = torch.cuda.max_memory_allocated(), torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.6 * held / total)
    try:
        maps.compute_maps(path, tmp_path / "halved", wide, settings)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "memory ran out with" in caplog.text
    read = []
    for name in ("whole", "halved"):
        with storage.open_shard(tmp_path / name, "maps") as shard:
            read.append(storage.read_maps(shard, "a"))
    np.testing.assert_allclose(read[0].cosine, read[1].cosine, atol=1e-5)
    assert moved(read[1].counts["loss"], read[0].counts["loss"]) < 0.01


@cuda
def test_a_block_waits_for_the_gpu_at_its_end_alone(narrow):
    """Of two blocks, the one with more backwards does not wait more often."""
    network, _, _ = prepared(narrow, 2)
    grid, settings, waits = Grid(56), maps.MapSettings(grid=56), []
    for images in (3, 15, 3, 15):  # the first of each size warms up
        faces = make_faces("a", images)
        xs, regions = [networks.to_input(faces.crops, narrow).to(DEVICE)] * 3, [faces.regions] * 3
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as found:
                warnings.simplefilter("always")
                maps.map_together(network, cells_of((LEAM,), narrow.layers), xs, regions, settings, grid)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        waits.append([f"{each.filename}:{each.lineno}" for each in found if "synchronizing" in str(each.message)])
    assert waits[3] == waits[2], waits


def test_orders_of_pixels_equal_those_on_the_cpu():
    scores = (torch.rand(3, 112, 112, generator=torch.Generator().manual_seed(1)) * 50).floor()
    expected = pixel_sets.order_pixels(scores, 1254)
    assert torch.equal(pixel_sets.order_pixels(scores.to(DEVICE), 1254).cpu(), expected)


def test_drops_are_those_of_the_cpu(narrow):
    scores = torch.rand(3, 56, 56, generator=torch.Generator().manual_seed(2))
    of_pictures = [fill for fill in occlusion.FILLS if fill != occlusion.TWIN_FILL]
    masks = list(itertools.product(of_pictures, (10, 200, 400)))
    found = []
    for where in (torch.device("cpu"), DEVICE):
        network = folding.fold_network(networks.build_network(narrow), (), narrow.input_size, where)
        x = networks.to_input(make_faces("a", 3).crops, narrow).to(where)
        orders = pixel_sets.order_pixels(scores.to(where), 400)
        with device.arithmetic("float32", where):
            unit = embedding.normalise(embedding.embed(network, x))
            fills = {fill: occlusion_measure.filling(fill, x, narrow) for fill in of_pictures}
            occluder = occlusion_measure.Occluder(network, narrow, x, fills, unit, grid=56, batch=7, threshold=0.5)
            found.append(occluder.measure(torch.arange(3, device=where), [orders], [masks]))
    expected, ours = found
    np.testing.assert_array_equal(ours.pixels, expected.pixels)
    np.testing.assert_allclose(ours.drop, expected.drop, atol=1e-5)
    assert (np.abs(expected.drop).reshape(3, 4, 3).max((0, 2)) > 1e-3).all()
