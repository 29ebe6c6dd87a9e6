"""leam.calibration: areas at each margin, and which margin comes closest to the paper's base rates."""

import json

import numpy as np
import pandas as pd
import pytest

from leam import paper, storage
from leam.analyses.margin import table as margin_table
from leam.faces import detection
from leam.faces import stage as faces_stage
from leam.regions import REGIONS
from shards import rendered, write_images


def rings(side, shares):
    """A label map of concentric squares: region k fills ``shares[k]`` of the side, the later the smaller."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    labels = np.zeros((side, side), np.uint8)
    for label, share in shares.items():
        labels[np.maximum(abs(x), abs(y)) < share * side / 2] = label
    return labels


def test_areas_of_squares_at_each_margin():
    """A square of the box's own side: everything at margin 0, 1 / (1 + 2 m)^2 of the crop at margin m."""
    widest = max(margin_table.TRIED_MARGINS)
    labels = rings(480, {2: 1 / (1 + 2 * widest), 10: 0.5 / (1 + 2 * widest)})
    found = margin_table.margin_areas(np.stack([labels, labels]), widest)
    for areas, margin in zip(found, margin_table.TRIED_MARGINS, strict=True):
        side = 1 / (1 + 2 * margin)
        expected = {0: 100 * (1 - side**2), 2: 75 * side**2, 10: 25 * side**2}
        for label, percent in expected.items():
            assert areas[label] == pytest.approx(percent, abs=1.8), (margin, label)
        assert areas.sum() == pytest.approx(100)


def test_distance_is_half_the_absolute_differences():
    base = paper.base_rates().reindex(REGIONS).to_numpy()
    areas = np.tile(base, (len(margin_table.TRIED_MARGINS), 1))
    areas[3, REGIONS.index("hair")] += 4
    areas[3, REGIONS.index("face")] -= 2
    found = margin_table.compare_margins(areas)
    distance = found.groupby("margin")["distance_percent"].first().to_numpy()
    assert distance[3] == pytest.approx(3) and np.delete(distance, 3).max() == pytest.approx(0)
    row = found[(found["margin"] == margin_table.TRIED_MARGINS[3]) & (found["region"] == "hair")].iloc[0]
    assert row["difference"] == pytest.approx(4) and row["area_percent"] == pytest.approx(row["paper"] + 4)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    people = [rendered(name, numbers)[0] for name, numbers in (("ann", [0, 1]), ("bob", [2]))]
    return write_images(folder / "images.h5", people)


def test_areas_are_those_of_crops_cut_with_that_margin(images, tmp_path):
    settings = {"detector": "mtcnn", "landmarks": "none"}
    outputs = [tmp_path / f"margin.{kind}" for kind in ("csv", "png", "pdf")]
    margin_table.calibrate_margin([images], *outputs, settings, device="cpu")
    found = pd.read_csv(outputs[0]).set_index(["margin", "region"])
    assert (found["identities"] == 2).all()
    models = faces_stage.load_models(faces_stage.face_settings(settings), "cpu")
    for margin in (0.2, 0.5):
        expected = []
        with storage.open_shard(images, "images") as shard:
            for name in ("ann", "bob"):
                own = faces_stage.face_settings(settings | {"crop_margin": margin})
                parsed, _ = faces_stage.parse_identity(storage.read_pictures(shard, name), own, models)
                expected.append(100 * (parsed.regions == REGIONS.index("hair")).mean())
        assert found.loc[(margin, "hair"), "area_percent"] == pytest.approx(np.mean(expected), abs=0.5)
    assert outputs[1].read_bytes().startswith(b"\x89PNG") and outputs[2].read_bytes().startswith(b"%PDF")


def test_only_box_crops_have_a_margin(images, tmp_path):
    with pytest.raises(ValueError, match="crop_mode is aligned; only box crops"):
        margin_table.calibrate_margin([images], *[tmp_path / "x"] * 3, {"crop_mode": "aligned"})


def test_nobody_to_calibrate_on_is_said(images, tmp_path):
    with pytest.raises(ValueError, match="no identity has a usable face"):
        margin_table.calibrate_margin([images], *[tmp_path / "x"] * 3, {"detector": "given"}, device="cpu")


def test_the_margin_in_use_is_the_detectors_unless_it_is_set():
    assert faces_stage.face_settings({"detector": "mtcnn"}).margin == faces_stage.DETECTOR_MARGINS["mtcnn"]
    assert faces_stage.face_settings({"detector": "mtcnn", "crop_margin": 0}).margin == 0
    assert set(faces_stage.DETECTOR_MARGINS) == set(detection.DETECTORS)
    assert json.dumps(faces_stage.DETECTOR_MARGINS)


def test_regions_by_landmarks_have_no_base_rates_of_the_paper(images, tmp_path):
    with pytest.raises(ValueError, match="label_maps is landmarks; maps without hair cannot be compared"):
        margin_table.calibrate_margin([images], *[tmp_path / "x"] * 3, {"label_maps": "landmarks"})
