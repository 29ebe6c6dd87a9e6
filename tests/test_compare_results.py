"""The comparison of two folders of results, on folders made up for it: what is equal, and each kind of difference."""

import shutil

import h5py
import numpy as np
import pandas as pd
import pytest

from compare_results import main


@pytest.fixture
def folders(tmp_path, capsys):
    """Two equal folders of results, and what comparing them says."""
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in ("maps", "tables", "figures", "logs"):
        (before / folder).mkdir(parents=True)
    with h5py.File(before / "maps/00000.h5", "w") as file:
        file.attrs.update(
            {"versions": "old", "faces_sha256": "1", "grid": 4, "recogniser": '{"weights": "/a", "n": 1}'}
        )
        group = file.create_group("s000")
        group["images"] = np.array(["00", "01"], object)
        group["maps/loss/conv1"] = np.linspace(0, 1, 32, dtype=np.float32).reshape(2, 4, 4)
    table = pd.DataFrame({"model": ["a", "b"], "drop": [0.1, 0.2], "reason": [None, "far"], "pairs": [3, 4]})
    table.to_parquet(before / "maps/00000.parquet")
    table.to_csv(before / "tables/drops.csv", index=False)
    (before / "figures/drops.png").write_bytes(b"picture")
    (before / "config.yaml").write_text("seed: 0\n")
    (before / "logs/job.log").write_text("took 3 s")
    shutil.copytree(before, after)

    def say(*options):
        status = main([str(before), str(after), *options])
        return status, capsys.readouterr().out

    return before, after, say


def test_equal_folders_differ_in_nothing(folders):
    _, after, say = folders
    (after / "logs/job.log").write_text("took 4 s")
    (after / "report.html").write_text("report")
    with h5py.File(after / "maps/00000.h5", "a") as file:
        file.attrs.update({"versions": "new", "faces_sha256": "2", "recogniser": '{"weights": "/b", "n": 1}'})
    status, said = say("--pictures", "--text")
    assert status == 0 and "Different" not in said
    assert "figure compared_files 5 files" in said and "figure compared_arrays 2 arrays" in said
    assert "figure compared_cells 16 cells" in said and "figure different 0 items" in said


def test_one_flipped_byte_is_found(folders):
    _, after, say = folders
    with h5py.File(after / "maps/00000.h5", "a") as file:
        array = file["s000/maps/loss/conv1"][()]
        array.view(np.uint8).reshape(-1)[8] ^= 1
        file["s000/maps/loss/conv1"][()] = array
    status, said = say()
    assert status == 1 and "figure different 1 items" in said
    assert "maps/00000.h5:/s000/maps/loss/conv1: 1 of 32 values differ, by at most" in said


def test_signs_of_zero_differ_and_nan_is_itself(folders):
    before, after, say = folders
    for folder, zero in ((before, 0.0), (after, -0.0)):
        pd.DataFrame({"x": [zero, np.nan]}).to_parquet(folder / "zero.parquet")
    assert "zero.parquet: x: 1 of 2 cells differ, by at most 0\n" in say()[1]


def test_type_shape_group_and_attribute_are_compared(folders):
    _, after, say = folders
    with h5py.File(after / "maps/00000.h5", "a") as file:
        file.attrs["grid"] = 5
        array = file["s000/maps/loss/conv1"][()]
        del file["s000/maps/loss/conv1"], file["s000/images"]
        file["s000/maps/loss/conv1"] = array.astype(np.float64)
        file["s000/images"] = np.array(["00"], object)
        file.create_group("s001/maps")
    status, said = say()
    assert status == 1 and "figure different 4 items" in said
    for line in (
        "maps/00000.h5: attribute grid differs",
        "conv1: type float32 before, float64 after",
        "images: shape (2,) before, (1,) after",
        "maps/00000.h5:/s001: only after",
    ):
        assert line in said
    assert "attribute grid" not in say("--ignore-attribute", "grid")[1]


@pytest.mark.parametrize("name", ["tables/drops.csv", "maps/00000.parquet"])
def test_one_changed_cell_is_found(folders, name):
    _, after, say = folders
    table = pd.read_parquet(after / "maps/00000.parquet")
    table.loc[1, "drop"] = 0.25
    table.to_csv(after / name, index=False) if name.endswith("csv") else table.to_parquet(after / name)
    status, said = say()
    assert status == 1 and f"{name}: drop: 1 of 2 cells differ, by at most 0.05" in said


def test_text_rows_columns_and_types_of_tables_are_compared(folders):
    before, after, say = folders
    table = pd.read_parquet(before / "maps/00000.parquet")
    table.assign(model=["a", "c"], reason=[None, None]).to_csv(after / "tables/drops.csv", index=False)
    table.astype({"pairs": float}).drop(columns="model").to_parquet(after / "maps/00000.parquet")
    _, said = say()
    assert "drops.csv: model: 1 of 2 cells differ\n" in said and "drops.csv: reason: 1 of 2 cells differ\n" in said
    assert "00000.parquet: column model only before" in said
    assert "00000.parquet: pairs: type int64 before, float64 after" in said
    table[:1].to_parquet(after / "maps/00000.parquet")
    assert "00000.parquet: 2 rows before, 1 after" in say()[1]
    table[["pairs", "reason", "drop", "model"]].to_parquet(after / "maps/00000.parquet")
    assert "00000.parquet" not in say()[1]


def test_a_missing_file_is_found(folders):
    _, after, say = folders
    (after / "tables/drops.csv").unlink()
    status, said = say()
    assert status == 1 and "tables/drops.csv: only before" in said


def test_moved_files_and_renamed_columns_are_followed(folders):
    _, after, say = folders
    (after / "tables").rename(after / "csv")
    table = pd.read_csv(after / "csv/drops.csv", dtype=str, keep_default_na=False)
    table.rename(columns={"drop": "cosine_drop"}).to_csv(after / "csv/drops.csv", index=False)
    assert say()[0] == 1
    assert say("--moved", "tables=csv")[0] == 1
    status, said = say("--moved", "tables=csv", "--renamed", "csv/*.csv:drop=cosine_drop")
    assert status == 0 and "figure compared_cells 16 cells" in said


def test_pictures_and_text_are_listed_and_count_when_asked(folders):
    _, after, say = folders
    (after / "figures/drops.png").write_bytes(b"other")
    (after / "config.yaml").write_text("seed: 1\n")
    status, said = say()
    assert status == 0 and "figures/drops.png: other bytes" in said and "config.yaml: other bytes" in said
    assert say("--pictures")[0] == say("--text")[0] == 1


def test_folders_without_a_common_file_are_not_equal(tmp_path, folders):
    before, *_ = folders
    (tmp_path / "empty").mkdir()
    assert main([str(before), str(tmp_path / "empty")]) == 2
    assert main([str(before), str(tmp_path / "absent")]) == 2


@pytest.mark.parametrize("option", [("--moved", "tables"), ("--renamed", "drop=cosine"), ("--renamed", "t:drop")])
def test_a_wrong_option_says_its_form(folders, option, capsys):
    with pytest.raises(SystemExit):
        folders[2](*option)
    assert "is not of the form" in capsys.readouterr().err
