"""leam.scraping: every link of a shard in the ledger, whatever stops the job on its way."""

import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hostile_files import png_of_chunks
from leam import decoding, files, scraping, storage
from leam.journal import Journal
from picture_server import answer, drip, first, flood, hang_up, late, picture, redirect, serve, silence
from test_fetching import QUICK

SOURCES = Path(__file__).parents[1] / "workflow_scripts"


@pytest.fixture
def server():
    with serve() as running:
        yield running


def links_table(path, links, rect="10 20 30 40", size=("48", "64")):
    """links.parquet of one shard from (identity, image, url); their pictures were (height, width) when listed."""
    rows = [(*link, rect, *size, "00000") for link in links]
    columns = ["identity", "image", "url", "rect", "height", "width", "shard"]
    pd.DataFrame(rows, columns=columns, dtype="string").to_parquet(path)
    return path


def settings(server, **changes):
    return QUICK | {"hosts": (server.place,)} | changes


def scrape(folder, given, **arguments):
    """The ledger as {(identity, image): row}, and the pictures of each identity."""
    output = folder / "00000.h5"
    scraping.scrape_images(folder / "links.parquet", output, folder / "00000.csv", given, shard="00000", **arguments)
    with storage.open_shard(output, "images") as shard:
        ledger = {(row["identity"], row["image"]): row for row in storage.read_ledger(shard)}
        pictures = {identity: storage.read_pictures(shard, identity) for identity in storage.identities(shard)}
    return ledger, pictures


def statuses(ledger):
    return {key: row["status"] for key, row in ledger.items()}


def png_bomb(side: int = 60_000) -> bytes:
    """A PNG of a few bytes whose header promises side x side pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        framed = kind + content
        return struct.pack(">I", len(content)) + framed + struct.pack(">I", zlib.crc32(framed))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


# ------------------------------------------------------------------------------------------------------- the ledger

CASES = {  # image: what the server does, the link's status
    "fine.jpg": (answer(picture(1)), "ok"),
    "twin.jpg": (answer(picture(1)), "duplicate"),
    "fine.png": (answer(picture(2, kind="PNG")), "ok"),
    "fine.webp": (answer(picture(3, kind="WEBP")), "ok"),
    "moved.jpg": (redirect("/target.jpg"), "ok"),
    "gone.jpg": (answer(b"", 404), "http 404"),
    "gone for good.jpg": (answer(b"", 410), "http 410"),
    "forbidden.jpg": (answer(b"", 403), "http 403"),
    "busy.jpg": (first(answer(b"", 429, Retry_After=1), answer(picture(4))), "ok"),
    "hiccup.jpg": (first(answer(b"", 500), answer(picture(5))), "ok"),
    "down.jpg": (answer(b"", 503), "http 503"),
    "loop.jpg": (redirect("/loop.jpg"), "too many redirects"),
    "abroad.jpg": (redirect("http://elsewhere.example/x.jpg"), "host not allowed"),
    "drip.jpg": (drip(picture()[:50]), "deadline"),
    "endless.jpg": (flood(picture()[:50], []), "too many bytes"),
    "huge.jpg": (answer(picture()[:50] + bytes(30 * 2**20)), "too many bytes"),
    "longer.jpg": (answer(picture(), Content_Length=10**6, Connection="close"), "incomplete"),
    "silent.jpg": (silence(3), "timeout"),
    "lost.jpg": (hang_up, "connection failed"),
    "cut.jpg": (answer(picture()[:-700]), "unreadable"),
    "page.jpg": (answer(b"<!DOCTYPE html><html></html>"), "not a picture"),
    "bitmap.jpg": (answer(picture(kind="BMP")), "unsupported format"),
    "bomb.png": (answer(png_bomb()), "too large"),
    "private.jpg": (answer(picture(6), X_Robots_Tag="noai"), "opted out"),
    "bücher.jpg": (answer(picture(7)), "ok"),
}


def test_every_link_ends_in_the_ledger_with_one_status(server, tmp_path):
    links = [("nm1", image, server.url(f"/{image}")) for image in CASES]
    links += [("nm1", "other", "http://elsewhere.example/x.jpg"), ("nm1", "local", "file:///etc/passwd")]
    links += [("nm2", "fine.jpg", server.url("/fine.jpg"))]  # the same picture of another person is no duplicate
    links_table(tmp_path / "links.parquet", links)
    server.routes |= {f"/{image}": route for image, (route, _) in CASES.items()}
    server.routes |= {"/b%C3%BCcher.jpg": CASES["bücher.jpg"][0], "/target.jpg": answer(picture(8))}
    server.routes["/gone%20for%20good.jpg"] = CASES["gone for good.jpg"][0]
    given = settings(server, timeout_s=1, deadline_s=6, connections_per_host=16, connections=32)
    ledger, pictures = scrape(tmp_path, given)
    expected = {("nm1", image): status for image, (_, status) in CASES.items()} | {("nm2", "fine.jpg"): "ok"}
    expected |= {("nm1", "other"): "host not allowed", ("nm1", "local"): "scheme not allowed"}
    assert statuses(ledger) == expected
    assert ledger["nm1", "twin.jpg"]["detail"] == "fine.jpg"
    assert ledger["nm1", "private.jpg"]["detail"] == "noai"
    assert server.count("/fine.jpg") == 1
    assert Counter(ask.path for ask in server.asks)["/gone.jpg"] == 1

    kept = sorted(image for (identity, image), status in expected.items() if (identity, status) == ("nm1", "ok"))
    assert pictures["nm1"].images == kept
    assert pictures["nm1"].encoded[kept.index("fine.jpg")] == picture(1)
    assert all(bool(row["sha256"]) for row in ledger.values() if row["status"] in ("ok", "duplicate", "unreadable"))

    summary = pd.read_csv(tmp_path / "00000.csv").set_index("status")
    assert summary.loc["all", "links"] == len(expected) == summary["links"].drop("all").sum()
    assert summary["links"].drop("all").to_dict() == dict(Counter(expected.values()))
    assert summary.loc["all", "requests"] == len(server.asks)


def test_a_picture_that_takes_too_much_is_a_reason_which_the_next_run_knows(server, tmp_path):
    hostile = png_of_chunks()
    server.routes |= {"/1.jpg": answer(picture(1)), "/2.png": answer(hostile), "/3.jpg": answer(picture(3))}
    links = [
        (identity, name, server.url(f"/{name}")) for identity in ("a", "b") for name in ("1.jpg", "2.png", "3.jpg")
    ]
    links_table(tmp_path / "links.parquet", links)
    given = settings(server, max_megabytes=64)
    processes = set()
    for _ in range(2):
        ledger, pictures = scrape(tmp_path, given)
        processes.add(decoding._decoder._process)
        assert statuses(ledger) == {link[:2]: "too large" if link[1] == "2.png" else "ok" for link in links}
        assert ledger["a", "2.png"]["detail"] == decoding.TOO_LONG
        assert ledger["a", "2.png"]["sha256"] == hashlib.sha256(hostile).hexdigest()
        assert [pictures[identity].images for identity in "ab"] == [["1.jpg", "3.jpg"]] * 2
        (tmp_path / "00000.h5").rename(tmp_path / "before.h5")
    assert len(processes) == 1  # one that is at a picture for too long is ended
    assert len(server.asks) == 3


def test_names_from_the_list_are_never_paths(server, tmp_path):
    (tmp_path / "in").mkdir()
    names = [("../../up", "../../x.jpg"), ("..", "/etc/x.jpg"), ("a/b", "a/b.jpg"), ("discarded", ".."), ("%2F", "%2e")]
    links = [(identity, image, server.url(f"/{k}.jpg")) for k, (identity, image) in enumerate(names)]
    server.routes |= {f"/{k}.jpg": answer(picture(k)) for k in range(len(names))}
    links_table(tmp_path / "in" / "links.parquet", links)
    ledger, pictures = scrape(tmp_path / "in", settings(server))
    assert statuses(ledger) == dict.fromkeys(names, "ok")
    assert {(identity, *found.images) for identity, found in pictures.items()} == set(names)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    outputs = {"in/00000.h5", "in/00000.csv"}
    assert written == {"in/links.parquet", "in/00000.h5.journal", *outputs, *(f"{name}.sha256" for name in outputs)}


def test_the_rectangle_follows_the_size_of_the_picture(server, tmp_path):
    server.routes |= {"/same.png": answer(picture(1, (48, 64))), "/other.png": answer(picture(2, (96, 32)))}
    links_table(tmp_path / "links.parquet", [("nm1", f"{n}.png", server.url(f"/{n}.png")) for n in ("same", "other")])
    _, pictures = scrape(tmp_path, settings(server))
    assert pictures["nm1"].images == ["other.png", "same.png"]
    np.testing.assert_array_equal(pictures["nm1"].rect, [[5, 40, 15, 80], [10, 20, 30, 40]])  # x / 2, y * 2
    assert pictures["nm1"].rect.dtype == np.float32


def test_links_without_a_rectangle_have_none(server, tmp_path):
    server.routes["/a.jpg"] = answer(picture())
    links_table(tmp_path / "links.parquet", [("nm1", "a.jpg", server.url("/a.jpg"))], "", ("", ""))
    assert np.isnan(scrape(tmp_path, settings(server))[1]["nm1"].rect).all()


def test_an_unknown_shard_is_an_error(server, tmp_path):
    links_table(tmp_path / "links.parquet", [("nm1", "a.jpg", server.url("/a.jpg"))])
    with pytest.raises(ValueError, match="no links of shard '00007'"):
        scraping.scrape_images(
            tmp_path / "links.parquet", tmp_path / "x.h5", tmp_path / "x.csv", settings(server), shard="00007"
        )


# ------------------------------------------------------------------------------------------------ stopped, and on


def many(server, folder, count=40, delay_s=0.0):
    """A table of ``count`` links, every fourth dead, served after a delay each."""
    for k in range(count):
        server.routes[f"/{k}.jpg"] = late(answer(b"", 404) if k % 4 == 3 else answer(picture(k)), delay_s)
    links = [(f"nm{3 * k // count}", f"{k:03d}.jpg", server.url(f"/{k}.jpg")) for k in range(count)]
    return links_table(folder / "links.parquet", links)


SCRIPT = """
import json, logging, resource, sys
from leam.scraping import scrape_images
links, output, summary, settings, limit = json.loads(sys.argv[1])
logging.basicConfig(level=logging.INFO)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
scrape_images(links, output, summary, settings, shard="00000")
"""


def start(folder, given, limit=0, output=None):
    """The job as a process of its own; its files may have ``limit`` bytes."""
    output = output or folder / "00000.h5"
    arguments = [str(folder / "links.parquet"), str(output), str(output.with_suffix(".csv")), given, limit]
    command = [sys.executable, "-c", SCRIPT, json.dumps(arguments)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(SOURCES)}, stderr=subprocess.PIPE, text=True)


def finished_links(path):
    """What the journal holds, read from a copy, as the job itself would read it."""
    copy = path.with_suffix(".copy")
    shutil.copy(path, copy)
    journal = Journal(copy, scraping.JOURNAL)
    journal.close()
    copy.unlink()
    return set(journal.offsets)


def whole_run(server, folder):
    """SHA-256 of the shard of a run that nothing stops, and the server's notes cleared."""
    (folder / "whole").mkdir()
    shutil.copy(folder / "links.parquet", folder / "whole")
    scrape(folder / "whole", settings(server))
    server.asks.clear()
    return files.sha256(folder / "whole" / "00000.h5")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_job_goes_on_without_asking_again(server, tmp_path, number):
    many(server, tmp_path, delay_s=0.05)
    expected = whole_run(server, tmp_path)
    job = start(tmp_path, settings(server, connections_per_host=2))
    deadline = time.monotonic() + 60
    while len(server.asks) < 15 and time.monotonic() < deadline:
        time.sleep(0.01)
    job.send_signal(number)
    _, errors = job.communicate(timeout=60)
    assert job.returncode != 0
    if number == signal.SIGTERM:
        assert "StoppedError: stopped by SIGTERM (" in errors and "of 40 links finished" in errors
    assert not (tmp_path / "00000.h5").exists()
    done = finished_links(tmp_path / "00000.h5.journal")
    assert 5 < len(done) < 40
    server.asks.clear()
    scrape(tmp_path, settings(server))
    assert {server.url(ask.path) for ask in server.asks}.isdisjoint(done)
    assert len(server.asks) == 40 - len(done)
    assert files.sha256(tmp_path / "00000.h5") == expected


def test_a_full_disk_while_fetching(server, tmp_path):
    many(server, tmp_path)
    expected = whole_run(server, tmp_path)
    _, errors = (job := start(tmp_path, settings(server), limit=60_000)).communicate(timeout=60)
    assert job.returncode == 1
    assert "StorageError:" in errors and "finished links are kept, the next run goes on from there" in errors
    assert {path.name for path in tmp_path.glob("0*")} == {"00000.h5.journal"}
    done = finished_links(tmp_path / "00000.h5.journal")
    assert 0 < len(done) < 40
    server.asks.clear()
    scrape(tmp_path, settings(server))
    assert {server.url(ask.path) for ask in server.asks}.isdisjoint(done)
    assert files.sha256(tmp_path / "00000.h5") == expected


def test_a_full_disk_while_packing(server, tmp_path):
    many(server, tmp_path)
    expected = whole_run(server, tmp_path)
    shutil.copy(tmp_path / "whole" / "00000.h5.journal", tmp_path)
    _, errors = (job := start(tmp_path, settings(server), limit=60_000)).communicate(timeout=60)
    assert job.returncode == 1
    assert "StorageError:" in errors and "finished links are kept" in errors
    assert {path.name for path in tmp_path.glob("0*")} == {"00000.h5.journal"}
    scrape(tmp_path, settings(server))
    assert server.asks == []
    assert files.sha256(tmp_path / "00000.h5") == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_disk_that_is_really_full(server, tmp_path):
    many(server, tmp_path)
    expected = whole_run(server, tmp_path)
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", small]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        _, errors = (job := start(tmp_path, settings(server), output=small / "00000.h5")).communicate(timeout=60)
        assert job.returncode == 1
        assert "no space left on device; make room and run again, finished work is kept" in errors
        done = finished_links(Path(shutil.copy(small / "00000.h5.journal", tmp_path)))
        assert 0 < len(done) < 40
        server.asks.clear()
        subprocess.run(["mount", "-o", "remount,size=10m", small], check=True)
        job = start(tmp_path, settings(server), output=small / "00000.h5")
        assert job.wait(timeout=60) == 0
        assert {server.url(ask.path) for ask in server.asks}.isdisjoint(done)
        assert files.sha256(small / "00000.h5") == expected
    finally:
        subprocess.run(["umount", small], check=True)


def test_one_job_at_a_shard(server, tmp_path):
    many(server, tmp_path, count=4)
    held = Journal(tmp_path / "00000.h5.journal", scraping.JOURNAL)
    with pytest.raises(BlockingIOError, match="another process is writing this shard"):
        scrape(tmp_path, settings(server))
    held.close()


def test_a_job_stops_before_its_limit(server, tmp_path, monkeypatch):
    many(server, tmp_path, delay_s=0.05)
    monkeypatch.setattr(scraping, "PACKING_S", 59.5)
    with pytest.raises(scraping.StoppedError, match=r"stopped before the limit of 1 min \(\d+ of 40 links finished"):
        scrape(tmp_path, settings(server, connections_per_host=1), minutes=1)
    asked = len(server.asks)
    scrape(tmp_path, settings(server))
    assert asked < 40 <= len(server.asks) <= 41  # the one that was on its way is asked again


def test_a_link_that_asks_to_wait_does_not_stop_the_others(server, tmp_path, monkeypatch):
    """Nor the next run, which does not ask it; when its time has come it is asked again."""
    many(server, tmp_path, count=8)
    fine, server.routes["/5.jpg"] = server.routes["/5.jpg"], answer(b"", 429, Retry_After=999_999)
    for asked in (8, 0):
        server.asks.clear()
        with pytest.raises(
            scraping.StoppedError, match=r"1 links wait: 1 for 127\.0\.0\.1, which asks to wait until 2"
        ):
            scrape(tmp_path, settings(server, connections=1))
        assert len(server.asks) == asked
    server.routes["/5.jpg"] = fine
    later = time.time() + 10**6
    monkeypatch.setattr(scraping.time, "time", lambda: later)
    ledger, _ = scrape(tmp_path, settings(server, connections=1))
    assert [ask.path for ask in server.asks] == ["/5.jpg"]
    assert ledger["nm1", "005.jpg"]["status"] == "ok"


@pytest.mark.parametrize("ahead_s", [-86_400.0 * 365, -7200.0, 0.0, 7200.0, 86_400.0 * 365])
def test_a_wait_does_not_outlast_a_clock_that_was_wrong(server, tmp_path, monkeypatch, ahead_s):
    """The clock is wrong while the link asks to wait for an hour, and put right before the next run."""
    many(server, tmp_path, count=2)
    fine, server.routes["/1.jpg"] = server.routes["/1.jpg"], answer(b"", 503, Retry_After=3600)
    now = time.time()
    monkeypatch.setattr(scraping.time, "time", lambda: now + ahead_s)
    with pytest.raises(scraping.StoppedError, match="1 links wait"):
        scrape(tmp_path, settings(server, connections=1))
    server.asks.clear()
    server.routes["/1.jpg"] = fine
    monkeypatch.setattr(scraping.time, "time", lambda: now + 60)
    if ahead_s == 0:
        with pytest.raises(scraping.StoppedError, match="1 links wait"):
            scrape(tmp_path, settings(server, connections=1))
        assert not server.asks
        monkeypatch.setattr(scraping.time, "time", lambda: now + 3601)
    ledger, _ = scrape(tmp_path, settings(server, connections=1))
    assert [ask.path for ask in server.asks] == ["/1.jpg"] and set(statuses(ledger).values()) == {"ok"}


def test_a_clock_that_jumps_while_links_are_asked_for_changes_nothing(server, tmp_path, monkeypatch):
    many(server, tmp_path, count=12)
    server.routes["/3.jpg"] = first(answer(b"", 429, Retry_After=1), server.routes["/3.jpg"])
    expected = whole_run(server, tmp_path)
    jumps = np.random.default_rng(0).uniform(-1e8, 1e8, 10_000)
    now = iter(time.time() + jumps)
    monkeypatch.setattr(scraping.time, "time", lambda: next(now))
    begun = time.monotonic()
    scrape(tmp_path, settings(server))
    took = time.monotonic() - begun
    assert files.sha256(tmp_path / "00000.h5") == expected
    seconds = pd.read_csv(tmp_path / "00000.csv").loc[0, "seconds"]
    assert 0 <= seconds <= took


REFUSED = {
    "a ban": answer(b"", 403),
    "a page instead of pictures": answer(b"<html>log in</html>", 200, Content_Type="text/html"),
    "a redirect to log in": redirect("http://login.example.net/"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_a_host_that_refuses_everything_kills_no_link_and_is_not_asked_on(server, tmp_path, how):
    many(server, tmp_path)
    fine = dict(server.routes)
    server.routes |= dict.fromkeys(list(fine)[10:], REFUSED[how])
    given = settings(server, give_up_after=5, connections_per_host=1, connections=1, retries=1)
    with pytest.raises(
        scraping.StoppedError, match=r"30 links wait: 30 for 127\.0\.0\.1: no picture for 5 links in a row"
    ):
        scrape(tmp_path, given)
    assert len(server.asks) == 15 and len(finished_links(tmp_path / "00000.h5.journal")) == 10
    server.routes |= fine
    ledger, _ = scrape(tmp_path, given)
    assert Counter(statuses(ledger).values()) == {"ok": 30, "http 404": 10}


def test_pictures_that_are_refused_among_others_are_dead(server, tmp_path):
    many(server, tmp_path)
    server.routes |= {f"/{k}.jpg": answer(b"", 403) for k in range(0, 40, 4)}
    ledger, _ = scrape(tmp_path, settings(server, give_up_after=5, connections=1, retries=0))
    assert Counter(statuses(ledger).values()) == {"ok": 20, "http 404": 10, "http 403": 10}


# --------------------------------------------------------------------------------------------- unreachable, or dead


def test_a_network_that_is_down_kills_no_link(server, tmp_path):
    many(server, tmp_path)
    fine = dict(server.routes)
    server.routes |= dict.fromkeys(list(fine)[10:], hang_up)
    given = settings(server, give_up_after=5, connections_per_host=1, connections=1, retries=1)
    with pytest.raises(scraping.StoppedError, match=r"the last 5 links could not be reached \(5 connection failed\)"):
        scrape(tmp_path, given)
    assert len(finished_links(tmp_path / "00000.h5.journal")) == 10
    server.routes |= fine
    ledger, _ = scrape(tmp_path, given)
    assert Counter(statuses(ledger).values()) == {"ok": 30, "http 404": 10}


def test_a_shard_of_which_nothing_answers_is_not_dead(server, tmp_path):
    many(server, tmp_path, count=4)
    fine = dict(server.routes)
    server.routes |= dict.fromkeys(fine, hang_up)
    with pytest.raises(scraping.StoppedError, match=r"the last 4 links could not be reached .*\(0 of 4 links finished"):
        scrape(tmp_path, settings(server, retries=0))
    server.routes["/0.jpg"] = fine["/0.jpg"]
    ledger, _ = scrape(tmp_path, settings(server, retries=0))
    assert list(statuses(ledger).values()) == ["ok"] + 3 * ["connection failed"]


def test_links_that_fail_among_others_are_dead(server, tmp_path):
    many(server, tmp_path)
    server.routes |= {f"/{k}.jpg": hang_up for k in range(0, 40, 4)}
    ledger, _ = scrape(tmp_path, settings(server, give_up_after=5, connections=1, retries=0))
    assert Counter(statuses(ledger).values()) == {"ok": 20, "http 404": 10, "connection failed": 10}


def test_another_run_asks_only_for_what_other_limits_may_change(server, tmp_path):
    many(server, tmp_path, count=8)
    server.routes["/0.jpg"] = answer(b"", 500)
    server.routes["/1.jpg"] = answer(picture(1) + bytes(2**20))
    server.routes["/2.jpg"] = answer(picture(2), X_Robots_Tag="noai")
    ledger, _ = scrape(tmp_path, settings(server, retries=0))
    assert Counter(statuses(ledger).values()) == {"ok": 3, "http 404": 2} | dict.fromkeys(
        ("http 500", "too many bytes", "opted out"), 1
    )
    server.asks.clear()
    scrape(tmp_path, settings(server, retries=0, requests_per_second=500, contact="you@example.org"))
    assert server.asks == []
    server.routes["/0.jpg"] = answer(picture(0))
    ledger, _ = scrape(tmp_path, settings(server, retries=0, max_megabytes=2))
    assert sorted(ask.path for ask in server.asks) == ["/0.jpg", "/1.jpg"]
    assert Counter(statuses(ledger).values()) == {"ok": 5, "http 404": 2, "opted out": 1}


def test_downloads_are_kept_or_not(server, tmp_path):
    many(server, tmp_path, count=4)
    scrape(tmp_path, settings(server, keep_downloads=False))
    assert not (tmp_path / "00000.h5.journal").exists()


# ---------------------------------------------------------------------------------------------------------- summary


def test_the_summary_of_all_shards(tmp_path):
    parts = {
        "00000": [("all", 10, 900, 12, 4.0), ("ok", 6, 600, 6), ("duplicate", 2, 300, 2), ("http 404", 2, 0, 4)],
        "00001": [("all", 10, 500, 13, 1.0), ("ok", 5, 500, 5), ("timeout", 1, 0, 4), ("http 404", 4, 0, 4)],
    }
    columns = ["status", "links", "bytes", "requests", "seconds"]
    for shard, rows in parts.items():
        table = pd.DataFrame([dict(zip(columns, row, strict=False)) for row in rows])
        table.assign(shard=shard).to_csv(tmp_path / f"{shard}.csv", index=False)
    scraping.tabulate_scraping([tmp_path / f"{shard}.csv" for shard in parts], tmp_path / "scraping.csv")
    table = pd.read_csv(tmp_path / "scraping.csv", dtype={"shard": str}).set_index(["shard", "status"])
    found = {key: tuple(row) for key, row in table[["links", "bytes", "requests", "percent"]].loc["all"].iterrows()}
    assert found == {
        "all": (20, 1400, 25, 100),
        "alive": (13, 1400, 13, 65),
        "dead": (7, 0, 12, 35),
        "ok": (11, 1100, 11, 55),
        "http 404": (6, 0, 8, 30),
        "duplicate": (2, 300, 2, 10),
        "timeout": (1, 0, 4, 5),
    }
    rates = table[["seconds", "links_per_s", "requests_per_s"]].dropna()
    assert {key: tuple(row) for key, row in rates.iterrows()} == {
        ("all", "all"): (5, 4, 5),
        ("00000", "all"): (4, 2.5, 3),
        ("00001", "all"): (1, 10, 13),
    }


def test_the_summary_counts_all_runs(server, tmp_path):
    many(server, tmp_path, count=8)
    fine = dict(server.routes)
    server.routes |= dict.fromkeys(list(fine)[5:], hang_up)
    given = settings(server, connections=1, requests_per_second=20)
    with pytest.raises(scraping.StoppedError, match="the last 3 links could not be reached"):
        scrape(tmp_path, given | {"give_up_after": 3, "retries": 0})
    server.routes |= fine
    for _ in range(2):  # the second asks for nothing
        scrape(tmp_path, given)
        whole = pd.read_csv(tmp_path / "00000.csv").set_index("status").loc["all"]
        assert (whole["links"], whole["requests"]) == (8, 8)
        assert whole["seconds"] >= (4 + 2) / 20  # five links and then three, 20 per second
