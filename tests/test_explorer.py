"""The explorer's page holds what the files hold: the same pixel sets, the same regions, the right people."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from leam import explorer, files, maps, storage
from leam.analyses.verification import table as verification_table


@pytest.fixture
def page(tmp_path, faces_shard, narrow):
    file, table = tmp_path / "maps.h5", tmp_path / "verification.csv"
    maps.compute_maps(faces_shard, file, narrow, maps.MapSettings(grid=56))
    verification_table.tabulate_verification({"narrow": [str(file)]}, table)
    explorer.build_explorer(
        {"narrow": [str(file)]}, [str(faces_shard)], table, tmp_path / "index.html", identities=2, images=2
    )
    return file, faces_shard, tmp_path / "index.html"


def data_of(path):
    text = re.search(r'<script id="data"[^>]*>(.*?)</script>', path.read_text(), re.S).group(1)
    return json.loads(text)


def decode(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))


def test_levels_are_the_smallest_set_that_a_pixel_is_in():
    rng = np.random.default_rng(0)
    grid_map = np.maximum(rng.normal(size=(20, 20)), 0).astype(np.float32)
    grid_map[3] = grid_map[4]  # ties
    levels = explorer.pixel_levels(grid_map, [0.25, 1, 10])
    for level, percent in enumerate([0.25, 1, 10]):
        chosen = set(np.flatnonzero(levels.ravel() <= level).tolist())
        order = sorted(range(400), key=lambda pixel: (-grid_map.ravel()[pixel], pixel))
        assert chosen == {pixel for pixel in order[: max(1, round(percent * 4))] if grid_map.ravel()[pixel] > 0}
    assert ((levels <= 3) == (grid_map > 0.01 * grid_map.max())).all()
    assert (explorer.pixel_levels(np.zeros((4, 4)), [1]) == explorer.OUTSIDE).all()


def test_the_page_shows_the_maps_and_regions_of_the_files(page):
    file, faces, path = page
    data = data_of(path)
    assert len(data["people"]) == 2 and all(len(person["images"]) == 2 for person in data["people"])
    recogniser, person = data["recognisers"][0], data["people"][0]
    assert recogniser["untrained"] and recogniser["name"] == "narrow" and len(recogniser["layers"]) == 9
    with storage.open_shard(file, "maps") as shard, storage.open_shard(faces, "faces") as parsed:
        found = storage.read_maps(shard, person["identity"])
        regions, grid = storage.read_regions(parsed, person["identity"]), storage.read_grid(shard)
    strip = recogniser["strips"][person["identity"]][found.images[0]]["loss"]
    levels, heat = (decode(strip[kind]).reshape(9, 56, 56, -1)[..., 0] for kind in ("levels", "heat"))
    for layer, (name, stored) in enumerate(found.maps["loss"].items()):
        expected = grid.place(stored[0], name)
        one_percent = recogniser["sets"].index("1")
        assert (levels[layer] <= one_percent).sum() == 31
        assert levels[layer].flat[expected.argmax()] == 0
        assert np.abs(heat[layer] - 255 * np.sqrt(expected / expected.max())).mean() < 8  # lossy
    assert (decode(person["images"][0]["regions"]) == regions[0][1::2, 1::2]).all()


def test_the_same_seed_gives_the_same_page_and_another_other_people(page, tmp_path):
    file, faces, path = page
    table = tmp_path / "verification.csv"
    drawn = set()
    for seed in range(6):
        other = tmp_path / f"{seed}.html"
        explorer.build_explorer({"narrow": [str(file)]}, [str(faces)], table, other, identities=2, images=2, seed=seed)
        drawn.add(tuple(person["identity"] for person in data_of(other)["people"]))
    assert files.sha256(tmp_path / "0.html") == files.sha256(path)
    assert len(drawn) > 1


def test_the_page_asks_nothing_of_the_network():
    text = explorer.TEMPLATE.read_text()
    assert not re.findall(r"https?://|//cdn|@import|<link", text)
