"""Pictures as they were found, packed into one file per shard, with a ledger of every link.

A picture is kept as the encoded file it came in; `decode` is the one place where it becomes pixels, so that
orientation and colour are treated alike everywhere. What comes with a picture (label map, landmarks) refers to the
picture as it is displayed, EXIF orientation applied.

Pixel coordinates: x then y, the centre of the top left pixel is (0, 0).
"""

import hashlib
import io
import logging
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from leam import decoding, files, reasons, storage
from leam.decoders import MAX_MEGAPIXELS, N_LANDMARKS
from leam.reasons import UnusablePictureError, one_line
from leam.regions import REGIONS, farl_labels

if TYPE_CHECKING:
    from leam.sources.base import Source

log = logging.getLogger(__name__)

MOST_LANDMARK_BYTES = 2**20  # of a file of 68 points
MAX_FILE_MB = 512  # 64 megapixels of 16-bit RGB, uncompressed, are 384


# ---------------------------------------------------------------------------------------------------------- pictures


def decode(encoded: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> np.ndarray:
    """The pixels of an encoded picture, as it is displayed.

    EXIF orientation is applied; grey, palette, CMYK and 16-bit pictures become 8-bit RGB; transparent parts are laid
    on black; embedded colour profiles are ignored; of an animation the first frame counts.

    Returns (H, W, 3) uint8 RGB. Raises UnusablePictureError, whose message is "unreadable: ...", "unsupported format"
    or "too large: ..." (its size is checked on the header, before anything is decompressed; `leam.decoding` bounds the
    seconds and bytes that it takes).
    """
    return decoding.unpack("picture", encoded, max_megapixels=max_megapixels).array()


def scale_rect(rect: Sequence[float], size: tuple[int, int], found: tuple[int, int]) -> np.ndarray:
    """A rectangle of a picture that turned out to have another size than the one it was drawn in.

    rect : (4,) xmin, ymin, xmax, ymax in pixels of the picture of ``size``; size, found : (H, W) there and here
    Returns (4,): x times W'/W and y times H'/H.
    """
    height, width = size
    scale = np.array([found[1] / width, found[0] / height])
    return np.asarray(rect, float) * np.tile(scale, 2)


def linked_rect(rect: str, height: str, width: str, shape: tuple[int, ...]) -> np.ndarray:
    """(4,): the rectangle of a link in its picture as it came, of ``shape`` (H, W, ...); NaN where the link has none.

    rect, height, width : as links.parquet has them; without the latter two it is drawn in the picture as it came
    """
    if not rect:
        return np.full(4, np.nan)
    found = (shape[0], shape[1])
    return scale_rect([float(edge) for edge in rect.split()], (int(height), int(width)) if height else found, found)


# -------------------------------------------------------------------------------------------------------- label maps


def decode_labels(encoded: bytes, shape: tuple[int, int], label_order: str = "farl") -> np.ndarray:
    """A label map in FaRL order, whatever the order it came in.

    encoded : a PNG of one channel (grey or palette), one label per pixel; shape : (H, W) it must have
    label_order : a key of `leam.regions.LABEL_ORDERS`
    Returns (H, W) uint8. Raises UnusablePictureError: "label map unreadable: ...", "label map of another size",
    "label out of range".
    """
    labels = decoding.unpack("labels", encoded, shape=shape).array()
    if labels.max() >= len(REGIONS):
        raise UnusablePictureError(f"{reasons.LABELS_RANGE}: {labels.max()}")
    return farl_labels(label_order)[labels.astype(np.uint8)]


def read_label_map(path: Path, shape: tuple[int, int], label_order: str) -> np.ndarray:
    """`decode_labels` of a file."""
    return decode_labels(read_beside(path, MAX_FILE_MB * 2**20, reasons.LABELS_UNREADABLE), shape, label_order)


def read_masks(paths: Iterable[Path], shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """(H, W) bool of each file, a PNG that is white where the mask is, nearest-resized to ``shape``.

    Raises UnusablePictureError: "label map unreadable: ...".
    """

    def asked() -> Iterator[tuple[Path, decoding.Coming]]:
        for path in paths:
            encoded = read_beside(path, MAX_FILE_MB * 2**20, reasons.LABELS_UNREADABLE)
            yield path, decoding.unpack("mask", encoded, shape=shape)

    for path, coming in decoding.one_ahead(asked()):
        try:
            yield coming.array()
        except UnusablePictureError as error:
            reason, _, detail = f"{error}".partition(": ")
            raise UnusablePictureError(f"{reason}: {path.name}: {detail}") from None


def encode_labels(labels: np.ndarray) -> bytes:
    """An (H, W) uint8 label map as PNG."""
    packed = io.BytesIO()
    Image.fromarray(labels).save(packed, "PNG")
    return packed.getvalue()


# --------------------------------------------------------------------------------------------------------- landmarks


def read_landmark_file(path: Path) -> np.ndarray:
    """68 landmarks in iBUG order from a file beside a picture.

    ``.npy``: an array (68, 2). ``.pts``: iBUG's own format, which counts pixels from 1, so 1 is subtracted.
    Any other suffix: text of 68 lines "x y" or "x,y" (a heading that is no number is skipped).
    Returns (68, 2) float32 px. Raises UnusablePictureError("landmarks unreadable: ...").
    """
    content = read_beside(path, MOST_LANDMARK_BYTES, reasons.LANDMARKS_UNREADABLE)
    return decoding.unpack("landmarks", content, suffix=path.suffix.lower()).array()


def read_beside(path: Path, most_bytes: int, reason: str) -> bytes:
    """A file that comes with a picture; UnusablePictureError with the reason if it cannot be read or is larger."""
    try:
        return files.read_bytes(path, most_bytes)
    except OSError as error:
        raise UnusablePictureError(f"{reason}: {one_line(error)}") from error


def no_landmarks() -> np.ndarray:
    return np.full((N_LANDMARKS, 2), np.nan, np.float32)


# ------------------------------------------------------------------------------------------------------------ import


class Link(NamedTuple):
    """One picture that is asked for; ``image`` is "" in the only link of an identity without pictures."""

    identity: str
    image: str
    url: str  # the path within the source's folder
    rect: str
    height: str
    width: str


@dataclass
class Found:
    """One picture with what came with it."""

    image: str
    encoded: bytes
    labels: bytes  # empty where there are none
    landmarks: np.ndarray  # (68, 2), NaN where there are none
    rect: np.ndarray  # (4,), NaN where there is none


def picture_file(source: "Source", identity: str, image: str, url: str) -> Path:
    """The file of a link; a name that would lead out of the source's folder is refused."""
    leads_out = any(Path(name).name != name or name == ".." for name in (identity, image))
    if leads_out or url != source.url(identity, image):
        raise UnusablePictureError(f"{reasons.UNREADABLE}: not the name of a file in the source folder")
    return source.folder / url


def _readable(path: Path) -> Path:
    if not path.is_file():
        raise UnusablePictureError(reasons.MISSING)
    if path.stat().st_size > MAX_FILE_MB * 2**20:
        raise UnusablePictureError(f"{reasons.TOO_LARGE}: {path.stat().st_size >> 20} MB")
    return path


@dataclass
class _Opened:
    """A link whose file was read, and a decoder asked, if it was not refused before."""

    link: Link
    path: Path = Path()
    encoded: bytes = b""
    sha256: str = ""
    size: decoding.Coming | None = None  # (H, W, 3), when it is decoded in full
    refused: str = ""


def _open(link: Link, source: "Source", max_megapixels: float, known: Container[str]) -> _Opened:
    """known : the SHA-256 of pictures that need no decoder, as the identity has them already"""
    opened = _Opened(link)
    try:
        if not link.image:
            raise UnusablePictureError(reasons.NO_IMAGES)
        opened.path = _readable(picture_file(source, link.identity, link.image, link.url))
        opened.encoded = opened.path.read_bytes()
        opened.sha256 = hashlib.sha256(opened.encoded).hexdigest()
        if opened.sha256 not in known:
            opened.size = decoding.measure("picture", opened.encoded, max_megapixels=max_megapixels)
    except UnusablePictureError as reason:
        opened.refused = f"{reason}"
    except OSError as error:
        opened.refused = f"{reasons.UNREADABLE}: {error.strerror or one_line(error)}"
    return opened


def _check(opened: _Opened, source: "Source", first_of: dict[str, str]) -> Found:
    """A picture that can be decoded, with all that belongs to it; raises UnusablePictureError with the reason."""
    if opened.refused:
        raise UnusablePictureError(opened.refused)
    if opened.size is None or opened.sha256 in first_of:
        raise UnusablePictureError(reasons.duplicate_of(first_of[opened.sha256]))
    height, width, _ = opened.size.shape()
    link = opened.link
    rect = linked_rect(link.rect, link.height, link.width, (height, width))
    if rect[0] >= width or rect[1] >= height:
        raise UnusablePictureError(f"{reasons.RECT_OUTSIDE}: {link.rect} in {width} x {height} px")
    labels, landmarks = source.labels(opened.path, (height, width)), source.landmarks(opened.path)
    given = no_landmarks() if landmarks is None else landmarks
    return Found(opened.path.name, opened.encoded, labels or b"", given, rect)


def _import_identity(
    links: Iterable[Link], source: "Source", max_megapixels: float
) -> tuple[list[Found], list[dict[str, str]]]:
    """The usable pictures of one identity, and its rows of the ledger."""
    found, rows = [], []
    first_of: dict[str, str] = {}  # the image that had these bytes, by their SHA-256
    for opened in decoding.one_ahead(_open(link, source, max_megapixels, first_of) for link in links):
        note = ""
        try:
            found.append(_check(opened, source, first_of))
            first_of[opened.sha256], status = opened.link.image, reasons.OK
            note = opened.size.note() if opened.size else ""
        except UnusablePictureError as reason:
            status = f"{reason}"
        except OSError as error:
            status = f"{reasons.UNREADABLE}: {error.strerror or one_line(error)}"
        link = opened.link
        facts = (link.identity, link.image, link.url, status, opened.sha256)
        row = dict(zip(storage.LEDGER_COLUMNS, facts, strict=True))
        rows.append(row | {storage.DETAIL: note})
    return found, rows


def _pack(identity: str, found: list[Found], source: "Source") -> storage.Pictures:
    return storage.Pictures(
        identity=identity,
        images=[picture.image for picture in found],
        encoded=[picture.encoded for picture in found],
        labels=None if not source.brings_labels else [picture.labels for picture in found],
        landmarks=None if not source.brings_landmarks else np.stack([picture.landmarks for picture in found]),
        rect=None if not source.brings_rects else np.stack([picture.rect for picture in found]),
    )


def import_images(
    links: str | Path,
    output: str | Path,
    *,
    shard: str,
    source: "Source",
    max_megapixels: float = MAX_MEGAPIXELS,
    attributes: dict[str, str] | None = None,
) -> None:
    """Pack the pictures of one shard, from the folder of their source, into images/{shard}.h5.

    links : the table of `leam.links.list_links`
    source : `leam.sources.base.Source`, which has pictures, label maps and landmarks in its folder

    Each link gets one row in the ledger: "ok", or the reason why it is not packed: "missing", "unreadable: ...",
    "unsupported format", "too large: ...", "duplicate of ...", "label map missing", "label map of another size: ...",
    "label map unreadable: ...", "label out of range: ...", "landmarks unreadable: ...", "rectangle outside the picture:
    ...". An identity without pictures
    has a row with image "" and status "no images". Raises ValueError for a shard that has no links, and for a
    source that cannot be read.
    """
    from leam.tables import read_output

    source.check()
    table = read_output(links).sort_values(["identity", "image"]).query("shard == @shard")
    if table.empty:
        raise ValueError(f"{links}: no links of shard {shard!r}")
    ledger = []
    with (
        decoding.remember(decoding.verdicts_of(Path(output))),
        storage.create_shard(output, kind="images", **(attributes or {})) as file,
    ):
        for identity, rows in table.groupby("identity"):
            links_of = map(Link._make, rows[list(Link._fields)].itertuples(index=False, name=None))
            found, entries = _import_identity(links_of, source, max_megapixels)
            if found:
                storage.write_pictures(file, _pack(identity, found, source))
            ledger += entries
            log.info("%s: %d of %d pictures packed", identity, len(found), sum(rows.image != ""))
        source.judge()
        if len(ledger) != len(table):
            raise files.StorageError(f"{output}: {len(table)} links, but {len(ledger)} accounted for")
        storage.write_ledger(file, ledger)
