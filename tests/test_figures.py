"""Figures show what the data say: which identities, where a map lies, and the same bytes for the same data."""

import numpy as np
import pytest
from matplotlib import pyplot

from leam import figures, maps, tables
from test_tables import make_counts


@pytest.fixture
def computed(tmp_path, faces_shard, narrow):
    output = tmp_path / "maps.h5"
    maps.compute_maps(faces_shard, output, narrow, maps.MapSettings(grid=56))
    return [str(output)], [str(faces_shard)]


def test_identities_are_drawn_with_the_seed(computed):
    drawn = {seed: [found.identity for found, _ in figures.choose_identities(*computed, 2, seed)] for seed in range(8)}
    assert drawn[0] == [found.identity for found, _ in figures.choose_identities(*computed, 2, 0)]
    assert len({tuple(names) for names in drawn.values()}) > 1
    assert all(len(set(names)) == 2 for names in drawn.values())
    everyone = figures.choose_identities(*computed, 9, 0)
    assert [found.identity for found, _ in everyone] == list("abcd")
    assert all(len(crops) == len(found.images) for found, crops in everyone)


def test_a_map_lies_over_the_part_that_the_recogniser_saw():
    image_map = np.zeros((56, 48), np.float32)
    image_map[10, 5] = 1.0
    figure, axis = pyplot.subplots()
    figures.draw_map(axis, np.zeros((224, 224, 3), np.uint8), image_map, [0, 8, 112, 104])
    left, right, bottom, top = axis.images[1].get_extent()
    assert (left, right, bottom, top) == (15.5, 207.5, 223.5, -0.5)
    pyplot.close(figure)


@pytest.mark.parametrize("kind", ["maps", "regions"])
def test_the_same_data_give_the_same_bytes(kind, computed, tmp_path):
    written = []
    for attempt in ("one", "two"):
        files = [tmp_path / f"{attempt}.{suffix}" for suffix in ("png", "pdf")]
        if kind == "maps":
            figures.plot_maps(*computed, *files, polarity="loss", identities=1, images=2)
        else:
            table = tables.share_regions(make_counts(), samples=100).assign(model="m")
            table.to_csv(tmp_path / "regions.csv", index=False)
            figures.plot_regions(tmp_path / "regions.csv", *files, polarity="loss", confidence=0.95)
        written.append([file.read_bytes() for file in files])
    same = [one == two for one, two in zip(*written, strict=True)]  # not compared as wholes: pytest would diff them
    assert same == [True, True]
    assert written[0][0].startswith(b"\x89PNG") and written[0][1].startswith(b"%PDF")


def test_regions_of_one_identity_have_no_interval_and_still_a_figure(tmp_path):
    table = tables.share_regions(make_counts(1), samples=100).assign(model="m")
    table.to_csv(tmp_path / "regions.csv", index=False)
    figures.plot_regions(
        tmp_path / "regions.csv", tmp_path / "a.png", tmp_path / "a.pdf", polarity="similarity", confidence=0.9
    )
    assert (tmp_path / "a.png").stat().st_size > 5000
