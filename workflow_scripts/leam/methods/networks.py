"""What a method with passes of its own sees of a recogniser: embeddings, gradients at the input, and grey levels.

Methods see the input alone, as the network takes it: (pixel - mean) / std. The recogniser's window and the precision
are the engine's.

Shape letters: b, n images, D embedding size, h, w the input, P partners of an image, S signs.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from leam.device import CPU_BATCH, halve
from leam.embedding import COSINE, embed, is_usable, normalise, wide
from leam.methods import BLACK, BLUR, UnsuitableError
from leam.regions import CROP_UNITS

BLURRED = 0.1  # sigma of a picture without content, in its heights: faces are blobs then


class Gradients:
    """One forward of images (b, 3, h, w), held for the gradients of as many targets as are asked for.

    unit : (b, D) their embeddings at unit norm, constants

    Raises UnsuitableError when no gradient leads from the embedding to the image.
    """

    def __init__(self, module: nn.Module, x: Tensor, target: str = COSINE):
        self._x = x.detach().requires_grad_()
        with torch.enable_grad():
            found = wide(module(self._x.clone()))  # a copy, which the network may overwrite
            if not found.requires_grad:
                raise UnsuitableError(
                    "no gradient leads from the embedding to the image; expected a differentiable network"
                )
            self._unit = normalise(found) if target == COSINE else found / found.detach().norm(dim=1, keepdim=True)
        self.unit = self._unit.detach()

    def __call__(self, v: Tensor) -> Tensor:
        """Gradient (b, 3, h, w) of every image's x^ . v, of v (b, D) constant."""
        return torch.autograd.grad(self._unit, self._x, v.to(self._unit), retain_graph=True)[0]


class ExplainedNetwork:
    """A recogniser's network as methods see it.

    module : the network; mean, std : of each channel, in grey levels of 0..255; target : what is differentiated, as in
    ``maps.MapSettings``; batch : images per pass at most, halved for good when memory runs out
    """

    def __init__(
        self,
        module: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        target: str = COSINE,
        batch: int = CPU_BATCH,
    ):
        self.module, self.target, self.batch = module, target, batch
        self._mean, self._std = (torch.tensor(each, dtype=torch.float64).view(1, -1, 1, 1) for each in (mean, std))

    def std(self, x: Tensor) -> Tensor:
        """(1, 3, 1, 1): grey levels in a unit of each channel of the input, on the device and in the type of x."""
        return self._std.to(x)

    def baseline(self, x: Tensor, name: str) -> Tensor:
        """A picture without content for each of x (n, 3, h, w), in the same units: BLACK, or BLUR, itself blurred.

        Raises ValueError for any other.
        """
        if name == BLACK:
            return (-self._mean / self._std).to(x).expand_as(x)
        if name == BLUR:
            sigma = BLURRED * CROP_UNITS
            return blurred(x, 2 * sigma, sigma)
        raise ValueError(f"baseline is {name!r}; expected one of {BLACK}, {BLUR}")

    def embed(self, x: Tensor) -> Tensor:
        """Embeddings (n, D) of unit norm, without a graph; NaN where an embedding is zero or not finite."""
        found = embed(self.module, x, self.batch)
        return normalise(found).masked_fill(~is_usable(found)[:, None], float("nan"))

    def gradients(self, x: Tensor) -> Gradients:
        """One forward of x (b, 3, h, w), all at once, for many backwards; `in_parts` bounds b."""
        return Gradients(self.module, x, self.target)

    def backward(self, x: Tensor, v: Tensor) -> Tensor:
        """Gradient (n, 3, h, w) of x^_i . v_i in every image of x (n, 3, h, w), of v (n, D) constant; in parts."""
        return self.in_parts(lambda images, along: self.gradients(images)(along), x, v)

    def in_parts(self, compute: Callable[..., Tensor], *tensors: Tensor, axis: int = 0) -> Tensor:
        """``compute`` of at most ``batch`` images at a time, of tensors (n, ...); of fewer when memory runs out.

        axis : of what ``compute`` returns, along which images lie
        """
        start, found = 0, []
        while start < len(tensors[0]):
            part = [each[start : start + self.batch] for each in tensors]
            done = None
            try:
                done = compute(*part)
            except RuntimeError as error:
                self.batch = halve(len(part[0]), error)
            if done is not None:
                found.append(done)
                start += len(part[0])
        return torch.cat(found, axis)


def to_pixels(length: float, height: int) -> float:
    """A length in pixels of a crop of 112 x 112, as methods are published with, in those of an input of that height."""
    return length * height / CROP_UNITS


def blurred(x: Tensor, radius: float, sigma: float) -> Tensor:
    """x (..., h, w) under a Gaussian that is cut off beyond a radius; sigma 0 leaves it as it is.

    Both lengths are in pixels of a crop of 112 x 112. In float64, which neither autocast nor tf32 shortens; mirrored at
    the border.
    """
    if sigma == 0:
        return x
    from torchvision.transforms.functional import gaussian_blur  # seconds of starting

    height, width = x.shape[-2:]
    reach = min(round(to_pixels(radius, height)), height - 1, width - 1)
    flat = x.reshape(-1, 1, height, width).double()
    return gaussian_blur(flat, 2 * reach + 1, to_pixels(sigma, height)).view(x.shape).to(x)


def polarised(signed: Tensor) -> Tensor:
    """The two halves (2, ...) of signed maps, in the order of POLARITIES: what is against the match, what is for it."""
    return torch.stack((-signed, signed)).relu()
