"""The three ways of bringing a recogniser, as the README shows them, through the workflow itself."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from leam import files, storage
from leam.recognisers import networks, registry
from runs import snakemake
from small_recognisers import export

pytestmark = pytest.mark.slow  # one run of the workflow

NORMALISED = {"input_size": [112, 112], "mean": [127.5, 127.5, 127.5], "std": [127.5, 127.5, 127.5]}

FUNCTION = """
import torch
from torch import nn


def build(width):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, width, 5, stride=2), nn.ReLU(inplace=True), nn.Conv2d(width, 8, 3)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A working directory with an ONNX file, a module and a weights file, run on two rendered people."""
    folder = tmp_path_factory.mktemp("custom")
    shipped = registry.REGISTRY["sample_arcface"]
    export(networks.build_network(shipped), folder / "mine.onnx")
    shutil.copy(shipped.weights, folder / "mine.safetensors")
    (folder / "my_networks.py").write_text(FUNCTION)
    config = {
        "source": {"sample": {"identities": 2, "images": 2, "size": 128}},
        "maps": {"target": "cosine"},  # so small a function has no evidence against a match under dot
        "models": ["my_onnx", "my_function", "my_iresnet", "AF_R18"],
        "recognisers": {
            "my_onnx": NORMALISED | {"architecture": "onnx", "weights": "mine.onnx", "layers": ["/conv1/Conv"]},
            "my_function": NORMALISED
            | {"architecture": "my_networks:build", "arguments": {"width": 4}, "layers": ["0", "2"]},
            "my_iresnet": NORMALISED
            | {
                "architecture": "iresnet18",
                "arguments": shipped.arguments,
                "weights": "mine.safetensors",
                "sha256": files.sha256(shipped.weights),
                "layers": ["conv1", "layer2.0.conv1"],
            },
            "AF_R18": {"untrained": True, "layers": ["conv1"]},
        },
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    targets = [f"results/maps/{model}/00000.h5" for model in config["models"]]
    targets += ["results/tables/verification.csv"]
    snakemake(*targets, "--cores", 2, "--configfile", folder / "mine.yaml", directory=folder)
    return folder


def read(directory, model):
    with storage.open_shard(directory / f"results/maps/{model}/00000.h5", "maps") as shard:
        return storage.read_maps(shard, "s000"), dict(shard.attrs)


@pytest.mark.parametrize(
    ("model", "layers"),
    [("my_onnx", ["/conv1/Conv"]), ("my_function", ["0", "2"]), ("my_iresnet", ["conv1", "layer2.0.conv1"])],
)
def test_a_recogniser_of_the_user_gets_maps(directory, model, layers):
    found, attributes = read(directory, model)
    assert list(found.maps["loss"]) == layers
    for polarity in ("loss", "similarity"):
        for image_map in found.maps[polarity].values():
            np.testing.assert_allclose(image_map.sum((1, 2)), 1, rtol=1e-4)
    assert not attributes["untrained"]


def test_the_onnx_file_and_the_network_it_came_from_embed_alike(directory):
    onnx, own = (read(directory, model)[0] for model in ("my_onnx", "my_iresnet"))
    np.testing.assert_allclose(onnx.embeddings, own.embeddings, atol=1e-4)


def test_an_untrained_model_says_so_in_attributes_facts_and_tables(directory):
    assert read(directory, "AF_R18")[1]["untrained"]
    assert json.loads((directory / "results/weights/AF_R18.ok").read_text())["untrained"] is True
    rows = (directory / "results/tables/verification.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["False", "False", "False", "True"]


def test_weights_were_verified(directory):
    facts = json.loads((directory / "results/weights/my_iresnet.ok").read_text())
    assert facts["sha256"] == files.sha256(registry.REGISTRY["sample_arcface"].weights)
    assert torch.is_tensor(networks.read_state(directory / "mine.safetensors")["conv1.weight"])
