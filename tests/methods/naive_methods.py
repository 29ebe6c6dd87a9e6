"""The methods of leam.methods.cams the slow, obvious way: one pair and one pixel at a time.

Nothing here is shared with the formulas that it checks. Of one pair: g and a (C, h, w) of numpy, gradient of the cosine
and activation; sign -1 is the polarity ``loss``, 1 is ``similarity``; a map (h, w).
"""

import numpy as np
import torch
from torch.nn import functional


def pixel_by_pixel(g, a, of_pixel):
    found = np.zeros(g.shape[1:])
    for row in range(g.shape[1]):
        for column in range(g.shape[2]):
            found[row, column] = of_pixel(g[:, row, column], a[:, row, column])
    return found


def leam(g, a, sign):
    return pixel_by_pixel(g, a, lambda g, a: max(0.0, sum(np.maximum(sign * g, 0) * a)))


def layercam(g, a, sign):
    return pixel_by_pixel(g, a, lambda g, a: sum(np.maximum(sign * g, 0) * np.maximum(a, 0)))


def gradcam(g, a, sign):
    weights = [channel.sum() / channel.size for channel in g]
    return pixel_by_pixel(
        g, a, lambda _, a: max(0.0, sign * sum(w * value for w, value in zip(weights, a, strict=True)))
    )


def gradcam_plus_plus(g, a, sign):
    weights = []
    for gradient, activation in zip(sign * g, a, strict=True):
        total, weight = sum(activation.flat), 0.0
        for each in gradient.flat:
            if each > 0:
                weight += each * each**2 / (2 * each**2 + each**3 * total + 1e-6)
        weights.append(weight)
    return pixel_by_pixel(g, a, lambda _, a: max(0.0, sum(w * value for w, value in zip(weights, a, strict=True))))


def hirescam(g, a, sign):
    return pixel_by_pixel(g, a, lambda g, a: max(0.0, sign * sum(g * a)))


def sensitivity(g, a, sign):
    del sign
    return pixel_by_pixel(g, a, lambda g, _: sum(abs(g)))


def saliency(g, a, sign):
    del sign
    return pixel_by_pixel(g, a, lambda g, _: sum(abs(g)) / 3)


def gradxinput(g, image, sign, black=(0, 0, 0)):
    return pixel_by_pixel(g, image, lambda g, i: max(0.0, sign * sum(g * (i - np.array(black)))))


NAIVE = {
    "leam": leam,
    "layercam": layercam,
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "hirescam": hirescam,
    "sensitivity": sensitivity,
    "saliency": saliency,
    "gradxinput": gradxinput,
}


def at_input(network, image, positive):
    """Gradient of the cosine of two images (3, h, w), and the image: numpy, (3, h, w) twice."""
    leaf = image.clone().requires_grad_()
    with torch.no_grad():
        constant = network(positive[None])[0]
    functional.cosine_similarity(network(leaf[None])[0], constant, dim=0).backward()
    return leaf.grad.numpy(), image.numpy()


def after_call(network, number, image, positive, monkeypatch):
    """Gradient of the cosine, and what it is of, at the output of the ``number``-th call of functional.relu."""
    with torch.no_grad():
        constant = network(positive[None])[0]
    kept, relu = [], functional.relu

    def record(x, *given, **options):
        y = relu(x, *given, **options)
        kept.append(y if y.requires_grad else y.requires_grad_())
        return kept[-1].clone()

    with monkeypatch.context() as patched:
        patched.setattr(functional, "relu", record)
        embedding = network(image[None])[0]
    cosine = functional.cosine_similarity(embedding, constant, dim=0)
    (gradient,) = torch.autograd.grad(cosine, kept[number])
    return gradient[0].numpy(), kept[number][0].detach().numpy()
