"""Landmarks: dlib's 68 points of a face, in iBUG order."""

from pathlib import Path

import numpy as np

from leam.detection import Face, unknown
from leam.frames import square_frame, transform, transform_box, warp
from leam.images import N_LANDMARKS, one_line

RECTANGLES = ("dlib", "detected")

CONTEXT = 2.0  # side of what dlib sees, in sides of the face's box
FACE_PX = 300  # dlib's detector finds faces of 80 px and more, and its landmarks are whole pixels
# dlib's square against the boxes of MTCNN and RetinaFace, which reach from the forehead to the chin
SCALE = 1.1  # its side, in widths of the box
SHIFT = 0.07  # its centre below the box's, in heights of the box


class LandmarkPredictor:
    """dlib's 68 landmarks, in a rectangle of dlib's own or in the detected box.

    rectangle : "dlib" for the rectangle of dlib's own detector, with which its predictors are trained (no landmarks
        where that finds nothing); "detected" for one placed in the face's box as dlib's usually is
    """

    def __init__(self, weights: Path, rectangle: str = "dlib"):
        import dlib

        self.detector = dlib.get_frontal_face_detector() if rectangle == "dlib" else None
        try:
            self.predictor = dlib.shape_predictor(str(weights))
        except RuntimeError as error:
            raise ValueError(f"faces.landmark_weights: {weights}: {one_line(error)}") from error
        found = self.predictor(np.zeros((32, 32, 3), np.uint8), dlib.rectangle(0, 0, 31, 31)).num_parts
        if found != N_LANDMARKS:
            raise ValueError(f"faces.landmark_weights: {weights} predicts {found} landmarks, expected {N_LANDMARKS}")

    def __call__(self, picture: np.ndarray, face: Face) -> np.ndarray:
        """(68, 2) px of the picture; NaN if there is no rectangle where the face is."""
        size = int(CONTEXT * FACE_PX)
        frame = square_frame(face.centre, CONTEXT * face.sides.max(), size)
        view, box = warp(picture, frame, size), transform_box(face.box, frame)
        rectangle = usual_rectangle(box) if self.detector is None else self._own_rectangle(view, box)
        if rectangle is None:
            return unknown(N_LANDMARKS)
        found = self.predictor(view, dlib_rectangle(rectangle))
        return transform(np.array([(part.x, part.y) for part in found.parts()], float), np.linalg.inv(frame))

    def _own_rectangle(self, view: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        """(4,) of the rectangle of dlib's detector that overlaps most with the face's box; None if none does."""
        found = self.detector(view, 0)
        edges = np.array([(r.left(), r.top(), r.right(), r.bottom()) for r in found], float).reshape(-1, 4)
        overlaps = [_overlap(box, edge) for edge in edges]
        return edges[int(np.argmax(overlaps))] if max(overlaps, default=0) > 0 else None


def usual_rectangle(box: np.ndarray) -> np.ndarray:
    """Where dlib's detector would put its square (4,) in a face's box (4,), by the median over photographs."""
    width, height = box[2:] - box[:2]
    centre = (box[:2] + box[2:]) / 2 + (0, SHIFT * height)
    return np.concatenate([centre - SCALE * width / 2, centre + SCALE * width / 2])


def dlib_rectangle(edges: np.ndarray):
    import dlib

    return dlib.rectangle(*(int(edge) for edge in np.rint(edges)))


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (4,); 0 where they do not meet."""
    common = np.prod((np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0))
    return float(common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common))
