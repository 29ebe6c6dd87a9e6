"""The methods that share LEAM's backward: what they make of the gradient of the similarity and the activation.

Each takes (gradient, activation) (b, C, h, w) twice and gives (2, b, h, w) >= 0, in the order of POLARITIES. A signed
map M is given as ReLU(-M), evidence against the match, and ReLU(M), evidence for it; an unsigned one twice. What comes
in bf16 is multiplied and added in float32. g = d similarity / d A below, A the activation.
"""

import torch
from torch import Tensor

from leam.methods import ACTIVATED, INPUT, LAYERS, Normalised, Reduction
from leam.methods.leam import weighted_activation

EPSILON = 1e-6  # in Grad-CAM++'s denominator, as its users run it; where g is below 1e-3 it decides


def layercam(gradient: Tensor, activation: Tensor) -> Tensor:
    """LayerCAM (Jiang et al., TIP 2021): ReLU(sum_C ReLU(+-g) ReLU(A)), A after the layer's activation function.

    As published A >= 0. At a convolution's output the same product is LEAM's: there A is signed, and subtracts.
    """
    return weighted_activation(gradient, activation.relu())


def gradcam(gradient: Tensor, activation: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al., ICCV 2017): M = sum_C mean_hw(g) A, signed.

    With the cosine, a pair's M may have one sign all over: its map of the other polarity is empty, which is counted.
    With the mean of all partners as the positive this is Embedding-CAM (Bachhawat 2019).
    """
    g, a = _wide(gradient), _wide(activation)
    return _signed((g.mean((2, 3), keepdim=True) * a).sum(1))


def gradcam_plus_plus(gradient: Tensor, activation: Tensor) -> Tensor:
    """Grad-CAM++ (Chattopadhay et al., WACV 2018): ReLU(sum_C w A), w = sum_hw a ReLU(g), for +g and for -g, with
    a = g^2 / (2 g^2 + g^3 sum_hw A + EPSILON).

    Derived for the exponential of a score and A >= 0: with a signed A the denominator may come near 0, and a single
    channel decides. It does not scale with g: where g^2 is small beside EPSILON, w goes with the third power of g.
    """
    g, a = _wide(gradient), _wide(activation)
    return torch.stack([_plus_plus(sign * g, a) for sign in (-1, 1)])


def _plus_plus(g: Tensor, a: Tensor) -> Tensor:
    squared = g.square()
    share = squared / (2 * squared + squared * g * a.sum((2, 3), keepdim=True) + EPSILON)
    weights = (share * g.relu()).sum((2, 3), keepdim=True)
    return (weights * a).sum(1).relu()


def hirescam(gradient: Tensor, activation: Tensor) -> Tensor:
    """HiResCAM (Draelos and Carin 2020): M = sum_C g A, signed.

    With the target ``dot``, at the last map before a linear head, M sums to the cosine but for the head's bias: the
    decomposition of Zhu et al. (2019) and Stylianou et al. (WACV 2019). With ``cosine`` it sums to 0 where no step
    behind the place has a bias, as the cosine knows no scale: the two polarities are then equally heavy.
    """
    return _signed((_wide(gradient) * _wide(activation)).sum(1))


def gradient_size(gradient: Tensor, activation: Tensor) -> Tensor:
    """``sensitivity``: M = sum_C |g|, unsigned, at a layer. It hardly depends on the partner: a control as much as a
    method.
    """
    del activation
    return _unsigned(_wide(gradient).abs().sum(1))


def colour_gradient(gradient: Tensor, activation: Tensor) -> Tensor:
    """``saliency`` (Simonyan et al. 2014): M = mean_C |g|, unsigned, at the input."""
    del activation
    return _unsigned(_wide(gradient).abs().mean(1))


def gradxinput(recogniser: Normalised) -> Reduction:
    """Gradient times input (Shrikumar et al. 2016): M = sum_C g (I - black), signed, at the input.

    Black is where pixels are 0. The input's own 0 is a grey where it is normalised before it comes in, and a product
    with it would leave out grey parts of the face, not dark ones.
    """
    black = tuple(-mean / std for mean, std in zip(recogniser.mean, recogniser.std, strict=True))

    def reduce(gradient: Tensor, activation: Tensor) -> Tensor:
        """(b, 3, h, w) twice -> (2, b, h, w); ``activation`` : the input."""
        above = _wide(activation)
        return hirescam(gradient, above - above.new_tensor(black).view(-1, 1, 1))

    return Reduction("gradxinput", INPUT, reduce)


def _wide(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _signed(maps: Tensor) -> Tensor:
    """(b, h, w) of either sign -> (2, b, h, w): what is against the match, and what is for it."""
    return torch.stack((-maps, maps)).relu_()


def _unsigned(maps: Tensor) -> Tensor:
    return torch.stack((maps, maps))


LAYERCAM = Reduction("layercam", ACTIVATED, layercam)
GRADCAM = Reduction("gradcam", LAYERS, gradcam)
GRADCAM_PLUS_PLUS = Reduction("gradcam++", LAYERS, gradcam_plus_plus)
HIRESCAM = Reduction("hirescam", LAYERS, hirescam)
SENSITIVITY = Reduction("sensitivity", LAYERS, gradient_size)
SALIENCY = Reduction("saliency", INPUT, colour_gradient)
