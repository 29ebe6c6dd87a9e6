"""What the bounds on decoding cost: the time of ordinary pictures, beside Pillow in the process itself.

    PYTHONPATH=workflow_scripts python tests/benchmarks/bench_decoding.py [--rounds 30]

Bare is what a program does that trusts its pictures: Pillow opens, turns and converts each, and numpy holds it.
Bounded is `leam.decoding`: one picture after another (alone), as stages ask for them (ahead: the next is decoded while
this one is used; here nothing is done with it), and as the import asks, which needs no pixels (measured). A round times
each way on the same pictures, one way after another; each figure is the median over rounds of a way's time over bare's.
"""

import argparse
import io
import statistics
import time

import numpy as np
from PIL import Image, ImageOps

from leam import decoding

SIZES = {"0.1": (272, 368, 40), "1": (872, 1148, 8), "12": (3000, 4000, 2)}  # megapixels: height, width, how many
KINDS = {"jpeg": {"quality": 90}, "png": {}, "webp": {"quality": 85}}
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
        Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(packed, kind, **KINDS[kind])
        found.append(packed.getvalue())
    return found


def bare(encoded: list[bytes]) -> list[np.ndarray]:
    found = []
    for each in encoded:
        with Image.open(io.BytesIO(each), formats=("JPEG", "PNG", "WEBP")) as image:
            found.append(np.array(ImageOps.exif_transpose(image).convert("RGB")))
    return found


def alone(encoded: list[bytes]) -> list[np.ndarray]:
    return [decoding.unpack("picture", each, **LIMIT).array() for each in encoded]


def ahead(encoded: list[bytes]) -> list[np.ndarray]:
    asked = (decoding.unpack("picture", each, **LIMIT) for each in encoded)
    return [coming.array() for coming in decoding.one_ahead(asked)]


def measured(encoded: list[bytes]) -> list[tuple[int, ...]]:
    asked = (decoding.measure("picture", each, **LIMIT) for each in encoded)
    return [coming.shape() for coming in decoding.one_ahead(asked)]


WAYS = {"bare": bare, "alone": alone, "ahead": ahead, "measured": measured}


def ratios(encoded: list[bytes], rounds: int) -> dict[str, float]:
    """{way: its time over bare's}"""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        seconds = {}
        for way, decode in WAYS.items():
            started = time.perf_counter()
            decode(encoded)
            seconds[way] = time.perf_counter() - started
        for way in WAYS:
            found[way].append(seconds[way] / seconds["bare"])
    return {way: statistics.median(each) for way, each in found.items() if way != "bare"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    for megapixels, (height, width, count) in SIZES.items():
        for kind in KINDS:
            encoded = pictures(kind, height, width, count)
            for one, other in zip(bare(encoded), ahead(encoded), strict=True):
                assert np.array_equal(one, other)
            for way, ratio in ratios(encoded, given.rounds).items():
                print(f"figure bounded_over_bare_{kind}_{megapixels}_megapixels_{way} {ratio:.3f} times", flush=True)


if __name__ == "__main__":
    main()
