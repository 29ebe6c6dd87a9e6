"""Frames: where a face is cut out of its picture, and how pixels, labels and points get there together.

Pixel coordinates everywhere: x then y, the centre of the top left pixel is (0, 0), so a picture covers
[-0.5, W - 0.5] x [-0.5, H - 0.5]. A frame is a 3 x 3 matrix from the picture's coordinates to its own.

Shape letters: H, W a picture's height and width, S side of a frame.
"""

import cv2
import numpy as np

# ArcFace's five points in a crop of 112 px: eyes, nose tip, mouth corners; the picture's left first.
ARCFACE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
ARCFACE_SIZE = 112
EDGE = 1e-6  # px; keeps rounding from tearing a row whose samples fall exactly between two pixels
SAMPLES = 2_000_000  # samples of a picture that ``warp`` holds at a time


def square_frame(centre: np.ndarray, side: float, size: int) -> np.ndarray:
    """(3, 3): a square of the picture, ``side`` px wide around ``centre``, becomes ``size`` x ``size`` pixels.

    Edges map onto edges, so that the square's left edge is -0.5 in the frame.
    """
    scale = size / side
    x0, y0 = np.asarray(centre, float) - side / 2
    return np.array([[scale, 0, -x0 * scale - 0.5], [0, scale, -y0 * scale - 0.5], [0, 0, 1]])


def resize_frame(shape: tuple[int, ...], resized: tuple[int, ...]) -> np.ndarray:
    """(3, 3) from a picture of ``shape`` (H, W, ...) to the same picture resized: edges onto edges."""
    sx, sy = resized[1] / shape[1], resized[0] / shape[0]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])


def similarity_frame(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(3, 3): rotation, one scale and shift that bring points (n, 2) closest to their targets, in least squares.

    With points as complex numbers the map is z -> a z + b, and a is one projection.
    """
    z, t = (np.asarray(points, float) @ (1, 1j) for points in (source, target))
    centred = z - z.mean()
    a = (centred.conj() @ (t - t.mean())) / (centred.conj() @ centred).real
    b = t.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag], [0, 0, 1]])


def aligned_frame(points: np.ndarray, size: int, margin: float = 0.0) -> np.ndarray:
    """(3, 3): five points (5, 2) come closest to ArcFace's template, with ``margin`` of its side around it.

    Without a margin the template is multiplied by S / 112, as InsightFace does; with one, edges map onto edges, so that
    a part of the crop is what a crop of that part would be.
    """
    if not margin:
        return similarity_frame(points, ARCFACE_POINTS * size / ARCFACE_SIZE)
    return template_frame(size, margin) @ similarity_frame(points, ARCFACE_POINTS)


def template_frame(size: int, margin: float) -> np.ndarray:
    """(3, 3) from pixels of ArcFace's template to a crop that shows ``margin`` of its side around it."""
    return square_frame(np.full(2, (ARCFACE_SIZE - 1) / 2), ARCFACE_SIZE * (1 + 2 * margin), size)


def transform(points: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Points (..., 2) of the picture in another frame; NaN stays NaN."""
    return points @ frame[:2, :2].T + frame[:2, 2]


def transform_box(box: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """A box (4,) left, top, right, bottom in a frame that does not turn."""
    return transform(box.reshape(2, 2), frame).reshape(4)


def _sources(frame: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where in the picture the positions (x, y) of the frame come from."""
    inverse = np.linalg.inv(frame)
    return tuple(row[0] * x + row[1] * y + row[2] for row in inverse[:2])


def _pixel(position: np.ndarray) -> np.ndarray:
    """The pixel a coordinate falls into."""
    return np.floor(position + (0.5 - EDGE)).astype(np.int64)


def _inside(x: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])


def warp(picture: np.ndarray, frame: np.ndarray, size: int) -> np.ndarray:
    """A picture (H, W, 3) uint8 in a frame of ``size`` x ``size`` pixels; black where there is no picture.

    Bilinear where the frame enlarges. Where it shrinks, each of its pixels is the mean of k x k such samples, k the
    factor of reduction rounded up: plain bilinear sampling would skip pixels, and fine patterns would alias.
    """
    reduction = 1 / np.sqrt(abs(np.linalg.det(frame[:2, :2])))
    k = int(np.clip(np.ceil(reduction - EDGE), 1, 32_000 // size))  # remap counts pixels in 16 bits
    steps = (np.arange(size * k) + 0.5) / k - 0.5
    rows = max(1, SAMPLES // (size * k * k)) * k
    blocks = (steps[start : start + rows, None] for start in range(0, size * k, rows))
    return np.concatenate([_warp_rows(picture, frame, steps[None], down, k) for down in blocks])


def _warp_rows(picture: np.ndarray, frame: np.ndarray, across: np.ndarray, down: np.ndarray, k: int) -> np.ndarray:
    """Some rows (n, S, 3) of a warped picture from their (n k) x (S k) samples."""
    x, y = _sources(frame, across, down)
    fine = cv2.remap(
        picture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    fine[~_inside(_pixel(x), _pixel(y), picture.shape)] = 0
    if k == 1:
        return fine
    return np.rint(fine.reshape(len(down) // k, k, -1, k, 3).mean(axis=(1, 3))).astype(np.uint8)


def warp_labels(labels: np.ndarray, frame: np.ndarray, size: int) -> np.ndarray:
    """A label map (H, W) uint8 in a frame of ``size`` x ``size`` pixels: the nearest label, 0 where there is none."""
    steps = np.arange(size)
    x, y = (_pixel(position) for position in _sources(frame, steps[None], steps[:, None]))
    found = labels[y.clip(0, labels.shape[0] - 1), x.clip(0, labels.shape[1] - 1)]
    return np.where(_inside(x, y, labels.shape), found, 0).astype(np.uint8)
