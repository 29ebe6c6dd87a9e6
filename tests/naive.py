"""LEAM and its counts computed the slow, obvious way: one pair, one layer, one pixel at a time (docs/method.md).

Nothing here is shared with the engine that it checks, except the names of the layers.
"""

import numpy as np
import torch


def gradient_and_activation(network, layer, image, positive, polarity, target="cosine"):
    """Of one anchor image (3, h, w), one positive, one layer: (C, h, w) twice, from a graph of their own."""
    kept = {}

    def keep(_module, _inputs, output):
        kept["A"] = output.clone()  # the convolution's own output, whatever happens to it afterwards
        kept["graph"] = output if output.requires_grad else output.detach().requires_grad_()
        return kept["graph"].clone()

    module = dict(network.named_modules())[layer]
    with torch.no_grad():
        x_j = network(positive[None])[0]
    handle = module.register_forward_hook(keep)
    try:
        x_i = network(image[None])[0]
    finally:
        handle.remove()
    norm = x_i.norm() if target == "cosine" else x_i.norm().detach()
    cosine = (x_i @ x_j) / (norm * x_j.norm())
    differentiated = 1 - cosine if polarity == "loss" else cosine
    (gradient,) = torch.autograd.grad(differentiated, kept["graph"])
    return gradient[0], kept["A"].detach()[0]


def pair_map(network, layer, image, positive, polarity, target="cosine"):
    """M_ij of equations 1-5 for one anchor image (3, h, w), one positive, one layer."""
    gradient, activation = gradient_and_activation(network, layer, image, positive, polarity, target)
    weights = torch.relu(gradient)
    total = torch.zeros_like(activation[0])
    for channel in range(len(activation)):
        total += weights[channel] * activation[channel]
    return torch.relu(total)


def count(pixels, regions, percents, region_number):
    """Counts (T, R) of one map's pixels (G*G,) by a full stable sort."""
    order = sorted(range(len(pixels)), key=lambda index: (-pixels[index], index))
    counts = np.zeros((len(percents) + 1, region_number), int)
    for row, percent in enumerate(percents):
        size = max(1, round(percent / 100 * len(pixels)))
        for index in order[:size]:
            if pixels[index] > 0:
                counts[row, regions[index]] += 1
    peak = max(pixels)
    for index, value in enumerate(pixels):
        if peak > 0 and value / peak > np.float32(0.01):
            counts[-1, regions[index]] += 1
    return counts
