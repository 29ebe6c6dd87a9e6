"""Faces: from a picture to the crop, its region map and its landmarks, all in one frame.

Detection, parsing and landmarks have modules of their own; frames and pixel coordinates are those of `frames`.

Shape letters: N images of one identity, H, W a picture's height and width, S side of a crop.
"""

import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import h5py
import numpy as np
import PIL

from leam import decoding, files, packs, storage
from leam.decoders import N_LANDMARKS
from leam.faces import BOXES_ALONE
from leam.faces.detection import (
    CHOICES,
    DETECTORS,
    DISCARD,
    THRESHOLDS,
    DlibNetwork,
    Face,
    Mtcnn,
    Network,
    RetinaFace,
    Scrfd,
    choose_face,
    face_of_landmarks,
    face_of_picture,
    face_of_rect,
    find_faces,
    five_points,
    is_known,
    mtcnn_files,
    retinaface_url,
    unknown,
)
from leam.faces.fingerprints import thumbnail
from leam.faces.frames import aligned_frame, square_frame, transform, warp, warp_labels
from leam.faces.landmarks import RECTANGLES, LandmarkPredictor, landmark_frame
from leam.faces.parsing import BY_LANDMARKS, PARSERS, RegionParser, parser_url
from leam.faces.polygons import UNSEEN, landmark_regions
from leam.images import decode_labels
from leam.model_package import DETECTOR, IN_PACKAGE, LANDMARKS
from leam.reasons import NO_LABELS, NO_LANDMARKS, NO_RECT, OK, UnusablePictureError, one_line, reason_kind

log = logging.getLogger(__name__)
PREDICTORS = ("given", "dlib", "none")
CROP_MODES = ("box", "aligned", "whole")
ALIGNMENTS = ("points", "landmarks")
# Margin of a box crop that gives the paper's base rates, by whose box it is (rule calibrate_margin measures it).
# Those of scrfd are taken for MTCNN's.
DETECTOR_MARGINS = {"given": 0.35, "mtcnn": 0.15, "retinaface": 0.15, "scrfd": 0.15, "dlib": 0.35, "none": 0.0}
# The model files: the beginning of the settings that name them, and the choices that need them.
MODEL_FILES = {
    "detector": ("detector", ("retinaface", "scrfd", "dlib")),
    "parser": ("label_maps", ("pyfacer",)),
    "landmark": ("landmarks", ("dlib",)),
}
PACKAGED = {"detector": DETECTOR, "landmark": LANDMARKS}  # those of which the installed package has one, dlib's
FILE_SETTINGS = ("weights", "sha256")
# {the setting that names a model file: the part of a run that needs it}
FILE_PARTS = {"detector_weights": "detector", "parser_weights": "regions", "landmark_weights": "landmarks"}
DECODED_PX = 32_000_000  # decoded pictures held at a time
Model = TypeVar("Model")


@dataclass(frozen=True)
class FaceSettings:
    """How faces are found and cropped (the configuration's section ``faces``); faults raise ValueError.

    detector : "given" (tight box around the landmarks that came with the picture), "mtcnn", "retinaface", "scrfd"
        (InsightFace's), "dlib" (its CNN: boxes alone), or "none" (the picture is the face, or its rectangle where
        pictures come with some)
    detector_threshold : least confidence, 0 to 1; None: the detector's own
    several : which of several faces that a detector finds is taken: "discard" (none), "largest", "central"
    rect_margin : how far around a link's rectangle the detector looks, as a fraction of its longer side
    label_maps : "given" (those that came with the pictures), "pyfacer" (FaRL's parser), "landmarks" (polygons of them)
    landmarks : "given", "dlib" or "none"; landmark_box : dlib's rectangle, "dlib" (its own detector's) or "detected";
        landmarks_required : discard images without them
    *_weights, *_sha256 : the model files, and the digests they must have (None: any); for scrfd a pack's folder will
        do; "package" is the installed package's file, of landmarks and of dlib's detector, where None is that too
    min_face_px : least shorter side of the face's box, in pixels of the picture
    crop_mode : "box" (square around the box), "aligned" (onto ArcFace's template) or "whole" picture
    crop_margin : added on each side of the square, as a fraction of the box's longer side (mode "box") or of the
        template's (mode "aligned"); None: the one that fits the detector's boxes, or none
    align_by : what comes onto the template: "points" (five: the detector's, or means of the landmarks) or "landmarks"
        (all 68, dlib's way)
    crop_size : S, pixels
    batch_images : images per forward of the parser
    """

    detector: str = "given"
    detector_weights: str | None = None
    detector_sha256: str | None = None
    detector_threshold: float | None = None
    several: str = DISCARD
    rect_margin: float = 0.3
    label_maps: str = "given"
    parser_weights: str | None = None
    parser_sha256: str | None = None
    landmarks: str = "given"
    landmark_weights: str | None = None
    landmark_sha256: str | None = None
    landmark_box: str = "dlib"
    landmarks_required: bool = False
    min_face_px: float = 0
    crop_mode: str = "box"
    crop_margin: float | None = None
    align_by: str = "points"
    crop_size: int = 112
    batch_images: int = 8

    def __post_init__(self) -> None:
        self._check_choice("detector", DETECTORS)
        self._check_choice("several", CHOICES)
        self._check_choice("label_maps", PARSERS)
        self._check_choice("landmarks", PREDICTORS)
        self._check_choice("landmark_box", RECTANGLES)
        self._check_choice("crop_mode", CROP_MODES)
        self._check_choice("align_by", ALIGNMENTS)
        self._check_range("detector_threshold", 0, 1)
        self._check_range("rect_margin", 0, 10)
        self._check_range("min_face_px", 0, 100_000)
        self._check_range("crop_margin", 0, 10)
        self._check_range("crop_size", 8, 4096)
        self._check_range("batch_images", 1, 4096)
        self._check_points()

    def _check_choice(self, name: str, choices: Sequence[str]) -> None:
        if getattr(self, name) not in choices:
            raise ValueError(f"faces.{name}: expected one of {', '.join(choices)}; found {getattr(self, name)!r}")

    def _check_range(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if value is None and name in ("detector_threshold", "crop_margin"):
            return
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"faces.{name}: expected a number from {low} to {high}, found {value!r}")
        if name in ("crop_size", "batch_images") and value != int(value):
            raise ValueError(f"faces.{name}: expected a whole number, found {value!r}")

    def _check_points(self) -> None:
        """What needs points: polygons 68, the parser five, the aligned crop either, which must come from somewhere."""
        if self.landmarks != "none":
            return
        if (self.crop_mode, self.align_by) == ("aligned", "landmarks"):
            raise ValueError("faces.align_by: landmarks needs some, but faces.landmarks is none")
        if self.label_maps == BY_LANDMARKS:
            raise ValueError("faces.label_maps: landmarks, but faces.landmarks is none")
        if self.detector not in BOXES_ALONE:
            return
        for name, value in (("crop_mode", "aligned"), ("label_maps", "pyfacer")):
            if getattr(self, name) == value:
                raise ValueError(
                    f"faces.{name}: {value} needs five points, but landmarks is none and detector {self.detector}"
                )
        if self.landmarks_required:
            raise ValueError("faces.landmarks_required: true, but faces.landmarks is none")

    @property
    def margin(self) -> float:
        """The margin in use."""
        fitting = 0.0 if self.crop_mode == "aligned" else DETECTOR_MARGINS[self.detector]
        return fitting if self.crop_margin is None else self.crop_margin

    @property
    def takes_one_of_several(self) -> bool:
        """Whether a picture may be used in which the detector finds several faces."""
        return self.detector in THRESHOLDS and self.several != DISCARD

    @property
    def threshold(self) -> float:
        """The detector's threshold in use."""
        return THRESHOLDS[self.detector] if self.detector_threshold is None else self.detector_threshold

    def files(self) -> dict[str, tuple[Path, str]]:
        """The model files in use and their SHA-256, by the setting that names them: "detector_weights" and so on.

        Raises FileNotFoundError or ValueError for a file that is not named, not there, or not the expected one.
        """
        return {
            f"{kind}_weights": self._file(kind)
            for kind, (choice, values) in MODEL_FILES.items()
            if getattr(self, choice) in values
        }

    def _file(self, kind: str) -> tuple[Path, str]:
        path, expected = (getattr(self, f"{kind}_{what}") for what in FILE_SETTINGS)
        choice = getattr(self, MODEL_FILES[kind][0])
        if choice == "dlib" and (path == IN_PACKAGE or (kind == "detector" and path is None)):
            return packaged_file(kind, expected)
        if choice == "scrfd" and path:
            path = str(packs.detector_file(path))
        return verified_file(f"faces.{kind}_weights", path, expected)


def verified_file(setting: str, path: str | None, expected: str | None) -> tuple[Path, str]:
    """The path of a model file and its SHA-256, which must be the ``expected`` one (None: any)."""
    if not path:
        raise ValueError(f"{setting}: expected the path of a model file, found {path!r}")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{setting}: no such file: {path}")
    found = files.sha256(path)
    if expected and found != expected.lower():
        raise ValueError(f"{setting}: {path} has SHA-256 {found}, expected {expected}")
    return Path(path), found


def packaged_file(kind: str, expected: str | None) -> tuple[Path, str]:
    """A file of the installed package and its SHA-256, which must be the ``expected`` one (None: known)."""
    file = PACKAGED[kind]
    try:
        path = file.path()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"faces.{kind}_weights: {error}") from error
    return verified_file(f"faces.{kind}_weights", str(path), expected or file.sha256)


def face_settings(section: dict) -> FaceSettings:
    """The settings of a configuration section; an unknown key is a ValueError that lists the known ones."""
    known = [setting.name for setting in dataclasses.fields(FaceSettings)]
    unknown_keys = sorted(set(section) - set(known))
    if unknown_keys:
        raise ValueError(f"faces.{unknown_keys[0]}: no such setting; there are {', '.join(known)}")
    return FaceSettings(**section)


def fetch_face_models(output: str | Path, settings: dict) -> None:
    """Get and check the model files of a configuration section; write their path, SHA-256 and size (JSON).

    Where the path is "download", pyfacer's own file is fetched to the output's folder; a file that is there already
    with the expected SHA-256 is not fetched again. One in the installed package keeps "package" for its path, as
    environments move. Raises ValueError or OSError, naming the setting.
    """
    settings, output = dict(settings), Path(output)
    for kind, value, address in (("detector", "retinaface", retinaface_url), ("parser", "pyfacer", parser_url)):
        if settings[MODEL_FILES[kind][0]] == value and settings[f"{kind}_weights"] == "download":
            settings[f"{kind}_weights"] = str(_download(kind, address(), output.parent, settings[f"{kind}_sha256"]))
    used = face_settings(settings).files()
    facts = {
        name: {
            "path": IN_PACKAGE if settings[name] == IN_PACKAGE else str(path),
            "sha256": digest,
            "bytes": path.stat().st_size,
        }
        for name, (path, digest) in used.items()
    }
    with files.whole_file(output) as part:
        part.write_text(json.dumps(facts, indent=2) + "\n")


def _download(kind: str, url: str, folder: Path, expected: str | None) -> Path:
    from leam.weights import download_file

    if not expected:
        raise ValueError(f"faces.{kind}_weights: a download needs faces.{kind}_sha256: a server may send another file")
    path = folder / url.rpartition("/")[2]
    if not (path.is_file() and files.sha256(path) == expected.lower()):
        try:
            download_file(url, path, expected)
        except OSError as error:
            raise OSError(
                f"faces.{kind}_weights: download from {url} failed ({one_line(error)}); give a path"
            ) from error
    return path


def with_face_models(settings: dict, facts: str | Path | None) -> dict:
    """A configuration section with the files that ``fetch_face_models`` found, and their digests (None: no files)."""
    found = files.read_json(facts) if facts else {}
    settings = dict(settings)
    for name, file in found.items():
        settings |= {name: file["path"], name.replace("weights", "sha256"): file["sha256"]}
    return settings


@dataclass
class Models:
    """What the settings ask for, loaded; None where it is not needed. files : SHA-256 by setting."""

    detector: Network | None = None
    parser: RegionParser | None = None
    predictor: LandmarkPredictor | None = None
    files: dict[str, str] = dataclasses.field(default_factory=dict)


def load_models(settings: FaceSettings, device: str = "auto", threads: int | None = None) -> Models:
    """Load the model files of the settings; device "auto" is the GPU if there is one.

    threads : of SCRFD, which takes them when it is loaded; None: one
    No file is trusted: state dicts are read without unpickling code, dlib's format holds none, an ONNX file's nodes run
    in onnxruntime, and the parser's TorchScript in its own interpreter, from the path that the user gave.
    Raises FileNotFoundError or ValueError, naming the setting, for a file that is missing or of another kind.
    """
    used = settings.files()
    models = Models(files={name: digest for name, (_, digest) in used.items()})
    if "landmark_weights" in used:
        models.predictor = LandmarkPredictor(used["landmark_weights"][0], settings.landmark_box)
    if settings.detector == "scrfd":
        models.detector = Scrfd(used["detector_weights"][0], settings.threshold, threads)
    if settings.detector == "dlib":
        models.detector = DlibNetwork(used["detector_weights"][0], settings.threshold)
    if settings.detector in ("mtcnn", "retinaface") or "parser_weights" in used:
        import torch

        where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        torch.backends.cudnn.benchmark = False  # results would depend on the kernels' timing
        if settings.detector == "mtcnn":
            models.detector = Mtcnn(settings.threshold, where)
            models.files |= {f"mtcnn/{file.name}": files.sha256(file) for file in mtcnn_files()}
        if settings.detector == "retinaface":
            models.detector = RetinaFace(used["detector_weights"][0], settings.threshold, where)
        if "parser_weights" in used:
            models.parser = RegionParser(used["parser_weights"][0], where, settings.batch_images)
    return models


@dataclass
class DecodedPicture:
    """A decoded picture (H, W, 3) with what came with it.

    labels : encoded label map or None; landmarks : (68, 2) px, NaN where there are none; rect : (4,) left, top, right,
    bottom edge of the face in question, px, 0 being the picture's edge; NaN where this picture has none, None where
    none has
    """

    image: str
    pixels: np.ndarray
    labels: bytes | None
    landmarks: np.ndarray
    rect: np.ndarray | None

    @property
    def middle(self) -> np.ndarray:
        """(2,) px: the centre of the rectangle, or of the picture where there is none."""
        whole = np.array([0, 0, *self.pixels.shape[1::-1]])
        edges = whole if self.rect is None or not is_known(self.rect) else self.rect
        return (edges[:2] + edges[2:] - 1) / 2


@dataclass
class Crop:
    """A face in the crop's frame: (S, S, 3) uint8, (S, S) uint8, (68, 2) px, (5, 2) px; its picture's (16, 16), and how
    many faces were found there."""

    pixels: np.ndarray
    regions: np.ndarray
    landmarks: np.ndarray
    points: np.ndarray
    thumbnail: np.ndarray
    faces_found: int


def _loaded(model: Model | None, setting: str) -> Model:
    """A model that the setting asks for. Raises ValueError if it was not loaded."""
    if model is None:
        raise ValueError(f"{setting} needs a model, and none was loaded")
    return model


def detect(pictures: list[DecodedPicture], settings: FaceSettings, models: Models) -> list[list[Face]]:
    """The faces of each picture, with their box and, where the detector knows them, their points."""
    if settings.detector == "given":
        return [face_of_landmarks(picture.landmarks, picture.pixels.shape) for picture in pictures]
    if settings.detector == "none":
        return [
            face_of_picture(picture.pixels.shape) if picture.rect is None else face_of_rect(picture.rect)
            for picture in pictures
        ]
    rects = [np.full(4, np.nan) if picture.rect is None else picture.rect for picture in pictures]
    network = _loaded(models.detector, f"faces.detector: {settings.detector}")
    return find_faces(network, [picture.pixels for picture in pictures], rects, settings.rect_margin)


def crop_frame(face: Face, shape: tuple[int, ...], settings: FaceSettings) -> np.ndarray:
    """(3, 3) from the picture to the crop; UnusablePictureError("no landmarks") if it lacks the points it needs."""
    size = settings.crop_size
    if settings.crop_mode == "whole":
        return square_frame((np.array(shape[1::-1]) - 1) / 2, max(shape[:2]), size)
    if settings.crop_mode == "box":
        return square_frame(face.centre, face.sides.max() * (1 + 2 * settings.margin), size)
    by_landmarks = settings.align_by == "landmarks"
    points = face.landmarks if by_landmarks else face.points
    if not is_known(points) or np.ptp(points, axis=0).max() < 1:
        raise UnusablePictureError(NO_LANDMARKS)
    return (landmark_frame if by_landmarks else aligned_frame)(points, size, settings.margin)


def place_face(
    picture: DecodedPicture, faces: list[Face], settings: FaceSettings, models: Models
) -> tuple[Face, np.ndarray]:
    """A picture's face, with all that is known of it, and the frame (3, 3) of its crop.

    Raises UnusablePictureError with the reason if there is none.
    """
    if settings.detector == "none" and not faces:
        raise UnusablePictureError(NO_RECT)
    face = choose_face(faces, settings.several, picture.middle, settings.min_face_px)
    face.landmarks = _landmarks(picture, face, settings, models)
    if not is_known(face.landmarks):
        if settings.landmarks_required or settings.label_maps == BY_LANDMARKS:
            raise UnusablePictureError(NO_LANDMARKS)
    elif not is_known(face.points):
        face.points = five_points(face.landmarks)
    if models.parser is not None and not is_known(face.points):
        raise UnusablePictureError(NO_LANDMARKS)
    return face, crop_frame(face, picture.pixels.shape, settings)


def _landmarks(picture: DecodedPicture, face: Face, settings: FaceSettings, models: Models) -> np.ndarray:
    if settings.landmarks == "dlib":
        return _loaded(models.predictor, "faces.landmarks: dlib")(picture.pixels, face)
    return picture.landmarks if settings.landmarks == "given" and is_known(picture.landmarks) else unknown(N_LANDMARKS)


def regions_without_parser(
    picture: DecodedPicture, face: Face, frame: np.ndarray, settings: FaceSettings
) -> np.ndarray:
    """(S, S): the label map of a face by its landmarks, or the given one; raises UnusablePictureError."""
    if settings.label_maps == BY_LANDMARKS:
        return landmark_regions(transform(face.landmarks, frame), settings.crop_size)
    return given_regions(picture, frame, settings.crop_size)


def given_regions(picture: DecodedPicture, frame: np.ndarray, size: int) -> np.ndarray:
    """(S, S): the label map that came with a picture, in the crop's frame; raises UnusablePictureError."""
    if picture.labels is None:
        raise UnusablePictureError(NO_LABELS)
    return warp_labels(decode_labels(picture.labels, picture.pixels.shape[:2]), frame, size)


def crop_faces(
    pictures: list[DecodedPicture], settings: FaceSettings, models: Models
) -> tuple[dict[str, Crop], dict[str, str]]:
    """The crops of the pictures with one usable face, and the reasons of the others, by image."""
    size, placed, regions, reasons = settings.crop_size, [], [], {}
    for picture, faces in zip(pictures, detect(pictures, settings, models), strict=True):
        try:
            face, frame = place_face(picture, faces, settings, models)
            if models.parser is None:
                regions.append(regions_without_parser(picture, face, frame, settings))
            placed.append((picture, face, frame, len(faces)))
        except UnusablePictureError as reason:
            reasons[picture.image] = str(reason)
    if models.parser is not None and placed:
        found, chosen, frames, _ = zip(*placed, strict=True)
        points = np.stack([face.points for face in chosen])
        regions = list(models.parser([picture.pixels for picture in found], points, np.stack(frames), size))
    crops = {
        picture.image: Crop(
            pixels=warp(picture.pixels, frame, size),
            regions=labels,
            landmarks=transform(face.landmarks, frame),
            points=transform(face.points, frame),
            thumbnail=thumbnail(picture.pixels),
            faces_found=faces_found,
        )
        for (picture, face, frame, faces_found), labels in zip(placed, regions, strict=True)
    }
    return crops, reasons


def parse_identity(
    pictures: storage.Pictures, settings: FaceSettings, models: Models
) -> tuple[storage.Faces | None, dict[str, str]]:
    """The usable faces of one identity (None if there are none), and the reason for each image left out."""
    crops: dict[str, Crop] = {}
    reasons: dict[str, str] = {}
    for batch in _decoded(pictures, reasons):
        found, left_out = crop_faces(batch, settings, models)
        crops |= found
        reasons |= left_out
    return _stack(pictures.identity, crops, settings.takes_one_of_several), reasons


def _decoded(pictures: storage.Pictures, reasons: dict[str, str]) -> Iterator[list[DecodedPicture]]:
    """The pictures decoded, a bounded number of pixels at a time; those that cannot be are noted in ``reasons``."""
    batch: list[DecodedPicture] = []
    asked = (decoding.unpack("picture", encoded, max_megapixels=np.inf) for encoded in pictures.encoded)
    for index, coming in enumerate(decoding.one_ahead(asked)):  # the import has judged their size
        image = pictures.images[index]
        try:
            pixels = coming.array()
        except UnusablePictureError as reason:
            reasons[image] = str(reason)
            continue
        labels = None if pictures.labels is None else pictures.labels[index]
        landmarks = unknown(N_LANDMARKS) if pictures.landmarks is None else pictures.landmarks[index].astype(float)
        rect = None if pictures.rect is None else pictures.rect[index].astype(float)
        batch.append(DecodedPicture(image, pixels, labels, landmarks, rect))
        if sum(picture.pixels.size // 3 for picture in batch) >= DECODED_PX:
            yield batch
            batch = []
    if batch:
        yield batch


def _stack(identity: str, crops: dict[str, Crop], counted: bool) -> storage.Faces | None:
    """counted : whether it is of interest how many faces were found"""
    if not crops:
        return None
    names = [field.name for field in dataclasses.fields(Crop)]
    stacked = {name: np.stack([getattr(crop, name) for crop in crops.values()]) for name in names}
    return storage.Faces(
        identity=identity,
        images=list(crops),
        crops=stacked["pixels"],
        regions=stacked["regions"],
        landmarks=stacked["landmarks"],
        points=stacked["points"],
        thumbnails=stacked["thumbnail"],
        faces_found=stacked["faces_found"] if counted else None,
    )


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
    use keeps its status; else "unreadable: ...", "no face", "no rectangle", "several faces", "too small: W px < least",
    "no landmarks", "no label map". An identity with fewer than two usable images is left out: its images get that
    reason, and the identity a row with image "". Raises FileNotFoundError or ValueError for settings that cannot work,
    before the first picture, and StorageError should a link be lost.
    """
    settings = settings if isinstance(settings, FaceSettings) else face_settings(settings)
    models = load_models(settings, device, threads)
    tune(models, threads)
    with (
        decoding.remember(decoding.verdicts_of(Path(output))),
        storage.open_shard(images, "images") as source,
        storage.create_shard(output, "faces", **_provenance(settings, models), **(attributes or {})) as target,
    ):
        if settings.label_maps == BY_LANDMARKS:
            storage.write_unseen_regions(target, UNSEEN)
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
    source: h5py.File, identity: str, ledger: list[dict[str, str]], settings: FaceSettings, models: Models
) -> tuple[storage.Faces | None, dict[str, str]]:
    """The faces of an identity that has two or more (else None), and a reason for each image left out."""
    status = {row["image"]: row["status"] for row in ledger if row["identity"] == identity}
    faces, reasons = None, {image: status[image] for image in status if image and status[image] != OK}
    if OK in status.values():
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
    chosen = 0 if faces is None or faces.faces_found is None else int((faces.faces_found > 1).sum())
    of_several = f", in {chosen} of them one of several faces" if chosen else ""
    words = f"{of_several} ({why})" if why else of_several
    log.info("%s: %d of %d images kept%s", identity, n_kept, n_kept + left_out.total(), words)


def _check_accounts(
    output: str | Path, ledger: list[dict[str, str]], kept: list[tuple], discarded: list[storage.Discarded]
) -> None:
    """Images in = images kept + images discarded, one by one."""
    expected = Counter((row["identity"], row["image"]) for row in ledger if row["image"])
    found = Counter(kept) + Counter((row.identity, row.image) for row in discarded if row.image)
    if found != expected:
        stray = sorted((expected - found) | (found - expected))[0]
        raise files.StorageError(
            f"{output}: {expected.total()} links, but {found.total()} accounted for (first difference: {stray})"
        )


def tune(models: Models, threads: int | None) -> None:
    """Process-wide settings of the networks: threads, and on the CPU those of ``device.tune_cpu``.

    Without them a batch of parsed faces takes up to twice as long as one face after another (page faults).
    """
    if models.detector or models.parser:
        import torch

        from leam.device import tune_cpu

        tune_cpu()
        if threads is not None:
            torch.set_num_threads(threads)


def _provenance(settings: FaceSettings, models: Models) -> dict[str, str]:
    """Attributes that say how the numbers came to be; model files by their SHA-256, since paths differ among machines.

    ``batch_images`` is left out: it is no matter of the result; so is ``several`` where no face is chosen by it.
    """
    named = dataclasses.asdict(settings) | {"crop_margin": settings.margin, "files": models.files}
    if settings.detector in THRESHOLDS:
        named["detector_threshold"] = settings.threshold
    files_named = (f"{kind}_{what}" for kind in MODEL_FILES for what in FILE_SETTINGS)
    without_effect = [] if settings.takes_one_of_several else ["several"]
    for name in ("batch_images", *without_effect, *files_named):
        named.pop(name)
    return {
        "settings": json.dumps(named, sort_keys=True),
        "settings_sha256": files.digest_value(named),
        "versions": _versions(settings),
    }


def _versions(settings: FaceSettings) -> str:
    modules = [np, cv2, PIL]
    packages = {"facenet-pytorch": settings.detector == "mtcnn"}
    packages["pyfacer"] = settings.label_maps == "pyfacer" or settings.detector == "retinaface"
    if any(packages.values()):
        import torch

        modules.append(torch)
    packages |= dict.fromkeys(("insightface", "onnxruntime"), settings.detector == "scrfd")
    used = [name for name, needed in packages.items() if needed]
    if "dlib" in (settings.landmarks, settings.detector):
        import dlib

        modules.append(dlib)
    return files.versions(*modules, packages=used)
