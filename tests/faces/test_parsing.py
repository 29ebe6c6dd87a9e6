"""leam.parsing: the parser's view and its answer in the crop, with a TorchScript file that sorts pixels by colour."""

import warnings

import cv2
import numpy as np
import pytest
import torch

from drawn import COLOURS, LABELS, draw, places_px, region_centroids
from leam.faces import frames, parsing
from leam.regions import REGIONS

CPU = torch.device("cpu")


class SortColours(torch.nn.Module):
    """FaRL's interface: views (n, 3, V, V) of 0 to 1 -> logits (n, 19, V, V) and another output.

    A logit is minus the squared distance from the region's colour; regions without a colour are never the nearest.
    """

    def __init__(self):
        super().__init__()
        colours = torch.full((19, 3), 9.0)
        colours[2] = 90 / 255
        for label, colour in zip(LABELS, COLOURS, strict=True):
            colours[label] = torch.from_numpy(colour).float() / 255
        self.register_buffer("colours", colours)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = 20 - (x[:, None] - self.colours[None, :, :, None, None]).square().sum(2)
        return logits, x


@pytest.fixture(scope="module")
def parser(tmp_path_factory):
    path = tmp_path_factory.mktemp("parser") / "colours.pt"
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        torch.jit.script(SortColours()).save(str(path))
    return parsing.RegionParser(path, CPU, batch=2)


def full_picture_labels(parser, picture, points, frame, size, step=1):
    """pyfacer's own way: the whole picture in, its logits out, then read at every ``step``-th pixel of the crop."""
    faces = {"points": torch.from_numpy(points)[None].float(), "image_ids": torch.zeros(1, dtype=torch.long)}
    logits = parser.net(torch.from_numpy(picture).permute(2, 0, 1)[None], faces)["seg"]["logits"][0].numpy()
    inverse, labels = np.linalg.inv(frame), np.zeros((size, size), np.uint8)
    padded = np.pad(logits, ((0, 0), (1, 1), (1, 1)))
    for row in range(0, size, step):
        for column in range(0, size, step):
            x, y = frames.transform(np.array([column, row], float), inverse) + 1
            i, j = int(np.floor(y)), int(np.floor(x))
            if 0 <= i < padded.shape[1] - 1 and 0 <= j < padded.shape[2] - 1:
                dy, dx = y - i, x - j
                corners = padded[:, i : i + 2, j : j + 2]
                labels[row, column] = np.einsum("rij,i,j->r", corners, [1 - dy, dy], [1 - dx, dx]).argmax()
    return labels[::step, ::step]


def crops_of(size, points):
    """A box crop and an aligned one of 96 px, turned by whatever the points are."""
    box = frames.square_frame(points.mean(0), 0.8 * size, 96)
    return {"box": box, "aligned": frames.similarity_frame(points, frames.ARCFACE_POINTS * 96 / 112)}


@pytest.mark.parametrize("mode", ["box", "aligned"])
@pytest.mark.parametrize("size", [150, 420])
def test_a_crop_has_the_labels_of_the_full_picture(parser, mode, size):
    picture, points = draw(size)[0], places_px(size)
    frame = crops_of(size, points)[mode]
    (found,) = parser([picture], points[None], frame[None], 96)
    assert (found == full_picture_labels(parser, picture, points, frame, 96)).mean() > 0.999


@pytest.mark.parametrize("mode", ["box", "aligned"])
@pytest.mark.parametrize("size", [150, 420, 1680])
def test_regions_lie_where_they_were_drawn(parser, mode, size):
    """Large pictures are reduced on the way to the parser's view; coordinates must stay."""
    picture, points = draw(min(size, 420))[0], places_px(size)
    picture = picture if size <= 420 else cv2.resize(picture, (size, size))
    frame = crops_of(size, points)[mode]
    (found,) = parser([picture], points[None], frame[None], 96)
    assert abs(region_centroids(found) - frames.transform(points, frame)).max() < 0.35


def test_an_aligned_crop_parsed_alone_agrees_when_its_points_are_in_its_own_frame(parser):
    picture, points = draw(420)[0], places_px(420)
    frame = frames.similarity_frame(points, frames.ARCFACE_POINTS * 448 / 112)
    crop, in_crop = frames.warp(picture, frame, 448), frames.transform(points, frame)
    (ours,) = parser([picture], points[None], frame[None], 448)
    alone = full_picture_labels(parser, crop, in_crop, np.eye(3), 448, step=7)
    assert (ours[::7, ::7] == alone).mean() > 0.99
    wrong = full_picture_labels(parser, crop, points, np.eye(3), 448, step=7)
    assert (ours[::7, ::7] == wrong).mean() < 0.95


def test_batches_give_what_one_by_one_gives(parser):
    """Five faces of several sizes in batches of two."""
    sizes = (150, 200, 90, 420, 300)
    pictures, points = [draw(size)[0] for size in sizes], np.stack([places_px(size) for size in sizes])
    crops = np.stack([crops_of(size, five)["aligned"] for size, five in zip(sizes, points, strict=True)])
    together = parser(pictures, points, crops, 64)
    for number, picture in enumerate(pictures):
        one = slice(number, number + 1)
        assert np.array_equal(parser([picture], points[one], crops[one], 64), together[one])


def test_outside_the_parsers_view_is_background(parser):
    picture, points = draw(200)[0], places_px(200) * 0.2 + 80
    frame = frames.square_frame([99.5, 99.5], 200, 100)
    (found,) = parser([picture], points[None], frame[None], 100)
    assert not found[:20].any() and not found[:, :20].any() and found[50, 50] != 0
    assert REGIONS[0] == "background"


def test_a_file_that_is_no_torchscript_is_named(tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"no weights at all")
    with pytest.raises(ValueError, match=r"faces\.parser_weights: .*weights\.pt"):
        parsing.RegionParser(tmp_path / "weights.pt", CPU)


def test_a_pickle_in_the_parsers_place_runs_no_code(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    torch.save(Harmful(), tmp_path / "harmful.pt")
    with pytest.raises(ValueError, match=r"faces\.parser_weights: .*harmful\.pt"):
        parsing.RegionParser(tmp_path / "harmful.pt", CPU)
    assert not (tmp_path / "harm").exists()


def test_the_view_is_placed_by_points_alone_and_half_pixels_agree(parser):
    """pyfacer's target is the square [0, 448] of continuous coordinates, whose middle is the pixel 223.5 here."""
    points = places_px(300)
    frame = parser.view_frame(points)
    doubled = parser.view_frame(places_px(600))
    assert np.allclose(frames.transform(points, frame), frames.transform(places_px(600), doubled), atol=0.02)
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    centre = eyes + 0.1 * (mouth - eyes)
    assert np.allclose(frames.transform(centre, frame), 223.5, atol=0.05)
