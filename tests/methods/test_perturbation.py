"""Methods that hide parts of the picture, against naive loops, by hand, against scipy, and captum where installed."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import naive_passes as naive
from leam.device import arithmetic
from leam.methods import BLACK, BLUR, Passes
from leam.methods.networks import ExplainedNetwork
from leam.methods.perturbation import CORRRISE, OCCLUSION, perturb
from leam.recognisers import networks
from small_networks import (
    Counting,
    Patch,
    Tight,
    case,
    close,
    normalised,
    partners_of,
    pictures,
    seen,
    signed,
    smooth_network,
)

METHODS = (CORRRISE, OCCLUSION)
KINDS = ("spearman", "pearson")
SIDE = 112 / 28  # a pixel of an input of 28 pixels, in those of a crop


def explained(method, module, x, targets, batch=32, seed=0, **changes):
    network, settings = seen(module, batch=batch), dataclasses.replace(method.settings, **changes)
    masks = method.masks(*x.shape[2:], settings, seed)
    return perturb(method, network, x, network.embed(x), targets, masks, settings)


def correlated(masks, cosines, kind):
    """(P, h, w) of cosines (K, P)."""
    settings = dataclasses.replace(CORRRISE.settings, correlation=kind)
    given = torch.from_numpy(masks).double(), torch.from_numpy(cosines)
    return CORRRISE.combine(*given, torch.ones(cosines.shape[1], dtype=torch.float64), settings)


# ---------------------------------------------------------------------------------------------------------- CorrRISE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_correlations_are_scipys_ties_and_all(seed, kind):
    rng = np.random.default_rng(seed)
    masks = CORRRISE.masks(12, 12, dataclasses.replace(CORRRISE.settings, masks=40), seed)
    cosines = rng.uniform(-1, 1, (40, 3))
    cosines[:, 1] = np.round(cosines[:, 1], 1)  # many are equal
    cosines[:, 2] = rng.integers(0, 2, 40)
    assert masks.shape == (40, 12, 12) and len(np.unique(cosines[:, 1])) < 22
    for found, of_partner in zip(correlated(masks, cosines, kind), cosines.T, strict=True):
        close(found, naive.correlation(masks, of_partner, kind))


def test_ties_are_not_broken_by_their_order():
    masks = np.ones((4, 1, 2), np.float32)
    masks[:2, 0, 0], masks[[0, 2], 0, 1] = 0, 0
    cosines = np.array([[0.1], [0.5], [0.5], [0.5]])
    found = correlated(masks, cosines, "spearman")[0, 0]
    assert found[0] == found[1] == pytest.approx(1 / math.sqrt(3))  # both hide the one mask that counts, and another
    broken = stats.pearsonr(masks[:, 0, 0], stats.rankdata(cosines[:, 0], "ordinal")).statistic
    assert broken == pytest.approx(0.894, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pixel_that_is_never_or_always_hidden_has_no_correlation(kind):
    rng = np.random.default_rng(0)
    masks = (rng.random((30, 4, 4)) < 0.5).astype(np.float32)
    masks[:, 1, 2], masks[:, 3, 0] = 1, 0
    found = correlated(masks, rng.random((30, 2)), kind)
    assert not found[:, 1, 2].any() and not found[:, 3, 0].any() and (found != 0).sum() == 28


@pytest.mark.parametrize("kind", KINDS)
def test_cosines_that_differ_by_rounding_alone_say_nothing(kind):
    rng = np.random.default_rng(0)
    masks = CORRRISE.masks(12, 12, CORRRISE.settings, 0)
    cosines = np.stack((np.full(500, 0.1), 0.7 + 1e-7 * rng.random(500), 0.7 + 1e-5 * rng.random(500)), 1)
    found = correlated(masks, cosines, kind)
    assert not found[:2].any() and found[2].any()


@pytest.mark.parametrize("kind", KINDS)
def test_corrrise_embeds_each_masked_image_once(kind):
    module, x, targets = case(height=28, width=24)
    settings = dataclasses.replace(CORRRISE.settings, masks=20, correlation=kind)
    masks = CORRRISE.masks(28, 24, settings, 5)
    found = signed(perturb(CORRRISE, seen(module), x, seen(module).embed(x), targets, masks, settings))
    assert found.shape == (2, 3, 28, 24)
    black = normalised(torch.zeros(1, 3, 28, 24, dtype=torch.float64))[0]
    for i, j in itertools.product(range(2), range(3)):
        hidden = [torch.where(torch.from_numpy(mask) > 0, x[i], black) for mask in masks]
        cosines = [float(naive.embedding(module, each) @ targets[i, j]) for each in hidden]
        close(found[i, j], naive.correlation(masks, cosines, kind), atol=1e-9)


def test_a_correlation_has_a_name():
    with pytest.raises(ValueError, match="correlation is 'kendall'; expected one of spearman, pearson"):
        dataclasses.replace(CORRRISE.settings, correlation="kendall")


@pytest.mark.parametrize("size", [(112, 112), (112, 96), (160, 160), (12, 12), (3, 40)])
def test_masks_are_squares_within_the_picture_and_the_same_for_a_seed(size):
    one, again, other = (CORRRISE.masks(*size, CORRRISE.settings, seed) for seed in (3, 3, 4))
    assert one.dtype == np.float32 and one.shape == (500, *size) and set(np.unique(one)) <= {0, 1}
    assert one.tobytes() == again.tobytes() != other.tobytes()
    side = min(round(30 * size[0] / 112), *size)
    hidden = (1 - one).sum((1, 2))
    assert hidden.min() >= side**2 and hidden.max() <= 3 * side**2
    apart = dataclasses.replace(CORRRISE.settings, patches=1)
    assert ((1 - CORRRISE.masks(*size, apart, 3)).sum((1, 2)) == side**2).all()


def test_masks_hide_every_part_of_a_crop():
    """All but a rim is hidden about equally often, as is what mirrors it; the corners are, but seldom."""
    hidden = 1 - CORRRISE.masks(112, 112, dataclasses.replace(CORRRISE.settings, masks=4000), 0).mean(0)
    expected = 1 - (1 - (30 / 83) ** 2) ** 3
    assert np.abs(hidden[30:82, 30:82] - expected).max() < 0.05
    assert np.abs(hidden - hidden[::-1]).max() < 0.06 and np.abs(hidden - hidden[:, ::-1]).max() < 0.06
    assert 0 <= hidden[0, 0] < 0.005 and hidden.min(axis=0)[5:-5].max() > 0


def test_every_size_of_input_has_the_same_masks_but_for_rounding():
    small, large = (CORRRISE.masks(side, side, CORRRISE.settings, 1) for side in (112, 224))
    assert np.mean(small == large[:, ::2, ::2]) > 0.98
    sizes = [(112, 112), (150, 150), (160, 160), (224, 224), (28, 28)]
    assert {len(OCCLUSION.masks(*size, OCCLUSION.settings, 0)) for size in sizes} == {225}


# --------------------------------------------------------------------------------------------------------- occlusion


def patches(sides, stride, height=28, width=24):
    """The masks, and the settings with lengths in pixels of an input of 28 rows."""
    settings = dataclasses.replace(OCCLUSION.settings, sides=tuple(SIDE * side for side in sides), stride=SIDE * stride)
    return OCCLUSION.masks(height, width, settings, 0), settings


@pytest.mark.parametrize(
    ("sides", "stride"), [((5,), 3), ((4, 7), 4), ((3,), 2), ((1,), 1), ((40,), 3), ((9, 6, 5), 5)]
)
def test_occlusion_is_pixel_by_pixel_the_mean_of_what_covers_it(sides, stride):
    module, x, targets = case(images=1, height=28, width=10)
    masks, settings = patches(sides, stride, 28, 10)
    found = signed(perturb(OCCLUSION, seen(module), x, seen(module).embed(x), targets, masks, settings))
    black = normalised(torch.zeros(1, 3, 28, 10, dtype=torch.float64))[0]
    assert (masks.min(0) == 0).all()
    for j in range(3):
        expected = naive.occlusion(module, x[0], targets[0, j], black, sides, stride)
        close(found[0, j] * SIDE**2, expected, rtol=1e-8)


@pytest.mark.parametrize(("side", "stride"), [(4, 2), (5, 3), (7, 4), (3, 3), (1, 1)])
def test_occlusion_is_captums(side, stride):
    attr = pytest.importorskip("captum.attr")
    module, x, targets = case(images=1, height=28, width=24)
    masks, settings = patches((side,), stride)
    found = signed(perturb(OCCLUSION, seen(module), x, seen(module).embed(x), targets, masks, settings))
    for partner, one in zip(targets[0], found[0], strict=True):
        captum = attr.Occlusion(lambda image, to=partner: nn.functional.normalize(module(image)) @ to)
        expected = captum.attribute(
            x, (3, side, side), strides=(3, stride, stride), baselines=seen(module).baseline(x, BLACK)
        )
        close(one * (SIDE * side) ** 2, expected[0, 0], rtol=1e-5, atol=1e-6)  # captum adds up in float32


def test_a_network_that_reads_one_pixel_is_explained_by_it():
    class OnePixel(nn.Module):
        def forward(self, x):
            return torch.stack((x[:, 1, 17, 6], torch.ones(len(x)).to(x)), 1)

    x = normalised(pictures(1, 28, 24))
    masks, settings = patches((1,), 1)
    toward = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    network = seen(OnePixel())
    found = signed(perturb(OCCLUSION, network, x, network.embed(x), toward, masks, settings))[0, 0]
    own, black = (value / math.hypot(value, 1) for value in (float(x[0, 1, 17, 6]), -110 / 50))
    assert found[17, 6] * SIDE**2 == pytest.approx(own - black)
    found[17, 6] = 0
    assert not found.any()


@pytest.mark.parametrize(
    ("sides", "stride", "number"),
    [((14,), 7, 225), ((7, 14, 28), 5, 22**2 + 21**2 + 18**2), ((112,), 7, 1), ((300,), 7, 1), ((30,), 30, 16)],
)
def test_patches_reach_the_border(sides, stride, number):
    masks = OCCLUSION.masks(112, 112, dataclasses.replace(OCCLUSION.settings, sides=sides, stride=stride), 0)
    assert masks.shape == (number, 112, 112) and masks.dtype == np.float32
    hidden = (1 - masks).sum((1, 2))
    assert hidden.max() == min(max(sides), 112) ** 2 and hidden.min() > 0
    assert len({mask.tobytes() for mask in masks}) == number
    assert (1 - masks).max(0).all()


def test_no_pixel_is_between_two_patches():
    """At any size of input, also where a stride is no whole number of pixels."""
    for height, width in [(112, 96), (150, 150), (160, 160), (113, 97), (100, 140), (57, 31)]:
        for sides, stride in [((14,), 7), ((14,), 14), ((7, 14, 28), 5), ((9.5,), 9.5)]:
            settings = dataclasses.replace(OCCLUSION.settings, sides=sides, stride=stride)
            masks = OCCLUSION.masks(height, width, settings, 0)
            assert (1 - masks).max(0).all() and (1 - masks).sum((1, 2)).min() > 0
    for stride in (0, -1, 14.5):
        with pytest.raises(ValueError, match=rf"stride is {stride}; expected more than 0 and at most the smallest"):
            dataclasses.replace(OCCLUSION.settings, stride=stride)


# ----------------------------------------------------------------------------------------------------- of both of them


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_passes_are_those_that_are_run(method):
    for images, partners in ((1, 1), (3, 4)):
        module = smooth_network()
        x = normalised(pictures(images, 28, 28))
        targets, counting, network = partners_of(module, x, partners), Counting(module), seen(module)
        masks = method.masks(28, 28, method.settings, 0)
        perturb(method, seen(counting, batch=7), x, network.embed(x), targets, masks, method.settings)
        passes = Passes(counting.forwards / images, counting.backwards / images)
        assert passes == method.cost(partners + 1, method.settings, (28, 28), 8)
        assert passes == {"corrrise": (500, 0), "occlusion": (225, 0)}[method.name]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("at", [(4, 9), (0, 0), (25, 13)])
def test_a_planted_patch_is_found(method, at):
    changes = {"masks": 500, "side": 3 * SIDE} if method is CORRRISE else {"sides": (3 * SIDE,), "stride": SIDE}
    for seed in range(3):
        torch.manual_seed(seed)
        module, x = Patch(at), normalised(pictures(2, 28, 24, seed))
        targets = nn.functional.normalize(module(x))[:, None]  # of itself: whatever is hidden lowers the cosine
        loss, similarity = explained(method, module, x, targets, **changes).flatten(1, 2)
        for one in similarity:
            row, column = divmod(int(one.argmax()), 24)
            assert at[0] <= row < at[0] + 3 and at[1] <= column < at[1] + 3
        assert method is CORRRISE or loss.max() < 1e-12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_batches_change_nothing(method, kind):
    module, x, targets = case(images=3, height=28, width=24)
    changes = {"masks": 60, "correlation": kind} if method is CORRRISE else {}
    whole = explained(method, module, x, targets, **changes)
    for batch in (1, 7, 1000):
        torch.testing.assert_close(
            explained(method, module, x, targets, batch, **changes), whole, rtol=1e-7, atol=1e-12
        )
    torch.testing.assert_close(explained(method, module, x[2:], targets[2:], **changes), whole[:, 2:])


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_batches_are_halved_when_memory_runs_out(method):
    module, x, targets = case(height=28, width=24)
    network = seen(module)
    masks = method.masks(28, 24, method.settings, 0)
    given = x, network.embed(x), targets, masks, method.settings
    expected = perturb(method, network, *given)
    torch.testing.assert_close(perturb(method, seen(Tight(module, 3, 0)), *given), expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_what_is_hidden_may_be_blurred_instead(method):
    module, x, targets = case(height=28, width=24)
    changes = {"masks": 40} if method is CORRRISE else {"sides": (8 * SIDE,), "stride": 8 * SIDE}
    blurred = dataclasses.replace(method, fill=BLUR)
    found = explained(blurred, module, x, targets, **changes)
    assert (found - explained(method, module, x, targets, **changes)).abs().max() > 1e-4
    settings = dataclasses.replace(method.settings, **changes)
    masks = method.masks(28, 24, settings, 0)
    fill = torch.from_numpy(naive.blur(x.numpy(), radius=6, sigma=2.8))
    cosines = [
        [naive.embedding(module, torch.where(torch.from_numpy(mask) > 0, x[0], fill[0])) @ partner for mask in masks]
        for partner in targets[0]
    ]
    given = torch.tensor(cosines, dtype=torch.float64).T, targets[0] @ naive.embedding(module, x[0])
    close(signed(found)[0], method.combine(torch.from_numpy(masks).double(), *given, settings), atol=1e-7)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_masked_image_without_an_embedding_leaves_no_number(method):
    """Of this image alone: the engine counts such a map and takes it as empty."""
    module, x, targets = case(height=28, width=24)

    class Fails(nn.Module):
        def forward(self, given):
            lost = (given[:, :, 14, 12] < -1.99).all(1) & (given[:, 0, 0, 0] == x[0, 0, 0, 0])
            return module(given).masked_fill(lost[:, None], 0)

    found = explained(method, Fails(), x, targets)
    assert found[:, 0].isnan().all() and found[:, 1].isfinite().all()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_recogniser_at_its_own_size(method, narrow):
    """In float32, to the same bytes every time; in bf16 the embeddings are coarser, the formula is not."""
    network = ExplainedNetwork(networks.build_network(narrow), narrow.mean, narrow.std)
    x = normalised(pictures(2, 112, 112)).float()
    unit = network.embed(x)
    changes = {"masks": 20} if method is CORRRISE else {"sides": (40,), "stride": 36}
    settings = dataclasses.replace(method.settings, **changes)
    given = x, unit, unit.flip(0)[:, None], method.masks(112, 112, settings, 0), settings
    found = perturb(method, network, *given)
    assert found.dtype == torch.float32 and found.shape == (2, 2, 1, 112, 112) and found.any()
    assert torch.equal(perturb(method, network, *given), found)
    with arithmetic("bf16", x.device):
        coarse = perturb(method, network, *given)
        exact = method.combine(*(torch.rand(each, dtype=torch.float64) for each in sizes(given[3])), settings)
    assert coarse.dtype == torch.float32 and coarse.isfinite().all() and exact.dtype == torch.float64


def sizes(masks):
    return masks.shape, (len(masks), 1), (1,)
