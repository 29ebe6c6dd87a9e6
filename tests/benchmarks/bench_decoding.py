"""What the bounds on decoding cost: the time of ordinary pictures, beside Pillow in the process itself.

    PYTHONPATH=workflow_scripts:tests python tests/benchmarks/bench_decoding.py [--rounds 20]

Bare is what a program does that trusts its pictures: Pillow opens, turns and converts each, and numpy holds it.
Bounded is `leam.decoding` as stages use it: the pixels, as faces are found in them (pixels), or the size of what was
decoded in full, as for an import (size), and each time the next picture is decoded while this one is used; here nothing
is done with it. A round times each way on the same pictures, one way after another; a figure is the median over rounds
of a way's time over bare's: by the clock, and of the processor, of both processes together. On a machine that has more
to do than processors the clock says how often somebody else came in between.

The last figures are of whole stages on JPEGs of 0.1 megapixels, the dearest of all above: everything that an import
does, and everything that parsing does where pictures are the faces already, label maps come with them and no network
runs, beside the same with bare decoding in its place.
"""

import argparse
import contextlib
import functools
import io
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image, ImageOps

from leam import decoding
from leam.decoders import KINDS
from leam.faces.stage import parse_faces
from leam.images import encode_labels
from leam.regions import REGIONS
from listed import imported, people_of

SIZES = {"0.1": (272, 368, 40), "1": (872, 1148, 8), "12": (3000, 4000, 2)}  # megapixels: height, width, how many
OPTIONS = {"jpeg": {"quality": 90}, "png": {}, "webp": {"quality": 85}}
LIMIT = {"max_megapixels": 64}


def pictures(kind: str, height: int, width: int, count: int) -> list[bytes]:
    """As smooth as photographs, with their grain."""
    found = []
    for seed in range(count):
        draw = np.random.default_rng(seed)
        coarse = Image.fromarray(draw.integers(0, 256, (height // 16, width // 16, 3), np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
        grain = draw.integers(-4, 5, (height, width, 1), np.int16)
        packed = io.BytesIO()
        Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(packed, kind, **OPTIONS[kind])
        found.append(packed.getvalue())
    return found


def decode(encoded: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG", "WEBP")) as image:
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def bare(encoded: list[bytes]) -> Iterator[np.ndarray]:
    yield from map(decode, encoded)


def pixels(encoded: list[bytes]) -> Iterator[np.ndarray]:
    asked = (decoding.unpack("picture", each, **LIMIT) for each in encoded)
    yield from (coming.array() for coming in decoding.one_ahead(asked))


def size(encoded: list[bytes]) -> Iterator[tuple[int, ...]]:
    asked = (decoding.measure("picture", each, **LIMIT) for each in encoded)
    yield from (coming.shape() for coming in decoding.one_ahead(asked))


def use(way: Callable[[list[bytes]], Iterator[object]], encoded: list[bytes]) -> None:
    for _ in way(encoded):
        pass


class Decoded:
    """What `leam.decoding` gives, decoded here and now."""

    def __init__(self, kind: str, encoded: bytes, **given: object):
        if kind == "picture":
            self._array = decode(encoded)
        else:
            found = KINDS[kind].unpack(encoded, lambda pixels: None, **{key: list(each) for key, each in given.items()})
            self._array = np.frombuffer(b"".join(found.parts), found.dtype).reshape(found.shape)

    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    def array(self) -> np.ndarray:
        return self._array

    def note(self) -> str:
        return ""


def run_trusting(stage: Callable[[Path], None], people: Path) -> None:
    """The stage, decoding as a program does that trusts its pictures."""
    with mock.patch.multiple(decoding, measure=Decoded, unpack=Decoded):
        stage(people)


def seconds_of(work: Callable[[], object]) -> np.ndarray:
    """(2,): by the clock, and of the processor: of this process and the one that decodes."""

    def now() -> np.ndarray:
        process = decoding._decoder._process
        beside = int(Path(f"/proc/{process._popen.pid}/schedstat").read_text().split()[0]) / 1e9 if process else 0
        return np.array([time.perf_counter(), time.process_time() + beside])

    started = now()
    work()
    return now() - started


def print_ratios(name: str, ways: dict[str, Callable[[], object]], rounds: int) -> None:
    """The median over rounds of each way's time over that of the first."""
    found: dict[str, list[np.ndarray]] = {way: [] for way in ways}
    for _ in range(rounds):
        seconds = {way: seconds_of(work) for way, work in ways.items()}
        for way in ways:
            found[way].append(seconds[way] / seconds[next(iter(ways))])
    for way in list(ways)[1:]:
        for kind, ratio in zip(("clock", "processor"), np.median(found[way], axis=0), strict=True):
            print(f"figure {name}_{way}_{kind} {ratio:.3f} times", flush=True)


@contextlib.contextmanager
def folder_of(encoded: list[bytes]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        people = Path(folder, "people")
        for number, each in enumerate(encoded):
            (people / f"{number // 20:03d}").mkdir(parents=True, exist_ok=True)
            path = people / f"{number // 20:03d}" / f"{number:03d}.jpg"
            path.write_bytes(each)
            labels = np.full(SIZES["0.1"][:2], number % len(REGIONS), np.uint8)
            path.with_suffix(".regions.png").write_bytes(encode_labels(labels))
        yield people


def import_all(people: Path) -> None:
    ledger, _ = imported(people.parent, people_of(people, label_suffix=".regions.png"))
    assert set(ledger.values()) == {"ok"}


def parse_all(people: Path) -> None:
    settings = {"detector": "none", "landmarks": "none", "crop_mode": "whole"}
    parse_faces(people.parent / "images.h5", people.parent / "faces.h5", settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    for megapixels, (height, width, count) in SIZES.items():
        for kind in OPTIONS:
            encoded = pictures(kind, height, width, count)
            for one, other in zip(bare(encoded), pixels(encoded), strict=True):
                assert np.array_equal(one, other)
            ways = {way.__name__: functools.partial(use, way, encoded) for way in (bare, pixels, size)}
            print_ratios(f"bounded_over_bare_{kind}_{megapixels}_megapixels", ways, given.rounds)
    with folder_of(pictures("jpeg", *SIZES["0.1"][:2], 200)) as people:
        for stage, run in (("import", import_all), ("parsing", parse_all)):
            ways = {"bare": lambda run=run: run_trusting(run, people), stage: lambda run=run: run(people)}
            print_ratios("bounded_over_bare_jpeg_0.1_megapixels", ways, given.rounds)


if __name__ == "__main__":
    main()
