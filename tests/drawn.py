"""A drawn face for tests: five discs whose colours, regions and landmarks are known exactly."""

import io

import numpy as np
from PIL import Image

from leam import storage
from leam.regions import REGIONS

# A drawn face, in fractions of the picture's side: five discs, each of its own colour and region.
PLACES = np.array([[0.36, 0.40], [0.62, 0.42], [0.50, 0.56], [0.41, 0.71], [0.61, 0.70]])
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255]], np.uint8)
LABELS = [REGIONS.index(name) for name in ("re", "le", "nose", "llip", "ulip")]
RADIUS = 0.045


def places_px(size):
    """The discs' centres in pixels: fraction 0 is the left edge of the first pixel."""
    return PLACES * size - 0.5


def landmarks_px(size):
    """68 landmarks: eye outlines around the first two discs, the other discs, and a jaw around them all."""
    angles = np.linspace(0, 2 * np.pi, 7)[:6]
    ring = 0.03 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    landmarks = 0.5 + 0.27 * np.stack([np.cos(np.arange(68)), np.sin(np.arange(68))], axis=1)
    landmarks[36:42], landmarks[42:48] = PLACES[0] + ring, PLACES[1] + ring
    landmarks[[30, 48, 54]] = PLACES[2:]
    return (landmarks * size - 0.5).astype(np.float32)


def draw(size):
    """The drawn face: (size, size, 3) with smooth edges, and its label map (size, size)."""
    fine = 4 if size < 600 else 2
    y, x = (np.mgrid[: size * fine, : size * fine] + 0.5) / (size * fine)
    picture = np.full((*x.shape, 3), 90, np.float32)
    for place, colour in zip(PLACES, COLOURS, strict=True):
        picture[np.hypot(x - place[0], y - place[1]) < RADIUS] = colour
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    labels = np.full((size, size), REGIONS.index("face"), np.uint8)
    for place, label in zip(PLACES, LABELS, strict=True):
        labels[np.hypot(x - place[0], y - place[1]) < RADIUS] = label
    picture = picture.reshape(size, fine, size, fine, 3).mean(axis=(1, 3))
    return np.rint(picture).astype(np.uint8), labels


def png(pixels):
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "PNG")
    return packed.getvalue()


def pictures_of(identity, sizes, labels=True, landmarks=True):
    drawn = [draw(size) for size in sizes]
    return storage.Pictures(
        identity=identity,
        images=[f"{number:02d}" for number in range(len(sizes))],
        encoded=[png(picture) for picture, _ in drawn],
        labels=[png(labels) for _, labels in drawn] if labels else None,
        landmarks=np.stack([landmarks_px(size) for size in sizes]) if landmarks else None,
    )


def centroid(weights):
    y, x = np.indices(weights.shape)
    return np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()


def disc_centroids(crop):
    """(5, 2): where each colour is, weighing mixed pixels by how much of the colour they hold."""
    distance = np.linalg.norm(crop[..., None, :].astype(float) - COLOURS, axis=-1)  # (S, S, 5)
    grey = np.linalg.norm(COLOURS.astype(float) - 90, axis=-1)
    return np.stack([centroid((1 - distance / grey).clip(0)[..., k] ** 2) for k in range(5)])


def region_centroids(regions):
    return np.stack([centroid(regions == label) for label in LABELS])
