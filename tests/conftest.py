"""Fixtures that several tests share: a shard of faces to work on, and a small recogniser."""

import dataclasses

import pytest
from safetensors.torch import save_file

from leam import model_package
from leam.recognisers import networks
from shards import make_faces, write_faces
from small_recognisers import make_narrow


@pytest.fixture
def faces_shard(tmp_path):
    """A faces file with identities a, b, c, d of 3, 2, 4 and 3 images."""
    path = tmp_path / "faces" / "00000.h5"
    return write_faces(path, (make_faces(*person) for person in zip("abcd", (3, 2, 4, 3), strict=True)))


@pytest.fixture(scope="session")
def narrow():
    """A narrow, untrained IResNet-18 with the paper's nine layers."""
    return make_narrow("narrow")


@pytest.fixture
def saved(tmp_path, narrow):
    """The narrow recogniser with weights of seed 5 in a file."""
    path = tmp_path / "w.safetensors"
    save_file(networks.build_network(narrow, seed=5).state_dict(), path)
    return dataclasses.replace(narrow, untrained=False, weights=str(path), origin="here", licence="ours")


@pytest.fixture
def no_model_package(monkeypatch):
    """The package of model files is not installed, whether it is or not."""
    monkeypatch.setattr(model_package, "MODULE", "no_such_package_of_models")


@pytest.fixture
def model_package_here(monkeypatch, tmp_path):
    """A folder that stands for the installed package of model files; its landmark file is none."""
    file = tmp_path / "site" / "planted_models" / "models" / model_package.LANDMARKS.name
    file.parent.mkdir(parents=True)
    file.parent.with_name("__init__.py").write_text("raise ImportError('nothing of it is to run')\n")
    file.write_bytes(b"no landmarks")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(model_package, "MODULE", "planted_models")
    return file.parent


def pytest_collection_modifyitems(items):
    """The runs of the workflow first: they take longest, and other files go on beside them."""
    items.sort(key=lambda item: item.path.parent.name != "workflow")
