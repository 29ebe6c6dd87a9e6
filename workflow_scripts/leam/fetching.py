"""One link, asked for politely and safely: its bytes or one status, whatever the server does.

Polite: a host is asked in turns, at most so often and over so many connections; it may send us away for a while
(429, Retry-After) or for good (403, 404, 410, X-Robots-Tag). Safe: every URL is judged before it is asked, the first
as well as every redirect's, and every address where its socket is opened, so that neither a name that resolves to a
private address nor one that resolves differently the second time leads there.
"""

import asyncio
import contextlib
import email.utils
import ipaddress
import random
import socket
import time
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
from yarl import URL

from leam import __version__, reasons
from leam.decoders import SIGNATURES
from leam.reasons import one_line

STATUSES = {
    reasons.OK: "a picture",
    reasons.DUPLICATE: "the same bytes as an earlier picture of the person",
    reasons.OPTED_OUT: "the server's X-Robots-Tag asks not to use or index it",
    reasons.NOT_A_PICTURE: "text, such as a page where a picture was",
    reasons.UNSUPPORTED: "neither JPEG, PNG, WebP, GIF nor TIFF",
    reasons.ENCODED: "Content-Encoding is neither gzip nor deflate (br, zstd, ...), and nothing encoded was asked for",
    reasons.UNREADABLE: "a damaged or truncated picture",
    reasons.TOO_LARGE: "more pixels than scraping.max_megapixels, or too long or too much to decode",
    reasons.TOO_MANY_BYTES: "more than scraping.max_megabytes",
    reasons.BAD_URL: "no URL that can be asked",
    reasons.SCHEME_NOT_ALLOWED: "neither http nor https",
    reasons.HOST_NOT_ALLOWED: "not in scraping.hosts",
    reasons.ADDRESS_NOT_ALLOWED: "a loopback, private, link-local or otherwise reserved address",
    reasons.TOO_MANY_REDIRECTS: "more than scraping.max_redirects",
    reasons.UNRESOLVED_HOST: "no address for the host's name",
    reasons.CONNECTION_FAILED: "refused, reset, or no valid certificate or answer",
    reasons.INCOMPLETE: "the connection ended before the file did",
    reasons.TIMEOUT: "nothing came for scraping.timeout_s",
    reasons.DEADLINE: "not done within scraping.deadline_s",
}  # and "http NNN": the server's answer, when it is neither a picture nor a redirect
REFUSALS = (
    *("http 401", "http 403", "http 407", "http 451"),
    *(reasons.NOT_A_PICTURE, reasons.ENCODED, reasons.HOST_NOT_ALLOWED),
)
ALIVE = (reasons.OK, reasons.DUPLICATE)  # the link gives a usable picture

HTTP = range(100, 600)  # what is a status of HTTP at all
ANSWERS = frozenset(f"http {code}" for code in HTTP)
REDIRECTS = (301, 302, 303, 307, 308)
AGAIN = (408, 425, 429, *range(500, 600))  # answers that may be others in a while
BUSY = (429, 503)  # the host has too much to do: all its links wait
OPT_OUTS = ("noai", "noimageai", "noindex", "noimageindex", "none")
UNAVAILABLE = "unavailable_after"
VALUED = (UNAVAILABLE, "max-snippet", "max-image-preview", "max-video-preview")  # directives with a colon
FOLDED = ("gzip", "x-gzip", "deflate")  # Content-Encodings that are undone, though none was asked for,
MOST_FOLDS = 2  # one in the other
HEAD_BYTES = 16  # enough to tell what kind of file comes
LONGEST_BACKOFF_S = 60.0
LONGEST_WAIT_S = 30 * 86_400.0  # that a link is left alone because it asked so
SEVERAL = 3  # links of a host that ask for long pauses: now the host does
NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_status(status: str) -> bool:
    """Whether a link can have this status in the ledger."""
    return status in STATUSES or status in ANSWERS


# ---------------------------------------------------------------------------------------------------------- settings


@dataclass(frozen=True)
class ScrapeSettings:
    """How links are asked for (the configuration's section ``scraping``, where each is explained)."""

    contact: str
    hosts: tuple[str, ...]
    user_agent: str = "leam"
    requests_per_second: float = 5
    connections_per_host: int = 4
    connections: int = 16
    timeout_s: float = 20
    deadline_s: float = 120
    retries: int = 4
    backoff_s: float = 1
    patience_s: float = 600
    give_up_after: int = 50
    max_redirects: int = 5
    max_megabytes: float = 20
    max_megapixels: float = 64
    allow_private_addresses: bool = False
    keep_downloads: bool = True

    @property
    def headers(self) -> dict[str, str]:
        """Who asks, and for what; nothing encoded, as pictures are compressed."""
        agent = self.user_agent if "/" in self.user_agent else f"{self.user_agent}/{__version__}"
        return {
            "User-Agent": f"{agent} (+{self.contact})",
            "Accept": "image/jpeg, image/png, image/webp",
            "Accept-Encoding": "identity",
        }


@dataclass(frozen=True)
class Fetched:
    """What became of a link: status "ok" and its bytes, or another key of STATUSES (or "http NNN") and a detail.

    final : asking again would not help; requests : how often a server was asked, redirects and retries included
    """

    status: str
    detail: str = ""
    encoded: bytes = b""
    final: bool = True
    requests: int = 0


class LinkError(Exception):
    """A link that gives no picture; ``again``: it might, if asked again; ``pause_s``: its host wants to be left alone
    for so long (NaN: it does not say how long)."""

    def __init__(self, status: str, detail: str = "", again: bool = False, pause_s: float | None = None):
        super().__init__(f"{status}: {detail}")
        self.status, self.detail, self.again, self.pause_s = status, detail, again, pause_s


class ClosedHostError(Exception):
    """A link whose host is left alone for the rest of the run; the message says which and why."""


class BusyLinkError(Exception):
    """A link that asks for a longer pause than the run has patience for; ``since``, ``until`` : seconds since 1970."""

    def __init__(self, host: str, status: str, pause_s: float):
        self.status = status
        self.since = time.time()
        self.until = self.since + min(pause_s, LONGEST_WAIT_S)
        super().__init__(f"{host} asks to wait {pause_s:.0f} s, scraping.patience_s is shorter")


class ForbiddenAddressError(OSError):
    """An address that pictures must not come from. The message is the same for all, or aiohttp would merge several
    of them into one nameless error."""

    def __init__(self) -> None:
        super().__init__(reasons.ADDRESS_NOT_ALLOWED)


# ----------------------------------------------------------------------------------------------- what may be asked


def check_url(url: str | URL, hosts: Iterable[str]) -> URL:
    """The URL if it may be asked: http or https, a host of the list, no credentials; else LinkError."""
    try:
        url = URL(url)
        host, port = url.host_subcomponent, url.port
    except ValueError as error:
        raise LinkError(reasons.BAD_URL, one_line(error)) from error
    if url.scheme not in ("http", "https"):
        raise LinkError(reasons.SCHEME_NOT_ALLOWED, url.scheme)
    if not host or url.user is not None or url.password is not None:
        raise LinkError(reasons.BAD_URL, "credentials in it" if host else "no host")
    place = host if url.is_default_port() else f"{host}:{port}"
    if not any(_fits(place, pattern) for pattern in hosts):
        raise LinkError(reasons.HOST_NOT_ALLOWED, place)
    return url


def host_of(link: str | URL) -> str:
    """The host of a link, as hosts are told apart; "" of one that has none."""
    try:
        return URL(link).host_subcomponent or ""
    except ValueError:
        return ""


def _fits(place: str, pattern: str) -> bool:
    """Whether a pattern "host", "host:port" or "*.domain" (which needs the scheme's own port) names the place."""
    return place.endswith(pattern[1:]) if pattern.startswith("*.") else place == pattern


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet; for one that carries an IPv4 address, whether that does."""
    found = ipaddress.ip_address(address.partition("%")[0])
    inner = _carried(found)
    if inner is not None:
        return is_public(str(inner))
    reserved = found.is_multicast or found.is_reserved or found.is_unspecified or getattr(found, "is_site_local", False)
    return found.is_global and not reserved


def _carried(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address within an IPv6 one: mapped, or reached through 6to4, Teredo or NAT64."""
    if address.version == 4:
        return None
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def open_public_socket(address_info: tuple) -> socket.socket:
    """A socket for one result of getaddrinfo; ForbiddenAddressError unless its address is public.

    Every connection passes here with the very address it is made to, whether that was a name, a number in any notation
    or a redirect.
    """
    family, kind, protocol, _, address = address_info
    if not is_public(address[0]):
        raise ForbiddenAddressError
    return socket.socket(family, kind, protocol)


# ------------------------------------------------------------------------------------------------ what answers say


def opt_out(values: Iterable[str], agent: str, now: float) -> str:
    """The directive of X-Robots-Tag headers that asks ``agent`` to leave the picture alone, or "".

    A header is a list of directives, meant for everyone unless it begins with the name of a robot, with or without a
    version: "name/1.0: noai". now : seconds since 1970, by which "unavailable_after: date" is judged; a date that
    nobody can read counts as past
    """
    for value in values:
        meant, parts = True, value.lower().split(",")
        for place, part in enumerate(parts):
            name, colon, directive = (piece.strip() for piece in part.partition(":"))
            if colon and name not in VALUED:
                meant = name.partition("/")[0] in ("*", agent.lower())
                name, colon, directive = (piece.strip() for piece in directive.partition(":"))
            if meant and (
                name in OPT_OUTS or (name == UNAVAILABLE and _is_past([directive, *parts[place + 1 :]], now))
            ):
                return name
    return ""


def _is_past(pieces: list[str], now: float) -> bool:
    """Whether a date is over; a weekday's comma may have split it from the rest of its list."""
    for several in (1, 2):
        text = ",".join(pieces[:several]).strip()
        for read in (email.utils.parsedate_to_datetime, datetime.fromisoformat):
            with contextlib.suppress(ValueError, TypeError, IndexError, OverflowError):
                found = read(text)
                return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() <= now
    return True


def retry_after_s(value: str | None, now: float) -> float:
    """Seconds that a Retry-After header asks for, given as seconds or as a date; NaN if it says nothing readable."""
    if value is None:
        return float("nan")
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(email.utils.parsedate_to_datetime(value).timestamp() - now, 0.0)
    except (ValueError, OverflowError):
        return float("nan")


def time_of(headers: Mapping[str, str]) -> float:
    """When an answer was given, seconds since 1970, by the server's clock, to which its other dates belong."""
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return email.utils.parsedate_to_datetime(headers.get("Date", "")).timestamp()
    return time.time()


def check_head(head: bytes, content_type: str) -> None:
    """Raises LinkError unless the first bytes are those of a picture's file, whatever the server calls it."""
    if not head.startswith(SIGNATURES):
        raise _no_picture(head, f"sent as {content_type[:80]}", content_type)


def _no_picture(head: bytes, detail: str, content_type: str, status: str = reasons.UNSUPPORTED) -> LinkError:
    """What else a body is: nothing, a text, or of this status."""
    if not head:
        return LinkError(reasons.UNREADABLE, "empty file")
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<", b"{")) or content_type.startswith("text/")
    return LinkError(reasons.NOT_A_PICTURE if text else status, detail)


def encodings(values: Iterable[str]) -> list[str]:
    """What Content-Encoding headers say was done to a body, in that order; [] where nothing was."""
    named = (name.strip().lower() for value in values for name in value.split(","))
    return [name for name in named if name not in ("", "identity")]


def unfold(body: bytes, done: list[str], limit: int, content_type: str) -> bytes:
    """The bytes before a server encoded them (`encodings`), at most ``limit``. A picture is taken as it came, whatever
    the server says was done to it.

    Raises LinkError for an encoding that cannot be undone or is not that of the body, and for a body that is longer or
    ends early.
    """
    for coding in reversed(done):
        if not body or body.startswith(SIGNATURES):
            break
        if len(done) > MOST_FOLDS or coding not in FOLDED:
            raise _no_picture(body[:HEAD_BYTES], ", ".join(done)[:80], content_type, reasons.ENCODED)
        body = _inflate(body, coding, limit, content_type)
    return body


def _inflate(body: bytes, coding: str, limit: int, content_type: str) -> bytes:
    bare = (-zlib.MAX_WBITS,) * (coding == "deflate")  # some servers send it without a head
    for window in (zlib.MAX_WBITS | 32, *bare):  # gzip or zlib
        stream = zlib.decompressobj(window)
        try:
            found = stream.decompress(body, limit + 1)
        except zlib.error:
            continue
        if len(found) > limit:
            raise LinkError(reasons.TOO_MANY_BYTES, f"more than {limit}, out of {len(body)}")
        if not stream.eof:
            raise LinkError(reasons.INCOMPLETE, again=True)
        return found
    raise _no_picture(body[:HEAD_BYTES], f"sent as {coding}, which it is not", content_type)


# ------------------------------------------------------------------------------------------------------------ asking


class Host:
    """The turns of one host: so many connections, so often, and not before a pause is over."""

    def __init__(self, settings: ScrapeSettings):
        self.connections = asyncio.Semaphore(settings.connections_per_host)
        self.interval_s = 1 / settings.requests_per_second
        self.free_at = 0.0
        self.queue = asyncio.Lock()
        self.long_pauses = 0  # links that asked for longer than the run has patience for
        self.closed = ""  # why nothing more is asked of it in this run

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        async with self.connections:
            async with self.queue:
                while (wait := self.free_at - time.monotonic()) > 0:  # a pause may come while waiting
                    await asyncio.sleep(wait)
                self.free_at = time.monotonic() + self.interval_s
            yield

    def pause(self, seconds: float) -> None:
        self.free_at = max(self.free_at, time.monotonic() + seconds)


class Asked:
    """A link on its way: requests made, and what is left of its deadline, which runs only while a server is asked."""

    def __init__(self, deadline_s: float):
        self.requests, self.left_s = 0, deadline_s

    @contextlib.asynccontextmanager
    async def request(self) -> AsyncIterator[None]:
        begun = time.monotonic()
        self.requests += 1
        try:
            async with asyncio.timeout(max(self.left_s, 0)):
                yield
        except TimeoutError:
            raise LinkError(reasons.DEADLINE) from None
        finally:
            self.left_s -= time.monotonic() - begun


class Fetcher:
    """Asks for links, each host in its turn. An async context manager: it holds the connections."""

    def __init__(self, settings: ScrapeSettings):
        self.settings = settings
        self.agent = settings.user_agent.partition("/")[0]
        self.hosts: dict[str, Host] = defaultdict(lambda: Host(settings))

    async def __aenter__(self) -> "Fetcher":
        settings = self.settings
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=settings.connections,
                socket_factory=None if settings.allow_private_addresses else open_public_socket,
            ),
            headers=settings.headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.timeout_s, sock_read=settings.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            middlewares=(_ask_once,),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    def close(self, link: str, why: str) -> None:
        """Ask nothing more of a link's host in this run."""
        self.hosts[host_of(link)].closed = why

    async def fetch(self, link: str) -> Fetched:
        """Ask for a link, again where that may help. Raises BusyLinkError and ClosedHostError."""
        asked = Asked(self.settings.deadline_s)
        for attempt in range(self.settings.retries + 1):
            try:
                return Fetched(reasons.OK, encoded=await self._follow(link, asked), requests=asked.requests)
            except LinkError as error:
                failed = Fetched(error.status, error.detail, b"", not error.again, asked.requests)
            if failed.final or attempt == self.settings.retries:
                break
            await asyncio.sleep(self._backoff_s(attempt))
        return failed

    def _backoff_s(self, attempt: int) -> float:
        """Doubling, with jitter, so that links which failed together do not come back together."""
        return min(self.settings.backoff_s * 2**attempt, LONGEST_BACKOFF_S) * random.uniform(0.5, 1.5)

    async def _follow(self, link: str, asked: Asked) -> bytes:
        """The bytes at the end of a link's redirects."""
        url: URL | str = link
        for _ in range(self.settings.max_redirects + 1):
            url = check_url(url, self.settings.hosts)
            host = self.hosts[host_of(url)]
            async with host.turn():
                if host.closed:
                    raise ClosedHostError(f"{url.host}: {host.closed}")
                try:
                    async with asked.request():
                        found = await self._ask(url)
                except LinkError as error:
                    self._heed(error, host, url)
                    raise
            if isinstance(found, bytes):
                return found
            url = found
        raise LinkError(reasons.TOO_MANY_REDIRECTS, str(url))

    def _heed(self, error: LinkError, host: Host, url: URL) -> None:
        """Leave a busy host alone for as long as it asks."""
        if error.pause_s is None:
            return
        if error.pause_s > self.settings.patience_s:
            host.long_pauses += 1  # of one link it may be a trap, of several it is the host's word
            if host.long_pauses >= SEVERAL:
                host.closed = f"asks to wait {error.pause_s:.0f} s, scraping.patience_s is {self.settings.patience_s:g}"
            host.pause(self._backoff_s(0))
            raise BusyLinkError(url.host or "", error.status, error.pause_s)
        host.pause(error.pause_s if error.pause_s >= 0 else self._backoff_s(0))

    async def _ask(self, url: URL) -> bytes | URL:
        """One request: the picture's bytes, or where it redirects to; LinkError for everything else."""
        try:
            async with self.session.get(url, allow_redirects=False) as response:
                if response.status in REDIRECTS:
                    self._heed_opt_out(response)
                    return _redirect(url, response)
                return await self._read(response)
        except aiohttp.InvalidURL as error:
            raise LinkError(reasons.BAD_URL, one_line(error)) from error
        except aiohttp.ServerTimeoutError as error:
            raise LinkError(reasons.TIMEOUT, again=True) from error
        except aiohttp.ClientConnectorDNSError as error:
            raise LinkError(reasons.UNRESOLVED_HOST, one_line(error.os_error), again=True) from error
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, ForbiddenAddressError):
                raise LinkError(reasons.ADDRESS_NOT_ALLOWED, url.host or "") from error
            raise LinkError(reasons.CONNECTION_FAILED, one_line(error.os_error), again=True) from error
        except aiohttp.ClientPayloadError as error:
            raise LinkError(reasons.INCOMPLETE, again=True) from error
        except (aiohttp.ClientError, OSError) as error:
            raise LinkError(reasons.CONNECTION_FAILED, one_line(error), again=True) from error

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """The body of an answer, given up as soon as it turns out not to be a picture, or too long."""
        _check_status(response)
        self._heed_opt_out(response)
        limit = int(self.settings.max_megabytes * 2**20)
        if (response.content_length or 0) > limit:
            raise LinkError(reasons.TOO_MANY_BYTES, f"{response.content_length} announced")
        body, done = bytearray(), encodings(response.headers.getall("Content-Encoding", ()))
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise LinkError(reasons.TOO_MANY_BYTES, f"more than {limit}")
            if len(body) >= HEAD_BYTES and not done:
                check_head(bytes(body[:HEAD_BYTES]), response.content_type)
        found = unfold(bytes(body), done, limit, response.content_type)
        check_head(found[:HEAD_BYTES], response.content_type)
        return found

    def _heed_opt_out(self, response: aiohttp.ClientResponse) -> None:
        if directive := opt_out(response.headers.getall("X-Robots-Tag", ()), self.agent, time_of(response.headers)):
            raise LinkError(reasons.OPTED_OUT, directive)


async def _ask_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Middleware: aiohttp would repeat a request whose connection is lost, at once and without asking for a turn."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise LinkError(reasons.CONNECTION_FAILED, one_line(error), again=True) from error


def _check_status(response: aiohttp.ClientResponse) -> None:
    """Raises LinkError unless the answer is 200."""
    status = response.status
    if status == 200:
        return
    pause_s = retry_after_s(response.headers.get("Retry-After"), time_of(response.headers)) if status in BUSY else None
    if status not in HTTP:
        raise LinkError(reasons.CONNECTION_FAILED, f"an answer of status {status}", again=True)
    raise LinkError(f"http {status}", again=status in AGAIN, pause_s=pause_s)


def _redirect(url: URL, response: aiohttp.ClientResponse) -> URL:
    """Where a redirect leads; the caller judges it like any other URL."""
    place = response.headers.get("Location")
    if not place:
        raise LinkError(reasons.BAD_URL, "redirect to nowhere")
    try:
        return url.join(URL(place))
    except ValueError as error:
        raise LinkError(reasons.BAD_URL, f"redirect: {one_line(error)}") from error
