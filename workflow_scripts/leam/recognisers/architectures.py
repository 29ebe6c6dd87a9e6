"""The built-in architectures, with the module names of the published weight files.

Each maps a normalised batch (N, 3, height, width) to embeddings (N, D). Shape letters: N images, C channels, D
embedding size.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

IRESNET_BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
IRESNET_WIDTHS = (64, 128, 256, 512)


class DlibStage(NamedTuple):
    """Residual blocks of dlib's face recogniser. halves : whether the first one halves the resolution"""

    outputs: int
    blocks: int
    halves: bool


DLIB_STAGES = (
    DlibStage(32, 3, False),
    DlibStage(64, 4, True),
    DlibStage(128, 3, True),
    DlibStage(256, 3, True),
    DlibStage(256, 1, True),
)
DLIB_EMBEDDING_SIZE = 128


class IBasicBlock(nn.Module):
    """Residual block of IResNet: BN - conv - BN - PReLU - conv (carries the stride) - BN, and no activation after."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs, eps=1e-5)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs, eps=1e-5)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs, eps=1e-5)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs, eps=1e-5)
            )

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        return self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x)))))) + identity


class IResNet(nn.Module):
    """IResNet for faces (InsightFace, arcface_torch): (N, 3, 112, 112) -> (N, D).

    blocks : residual blocks per stage; every stage halves the resolution, so 112 ends as 7 x 7
    widths : channels per stage; narrower ones make the small recognisers of the embedded sample
    """

    def __init__(
        self,
        blocks: tuple[int, ...] = IRESNET_BLOCKS[18],
        widths: tuple[int, ...] = IRESNET_WIDTHS,
        embedding_size: int = 512,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, stride=1, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0], eps=1e-5)
        self.prelu = nn.PReLU(widths[0])
        self.stages = [f"layer{number}" for number in range(1, len(blocks) + 1)]
        inputs = widths[0]
        for stage, count, outputs in zip(self.stages, blocks, widths, strict=True):
            first = IBasicBlock(inputs, outputs, stride=2)
            rest = [IBasicBlock(outputs, outputs, stride=1) for _ in range(count - 1)]
            self.add_module(stage, nn.Sequential(first, *rest))
            inputs = outputs
        self.bn2 = nn.BatchNorm2d(inputs, eps=1e-5)
        self.dropout = nn.Dropout(p=0.0)
        self.fc = nn.Linear(inputs * 7 * 7, embedding_size)
        self.features = nn.BatchNorm1d(embedding_size, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.prelu(self.bn1(self.conv1(x)))
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return self.features(self.fc(self.dropout(torch.flatten(self.bn2(x), 1))))


class VGGFace16(nn.Module):
    """VGG-Face 16 (`vgg_face_dag`): (N, 3, 224, 224) -> (N, 4096), the fc7 activation after its ReLU.

    Taking fc7 is our choice: fc8 classifies the 2,622 people of the training set. It stays, unused, because the
    published file has it.
    """

    _CONVOLUTIONS = ((3, 64, 2), (64, 128, 2), (128, 256, 3), (256, 512, 3), (512, 512, 3))

    def __init__(self) -> None:
        super().__init__()
        self.trunk: list[str] = []
        for number, (inputs, outputs, count) in enumerate(self._CONVOLUTIONS, start=1):
            for position in range(1, count + 1):
                self._add(f"conv{number}_{position}", nn.Conv2d(inputs, outputs, 3, padding=1))
                self._add(f"relu{number}_{position}", nn.ReLU())
                inputs = outputs
            self._add(f"pool{number}", nn.MaxPool2d(2))
        self.fc6, self.relu6, self.dropout6 = nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout(0.5)
        self.fc7, self.relu7, self.dropout7 = nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(0.5)
        self.fc8 = nn.Linear(4096, 2622)

    def _add(self, name: str, module: nn.Module) -> None:
        self.add_module(name, module)
        self.trunk.append(name)

    def forward(self, x: Tensor) -> Tensor:
        for name in self.trunk:
            x = getattr(self, name)(x)
        x = self.dropout6(self.relu6(self.fc6(torch.flatten(x, 1))))
        return self.relu7(self.fc7(x))


class DlibBlock(nn.Module):
    """Residual block of dlib's recogniser: conv - affine - ReLU - conv - affine, plus the input, and a ReLU.

    A block that halves takes the mean of 2 x 2 pixels of its input, and steps its first convolution without padding,
    whose map may so be a pixel smaller: both are filled up with zeros, to one size and number of channels.

    size : height and width of its input in pixels
    """

    def __init__(self, inputs: int, outputs: int, halves: bool, size: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2 if halves else 1, padding=0 if halves else 1)
        self.affine1 = affine(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.affine2 = affine(outputs)
        self.halves, self.channels_short = halves, outputs - inputs
        self.pixels_short = size // 2 - (size - 1) // 2 if halves else 0

    def forward(self, x: Tensor) -> Tensor:
        y = self.affine2(self.conv2(functional.relu(self.affine1(self.conv1(x)))))
        if self.halves:
            x = functional.avg_pool2d(x, 2)
        if self.channels_short:
            x = functional.pad(x, (0, 0, 0, 0, 0, self.channels_short))
        if self.pixels_short:
            y = functional.pad(y, (0, self.pixels_short, 0, self.pixels_short))
        return functional.relu(x + y)


class DlibResNet(nn.Module):
    """The face recogniser of dlib's author, of 29 convolutions: (N, 3, 150, 150) -> (N, 128), not normalised."""

    def __init__(self) -> None:
        super().__init__()
        inputs, size = DLIB_STAGES[0].outputs, 35  # of 150 pixels, after the stem
        self.conv1 = nn.Conv2d(3, inputs, 7, stride=2)
        self.affine1 = affine(inputs)
        self.stages = [f"layer{number}" for number in range(1, len(DLIB_STAGES) + 1)]
        for name, stage in zip(self.stages, DLIB_STAGES, strict=True):
            blocks = nn.Sequential()
            for number in range(stage.blocks):
                halves = stage.halves and number == 0
                blocks.append(DlibBlock(inputs, stage.outputs, halves, size))
                inputs, size = stage.outputs, size // 2 if halves else size
            self.add_module(name, blocks)
        self.fc = nn.Linear(inputs, DLIB_EMBEDDING_SIZE, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.affine1(self.conv1(x))), 3, 2)
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return self.fc(x.mean((2, 3)))


def affine(channels: int) -> nn.BatchNorm2d:
    """dlib's affine layer, a factor and a term per channel: a BatchNorm whose mean is 0 and whose variance is 1.

    So it is folded and frozen as those of the others are.
    """
    return nn.BatchNorm2d(channels, eps=0.0)


def inception_resnet_v1() -> nn.Module:
    """InceptionResnetV1 of facenet-pytorch without its classifier: (N, 3, 160, 160) -> (N, 512), unit norm."""
    from facenet_pytorch import InceptionResnetV1

    return InceptionResnetV1(pretrained=None, classify=False)


def iresnet(depth: int, **arguments: Any) -> IResNet:
    return IResNet(IRESNET_BLOCKS[depth], **arguments)
