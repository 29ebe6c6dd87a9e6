"""leam.methods.cams against one pixel at a time, the libraries that others use, and networks whose answer is known."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import naive
from leam import maps
from leam.grid import Grid
from leam.methods import (
    ACTIVATED,
    INPUT,
    METHODS,
    POLARITIES,
    Activated,
    MethodError,
    Reduction,
    cams,
    cells_of,
    method,
)
from leam.methods.leam import LEAM
from leam.recognisers import folding, networks, places, registry
from naive_methods import NAIVE, after_call, at_input
from test_maps import network_of

RECOGNISER = registry.REGISTRY["sample_arcface"]
ALL = tuple(method(name, RECOGNISER) for name in NAIVE)
PLAIN = dataclasses.replace(RECOGNISER, mean=(0.0, 0.0, 0.0))  # whose black is 0


def engine(network, layers, x, reductions=ALL, **options):
    regions, settings = np.zeros((len(x), 28, 28), np.uint8), maps.MapSettings(grid=28, **options)
    return maps.explain(network, layers, x, regions, settings, Grid(28), reductions)


def of_pair(channels=5, size=(6, 7), dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(channels)
    g, a = (torch.randn(2, channels, *size, generator=generator, dtype=dtype) for _ in range(2))
    return g * scale, a


def normalised(found):
    return found / found.sum()


# --------------------------------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-5])  # a gradient of the cosine is small: see Grad-CAM++'s EPSILON
@pytest.mark.parametrize("name", NAIVE)
def test_a_formula_is_that_of_one_pixel_at_a_time(name, scale):
    reduction = method(name, PLAIN)
    g, a = of_pair(3 if reduction.places == INPUT else 5, scale=scale)
    found = reduction.reduce(g, a)
    assert found.shape == (2, 2, 6, 7) and (found >= 0).all()
    for image in range(2):
        for row, sign in enumerate((-1, 1)):
            expected = NAIVE[name](g[image].numpy(), a[image].numpy(), sign)
            np.testing.assert_allclose(found[row, image], expected, rtol=1e-9, atol=1e-14 * scale)


@pytest.mark.parametrize("name", NAIVE)
def test_what_comes_in_bf16_is_summed_in_float32(name):
    reduction = method(name, RECOGNISER)
    channels = 3 if reduction.places == INPUT else 64
    g, a = (each.bfloat16() for each in of_pair(channels))
    found = reduction.reduce(g, a)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, reduction.reduce(g.double(), a.double()).float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["layercam", "gradcam", "gradcam++", "hirescam", "gradxinput"])
def test_the_polarities_change_places_with_the_gradients_sign(name):
    reduction = method(name, RECOGNISER)
    g, a = of_pair(3)
    torch.testing.assert_close(reduction.reduce(-g, a), reduction.reduce(g, a).flip(0))


def test_black_is_where_pixels_are_0():
    recogniser = dataclasses.replace(RECOGNISER, mean=(100.0, 120.0, 90.0), std=(50.0, 60.0, 128.0))
    g = of_pair(3)[0]
    black = networks.to_input(np.zeros((2, 112, 112, 3), np.uint8), recogniser)[..., :6, :7].double()
    reduce = cams.gradxinput(recogniser).reduce
    assert (reduce(g, black).abs() < 1e-6).all() and (reduce(g, torch.zeros_like(g)) > 0).any()


# ---------------------------------------------------------------------------------------------------- the libraries


CAMS = {"layercam": "LayerCAM", "gradcam": "GradCAM", "gradcam++": "GradCAMPlusPlus", "hirescam": "HiResCAM"}


@pytest.mark.parametrize("name", CAMS)
def test_the_cams_are_those_of_pytorch_grad_cam(name):
    """Its ``get_cam_image``, on the same numbers: around it ``forward`` resizes, and takes the minimum away."""
    library = pytest.importorskip("pytorch_grad_cam")
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 4)
    torch.manual_seed(0)
    network = nn.Sequential(*layers).eval()
    with getattr(library, CAMS[name])(network, [network[1]]) as cam:
        for scale in (1.0, 1e-3, 1e-5):
            g, a = of_pair(8, dtype=torch.float32, scale=scale)
            a = a.relu()  # as after the activation function
            for row, sign in enumerate((-1, 1)):
                image = cam.get_cam_image(None, network[1], None, a.numpy(), sign * g.numpy(), False)
                found = method(name, RECOGNISER).reduce(g, a)[row]
                expected = np.maximum(image, 0)
                np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6 * max(expected.max(), 1e-30))


def test_layercam_weighs_as_torchcam():
    library = pytest.importorskip("torchcam.methods")
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    ).eval()
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    kept = {}
    network[1].register_forward_hook(lambda _m, _i, y: kept.update(a=y))
    with library.LayerCAM(network, "1") as extractor:
        scores = network(x)
        (g,) = torch.autograd.grad(scores[:, 2].sum(), kept["a"], retain_graph=True)
        (weights,) = extractor._get_weights(2, scores)
    expected = (weights * kept["a"].detach()).sum(1).relu()
    torch.testing.assert_close(cams.layercam(g, kept["a"].detach())[1], expected)


class Cosine(nn.Module):
    """The cosine with a constant, one per picture, as captum wants what it explains."""

    def __init__(self, network, positives):
        super().__init__()
        self.network, self.positives = network, positives

    def forward(self, x):
        return functional.cosine_similarity(self.network(x), self.positives)


def test_saliency_and_gradient_times_input_are_those_of_captum():
    attr = pytest.importorskip("captum.attr")
    network, _ = network_of("sample_arcface")
    x = torch.randn(2, 3, 112, 112, dtype=torch.float64)
    reductions = tuple(method(name, PLAIN) for name in ("saliency", "gradxinput"))
    found = engine(network, (), x, reductions)
    cosine = Cosine(network, network(x).detach().flip(0))
    size = attr.Saliency(cosine).attribute(x.clone().requires_grad_()).mean(1)
    product = attr.InputXGradient(cosine).attribute(x.clone().requires_grad_()).detach().sum(1)
    for image in range(2):
        for row, sign in enumerate((-1, 1)):
            np.testing.assert_allclose(found["maps.0"][row, image], normalised(size[image]), rtol=1e-9)
            signed = normalised((sign * product[image]).relu())
            np.testing.assert_allclose(found["maps.1"][row, image], signed, rtol=1e-7, atol=1e-15)


# ------------------------------------------------------------------------------------------------------- the engine


@pytest.mark.parametrize(
    ("name", "layers", "activated"),
    [("sample_arcface", ("conv1", "layer2.0.conv1"), ("prelu", "layer2.0.prelu")), ("dlib_resnet", ("conv1",), (0,))],
)
def test_the_engine_equals_one_pair_at_a_time_and_leaves_leams_cells_as_they_are(name, layers, activated, monkeypatch):
    network, recogniser = network_of(name)
    x = 0.4 * torch.randn(2, 3, *recogniser.input_size, dtype=torch.float64)  # of a photograph's contrast
    reductions = tuple(method(each, recogniser) for each in NAIVE)
    found, alone = engine(network, layers, x, reductions), engine(network, layers, x, (LEAM,))
    cells = cells_of(reductions, layers)
    for number in range(len(layers)):
        np.testing.assert_array_equal(found[f"maps.{number}"], alone[f"maps.{number}"])
    np.testing.assert_array_equal(found["counts"][:, :, : len(layers)], alone["counts"])
    np.testing.assert_array_equal(found["cosine"], alone["cosine"])
    black = [-mean / std for mean, std in zip(recogniser.mean, recogniser.std, strict=True)]
    for number, cell in enumerate(cells):
        for i in range(2):
            if cell.place == INPUT:
                given = at_input(network, x[i], x[1 - i])
            elif cell.reduction.places != ACTIVATED:
                given = (
                    each.numpy()
                    for each in naive.gradient_and_activation(network, cell.place, x[i], x[1 - i], "similarity")
                )
            elif isinstance(after := activated[layers.index(cell.place)], str):
                given = (
                    each.numpy() for each in naive.gradient_and_activation(network, after, x[i], x[1 - i], "similarity")
                )
            else:
                given = after_call(network, after, x[i], x[1 - i], monkeypatch)
            g, a = given
            more = {"black": black} if cell.reduction.name == "gradxinput" else {}
            for row, sign in enumerate((-1, 1)):
                total = (expected := NAIVE[cell.reduction.name](g, a, sign, **more)).sum()
                expected = expected / total if total > 0 else expected
                stored = found[f"maps.{number}"][row, i]
                np.testing.assert_allclose(stored, expected, rtol=1e-6, atol=1e-14, err_msg=cell.name)


@pytest.mark.parametrize("name", ["sample_arcface", "dlib_resnet"])
def test_in_a_folded_network_too_leams_cells_stay_to_the_bit(name):
    network, recogniser = network_of(name)
    network, layers = network.float(), recogniser.layers[:1]
    x = torch.randn(3, 3, *recogniser.input_size)
    found = {
        len(reductions): engine(
            folding.fold_network(network, looked, recogniser.input_size, x.device), layers, x, reductions
        )
        for reductions, looked in (((LEAM,), layers), (ALL, maps.places_of(cells_of(ALL, layers))))
    }
    np.testing.assert_array_equal(found[1]["maps.0"], found[len(ALL)]["maps.0"])
    np.testing.assert_array_equal(found[1]["counts"][:, :, 0], found[len(ALL)]["counts"][:, :, 0])
    unfolded = engine(network, layers, x)
    for number, cell in enumerate(cells_of(ALL, layers)):
        if cell.reduction.name != "gradcam++":  # whose sums are near 0 where A is signed
            one, two = (each[f"maps.{number}"] for each in (found[len(ALL)], unfolded))
            assert np.abs(one - two).sum() < 1e-2 * two.sum(), cell.name


# ---------------------------------------------------------------------------------------------- what is known of them


class NoBias(nn.Module):
    """Every step scales with its input, so that the embedding does."""

    def __init__(self):
        super().__init__()
        self.conv, self.conv2 = (nn.Conv2d(i, 6, 3, padding=1, bias=False) for i in (3, 6))
        self.fc = nn.Linear(6 * 16, 8, bias=False)

    def forward(self, x):
        x = functional.max_pool2d(torch.relu(self.conv2(torch.relu(self.conv(x)))), 2)
        return self.fc(functional.adaptive_avg_pool2d(x, 4).flatten(1))


def products(network, layer, x, target):
    """Of the pair (0, 1): M of HiResCAM at a layer, and the cosine."""
    g, a = naive.gradient_and_activation(network, layer, x[0], x[1], "similarity", target)
    loss, similarity = cams.hirescam(g[None], a[None])[:, 0]
    return similarity - loss, functional.cosine_similarity(*network(x), dim=0)


@pytest.mark.parametrize("layer", ["conv", "conv2"])
def test_hirescam_decomposes_the_cosine_under_dot_and_nothing_under_cosine(layer):
    torch.manual_seed(3)
    network = NoBias().double().eval().requires_grad_(False)
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    m, cosine = products(network, layer, x, "dot")
    assert m.sum() == pytest.approx(float(cosine), rel=1e-9)
    m, _ = products(network, layer, x, "cosine")
    assert abs(m.sum()) < 1e-12 * m.abs().sum()


def test_at_the_last_map_hirescam_lacks_the_cosines_part_that_the_heads_bias_gives():
    network, recogniser = network_of("sample_arcface")
    last = places.find_places(network.float(), recogniser.layers, recogniser.input_size)[places.LAST]
    network = network.double()
    x = torch.randn(2, 3, 112, 112, dtype=torch.float64)
    m, cosine = products(network, last, x, "dot")
    of_nothing = network.features(network.fc(torch.zeros(1, network.fc.in_features, dtype=torch.float64)))[0]
    anchor, positive = network(x)
    bias = (of_nothing @ positive) / (anchor.norm() * positive.norm())
    assert abs(bias) > 1e-4
    assert m.sum() == pytest.approx(float(cosine - bias), rel=1e-7)


class Patch(nn.Module):
    """An embedding that reads nothing but 3 x 3 pixels of the picture, rows 4 to 6, columns 9 to 11."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.fc = nn.Conv2d(3, 8, 1), nn.PReLU(8), nn.Linear(8 * 9, 5)

    def forward(self, x):
        return self.fc(self.act(self.conv(x))[:, :, 4:7, 9:12].flatten(1))


@pytest.mark.parametrize("name", NAIVE)
def test_a_planted_patch_is_found(name):
    torch.manual_seed(5)
    network, x = Patch().double().eval().requires_grad_(False), torch.rand(3, 3, 16, 16, dtype=torch.float64)
    found = engine(network, ("conv",), x, (method(name, PLAIN),))["maps.0"]
    assert found.sum() > 0
    patch = np.zeros((16, 16), bool)
    patch[4:7, 9:12] = True
    if name.startswith("gradcam"):  # its weights are of a channel, wherever that is active: not of a pixel
        assert not (found[..., ~patch] == 0).all()
    else:
        assert (found[..., ~patch] == 0).all()


class Spot(nn.Module):
    """Channels that are active on the planted patch alone: what methods that weigh channels can find."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.fc = nn.Conv2d(3, 8, 1, bias=False), nn.ReLU(), nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(self.act(self.conv(x)).mean((2, 3)))


@pytest.mark.parametrize("name", [name for name in NAIVE if name not in ("saliency", "sensitivity")])
def test_a_planted_patch_is_found_where_channels_are_active_on_it_alone(name):
    torch.manual_seed(6)
    network, x = Spot().double().eval().requires_grad_(False), torch.zeros(3, 3, 16, 16, dtype=torch.float64)
    x[:, :, 4:7, 9:12] = torch.rand(3, 3, 3, 3, dtype=torch.float64)
    found = engine(network, ("conv",), x, (method(name, PLAIN),))["maps.0"]
    assert found.sum() > 0 and (np.delete(found.reshape(-1, 256), patch_pixels(), axis=1) == 0).all()


def patch_pixels():
    return [row * 16 + column for row in (4, 5, 6) for column in (9, 10, 11)]


def test_empty_pair_maps_of_gradcam_are_counted_and_not_averaged():
    """Where A >= 0 and all of a pair's weights have one sign, its map of the other polarity is empty."""
    torch.manual_seed(7)
    network = Spot().double().eval().requires_grad_(False)
    x = torch.rand(6, 3, 8, 8, dtype=torch.float64)
    found = engine(network, ("conv",), x, (cams.GRADCAM,), pair_maps=True)
    pairs = found["pair_maps.0"].reshape(2, 6, 5, 64)
    filled = (pairs.max(-1) > 0).sum(-1)
    assert (filled < 5).any()
    np.testing.assert_allclose(found["maps.0"].sum((2, 3)), np.where(filled > 0, 1, 0), atol=1e-9)


# ---------------------------------------------------------------------------------------------------------- by name


def test_every_name_stands_for_a_method_called_so():
    for name in METHODS:
        found = method(name, RECOGNISER)
        assert found.name == name and found.signs == POLARITIES
    assert cells_of((cams.LAYERCAM,), ("a",))[0].tapped == Activated("a")
    assert [cell.name for cell in cells_of(ALL, ("a",))][:3] == ["a", "layercam@a", "gradcam@a"]


def own(recogniser):
    return dataclasses.replace(cams.gradxinput(recogniser), name="own")


OWN = Reduction("constant", INPUT, lambda g, a: torch.stack((g[:, 0], a[:, 0])).abs())


def without_arguments():
    return OWN


def failing(recogniser):
    raise RuntimeError(f"first line of {recogniser.name}\nand a second one")


def test_a_method_of_ones_own_is_named_by_its_module():
    assert method("test_cams:own", RECOGNISER).name == "own"
    assert method("test_cams:OWN", RECOGNISER) is OWN


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("grad-cam", r"no method is called 'grad-cam'; there are leam, layercam, .*gradxinput.*, and module:function"),
        ("", "no method is called ''"),
        ("nowhere:f", "'nowhere:f' cannot be imported: No module named 'nowhere'"),
        ("test_cams:nothing", "cannot be imported"),
        ("test_cams:", "cannot be imported"),
        (":f", "cannot be imported: Empty module name"),
        (".cams:LAYERCAM", "cannot be imported: the 'package' argument is required"),
        ("damaged_method:MINE", "cannot be imported: .* was never closed"),
        ("test_cams:failing", "is not made by this function of a recogniser: first line"),
        ("test_cams:RECOGNISER", "is a Recogniser; expected a Reduction, a Backprop or a Perturbation"),
        ("test_cams:Patch", "is not made by this function of a recogniser"),
        ("test_cams:without_arguments", "is not made by this function of a recogniser"),
        ("test_cams:patch_pixels.f", "cannot be imported"),
        ("json:dumps", "is not made by this function of a recogniser"),
        ("builtins:repr", "is a str; expected"),
    ],
)
def test_what_is_no_method_is_said_in_one_sentence(name, message, tmp_path, monkeypatch):
    (tmp_path / "damaged_method.py").write_text("MINE = (")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MethodError, match=message) as caught:
        method(name, RECOGNISER)
    assert "\n" not in str(caught.value)
