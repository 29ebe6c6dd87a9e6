"""The file of dlib's face recogniser as the state of ``architectures.DlibResNet``.

The file nests as dlib's types do: the loss and the kinds of all layers, from the embedding to the input, then what each
layer is, from the input to the embedding. All of it but the weights follows from the architecture, so that every
byte is known before it is read, how many weights come next too; nothing in the file decides what is allocated.

An integer is a byte of its sign (0x80) and length, then its digits of 8 bits, the lowest first. A real number is two
integers, mantissa and exponent of 2. A text is its length and its letters. A tensor is a version, four sizes, and
float32.
"""

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from leam.recognisers.architectures import DLIB_EMBEDDING_SIZE, DLIB_STAGES
from leam.recognisers.registry import ModelError

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_WEIGHT = 1000.0  # the published file has none above 24
_SIDE = 150  # pixels of the input
_ONE, _ZERO = (16, -4), (0, 11)  # as dlib writes 1.0 and 0.0
_MARGIN, _DISTANCE = (0xA3D70A, -28), (0x99999A, -24)  # of the loss: 0.04 and 0.6
_MEAN = ((0xF59062, -17), (0xEA0083, -17), (0xD09893, -17))  # 122.782, 117.001, 104.298
_LAYER, _LAST_LAYER, _MARK = 2, 3, 1  # versions of layers, of that on the input, and of tags that name a layer's output
_PLAIN, _IN_PLACE = "110", "111"  # set up, gradient not new, and whether the next layer takes its output over


def read_dlib(path: str | Path) -> "dict[str, Tensor]":
    """The state dict of ``DlibResNet`` from dlib's file: an affine layer as a BatchNorm of statistics 0 and 1.

    Raises ModelError, saying at which byte, for what the grammar or the architecture does not allow, weights that are
    not finite or beyond ``LARGEST_WEIGHT``, and a file that is too short or goes on.
    """
    try:
        with open(path, "rb") as file:
            return _Reader(file).network()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    except _NotDlibError as error:
        raise ModelError(f"{path} is not the file of dlib's face recogniser: {error}") from None


class _NotDlibError(Exception):
    """What is wrong at which byte."""


def _integer(value: int) -> bytes:
    digits = abs(value).to_bytes(max(1, (abs(value).bit_length() + 7) // 8), "little")
    return bytes([len(digits) | 0x80 * (value < 0)]) + digits


def _integers(*values: int) -> bytes:
    return b"".join(map(_integer, values))


def _text(value: str) -> bytes:
    return _integer(len(value)) + value.encode()


class _Reader:
    """Reads on from where it stands; every step says what has to come next."""

    def __init__(self, file: BinaryIO):
        self.file, self.at = file, 0
        self.state: dict[str, Tensor] = {}

    def network(self) -> "dict[str, Tensor]":
        self.head()
        self.convolution("conv1", 3, DLIB_STAGES[0].outputs, kernel=7, stride=2, is_first=True)
        self.affine("affine1", DLIB_STAGES[0].outputs, _IN_PLACE)
        self.layer("relu", _text("relu_"))
        self.pooling("max_pool", 3, 2)
        inputs = DLIB_STAGES[0].outputs
        for number, stage in enumerate(DLIB_STAGES, start=1):
            for block in range(stage.blocks):
                self.block(f"layer{number}.{block}", inputs, stage.outputs, stage.halves and block == 0)
                inputs = stage.outputs
        self.pooling("avg_pool", 0, 1)  # of all there is
        self.embedding(inputs)
        if self.file.read(1):
            raise _NotDlibError(f"byte {self.at}: expected its end there")
        return self.state

    def head(self) -> None:
        """The loss, the versions of the layers above the one on the input, and the input."""
        self.expect("the loss", _integer(1), _text("loss_metric_2"), _integers(*_MARGIN, *_DISTANCE))
        self.expect("the versions of fc and avg_pool", _integers(_LAYER, _LAYER))
        for stage in reversed(DLIB_STAGES):
            for block in reversed(range(stage.blocks)):
                ways = (_LAYER, _MARK, _MARK) if stage.halves and block == 0 else ()  # avg_pool, skip and tag
                body = [_LAYER] * 5  # affine, con, relu, affine, con
                self.expect("the versions of a block's layers", _integers(_LAYER, _LAYER, *ways, *body, _MARK))
        self.expect("the versions of the stem's layers", _integers(_LAYER, _LAYER, _LAYER, _LAST_LAYER))
        mean = _integers(*(each for channel in _MEAN for each in channel))
        self.expect("the input", _text("input_rgb_image_sized"), mean, _integers(_SIDE, _SIDE))

    def block(self, name: str, inputs: int, outputs: int, halves: bool) -> None:
        self.convolution(f"{name}.conv1", inputs, outputs, kernel=3, stride=2 if halves else 1)
        self.affine(f"{name}.affine1", outputs, _IN_PLACE)
        self.layer(f"{name}.relu", _text("relu_"))
        self.convolution(f"{name}.conv2", outputs, outputs, kernel=3, stride=1)
        self.affine(f"{name}.affine2", outputs, _PLAIN)
        if halves:
            self.pooling(f"{name}.avg_pool", 2, 2)
        self.layer(f"{name}.add_prev", _text("add_prev_"), flags=_IN_PLACE)
        self.layer(f"{name}.relu", _text("relu_"))

    def convolution(
        self, name: str, inputs: int, outputs: int, kernel: int, stride: int, is_first: bool = False
    ) -> None:
        padding = kernel // 2 if stride == 1 else 0
        self.expect(name, _text("con_4"))
        shape = outputs, inputs, kernel, kernel
        values = self.tensor(name, int(np.prod(shape)) + outputs, 1, 1, 1)
        self.put(f"{name}.weight", values[:-outputs].reshape(shape))
        self.put(f"{name}.bias", values[-outputs:])
        settings = outputs, kernel, kernel, stride, stride, padding, padding
        parts = 1, *shape, 1, 1, outputs, 1, 1  # filters and biases, each with its version
        self.rest(name, _integers(*settings, *parts, *_ONE, *_ONE, *_ONE, *_ZERO))
        if is_first:
            self.expect(f"the samples per picture of {name}", _integer(1))

    def affine(self, name: str, channels: int, flags: str) -> None:
        self.expect(name, _text("affine_"))
        values = self.tensor(name, 2 * channels, 1, 1, 1)
        self.put(f"{name}.weight", values[:channels])
        self.put(f"{name}.bias", values[channels:])
        self.put(f"{name}.running_mean", np.zeros(channels, "<f4"))
        self.put(f"{name}.running_var", np.ones(channels, "<f4"))
        parts = 1, 1, channels, 1, 1
        self.rest(name, _integers(*parts, *parts, 0), flags)  # 0: per channel

    def embedding(self, inputs: int) -> None:
        outputs = DLIB_EMBEDDING_SIZE
        self.expect("fc", _text("fc_2"), _integers(outputs, inputs))
        self.put("fc.weight", self.tensor("fc", inputs, outputs, 1, 1).reshape(inputs, outputs).T)
        parts = 1, inputs, outputs, 1, 1, 1, 0, 0, 0, 0  # weights and no biases
        self.rest("fc", _integers(*parts, 1, *_ONE, *_ONE, *_ONE, *_ZERO))

    def pooling(self, name: str, size: int, stride: int) -> None:
        kind = name.rpartition(".")[-1]
        self.layer(name, _text(f"{kind}_2"), _integers(size, size, stride, stride, 0, 0))

    def layer(self, name: str, *parts: bytes, flags: str = _PLAIN) -> None:
        self.expect(name, *parts)
        self.rest(name, b"", flags)

    def rest(self, name: str, settings: bytes, flags: str = _PLAIN) -> None:
        """What ends every layer: its settings, three flags, and three empty tensors of training."""
        empty = _integers(2, 0, 0, 0, 0)
        self.expect(f"the settings of {name}", settings, flags.encode(), empty, empty, empty)

    def tensor(self, name: str, *sizes: int) -> np.ndarray:
        """The values of a tensor of these four sizes, in one row."""
        self.expect(f"the size of {name}, {' x '.join(map(str, sizes))}", _integers(2, *sizes))
        start, count = self.at, int(np.prod(sizes))
        values = np.frombuffer(self.take(f"the {count} weights of {name}", 4 * count), "<f4")
        if (wrong := np.flatnonzero(~(np.abs(values) <= LARGEST_WEIGHT))).size:
            place = int(wrong[0])
            raise _NotDlibError(
                f"byte {start + 4 * place}: a weight of {name} is {values[place]:g}; expected at most "
                f"{LARGEST_WEIGHT:g} in size"
            )
        return values

    def put(self, key: str, values: np.ndarray) -> None:
        import torch

        self.state[key] = torch.from_numpy(values.astype(np.float32, order="C", copy=True))

    def expect(self, what: str, *parts: bytes) -> None:
        """Read these very bytes."""
        expected, start = b"".join(parts), self.at
        found = self.take(what, len(expected))
        if found != expected:
            place = next(place for place in range(len(expected)) if found[place] != expected[place])
            raise _NotDlibError(
                f"byte {start + place} is {found[place]:#04x}; expected {expected[place]:#04x} there, in {what}"
            )

    def take(self, what: str, count: int) -> bytes:
        found = self.file.read(count)
        if len(found) < count:
            raise _NotDlibError(f"it ends at byte {self.at + len(found)}, within {what}")
        self.at += count
        return found
