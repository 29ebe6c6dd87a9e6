"""Layouts: where a source keeps its pictures, and the label maps and landmarks that belong to them.

Each layout says whether it ``brings_labels`` and ``brings_landmarks``, and has three methods: ``picture`` (the file of
a link), ``labels`` (a PNG label map in FaRL order, or None) and ``landmarks`` ((68, 2) float32 px, NaN where there are
none); they raise UnusablePictureError with the reason for the ledger.
"""

import functools
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from leam.faces.landmarks import ibug_of_fgnet
from leam.images import (
    N_LANDMARKS,
    UnusablePictureError,
    decode_labels,
    encode_labels,
    farl_labels,
    one_line,
    read_landmarks,
)
from leam.links import CELEBAMASK_PICTURES
from leam.regions import LABEL_ORDERS

# The files of CelebAMask-HQ's part masks; part k has the label k + 1, and later ones lie over earlier ones.
CELEBAMASK_PARTS = (
    *("skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear"),
    *("mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth"),
)
CELEBAMASK_MASKS = "CelebAMask-HQ-mask-anno"
MASKS_PER_FOLDER = 2000


def no_landmarks() -> np.ndarray:
    return np.full((N_LANDMARKS, 2), np.nan, np.float32)


def _file_of(folder: Path, expected_url: str, url: str, *names: str) -> Path:
    """The file of a link; a name that would lead out of the source folder is refused."""
    if url != expected_url or any(Path(name).name != name or name == ".." for name in names):
        raise UnusablePictureError("unreadable: not the name of a file in the source folder")
    return folder / url


@dataclass(frozen=True)
class FolderLayout:
    """identity/KK.jpg, and beside it KK + suffix. None: there is no such file."""

    folder: Path
    label_suffix: str | None = None
    label_order: str = "farl"
    landmark_suffix: str | None = None

    def __post_init__(self):
        if not self.folder.is_dir():
            raise ValueError(f"source folder {str(self.folder)!r} does not exist or is no folder")
        if self.label_order not in LABEL_ORDERS:
            raise ValueError(f"label_order {self.label_order!r}: expected one of {', '.join(LABEL_ORDERS)}")
        if "" in (self.label_suffix, self.landmark_suffix):
            raise ValueError("label_suffix and landmark_suffix: expected the end of a file name or null, found ''")

    @property
    def brings_labels(self) -> bool:
        return self.label_suffix is not None

    @property
    def brings_landmarks(self) -> bool:
        return self.landmark_suffix is not None

    def picture(self, identity: str, image: str, url: str) -> Path:
        return _file_of(self.folder, f"{identity}/{image}", url, identity, image)

    def labels(self, picture: Path, shape: tuple[int, int]) -> bytes | None:
        if self.label_suffix is None:
            return None
        beside = picture.with_name(picture.stem + self.label_suffix)
        if not beside.is_file():
            raise UnusablePictureError("label map missing")
        return encode_labels(decode_labels(beside.read_bytes(), shape, self.label_order))

    def landmarks(self, picture: Path) -> np.ndarray:
        if self.landmark_suffix is None:
            return no_landmarks()
        beside = picture.with_name(picture.stem + self.landmark_suffix)
        return read_landmarks(beside) if beside.is_file() else no_landmarks()


@dataclass(frozen=True)
class FgnetLayout:
    """The FG-NET Aging Database: NNNAyy.JPG in one folder, NNNAyy.pts in ``points``, case of both as it comes.

    points : None looks beside the pictures, and in ``points`` below or beside their folder; missing files are fine
    landmark_order : "fgnet", the database's own 68 points, or "ibug"
    """

    folder: Path
    points: Path | None = None
    landmark_order: str = "fgnet"

    brings_labels = False
    brings_landmarks = True

    def picture(self, identity: str, image: str, url: str) -> Path:
        return _file_of(self.folder, image, url, image)

    def labels(self, picture: Path, shape: tuple[int, int]) -> None:
        return None

    def landmarks(self, picture: Path) -> np.ndarray:
        file = self._points_files.get(picture.stem.lower())
        if file is None:
            return no_landmarks()
        found = read_landmarks(file)
        return ibug_of_fgnet(found) if self.landmark_order == "fgnet" else found

    @functools.cached_property
    def _points_files(self) -> dict[str, Path]:
        folders = [self.points] if self.points else [self.folder.parent / "points", self.folder / "points", self.folder]
        return {
            file.stem.lower(): file
            for folder in folders
            if folder.is_dir()
            for file in sorted(folder.iterdir())
            if file.suffix.lower() == ".pts"
        }


@dataclass(frozen=True)
class CelebamaskLayout:
    """CelebAMask-HQ: CelebA-HQ-img/N.jpg, and CelebAMask-HQ-mask-anno/(N div 2000)/NNNNN_part.png per part seen."""

    folder: Path

    brings_labels = True
    brings_landmarks = False

    def picture(self, identity: str, image: str, url: str) -> Path:
        return _file_of(self.folder, f"{CELEBAMASK_PICTURES}/{image}", url, image)

    def labels(self, picture: Path, shape: tuple[int, int]) -> bytes:
        """The parts one over another, enlarged to the picture (masks are half its size)."""
        number = int(picture.stem)
        masks = self.folder / CELEBAMASK_MASKS / str(number // MASKS_PER_FOLDER)
        files = {label: masks / f"{number:05d}_{part}.png" for label, part in enumerate(CELEBAMASK_PARTS, start=1)}
        files = {label: file for label, file in files.items() if file.is_file()}
        if not files:
            raise UnusablePictureError("label map missing")
        labels = np.zeros(shape, np.uint8)
        for label, file in files.items():
            labels[_read_mask(file, shape)] = label
        return encode_labels(farl_labels("celebamask_hq")[labels])

    def landmarks(self, picture: Path) -> np.ndarray:
        return no_landmarks()


def _read_mask(file: Path, shape: tuple[int, int]) -> np.ndarray:
    """A part mask as (H, W) bool, nearest-resized."""
    try:
        with Image.open(io.BytesIO(file.read_bytes()), formats=("PNG",)) as image:
            return np.asarray(image.convert("L").resize(shape[::-1], Image.Resampling.NEAREST)) > 127
    except Exception as error:  # decoders raise almost anything on damaged files
        raise UnusablePictureError(f"label map unreadable: {file.name}: {one_line(error)}") from error


Layout = FolderLayout | FgnetLayout | CelebamaskLayout


def layout_of(source: dict) -> Layout:
    """The layout of a source (the configuration's section with ``kind``); ValueError for one that has none."""
    folder = Path(source["path"])
    if source["kind"] == "folder":
        return FolderLayout(folder, *(source[key] for key in ("label_suffix", "label_order", "landmark_suffix")))
    if source["kind"] == "fgnet":
        return FgnetLayout(folder, Path(source["points"]) if source["points"] else None, source["landmark_order"])
    if source["kind"] == "celebamask_hq":
        return CelebamaskLayout(folder)
    raise ValueError(f"source kind {source['kind']!r} keeps no pictures in a folder")
