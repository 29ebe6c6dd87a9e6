"""Methods with passes of their own, computed the slow, obvious way: one pair, one pixel, one dimension at a time.

Nothing here is shared with the methods that it checks. Images are (3, h, w) in the units of the network, embeddings
(D,), maps (h, w) signed; lengths are in pixels of the input.
"""

import numpy as np
import torch
from scipy import stats
from scipy.ndimage import gaussian_filter1d


def embedding(network, image):
    with torch.no_grad():
        found = network(image[None])[0]
    return found / found.norm()


def gradient(network, image, along, target="cosine"):
    """d (x^ . along) / d image, from a graph of its own."""
    image = image.clone().requires_grad_()
    found = network(image[None])[0]
    norm = found.norm() if target == "cosine" else found.norm().item()
    (found @ along / norm).backward()
    return image.grad


def blur(picture, radius, sigma):
    """(..., h, w) along one axis after the other, mirrored about the middle of the last pixel."""
    for axis in (-2, -1):
        picture = gaussian_filter1d(picture, sigma, axis=axis, mode="mirror", radius=radius)
    return picture


def integrated_gradients(network, image, partners, baseline, steps, target="cosine"):
    """The mean over the partners of each one's own map."""
    total = torch.zeros_like(image[0])
    for partner in partners:
        for step in range(steps):
            point = baseline + (image - baseline) * (step + 0.5) / steps
            for channel, slope in enumerate(gradient(network, point, partner, target)):
                total += (image - baseline)[channel] * slope / steps / len(partners)
    return total


def xssab(network, image, partner, theta, target="cosine"):
    own = embedding(network, image)
    similar = torch.tensor([bool(a * b >= theta / len(own)) for a, b in zip(own, partner, strict=True)])
    of_similar = gradient(network, image, torch.where(similar, partner, 0), target)
    of_others = gradient(network, image, torch.where(similar, 0, partner), target)
    return of_similar.abs().mean(0) - of_others.abs().mean(0)


def fggb(network, image, partner, theta, target="cosine"):
    """Without the blur."""
    own, total = embedding(network, image), torch.zeros_like(image[0])
    for k in range(len(own)):
        size = gradient(network, image, torch.eye(len(own)).to(image)[k], target).abs().mean(0)
        total += (own[k] * partner[k] - theta / len(own)) * size / size.square().sum().sqrt()
    return total


def fame(network, picture, along, mean, std, steps, eta, sign, target="cosine"):
    """|I' - I| of a picture (3, h, w) of 0..1, without the mean and the blur; sign 1 lowers the cosine, -1 raises it.

    The gradient is taken by the picture itself, whatever the network's own units are.
    """

    def seen(image):
        return network((255 * image - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1))

    moved = picture.clone()
    for _ in range(steps):
        slope = sign * gradient(seen, moved, along, target)
        moved = moved - eta * slope / slope.abs().max()
    return (moved - picture).abs()


def correlation(masks, cosines, kind):
    """(h, w) of masks (K, h, w) and cosines (K,), by scipy, pixel by pixel; 0 where a pixel never varies."""
    function = {"spearman": stats.spearmanr, "pearson": stats.pearsonr}[kind]
    found = np.zeros(masks.shape[1:])
    for row, column in np.ndindex(*found.shape):
        pixel = masks[:, row, column]
        if pixel.min() < pixel.max():
            found[row, column] = function(pixel, cosines).statistic
    return found


def occlusion(network, image, partner, fill, sides, stride):
    """Pixel by pixel: every patch of a side that covers it, also those that reach beyond the picture."""
    _, height, width = image.shape
    total = np.zeros((height, width))
    whole = float(embedding(network, image) @ partner)
    for side in sides:
        drops = {}
        for top in (stride * n for n in range(height) if n == 0 or stride * (n - 1) + side < height):
            for left in (stride * n for n in range(width) if n == 0 or stride * (n - 1) + side < width):
                hidden = image.clone()
                hidden[:, top : top + side, left : left + side] = fill[:, top : top + side, left : left + side]
                drops[top, left] = whole - float(embedding(network, hidden) @ partner)
        for row, column in np.ndindex(height, width):
            covering = [
                drop for (top, left), drop in drops.items() if top <= row < top + side and left <= column < left + side
            ]
            total[row, column] += np.mean(covering) / side**2
    return total
