"""leam.fetching: what may be asked, what answers say, and one link against a server that misbehaves."""

import asyncio
import email.utils
import gzip
import itertools
import math
import socket
import time
import types
import zlib

import pytest

from leam import __version__, fetching
from leam.fetching import Fetcher, LinkError, ScrapeSettings
from picture_server import answer, drip, first, flood, hang_up, late, picture, redirect, serve, silence

QUICK = {
    "contact": "me@example.org",
    "requests_per_second": 1000,
    "backoff_s": 0.02,
    "timeout_s": 10,
    "deadline_s": 60,
    "retries": 2,
    "max_megabytes": 1,
    "allow_private_addresses": True,
}


def gzipped(content):
    """Without the time of day, which would be part of the tests' names."""
    return gzip.compress(content, mtime=0)


@pytest.fixture
def server():
    with serve() as running:
        yield running


def fetch(links, hosts, **changes):
    """What became of links (one or a list), asked all at once."""
    settings = ScrapeSettings(**QUICK | {"hosts": tuple(hosts)} | changes)

    async def run():
        async with Fetcher(settings) as fetcher:
            return await asyncio.gather(*(fetcher.fetch(link) for link in links))

    return asyncio.run(run())


def status(server, route, **changes):
    """Status of one link with this route, and how often it was asked."""
    server.routes["/x.jpg"] = route
    server.asks.clear()
    (found,) = fetch([server.url("/x.jpg")], [server.place], **changes)
    return found.status, server.count("/x.jpg")


# ------------------------------------------------------------------------------------------------------ what is asked


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a.org/x", "ok"),
        ("https://a.org:443/x", "ok"),
        ("HTTPS://A.ORG/x", "ok"),
        ("http://b.org:81/x", "ok"),
        ("http://deep.c.org/x", "ok"),
        ("http://c.org/x", "host not allowed"),
        ("http://evilc.org/x", "host not allowed"),
        ("http://a.org.evil.org/x", "host not allowed"),
        ("http://a.org:81/x", "host not allowed"),
        ("http://b.org/x", "host not allowed"),
        ("http://deep.c.org:22/x", "host not allowed"),
        ("http://evil.org/a.org", "host not allowed"),
        ("http://evil.org\\@a.org/x", "bad url"),
        ("http://me:word@a.org/x", "bad url"),
        ("http://me@a.org/x", "bad url"),
        ("http:///x", "bad url"),
        ("http://a.org:99999/x", "bad url"),
        ("http://[::1/x", "bad url"),
        ("file:///etc/passwd", "scheme not allowed"),
        ("ftp://a.org/x", "scheme not allowed"),
        ("javascript:alert(1)", "scheme not allowed"),
        ("/x", "scheme not allowed"),
        ("", "scheme not allowed"),
    ],
)
def test_only_listed_hosts_at_their_own_port(url, expected):
    try:
        fetching.check_url(url, ("a.org", "b.org:81", "*.c.org"))
        found = "ok"
    except LinkError as error:
        found = error.status
    assert found == expected


NOT_PUBLIC = """127.0.0.1 127.255.255.254 10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1
0.0.0.0 224.0.0.1 240.0.0.1 255.255.255.255 192.0.2.1 198.18.0.1 ::1 :: fe80::1 fe80::1%eth0 fc00::1 fd12::1 fec0::1
ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::a00:1 64:ff9b::7f00:1 2002:7f00:1:: 2002:a00:1:: 2001:db8::1"""
PUBLIC = "8.8.8.8 172.32.0.1 2600:9000::1 2a00:1450:4001::1 ::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::1"


@pytest.mark.parametrize(
    ("address", "expected"), [(a, False) for a in NOT_PUBLIC.split()] + [(a, True) for a in PUBLIC.split()]
)
def test_only_public_addresses_give_pictures(address, expected):
    assert fetching.is_public(address) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", ["address not allowed"]),
        ("localhost", ["address not allowed"]),
        ("[::ffff:127.0.0.1]", ["address not allowed"]),
        ("[::ffff:7f00:1]", ["address not allowed"]),
        ("0x7f000001", ["address not allowed", "unresolved host"]),  # as the machine's resolver takes it
        ("2130706433", ["bad url"]),
        ("017700000001", ["bad url"]),
        ("127.1", ["bad url"]),
    ],
)
def test_loopback_is_not_asked_under_any_of_its_names(server, host, expected):
    server.routes["/x.jpg"] = answer(picture())
    link = f"http://{host}:{server.port}/x.jpg"
    place = f"{fetching.URL(link).host_subcomponent}:{server.port}"
    (found,) = fetch([link], [place], allow_private_addresses=False, retries=0)
    assert found.status in expected
    assert server.asks == []


def test_ipv6_loopback_is_asked_only_if_allowed():
    with serve("::1") as server:
        server.routes["/x.jpg"] = answer(picture())
        (refused,) = fetch([server.url("/x.jpg")], [server.place], allow_private_addresses=False)
        assert (refused.status, server.asks) == ("address not allowed", [])
        (found,) = fetch([server.url("/x.jpg")], [server.place])
        assert (found.status, found.encoded) == ("ok", picture())


def test_a_redirect_to_a_forbidden_address_is_not_followed(server, monkeypatch):
    """The first server counts as public, the second does not; both are on the list of hosts."""
    monkeypatch.setattr(fetching, "is_public", lambda address: address == "127.0.0.1")
    with serve("::1") as inner:
        inner.routes["/x.jpg"] = answer(picture())
        server.routes["/away.jpg"] = redirect(inner.url("/x.jpg"))
        hosts = [server.place, inner.place]
        (found,) = fetch([server.url("/away.jpg")], hosts, allow_private_addresses=False)
        assert (found.status, server.count("/away.jpg"), inner.asks) == ("address not allowed", 1, [])
        assert fetch([server.url("/away.jpg")], hosts)[0].status == "ok"


def test_a_name_that_resolves_differently_the_second_time_leads_nowhere(server, monkeypatch):
    """First to an address that counts as public, then, when the connection is made anew, to one that does not."""
    monkeypatch.setattr(fetching, "is_public", lambda address: address == "127.0.0.1")
    real, turns = socket.getaddrinfo, itertools.chain(["127.0.0.1"], itertools.repeat("::1"))

    def rebinding(host, *arguments, **named):
        return real(next(turns) if host == "pictures.example" else host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    server.routes["/x.jpg"] = answer(picture(), Connection="close")
    link, hosts = f"http://pictures.example:{server.port}/x.jpg", [f"pictures.example:{server.port}"]
    found = [fetch([link], hosts, allow_private_addresses=False)[0].status for _ in range(2)]
    assert found == ["ok", "address not allowed"]


# ------------------------------------------------------------------------------------------------- what answers say


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        (["noindex"], "noindex"),
        (["NoAI"], "noai"),
        (["nofollow, noimageai"], "noimageai"),
        (["nofollow", "noarchive, noimageindex"], "noimageindex"),
        (["none"], "none"),
        (["all"], ""),
        (["leam: noai"], "noai"),
        (["*: noai"], "noai"),
        (["otherbot: noai"], ""),
        (["otherbot: noai, noindex"], ""),
        (["otherbot: noai", "noindex"], "noindex"),
        (["unavailable_after: 25 Jun 2099 15:00:00 PST, noindex"], "noindex"),
        (["max-image-preview: none"], ""),
        (["leam/9.9: noai"], "noai"),
        (["LEAM/9.9.1: nofollow, noimageai"], "noimageai"),
        (["leamington: noai"], ""),
        (["otherbot/2: noai", "leam: all"], ""),
        (["unavailable_after: 25 Jun 2099 15:00:00 PST"], ""),
        (["unavailable_after: Thu, 25 Jun 2099 15:00:00 GMT, nofollow"], ""),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST"], "unavailable_after"),
        (["unavailable_after: Fri, 25 Jun 2010 15:00:00 GMT"], "unavailable_after"),
        (["nofollow, unavailable_after: 2010-06-25"], "unavailable_after"),
        (["unavailable_after: 2099-06-25T15:00:00+02:00, noarchive"], ""),
        (["leam: unavailable_after: 2010-06-25"], "unavailable_after"),
        (["otherbot: unavailable_after: 2010-06-25"], ""),
        (["unavailable_after: some day"], "unavailable_after"),
        (["unavailable_after: 99 Xyz 99999999999999999999"], "unavailable_after"),
    ],
)
def test_opt_outs(values, expected):
    assert fetching.opt_out(values, "leam", now=1.8e9) == expected


def test_retry_after_is_seconds_or_a_date():
    now = 784111700.0  # 77 s before Sun, 06 Nov 1994 08:49:37 GMT
    assert fetching.retry_after_s("120", now) == 120
    assert fetching.retry_after_s("Sun, 06 Nov 1994 08:49:37 GMT", now) == 77
    assert fetching.retry_after_s("Sun, 06 Nov 1994 08:49:37 GMT", now + 100) == 0
    assert all(math.isnan(fetching.retry_after_s(value, now)) for value in (None, "soon", "-3", "1.5e400", ""))


# ---------------------------------------------------------------------------------------------------------- manners


def test_who_asks_is_said_and_nothing_else(server):
    assert status(server, answer(picture(), Set_Cookie="a=b")) == ("ok", 1)
    status(server, answer(picture()))
    headers = server.asks[-1].headers
    assert headers["User-Agent"] == f"leam/{__version__} (+me@example.org)"
    assert headers["Accept-Encoding"] == "identity"
    assert set(headers) == {"Host", "User-Agent", "Accept", "Accept-Encoding"}


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 451])
def test_a_definite_no_is_not_asked_again(server, code):
    assert status(server, answer(b"no", code)) == (f"http {code}", 1)


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again(server, code):
    assert status(server, first(answer(b"no", code), answer(picture()))) == ("ok", 2)
    assert status(server, answer(b"no", code)) == (f"http {code}", 3)


@pytest.mark.parametrize(
    "line", ["HTTP/1.1 000 no", "HTTP/1.1 042 no", "HTTP/1.1 099 no", "HTTP/1.1 600 no", "HTTP/1.1 999 no"]
)
def test_an_answer_that_is_no_status_of_http_is_a_failed_connection(server, line):
    def route(handler, _earlier):
        handler.wfile.write(f"{line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())

    found, asked = status(server, route)
    assert (found, asked) == ("connection failed", 3) and fetching.is_status(found)


@pytest.mark.parametrize(
    ("text", "known"),
    [("ok", True), ("http 404", True), ("http 042", False), ("http 42", False), ("http 600", False), ("http ", False)],
)
def test_what_can_stand_in_a_ledger(text, known):
    assert fetching.is_status(text) == known


def test_back_off_doubles(server):
    status(server, answer(b"", 500), retries=3, backoff_s=0.1)
    gaps = [after - before for before, after in itertools.pairwise(server.times())]
    assert all(gap >= 0.5 * 0.1 * 2**k for k, gap in enumerate(gaps))
    backoffs = [Fetcher(ScrapeSettings(**QUICK, hosts=()))._backoff_s(20) for _ in range(50)]
    assert len(set(backoffs)) > 40 and max(backoffs) <= 1.5 * fetching.LONGEST_BACKOFF_S


def test_retry_after_holds_for_every_link_of_the_host(server):
    server.routes |= {f"/{k}.jpg": answer(picture(k)) for k in range(6)}
    server.routes["/busy.jpg"] = first(answer(b"", 429, Retry_After=1), answer(picture()))
    links = [server.url(path) for path in server.routes]
    found = fetch([links[-1], *links[:-1]], [server.place], connections_per_host=1)
    assert {each.status for each in found} == {"ok"}
    refused, *later = server.times()
    assert server.asks[0].path == "/busy.jpg" and len(later) == 7
    assert min(later) - refused >= 1


def test_a_link_that_asks_for_too_long_a_pause_is_left_alone(server):
    with pytest.raises(fetching.BusyLinkError, match=r"127\.0\.0\.1 asks to wait 7200 s") as caught:
        status(server, answer(b"", 503, Retry_After=7200))
    assert caught.value.until == pytest.approx(time.time() + 7200, abs=60) and caught.value.status == "http 503"
    with pytest.raises(fetching.BusyLinkError) as caught:
        status(server, answer(b"", 429, Retry_After=10**15))
    assert caught.value.until <= time.time() + fetching.LONGEST_WAIT_S


def test_several_such_links_are_their_hosts_word(server):
    server.routes |= {f"/{k}.jpg": answer(b"", 429, Retry_After=7200) for k in range(3)} | {"/y.jpg": answer(picture())}
    settings = ScrapeSettings(**QUICK | {"hosts": (server.place,)})

    async def run():
        async with Fetcher(settings) as fetcher:
            for k in range(3):
                with pytest.raises(fetching.BusyLinkError):
                    await fetcher.fetch(server.url(f"/{k}.jpg"))
            with pytest.raises(fetching.ClosedHostError, match=r"asks to wait 7200 s, scraping\.patience_s is 600"):
                await fetcher.fetch(server.url("/y.jpg"))

    asyncio.run(run())
    assert server.count("/y.jpg") == 0


def test_the_rate_of_a_host_is_kept_with_redirects_and_retries(server):
    rate, links = 40, []
    for k in range(12):
        server.routes[f"/{k}.jpg"] = first(answer(b"", 500), answer(picture(k)))
        server.routes[f"/to{k}.jpg"] = redirect(f"/{k}.jpg")
        links.append(server.url(f"/to{k}.jpg"))
    found = fetch(links, [server.place], requests_per_second=rate, connections_per_host=8)
    assert {each.status for each in found} == {"ok"}
    times = sorted(server.times())
    assert len(times) == sum(each.requests for each in found) == 48
    slack_s = 0.1  # a request may take longer to arrive than the one after it
    for window in (10, 20, len(times)):
        for start in range(len(times) - window + 1):
            assert times[start + window - 1] - times[start] >= (window - 1) / rate - slack_s


def test_no_more_connections_to_a_host_than_allowed(server):
    server.routes |= {f"/{k}.jpg": late(answer(picture(k)), 0.03) for k in range(20)}
    fetch([server.url(path) for path in server.routes], [server.place], connections_per_host=3)
    assert server.most_active == 3


# -------------------------------------------------------------------------------------------------- bad connections


def test_a_url_beyond_ascii_is_encoded(server):
    server.routes["/b%C3%BCcher/%E6%BC%A2%20%E5%AD%97.jpg?gr%C3%B6%C3%9Fe=1"] = answer(picture())
    assert fetch([server.url("/bücher/漢 字.jpg?größe=1")], [server.place])[0].status == "ok"


def test_redirects_are_followed_and_judged(server):
    server.routes |= {
        "/x.jpg": answer(picture()),
        "/relative.jpg": redirect("x.jpg", 301),
        "/chain.jpg": redirect("/relative.jpg", 307),
        "/loop.jpg": redirect("/loop.jpg"),
        "/ping.jpg": redirect("/pong.jpg"),
        "/pong.jpg": redirect("/ping.jpg"),
        "/foreign.jpg": redirect("http://elsewhere.example/x.jpg"),
        "/port.jpg": redirect("http://127.0.0.1:22/"),
        "/file.jpg": redirect("file:///etc/passwd"),
        "/nowhere.jpg": answer(b"", 302),
        "/broken.jpg": redirect("http://[x/"),
        "/word.jpg": redirect(f"http://me:word@{server.place}/x.jpg"),
    }
    found = fetch([server.url(path) for path in server.routes], [server.place], max_redirects=3)
    assert dict(zip(server.routes, (each.status for each in found), strict=True)) == {
        "/x.jpg": "ok",
        "/relative.jpg": "ok",
        "/chain.jpg": "ok",
        "/loop.jpg": "too many redirects",
        "/ping.jpg": "too many redirects",
        "/pong.jpg": "too many redirects",
        "/foreign.jpg": "host not allowed",
        "/port.jpg": "host not allowed",
        "/file.jpg": "scheme not allowed",
        "/nowhere.jpg": "bad url",
        "/broken.jpg": "bad url",
        "/word.jpg": "bad url",
    }
    assert server.count("/loop.jpg") == 4


def test_silence_and_drip_end(server):
    assert status(server, silence(3), retries=1, timeout_s=0.2) == ("timeout", 2)
    assert status(server, drip(picture()[:100]), deadline_s=0.6) == ("deadline", 1)


def test_the_deadline_is_of_all_attempts_together(server):
    assert status(server, silence(3), retries=50, timeout_s=1, deadline_s=2.5) == ("deadline", 3)


def test_long_files_are_not_read_to_their_end(server):
    sent = []
    assert status(server, flood(picture()[:100], sent)) == ("too many bytes", 1)
    assert sent[0] < 8 * 2**20
    thirty = picture()[:100] + bytes(30 * 2**20)
    assert status(server, answer(thirty)) == ("too many bytes", 1)
    assert status(server, answer(thirty), max_megabytes=31) == ("ok", 1)


def test_a_wrong_length_is_noticed(server):
    whole = picture()
    longer = answer(whole, Content_Length=len(whole) + 10, Connection="close")
    assert status(server, longer) == ("incomplete", 3)
    assert status(server, first(longer, answer(whole))) == ("ok", 2)


def test_lost_connections(server):
    assert status(server, hang_up) == ("connection failed", 3)
    assert status(server, first(hang_up, answer(picture()))) == ("ok", 2)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{closed.getsockname()[1]}"
        assert fetch([f"http://{place}/x.jpg"], [place])[0].status == "connection failed"
    assert fetch(["http://nowhere.invalid/x.jpg"], ["nowhere.invalid"], retries=0)[0].status == "unresolved host"
    assert fetch([f"https://{server.place}/x.jpg"], [server.place], retries=0)[0].status == "connection failed"


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (picture(kind="PNG"), "image/jpeg", "ok"),
        (picture(kind="WEBP"), "application/octet-stream", "ok"),
        (picture(), "text/html", "ok"),
        (b"<!DOCTYPE html><html>not here</html>", "image/jpeg", "not a picture"),
        (b"\n  <html>", "image/jpeg", "not a picture"),
        (b"sorry", "text/plain", "not a picture"),
        (b'{"error": 1}', "application/json", "not a picture"),
        (picture(kind="GIF"), "image/jpeg", "ok"),
        (picture(kind="TIFF"), "image/jpeg", "ok"),
        (picture(kind="BMP"), "image/jpeg", "unsupported format"),
        (gzipped(bytes(10**6)), "image/jpeg", "unsupported format"),
        (b"", "image/jpeg", "unreadable"),
    ],
)
def test_the_first_bytes_tell_what_it_is(server, body, kind, expected):
    assert status(server, answer(body, Content_Type=kind)) == (expected, 1)


PICTURE, PAGE = picture(), b"<!DOCTYPE html>" + b"log in here " * 50
GZIPPED, BARE = gzipped(PICTURE), zlib.compress(PICTURE, wbits=-15)
BROTLI = bytes.fromhex("8b0780ffd8ffe000104a46494600010100000103")  # brotli's bytes of the first 16 of a JPEG
ZSTD = bytes.fromhex("28b52ffd2010810000ffd8ffe000104a464946000101000001")  # and zstd's


@pytest.mark.parametrize(
    ("encoding", "body", "kind", "expected"),
    [
        *((name, GZIPPED, "image/jpeg", "ok") for name in ("gzip", "x-gzip", "GZip", "identity, gzip", "deflate")),
        *(("deflate", body, "image/jpeg", "ok") for body in (zlib.compress(PICTURE), BARE)),
        *(
            (name, PICTURE, "image/jpeg", "ok")
            for name in ("gzip", "br", "zstd", "utf-8", "none", "br, br, br", "", ",")
        ),
        ("gzip, gzip", gzipped(GZIPPED), "image/jpeg", "ok"),
        (["deflate", "gzip"], gzipped(BARE), "image/jpeg", "ok"),
        ("gzip, gzip", GZIPPED, "image/jpeg", "ok"),  # less was done than it says
        ("gzip, gzip, gzip", gzipped(gzipped(GZIPPED)), "image/jpeg", "encoding not asked for"),
        ("gzip", gzipped(GZIPPED), "image/jpeg", "unsupported format"),  # and more
        ("br", BROTLI, "image/jpeg", "encoding not asked for"),
        ("br, gzip", gzipped(BROTLI), "image/jpeg", "encoding not asked for"),
        ("zstd", ZSTD, "image/jpeg", "encoding not asked for"),
        *((name, bytes(99), "image/jpeg", "encoding not asked for") for name in ("compress", "x" * 3000, "\xe9")),
        ("gzip", BROTLI, "image/jpeg", "unsupported format"),
        ("gzip", GZIPPED + b"more", "image/jpeg", "ok"),
        ("gzip", gzipped(PAGE), "image/jpeg", "not a picture"),
        ("gzip", PAGE, "image/jpeg", "not a picture"),
        ("br", PAGE, "image/jpeg", "not a picture"),
        ("br", BROTLI, "text/html", "not a picture"),
        ("gzip", b"", "image/jpeg", "unreadable"),
        ("br", b"", "image/jpeg", "unreadable"),
        ("gzip", gzipped(b""), "image/jpeg", "unreadable"),
        ("gzip", gzipped(bytes(50 * 2**20)), "image/jpeg", "too many bytes"),
        ("gzip", gzipped(PICTURE + bytes(2**20)), "image/jpeg", "too many bytes"),
        ("gzip, gzip", gzipped(gzipped(bytes(10**8))), "image/jpeg", "too many bytes"),
        ("deflate", zlib.compress(bytes(10**7), wbits=-15), "image/jpeg", "too many bytes"),
    ],
)
def test_what_was_encoded_without_being_asked_for_is_undone_within_bounds(server, encoding, body, kind, expected):
    assert status(server, answer(body, Content_Type=kind, Content_Encoding=encoding)) == (expected, 1)


def test_the_picture_is_the_one_that_was_encoded(server):
    server.routes["/x.jpg"] = answer(gzipped(BARE), Content_Encoding="deflate, gzip")
    (found,) = fetch([server.url("/x.jpg")], [server.place])
    assert found.encoded == PICTURE and found.final


@pytest.mark.parametrize("cut", [1, 9, 12, len(GZIPPED) // 2, len(GZIPPED) - 1])
def test_an_encoding_that_ends_early_is_asked_for_again(server, cut):
    cut_short = answer(GZIPPED[:cut], Content_Encoding="gzip")
    assert status(server, cut_short) == ("incomplete", 3)
    assert status(server, first(cut_short, answer(GZIPPED, Content_Encoding="gzip"))) == ("ok", 2)


def test_an_encoded_body_is_bounded_before_it_is_undone(server):
    sent = []

    def route(handler, earlier):
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Type", "image/jpeg")
        handler.end_headers()
        handler.close_connection = True
        sent.append(0)
        while True:
            handler.wfile.write(bytes(65536))
            sent[-1] += 65536

    assert status(server, route) == ("too many bytes", 1)
    # more is sent than read: both sockets have buffers, which a kernel lets grow to 10 MiB
    assert sent[0] < 32 * 2**20


@pytest.mark.parametrize("transfer", ["gzip", "gzip, chunked", "br", "chunked, gzip"])
def test_a_transfer_that_was_encoded_gives_no_broken_picture(server, transfer):
    def route(handler, _earlier):
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("Content-Type", "image/jpeg")
        handler.send_header("Transfer-Encoding", transfer)
        handler.end_headers()
        chunked = transfer.endswith("chunked")
        handler.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(GZIPPED), GZIPPED) if chunked else GZIPPED)

    assert status(server, route)[0] in ("unsupported format", "connection failed", "incomplete")


def test_a_page_is_not_read_to_its_end(server):
    sent = []
    assert status(server, flood(b"<html><body>" + b"x" * 100, sent), max_megabytes=1000) == ("not a picture", 1)
    assert sent[0] < 8 * 2**20


def test_opt_outs_are_respected(server):
    assert status(server, answer(picture(), X_Robots_Tag=["nofollow", "noai"])) == ("opted out", 1)
    assert status(server, answer(picture(), X_Robots_Tag="otherbot: noai")) == ("ok", 1)


@pytest.mark.parametrize("years", [-20, 20])
def test_dates_are_judged_by_the_clock_of_the_server(server, monkeypatch, years):
    """That of this machine may be wrong by years."""
    now = time.time()
    wrong = types.SimpleNamespace(time=lambda: now + years * 365 * 86_400, monotonic=time.monotonic)
    monkeypatch.setattr(fetching, "time", wrong)  # not the server's, which runs in this process
    dated = [email.utils.formatdate(now + after, usegmt=True) for after in (2, -3600, 3600)]
    busy = first(answer(b"", 503, Retry_After=dated[0]), answer(picture()))
    begun = time.monotonic()
    assert status(server, busy, patience_s=100) == ("ok", 2)
    assert time.monotonic() - begun > 0.5  # a part of the two seconds has passed before
    assert status(server, answer(picture(), X_Robots_Tag=f"unavailable_after: {dated[1]}")) == ("opted out", 1)
    assert status(server, answer(picture(), X_Robots_Tag=f"unavailable_after: {dated[2]}")) == ("ok", 1)


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 32 Foo 99999 00:00:00 GMT"])
def test_an_answer_without_a_readable_date_is_judged_by_this_clock(date, monkeypatch):
    monkeypatch.setattr(fetching.time, "time", lambda: 5.0)
    assert fetching.time_of({"Date": date} if date else {}) == 5
    assert fetching.time_of({"Date": "Thu, 01 Jan 1970 00:01:00 GMT"}) == 60


def test_an_opt_out_on_the_way_is_heeded(server):
    server.routes["/y.jpg"] = answer(picture())

    def route(handler, _earlier):
        handler.send_response(302)
        handler.send_header("Location", server.url("/y.jpg"))
        handler.send_header("X-Robots-Tag", "noimageai")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    assert status(server, route) == ("opted out", 1) and server.count("/y.jpg") == 0
