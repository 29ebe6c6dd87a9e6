"""Networks whose explanations are known or quickly computed, and what methods are given of them."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from leam.methods.networks import ExplainedNetwork

MEAN, STD = (120.0, 110.0, 100.0), (60.0, 50.0, 40.0)


def smooth_network(seed=0, dimensions=8):
    """Of any input of 8 x 8 and more; smooth, so that a step of a path has no kinks."""
    torch.manual_seed(seed)
    first, second, last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3, stride=2), nn.Linear(54, dimensions)
    network = nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), last)
    return network.double().eval().requires_grad_(False)


class Patch(nn.Module):
    """Its embedding reads 3 x 3 pixels, whose corner is ``at``."""

    def __init__(self, at, dimensions=6):
        super().__init__()
        self.at, self.linear = at, nn.Linear(27, dimensions).double().requires_grad_(False)

    def forward(self, x):
        top, left = self.at
        return torch.tanh(self.linear(x[..., top : top + 3, left : left + 3].flatten(1)))


class Pixels(nn.Module):
    """Dimension k is the sum over the channels of the k-th pixel of the diagonal: every gradient is known by hand."""

    def __init__(self, dimensions):
        super().__init__()
        self.dimensions = dimensions

    def forward(self, x):
        return x.sum(1).diagonal(dim1=1, dim2=2)[:, : self.dimensions]


class Counting(nn.Module):
    """Counts the images that go through a network, forwards and backwards."""

    def __init__(self, network):
        super().__init__()
        self.network, self.forwards, self.backwards = network, 0, 0

    def forward(self, x):
        self.forwards += len(x)
        found = self.network(x)
        if found.requires_grad:
            found.register_hook(self._count)
        return found

    def _count(self, gradient):
        self.backwards += len(gradient)


class Full(torch.autograd.Function):
    """The identity, whose backward has room for so many images."""

    @staticmethod
    def forward(ctx, x, room):
        ctx.room = room
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        if len(gradient) > ctx.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return gradient, None


class Tight(nn.Module):
    """A network on a device with room for so many images at once, forwards and backwards."""

    def __init__(self, network, forwards, backwards):
        super().__init__()
        self.network, self.forwards, self.backwards = network, forwards, backwards

    def forward(self, x):
        if len(x) > self.forwards:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.network(Full.apply(x, self.backwards))


def seen(module, target="cosine", batch=32):
    """The network as methods see it."""
    return ExplainedNetwork(module, MEAN, STD, target, batch)


def normalised(pictures):
    """Pictures (n, 3, h, w) of 0..255 in the units of the network."""
    mean, std = (torch.tensor(each, dtype=torch.float64).view(1, 3, 1, 1) for each in (MEAN, STD))
    return (pictures - mean) / std


def pictures(images, height=12, width=12, seed=0):
    """(n, 3, h, w) float64 of 0..255."""
    generator = torch.Generator().manual_seed(seed)
    return 255 * torch.rand(images, 3, height, width, generator=generator, dtype=torch.float64)


def partners_of(module, x, number=3, seed=1):
    """(b, P, D) unit embeddings, of pictures of its own for each image."""
    others = normalised(pictures(number * len(x), *x.shape[2:], seed=seed))
    return functional.normalize(module(others)).unflatten(0, (len(x), number))


def signed(maps):
    """The map whose two halves (2, ...) these are; they never overlap."""
    loss, similarity = maps
    assert (maps >= 0).all() and (torch.minimum(loss, similarity) == 0).all()
    return similarity - loss


def case(seed=0, images=2, height=12, width=12):
    """A network, images (n, 3, h, w) of its input, and three partners (n, 3, D) of each."""
    module = smooth_network(seed)
    x = normalised(pictures(images, height, width, seed))
    return module, x, partners_of(module, x)


def close(found, expected, **tolerances):
    np.testing.assert_allclose(found.numpy(), expected, **{"rtol": 1e-9, "atol": 1e-12} | tolerances)
