"""Methods with backwards of their own, against naive loops, by hand, and against captum where it is installed."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

import naive_passes as naive
from leam.device import DeviceError, arithmetic
from leam.methods import BLACK, BLUR, POLARITIES, Passes, UnsuitableError
from leam.methods.backprop import FAME, FGGB, IG_BLACK, IG_BLUR, XSSAB, contrast, stepped
from leam.methods.networks import ExplainedNetwork, blurred
from leam.recognisers import networks
from small_networks import (
    MEAN,
    STD,
    Counting,
    Patch,
    Pixels,
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

METHODS = (IG_BLACK, IG_BLUR, XSSAB, FGGB, FAME)
TARGETS = ("cosine", "dot")
SHORT = {"ig.black": {"steps": 4}, "ig.blur": {"steps": 4}, "fame": {"steps": 3}}
SHORT |= {"xssab": {"theta": 0.2}, "fggb": {"theta": 0.2}}


def settings_of(method, **changes):
    return dataclasses.replace(method.settings, **SHORT[method.name] | changes)


def explained(method, module, x, targets, target="cosine", batch=32, **changes):
    return method.explain(seen(module, target, batch), x, targets, settings_of(method, **changes))


# ---------------------------------------------------------------------------------------------- integrated gradients


def naive_baseline(image, name):
    if name == BLACK:
        return normalised(torch.zeros(1, *image.shape, dtype=image.dtype))[0]
    height = image.shape[1]
    return torch.from_numpy(naive.blur(image.numpy(), radius=round(0.2 * height), sigma=0.1 * height))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", (IG_BLACK, IG_BLUR), ids=lambda method: method.name)
def test_integrated_gradients_are_the_mean_over_partners_and_steps(method, target):
    module, x, targets = case(height=15)
    found = signed(explained(method, module, x, targets, target, steps=5))
    assert found.shape == (2, 1, 15, 12)
    for image, partners, one in zip(x, targets, found, strict=True):
        start = naive_baseline(image, method.name.removeprefix("ig."))
        close(one[0], naive.integrated_gradients(module, image, partners, start, 5, target), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("baseline", (BLACK, BLUR))
def test_integrated_gradients_sum_to_what_the_cosine_gains(baseline, seed):
    module, x, targets = case(seed)
    method = IG_BLACK if baseline == BLACK else IG_BLUR
    found = signed(explained(method, module, x, targets, steps=64)).sum((1, 2, 3))
    network = seen(module)
    gain = network.embed(x) - network.embed(network.baseline(x, baseline))
    assert gain.abs().max() > 0.1
    torch.testing.assert_close(found, (gain * targets.mean(1)).sum(1), atol=1e-2, rtol=0)


@pytest.mark.parametrize("baseline", (BLACK, BLUR))
def test_integrated_gradients_are_captums(baseline):
    attr = pytest.importorskip("captum.attr")
    module, x, targets = case(images=1)
    network, method = seen(module), IG_BLACK if baseline == BLACK else IG_BLUR
    start = network.baseline(x, baseline)
    expected = []
    for partner in targets[0]:
        captum = attr.IntegratedGradients(lambda image, to=partner: nn.functional.normalize(module(image)) @ to)
        expected.append(captum.attribute(x, baselines=start, n_steps=16, method="riemann_middle").sum(1)[0])
    found = signed(explained(method, module, x, targets, steps=16))
    torch.testing.assert_close(found[0, 0], torch.stack(expected).mean(0), atol=1e-12, rtol=1e-8)


def test_a_picture_that_is_its_own_baseline_has_an_empty_map():
    module, _, _ = case()
    x = normalised(torch.zeros(1, 3, 12, 12, dtype=torch.float64))
    for method in (IG_BLACK, IG_BLUR):
        assert explained(method, module, x, partners_of(module, x)).max() < 1e-15


# ------------------------------------------------------------------------------------------------------------- xSSAB


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("theta", (-0.5, 0, 0.2, 0.6))
def test_xssab_is_two_backwards_of_a_pair(theta, target):
    module, x, targets = case()
    found = signed(explained(XSSAB, module, x, targets, target, theta=theta))
    assert found.shape == (2, 3, 12, 12)
    for image, partners, of_image in zip(x, targets, found, strict=True):
        for partner, one in zip(partners, of_image, strict=True):
            close(one, naive.xssab(module, image, partner, theta, target), rtol=1e-8)


@pytest.mark.parametrize("target", TARGETS)
def test_the_two_parts_of_a_gradient_add_up(target):
    module, x, targets = case()
    gradients = seen(module, target).gradients(x)
    partner = targets[:, 0]
    chosen = torch.rand(partner.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    both = gradients(partner * chosen) + gradients(partner * ~chosen)
    torch.testing.assert_close(both, gradients(partner), rtol=1e-9, atol=1e-15)


def test_below_every_dimension_xssab_is_saliency_and_above_its_opposite():
    module, x, targets = case()
    loss, similarity = explained(XSSAB, module, x, targets, theta=-math.inf)
    assert not loss.any()
    for image, partners, of_image in zip(x, targets, similarity, strict=True):
        for partner, one in zip(partners, of_image, strict=True):
            close(one, naive.gradient(module, image, partner).abs().mean(0))
    opposite = explained(XSSAB, module, x, targets, theta=math.inf)
    assert not opposite[1].any() and torch.equal(opposite[0], similarity)


def test_xssab_by_hand():
    """Embedding (3, 4) / 5, partner (0.8, 0.6): c = (0.48, 0.48); of a partner (0.6, -0.8) c = (0.36, -0.64).

    With the norm held, the gradient at the k-th pixel is the partner's k-th number / 5, in each channel.
    """
    x = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    x[0, 0] = torch.tensor([[3.0, 0], [0, 4.0]])
    targets = torch.tensor([[[0.8, 0.6], [0.6, -0.8]]], dtype=torch.float64)
    loss, similarity = explained(XSSAB, Pixels(2), x, targets, "dot", theta=0.5)[:, 0]  # 0.25 for each dimension
    close(similarity, [[[0.16, 0], [0, 0.12]], [[0.12, 0], [0, 0]]])
    close(loss, [[[0, 0], [0, 0]], [[0, 0], [0, 0.16]]])
    share = explained(XSSAB, Pixels(2), x, targets[:, :1], "dot", theta=0.97)  # 0.485 for each
    assert not share[1].any() and share[0].any()


def test_a_gradient_that_is_there_already_saves_a_backward():
    gradient, similar = torch.randn(2, 1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    loss, similarity = contrast(gradient, similar)
    difference = similar.abs().mean(1) - (gradient - similar).abs().mean(1)
    assert torch.equal(similarity - loss, difference)


# -------------------------------------------------------------------------------------------------------------- FGGB


@pytest.mark.parametrize("target", TARGETS)
def test_fggb_is_a_loop_over_dimensions(target):
    module, x, targets = case(height=28, width=24)
    raw = signed(explained(FGGB, module, x, targets, target, sigma=0))
    found = signed(explained(FGGB, module, x, targets, target))
    assert found.shape == (2, 3, 28, 24)
    for i, j in np.ndindex(2, 3):
        expected = naive.fggb(module, x[i], targets[i, j], 0.2, target)
        close(raw[i, j], expected, rtol=1e-7, atol=1e-12)
        close(found[i, j], naive.blur(expected.numpy(), radius=3, sigma=1.25), rtol=1e-7, atol=1e-12)


def test_fggb_of_a_linear_network_by_hand():
    """Each dimension is a pixel, so its normed gradient is 1 there, and the map is what the dimension adds."""
    x = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    x[0, 1] = torch.tensor([[3.0, 7.0], [9.0, 4.0]])  # unit embedding (0.6, 0.8); the other two are not read
    targets = torch.tensor([[[0.8, 0.6], [1.0, 0.0]]], dtype=torch.float64)
    found = signed(explained(FGGB, Pixels(2), x, targets, "dot", theta=0.3, sigma=0))[0]
    close(found, [[[0.33, 0], [0, 0.33]], [[0.45, 0], [0, -0.15]]])


def test_the_whole_threshold_for_each_dimension_would_empty_the_similarity():
    module, x, targets = case()
    assert explained(FGGB, module, x, targets, theta=0.2)[1].any()
    loss, similarity = explained(FGGB, module, x, targets, theta=0.9 * targets.shape[2])  # 0.9 for each
    assert loss.any() and not similarity.any()


def test_a_dimension_that_reads_nothing_adds_nothing():
    class Constant(nn.Module):
        def forward(self, x):
            found = Pixels(3)(x)
            return torch.cat((found, torch.ones_like(found[:, :1])), 1)

    _, x, _ = case()
    found = explained(FGGB, Constant(), x, partners_of(Constant(), x), "dot", sigma=0)
    assert found.isfinite().all() and found.any()


def test_fggb_says_which_embedding_is_too_large():
    module, x, targets = case()
    with pytest.raises(
        UnsuitableError, match=r"every dimension of the embedding, of which there are 8; expected at most 7"
    ):
        explained(FGGB, module, x, targets, most_dimensions=7)
    assert explained(FGGB, module, x, targets, most_dimensions=8).any()


@pytest.mark.parametrize(
    ("method", "theta"), [(XSSAB, math.nan), (FGGB, math.nan), (FGGB, math.inf), (FGGB, -math.inf)]
)
def test_a_method_that_needs_a_threshold_says_so(method, theta):
    module, x, targets = case()
    with pytest.raises(
        UnsuitableError, match=f"{method.name} compares with the threshold of the run, and there is none"
    ):
        explained(method, module, x, targets, theta=theta)
    assert math.isnan(method.settings.theta)


# -------------------------------------------------------------------------------------------------------------- FAME


@pytest.mark.parametrize("target", TARGETS)
def test_fame_is_the_naive_one_by_the_picture_itself(target):
    module, x, targets = case(height=28, width=24)
    found = explained(FAME, module, x, targets, target, steps=3, eta=0.02)
    mean, std = (torch.tensor(each, dtype=torch.float64) for each in (MEAN, STD))
    assert found.shape == (2, 2, 1, 28, 24)
    for polarity, sign in (("loss", -1), ("similarity", 1)):
        for i, picture in enumerate(pictures(2, 28, 24, 0) / 255):
            along = targets[i].mean(0)
            moved = naive.fame(module, picture, along, mean, std, 3, 0.02, sign, target).mean(0)
            expected = naive.blur(255 * moved.numpy(), radius=6, sigma=7.7 / 4)
            close(found[POLARITIES.index(polarity), i, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("eta", (1 / 255, 0.1))
def test_one_step_moves_the_strongest_pixel_by_eta(eta):
    module, x, targets = case()
    moved = stepped(seen(module), x, targets.mean(1), settings_of(FAME, steps=1, eta=eta))
    grey = ((moved - x) * torch.tensor(STD, dtype=torch.float64).view(1, 3, 1, 1)).abs()
    torch.testing.assert_close(grey.amax((1, 2, 3)), torch.full((2,), 255 * eta, dtype=torch.float64))


def test_the_steps_go_where_they_should():
    module, x, targets = case()
    network, v = seen(module), targets.mean(1)
    before = (network.embed(x) * v).sum(1)
    for sign in (1, -1):
        after = (network.embed(stepped(network, x, sign * v, settings_of(FAME, steps=10))) * v).sum(1)
        assert (sign * (before - after) > 0.001).all()


def test_an_image_without_a_gradient_stays_where_it_is():
    class Flat(nn.Module):
        def forward(self, x):
            return x.mean((2, 3)) * 0 + 1

    x = normalised(pictures(2))
    assert not explained(FAME, Flat(), x, partners_of(Flat(), x)).any()


# ----------------------------------------------------------------------------------------------------- of all of them


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_passes_are_those_that_are_run(method):
    for images, partners, dimensions in ((1, 1, 5), (3, 4, 8)):
        module = smooth_network(dimensions=dimensions)
        x = normalised(pictures(images))
        targets, counting = partners_of(module, x, partners), Counting(module)
        explained(method, counting, x, targets, batch=2)
        passes = Passes(counting.forwards / images, counting.backwards / images)
        assert passes == method.cost(partners + 1, settings_of(method), (12, 12), dimensions)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("at", [(4, 9), (0, 0), (25, 13)])
def test_a_planted_patch_is_found(method, at):
    inside = torch.zeros(28, 24, dtype=torch.bool)
    inside[at[0] : at[0] + 3, at[1] : at[1] + 3] = True
    sharp = {"sigma": 0} if hasattr(method.settings, "sigma") else {}
    for seed in range(3):
        torch.manual_seed(seed)
        module, x = Patch(at), normalised(pictures(2, 28, 24, seed))
        targets = partners_of(module, x)
        for one in explained(method, module, x, targets).sum(0).flatten(0, 1):
            assert inside.flatten()[one.argmax()]
        for one in explained(method, module, x, targets, **sharp).sum(0).flatten(0, 1):
            assert one[inside].sum() > 0 and not one[~inside].any()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_batches_change_nothing(method):
    module, x, targets = case(images=5)
    whole = explained(method, module, x, targets)
    for batch in (1, 2, 3):
        torch.testing.assert_close(explained(method, module, x, targets, batch=batch), whole, rtol=1e-7, atol=1e-12)
    alone = explained(method, module, x[3:4], targets[3:4])
    torch.testing.assert_close(alone, whole[:, 3:4], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("room", [(2, 9), (9, 2), (1, 1)])
def test_batches_are_halved_when_memory_runs_out(method, room):
    module, x, targets = case(images=5)
    found = explained(method, Tight(module, *room), x, targets, batch=8)
    torch.testing.assert_close(found, explained(method, module, x, targets), rtol=1e-7, atol=1e-12)
    with pytest.raises(DeviceError, match="memory does not suffice for one image"):
        explained(method, Tight(module, 1, 0), x, targets)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_nothing_is_left_behind(method):
    """Neither the images nor the network are changed, no graph goes with the maps, and another run gives the same."""
    module, x, targets = case()
    before = x.clone()
    found = explained(method, module, x, targets)
    assert torch.equal(x, before) and not x.requires_grad and not found.requires_grad
    with torch.no_grad():  # the caller's own mode is of no account
        assert torch.equal(explained(method, module, x, targets), found)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_network_may_overwrite_its_input(method):
    module, x, targets = case()

    class Overwriting(nn.Module):
        def forward(self, x):
            return module(x.mul_(2))

    found = explained(method, Overwriting(), x, targets)
    expected = explained(method, Doubling(module), x, targets)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-15)


class Doubling(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(2 * x)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_network_without_gradients_is_refused(method):
    module, x, targets = case()

    class Cut(nn.Module):
        def forward(self, x):
            return module(x.detach())

    with pytest.raises(UnsuitableError, match="no gradient leads from the embedding to the image"):
        explained(method, Cut(), x, targets)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_recogniser_at_its_own_size(method, narrow):
    """In float32, to the same bytes every time."""
    network = ExplainedNetwork(networks.build_network(narrow), narrow.mean, narrow.std)
    x, other = normalised(pictures(2, 112, 112)).float().split(1)
    targets = network.embed(other)[:, None]
    found = method.explain(network, x, targets, settings_of(method, **few(method)))
    assert found.dtype == torch.float32 and found.shape[-2:] == (112, 112) and found.isfinite().all() and found.any()
    assert torch.equal(method.explain(network, x, targets, settings_of(method, **few(method))), found)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_products_may_be_rounded(method):
    """In bf16 maps are coarser, by what the network's products are alone, and still float32."""
    module, x, targets = case(height=28, width=24)
    module, x, targets = module.float(), x.float(), targets.float()
    found = explained(method, module, x, targets)
    with arithmetic("bf16", x.device):
        coarse = explained(method, module, x, targets)
    assert coarse.dtype == torch.float32 and not torch.equal(coarse, found)
    assert (coarse - found).norm() < 0.1 * found.norm()


def few(method):
    return {"steps": 2} if hasattr(method.settings, "steps") else {}


# ----------------------------------------------------------------------------------------------------------- networks


def test_black_and_blur_are_of_the_picture():
    network, shown = seen(smooth_network()), pictures(2, 30, 20)
    black, blur = (network.baseline(normalised(shown), name) for name in (BLACK, BLUR))
    torch.testing.assert_close(black, normalised(torch.zeros_like(shown)))
    close(blur, normalised(torch.from_numpy(naive.blur(shown.numpy(), radius=6, sigma=3))), atol=1e-9)
    with pytest.raises(ValueError, match="baseline is 'white'; expected one of black, blur"):
        network.baseline(shown, "white")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 9), (3, 3), (5, 40), (112, 96), (160, 160)])
def test_a_blur_fits_every_picture(height, width):
    x = pictures(1, height, width)
    found = blurred(x, 24, 7.7)
    radius = min(round(24 * height / 112), height - 1, width - 1)
    close(found, naive.blur(x.numpy(), radius=radius, sigma=7.7 * height / 112), atol=1e-9)
    assert blurred(x, 24, 0) is x


def test_an_embedding_that_is_none_is_not_a_number():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.stack((torch.zeros(2), torch.tensor([math.inf, 1]), torch.tensor([3.0, 4.0])))

    found = seen(Odd()).embed(torch.zeros(3, 3, 4, 4))
    assert found[:2].isnan().all()
    torch.testing.assert_close(found[2], torch.tensor([0.6, 0.8]))
