"""Methods that hide parts of the picture and embed the rest: CorrRISE, occlusion by patches.

Masks are drawn once, from a seed, for all images of a run. A masked image is embedded once for all its partners, whose
cosines follow by one product. Lengths are in pixels of a crop of 112 x 112, so that every recogniser has the same masks
but for rounding. What follows from the cosines is computed in float64, which neither autocast nor tf32 shortens.

Shape letters: b images, K masks, P partners of an image, D embedding size, h, w the input.
"""

import math
from dataclasses import dataclass
from itertools import chain, product
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from leam.methods import EQUAL, Perturbation
from leam.methods.networks import ExplainedNetwork, polarised, to_pixels
from leam.regions import CROP_UNITS

SPEARMAN, PEARSON = "spearman", "pearson"


def perturb(
    method: Perturbation,
    network: ExplainedNetwork,
    x: Tensor,
    unit: Tensor,
    targets: Tensor,
    masks: np.ndarray,
    settings: Any,
) -> Tensor:
    """Maps (2, b, P, h, w) >= 0 of images x (b, 3, h, w), in the order of POLARITIES; K forwards of an image.

    unit : (b, D) their embeddings and targets : (b, P, D) their partners', of unit norm
    masks : (K, h, w), what ``method.masks`` gives
    NaN throughout where a masked image has no embedding.
    """
    kept, wide = torch.from_numpy(masks).to(x), torch.from_numpy(masks).to(x.device, torch.float64)
    maps = []
    for image, fill, own, partners in zip(
        x, network.baseline(x, method.fill), unit.double(), targets.double(), strict=True
    ):
        parts = (torch.lerp(fill, image, part[:, None]) for part in kept.split(network.batch))
        found = torch.cat([network.embed(part) for part in parts]).double()
        maps.append(method.combine(wide, found @ partners.T, partners @ own, settings))
    return polarised(torch.stack(maps)).to(x)


# ---------------------------------------------------------------------------------------------------------- CorrRISE


@dataclass(frozen=True)
class CorrriseSettings:
    """masks : K; patches : squares that a mask hides, of that side, which may overlap
    correlation : SPEARMAN or PEARSON

    Raises ValueError for any other correlation.
    """

    masks: int = 500
    patches: int = 3
    side: float = 30
    correlation: str = SPEARMAN

    def __post_init__(self) -> None:
        if self.correlation not in (SPEARMAN, PEARSON):
            raise ValueError(f"correlation is {self.correlation!r}; expected one of {SPEARMAN}, {PEARSON}")


def random_patches(height: int, width: int, settings: CorrriseSettings, seed: int) -> np.ndarray:
    """(K, height, width) float32, 0 in squares that lie evenly over the places where they fit, 1 elsewhere."""
    side = min(max(1, round(to_pixels(settings.side, height))), height, width)
    places = np.random.default_rng(seed).random((settings.masks, settings.patches, 2))
    corners = (places * (height - side + 1, width - side + 1)).astype(int)
    masks = np.ones((settings.masks, height, width), np.float32)
    for mask, of_mask in zip(masks, corners, strict=True):
        for top, left in of_mask:
            mask[top : top + side, left : left + side] = 0
    return masks


def correlation(masks: Tensor, cosines: Tensor, cosine: Tensor, settings: CorrriseSettings) -> Tensor:
    """CorrRISE (Lu et al. 2024): signed maps (P, h, w).

        M(pixel) = corr over the masks of (is the pixel kept?) with cos(masked i, j)

    Of a mask of zeros and ones the ranks are linear in the mask, so that Spearman's correlation is Pearson's with the
    ranks of the cosines, ties averaged; published code breaks ties by their order. A pixel that is never or always
    hidden, and cosines that differ by rounding alone, give 0. The cosine of the whole image is not asked. Squares lie
    within the picture, so that the border is hidden seldom and its correlations are small; what is hidden together is
    found together, to about the side of a square.
    """
    ranked = cosines
    if settings.correlation == SPEARMAN:
        ranked = torch.from_numpy(rankdata(cosines.cpu().numpy(), axis=0)).to(cosines)
    apart = ranked - ranked.mean(0)
    kept = masks.flatten(1)
    covariance = apart.T @ kept
    scale = apart.norm(dim=0)[:, None] * (kept.var(0, correction=0) * len(kept)).sqrt()
    varies = (cosines.amax(0) - cosines.amin(0) >= EQUAL)[:, None] & (scale > 0)
    found = torch.where(varies, covariance / scale, 0).masked_fill(cosines.isnan().any(0)[:, None], math.nan)
    return found.unflatten(1, masks.shape[1:])


# --------------------------------------------------------------------------------------------------------- occlusion


@dataclass(frozen=True)
class OcclusionPatches:
    """sides : of the square patches, each of which slides over the picture by ``stride``, at most its side.

    Raises ValueError for a longer stride, which would leave pixels that no patch hides.
    """

    sides: tuple[float, ...] = (14,)
    stride: float = 7

    def __post_init__(self) -> None:
        if not 0 < self.stride <= min(self.sides):
            raise ValueError(f"stride is {self.stride}; expected more than 0 and at most the smallest of the sides")


def _spans(length: int, height: int, side: float, stride: float) -> list[slice]:
    """The rows, or columns, of a patch at each of its places; the last may reach beyond the picture's ``length``."""
    steps = max(0, math.ceil((length * CROP_UNITS - side * height) / (stride * height)))
    starts = [stride * step for step in range(steps + 1)]
    return [slice(round(to_pixels(start, height)), round(to_pixels(start + side, height))) for start in starts]


def _places(height: int, width: int, settings: OcclusionPatches) -> list[list[tuple[slice, slice]]]:
    """The places of each side's patch, row after row."""
    rows, columns = (
        [_spans(length, height, side, settings.stride) for side in settings.sides] for length in (height, width)
    )
    return [list(product(*spans)) for spans in zip(rows, columns, strict=True)]


def sliding_patches(height: int, width: int, settings: OcclusionPatches, seed: int) -> np.ndarray:
    """(K, height, width) float32, 0 in one patch, side after side; nothing is drawn."""
    places = [*chain.from_iterable(_places(height, width, settings))]
    masks = np.ones((len(places), height, width), np.float32)
    for mask, place in zip(masks, places, strict=True):
        mask[place] = 0
    return masks


def mean_drop(masks: Tensor, cosines: Tensor, cosine: Tensor, settings: OcclusionPatches) -> Tensor:
    """Occlusion (Knoche et al. 2023): signed maps (P, h, w).

        M(pixel) = sum over sides of (mean over the patches that cover it of cos_ij - cos(patched i, j)) / side^2

    Patches reach the border, which takes 1,249 of sides 7, 14 and 28 by a stride of 5; the published code leaves the
    last ones out and has 1,130. A map is no finer than a stride, and what two patches must hide together is not found.
    """
    drop, hidden = cosine - cosines, 1 - masks.flatten(1)
    numbers = [len(places) for places in _places(masks.shape[1], masks.shape[2], settings)]
    total = drop.new_zeros(drop.shape[1], hidden.shape[1])
    for side, drops, covers in zip(settings.sides, drop.split(numbers), hidden.split(numbers), strict=True):
        total += drops.T @ covers / covers.sum(0).clamp(min=1) / side**2
    return total.unflatten(1, masks.shape[1:])


CORRRISE = Perturbation("corrrise", random_patches, correlation, CorrriseSettings())
OCCLUSION = Perturbation("occlusion", sliding_patches, mean_drop, OcclusionPatches())
