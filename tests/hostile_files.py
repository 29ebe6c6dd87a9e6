"""Pictures, label maps and landmark files that were made to keep a decoder busy, to fill the memory, or to break it.

Each is made when it is asked for, and small: none is a file of the repository.
"""

import io
import pickle
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

MANY = 2_000_000  # pieces of a file, each of which a decoder looks at: seconds, however quick the machine
MUCH = 300  # MB, more than a picture of a few pixels may take


def noise(height: int = 24, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encode(pixels, kind="PNG", **options) -> bytes:
    packed = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(packed, kind, **options)
    return packed.getvalue()


# --------------------------------------------------------------------------------------------------------------- PNG


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    framed = kind + content
    return struct.pack(">I", len(content)) + framed + struct.pack(">I", zlib.crc32(framed))


def png(width: int, height: int, *before: bytes, data: bytes | None = None, depth=8, colour=0, interlaced=0) -> bytes:
    """A grey picture, black where ``data`` is not given; ``before`` are chunks that stand before its pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    rows = zlib.compress(bytes(height * (1 + width)), 1) if data is None else data
    middle = b"".join(before) + chunk(b"IDAT", rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + middle + chunk(b"IEND")


@cache
def zeros(megabytes: int) -> bytes:
    """So many, compressed to a thousandth."""
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(bytes(2**20)) for _ in range(megabytes)), packer.flush()])


@cache
def png_of_chunks(count: int = MANY) -> bytes:
    """A picture of 32 x 24 px behind so many chunks without content."""
    return png(32, 24, chunk(b"abCd") * count)


@cache
def grey_png(side: int, seed: int = 0) -> bytes:
    return png(side, side, chunk(b"tEXt", b"seed\x00%d" % seed))


# -------------------------------------------------------------------------------------------------------------- JPEG

SCAN = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"  # of all coefficients of the first component, with nothing in it


def jpeg(side: int = 64, **options) -> bytes:
    """A progressive grey picture."""
    return encode(Image.new("L", (side, side), 90), "JPEG", progressive=True, **options)


@cache
def jpeg_of_scans(count: int, side: int = 64) -> bytes:
    refined = SCAN[:-3] + b"\x01\x3f\x00"
    return jpeg(side)[:-2] + refined * count + b"\xff\xd9"


def with_segments(encoded: bytes, *segments: bytes) -> bytes:
    return encoded[:2] + b"".join(segments) + encoded[2:]


def segment(marker: int, content: bytes = b"") -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


@cache
def jpeg_of_comments(count: int = MANY) -> bytes:
    return with_segments(jpeg(), segment(0xFE) * count)


def jpeg_of_size(width: int, height: int) -> bytes:
    """A small picture whose header has another size."""
    encoded = bytearray(encode(noise(), "JPEG"))
    place = encoded.index(b"\xff\xc0") + 5
    encoded[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(encoded)


def exif(count: int, pointer: int = 8) -> bytes:
    """A segment whose directory says that it has so many entries, and goes on at ``pointer``."""
    entry = struct.pack("<HHII", 0x8769, 4, 1, pointer)
    return segment(0xE1, b"Exif\x00\x00II*\x00\x08\x00\x00\x00" + struct.pack("<H", count) + entry * min(count, 5000))


# -------------------------------------------------------------------------------------------------------------- WebP


def riff(*chunks: tuple[bytes, bytes], size: int | None = None) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2) for kind, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def canvas(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", bytes([flags, 0, 0, 0]) + sides


def lossless(width: int, height: int, content: bytes = bytes(12)) -> tuple[bytes, bytes]:
    return b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + content


@cache
def plain_webp(side: int) -> bytes:
    """One colour: some dozens of bytes, whatever its side."""
    return encode(Image.new("RGB", (side, side), (10, 20, 30)), "WEBP", lossless=True, quality=0, method=0)


def animated(kind: str, count: int) -> bytes:
    frames = [Image.fromarray(noise(seed=k % 7)) for k in range(count)]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=40)


# ---------------------------------------------------------------------------------------------------------- pictures

TOO_LONG, TOO_LARGE, SCANS = "too large: decoding takes", "too large: ", r"too large: \d+ scans"
UNREADABLE = "unreadable: "
FINE, EITHER = "fine", "unreadable: |too large: |fine"  # the last: as the library at hand will have it

PICTURES = {  # name: how it is made, what becomes of it (a regular expression)
    **{f"jpeg of {n} scans": (lambda n=n: jpeg_of_scans(n), SCANS) for n in (101, 200, 500, 1000, 2000, 5000)},
    "jpeg of 1000 scans, 16 MP": (lambda: jpeg_of_scans(1000, 4000), SCANS),
    "jpeg of 60 scans, 1 MP": (lambda: jpeg_of_scans(60, 1000), FINE),
    "jpeg of scans behind its end": (lambda: jpeg() + SCAN * 1000, FINE),
    "jpeg of scans within a comment": (lambda: with_segments(jpeg(), segment(0xFE, SCAN * 1000)), FINE),
    "jpeg of many comments": (jpeg_of_comments, EITHER),
    "jpeg of many tables": (lambda: with_segments(jpeg(), segment(0xDB, bytes([0] + [1] * 64)) * 20_000), EITHER),
    "jpeg of 65500 px": (lambda: jpeg_of_size(65500, 65500), TOO_LARGE),
    "jpeg of 64 MP in its header": (lambda: jpeg_of_size(8000, 8000), FINE),
    "jpeg of no px": (lambda: jpeg_of_size(0, 0), UNREADABLE),
    "jpeg of one row of 32001 px": (lambda: jpeg_of_size(32001, 1), TOO_LARGE),
    "jpeg of a long profile": (lambda: with_segments(jpeg(), segment(0xE2, b"ICC_PROFILE\x00\x01\x01") * 3000), EITHER),
    "jpeg with exif in a circle": (lambda: with_segments(jpeg(), exif(1)), EITHER),
    "jpeg with exif of 65535 entries": (lambda: with_segments(jpeg(), exif(65535)), EITHER),
    "jpeg with exif that leads out": (lambda: with_segments(jpeg(), exif(1, 2**31)), EITHER),
    "jpeg of arithmetic coding": (lambda: encode(noise(), "JPEG").replace(b"\xff\xc0", b"\xff\xc9"), EITHER),
    "jpeg of 12 bits": (
        lambda: encode(noise(), "JPEG").replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"),
        EITHER,
    ),
    "jpeg without an end": (lambda: jpeg()[:-40], UNREADABLE),
    "jpeg of scans and fillers": (
        lambda: jpeg()[:-2] + SCAN * 101 + b"\xff" * 20_000_000 + b"\x00\xff\xd9",
        r"too large: \d+ scans",
    ),
    "jpeg of markers": (lambda: jpeg()[:-2] + b"\xff\xd0" * 500_000 + b"\xff\xd9", EITHER),
    "jpeg of nothing": (lambda: b"\xff\xd8\xff", UNREADABLE),
    "png of many chunks": (png_of_chunks, TOO_LONG),
    "png of many texts": (lambda: png(32, 24, chunk(b"tEXt", b"a\x00") * MANY), EITHER),
    "png of 30000 px": (lambda: png(30_000, 30_000, data=zeros(1)), TOO_LARGE),
    "png of 2147483647 px": (lambda: png(2**31 - 1, 2**31 - 1, data=b""), TOO_LARGE),
    "png of 0 px": (lambda: png(0, 0, data=b""), UNREADABLE),
    "png of 64 MP without pixels": (lambda: png(8000, 8000, data=zeros(1)), UNREADABLE),
    "png of 64 MP": (lambda: grey_png(8000), FINE),
    "png of more pixels than it has": (lambda: png(32, 24, data=zeros(MUCH)), EITHER),
    "png with a profile of much": (lambda: png(32, 24, chunk(b"iCCP", b"a\x00\x00" + zeros(MUCH))), EITHER),
    "png with a text of much": (lambda: png(32, 24, chunk(b"zTXt", b"a\x00\x00" + zeros(MUCH))), EITHER),
    "png with texts of much": (lambda: png(32, 24, chunk(b"zTXt", b"a\x00\x00" + zeros(1)) * MUCH), EITHER),
    "png with another text of much": (
        lambda: png(32, 24, chunk(b"iTXt", b"a\x00\x01\x00\x00\x00" + zeros(MUCH))),
        EITHER,
    ),
    "png with exif of much": (
        lambda: png(32, 24, chunk(b"zTXt", b"Raw profile type exif\x00\x00" + zeros(MUCH))),
        EITHER,
    ),
    "png with a length that lies": (lambda: png(32, 24)[:33] + b"\xff\xff\xff\xffIDAT" + bytes(99), UNREADABLE),
    "png with another checksum": (lambda: png(32, 24)[:-16] + bytes(16), EITHER),
    "png of 16 bits, 16 MP": (lambda: png(4000, 4000, depth=16, data=zlib.compress(bytes(4000 * 8001))), FINE),
    "png of interlaced 16 MP": (
        lambda: png(4000, 4000, interlaced=1, data=zlib.compress(bytes(4000 * 4000 + 9000))),
        EITHER,
    ),
    "png of a palette without one": (lambda: png(32, 24, colour=3), EITHER),
    "png of 2000 frames": (lambda: animated("PNG", 2000), FINE),
    "png of 4294967295 frames": (lambda: png(32, 24, chunk(b"acTL", struct.pack(">II", 2**32 - 1, 0))), EITHER),
    "webp of 46 bytes and 64 MP": (lambda: plain_webp(8000), FINE),
    "webp of 16383 px": (lambda: riff(lossless(16383, 16383)), TOO_LARGE),
    "webp on a canvas of 268 MP": (lambda: riff(canvas(16384, 16384), lossless(32, 24)), TOO_LARGE),
    "webp on a canvas of 16777216 px": (lambda: riff(canvas(2**24, 2**24), lossless(32, 24)), TOO_LARGE),
    "webp on another canvas": (lambda: riff(canvas(7000, 7000), lossless(32, 24)), UNREADABLE),
    "webp whose frame is larger": (lambda: riff(canvas(32, 24), lossless(8000, 8000)), UNREADABLE),
    "webp of 1000 frames": (lambda: animated("WEBP", 1000), FINE),
    "webp of many chunks": (lambda: riff(canvas(32, 24), *[(b"abcd", b"")] * 500_000, lossless(32, 24)), EITHER),
    "webp of many frames without content": (
        lambda: riff(canvas(32, 24, 2), *[(b"ANMF", bytes(16))] * 99_999),
        UNREADABLE,
    ),
    "webp with a size that lies": (lambda: riff(lossless(32, 24), size=2**32 - 10), UNREADABLE),
    "webp that is cut": (lambda: encode(noise(200, 200), "WEBP", lossless=True)[:-500], UNREADABLE),
    "webp of nothing": (lambda: riff(), UNREADABLE),
    "nothing": (lambda: b"", UNREADABLE),
    "zeros": (lambda: bytes(2**20), "unsupported format"),
    "gif of many frames": (lambda: animated("GIF", 50), "fine"),  # the first counts
    "gif of a large canvas": (
        lambda: encode(noise(), "GIF")[:6] + b"\xff" * 4 + encode(noise(), "GIF")[10:],
        TOO_LARGE,
    ),
    "bmp of a large canvas": (
        lambda: (bmp := encode(noise(), "BMP"))[:18] + 2 * b"\x60\xea\0\0" + bmp[26:],
        TOO_LARGE,
    ),
    "ppm of a large canvas": (lambda: b"P6 60000 60000 255\n" + bytes(999), TOO_LARGE),
    "tiff that was cut": (lambda: encode(noise(), "TIFF")[:700], "unreadable: "),
    "avif that was cut": (lambda: encode(noise(), "AVIF")[:400], "un(readable|supported)"),
    "postscript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n%%EOF\n", "unsupported format"),
    "pickle": (lambda: pickle.dumps(noise()), "unsupported format"),
}

# -------------------------------------------------------------------------------------------------------- label maps

LABEL_MAPS = {  # of a picture of 32 x 24 px
    "of many chunks": (png_of_chunks, "label map unreadable: decoding takes"),
    "of 30000 px": (lambda: png(30_000, 30_000, data=zeros(1)), "label map of another size|label map unreadable"),
    "of 64 MP": (lambda: grey_png(8000), "label map of another size"),
    "of more pixels than it has": (lambda: png(32, 24, data=zeros(MUCH)), "fine"),
    "with a profile of much": (lambda: png(32, 24, chunk(b"iCCP", b"a\x00\x00" + zeros(MUCH))), "label map|fine"),
    "with texts of much": (lambda: png(32, 24, chunk(b"zTXt", b"a\x00\x00" + zeros(1)) * 1000), "label map|fine"),
    "of 2000 frames": (lambda: animated("PNG", 2000), "label map unreadable: expected one channel"),
    "that is a jpeg": (lambda: jpeg_of_scans(1000), "label map unreadable"),
    "that is a webp": (lambda: plain_webp(100), "label map unreadable"),
    "of 16 bits": (lambda: encode(np.full((24, 32), 300, np.uint16)), "label out of range"),
    "that is empty": (lambda: b"", "label map unreadable"),
}

# --------------------------------------------------------------------------------------------------------- landmarks


def array_header(text: str, behind: bytes = b"") -> bytes:
    """A .npy file whose header is this text."""
    return b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text.encode() + behind


def described(descr: object, shape: str = "(68, 2)") -> str:
    return f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}"


LANDMARK_FILES = {
    "terabytes.npy": array_header(described("<f8", "(200000000000, 2)"), bytes(64)),
    "wide.npy": array_header(described("<U100000000"), bytes(64)),
    "void.npy": array_header(described("|V2000000000"), bytes(64)),
    "subarray.npy": array_header(described(("<f8", (1000, 1000, 1000))), bytes(64)),
    "fields.npy": array_header(described([("a", "<f8")] * 9), bytes(64)),
    "negative.npy": array_header(described("<f8", "(-68, 2)"), bytes(1088)),
    "power.npy": array_header(described("<f8", "(9**9**9, 2)")),
    "nested.npy": array_header("(" * 300_000 + ")" * 300_000),
    "brackets.npy": array_header("[" * 5000 + "]" * 5000),
    "signs.npy": array_header("-" * 9000 + "1"),
    "digits.npy": array_header("9" * 9000),
    "objects.npy": array_header(described("|O"), pickle.dumps([1] * 136)),
    "code.npy": array_header("__import__('os').system('touch harm')"),
    "version.npy": b"\x93NUMPY\xff\xff" + bytes(900),
    "digits.txt": b"9" * 2**20,
    "digits.pts": (b"9" * 10_000 + b" 1\n") * 100,
    "lines.txt": b"1 2\n" * 2**18,
    "empty lines.txt": b"\n" * 2**20,
    "spaces.txt": b" " * (2**20 - 2) + b"1",
    "commas.csv": b"1" + b"," * (2**20 - 2),
    "names.txt": b"nan inf\n" * 69,
    "not text.pts": b"\xff\xfe\x00" * 99,
}
