"""A real web server on loopback for the tests of scraping, with every way to misbehave; it notes who asks and when."""

import http.server
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int = 0, size=(48, 64), kind: str = "JPEG") -> bytes:
    """An encoded picture of (height, width) that no other seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, kind)
    return packed.getvalue()


@dataclass
class Ask:
    """One request as the server saw it."""

    path: str
    time: float
    headers: dict


@dataclass
class Server:
    """routes : path -> function(handler, number of earlier requests for the path); unknown paths are 404."""

    port: int = 0
    host: str = "127.0.0.1"
    routes: dict = field(default_factory=dict)
    asks: list[Ask] = field(default_factory=list)
    active: int = 0
    most_active: int = 0

    @property
    def place(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def url(self, path: str) -> str:
        return f"http://{self.place}{path}"

    def count(self, path: str) -> int:
        return sum(ask.path == path for ask in self.asks)

    def times(self, path: str | None = None) -> list[float]:
        return [ask.time for ask in self.asks if path in (None, ask.path)]


def answer(body: bytes, status: int = 200, **headers):
    """A route that answers properly; header names with '_' for '-'."""

    def route(handler, _earlier):
        handler.send_response(status)
        for name, value in ({"Content_Type": "image/jpeg", "Content_Length": len(body)} | headers).items():
            for each in value if isinstance(value, list) else [value]:
                handler.send_header(name.replace("_", "-"), str(each))
        handler.end_headers()
        handler.wfile.write(body)

    return route


def redirect(place: str, status: int = 302):
    return answer(b"", status, Location=place)


def first(*routes):
    """The first request gets the first route, the next the next, and the last stays."""

    def route(handler, earlier):
        routes[min(earlier, len(routes) - 1)](handler, earlier)

    return route


def drip(head: bytes, pause_s: float = 0.05):
    """An endless body, a byte at a time: never silent for long, and never done."""

    def route(handler, _earlier):
        handler.close_connection = True
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(head)
        while True:
            handler.wfile.write(b"x")
            time.sleep(pause_s)

    return route


def flood(head: bytes, sent: list[int]):
    """An endless body as fast as the client takes it; notes how much that was."""

    def route(handler, _earlier):
        handler.close_connection = True
        handler.send_response(200)
        handler.end_headers()
        sent.append(0)
        handler.wfile.write(head)
        while True:
            handler.wfile.write(bytes(65536))
            sent[-1] += 65536

    return route


def silence(seconds: float):
    def route(handler, _earlier):
        handler.close_connection = True
        time.sleep(seconds)

    return route


def hang_up(handler, _earlier):
    """No answer at all."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def late(route, seconds: float):
    def slow(handler, earlier):
        time.sleep(seconds)
        route(handler, earlier)

    return slow


@contextmanager
def serve(host: str = "127.0.0.1"):
    """A running Server; raises OSError where the machine lacks the host's address."""
    server = Server(host=host)
    lock = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            with lock:
                earlier = server.count(self.path)
                server.asks.append(Ask(self.path, time.monotonic(), dict(self.headers)))
                server.active += 1
                server.most_active = max(server.active, server.most_active)
            try:
                server.routes.get(self.path, answer(b"gone", 404))(self, earlier)
            except OSError:  # the client has had enough
                self.close_connection = True
            finally:
                with lock:
                    server.active -= 1

        def log_message(self, *_):
            pass

    class Threaded(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        request_queue_size = 128
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_):
            pass

    running = Threaded((host, 0), Handler)
    server.port = running.server_address[1]
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        running.shutdown()
        running.server_close()


@contextmanager
def serve_folder(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A running server of the files of a folder: its address, and the requests it was asked."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=folder)

        def log_message(self, _format, *arguments):
            asked.append(arguments[0])

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()
