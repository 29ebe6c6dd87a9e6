"""Detection: where the faces of a picture are, by its own landmarks or by a network.

Networks see many pictures at once. What they see of a picture depends on that picture alone (its size, reduced and
padded), so that a batch gives what one by one gives.

Shape letters: n pictures of a batch, H, W a picture's height and width.
"""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from leam import packs, reasons
from leam.decoders import N_LANDMARKS
from leam.faces.frames import resize_frame, transform, transform_box
from leam.reasons import UnusablePictureError, one_line

if TYPE_CHECKING:
    import dlib
    import torch

log = logging.getLogger(__name__)
DETECTORS = ("given", "mtcnn", "retinaface", "scrfd", "dlib", "none")
DISCARD, LARGEST, CENTRAL = CHOICES = ("discard", "largest", "central")  # of several faces in a picture
# Least confidence of a face, where the settings leave it open. MTCNN is sure of nearly all that it finds; dlib's scores
# are no probabilities: about 1.05 of a face, below 0.1 of what is none.
THRESHOLDS = {"mtcnn": 0.9, "retinaface": 0.8, "scrfd": 0.5, "dlib": 0.5}
# The detector sees a picture reduced to the first size, and at the second if it found nothing: faces of more than
# about 600 px (RetinaFace's largest anchors have 512) are split into several or misplaced, small ones need the pixels.
SIDES_PX = (640, 1600)
STEP_PX = 64  # pictures are padded to multiples of this, so that nearly equal sizes share a batch
BATCH_PX = 4_000_000
MTCNN_FACE_PX = 20  # least face that MTCNN looks for in the reduced picture; its own default


def unknown(n: int) -> np.ndarray:
    """(n, 2) points of which nothing is known."""
    return np.full((n, 2), np.nan)


def is_known(points: np.ndarray) -> bool:
    return bool(np.isfinite(points).all())


@dataclass
class Face:
    """Where a face is in its picture.

    box : (4,) left, top, right, bottom edge, px; points : (5, 2) px; landmarks : (68, 2) px; NaN where unknown
    """

    box: np.ndarray
    points: np.ndarray = field(default_factory=lambda: unknown(5))
    landmarks: np.ndarray = field(default_factory=lambda: unknown(N_LANDMARKS))

    @property
    def centre(self) -> np.ndarray:
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def sides(self) -> np.ndarray:
        return self.box[2:] - self.box[:2]

    def moved(self, frame: np.ndarray) -> "Face":
        """The same face in another frame (3, 3) that does not turn."""
        return Face(transform_box(self.box, frame), transform(self.points, frame), transform(self.landmarks, frame))


Network = Callable[[np.ndarray], list[list[Face]]]  # pictures (n, H, W, 3) uint8 RGB -> the faces in each


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """(5, 2) from 68 landmarks (68, 2): means of the eyes' outlines, nose tip, mouth corners."""
    right_eye, left_eye = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
    return np.stack([right_eye, left_eye, landmarks[30], landmarks[48], landmarks[54]])


def face_of_landmarks(landmarks: np.ndarray, shape: tuple[int, ...]) -> list[Face]:
    """The face that 68 landmarks (68, 2) outline; none if they are unknown or nowhere near the picture."""
    size = np.array(shape[1::-1])
    if not is_known(landmarks) or (landmarks < -size).any() or (landmarks > 2 * size).any():
        return []
    return [Face(np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)]), five_points(landmarks))]


def face_of_picture(shape: tuple[int, ...]) -> list[Face]:
    """The whole picture as a face."""
    height, width = shape[:2]
    return [Face(np.array([-0.5, -0.5, width - 0.5, height - 0.5]))]


def face_of_rect(rect: np.ndarray) -> list[Face]:
    """The face that a rectangle's edges (4,) enclose, 0 being the picture's; none where they are unknown."""
    return [Face(rect - 0.5)] if is_known(rect) else []


def choose_face(faces: list[Face], several: str, middle: np.ndarray, min_face_px: float) -> Face:
    """The face of a picture that is used.

    several : of several faces "discard" takes none, "largest" the one whose box has the largest area, "central" the one
        whose box's centre is nearest to ``middle`` (2,) px. Where two are equal in that, the other of the two decides,
        then the box that begins farther left, then higher
    min_face_px : the box's least shorter side, judged after the choice
    Raises UnusablePictureError: "no face", "several faces", "too small: ...".
    """
    if not faces or (len(faces) > 1 and several == DISCARD):
        raise UnusablePictureError(reasons.SEVERAL_FACES if faces else reasons.NO_FACE)

    def order(face: Face) -> tuple[float, ...]:
        largest, nearest = -face.sides.prod(), np.linalg.norm(face.centre - middle)
        return (*((largest, nearest) if several == LARGEST else (nearest, largest)), *face.box)

    face = min(faces, key=order)
    side, least = face.sides.min(), max(min_face_px, 1)
    if side < least:
        raise UnusablePictureError(f"{reasons.TOO_SMALL}: {side:.0f} px < {least:g}")
    return face


def find_faces(
    network: Network, pictures: Sequence[np.ndarray], rects: Sequence[np.ndarray] | None = None, margin: float = 0.0
) -> list[list[Face]]:
    """The faces in each of the pictures (H, W, 3) uint8 RGB.

    rects : per picture (4,) left, top, right, bottom edge, px, or NaN; the network then sees only the rectangle,
        widened on each side by ``margin`` of its longer side, and only faces centred within the rectangle count
    """
    rects = [np.full(4, np.nan)] * len(pictures) if rects is None else rects
    corners, views = zip(*map(_view, pictures, rects, [margin] * len(pictures)), strict=True) if pictures else ((), ())
    found = _find_at_sizes(network, views)
    for faces, corner, rect in zip(found, corners, rects, strict=True):
        faces[:] = [face.moved(np.array([[1, 0, corner[0]], [0, 1, corner[1]], [0, 0, 1]])) for face in faces]
        if is_known(rect):
            faces[:] = [face for face in faces if (rect[:2] <= face.centre).all() and (face.centre <= rect[2:]).all()]
    return found


def _view(picture: np.ndarray, rect: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """The top left pixel (2,) and the pixels of the part of a picture in which to look."""
    if not is_known(rect):
        return np.zeros(2), picture
    size = np.array(picture.shape[1::-1])
    wider = margin * (rect[2:] - rect[:2]).max()
    low = np.floor(rect[:2] - wider + 0.5).clip(0, size).astype(int)
    high = np.ceil(rect[2:] + wider + 0.5).clip(low, size).astype(int)
    return low.astype(float), picture[low[1] : high[1], low[0] : high[0]]


def _find_at_sizes(network: Network, pictures: Sequence[np.ndarray]) -> list[list[Face]]:
    """The faces in pictures, seen small first, and larger where nothing was found."""
    found: list[list[Face]] = [[] for _ in pictures]
    seen_px = 0
    for side_px in SIDES_PX:
        missed = [k for k, faces in enumerate(found) if not faces and max(pictures[k].shape) > seen_px]
        missed = [k for k in missed if pictures[k].size]
        for k, faces in zip(missed, _find_reduced(network, [pictures[k] for k in missed], side_px), strict=True):
            found[k] = faces
        seen_px = side_px
    return found


def _find_reduced(network: Network, pictures: list[np.ndarray], side_px: int) -> list[list[Face]]:
    """The faces in pictures, seen with a longer side of at most ``side_px``; padded ones of one size share a batch."""
    reduced = [reduce_picture(picture, side_px) for picture in pictures]
    padded = [pad_picture(picture) for picture in reduced]
    found: list[list[Face]] = [[] for _ in pictures]
    for batch in batches_of_one_size([picture.shape for picture in padded]):
        for k, faces in zip(batch, network(np.stack([padded[k] for k in batch])), strict=True):
            to_picture = np.linalg.inv(resize_frame(pictures[k].shape, reduced[k].shape))
            found[k] = [face.moved(to_picture) for face in faces]
    return found


def reduce_picture(picture: np.ndarray, side_px: int) -> np.ndarray:
    """The picture (H, W, 3) with a longer side of at most ``side_px``."""
    height, width = picture.shape[:2]
    scale = side_px / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def pad_picture(picture: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3) with black added at the right and below, up to multiples of ``STEP_PX``."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, -height % STEP_PX), (0, -width % STEP_PX), (0, 0)))


def batches_of_one_size(shapes: list[tuple[int, ...]]) -> Iterator[list[int]]:
    """Indices of pictures that have one shape, in batches of bounded size."""
    for shape in dict.fromkeys(shapes):
        alike = [index for index, other in enumerate(shapes) if other == shape]
        step = max(1, BATCH_PX // (shape[0] * shape[1]))
        yield from (alike[start : start + step] for start in range(0, len(alike), step))


@contextlib.contextmanager
def without_known_warnings() -> Iterator[None]:
    """Keep two deprecations that only pyfacer could act on out of every log."""
    with warnings.catch_warnings():
        for message in ("Importing from timm.models.layers", "`torch.jit.load` is deprecated"):
            warnings.filterwarnings("ignore", message=message, category=FutureWarning)
        yield


class Mtcnn:
    """facenet-pytorch's MTCNN, with the weights that come with that package."""

    def __init__(self, threshold: float, device: "torch.device"):
        import torch
        from facenet_pytorch.models import mtcnn

        self.device, self.thresholds, self.networks = device, [0.6, 0.7, threshold], []
        for name, file in zip(("PNet", "RNet", "ONet"), mtcnn_files(), strict=True):
            network = getattr(mtcnn, name)(pretrained=False)
            network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
            self.networks.append(network.eval().to(device))

    def __call__(self, pictures: np.ndarray) -> list[list[Face]]:
        """The faces in each of the pictures (n, H, W, 3)."""
        import torch
        from facenet_pytorch.models.utils.detect_face import detect_face

        try:
            with torch.inference_mode():
                boxes, points = detect_face(
                    pictures, MTCNN_FACE_PX, *self.networks, self.thresholds, 0.709, self.device
                )
        except (IndexError, ValueError) as error:  # the package stumbles over candidates that lie outside the picture
            if len(pictures) > 1:
                return [faces for picture in pictures for faces in self(picture[None])]
            log.warning("MTCNN failed on a picture, which counts as one without a face: %s", one_line(error))
            return [[]]
        return [
            [Face(box[:4].astype(float), five.astype(float)) for box, five in zip(*of_one, strict=True)]
            for of_one in zip(boxes, points, strict=True)
        ]


def mtcnn_files() -> list[Path]:
    """The three weight files of facenet-pytorch's MTCNN."""
    import facenet_pytorch

    return [Path(facenet_pytorch.__file__).parent / "data" / f"{name}.pt" for name in ("pnet", "rnet", "onet")]


def retinaface_url() -> str:
    """Where pyfacer itself downloads RetinaFace's weights."""
    with without_known_warnings():
        from facer.face_detection.retinaface import pretrained_urls
    return pretrained_urls["mobilenet"]


class RetinaFace:
    """pyfacer's face detector, MobileNet 0.25, from a file of its state dict."""

    def __init__(self, weights: Path, threshold: float, device: "torch.device"):
        import torch

        with without_known_warnings():
            from facer.face_detection import retinaface
        self.detect, self.threshold, self.device = retinaface.batch_detect, threshold, device
        self.network = retinaface.RetinaFace(cfg=retinaface.cfg_mnet, phase="test")
        try:  # read here: pyfacer's own loader trusts the file, and keeps random what the file lacks
            stored = torch.load(weights, map_location="cpu", weights_only=True)
            stored = {name.removeprefix("module."): value for name, value in stored.get("state_dict", stored).items()}
            missing = sorted(
                name for name in self.network.state_dict().keys() - stored if not name.endswith("num_batches_tracked")
            )
            if not missing:
                self.network.load_state_dict(stored, strict=False)  # the file also has a classifier that is not used
        except Exception as error:  # unpickling raises almost anything on a wrong file
            raise ValueError(f"faces.detector_weights: {weights}: {one_line(error)}") from error
        if missing:
            raise ValueError(f"faces.detector_weights: {weights} is no RetinaFace of this kind: it lacks {missing[0]}")
        self.network.eval().to(device)

    def __call__(self, pictures: np.ndarray) -> list[list[Face]]:
        """The faces in each of the pictures (n, H, W, 3)."""
        import torch

        with torch.inference_mode():
            batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(self.device)
            found = self.detect(self.network, batch, threshold=self.threshold)
        columns = (found[name].cpu().numpy() for name in ("image_ids", "rects", "points"))
        faces: list[list[Face]] = [[] for _ in pictures]
        for index, box, points in zip(*columns, strict=True):
            faces[int(index)].append(Face(box.astype(float), points.astype(float)))
        return faces


class Scrfd:
    """InsightFace's SCRFD with five points, by its own loader and on the processor; a file's nodes are run as they are.

    Each picture is seen by itself, at its size here and in a square of 128 px, where faces are found that fill it.
    """

    def __init__(self, weights: Path, threshold: float, threads: int | None = None):
        from insightface.model_zoo import SCRFD, get_model  # before onnxruntime, whose telemetry it turns off
        from insightface.model_zoo.scrfd import DEFAULT_DET_SIZES
        from onnxruntime import SessionOptions

        packs.detector_file(weights)  # refuses what would be read from other files
        options = SessionOptions()
        options.intra_op_num_threads = threads or 1
        self.threshold, self.small = threshold, DEFAULT_DET_SIZES[0]
        try:
            self.network = get_model(
                str(weights), providers=["CPUExecutionProvider"], sess_options=options, static_shape_sessions=False
            )
            if not isinstance(self.network, SCRFD):
                raise ValueError("is no SCRFD")
            self(np.zeros((1, STEP_PX, STEP_PX, 3), np.uint8))
        except Exception as error:  # a file that is wrong within ends in almost any error
            raise ValueError(f"faces.detector_weights: {weights}: {one_line(error)}") from error

    def __call__(self, pictures: np.ndarray) -> list[list[Face]]:
        """The faces in each of the pictures (n, H, W, 3)."""
        return [self._faces(picture) for picture in pictures]

    def _faces(self, picture: np.ndarray) -> list[Face]:
        sizes = [self.small, picture.shape[1::-1]]
        boxes, points = self.network.detect(picture[..., ::-1], sizes, det_thresh=self.threshold)
        found = [Face(box[:4].astype(float), five.astype(float)) for box, five in zip(boxes, points, strict=True)]
        return [face for face in found if is_known(face.box) and is_known(face.points)]


class DlibNetwork:
    """dlib's CNN face detector: squares as dlib's predictors of landmarks want them, and no points."""

    def __init__(self, weights: Path, threshold: float):
        import dlib

        self.threshold = threshold
        try:
            self.network = dlib.cnn_face_detection_model_v1(str(weights))
        except RuntimeError as error:
            raise ValueError(f"faces.detector_weights: {weights}: {one_line(error)}") from error

    def __call__(self, pictures: np.ndarray) -> list[list[Face]]:
        """The faces in each of the pictures (n, H, W, 3)."""
        found = self.network(list(pictures), 0, len(pictures))  # 0: not enlarged
        return [[_face_of(one.rect) for one in of_one if one.confidence >= self.threshold] for of_one in found]


def _face_of(rect: "dlib.rectangle") -> Face:
    """The face in a rectangle of dlib's, whose sides are the first and last pixels that it holds."""
    return Face(np.array([rect.left() - 0.5, rect.top() - 0.5, rect.right() + 0.5, rect.bottom() + 0.5]))
