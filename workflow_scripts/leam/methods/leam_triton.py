"""Equations 1-3 on a GPU in one pass over the gradients and the activations, where PyTorch's own steps take nine.

Every number is read once and nothing is written but the maps; products and sums are in float32. It needs Triton, which
comes with PyTorch for GPUs; without it, and in other types, ``leam.weighted_activation`` does the same step by step.

Shape letters: b images, C channels, h, w a layer's map.
"""

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

TYPES = (torch.float32, torch.bfloat16)
PIXELS, CHANNELS = 64, 32  # that a program holds at once; either may be what lies side by side in memory


def is_possible(gradient: Tensor, activation: Tensor) -> bool:
    """Whether the kernel takes these: on a GPU, in float32 or bf16."""
    return triton is not None and gradient.is_cuda and gradient.dtype in TYPES and activation.dtype in TYPES


def weighted_activation(gradient: Tensor, activation: Tensor) -> Tensor:
    """``leam.weighted_activation``: (b, C, h, w) twice -> (2, b, h, w) float32. Either may have its channels last."""
    gradient, activation = _by_pixels(gradient), _by_pixels(activation)
    b, c, h, w = gradient.shape
    maps = gradient.new_empty(2, b, h, w, dtype=torch.float32)
    strides = [tensor.stride(axis) for tensor in (gradient, activation) for axis in (0, 1, 3)]
    programs = (b, triton.cdiv(h * w, PIXELS))
    _reduce[programs](gradient, activation, maps, c, h * w, b * h * w, *strides, PIXELS=PIXELS, CHANNELS=CHANNELS)
    return maps


def _by_pixels(x: Tensor) -> Tensor:
    """The tensor itself if one stride leads from each pixel to the next, else a copy of which that is true."""
    return x if x.stride(2) == x.shape[3] * x.stride(3) else x.contiguous()


if triton is not None:

    @triton.jit
    def _reduce(
        gradients,
        activations,
        maps,
        channels,
        pixels,
        polarity,  # numbers from the one polarity to the other
        g_image,
        g_channel,
        g_pixel,
        a_image,
        a_channel,
        a_pixel,
        PIXELS: tl.constexpr,  # noqa: N803
        CHANNELS: tl.constexpr,  # noqa: N803
    ):
        image = tl.program_id(0).to(tl.int64)
        pixel = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
        loss = tl.zeros((PIXELS, CHANNELS), tl.float32)
        similarity = tl.zeros((PIXELS, CHANNELS), tl.float32)
        for first in range(0, channels, CHANNELS):
            channel = first + tl.arange(0, CHANNELS)
            inside = (pixel < pixels)[:, None] & (channel < channels)[None, :]
            g_at = image * g_image + pixel[:, None] * g_pixel + channel[None, :] * g_channel
            a_at = image * a_image + pixel[:, None] * a_pixel + channel[None, :] * a_channel
            g = tl.load(gradients + g_at, mask=inside, other=0.0).to(tl.float32)
            a = tl.load(activations + a_at, mask=inside, other=0.0).to(tl.float32)
            loss += tl.maximum(-g, 0.0) * a  # d(1 - cos) = -d cos
            similarity += tl.maximum(g, 0.0) * a
        at = image * pixels + pixel
        tl.store(maps + at, tl.maximum(tl.sum(loss, 1), 0.0), mask=pixel < pixels)
        tl.store(maps + polarity + at, tl.maximum(tl.sum(similarity, 1), 0.0), mask=pixel < pixels)
