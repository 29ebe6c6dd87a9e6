"""Small recognisers for tests, and networks as ONNX files."""

import warnings
from pathlib import Path

import torch
from torch import nn

from leam.recognisers import registry

NARROW = {
    "architecture": "iresnet18",
    "input_size": [112, 112],
    "mean": [127.5, 127.5, 127.5],
    "std": [127.5, 127.5, 127.5],
    "layers": list(registry.IRESNET_LAYERS),
    "arguments": {"widths": [4, 4, 8, 8], "embedding_size": 16},
    "untrained": True,
}


def make_narrow(name: str, **changes) -> registry.Recogniser:
    """A narrow, untrained IResNet-18 of that name; its nine layers and all else may be changed."""
    return registry.recogniser(name, NARROW | changes)


def export(network: nn.Module, path: Path) -> None:
    """As InsightFace's packs were made: TorchScript export with constant folding, which folds BatchNorm away."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            torch.zeros(1, 3, 112, 112),
            path,
            dynamo=False,
            input_names=["input.1"],
            output_names=["embedding"],
            dynamic_axes={"input.1": {0: "N"}},
            opset_version=11,
        )
