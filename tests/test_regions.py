"""Region orders, resizing, and the counts per identity against sums worked by hand."""

import itertools
import os
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leam import files, paper, regions, storage
from leam.analyses.regions import measure as regions_measure
from leam.analyses.regions import table as regions_table
from leam.regions import REGIONS
from leam.sample import rendering


def test_region_order_is_farls():
    assert len(REGIONS) == len(set(REGIONS)) == len(paper.REGION_TITLES) == 19
    assert [REGIONS.index(name) for name in ("background", "face", "nose", "hair", "neck_l")] == [0, 2, 10, 14, 18]
    assert paper.REGION_TITLES[REGIONS.index("rb")] == "right eyebrow"
    assert paper.REGION_TITLES[REGIONS.index("le")] == "left eye"


def test_celebamask_hq_holds_the_same_regions_in_another_order():
    published = (
        "skin nose eye_g l_eye r_eye l_brow r_brow l_ear r_ear mouth u_lip l_lip hair hat ear_r neck_l neck cloth"
    )
    assert list(regions.CELEBAMASK_HQ) == in_our_names(published)
    assert set(regions.CELEBAMASK_HQ) == set(REGIONS)


def in_our_names(published):
    ours = {"skin": "face", "eye_g": "eyeg", "l_eye": "le", "r_eye": "re", "l_brow": "lb", "r_brow": "rb"}
    ours |= {"l_ear": "lr", "r_ear": "rr", "mouth": "imouth", "u_lip": "ulip", "l_lip": "llip", "ear_r": "earr"}
    return ["background", *(ours.get(name, name) for name in published.split())]


def test_bisenet_holds_them_in_a_third():
    published = (
        "skin l_brow r_brow l_eye r_eye eye_g l_ear r_ear ear_r nose mouth u_lip l_lip neck neck_l cloth hair hat"
    )
    assert list(regions.BISENET) == in_our_names(published)
    assert set(regions.BISENET) == set(REGIONS)


def test_an_order_of_ones_own_is_a_list_of_regions():
    labels = regions.farl_labels(["background", "face", "face", "hair"])
    assert [REGIONS[label] for label in labels] == ["background", "face", "face", "hair"]


@pytest.fixture(scope="module")
def rendered():
    """Label maps of 12 people in three poses each."""
    return [scene.regions for person in range(12) for scene in rendering.render_person(11, person, list(range(3)), 96)]


def test_rendered_faces_are_plausible_and_no_other_order_of_their_labels_is(rendered):
    assert not [fault for labels in rendered if (fault := regions.implausible(labels))]
    for written, read in itertools.permutations(regions.LABEL_ORDERS, 2):
        in_file = np.argsort(regions.farl_labels(written)).astype(np.uint8)  # the label of each region in that order
        taken = [regions.farl_labels(read)[in_file[labels]] for labels in rendered]
        wrong = [bool(regions.implausible(labels)) for labels in taken]
        assert np.mean(wrong) > 0.8, (written, read)


@pytest.mark.skipif(not os.environ.get("LEAM_REAL"), reason="no real photographs (LEAM_REAL is to name a folder)")
def test_a_parser_s_maps_of_real_faces_are_plausible():
    files = sorted(Path(os.environ["LEAM_REAL"]).glob("faces/*/*.regions.png"))
    found = [regions.implausible(np.asarray(Image.open(file))) for file in files]
    assert len(found) >= 100 and np.mean([bool(fault) for fault in found]) < 0.05


def test_what_parsers_err_by_is_no_fault(rendered):
    """A strip at a side taken for neck, brows and eyes a pixel off, specks."""
    label = {name: place for place, name in enumerate(REGIONS)}
    for labels in rendered:
        taken = labels.copy()
        taken[20:60, :2], taken[10:12, 40:42] = label["neck"], label["llip"]
        moved = np.roll(np.where(np.isin(taken, (label["rb"], label["lb"])), taken, 0), 2, axis=0)
        taken = np.where(moved > 0, moved, taken)
        assert regions.implausible(taken) == ""


def test_what_is_wrong_with_a_map_is_said():
    label, flipped = {name: place for place, name in enumerate(REGIONS)}, np.zeros((60, 60), np.uint8)
    flipped[5:55, 5:55] = label["face"]
    for name, (y, x) in {"re": (40, 20), "le": (40, 40), "nose": (30, 30), "llip": (20, 30)}.items():
        flipped[y : y + 3, x : x + 3] = label[name]
    assert regions.implausible(flipped) == "eyes not above nose"
    upright = flipped[::-1]
    assert regions.implausible(upright) == ""
    aside = np.where(upright == label["nose"], label["face"], upright)
    aside[30:33, 50:53] = label["nose"]
    assert regions.implausible(aside) == "nose not between the eyes"
    assert (
        regions.implausible(np.where(upright == label["face"], label["hair"], upright))
        == "face smaller than a part of it"
    )
    few = np.full((60, 60), label["face"], np.uint8)  # of BiSeNet's, with few parts, read in CelebAMask-HQ's order
    few[:12], few[30:33, 28:32], few[15:18, 18:21] = label["neck"], label["imouth"], label["re"]
    assert regions.implausible(few) == "eyes not above neck"
    assert regions.implausible(np.zeros((60, 60), np.uint8)) == ""  # nothing is said of a map without parts


def test_regions_are_resized_at_pixel_centres():
    labels = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    np.testing.assert_array_equal(regions.resize_regions(labels, 2)[0], [[5, 7], [13, 15]])
    np.testing.assert_array_equal(regions.resize_regions(labels, 8)[0, ::2, ::2], labels[0])
    np.testing.assert_array_equal(regions.resize_regions(labels, 4), labels)


@pytest.fixture
def shards(tmp_path):
    """Two identities, two images each; counts are written as such, so that the sums are known."""
    rng = np.random.default_rng(0)
    counts = {}
    maps_path, faces_path = tmp_path / "maps.h5", tmp_path / "faces.h5"
    attributes = {"layers": ["a/b", "c"], "thresholds": ["0.5", "1", "full"]}
    with storage.create_shard(maps_path, "maps", **attributes) as shard:
        for identity in ("p", "q"):
            counts[identity] = rng.integers(0, 50, (2, 2, 2, 3, 19)).astype(np.uint16)  # polarity, P, L, T, R
            counts[identity][0, 0, 0] = 0  # an empty map
            maps = {
                polarity: {layer: np.zeros((2, 2, 2), np.float32) for layer in ("a/b", "c")} for polarity in ("loss",)
            }
            storage.write_maps(
                shard,
                storage.IdentityMaps(
                    identity,
                    ["1", "2"],
                    np.array([[0, 1], [1, 0]], np.int16),
                    np.zeros(2, np.float32),
                    np.zeros((2, 4), np.float32),
                    maps,
                    dict(zip(("loss", "similarity"), counts[identity], strict=True)),
                ),
            )
    with storage.create_shard(faces_path, "faces") as shard:
        for identity in ("p", "q"):
            labels = np.zeros((3, 4, 4), np.uint8)
            labels[1:, :2] = 2  # the images used are half face; the first is not used
            blank = np.zeros((3, 4, 4, 3), np.uint8)
            points = np.zeros((3, 68, 2), np.float32)
            storage.write_faces(shard, storage.Faces(identity, ["0", "1", "2"], blank, labels, points, points[:, :5]))
    return maps_path, faces_path, counts


def test_counts_per_identity(shards, tmp_path):
    maps_path, faces_path, counts = shards
    output = tmp_path / "regions.parquet"
    regions_measure.count_regions([maps_path], [faces_path], output, tmp_path / "images.parquet", "m", grid=4)
    table = pd.read_parquet(output)
    assert len(table) == 2 * 2 * 3 * 3 * 19  # identities, polarities, layers and all, thresholds, regions
    assert list(table["layer"].unique()) == ["a/b", "c", "all"]
    row = table.set_index(["identity", "polarity", "layer", "threshold", "region"]).sort_index()
    expected = counts["q"][1, :, 1, 2, 10].sum()
    assert row.loc[("q", "similarity", "c", "full", "nose"), "count"] == expected
    total = counts["q"][1, :, 1, 2].sum()
    assert row.loc[("q", "similarity", "c", "full", "nose"), "percent"] == pytest.approx(100 * expected / total)
    both = counts["p"][0, :, :, 1, 10].sum()
    assert row.loc[("p", "loss", "all", "1", "nose"), "count"] == both
    empty = row.loc[("p", "loss", "a/b", "1", "nose")]
    assert (empty["pairs"], empty["empty_pairs"]) == (2, 1)
    assert row.loc[("p", "loss", "all", "1", "nose"), "pairs"] == 4
    sums = table.groupby(["identity", "polarity", "layer", "threshold"], observed=True)["percent"].sum()
    np.testing.assert_allclose(sums, 100)
    assert row.loc[("p", "loss", "c", "1", "face"), "area_percent"] == 50


def test_of_regions_that_maps_cannot_have_nothing_is_known_and_absent_ones_have_no_area(shards, tmp_path):
    maps_path, faces_path, _ = shards
    outputs = tmp_path / "regions.parquet", tmp_path / "images.parquet"
    with h5py.File(faces_path, "r+") as shard:
        storage.write_unseen_regions(shard, ["hair", "neck"])
    files.digest_path(faces_path).unlink()
    regions_measure.count_regions([maps_path], [faces_path], *outputs, "m", grid=4)
    for path in outputs:
        table = pd.read_parquet(path)
        shares = table.filter(like="percent")
        unseen = table["region"].isin(["hair", "neck"])
        assert shares[unseen].isna().all(axis=None) and shares[~unseen].notna().all(axis=None)
    table = regions_table.share_regions(pd.read_parquet(outputs[0]))
    known = table.filter(regex="percent|enrichment|rank").drop(columns="percent")
    unseen = table["region"].isin(["hair", "neck"])
    assert known[unseen].isna().all(axis=None) and table.loc[unseen, "percent"].isna().all()
    absent = table[(table["region"] == "hat") & (table["threshold"] == "1")]  # of which there could be pixels
    assert (absent["area_percent"] == 0).all() and absent["pooled_percent"].notna().all()
    of_set = table[(table["layer"] == "all") & (table["polarity"] == "loss") & (table["threshold"] == "1")]
    assert of_set["regions"].unique().tolist() == [2]  # background and face have an area


def test_the_attainable_share_against_a_loop_over_pairs():
    """Per pair as many of its pixels as the region has in the anchor; of the whole model the layers' together."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, (3, 4, 4)).astype(np.uint8)
    labels[0] = 2  # the first image is nothing but face
    counts = rng.integers(0, 4, (6, 2, 2, 19)).astype(np.uint16)  # three images, their six pairs
    counts[1, 0, 1] = 0  # an empty map
    axes = {"layer": ["a", "b", "all"], "threshold": ["1", "full"], "region": list(REGIONS)}
    found = regions_measure.count_polarity(counts, labels, axes).set_index(list(axes))["attainable_percent"]
    fits, total = dict.fromkeys(found.index, 0), dict.fromkeys(found.index, 0)
    for pair, anchor in enumerate((0, 0, 1, 1, 2, 2)):
        for layer, name in enumerate("ab"):
            for size, threshold in enumerate(("1", "full")):
                pixels = int(counts[pair, layer, size].sum())
                for number, region in enumerate(REGIONS):
                    for key in ((name, threshold, region), ("all", threshold, region)):
                        fits[key] += min(pixels, int((labels[anchor] == number).sum()))
                        total[key] += pixels
    np.testing.assert_allclose(found, [100 * fits[key] / total[key] for key in found.index])


def test_a_region_larger_than_the_set_can_have_all_of_it_and_a_smaller_one_its_area_over_the_set():
    labels = np.zeros((2, 10, 10), np.uint8)
    labels[:, :2, :2] = 12  # 4 of 100 pixels
    counts = np.zeros((2, 1, 1, 19), np.uint16)
    counts[:, 0, 0, 12], counts[:, 0, 0, 0] = 2, 6  # of a set of 8
    axes = {"layer": ["a", "all"], "threshold": ["full"], "region": list(REGIONS)}
    rows = regions_measure.count_polarity(counts, labels, axes).set_index(["layer", "region"])
    names = ["percent", "area_percent", "attainable_percent"]
    assert rows.loc[("a", "llip"), names].tolist() == [25, 4, 50]
    assert rows.loc[("a", "background"), names].tolist() == [75, 96, 100]


def test_shares_of_single_images(shards, tmp_path):
    maps_path, faces_path, counts = shards
    images = tmp_path / "images.parquet"
    regions_measure.count_regions([maps_path], [faces_path], tmp_path / "regions.parquet", images, "m", grid=4)
    table = pd.read_parquet(images).set_index(["identity", "image", "polarity", "threshold", "region"]).sort_index()
    assert len(table) == 2 * 2 * 2 * 2 * 19  # identities, images, polarities, full and top 1 %, regions
    anchor_1 = counts["q"][1, 1, :, 2].astype(int).sum(0)  # pairs are (0, 1) and (1, 0): the second is image "2"'s
    expected = 100 * anchor_1[10] / anchor_1.sum()
    assert table.loc[("q", "2", "similarity", "full", "nose"), "percent"] == pytest.approx(expected)
    sums = table.groupby(["identity", "image", "polarity", "threshold"], observed=True)["percent"].sum()
    np.testing.assert_allclose(sums, 100)


def test_an_identity_without_any_activation_has_no_percent():
    counts = np.zeros((2, 1, 1, 19), np.uint16)
    axes = {"layer": ["a", "all"], "threshold": ["full"], "region": list(REGIONS)}
    table = regions_measure.count_polarity(counts, np.zeros((2, 4, 4), np.uint8), axes)
    assert table["percent"].isna().all() and table["attainable_percent"].isna().all()
    assert (table["empty_pairs"] == 2).all()
