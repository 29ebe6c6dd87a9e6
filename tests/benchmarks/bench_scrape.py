"""Links per second of rule scrape_images against a server on loopback, beside one request after the other, and memory.

    PYTHONPATH=workflow_scripts python tests/benchmarks/bench_scrape.py [--links 5000]

The server is a process of its own, on the same cores. What is timed is the whole job: every link asked for, noted on
disk, decoded and packed. The politeness that bounds a real run (scraping.requests_per_second) is switched off. Every
measurement of memory is a process of its own. On loopback nothing is ever waited for, so one request after the other
costs no more than many at once; the last figure is of a server whose answers take 50 ms, as those of the web do.
"""

import argparse
import asyncio
import io
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
from aiohttp import web
from PIL import Image

from leam import scraping, storage
from leam.images import decode

PER_IDENTITY = 50
ONE_BY_ONE = 500  # links of the plain loop
FAR, FAR_S = "far", 0.05  # where answers take so long


def picture() -> bytes:
    """A JPEG of 400 x 300 px and some 80 kB."""
    coarse = np.random.default_rng(0).integers(0, 256, (100, 75, 3), dtype=np.uint8)
    packed = io.BytesIO()
    Image.fromarray(coarse).resize((300, 400), Image.Resampling.BICUBIC).save(packed, "JPEG", quality=95)
    return packed.getvalue()


def serve() -> None:
    """Pictures that differ in a few bytes behind their end; the port goes to stdout."""
    encoded = picture()

    async def run() -> None:
        application = web.Application()

        async def answer(request: web.Request) -> web.Response:
            return web.Response(body=encoded + request.path.encode(), content_type="image/jpeg")

        async def answer_late(request: web.Request) -> web.Response:
            await asyncio.sleep(FAR_S)
            return await answer(request)

        application.router.add_get("/{name}", answer)
        application.router.add_get(f"/{FAR}/{{name}}", answer_late)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(site._server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


def url_of(place: str, k: int) -> str:
    """place : host and port, or these and ``FAR``"""
    return f"http://{place}/{k}"


def write_links(folder: Path, place: str, links: int) -> Path:
    rows = [
        (f"nm{k // PER_IDENTITY:07d}", f"{k}.jpg", url_of(place, k), "1 2 3 4", "400", "300", "00000")
        for k in range(links)
    ]
    columns = ["identity", "image", "url", "rect", "height", "width", "shard"]
    pd.DataFrame(rows, columns=columns).to_parquet(folder / "links.parquet")
    return folder / "links.parquet"


def scrape(folder: Path, place: str, links: int) -> float:
    """Seconds of one job."""
    settings = {
        "contact": "bench@example.org",
        "hosts": (place.split("/")[0],),
        "requests_per_second": 1e6,
        "connections_per_host": 32,
        "connections": 32,
        "allow_private_addresses": True,
    }
    table, output = write_links(folder, place, links), folder / "00000.h5"
    started = time.perf_counter()
    scraping.scrape_images(table, output, folder / "00000.csv", settings, shard="00000")
    seconds = time.perf_counter() - started
    with storage.open_shard(output, "images") as shard:
        assert sum(row["status"] == "ok" for row in storage.read_ledger(shard)) == links
    return seconds


def one_by_one(folder: Path, place: str, links: int) -> float:
    """Seconds of the plain loop that loses as little: a request, a picture decoded, its file on disk, the next."""
    started = time.perf_counter()
    for k in range(links):
        with urllib.request.urlopen(url_of(place, k)) as answer:
            encoded = answer.read()
        decode(encoded)
        with open(folder / f"{k}.jpg", "wb") as file:
            file.write(encoded)
            file.flush()
            os.fsync(file.fileno())
    return time.perf_counter() - started


def time_plain(place: str) -> float:
    """Seconds per link."""
    with tempfile.TemporaryDirectory() as folder:
        return one_by_one(Path(folder), place, ONE_BY_ONE) / ONE_BY_ONE


def run_job(place: str, links: int) -> tuple[float, float, int]:
    """Seconds by the clock, of the processor, and peak memory in MB, of a process that scrapes so many links."""
    command = [sys.executable, __file__, "--job", place, str(links)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(found[-3]), float(found[-2]), int(found[-1])


def peak_mb() -> int:
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text()).group(1)) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--links", type=int, default=5000)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--job", nargs=2, metavar=("PLACE", "LINKS"))
    given = parser.parse_args()
    if given.serve:
        serve()
        return
    if given.job:
        with tempfile.TemporaryDirectory() as folder:
            print(scrape(Path(folder), given.job[0], int(given.job[1])), time.process_time(), peak_mb())
        return
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        place = f"127.0.0.1:{int(server.stdout.readline())}"
        print(f"figure bytes_per_picture {len(picture())} bytes")
        plain = [time_plain(place)]
        for links in (given.links // 10, given.links):
            seconds, cpu, peak = run_job(place, links)
            print(f"figure scrape_{links}_links_peak {peak} MB", flush=True)
        print(f"figure scrape_{given.links}_links_per_second {given.links / seconds:.0f} 1/s")
        print(f"figure scrape_{given.links}_links_cpu {1000 * cpu / given.links:.2f} ms/link")
        plain.append(time_plain(place))
        print(f"figure scrape_speed_over_one_by_one {given.links * statistics.mean(plain) / seconds:.2f} times")
        seconds, _, _ = run_job(f"{place}/{FAR}", given.links)
        per_link = time_plain(f"{place}/{FAR}")
        print(f"figure scrape_speed_over_one_by_one_50_ms_away {given.links * per_link / seconds:.1f} times")
    finally:
        server.terminate()


if __name__ == "__main__":
    main()
