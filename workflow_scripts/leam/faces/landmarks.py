"""Landmarks: dlib's 68 points of a face, in iBUG order."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from leam.decoders import N_LANDMARKS
from leam.faces.detection import Face, unknown
from leam.faces.frames import square_frame, template_frame, transform, transform_box, warp
from leam.reasons import one_line

if TYPE_CHECKING:
    import dlib

RECTANGLES = ("dlib", "detected")
CONTEXT = 2.0  # side of what dlib sees, in sides of the face's box
FACE_PX = 300  # dlib's detector finds faces of 80 px and more, and its landmarks are whole pixels
# dlib's square against the boxes of MTCNN and RetinaFace, which reach from the forehead to the chin
SCALE = 1.1  # its side, in widths of the box
SHIFT = 0.07  # its centre below the box's, in heights of the box
# dlib's chip for its recogniser (150 px, its padding) in pixels of ArcFace's template: top, left, bottom, right. By the
# median over photographs it is 99 px wide, from 6.8 and 22.2 on.
CHIP = (22, 6, 122, 106)
CHIP_PADDING = 0.25
LANDMARK_STEPS = 10_000  # of the longer side of the landmarks: dlib rounds them to whole numbers


def ibug_of_fgnet(points: np.ndarray) -> np.ndarray:
    """68 landmarks in iBUG order from the 68 points of the FG-NET Aging Database, which are those of XM2VTS.

    Its 68 are others than iBUG's 68: 0-14 the jaw, 15-20 and 21-26 the brows' outlines (the picture's right first),
    27-31 and 32-36 the eyes (outer corner, top, inner corner, bottom, pupil; the picture's left first), 37-45 the
    nose's outline, 46-47 the nostrils, 48-59 the lips' outline, 61 and 66 the middle of the lower and upper lip's inner
    edge, 67 the nose tip. Corners, tips and the lips' outline are the same points; jaw and brows are divided anew along
    their line, the rest lies between.
    """
    p = np.asarray(points, float)
    bridge = np.linspace((p[37] + p[45]) / 2, p[67], 4)
    upper, lower, left, right = p[66], p[61], p[48], p[54]
    lips = [left, (left + upper) / 2, upper, (upper + right) / 2, right, (right + lower) / 2, lower, (lower + left) / 2]
    parts = (
        *(divide(p[0:15], 17), divide(p[[21, 22, 23, 24]], 5), divide(p[[18, 17, 16, 15]], 5)),
        *(bridge, p[39:44], _eye(*p[27:31]), _eye(p[34], p[33], p[32], p[35]), p[48:60], lips),
    )
    return np.concatenate(parts).astype(np.float32)


def divide(line: np.ndarray, count: int) -> np.ndarray:
    """``count`` points (count, 2) along a line through points (n, 2), ends included; its middle stays the middle."""
    wanted = np.linspace(0, len(line) - 1, count)
    return np.stack([np.interp(wanted, np.arange(len(line)), line[:, axis]) for axis in range(2)], axis=1)


def _eye(first: np.ndarray, top: np.ndarray, second: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Six points of an eye from its corners, top and bottom: those between lie on parabolas, at thirds."""

    def arc(a: np.ndarray, middle: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
        return [(2 * a + 8 * middle - b) / 9, (-a + 8 * middle + 2 * b) / 9]

    return np.stack([first, *arc(first, top, second), second, *arc(second, bottom, first)])


def landmark_frame(landmarks: np.ndarray, size: int, margin: float) -> np.ndarray:
    """(3, 3): 68 landmarks (68, 2) come closest to dlib's mean face, which lies in ArcFace's template where the five
    points' alignment puts it; S px wide, with ``margin`` of the template's side around it.

    dlib itself says where its chip of a face lies, by the eyes, nose and lips of the 68; ``CHIP`` is that chip.
    """
    import dlib

    finer = LANDMARK_STEPS / np.ptp(landmarks, axis=0).max()  # dlib takes whole numbers
    points = [dlib.point(*(int(number) for number in point)) for point in np.rint(landmarks * finer)]
    shape = dlib.full_object_detection(dlib.rectangle(0, 0, 1, 1), points)
    chip = dlib.get_face_chip_details(shape, LANDMARK_STEPS, CHIP_PADDING)
    centre, side = np.array([chip.rect.dcenter().x, chip.rect.dcenter().y]) / finer, chip.rect.width() / finer
    turned = np.exp(-1j * chip.angle) * (CHIP[2] - CHIP[0]) / side
    turn = np.array([[turned.real, -turned.imag], [turned.imag, turned.real]])
    to_template = np.eye(3)
    to_template[:2, :2] = turn
    to_template[:2, 2] = (np.array([CHIP[1] + CHIP[3], CHIP[0] + CHIP[2]]) - 1) / 2 - turn @ centre
    return template_frame(size, margin) @ to_template


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
        rectangle = usual_rectangle(box) if self.detector is None else _own_rectangle(self.detector, view, box)
        if rectangle is None:
            return unknown(N_LANDMARKS)
        found = self.predictor(view, dlib_rectangle(rectangle))
        return transform(np.array([(part.x, part.y) for part in found.parts()], float), np.linalg.inv(frame))


def _own_rectangle(detector: "dlib.fhog_object_detector", view: np.ndarray, box: np.ndarray) -> np.ndarray | None:
    """(4,) of the rectangle of dlib's detector that overlaps most with the face's box; None if none does."""
    found = detector(view, 0)
    edges = np.array([(r.left(), r.top(), r.right(), r.bottom()) for r in found], float).reshape(-1, 4)
    overlaps = [_overlap(box, edge) for edge in edges]
    return edges[int(np.argmax(overlaps))] if max(overlaps, default=0) > 0 else None


def usual_rectangle(box: np.ndarray) -> np.ndarray:
    """Where dlib's detector would put its square (4,) in a face's box (4,), by the median over photographs."""
    width, height = box[2:] - box[:2]
    centre = (box[:2] + box[2:]) / 2 + (0, SHIFT * height)
    return np.concatenate([centre - SCALE * width / 2, centre + SCALE * width / 2])


def dlib_rectangle(edges: np.ndarray) -> "dlib.rectangle":
    import dlib

    return dlib.rectangle(*(int(edge) for edge in np.rint(edges)))


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (4,); 0 where they do not meet."""
    common = np.prod((np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0))
    return float(common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common))
