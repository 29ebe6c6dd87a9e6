"""LEAM: LayerCAM for embedding networks (paper 3.1, equations 1 to 3)."""

import torch
from torch import Tensor

from leam.methods import Reduction, leam_triton

CACHED = 2**20  # numbers that are multiplied at once on a CPU: 4 MB in float32


def weighted_activation(gradient: Tensor, activation: Tensor) -> Tensor:
    """Equations 1-3 for both polarities: (b, C, h, w) twice -> (2, b, h, w), in the order of POLARITIES.

    ``gradient`` is that of the similarity. ReLU(g) * A is not ReLU(g * A): activations before BN are signed.
    """
    if leam_triton.is_possible(gradient, activation):
        return leam_triton.weighted_activation(gradient, activation)
    b, c, h, w = gradient.shape
    dtype = torch.promote_types(gradient.dtype, torch.float32)  # what comes in bf16 is multiplied and added in float32
    maps = gradient.new_empty(2, b, h, w, dtype=dtype)
    step = b if gradient.is_cuda else max(1, CACHED // (c * h * w))
    product = torch.empty_like(gradient[:step], dtype=dtype)  # in its order of memory; on a CPU, what its cache holds
    for start in range(0, b, step):
        part = slice(start, start + step)
        g, a = gradient[part].to(dtype), activation[part]
        wa = product[: len(g)]
        torch.sum(torch.clamp(g, max=0, out=wa).mul_(a), 1, out=maps[0, part])  # d(1 - cos) = -d cos
        torch.sum(torch.clamp(g, min=0, out=wa).mul_(a), 1, out=maps[1, part])
    maps[0].neg_()
    return maps.relu_()


LEAM = Reduction("leam", "layers", weighted_activation)
