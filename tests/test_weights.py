"""Weights are verified and tried before any map is computed."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from leam import files, weights
from leam.recognisers import registry
from picture_server import serve_folder


def test_facts_of_the_file_are_written(saved, tmp_path):
    weights.fetch_weights(tmp_path / "ok", saved)
    facts = json.loads((tmp_path / "ok").read_text())
    content = Path(saved.weights).read_bytes()
    assert facts["sha256"] == hashlib.sha256(content).hexdigest()
    assert (facts["bytes"], facts["licence"], facts["untrained"]) == (len(content), "ours", False)
    assert facts["layers"] == list(registry.IRESNET_LAYERS)


def test_another_file_than_expected_is_refused(saved, tmp_path):
    wrong = dataclasses.replace(saved, sha256="0" * 64)
    with pytest.raises(registry.ModelError, match=f"has SHA-256 [0-9a-f]{{64}}, expected {'0' * 64}"):
        weights.fetch_weights(tmp_path / "ok", wrong)
    assert not (tmp_path / "ok").exists()


def test_another_size_than_expected_is_refused(saved, tmp_path):
    with pytest.raises(registry.ModelError, match=r"has bytes \d+, expected 5; get the file from here"):
        weights.fetch_weights(tmp_path / "ok", dataclasses.replace(saved, bytes=5))


OWN = {"architecture": "onnx", "input_size": [32, 32], "mean": [0.0] * 3, "std": [1.0] * 3, "layers": ["conv"]}


@pytest.fixture
def server(tmp_path):
    """A web server on loopback that serves tmp_path, and counts what it was asked for."""
    with serve_folder(tmp_path) as running:
        yield running


def test_a_url_is_fetched_once_and_verified(saved, tmp_path, server):
    address, asked = server
    sha256 = files.sha256(saved.weights)
    remote = dataclasses.replace(saved, weights=f"{address}/w.safetensors", sha256=sha256)
    for _ in range(2):
        weights.fetch_weights(tmp_path / "weights" / "narrow.ok", remote)
    assert len(asked) == 1
    found = weights.fetched(tmp_path / "weights" / "narrow.ok", remote)
    assert Path(found.weights).name == "narrow.safetensors" and files.sha256(found.weights) == sha256
    wrong = dataclasses.replace(remote, sha256="0" * 64)
    with pytest.raises(registry.ModelError, match="has SHA-256"):
        weights.fetch_weights(tmp_path / "other" / "narrow.ok", wrong)


def test_weights_that_are_damaged_after_they_were_fetched_are_refused(saved, tmp_path):
    weights.fetch_weights(tmp_path / "ok", saved)
    content = bytearray(Path(saved.weights).read_bytes())
    content[-9] ^= 1  # in the last weights, of which nothing else could tell
    Path(saved.weights).write_bytes(content)
    with pytest.raises(registry.ModelError, match=r"w\.safetensors is damaged or another file .*ok and run again"):
        weights.fetched(tmp_path / "ok", saved)


def test_a_url_that_fails_says_so_and_leaves_nothing(saved, tmp_path, server):
    remote = dataclasses.replace(saved, weights=f"{server[0]}/absent.pt", sha256="0" * 64)
    with pytest.raises(registry.ModelError, match=r"absent\.pt: HTTP Error 404.*get the file from here"):
        weights.fetch_weights(tmp_path / "weights" / "narrow.ok", remote)
    assert not list((tmp_path / "weights").iterdir())
    with pytest.raises(registry.ModelError, match="expected http, https or a path"):
        weights.fetch_weights(tmp_path / "weights" / "narrow.ok", dataclasses.replace(saved, weights="ftp://x/w.pt"))


def test_a_wrong_layer_stops_here(saved, tmp_path):
    with pytest.raises(registry.ModelError, match="no layer is called 'conv7'"):
        weights.fetch_weights(tmp_path / "ok", dataclasses.replace(saved, layers=("conv7",)))


def test_an_untrained_model_says_so(narrow, tmp_path):
    weights.fetch_weights(tmp_path / "ok", narrow)
    assert json.loads((tmp_path / "ok").read_text())["untrained"] is True


@pytest.mark.parametrize("name", ["sample_arcface", "sample_cosface"])
def test_the_weights_that_ship_are_found(name, tmp_path):
    weights.fetch_weights(tmp_path / "ok", registry.recogniser(name))
    assert json.loads((tmp_path / "ok").read_text())["bytes"] <= 2_000_000


def test_a_download_needs_a_digest_before_anything_runs(saved, server):
    entry = {"weights": f"{server[0]}/w.safetensors"}
    for name in ("AF_R18", "mine"):
        given = entry if name == "AF_R18" else entry | OWN
        with pytest.raises(registry.ModelError, match=f"recogniser {name}: weights are .* a download needs sha256"):
            registry.recogniser(name, given | {"sha256": None})
    assert registry.recogniser("AF_R18", entry | {"sha256": "0" * 64}).weights == entry["weights"]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"most_bytes": 1000}, "it sends more than the 1000 bytes"),
        ({"seconds": -1}, "not whole after -1 s"),
        ({}, "has SHA-256 .*, expected 00"),
    ],
)
def test_a_download_is_bounded_and_a_wrong_file_never_lies_under_its_name(tmp_path, server, limits, reason):
    (tmp_path / "served").write_bytes(bytes(5000))
    with pytest.raises(OSError, match=reason):
        weights.download_file(f"{server[0]}/served", tmp_path / "got", "0" * 64, **limits)
    assert not list(tmp_path.glob("got*"))
