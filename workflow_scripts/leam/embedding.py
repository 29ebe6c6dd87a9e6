"""Images embedded by a network: which embeddings are some, and their unit norm.

Shape letters: N images, D embedding size.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from leam.device import halve

COSINE, DOT = "cosine", "dot"  # what is differentiated: see maps.MapSettings
SAME_COSINE = 0.999  # cosine of two embeddings of one picture that differ by rounding, in float32


class UnusableImagesError(Exception):
    """Images whose embedding is zero or not finite: they have no cosine. ``usable`` (N,) says which are not."""

    def __init__(self, usable: np.ndarray):
        super().__init__(f"{(~usable).sum()} of {len(usable)} embeddings are zero or not finite")
        self.usable = usable


def embed(network: nn.Module, x: Tensor, batch: int = 32) -> Tensor:
    """Embeddings (N, D) as the network gives them, without a graph; batches are halved when memory runs out."""
    try:
        with torch.no_grad():
            return torch.cat([network(part) for part in x.split(batch)])
    except RuntimeError as error:
        batch = halve(batch, error)
    return embed(network, x, batch)


def unit_embeddings(embeddings: Tensor) -> Tensor:
    """Embeddings (N, D) at unit norm. Raises UnusableImagesError when some are zero or not finite."""
    usable = is_usable(embeddings)
    if not usable.all():
        raise UnusableImagesError(usable.cpu().numpy())
    return normalise(embeddings)


def is_usable(embeddings: Tensor) -> Tensor:
    """(N,) whether an embedding (N, D) has a cosine."""
    norms = embeddings.norm(dim=1)
    return norms.isfinite() & (norms > 0)


def wide(embeddings: Tensor) -> Tensor:
    """Embeddings (N, D) in float32 at least."""
    return embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))


def normalise(embeddings: Tensor) -> Tensor:
    """Embeddings (N, D) at unit norm, in float32 at least."""
    return functional.normalize(wide(embeddings))


def cosines_of(one: Tensor, other: Tensor) -> Tensor:
    """Cosines (N, M) of embeddings (N, D) and (M, D) of unit norm, in their own type: bf16 rounds them to 0.004."""
    with torch.autocast(one.device.type, enabled=False):
        return one @ other.T


def made_up_pictures(images: int, input_size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """(images, 3, height, width) float32 in -1..1, no two alike: what a network is tried with."""
    each = 3 * input_size[0] * input_size[1]
    waves = torch.arange(images * each, dtype=torch.float64).mul(100 / each).sin()
    return waves.float().view(images, 3, *input_size).to(device)
