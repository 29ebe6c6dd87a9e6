"""Weights are verified and tried before any map is computed."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from safetensors.torch import save_file

from leam import models, weights


@pytest.fixture
def saved(tmp_path, narrow):
    path = tmp_path / "w.safetensors"
    save_file(models.build(narrow, seed=5).state_dict(), path)
    return dataclasses.replace(narrow, untrained=False, weights=str(path), origin="here", licence="ours")


def test_facts_of_the_file_are_written(saved, tmp_path):
    weights.fetch_weights(tmp_path / "ok", saved)
    facts = json.loads((tmp_path / "ok").read_text())
    content = Path(saved.weights).read_bytes()
    assert facts["sha256"] == hashlib.sha256(content).hexdigest()
    assert (facts["bytes"], facts["licence"], facts["untrained"]) == (len(content), "ours", False)
    assert facts["layers"] == list(models.IRESNET_LAYERS)


def test_another_file_than_expected_is_refused(saved, tmp_path):
    wrong = dataclasses.replace(saved, sha256="0" * 64)
    with pytest.raises(models.ModelError, match=f"has SHA-256 [0-9a-f]{{64}}, expected {'0' * 64}"):
        weights.fetch_weights(tmp_path / "ok", wrong)
    assert not (tmp_path / "ok").exists()


def test_a_wrong_layer_stops_here(saved, tmp_path):
    with pytest.raises(models.ModelError, match="no layer is called 'conv7'"):
        weights.fetch_weights(tmp_path / "ok", dataclasses.replace(saved, layers=("conv7",)))


def test_an_untrained_model_says_so(narrow, tmp_path):
    weights.fetch_weights(tmp_path / "ok", narrow)
    assert json.loads((tmp_path / "ok").read_text())["untrained"] is True


@pytest.mark.parametrize("name", ["sample_arcface", "sample_cosface"])
def test_the_weights_that_ship_are_found(name, tmp_path):
    weights.fetch_weights(tmp_path / "ok", models.recogniser(name))
    assert json.loads((tmp_path / "ok").read_text())["bytes"] <= 2_000_000
