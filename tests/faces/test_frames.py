"""leam.frames: pictures, labels and points go through one frame alike."""

import cv2
import numpy as np

from leam.faces import frames


def test_shrinking_averages_instead_of_skipping_pixels():
    stripes = np.zeros((896, 896, 3), np.uint8)
    stripes[:, ::2] = 200
    crop = frames.warp(stripes, frames.square_frame([447.5, 447.5], 896, 112), 112)
    assert (crop == 100).all()


def test_integer_reduction_is_the_mean_of_each_block():
    picture = np.random.default_rng(0).integers(0, 256, (336, 336, 3), np.uint8)
    crop = frames.warp(picture, frames.square_frame([167.5, 167.5], 336, 112), 112)
    blocks = picture.reshape(112, 3, 112, 3, 3).mean(axis=(1, 3))
    assert abs(crop - blocks).max() <= 0.5


def test_rotation_agrees_with_opencv():
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8), (0, 0), 3)
    frame = np.vstack([cv2.getRotationMatrix2D((60, 60), 20, 1.1), [0, 0, 1]])
    ours, theirs = frames.warp(picture, frame, 120), cv2.warpAffine(picture, frame[:2], (120, 120))
    assert abs(ours.astype(int) - theirs)[30:-30, 30:-30].max() <= 3  # the corners lie outside


def test_five_points_land_on_the_arcface_template():
    turn = np.deg2rad(25)
    rotation = 1.7 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = frames.ARCFACE_POINTS @ rotation.T + (40, -7)
    assert np.allclose(
        frames.transform(points, frames.similarity_frame(points, frames.ARCFACE_POINTS)), frames.ARCFACE_POINTS
    )
