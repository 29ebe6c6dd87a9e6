"""Pictures as they were found, packed into one file per shard, with a ledger of every link.

A picture is kept as the encoded file it came in; `decode` is the one place where it becomes pixels, so that
orientation and colour are treated alike everywhere. What comes with a picture (label map, landmarks) refers to the
picture as it is displayed, EXIF orientation applied.

Pixel coordinates: x then y, the centre of the top left pixel is (0, 0).
"""

import hashlib
import io
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from leam import files, reasons, storage
from leam.regions import REGIONS, farl_labels

if TYPE_CHECKING:
    from leam.sources.base import Source

log = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP")
MAX_MEGAPIXELS = 64
MOST_LANDMARK_BYTES = 2**20  # of a file of 68 points
MAX_SIDE_PX = 32_000  # OpenCV's remap counts source pixels in 16 bits
MAX_FILE_MB = 512  # 64 megapixels of 16-bit RGB, uncompressed, are 384
N_LANDMARKS = 68

SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF")


class UnusablePictureError(Exception):
    """A picture (or what came with it) that cannot be used; the message is the reason for the ledger."""


# ---------------------------------------------------------------------------------------------------------- pictures


def decode(encoded: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> np.ndarray:
    """The pixels of an encoded picture, as it is displayed.

    EXIF orientation is applied; grey, palette, CMYK and 16-bit pictures become 8-bit RGB; transparent parts are laid
    on black; embedded colour profiles are ignored; of an animation the first frame counts.

    Returns (H, W, 3) uint8 RGB. Raises UnusablePictureError, whose message is "unreadable: ...", "unsupported format"
    or "too large: ..." (checked on the header, before anything is decompressed).
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            _check_size(image.size, max_megapixels)
            return _to_rgb(ImageOps.exif_transpose(image))
    except (UnusablePictureError, MemoryError):
        raise
    except UnidentifiedImageError:
        damaged = not encoded or encoded.startswith(SIGNATURES)
        reason = f"{reasons.UNREADABLE}: damaged or empty file" if damaged else reasons.UNSUPPORTED
        raise UnusablePictureError(reason) from None
    except Image.DecompressionBombError as error:
        raise UnusablePictureError(f"{reasons.TOO_LARGE}: {error}") from error
    except Exception as error:  # decoders raise almost anything on damaged files
        raise UnusablePictureError(f"{reasons.UNREADABLE}: {one_line(error)}") from error


def _check_size(size: tuple[int, int], max_megapixels: float) -> None:
    width, height = size
    if width * height > max_megapixels * 1e6 or max(size) > MAX_SIDE_PX:
        raise UnusablePictureError(f"{reasons.TOO_LARGE}: {width} x {height} px")


def _to_rgb(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8. Pillow clips 16-bit grey to 8 bits instead of scaling it, so that is done here."""
    if image.mode.startswith("I"):
        grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        over_black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(over_black, image.convert("RGBA"))
    return np.array(image.convert("RGB"))


def one_line(error: Exception) -> str:
    """What an exception says, short enough for a reason."""
    return " ".join(str(error).split())[:120] or type(error).__name__


def scale_rect(rect: Sequence[float], size: tuple[int, int], found: tuple[int, int]) -> np.ndarray:
    """A rectangle of a picture that turned out to have another size than the one it was drawn in.

    rect : (4,) xmin, ymin, xmax, ymax in pixels of the picture of ``size``; size, found : (H, W) there and here
    Returns (4,): x times W'/W and y times H'/H.
    """
    height, width = size
    scale = np.array([found[1] / width, found[0] / height])
    return np.asarray(rect, float) * np.tile(scale, 2)


# -------------------------------------------------------------------------------------------------------- label maps


def decode_labels(encoded: bytes, shape: tuple[int, int], label_order: str = "farl") -> np.ndarray:
    """A label map in FaRL order, whatever the order it came in.

    encoded : a PNG of one channel (grey or palette), one label per pixel; shape : (H, W) it must have
    label_order : a key of `leam.regions.LABEL_ORDERS`
    Returns (H, W) uint8. Raises UnusablePictureError: "label map unreadable: ...", "label map of another size",
    "label out of range".
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=("PNG",)) as image:
            mode, size = image.mode, image.size
            labels = np.array(image) if size == shape[::-1] else None
    except Exception as error:
        raise UnusablePictureError(f"{reasons.LABELS_UNREADABLE}: {one_line(error)}") from error
    if labels is None:
        raise UnusablePictureError(f"{reasons.LABELS_SIZE}: {size[0]} x {size[1]} px")
    if labels.ndim != 2:
        raise UnusablePictureError(f"{reasons.LABELS_UNREADABLE}: expected one channel, found mode {mode}")
    if labels.max() >= len(REGIONS):
        raise UnusablePictureError(f"{reasons.LABELS_RANGE}: {labels.max()}")
    return farl_labels(label_order)[labels.astype(np.uint8)]


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
    try:
        content = files.read_bytes(path, MOST_LANDMARK_BYTES)
        if path.suffix.lower() == ".npy":
            landmarks = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        else:
            landmarks = _text_landmarks(content.decode())
    except Exception as error:  # a header can be anything that Python can write: nested deeply, or of a terabyte
        raise UnusablePictureError(f"{reasons.LANDMARKS_UNREADABLE}: {one_line(error)}") from error
    if landmarks.shape != (N_LANDMARKS, 2) or not np.issubdtype(landmarks.dtype, np.number):
        raise UnusablePictureError(f"{reasons.LANDMARKS_UNREADABLE}: expected (68, 2) numbers, found {landmarks.shape}")
    return landmarks.astype(np.float32) - (path.suffix.lower() == ".pts")


def _text_landmarks(text: str) -> np.ndarray:
    """The lines made of two numbers, as (n, 2); this also skips the version, count and braces of a .pts file."""
    rows = [re.split(r"[\s,;]+", line.strip()) for line in text.splitlines()]
    return np.array([row for row in map(_numbers, rows) if len(row) == 2], float).reshape(-1, 2)


def _numbers(fields: list[str]) -> list[float]:
    try:
        return [float(field) for field in fields]
    except ValueError:
        return []


def no_landmarks() -> np.ndarray:
    return np.full((N_LANDMARKS, 2), np.nan, np.float32)


# ------------------------------------------------------------------------------------------------------------ import


class Link(NamedTuple):
    """One picture that is asked for; ``image`` is "" in the only link of an identity without pictures."""

    identity: str
    image: str
    url: str  # the path within the source's folder


@dataclass
class Found:
    """One picture with what came with it."""

    image: str
    encoded: bytes
    labels: bytes  # empty where there are none
    landmarks: np.ndarray  # (68, 2), NaN where there are none


def _check(path: Path, encoded: bytes, source: "Source", max_megapixels: float) -> Found:
    """Decode a picture in full, with all that belongs to it; raises UnusablePictureError with the reason."""
    height, width, _ = decode(encoded, max_megapixels).shape
    labels, landmarks = source.labels(path, (height, width)), source.landmarks(path)
    return Found(path.name, encoded, labels or b"", no_landmarks() if landmarks is None else landmarks)


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


def _import_identity(
    links: Iterable[Link], source: "Source", max_megapixels: float
) -> tuple[list[Found], list[dict[str, str]]]:
    """The usable pictures of one identity, and its rows of the ledger."""
    found, rows = [], []
    first_of: dict[str, str] = {}  # the image that had these bytes, by their SHA-256
    for link in links:
        sha256 = ""
        try:
            if not link.image:
                raise UnusablePictureError(reasons.NO_IMAGES)
            path = _readable(picture_file(source, *link))
            encoded = path.read_bytes()
            sha256 = hashlib.sha256(encoded).hexdigest()
            if sha256 in first_of:
                raise UnusablePictureError(reasons.duplicate_of(first_of[sha256]))
            found.append(_check(path, encoded, source, max_megapixels))
            first_of[sha256], status = link.image, reasons.OK
        except UnusablePictureError as reason:
            status = str(reason)
        except OSError as error:
            status = f"{reasons.UNREADABLE}: {error.strerror or one_line(error)}"
        rows.append(dict(zip(storage.LEDGER_COLUMNS, (*link, status, sha256), strict=True)))
    return found, rows


def _pack(identity: str, found: list[Found], source: "Source") -> storage.Pictures:
    return storage.Pictures(
        identity=identity,
        images=[picture.image for picture in found],
        encoded=[picture.encoded for picture in found],
        labels=None if not source.brings_labels else [picture.labels for picture in found],
        landmarks=None if not source.brings_landmarks else np.stack([picture.landmarks for picture in found]),
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
    "label map unreadable: ...", "label out of range: ...", "landmarks unreadable: ...". An identity without pictures
    has a row with image "" and status "no images". Raises ValueError for a shard that has no links, and for a
    source that cannot be read.
    """
    import pandas as pd

    source.check()
    table = pd.read_parquet(links).sort_values(["identity", "image"]).query("shard == @shard")
    if table.empty:
        raise ValueError(f"{links}: no links of shard {shard!r}")
    ledger = []
    with storage.create_shard(output, kind="images", **(attributes or {})) as file:
        for identity, rows in table.groupby("identity"):
            links_of = map(Link._make, rows[list(Link._fields)].itertuples(index=False, name=None))
            found, entries = _import_identity(links_of, source, max_megapixels)
            if found:
                storage.write_pictures(file, _pack(identity, found, source))
            ledger += entries
            log.info("%s: %d of %d pictures packed", identity, len(found), sum(rows.image != ""))
        if len(ledger) != len(table):
            raise files.StorageError(f"{output}: {len(table)} links, but {len(ledger)} accounted for")
        storage.write_ledger(file, ledger)
