"""Faces: from a picture to the crop, its region map and its landmarks, all in one frame.

Pixel coordinates everywhere: x then y, the centre of the top left pixel is (0, 0), so a picture covers
[-0.5, W - 0.5] x [-0.5, H - 0.5]. A frame is a 3 x 3 matrix from the picture's coordinates to its own; image, regions,
landmarks and points of a face go through the same matrix.

Shape letters: N images of one identity, H, W a picture's height and width, S side of a crop.
"""

import contextlib
import dataclasses
import json
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import PIL

from leam import storage
from leam.images import N_LANDMARKS, UnusablePictureError, decode, decode_labels, one_line
from leam.regions import REGIONS

log = logging.getLogger(__name__)

DETECTORS = ("given", "retinaface", "none")
PARSERS = ("given", "pyfacer")
PREDICTORS = ("given", "dlib", "none")
CROP_MODES = ("box", "aligned", "whole")


# ArcFace's five points in a crop of 112 px: eyes, nose tip, mouth corners; the picture's left first.
ARCFACE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
ARCFACE_SIZE = 112

# The detector sees a picture reduced to the first size, and at the second if it found nothing: faces of more than
# about 600 px (its largest anchors have 512) are split into several or misplaced, small ones need the pixels.
DETECTION_SIDES_PX = (640, 1600)
DETECTION_BATCH_PX = 4_000_000
BATCH_PX = 32_000_000  # decoded pictures held at a time
PARSER_CONTEXT = 3.0  # side of the parser's window, in sides of the face's box: hair and neck, at any rotation
PARSER_SIDE_PX = 960  # the parser's own view of 448 px then still has a pixel of the window for each of its own
PREDICTOR_CONTEXT = 2.0
PREDICTOR_FACE_PX = 300  # dlib's detector finds faces of 80 px and more, and its landmarks are whole pixels
EDGE = 1e-6  # px; keeps rounding from tearing a row whose samples fall exactly between two pixels


# ---------------------------------------------------------------------------------------------------------- settings


@dataclass(frozen=True)
class FaceSettings:
    """How faces are found and cropped (the configuration's section ``faces``); faults raise ValueError.

    detector : "given" (tight box around the landmarks that came with the picture), "retinaface", or "none" (the
        picture is the face); detector_threshold : least confidence, 0 to 1
    regions : "given" (label maps that came with the pictures) or "pyfacer" (FaRL's parser)
    landmarks : "given", "dlib" or "none"; landmarks_required : discard images without them
    min_face_px : least shorter side of the face's box, in pixels of the picture
    crop_mode : "box" (square around the box), "aligned" (five points onto ArcFace's template) or "whole" picture
    crop_margin : added on each side of the square, as a fraction of the box's longer side (mode "box")
    crop_size : S, pixels
    """

    detector: str = "given"
    detector_weights: str | None = None
    detector_threshold: float = 0.8
    regions: str = "given"
    parser_weights: str | None = None
    landmarks: str = "given"
    landmark_weights: str | None = None
    landmarks_required: bool = False
    min_face_px: float = 0
    crop_mode: str = "box"
    crop_margin: float = 0.25
    crop_size: int = 112

    def __post_init__(self):
        self._check_choice("detector", DETECTORS)
        self._check_choice("regions", PARSERS)
        self._check_choice("landmarks", PREDICTORS)
        self._check_choice("crop_mode", CROP_MODES)
        self._check_range("detector_threshold", 0, 1)
        self._check_range("min_face_px", 0, 100_000)
        self._check_range("crop_margin", 0, 10)
        self._check_range("crop_size", 8, 4096)
        self._check_points()

    def _check_choice(self, name: str, choices: Sequence[str]) -> None:
        if getattr(self, name) not in choices:
            raise ValueError(f"faces.{name}: expected one of {', '.join(choices)}; found {getattr(self, name)!r}")

    def _check_range(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"faces.{name}: expected a number from {low} to {high}, found {value!r}")
        if name == "crop_size" and value != int(value):
            raise ValueError(f"faces.{name}: expected whole pixels, found {value!r}")

    def _check_points(self) -> None:
        """The aligned crop and the parser need five points, which must come from somewhere."""
        if self.detector != "none" or self.landmarks != "none":
            return
        for name, value in (("crop_mode", "aligned"), ("regions", "pyfacer")):
            if getattr(self, name) == value:
                raise ValueError(f"faces.{name}: {value} needs five points, but detector and landmarks are both none")
        if self.landmarks_required:
            raise ValueError("faces.landmarks_required: true, but faces.landmarks is none")

    def weights(self) -> dict[str, Path]:
        """The weight files in use, by the setting that names them; FileNotFoundError or ValueError if one is not."""
        used = {
            "detector_weights": self.detector == "retinaface",
            "parser_weights": self.regions == "pyfacer",
            "landmark_weights": self.landmarks == "dlib",
        }
        files = {name: getattr(self, name) for name, needed in used.items() if needed}
        for name, path in files.items():
            if not path:
                raise ValueError(f"faces.{name}: expected the path of a weight file, found {path!r}")
            if not Path(path).is_file():
                raise FileNotFoundError(f"faces.{name}: no such file: {path}")
        return {name: Path(path) for name, path in files.items()}


def face_settings(section: dict) -> FaceSettings:
    """The settings of a configuration section; an unknown key is a ValueError that lists the known ones."""
    known = [setting.name for setting in dataclasses.fields(FaceSettings)]
    unknown = sorted(set(section) - set(known))
    if unknown:
        raise ValueError(f"faces.{unknown[0]}: no such setting; there are {', '.join(known)}")
    return FaceSettings(**section)


# ---------------------------------------------------------------------------------------------------------- geometry


def square_frame(centre: np.ndarray, side: float, size: int) -> np.ndarray:
    """(3, 3): a square of the picture, ``side`` px wide around ``centre``, becomes ``size`` x ``size`` pixels.

    Edges map onto edges, so that the square's left edge is -0.5 in the frame.
    """
    scale = size / side
    x0, y0 = np.asarray(centre, float) - side / 2
    return np.array([[scale, 0, -x0 * scale - 0.5], [0, scale, -y0 * scale - 0.5], [0, 0, 1]])


def similarity_frame(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(3, 3): rotation, one scale and shift that bring points (n, 2) closest to their targets, in least squares.

    With points as complex numbers the map is z -> a z + b, and a is one projection.
    """
    z, t = (np.asarray(points, float) @ (1, 1j) for points in (source, target))
    centred = z - z.mean()
    a = (centred.conj() @ (t - t.mean())) / (centred.conj() @ centred).real
    b = t.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag], [0, 0, 1]])


def transform(points: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Points (..., 2) of the picture in another frame; NaN stays NaN."""
    return points @ frame[:2, :2].T + frame[:2, 2]


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
    rows = [_warp_row(picture, frame, steps[None], steps[row * k : (row + 1) * k, None]) for row in range(size)]
    return np.stack(rows)


def _warp_row(picture: np.ndarray, frame: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """One row (S, 3) of a warped picture from its k x (S k) samples."""
    k = len(down)
    x, y = _sources(frame, across, down)
    fine = cv2.remap(
        picture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    fine[~_inside(_pixel(x), _pixel(y), picture.shape)] = 0
    return np.rint(fine.reshape(k, -1, k, 3).mean(axis=(0, 2))).astype(np.uint8)


def warp_labels(labels: np.ndarray, frame: np.ndarray, size: int) -> np.ndarray:
    """A label map (H, W) uint8 in a frame of ``size`` x ``size`` pixels: the nearest label, 0 where there is none."""
    steps = np.arange(size)
    x, y = (_pixel(position) for position in _sources(frame, steps[None], steps[:, None]))
    found = labels[y.clip(0, labels.shape[0] - 1), x.clip(0, labels.shape[1] - 1)]
    return np.where(_inside(x, y, labels.shape), found, 0).astype(np.uint8)


# ------------------------------------------------------------------------------------------------------------- faces


def _unknown(n: int) -> np.ndarray:
    return np.full((n, 2), np.nan)


@dataclass
class Face:
    """Where a face is in its picture.

    box : (4,) left, top, right, bottom edge, px; points : (5, 2) px; landmarks : (68, 2) px; NaN where unknown
    """

    box: np.ndarray
    points: np.ndarray = field(default_factory=lambda: _unknown(5))
    landmarks: np.ndarray = field(default_factory=lambda: _unknown(N_LANDMARKS))

    @property
    def centre(self) -> np.ndarray:
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def sides(self) -> np.ndarray:
        return self.box[2:] - self.box[:2]


def is_known(points: np.ndarray) -> bool:
    return bool(np.isfinite(points).all())


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


def only_face(faces: list[Face], min_face_px: float) -> Face:
    """The one face of a picture; raises UnusablePictureError: "no face", "several faces", "too small: ..."."""
    if len(faces) != 1:
        raise UnusablePictureError("several faces" if faces else "no face")
    side, least = faces[0].sides.min(), max(min_face_px, 1)
    if side < least:
        raise UnusablePictureError(f"too small: {side:.0f} px < {least:g}")
    return faces[0]


def crop_frame(face: Face, shape: tuple[int, ...], settings: FaceSettings) -> np.ndarray:
    """(3, 3) from the picture to the crop; UnusablePictureError("no landmarks") if it lacks the points it needs.

    "aligned" multiplies ArcFace's template by S / 112, as InsightFace does.
    """
    size = settings.crop_size
    if settings.crop_mode == "whole":
        return square_frame((np.array(shape[1::-1]) - 1) / 2, max(shape[:2]), size)
    if settings.crop_mode == "box":
        return square_frame(face.centre, face.sides.max() * (1 + 2 * settings.crop_margin), size)
    if not is_known(face.points) or np.ptp(face.points, axis=0).max() < 1:
        raise UnusablePictureError("no landmarks")
    return similarity_frame(face.points, ARCFACE_POINTS * size / ARCFACE_SIZE)


# ------------------------------------------------------------------------------------------------------------ models


@contextlib.contextmanager
def _without_known_warnings() -> Iterator[None]:
    """Keep two deprecations that only pyfacer could act on out of every log."""
    with warnings.catch_warnings():
        for message in ("Importing from timm.models.layers", "`torch.jit.load` is deprecated"):
            warnings.filterwarnings("ignore", message=message, category=FutureWarning)
        yield


def _import_facer():
    with _without_known_warnings():
        import facer
    return facer


class RetinaFace:
    """pyfacer's face detector, MobileNet 0.25."""

    def __init__(self, weights: Path, threshold: float, device):
        import torch

        facer, self.device = _import_facer(), device
        try:
            stored = torch.load(weights, map_location="cpu", weights_only=True)  # pyfacer's own load is no safer
            self.net = facer.face_detector("retinaface/mobilenet", device, model_path=str(weights), threshold=threshold)
        except Exception as error:  # unpickling raises almost anything on a wrong file
            raise ValueError(f"faces.detector_weights: {weights}: {one_line(error)}") from error
        torch.backends.cudnn.benchmark = False  # pyfacer turns it on; results would depend on the kernels' timing
        self._check_complete(weights, stored.get("state_dict", stored))

    def _check_complete(self, weights: Path, stored: dict) -> None:
        """pyfacer loads with ``strict=False``: whatever the file lacks would stay random."""
        needed = {name for name in self.net.net.state_dict() if not name.endswith("num_batches_tracked")}
        missing = sorted(needed - {name.removeprefix("module.") for name in stored})
        if missing:
            raise ValueError(f"faces.detector_weights: {weights} is no RetinaFace of this kind: it lacks {missing[0]}")

    def __call__(self, pictures: list[np.ndarray]) -> list[list[Face]]:
        """The faces in each of the pictures (H, W, 3) uint8 RGB."""
        found: list[list[Face]] = [[] for _ in pictures]
        for side_px in DETECTION_SIDES_PX:
            missed = [k for k, faces in enumerate(found) if not faces]
            for k, faces in zip(missed, self._detect_reduced([pictures[k] for k in missed], side_px), strict=True):
                found[k] = faces
        return found

    def _detect_reduced(self, pictures: list[np.ndarray], side_px: int) -> list[list[Face]]:
        """The faces in pictures, seen with a longer side of at most ``side_px``; those of one size share a batch."""
        reduced = [reduce_picture(picture, side_px) for picture in pictures]
        found: list[list[Face]] = [[] for _ in pictures]
        for batch in _batches_of_one_size([picture.shape for picture in reduced]):
            for index, box, points in self._detect(np.stack([reduced[k] for k in batch])):
                k = batch[index]
                to_picture = np.linalg.inv(_resize_frame(pictures[k].shape, reduced[k].shape))
                box = transform(box.reshape(2, 2), to_picture).reshape(4)
                found[k].append(Face(box, transform(points, to_picture)))
        return found

    def _detect(self, pictures: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Index, box (4,) and points (5, 2) of every face in pictures (n, H, W, 3)."""
        import torch

        with torch.inference_mode():
            faces = self.net(torch.from_numpy(pictures).permute(0, 3, 1, 2).to(self.device))
        columns = (faces[name].cpu().numpy() for name in ("image_ids", "rects", "points"))
        for index, box, points in zip(*columns, strict=True):
            yield int(index), box.astype(float), points.astype(float)


def reduce_picture(picture: np.ndarray, side_px: int) -> np.ndarray:
    """The picture (H, W, 3) with a longer side of at most ``side_px``."""
    height, width = picture.shape[:2]
    scale = side_px / max(height, width)
    if scale >= 1:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _resize_frame(shape: tuple[int, ...], resized: tuple[int, ...]) -> np.ndarray:
    sx, sy = resized[1] / shape[1], resized[0] / shape[0]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])


def _batches_of_one_size(shapes: list[tuple[int, ...]]) -> Iterator[list[int]]:
    """Indices of pictures that have one shape, in batches of bounded size."""
    for shape in dict.fromkeys(shapes):
        alike = [index for index, other in enumerate(shapes) if other == shape]
        step = max(1, DETECTION_BATCH_PX // (shape[0] * shape[1]))
        yield from (alike[start : start + step] for start in range(0, len(alike), step))


class RegionParser:
    """FaRL's face parser through pyfacer, ``farl/celebm/448``, from a TorchScript file."""

    def __init__(self, weights: Path, device):
        facer, self.device = _import_facer(), device
        try:
            with _without_known_warnings():
                self.net = facer.face_parser("farl/celebm/448", device, model_path=str(weights))
        except Exception as error:
            raise ValueError(f"faces.parser_weights: {weights}: {one_line(error)}") from error
        if tuple(self.net.label_names) != REGIONS:
            raise ValueError(f"faces.regions: pyfacer's labels {self.net.label_names} are not {list(REGIONS)}")

    def __call__(self, picture: np.ndarray, face: Face) -> tuple[np.ndarray, np.ndarray]:
        """The label map (h, w) uint8 around a face of the picture (H, W, 3), and its frame (3, 3).

        The parser turns its own view upright by the five points, so the map is that of the whole picture, cut
        around the face: pixel by pixel unless the face is so large that the window is reduced.
        """
        import torch

        if not is_known(face.points):
            raise UnusablePictureError("no landmarks")
        frame, side = window(face, PARSER_CONTEXT, PARSER_SIDE_PX)
        view = torch.from_numpy(warp(picture, frame, side)).permute(2, 0, 1)[None].float() / 255
        points = torch.from_numpy(transform(face.points, frame)).float()[None]
        faces = {"points": points.to(self.device), "image_ids": torch.zeros(1, dtype=torch.long, device=self.device)}
        logits = self.net(view.to(self.device), faces)["seg"]["logits"]  # (1, R, h, w), all 0 outside its view
        return logits[0].argmax(dim=0).to(torch.uint8).cpu().numpy(), frame


def window(face: Face, context: float, max_side_px: int) -> tuple[np.ndarray, int]:
    """The frame (3, 3) and side (px) of a square around a face, ``context`` times its box.

    On the picture's own pixel grid, unless that would be more than ``max_side_px``.
    """
    side = 2 * int(np.ceil(context * face.sides.max() / 2))
    return square_frame(np.floor(face.centre) + 0.5, side, min(side, max_side_px)), min(side, max_side_px)


class LandmarkPredictor:
    """dlib's 68 landmarks, in the rectangle of dlib's own detector, with which its predictors are trained."""

    def __init__(self, weights: Path):
        import dlib

        self.detector = dlib.get_frontal_face_detector()
        try:
            self.predictor = dlib.shape_predictor(str(weights))
        except RuntimeError as error:
            raise ValueError(f"faces.landmark_weights: {weights}: {one_line(error)}") from error
        found = self.predictor(np.zeros((32, 32, 3), np.uint8), dlib.rectangle(0, 0, 31, 31)).num_parts
        if found != N_LANDMARKS:
            raise ValueError(f"faces.landmark_weights: {weights} predicts {found} landmarks, expected {N_LANDMARKS}")

    def __call__(self, picture: np.ndarray, face: Face) -> np.ndarray:
        """(68, 2) px of the picture; NaN if dlib's detector finds nothing where the face is."""
        size = int(PREDICTOR_CONTEXT * PREDICTOR_FACE_PX)
        frame = square_frame(face.centre, PREDICTOR_CONTEXT * face.sides.max(), size)
        view, box = warp(picture, frame, size), transform(face.box.reshape(2, 2), frame).reshape(4)
        rectangles = self.detector(view, 0)
        edges = np.array([(r.left(), r.top(), r.right(), r.bottom()) for r in rectangles]).reshape(-1, 4)
        overlaps = [_overlap(box, edge) for edge in edges]
        if max(overlaps, default=0) == 0:
            return _unknown(N_LANDMARKS)
        shape = self.predictor(view, rectangles[int(np.argmax(overlaps))])
        found = np.array([(part.x, part.y) for part in shape.parts()], float)
        return transform(found, np.linalg.inv(frame))


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (4,); 0 where they do not meet."""
    common = np.prod((np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0))
    return float(common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common))


@dataclass
class Models:
    """What the settings ask for, loaded; None where it is not needed."""

    detector: RetinaFace | None = None
    parser: RegionParser | None = None
    predictor: LandmarkPredictor | None = None


def load_models(settings: FaceSettings, device: str = "auto") -> Models:
    """Load the weight files of the settings; device "auto" is the GPU if there is one.

    Raises FileNotFoundError or ValueError, naming the setting, for a file that is missing or of another kind.
    """
    files, models = settings.weights(), Models()
    if "landmark_weights" in files:
        models.predictor = LandmarkPredictor(files["landmark_weights"])
    if {"detector_weights", "parser_weights"} & set(files):
        import torch

        where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        if "detector_weights" in files:
            models.detector = RetinaFace(files["detector_weights"], settings.detector_threshold, where)
        if "parser_weights" in files:
            models.parser = RegionParser(files["parser_weights"], where)
    return models


# ----------------------------------------------------------------------------------------------- pictures to crops


@dataclass
class Picture:
    """A decoded picture (H, W, 3) with what came with it: encoded label map or None, landmarks (68, 2) px or NaN."""

    image: str
    pixels: np.ndarray
    labels: bytes | None
    landmarks: np.ndarray


@dataclass
class Crop:
    """A face in the crop's frame: (S, S, 3) uint8, (S, S) uint8, (68, 2) px, (5, 2) px."""

    pixels: np.ndarray
    regions: np.ndarray
    landmarks: np.ndarray
    points: np.ndarray


def detect(pictures: list[Picture], settings: FaceSettings, models: Models) -> list[list[Face]]:
    """The faces of each picture, with their box and, where the detector knows them, their points."""
    if settings.detector == "given":
        return [face_of_landmarks(picture.landmarks, picture.pixels.shape) for picture in pictures]
    if settings.detector == "none":
        return [face_of_picture(picture.pixels.shape) for picture in pictures]
    return models.detector([picture.pixels for picture in pictures])


def crop_face(picture: Picture, faces: list[Face], settings: FaceSettings, models: Models) -> Crop:
    """The crop of a picture's only face; raises UnusablePictureError with the reason if there is none."""
    face = only_face(faces, settings.min_face_px)
    face.landmarks = _landmarks(picture, face, settings, models)
    if not is_known(face.landmarks):
        if settings.landmarks_required:
            raise UnusablePictureError("no landmarks")
    elif not is_known(face.points):
        face.points = five_points(face.landmarks)
    frame, size = crop_frame(face, picture.pixels.shape, settings), settings.crop_size
    labels, labels_frame = _labels(picture, face, models)
    return Crop(
        pixels=warp(picture.pixels, frame, size),
        regions=warp_labels(labels, frame @ np.linalg.inv(labels_frame), size),
        landmarks=transform(face.landmarks, frame),
        points=transform(face.points, frame),
    )


def _landmarks(picture: Picture, face: Face, settings: FaceSettings, models: Models) -> np.ndarray:
    if settings.landmarks == "dlib":
        return models.predictor(picture.pixels, face)
    return picture.landmarks if settings.landmarks == "given" and is_known(picture.landmarks) else _unknown(N_LANDMARKS)


def _labels(picture: Picture, face: Face, models: Models) -> tuple[np.ndarray, np.ndarray]:
    """The label map (h, w) of a picture and its frame (3, 3)."""
    if models.parser is not None:
        return models.parser(picture.pixels, face)
    if picture.labels is None:
        raise UnusablePictureError("no label map")
    return decode_labels(picture.labels, picture.pixels.shape[:2]), np.eye(3)


def parse_identity(
    pictures: storage.Pictures, settings: FaceSettings, models: Models
) -> tuple[storage.Faces | None, dict[str, str]]:
    """The usable faces of one identity (None if there are none), and the reason for each image left out."""
    crops: dict[str, Crop] = {}
    reasons: dict[str, str] = {}
    for batch in _decoded(pictures, reasons):
        for picture, faces in zip(batch, detect(batch, settings, models), strict=True):
            try:
                crops[picture.image] = crop_face(picture, faces, settings, models)
            except UnusablePictureError as reason:
                reasons[picture.image] = str(reason)
    return _stack(pictures.identity, crops), reasons


def _decoded(pictures: storage.Pictures, reasons: dict[str, str]) -> Iterator[list[Picture]]:
    """The pictures decoded, a bounded number of pixels at a time; those that cannot be are noted in ``reasons``."""
    batch: list[Picture] = []
    for index, image in enumerate(pictures.images):
        try:
            pixels = decode(pictures.encoded[index], max_megapixels=np.inf)  # the import has judged their size
        except UnusablePictureError as reason:
            reasons[image] = str(reason)
            continue
        labels = None if pictures.labels is None else pictures.labels[index]
        landmarks = _unknown(N_LANDMARKS) if pictures.landmarks is None else pictures.landmarks[index].astype(float)
        batch.append(Picture(image, pixels, labels, landmarks))
        if sum(picture.pixels.size // 3 for picture in batch) >= BATCH_PX:
            yield batch
            batch = []
    if batch:
        yield batch


def _stack(identity: str, crops: dict[str, Crop]) -> storage.Faces | None:
    if not crops:
        return None
    arrays = {
        name: np.stack([getattr(crop, name) for crop in crops.values()])
        for name in ("pixels", "regions", "landmarks", "points")
    }
    return storage.Faces(identity=identity, images=list(crops), crops=arrays.pop("pixels"), **arrays)


# ------------------------------------------------------------------------------------------------------------- stage


def parse_faces(
    images: str | Path,
    output: str | Path,
    settings: FaceSettings | dict,
    *,
    device: str = "auto",
    threads: int | None = None,
    attributes: dict[str, str] | None = None,
) -> None:
    """Find, crop and parse the faces of one shard: images/{shard}.h5 to faces/{shard}.h5.

    Every link of the shard is either kept or listed under ``discarded`` with its reason: what the import could not
    use keeps its status; else "unreadable: ...", "no face", "several faces", "too small: W px < least", "no landmarks",
    "no label map". An identity with fewer than two usable images is left out: its images get that reason, and the
    identity a row with image "". Raises FileNotFoundError or ValueError for settings that cannot work, before the
    first picture, and StorageError should a link be lost.
    """
    settings = settings if isinstance(settings, FaceSettings) else face_settings(settings)
    models = load_models(settings, device)
    _limit_threads(models, threads)
    with (
        storage.open_shard(images, "images") as source,
        storage.create_shard(output, "faces", **_provenance(settings), **(attributes or {})) as target,
    ):
        ledger, kept, discarded = storage.read_ledger(source), [], []
        for identity in sorted({row["identity"] for row in ledger}):
            faces, reasons = _usable(source, identity, ledger, settings, models)
            if faces is not None:
                storage.write_faces(target, faces)
                kept += [(identity, image) for image in faces.images]
            discarded += [storage.Discarded(identity, image, reason) for image, reason in reasons.items()]
        _check_accounts(output, ledger, kept, discarded)
        storage.write_discarded(target, discarded)


def _usable(
    source, identity: str, ledger: list[dict[str, str]], settings: FaceSettings, models: Models
) -> tuple[storage.Faces | None, dict[str, str]]:
    """The faces of an identity that has two or more (else None), and a reason for each image left out."""
    status = {row["image"]: row["status"] for row in ledger if row["identity"] == identity}
    faces, reasons = None, {image: status[image] for image in status if image and status[image] != "ok"}
    if "ok" in status.values():
        faces, found = parse_identity(storage.read_pictures(source, identity), settings, models)
        reasons |= found
    if faces is None or len(faces.images) < 2:
        reasons |= dict.fromkeys(["", *(faces.images if faces else [])], storage.TOO_FEW)
        faces = None
    _log_identity(identity, faces, reasons)
    return faces, reasons


def _log_identity(identity: str, faces: storage.Faces | None, reasons: dict[str, str]) -> None:
    left_out = Counter(reason_kind(reason) for image, reason in reasons.items() if image)
    n_kept = len(faces.images) if faces else 0
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
    log.info("%s: %d of %d images kept%s", identity, n_kept, n_kept + left_out.total(), f" ({why})" if why else "")


def reason_kind(reason: str) -> str:
    """A reason without what is particular to one image: "too small: 20 px < 40" is of the kind "too small"."""
    return "duplicate" if reason.startswith("duplicate of ") else reason.partition(":")[0]


def _check_accounts(
    output: str | Path, ledger: list[dict[str, str]], kept: list[tuple], discarded: list[storage.Discarded]
) -> None:
    """Images in = images kept + images discarded, one by one."""
    expected = Counter((row["identity"], row["image"]) for row in ledger if row["image"])
    found = Counter(kept) + Counter((row.identity, row.image) for row in discarded if row.image)
    if found != expected:
        stray = sorted((expected - found) | (found - expected))[0]
        raise storage.StorageError(
            f"{output}: {expected.total()} links, but {found.total()} accounted for (first difference: {stray})"
        )


def _limit_threads(models: Models, threads: int | None) -> None:
    if threads is not None and (models.detector or models.parser):
        import torch

        torch.set_num_threads(threads)


def _provenance(settings: FaceSettings) -> dict[str, str]:
    """Attributes that say how the numbers came to be; weights by their SHA-256, since paths differ among machines."""
    used = {name: storage.sha256(path) for name, path in settings.weights().items()}
    named = dataclasses.asdict(settings) | {
        name: used.get(name) for name in ("detector_weights", "parser_weights", "landmark_weights")
    }
    return {
        "settings": json.dumps(named, sort_keys=True),
        "settings_sha256": storage.digest(named),
        "versions": _versions(settings),
    }


def _versions(settings: FaceSettings) -> str:
    modules = [np, cv2, PIL]
    if settings.regions == "pyfacer" or settings.detector == "retinaface":
        import torch

        modules += [torch, SimpleNamespace(__name__="pyfacer", __version__=metadata.version("pyfacer"))]
    if settings.landmarks == "dlib":
        import dlib

        modules.append(dlib)
    return storage.versions(*modules)
