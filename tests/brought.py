"""Small networks of the kinds that people bring, each embedding pictures of 32 x 32."""

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 32


class MobileFace(nn.Module):
    """Depthwise convolutions, PReLU, residuals and a linear global depthwise convolution, as MobileFaceNet."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.PReLU(8))
        self.depth = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.PReLU(8))
        self.linear = nn.Conv2d(8, 16, 16, groups=8, bias=False)
        self.fc, self.bn = nn.Linear(16, 12), nn.BatchNorm1d(12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = self.linear(x + self.depth(x))
        return self.bn(self.fc(x.view(x.size(0), -1)))


class OfOne(MobileFace):
    """The same, with the batch written down, as many MobileFaceNets have it."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        return self.bn(self.fc(self.linear(x + self.depth(x)).view(1, -1)))


class Squeezed(nn.Module):
    """Squeeze and excitation, hard swish, asymmetric padding, ceiling pools, as mobile backbones."""

    def __init__(self):
        super().__init__()
        self.pad, self.stem = nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 8, 3, 2)
        self.down, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.pool, self.mean = nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        self.head = nn.Conv2d(8, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.hardswish(self.stem(self.pad(x)))
        gate = functional.hardsigmoid(self.up(functional.relu(self.down(x.mean((2, 3), keepdim=True)))))
        x = self.mean(self.pool(x * gate))
        return self.head(functional.adaptive_avg_pool2d(x, 1))  # (N, 12, 1, 1)


class Tokens(nn.Module):
    """Patches, a class token, attention, LayerNorm and GELU, as vision transformers."""

    def __init__(self, width: int = 16, heads: int = 2):
        super().__init__()
        self.heads = heads
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.place = nn.Parameter(torch.randn(1, 17, width))
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def tokens(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.place
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5).softmax(-1)
        x = x + self.out((attention @ v).transpose(1, 2).reshape(n, t, c))
        return self.norm3(x + self.narrow(functional.gelu(self.wide(self.norm2(x)))))

    def forward(self, x: Tensor) -> Tensor:
        return self.tokens(x)[:, 0]


class Windows(nn.Module):
    """Attention within windows, with the channels last, as Swin."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.mix, self.last = (
            nn.Conv2d(3, 8, 4, 4),
            nn.LayerNorm(8),
            nn.Linear(8, 8),
            nn.Identity(),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)  # (N, 8, 8, C)
        n, h, w, c = x.shape
        parts = x.view(n, h // 4, 4, w // 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, c)
        parts = torch.softmax(parts @ parts.transpose(1, 2), -1) @ self.mix(self.norm(parts))
        x = parts.view(n, h // 4, w // 4, 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        return self.last(torch.roll(x, (1, 1), (1, 2))).mean((1, 2))


class Normalised(MobileFace):
    """An embedding of unit norm, in three of the ways that people write it."""

    def __init__(self, way: int = 0):
        super().__init__()
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        if self.way == 0:
            return functional.normalize(x)
        return x / (x.norm(dim=1, keepdim=True) if self.way == 1 else torch.sqrt((x**2).sum(1, keepdim=True) + 1e-10))


class Mixed(nn.Module):
    """Grouped, instance and local norms, resizing, transposed convolutions, a split and a shuffle of pixels."""

    def __init__(self):
        super().__init__()
        self.stem, self.groups, self.instance = nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.InstanceNorm2d(8)
        self.up, self.local = nn.ConvTranspose2d(8, 8, 3, 2, 1, output_padding=1), nn.LocalResponseNorm(3)
        self.fc = nn.Linear(8 * 4, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.instance(self.groups(self.stem(x)))
        x = self.local(self.up(functional.elu(x)))
        x = functional.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)
        x = functional.interpolate(x, size=(8, 8), mode="nearest")
        first, second = x.chunk(2, dim=1)
        x = torch.cat([second.sigmoid(), first.tanh()], dim=1)
        return self.fc(functional.pixel_unshuffle(x, 2).amax((2, 3)))


class WithNorm(MobileFace):
    """The embedding and its norm, as MagFace and AdaFace."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = super().forward(x)
        norm = x.norm(dim=1, keepdim=True)
        return x / norm, norm


class Mirrored(MobileFace):
    """The embeddings of a picture and its mirror image, added up."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + super().forward(x.flip(3))


class Last(MobileFace):
    """Takes (N, h, w, 3)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 3, 1, 2))


def settled(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network in eval mode, BatchNorm and PReLU away from doing nothing."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.PReLU):
            module.weight.data.uniform_(-0.5, 0.5)
    return network.eval()
