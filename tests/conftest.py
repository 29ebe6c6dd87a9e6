"""Fixtures that several tests share: a shard of faces to work on, and a small recogniser."""

import dataclasses

import pytest
from safetensors.torch import save_file

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


def pytest_collection_modifyitems(items):
    """The runs of the workflow first: they take longest, and other files go on beside them."""
    items.sort(key=lambda item: item.path.parent.name != "workflow")
