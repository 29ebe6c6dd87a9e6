"""Methods that send gradients of their own to the input: integrated gradients, xSSAB, FGGB, FAME.

    c_k = x^_ik x^_jk        what dimension k adds to the cosine of anchor i and partner j, sum_k c_k = cos_ij
    v   = mean_j x^_j        the mean of an image's partners
    theta                    the cosine above which a pair is accepted; theta / D is a dimension's share of it

All read the network through `methods.networks.ExplainedNetwork`. Maps are float32 at least, >= 0, in the order of
POLARITIES: ``loss`` is evidence against the match, ``similarity`` for it. Lengths are in pixels of a crop of 112 x 112.

Shape letters: b images, P partners of an image, D embedding size, S steps, T steps of FAME, h, w the input.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from leam.methods import BLACK, BLUR, PER_IMAGE, PER_PAIR, Backprop, Passes, UnsuitableError
from leam.methods.networks import ExplainedNetwork, blurred, polarised

# ---------------------------------------------------------------------------------------------- integrated gradients


@dataclass(frozen=True)
class IgSettings:
    """steps : of the path from the baseline to the image, S."""

    steps: int = 16


def integrated_gradients(
    network: ExplainedNetwork, x: Tensor, targets: Tensor, settings: IgSettings, baseline: str = BLACK
) -> Tensor:
    """Integrated gradients (Sundararajan et al. 2017), S forwards and backwards of an image: maps (2, b, 1, h, w).

        M = sum_RGB (I - B) mean_s g(B + (I - B) (s + 1/2) / S)        split by its sign

    g is linear in the partner's embedding, so the mean over the partners is exactly one run with v: what it is not is
    the mean of pair maps that each sum to 1. Where the target is the cosine, M sums to cos(I) - cos(B), up to the
    steps. The baseline B decides: pixels that are as B are get nothing, so that under BLACK dark hair and shadows have
    none whatever they do, and its maps gain from being judged under a black fill.
    """
    v, steps = targets.mean(1), settings.steps
    at = (torch.arange(steps, device=x.device).to(x).view(1, -1, 1, 1, 1) + 0.5) / steps
    maps = []
    each = max(1, network.batch // steps)
    for images, along in zip(x.split(each), v.split(each), strict=True):
        start = network.baseline(images, baseline)
        way = images - start
        path = (start[:, None] + way[:, None] * at).flatten(0, 1)
        gradients = network.backward(path, along.repeat_interleave(steps, 0)).unflatten(0, (-1, steps))
        maps.append((way * gradients.mean(1)).sum(1))
    return polarised(torch.cat(maps))[:, :, None]


def _cost_of_ig(n: int, settings: IgSettings, size: tuple[int, int], dimensions: int) -> Passes:
    return Passes(settings.steps, settings.steps)


# ------------------------------------------------------------------------------------------------------------- xSSAB


@dataclass(frozen=True)
class XssabSettings:
    """theta : the threshold of the run; published with that of the equal error rate."""

    theta: float = math.nan


def xssab(network: ExplainedNetwork, x: Tensor, targets: Tensor, settings: XssabSettings) -> Tensor:
    """xSSAB (Huber et al. 2024), a forward of an image and two backwards of a pair: maps (2, b, P, h, w).

        Q = {k: c_k >= theta / D}        M = mean_RGB |g[Q]| - mean_RGB |g[not Q]|        split by its sign

    g[Q] is the gradient of the sum over Q of c_k, through the norm where the target is the cosine, and g[not Q] is
    g - g[Q]. Of a theta below every c_k the similarity is plain saliency and the loss is empty. Maps are scattered as
    those of saliency are.

    Raises UnsuitableError where the run has no threshold.
    """
    if math.isnan(settings.theta):
        raise UnsuitableError(_no_threshold("xssab"))

    def explain(images: Tensor, partners: Tensor) -> Tensor:
        gradients = network.gradients(images)
        share = settings.theta / partners.shape[2]
        maps = []
        for partner in partners.unbind(1):
            similar = (gradients.unit * partner >= share) * partner
            maps.append(contrast(gradients(partner), gradients(similar)))
        return torch.stack(maps, 2)

    return network.in_parts(explain, x, targets, axis=1)


def contrast(gradient: Tensor, similar: Tensor) -> Tensor:
    """xSSAB of a pair from g and g[Q], each (b, 3, h, w): maps (2, b, h, w)."""
    return polarised(similar.abs().mean(1) - (gradient - similar).abs().mean(1))


def _cost_of_xssab(n: int, settings: XssabSettings, size: tuple[int, int], dimensions: int) -> Passes:
    return Passes(1, 2 * (n - 1))


# -------------------------------------------------------------------------------------------------------------- FGGB


@dataclass(frozen=True)
class FggbSettings:
    """theta : the threshold of the run; most_dimensions : of an embedding, a backward each
    radius, sigma : of the blur, sigma 0 for none
    """

    theta: float = math.nan
    most_dimensions: int = 1024
    radius: float = 12
    sigma: float = 5


def fggb(network: ExplainedNetwork, x: Tensor, targets: Tensor, settings: FggbSettings) -> Tensor:
    """FGGB (Lu et al. 2024), a forward and D backwards of an image, for all its partners: maps (2, b, P, h, w).

        G_k = mean_RGB |d x^_k / dI| / its L2 norm
        M = blur of sum_k (c_k - theta / D) G_k        split by its sign

    c_k is compared with the threshold's share theta / D. With theta itself, about D times as large as a c_k, no weight
    is above 0 and the similarity is empty. As it is, the weights of an accepted pair add up to cos - theta > 0 over G_k
    of equal norm that are much alike: expect its loss to be empty. The blur hides that M is scattered (``sigma: 0``
    shows it).

    Raises UnsuitableError where the run has no threshold or the embedding is too large.
    """
    dimensions = targets.shape[2]
    if dimensions > settings.most_dimensions:
        raise UnsuitableError(
            f"fggb takes a backward of every dimension of the embedding, of which there are {dimensions}; expected at "
            f"most {settings.most_dimensions} (fggb.most_dimensions)"
        )
    if not math.isfinite(settings.theta):
        raise UnsuitableError(_no_threshold("fggb"))

    def explain(images: Tensor, partners: Tensor) -> Tensor:
        gradients = network.gradients(images)
        weights = gradients.unit[:, None] * partners - settings.theta / dimensions  # (b, P, D)
        total = weights.new_zeros(*weights.shape[:2], *images.shape[2:])
        for k in range(dimensions):
            along = torch.zeros_like(gradients.unit)
            along[:, k] = 1
            size = gradients(along).abs().mean(1)
            norm = size.norm(dim=(1, 2), keepdim=True)
            size = torch.where(norm > 0, size / norm, 0)
            total.addcmul_(weights[:, :, k, None, None], size[:, None])  # no matrix product, which tf32 would shorten
        return polarised(blurred(total, settings.radius, settings.sigma))

    return network.in_parts(explain, x, targets, axis=1)


def _cost_of_fggb(n: int, settings: FggbSettings, size: tuple[int, int], dimensions: int) -> Passes:
    return Passes(1, dimensions)


def _no_threshold(name: str) -> str:
    return f"{name} compares with the threshold of the run, and there is none; expected impostor pairs enough for one"


# -------------------------------------------------------------------------------------------------------------- FAME


@dataclass(frozen=True)
class FameSettings:
    """steps : T; eta : of a step, in pictures of 0..1; radius, sigma : of the blur, sigma 0 for none."""

    steps: int = 100
    eta: float = 1 / 255
    radius: float = 24
    sigma: float = 7.7


def fame(network: ExplainedNetwork, x: Tensor, targets: Tensor, settings: FameSettings) -> Tensor:
    """FAME (Zhang and Guenther 2026), T forwards and backwards of an image and polarity: maps (2, b, 1, h, w).

        T times I' <- I' - eta g / max|g|        M = blur of mean_RGB |I' - I|

    g is the gradient of the similarity with v, which the steps lower (``similarity``), or of the loss (``loss``), and
    each polarity is a run of its own: both maps tell where, neither is a part of the other. The mean over the partners
    is in v; a step is not linear in it, so this is the map of the mean partner. Without the blur M is an adversarial
    pattern, which hardly moves another recogniser. I' is not clamped to 0..255. Published with T = 500.
    """
    v = targets.mean(1)
    maps = [
        (stepped(network, x, along, settings) - x).mul(network.std(x)).abs().mean(1) for along in (-v, v)
    ]  # lowering 1 - s is raising s
    return blurred(torch.stack(maps), settings.radius, settings.sigma)[:, :, None]


def stepped(network: ExplainedNetwork, x: Tensor, v: Tensor, settings: FameSettings) -> Tensor:
    """x (b, 3, h, w) after the steps that lower x^ . v, in its own units.

    The steps are of the picture: the gradient by a grey level is 1 / std of that by the input, and so is a grey level.
    """
    std = network.std(x)
    for _ in range(settings.steps):
        gradient = network.backward(x, v) / std
        peak = gradient.abs().amax((1, 2, 3), keepdim=True)
        x = x - torch.where(peak > 0, gradient / peak, 0) * (255 * settings.eta) / std
    return x


def _cost_of_fame(n: int, settings: FameSettings, size: tuple[int, int], dimensions: int) -> Passes:
    return Passes(2 * settings.steps, 2 * settings.steps)


IG_BLACK, IG_BLUR = (
    Backprop(f"ig.{each}", PER_IMAGE, partial(integrated_gradients, baseline=each), _cost_of_ig, IgSettings())
    for each in (BLACK, BLUR)
)
XSSAB = Backprop("xssab", PER_PAIR, xssab, _cost_of_xssab, XssabSettings())
FGGB = Backprop("fggb", PER_PAIR, fggb, _cost_of_fggb, FggbSettings())
FAME = Backprop("fame", PER_IMAGE, fame, _cost_of_fame, FameSettings())
