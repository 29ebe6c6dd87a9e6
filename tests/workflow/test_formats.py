"""What docs/formats.md says, and what a run has, are told apart; test_run.py compares the two for real."""

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

import formats
from leam import scraping, storage
from shards import make_faces, write_faces

PAGE = """# Files

## `links.parquet`

| column | unit | meaning |
|---|---|---|
| `url`, `shard` | | address and shard |
| `rect` | pixels | Only with a list |

Also `identity`, `image`. Not `this` one.

## `maps/{model}/{shard}.h5`

| name | type | unit | meaning |
|---|---|---|---|
| `@grid` | number | pixels | side |
| `/{identity}@identity` | text | | name |
| `/{identity}/maps/{polarity}/{layer}` | `float32` or `float16` (N, h, w) | | maps |

## `tables/groups.csv`

Only with a table of people.

| file | meaning |
|---|---|
| `figures/maps_{model}` | maps |
| `figures/ages` | Only with ages |
"""


@pytest.fixture
def run(tmp_path):
    """The files of a run that the page describes."""
    for folder in ("maps/my-net", "figures", "logs"):
        (tmp_path / folder).mkdir(parents=True)
    settings = {"models": ["my-net"], "localisation": {"regions": ["nose"]}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    pd.DataFrame(columns=["identity", "image", "url", "shard"]).to_parquet(tmp_path / "links.parquet")
    with h5py.File(tmp_path / "maps/my-net/00000.h5", "w") as file:
        file.attrs["grid"] = 4
        file.create_group("s000").attrs["identity"] = "s000"
        file.create_dataset("s000/maps/loss/conv1", (2, 4, 4), "float32")
    for kind in ("png", "pdf"):
        (tmp_path / f"figures/maps_my-net.{kind}").touch()
    return tmp_path


def differences(run):
    page, optional = formats.read_page(PAGE + "\n## `config.yaml`\n")
    return formats.compare(formats.list_run(run), page, optional)


def test_a_page_and_a_run_agree(run):
    assert differences(run) == []


def test_every_kind_of_difference_is_said(run):
    with h5py.File(run / "maps/my-net/00000.h5", "a") as file:
        del file["s000/maps/loss/conv1"]
        file.create_dataset("s000/maps/loss/conv1", (2, 4), "float32")
        file.attrs["seed"] = 0
    pd.DataFrame(columns=["identity", "image", "url", "name"]).to_parquet(run / "links.parquet")
    (run / "figures/maps_my-net.png").rename(run / "figures/other.png")
    (run / "figures/maps_my-net.pdf").unlink()
    assert differences(run) == [
        "not on the page: file figures/other",
        "not in the run: file figures/maps_{model}",
        "not on the page: links.parquet: | `name` |  |",
        "not in the run: links.parquet: shard",
        "not on the page: maps/{model}/{shard}.h5: | `@seed` |  |",
        "otherwise in the run: maps/{model}/{shard}.h5: /{identity}/maps/{polarity}/{layer} is float32 2, "
        "described as `float32` or `float16` (N, h, w)",
    ]


def test_the_page_describes_everything_in_words():
    """Every row has a meaning, and the names after "Also" are described in the table of common columns or in a row."""
    text = formats.PAGE.read_text()
    rows = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|---")]
    assert all(line.split("|")[-2].strip() for line in rows)
    described = {name.strip("` ") for line in rows for name in line.split("|")[1].split(",")}
    page, _ = formats.read_page(text)
    columns = {name for items in page.values() for name in items}
    plain = {name.removesuffix("_low").removesuffix("_high") for name in columns}
    assert plain <= described


def test_tables_of_fetched_pictures_have_the_columns_of_the_page(tmp_path):
    """No run in the tests fetches pictures, so their tables are made here."""
    page, optional = formats.read_page(formats.PAGE.read_text())
    counted = dict.fromkeys(page["images/{shard}.csv"], 0) | {"shard": "00000", "status": "all", "seconds": 1.0}
    pd.DataFrame([counted, counted | {"status": "ok", "links": 2}]).to_csv(tmp_path / "00000.csv", index=False)
    scraping.tabulate_scraping([tmp_path / "00000.csv"], tmp_path / "scraping.csv")
    assert set(pd.read_csv(tmp_path / "scraping.csv")) == set(page["tables/scraping.csv"])
    with storage.create_shard(tmp_path / "00000.h5", "images") as file:
        rect = np.zeros((1, 4), np.float32)
        storage.write_pictures(file, storage.Pictures("nm1", ["1.jpg"], [b"picture"], rect=rect))
        storage.write_ledger(file, [dict.fromkeys((*storage.LEDGER_COLUMNS, storage.DETAIL), "")])
    with h5py.File(tmp_path / "00000.h5") as file:
        found = {"images/{shard}.h5": dict(formats.contents(file))}
    asked = {"images/{shard}.h5": page["images/{shard}.h5"]}
    assert formats.compare(found, asked, optional) == []
    assert {"/{identity}/rect", "/ledger/detail"} <= set(found["images/{shard}.h5"])


def test_faces_that_were_chosen_among_several_are_described(tmp_path):
    """No run in the tests of this page takes one of several faces."""
    page, optional = formats.read_page(formats.PAGE.read_text())
    faces = make_faces("ann", 2)
    faces.thumbnails, faces.faces_found = np.zeros((2, 16, 16)), np.array([1, 3])
    write_faces(tmp_path / "00000.h5", [faces])
    with h5py.File(tmp_path / "00000.h5") as file:
        found = dict(formats.contents(file))
    asked = {name: kind for name, kind in page["faces/{shard}.h5"].items() if not name.startswith("@")}
    inside = {name: kind for name, kind in found.items() if not name.startswith("@")}
    assert formats.compare({"faces/{shard}.h5": inside}, {"faces/{shard}.h5": asked}, optional) == []
    assert "/{identity}/faces_found" in inside
