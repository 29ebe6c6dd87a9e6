"""Encoded pictures, label maps and landmark files of strangers become arrays: what runs in the process of `decoding`.

Each decoder takes the bytes, a function that it tells how many pixels are coming before it unpacks any, and what else
it is given. It returns an `Unpacked`, and may raise anything: `faults` makes a reason of it.
"""

import contextlib
import io
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from leam import reasons
from leam.reasons import UnusablePictureError, one_line

PNG = (PngImagePlugin.PngImageFile.format,)
FORMATS = (
    JpegImagePlugin.JpegImageFile.format,
    *PNG,
    WebPImagePlugin.WebPImageFile.format,
    AvifImagePlugin.AvifImageFile.format,
    BmpImagePlugin.BmpImageFile.format,
    GifImagePlugin.GifImageFile.format,
    PpmImagePlugin.PpmImageFile.format,
    TiffImagePlugin.TiffImageFile.format,
)
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"II*\0", b"MM\0*")
LEAST_SCANS = {
    1: 6,
    3: 10,
}  # of a progressive JPEG that is all there but for its end, by its channels, as encoders have it
MOST_MISSING = 0.05  # of a picture's rows that its file may lack,
BLOCK_ROWS = 18  # or so many: without its last bytes a decoder holds back a row of blocks, and those that touch it
DEPTHS = (8, 10, 12, 16)  # bits that cameras and scanners fill, in files of 16
MAX_MEGAPIXELS = 64
MAX_SIDE_PX = 32_000  # OpenCV's remap counts source pixels in 16 bits
MOST_SCANS = 100  # of a JPEG; encoders write 10 to 20
N_LANDMARKS = 68
BAND_PX = 2**18  # pixels that are converted at a time
OVER_MEMORY = re.compile("out of memory|insufficient memory|cannot allocate", re.IGNORECASE)

MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # within a JPEG; 0 and D0 to D7 stand between coefficients
START_OF_SCAN, END_OF_IMAGE, WITHOUT_LENGTH = b"\xda", b"\xd9", (b"\x01", b"\xd8")

Allow = Callable[[int], None]


class Unpacked(NamedTuple):
    """An array on its way: its shape, its dtype as numpy writes it, and its bytes in C order, in parts; what is to be
    said of it.
    """

    shape: tuple[int, ...]
    dtype: str
    parts: Iterable[bytes]
    note: str = ""


# ---------------------------------------------------------------------------------------------------------- pictures


def unpack_picture(encoded: bytes, allow: Allow, max_megapixels: float) -> Unpacked:
    """(H, W, 3) uint8 RGB as the picture is displayed: see `leam.images.decode`."""
    if encoded.startswith(b"RIFF"):
        _check_size(webp_size(encoded), allow, max_megapixels)  # its decoder takes the memory when it is opened
    image = Image.open(io.BytesIO(encoded), formats=FORMATS)
    _check_size(image.size, allow, max_megapixels)
    if image.format == "JPEG" and (scans := count_scans(encoded)) > MOST_SCANS:
        raise UnusablePictureError(f"{reasons.TOO_LARGE}: {scans} scans")
    picture, note = _loaded(image, encoded)
    surplus = 0
    if picture.mode.startswith("I"):
        bits = next(bits for bits in DEPTHS if bits == DEPTHS[-1] or picture.getextrema()[1] < 2**bits)
        surplus, note = bits - 8, f"{bits} bits of 16" if bits < DEPTHS[-1] else ""
    ImageOps.exif_transpose(picture, in_place=True)
    return Unpacked((picture.height, picture.width, 3), "|u1", _rgb(picture, surplus), note)


def _loaded(image: ImageFile.ImageFile, encoded: bytes) -> tuple[Image.Image, str]:
    """The picture in memory. A JPEG that lacks its end alone is taken as viewers show it, and that is said."""
    try:
        image.load()
    except OSError as error:
        if image.format != "JPEG" or "truncated" not in str(error):
            raise
        cut, note = _cut(image, encoded)
        if cut is None:
            raise
        return cut, note
    return image, ""


def _cut(image: ImageFile.ImageFile, encoded: bytes) -> tuple[Image.Image | None, str]:
    """A JPEG as viewers show it, with what it lacks; None where that is more than its end."""
    if "progressive" in image.info:
        note = "lacks its end" if count_scans(encoded) >= LEAST_SCANS.get(len(image.getbands()), MOST_SCANS) else ""
    else:
        missing = image.height - _rows_there(encoded)
        note = (
            f"lacks its end, {missing} rows at most" if missing <= max(MOST_MISSING * image.height, BLOCK_ROWS) else ""
        )
    return Image.open(io.BytesIO(encoded + b"\xff\xd9"), formats=FORMATS[:1]) if note else None, note


def _rows_there(encoded: bytes) -> int:
    """How many rows of a JPEG that was cut are decoded whole: the others stay black, where no end is invented."""
    with Image.open(io.BytesIO(encoded), formats=FORMATS[:1]) as cut:
        assert cut.fp is not None
        cut.load_read = cut.fp.read  # type: ignore[attr-defined]  # Pillow's own invents an end
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            cut.load()
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        box = cut.getbbox()
    return box[3] if box else 0


def _check_size(size: tuple[int, int], allow: Allow, max_megapixels: float) -> None:
    width, height = size
    if width * height > max_megapixels * 1e6 or max(size) > MAX_SIDE_PX:
        raise UnusablePictureError(f"{reasons.TOO_LARGE}: {width} x {height} px")
    allow(width * height)


def webp_size(encoded: bytes) -> tuple[int, int]:
    """Width and height of a WebP, from the head of its first chunk."""
    kind, head = encoded[12:16], encoded[20:30]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF


def _rgb(image: Image.Image, surplus: int) -> Iterator[bytes]:
    """The pixels from top to bottom. Some rows at a time: whole, each conversion would take the picture's memory."""
    rows = max(BAND_PX // image.width, 1)
    if rows >= image.height:
        yield _band_rgb(image, surplus)
        return
    for top in range(0, image.height, rows):
        yield _band_rgb(image.crop((0, top, image.width, min(top + rows, image.height))), surplus)


def _band_rgb(band: Image.Image, surplus: int) -> bytes:
    """Pillow clips grey of more bits than 8 instead of scaling it, so ``surplus`` bits are taken off here."""
    if band.mode.startswith("I"):
        grey = (np.asarray(band).astype(np.int64) >> surplus).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2).tobytes()
    if band.has_transparency_data:
        over_black = Image.new("RGBA", band.size, (0, 0, 0, 255))
        band = Image.alpha_composite(over_black, band.convert("RGBA"))
    return (band if band.mode == "RGB" else band.convert("RGB")).tobytes()


def count_scans(encoded: bytes) -> int:
    """How many scans a JPEG has: each is a pass over all of its pixels. What is appended behind its end has none."""
    at_most = encoded.count(b"\xff" + START_OF_SCAN)  # thumbnails and what is appended included
    if at_most <= MOST_SCANS:
        return at_most
    scans, place = 0, 2
    while marker := MARKER.search(encoded, place):
        kind, place = marker[1], marker.end()
        if kind == END_OF_IMAGE:
            break
        scans += kind == START_OF_SCAN
        place += int.from_bytes(encoded[place : place + 2], "big") if kind not in WITHOUT_LENGTH else 0
    return scans


# -------------------------------------------------------------------------------------------------------- label maps


def unpack_labels(encoded: bytes, allow: Allow, shape: list[int]) -> Unpacked:
    """(H, W) of a PNG with one label per pixel, in its own type of number, nearest-resized to ``shape``, whose sides
    must be in the same proportion.
    """
    image = Image.open(io.BytesIO(encoded), formats=PNG)
    height, width = shape
    agrees = abs(image.width * height - image.height * width) < max(height, width)  # within a pixel of its own
    if not agrees or image.width * image.height > MAX_MEGAPIXELS * 1e6:
        raise UnusablePictureError(f"{reasons.LABELS_SIZE}: {image.width} x {image.height} px")
    allow(image.width * image.height + height * width)
    labels = np.array(image)
    if labels.ndim != 2:
        raise UnusablePictureError(f"{reasons.LABELS_UNREADABLE}: expected one channel, found mode {image.mode}")
    if labels.shape != (height, width):
        rows, columns = (
            ((np.arange(side) + 0.5) * found / side).astype(int)
            for side, found in zip(shape, labels.shape, strict=True)
        )
        labels = labels[rows[:, None], columns]
    return _whole(labels)


def unpack_mask(encoded: bytes, allow: Allow, shape: list[int]) -> Unpacked:
    """(H, W) bool of a PNG that is white where the mask is, nearest-resized to ``shape``."""
    image = Image.open(io.BytesIO(encoded), formats=PNG)
    if image.width * image.height > MAX_MEGAPIXELS * 1e6:
        raise UnusablePictureError(f"{reasons.LABELS_SIZE}: {image.width} x {image.height} px")
    allow(image.width * image.height + shape[0] * shape[1])
    return _whole(np.asarray(image.convert("L").resize(shape[::-1], Image.Resampling.NEAREST)) > 127)


# --------------------------------------------------------------------------------------------------------- landmarks


def unpack_landmarks(content: bytes, allow: Allow, suffix: str) -> Unpacked:
    """(68, 2) float32 of the bytes of a landmark file: see `leam.images.read_landmark_file`."""
    if suffix == ".npy":
        landmarks = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    else:
        landmarks = _text_landmarks(content.decode())
    if landmarks.shape != (N_LANDMARKS, 2) or not np.issubdtype(landmarks.dtype, np.number):
        raise UnusablePictureError(f"{reasons.LANDMARKS_UNREADABLE}: expected (68, 2) numbers, found {landmarks.shape}")
    return _whole(landmarks.astype(np.float32) - (suffix == ".pts"))


def _text_landmarks(text: str) -> np.ndarray:
    """The lines made of two numbers, as (n, 2); this also skips the version, count and braces of a .pts file."""
    rows = [re.split(r"[\s,;]+", line.strip()) for line in text.splitlines()]
    return np.array([row for row in map(_numbers, rows) if len(row) == 2], float).reshape(-1, 2)


def _numbers(fields: list[str]) -> list[float]:
    try:
        return [float(field) for field in fields]
    except ValueError:
        return []


def _whole(array: np.ndarray) -> Unpacked:
    return Unpacked(array.shape, array.dtype.str, [array.tobytes()])


# ------------------------------------------------------------------------------------------------------------ faults


class Decoder(NamedTuple):
    """What can be unpacked, and the reasons of what cannot be, or takes too much."""

    unpack: Callable[..., Unpacked]
    unreadable: str
    too_large: str


KINDS = {
    "picture": Decoder(unpack_picture, reasons.UNREADABLE, reasons.TOO_LARGE),
    "labels": Decoder(unpack_labels, reasons.LABELS_UNREADABLE, reasons.LABELS_UNREADABLE),
    "mask": Decoder(unpack_mask, reasons.LABELS_UNREADABLE, reasons.LABELS_UNREADABLE),
    "landmarks": Decoder(unpack_landmarks, reasons.LANDMARKS_UNREADABLE, reasons.LANDMARKS_UNREADABLE),
}


@contextlib.contextmanager
def faults(kind: Decoder, encoded: bytes) -> Iterator[None]:
    """UnusablePictureError with the reason for whatever a decoder raises, and MemoryError for too little memory."""
    try:
        yield
    except (UnusablePictureError, MemoryError):
        raise
    except UnidentifiedImageError:
        if kind.unreadable == reasons.UNREADABLE and encoded and not encoded.startswith(SIGNATURES):
            raise UnusablePictureError(reasons.UNSUPPORTED) from None
        raise UnusablePictureError(f"{kind.unreadable}: damaged or empty file") from None
    except Image.DecompressionBombError as error:
        raise UnusablePictureError(f"{kind.too_large}: {one_line(error)}") from error
    except Exception as error:  # decoders raise almost anything on damaged files; a header can be nested deeply
        if OVER_MEMORY.search(str(error)):  # as libraries in C say it
            raise MemoryError(str(error)) from error
        raise UnusablePictureError(f"{kind.unreadable}: {one_line(error)}") from error
