"""Image, regions and landmarks stay in register from the renderer through every crop to a recogniser's input."""

import cv2
import numpy as np
import pytest

from leam import storage
from leam.faces import stage as faces_stage
from leam.recognisers import networks, registry
from leam.regions import REGIONS, resize_regions
from leam.sample import rendering
from shards import write_images


def rendered_pictures(size, people=3):
    """A front view, a turned head and a tilted one, at this size, as the images stage packs them."""
    found = [rendering.render_person(5, who, [0], size)[0] for who in range(people)]
    png = [cv2.imencode(".png", one.image[..., ::-1])[1].tobytes() for one in found]
    labels = [cv2.imencode(".png", one.regions)[1].tobytes() for one in found]
    return storage.Pictures("a", [f"{k}" for k in range(people)], png, labels, np.stack([f.landmarks for f in found]))


def parse(folder, size, mode):
    path = write_images(folder / f"{size}.h5", [rendered_pictures(size)])
    output = folder / f"{size}_{mode}.h5"
    faces_stage.parse_faces(path, output, {"crop_mode": mode, "crop_size": 96, "crop_margin": 0.3}, device="cpu")
    with storage.open_shard(output, "faces") as shard:
        return storage.read_faces(shard, "a")


def borders(regions):
    """Pixels within one pixel of another region."""
    near = cv2.dilate(regions, np.ones((3, 3))) != cv2.erode(regions, np.ones((3, 3)))
    return near


@pytest.mark.parametrize("mode", ["box", "aligned", "whole"])
def test_two_sizes_of_a_scene_give_the_same_crop(tmp_path, mode):
    small, large = (parse(tmp_path, size, mode) for size in (160, 400))
    assert np.abs(small.landmarks - large.landmarks).max() < 0.1
    assert np.abs(small.points - large.points).max() < 0.1
    for a, b in zip(small.regions, large.regions, strict=True):
        inner = ~borders(a)
        assert (a == b)[inner].mean() > 0.98
    aligned = np.abs(small.crops.astype(int) - large.crops).mean()
    shifted = np.abs(np.roll(small.crops.astype(int), 1, axis=2) - large.crops).mean()
    assert aligned < 0.5 * shifted


@pytest.mark.parametrize("mode", ["box", "aligned", "whole"])
def test_landmarks_lie_in_their_regions_and_left_is_the_subjects_own(tmp_path, mode):
    found = parse(tmp_path, 320, mode)
    for regions, landmarks, points in zip(found.regions, found.landmarks, found.points, strict=True):
        for side, ring in (("re", slice(36, 42)), ("le", slice(42, 48))):
            rows, columns = np.nonzero(regions == REGIONS.index(side))
            if len(rows) > 8:
                centre = np.array([columns.mean(), rows.mean()])
                assert np.linalg.norm(centre - landmarks[ring].mean(0)) < 4, side
        assert landmarks[36:42, 0].mean() < landmarks[42:48, 0].mean()  # the subject's right eye: the picture's left
        np.testing.assert_allclose(points[0], landmarks[36:42].mean(0), atol=1e-3)


def test_a_recognisers_input_and_the_grid_show_the_same_place():
    """A bright nose in a crop of 224 is where the nose is in an input of 112, of 160, and on the grid of 112."""
    scene = rendering.render_person(5, 0, [0], 224)[0]
    nose = scene.regions == REGIONS.index("nose")
    crop = np.where(nose[..., None], 255, 0).astype(np.uint8).repeat(3, axis=2)[None]
    on_grid = resize_regions(scene.regions[None], 112)[0] == REGIONS.index("nose")
    expected = (np.argwhere(on_grid).mean(0) + 0.5) / 112
    for name in ("AF_R18", "IR_CASIA", "VGG_16"):
        x = networks.to_input(crop, registry.REGISTRY[name])[0, 0].numpy()
        bright = x > (x.min() + x.max()) / 2
        np.testing.assert_allclose((np.argwhere(bright).mean(0) + 0.5) / x.shape[0], expected, atol=0.5 / 112)
