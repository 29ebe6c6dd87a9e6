"""The pictures of one shard from the links where they were published, each link in the ledger with one status.

What was fetched stands in a journal beside the output as soon as it is finished, by URL. A stopped job goes on from
there, and so does a later run with other settings: no server is asked twice for what it has answered.
"""

import asyncio
import dataclasses
import hashlib
import json
import logging
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np
import pandas as pd

from leam import decoding, files, reasons, storage
from leam.fetching import (
    ALIVE,
    REFUSALS,
    BusyLinkError,
    ClosedHostError,
    Fetched,
    Fetcher,
    ScrapeSettings,
    host_of,
    is_status,
)
from leam.images import linked_rect
from leam.journal import Journal, journal_of
from leam.reasons import UnusablePictureError
from leam.tables import read_output, write_table

log = logging.getLogger(__name__)

ALL = "all"  # of the summary: every link of a shard, and all shards
JOURNAL = "scraped links 1"  # the layout of its records; whose links they are does not matter
PACKING_S = 60  # kept free at the end of a job's time, to pack what is there
LIMITS = (
    "hosts",
    "timeout_s",
    "deadline_s",
    "retries",
    "max_redirects",
    "max_megabytes",
    "allow_private_addresses",
)  # settings that decide whether a link fails


class StoppedError(Exception):
    """A job that ended before its shard was done; what is finished is kept, and the next run goes on from there."""


# ------------------------------------------------------------------------------------------------- finished links


class Finished:
    """Links that are done with, in the journal: a link is finished when its record is on disk.

    A link, its host and the network are three things. Links that could not be reached, or were refused, are held back
    until their host gives something: if it is gone, or bans us, or a page to log in stands before it, they are not
    dead. When too many of a host follow each other it is left alone and its links wait, while the others go on; when
    no host is reached any more, or none ever was, the job stops.
    """

    def __init__(self, journal: Journal, settings: ScrapeSettings):
        self.journal, self.settings = journal, settings
        self.limits = files.digest_value({name: getattr(settings, name) for name in LIMITS})
        self.waiting: list[tuple[str, Fetched]] = []  # answered, to be written next
        self.held: dict[str, list[tuple[str, Fetched]]] = defaultdict(list)  # by host
        self.unreached: list[Fetched] = []  # in a row, of whatever host
        self.left: Counter[str] = Counter()  # links that wait, by what for
        self.undone: set[str] = set()  # links whose record says only that they are to wait
        self.writing = asyncio.Lock()
        self.answered = len(journal) > 0
        self.run, self.begun = time.time(), time.monotonic()

    def missing(self, urls: Iterable[str]) -> list[str]:
        """The links still to be asked for, each once: those without a record, and those that failed for good reason
        to try again, under other limits than today's. Those that asked to be left alone until later are ``left``."""
        asked = []
        for url in dict.fromkeys(urls):
            if url not in self.journal:
                asked.append(url)
                continue
            fetched, facts = self.read(url)
            if "until" in facts:
                self.undone.add(url)
            until = float(facts.get("until", 0))
            if float(facts.get("since", 0)) <= time.time() < until:  # not where the clock was put back meanwhile
                self.left[_waits(url, until)] += 1
            elif until or not self._stands(fetched, facts):
                asked.append(url)
        return asked

    def _stands(self, fetched: Fetched, facts: dict[str, str | float]) -> bool:
        if not is_status(fetched.status):  # of an earlier version, that took any number for a status
            return False
        told = fetched.status in (reasons.OK, reasons.OPTED_OUT) or fetched.status.startswith("http 4")
        return (told and fetched.final) or facts["limits"] == self.limits

    def read(self, url: str) -> tuple[Fetched, dict[str, str | float]]:
        """A finished link; the limits it was asked for under, its run, and the seconds ``at`` since that began."""
        record = self.journal.get(url)
        facts = json.loads(str(record["facts"]))
        given = {name: facts.pop(name) for name in ("limits", "run", "at", "since", "until") if name in facts}
        return Fetched(encoded=record["encoded"].tobytes(), **facts), given

    async def add(self, url: str, fetched: Fetched) -> str:
        """Note what became of a link; returns when it is on disk (or held back): why its host is to be left alone, or
        "".
        """
        if not fetched.final:
            self.unreached.append(fetched)
        elif fetched.requests:
            self.unreached.clear()
            self.answered = True
        if not fetched.final or (fetched.requests and fetched.status in REFUSALS):
            return self._hold(url, fetched)
        self.waiting.append((url, fetched))
        if fetched.requests:
            self._release(host_of(url), fetched.status == reasons.OK)
        async with self.writing:  # whoever comes first writes for all who wait
            if self.waiting:
                batch, self.waiting = self.waiting, []
                await asyncio.to_thread(self.write, batch)
        return ""

    def _hold(self, url: str, fetched: Fetched) -> str:
        held = self.held[host_of(url)]
        held.append((url, fetched))
        if len(self.unreached) >= self.settings.give_up_after:
            raise self._unreachable(self.unreached)
        if len(held) < self.settings.give_up_after:
            return ""
        return (
            f"no picture for {len(held)} links in a row ({_told(fetched for _, fetched in held)}): is it down, does it "
            f"refuse this address, or does a page stand before it?"
        )

    def _release(self, host: str, with_refused: bool = True) -> None:
        """The host gives something: what it did not give was for want of the link; a refusal, only if it gave a
        picture."""
        stays = [] if with_refused else [one for one in self.held[host] if one[1].status in REFUSALS]
        self.waiting += [one for one in self.held[host] if one not in stays]
        self.held[host] = stays

    def _unreachable(self, links: list[Fetched]) -> StoppedError:
        return StoppedError(
            f"the last {len(links)} links could not be reached ({_told(links)}): is there a network here, and is the "
            f"server well? (scraping.give_up_after)"
        )

    def leave(self, url: str, error: BusyLinkError) -> None:
        """A link that asks to be left alone: another run asks it again, when the time has come."""
        self.journal.add(url, **self._record(Fetched(error.status, f"{error}", final=False, requests=1), error))
        self.undone.add(url)
        self.left[_waits(url, error.until)] += 1

    def end(self, closed: Mapping[str, str]) -> None:
        """All links were asked for, but those of closed hosts ({host: why}), which wait, and so do those held back of
        them; the others that are held back are dead, if any link was ever answered. Raises StoppedError if any waits.
        """
        for host, why in closed.items():
            if held := self.held.pop(host, []):
                self.left[f"{host}: {why}"] += len(held)
        if self.unreached and not self.answered:
            raise self._unreachable(self.unreached)
        for host in list(self.held):
            self._release(host)
        self.write(self.waiting)
        self.waiting = []
        if self.left:
            told = "; ".join(f"{count} for {what}" for what, count in self.left.most_common())
            raise StoppedError(f"{self.left.total()} links wait: {told} (what no longer answers: scraping.hosts)")

    def is_done(self, url: str) -> bool:
        return url in self.journal and url not in self.undone

    def write(self, batch: list[tuple[str, Fetched]]) -> None:
        self.undone.difference_update(url for url, _ in batch)
        self.journal.add_all([(url, self._record(fetched)) for url, fetched in batch])

    def _record(self, fetched: Fetched, busy: BusyLinkError | None = None) -> dict[str, np.ndarray]:
        at = round(time.monotonic() - self.begun, 3)
        facts = dataclasses.asdict(fetched) | {"limits": self.limits, "run": self.run, "at": at}
        facts |= {"since": busy.since, "until": busy.until} if busy else {}
        encoded = np.frombuffer(facts.pop("encoded"), np.uint8)
        return {"facts": np.array(json.dumps(facts)), "encoded": encoded}


def _told(links: Iterable[Fetched]) -> str:
    counts = Counter(fetched.status for fetched in links)
    return ", ".join(f"{count} {status}" for status, count in counts.most_common())


def _waits(url: str, until: float) -> str:
    return f"{host_of(url)}, which asks to wait until {time.strftime('%Y-%m-%d %H:%M', time.localtime(until))}"


async def _fetch_all(urls: list[str], finished: Finished, minutes: float | None) -> None:
    """Ask for all links; raises StoppedError or OSError (a full disk), and keeps what is finished."""
    settings, pending = finished.settings, enumerate(urls, start=1)

    async def work() -> None:
        for number, url in pending:
            try:
                if why := await finished.add(url, await fetcher.fetch(url)):
                    fetcher.close(url, why)
            except BusyLinkError as error:
                finished.leave(url, error)
            except ClosedHostError as error:
                finished.left[f"{error}"] += 1
            if number % max(len(urls) // 10, 1) == 0:
                log.info("%d of %d links asked for", number, len(urls))

    async with Fetcher(settings) as fetcher:
        try:
            async with asyncio.timeout(60 * minutes - PACKING_S if minutes else None), asyncio.TaskGroup() as workers:
                for _ in range(min(settings.connections, len(urls))):
                    workers.create_task(work())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        except TimeoutError:
            raise StoppedError(f"stopped before the limit of {minutes:g} min") from None
        finished.end({host: known.closed for host, known in fetcher.hosts.items() if known.closed})


def _fetch(urls: list[str], finished: Finished, minutes: float | None) -> None:
    """Ask for all links; SIGTERM ends it in order."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(_fetch_all(urls, finished, minutes))
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            raise StoppedError("stopped by SIGTERM") from None
        finally:
            loop.remove_signal_handler(signal.SIGTERM)

    try:
        asyncio.run(run())
    except StoppedError as error:
        finished.write(finished.waiting)
        kept = sum(map(finished.is_done, urls))
        raise StoppedError(f"{error} ({kept} of {len(urls)} links finished; the next run goes on from there)") from None


# ----------------------------------------------------------------------------------------------------------- packing


class LinkRow(Protocol):
    """A row of the table of links, as far as packing asks for it."""

    image: str
    url: str
    rect: str
    height: str
    width: str


@dataclasses.dataclass
class _Opened:
    """A finished link, and its picture's size when it is decoded in full, which a decoder was asked for."""

    link: LinkRow
    fetched: Fetched
    facts: dict[str, str | float]
    sha256: str = ""
    size: decoding.Coming | None = None


def _open(link: LinkRow, finished: Finished, known: Container[str]) -> _Opened:
    """known : the SHA-256 of pictures that need no decoder, as the identity has them already"""
    opened = _Opened(link, *finished.read(link.url))
    if opened.fetched.status == reasons.OK:
        opened.sha256 = hashlib.sha256(opened.fetched.encoded).hexdigest()
        if opened.sha256 not in known:
            most = finished.settings.max_megapixels
            opened.size = decoding.measure("picture", opened.fetched.encoded, max_megapixels=most)
    return opened


@dataclasses.dataclass
class Packed:
    """The usable pictures of one identity, to be stored, and the image that each content was first found in."""

    images: list[str] = dataclasses.field(default_factory=list)
    encoded: list[bytes] = dataclasses.field(default_factory=list)
    rects: list[np.ndarray] = dataclasses.field(default_factory=list)
    first_of: dict[str, str] = dataclasses.field(default_factory=dict)

    def add(self, opened: _Opened) -> tuple[str, str]:
        """Keep a link's picture if it is usable; returns the link's status and the detail."""
        if opened.fetched.status != reasons.OK:
            return opened.fetched.status, opened.fetched.detail
        if opened.size is None or opened.sha256 in self.first_of:
            return reasons.DUPLICATE, self.first_of[opened.sha256]
        try:
            shape = opened.size.shape()
        except UnusablePictureError as reason:
            status, _, detail = str(reason).partition(": ")
            return status, detail
        self.first_of[opened.sha256] = opened.link.image
        self.images.append(opened.link.image)
        self.encoded.append(opened.fetched.encoded)
        self.rects.append(linked_rect(opened.link.rect, opened.link.height, opened.link.width, shape))
        return reasons.OK, ""


def _pack_identity(
    file: h5py.File, identity: str, links: list[LinkRow], finished: Finished
) -> list[dict[str, str | float]]:
    """Store the usable pictures of one identity; returns its rows of the ledger, with what `_summarise` counts."""
    packed = Packed()
    rows: list[dict[str, str | float]] = []
    for opened in decoding.one_ahead(_open(link, finished, packed.first_of) for link in links):
        link, fetched, facts = opened.link, opened.fetched, opened.facts
        status, detail = packed.add(opened)
        rows.append(
            {
                **{
                    "identity": identity,
                    "image": link.image,
                    "url": link.url,
                    "status": status,
                    "sha256": opened.sha256,
                },
                **{storage.DETAIL: detail, "bytes": len(fetched.encoded), "requests": fetched.requests},
                **{"run": facts["run"], "at": facts["at"]},
            }
        )
    if packed.images:
        pictures = storage.Pictures(identity, packed.images, packed.encoded, rect=np.stack(packed.rects))
        storage.write_pictures(file, pictures)
    return rows


def _pack(table: pd.DataFrame, output: Path, finished: Finished) -> pd.DataFrame:
    """Write images/{shard}.h5; returns its ledger, with what `_summarise` counts."""
    ledger: list[dict[str, str | float]] = []
    with (
        decoding.remember(decoding.verdicts_of(output)),
        storage.create_shard(output, kind="images") as file,
    ):
        for identity, links in table.groupby("identity"):
            ledger += _pack_identity(file, identity, list(links.itertuples(index=False, name="LinkRow")), finished)
        _check_ledger(output, table, ledger)
        storage.write_ledger(file, ledger)
    return pd.DataFrame(ledger)


def _check_ledger(output: Path, table: pd.DataFrame, ledger: list[dict[str, str | float]]) -> None:
    """Every link has one row, and every row a known status."""
    links = Counter(zip(table["identity"], table["image"], strict=True))
    found = Counter((row["identity"], row["image"]) for row in ledger)
    if links != found:
        raise files.StorageError(f"{output}: {links.total()} links, but {found.total()} accounted for")
    for row in ledger:
        if not is_status(str(row["status"])):
            raise files.StorageError(
                f"{output}: {row['identity']}/{row['image']} has the unknown status {row['status']!r}"
            )


# ------------------------------------------------------------------------------------------------------------- stage


def scrape_images(
    links: str | Path,
    output: str | Path,
    summary: str | Path,
    settings: ScrapeSettings | dict,
    *,
    shard: str,
    minutes: float | None = None,
) -> None:
    """Fetch the pictures of one shard and pack them into images/{shard}.h5.

    links : the table of `leam.links.list_links`; summary : a CSV of what became of the links (`_summarise`)
    minutes : the job's time limit; it stops itself before

    Each link gets one row in the ledger with a key of `leam.fetching.STATUSES` or "http NNN"; of pictures with the
    same bytes, an identity keeps the first by name. Finished links stand in a journal beside the output, which stays
    there if ``keep_downloads`` is set, so that no later run asks for them again.

    Raises ValueError for a shard that has no links, StoppedError when it ends before all links are finished,
    StorageError for a full disk or a lost link, and BlockingIOError when another process is at the same shard.
    """
    output = Path(output)
    settings = settings if isinstance(settings, ScrapeSettings) else ScrapeSettings(**settings)
    table = read_output(links).query("shard == @shard").sort_values(["identity", "image"])
    if table.empty:
        raise ValueError(f"{links}: no links of shard {shard!r}")
    journal = Journal(journal_of(output), JOURNAL)
    try:
        finished = Finished(journal, settings)
        missing = finished.missing(table["url"])
        if missing or finished.left:
            _fetch(missing, finished, minutes)
        _summarise(summary, shard, _pack(table, output, finished))
    except OSError as error:
        raise files.StorageError(
            f"{output.parent}: {error.strerror or error}; finished links are kept, the next run goes on from there"
        ) from error
    finally:
        journal.close()
    if not settings.keep_downloads:
        journal.remove()


def _summarise(path: str | Path, shard: str, ledger: pd.DataFrame) -> None:
    """Write a row per status, with its links, bytes and requests, after one for all with the seconds of all runs.

    A run that was killed counts up to the last link it finished; requests of a URL that stands there twice count once.
    """
    seconds = ledger.groupby("run")["at"].max().sum()
    ledger["requests"] = ledger["requests"].where(~ledger.duplicated("url"), 0)
    by_status = ledger.groupby("status").agg(
        links=("url", "size"), bytes=("bytes", "sum"), requests=("requests", "sum")
    )
    whole = by_status.sum().to_frame(ALL).T.assign(seconds=round(seconds, 3))
    table = pd.concat([whole, by_status]).rename_axis("status").reset_index()
    table.insert(0, "shard", shard)
    write_table(table, path, float_format=None)
    counts = ", ".join(f"{links} {status}" for status, links in by_status["links"].items())
    log.info("%s: %s of %d links, in %.0f s", shard, counts, len(ledger), seconds)


def tabulate_scraping(summaries: Iterable[str | Path], output: str | Path) -> None:
    """scraping.csv: links, bytes, requests and rates, of all shards together and of each.

    One row per shard and status, below those for "all", "alive" (a usable picture, new or a duplicate) and "dead"
    links. seconds are those in which the links were asked for, and links_per_s and requests_per_s follow from them.
    """
    found = pd.concat([read_output(path, dtype={"shard": str}) for path in summaries])
    shards = [(ALL, found), *found.groupby("shard")]
    write_table(pd.concat([_tabulate_shard(shard, rows) for shard, rows in shards]), output, float_format=None)


def _tabulate_shard(shard: str, rows: pd.DataFrame) -> pd.DataFrame:
    by_status = rows[rows["status"] != ALL].groupby("status")[["links", "bytes", "requests"]].sum()
    by_status = by_status.sort_values("links", ascending=False, kind="stable")
    alive = by_status.index.isin(ALIVE)
    sums = {ALL: by_status.sum(), "alive": by_status[alive].sum(), "dead": by_status[~alive].sum()}
    table = pd.concat([pd.DataFrame(sums).T, by_status]).rename_axis("status").reset_index()
    table.insert(0, "shard", shard)
    table.insert(3, "percent", (100 * table["links"] / table.loc[0, "links"]).round(2))
    table.loc[0, "seconds"] = seconds = rows["seconds"].sum()
    for name in ("links", "requests"):
        table.loc[0, f"{name}_per_s"] = round(table.loc[0, name] / seconds, 3) if seconds else np.nan
    return table
