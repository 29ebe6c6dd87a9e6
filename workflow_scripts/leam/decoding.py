"""Bytes of strangers become arrays in a process of its own, which has so many seconds and bytes for each.

A picture of a few bytes can keep a decoder busy for minutes or fill the memory, and a fault in one can end the process
that it runs in. So decoders run beside the job, one after another in the same process, which is started when it is
first needed, and ends with the job. The kernel ends it when a file takes more seconds of the processor than it may
(waiting for a busy machine costs none), and gives it no more memory than that; the next file gets another process.

What was refused for that is kept by its SHA-256 (`remember`), so that no later run pays for it again.
"""

import atexit
import contextlib
import hashlib
import json
import logging
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import PIL

from leam.decoders import KINDS, faults
from leam.files import StorageError
from leam.journal import Journal
from leam.reasons import UnusablePictureError

log = logging.getLogger(__name__)
Taken = TypeVar("Taken")

SECONDS, SECONDS_PER_MEGAPIXEL = 2, 0.1  # of the processor; ordinary pictures take a fifth of the latter, or less
MEGABYTES, BYTES_PER_PX = 256, 24  # beside what the process has before; WebP takes 16 a pixel, whatever is in it
SILENCE_S = 600  # by the clock; only a process that was stopped takes that long
IN_FLIGHT = 2  # questions at a time: the second is there when the first is answered
VERDICT_WAIT_S = 2  # for another process that writes a verdict
READY = b"!"
NO_BYTES = memoryview(b"")
KEPT_BYTES = 2**26  # of a shared block, between two files
TOO_LONG = f"decoding takes more than {SECONDS} s and {SECONDS_PER_MEGAPIXEL:g} s per megapixel"
TOO_MUCH = f"decoding takes more than {MEGABYTES} MB and {BYTES_PER_PX} bytes per pixel"
VERDICTS = f"verdicts of decoders 1: {TOO_LONG}; {TOO_MUCH}; Pillow {PIL.__version__}"
# What Python needs to find its libraries, and no more: there may be passwords in the rest.
ENVIRONMENT = ("PATH", "HOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "PYTHONUSERBASE")

# By itself, glibc gives a picture's memory back after each, and to get it again takes a third of the time of decoding.
ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": f"{2**25}", "MALLOC_TRIM_THRESHOLD_": f"{2**26}"}


def verdicts_of(output: Path) -> Path:
    """Where it stands what decoders took too much for, of the files of a shard: beside it, if there was any."""
    return output.with_name(f"{output.name}.verdicts")


class Coming:
    """What a decoder was asked for: it may be at it while the job does something else."""

    def __init__(self, kind: str, encoded: bytes, given: dict, is_wanted: bool):
        self.kind, self.encoded, self.given, self.is_wanted = kind, encoded, given, is_wanted
        self.process: _Process | None = None  # that was asked
        self.deaths = 0  # of processes that were at it
        self.answer: dict | None = None
        self.content = NO_BYTES

    def array(self) -> np.ndarray:
        """The array; raises UnusablePictureError with the reason, which may be that it took too much."""
        answer = _decoder.wait(self)
        return np.frombuffer(self.content, answer["dtype"]).reshape(answer["shape"])

    def shape(self) -> tuple[int, ...]:
        """The shape of the array; raises as ``array``."""
        return tuple(_decoder.wait(self)["shape"])

    def note(self) -> str:
        """What is to be said of an array that there is, "" for most; raises as ``array``."""
        return str(_decoder.wait(self)["note"])

    def digest(self) -> str:
        return hashlib.sha256(json.dumps([self.kind, self.given], sort_keys=True).encode() + self.encoded).hexdigest()

    def question(self) -> dict[str, object]:
        return {"kind": self.kind, "given": self.given, "is_wanted": self.is_wanted}


def unpack(kind: str, encoded: bytes, **given: object) -> Coming:
    """Ask for the array that a decoder makes of these bytes.

    kind : a key of `leam.decoders.KINDS`; given : what else that decoder needs
    Raises RuntimeError where no process can be started.
    """
    return _decoder.begin(Coming(kind, encoded, given, is_wanted=True))


def measure(kind: str, encoded: bytes, **given: object) -> Coming:
    """Ask for the shape of what `unpack` would give, after it was decoded in full, for less."""
    return _decoder.begin(Coming(kind, encoded, given, is_wanted=False))


def one_ahead(asked: Iterable[Taken]) -> Iterator[Taken]:
    """The same, but each is taken, and so a decoder asked, before the one before it is worked on."""
    held: deque[Taken] = deque()
    for item in asked:
        held.append(item)
        if len(held) == IN_FLIGHT:
            yield held.popleft()
    yield from held


@contextlib.contextmanager
def remember(path: Path) -> Iterator[None]:
    """Within the block, what decoders took too much for is kept in this file, and what stands there is not tried."""
    _decoder.open_memory(path)
    try:
        yield
    finally:
        _decoder.close_memory()


# ----------------------------------------------------------------------------------------------------- what both have


class _Content(NamedTuple):
    """The bytes of a message: how many, and those that follow its head."""

    size: int
    following: Sequence[bytes] = ()


NOTHING = _Content(0)


class _Channel:
    """Messages between the two processes: a head of JSON, and bytes, which lie in blocks of memory that both have.

    The n-th question and its answer use the n-th block, and the first again after the last: as many may be on the way.
    Where a system has no such blocks the bytes follow the head, one question after another.
    """

    LENGTHS = struct.Struct("<IQ")  # of head and content, which stand before them
    LEAST_BYTES = 4096  # asked for at a time

    def __init__(self, connection: socket.socket, blocks: Sequence[int]):
        self.connection, self.blocks = connection, list(blocks)
        self.sent = self.received = 0  # messages
        self._begun = b""  # what came already of the next one

    def lay_down(self, parts: Iterable[bytes]) -> _Content:
        """Bytes for the next message."""
        if not self.blocks:
            following = list(parts)
            return _Content(sum(map(len, following)), following)
        block, end = self.blocks[self.sent % len(self.blocks)], 0
        for part in parts:
            left = memoryview(part)
            while left:
                written = os.pwrite(block, left, end)
                left, end = left[written:], end + written
        return _Content(end)

    def send(self, head: dict, content: _Content = NOTHING) -> None:
        text = json.dumps(head).encode()
        self.connection.sendall(self.LENGTHS.pack(len(text), content.size) + text)
        for part in content.following:
            self.connection.sendall(part)
        self.sent += 1

    def receive(self) -> tuple[dict, memoryview]:
        """Raises EOFError when the other process is no more, TimeoutError when it is silent."""
        length, size = self.LENGTHS.unpack(self._next(self.LENGTHS.size))
        head, content = json.loads(self._next(length)), np.empty(size, np.uint8).data
        if self.blocks:
            self._pick_up(self.blocks[self.received % len(self.blocks)], content)
        else:
            content[:] = self._next(size)
        self.received += 1
        return head, content

    def _next(self, size: int) -> bytes:
        parts, missing = [self._begun], size - len(self._begun)
        while missing > 0:
            parts.append(self.connection.recv(max(missing, self.LEAST_BYTES)))
            if not parts[-1]:
                raise EOFError
            missing -= len(parts[-1])
        found = b"".join(parts)
        self._begun = found[size:]
        return found[:size]

    @staticmethod
    def _pick_up(block: int, content: memoryview) -> None:
        place = 0
        while place < len(content):
            count = os.preadv(block, [content[place:]], place)
            if not count:
                raise EOFError
            place += count
        if place > KEPT_BYTES:
            os.ftruncate(block, KEPT_BYTES)


def _shared_blocks() -> list[int]:
    """Files in memory that have no name and take no room of any file system; none where there is no such thing, or
    where files may have so many bytes only."""
    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        return []
    try:
        return [os.memfd_create("leam") for _ in range(IN_FLIGHT)]
    except (AttributeError, OSError):
        return []


# ---------------------------------------------------------------------------------------------------- the job's side


class _DeadError(Exception):
    """A decoder's process that is no more; ``code`` as subprocess has it, None for one that was silent."""

    def __init__(self, code: int | None):
        super().__init__(code)
        self.code = code
        self.is_too_long = code == -signal.SIGPROF
        self.is_of_itself = code not in (None, -signal.SIGKILL, -signal.SIGTERM)  # nobody else has stopped it

    def __str__(self) -> str:
        if self.code is None:
            return f"the decoder said nothing for {SILENCE_S:g} s"
        if self.code == -signal.SIGKILL:
            return "the decoder was killed, perhaps for want of memory"
        return f"the decoder ended with {f'signal {-self.code}' if self.code < 0 else f'status {self.code}'}"


class _Process:
    """The process in which decoders run."""

    def __init__(self) -> None:
        """Raises RuntimeError when it does not start."""
        ours, theirs = socket.socketpair()
        blocks = _shared_blocks()
        path = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        environment |= {"PYTHONPATH": os.pathsep.join(filter(None, path)), "OPENBLAS_NUM_THREADS": "1"} | ALLOCATION
        self._channel = _Channel(ours, blocks)
        with theirs:
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-W", "ignore", "-m", __spec__.name, *map(str, blocks)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                pass_fds=blocks,
                env=environment,
            )
        ours.settimeout(SILENCE_S)
        try:
            if ours.recv(1) != READY:
                raise EOFError
        except (EOFError, OSError):
            raise RuntimeError(f"the process that decodes pictures does not start: {self.end()}") from None
        except BaseException:
            self.end()
            raise

    def ask(self, question: dict, encoded: bytes) -> None:
        """Raises _DeadError when the process is dead."""
        with self._watched():
            self._channel.send(question, self._channel.lay_down([encoded]))

    def answer(self) -> tuple[dict, memoryview]:
        """The answer to the oldest question; raises _DeadError when the process dies of it."""
        with self._watched():
            return self._channel.receive()

    @property
    def most_questions(self) -> int:
        """How many may be on the way."""
        return max(len(self._channel.blocks), 1)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            self.end()
            raise _DeadError(None) from None
        except (EOFError, OSError):
            raise self.end() from None
        except BaseException:  # the job is told to stop in the middle of a message
            self.end()
            raise

    def end(self) -> _DeadError:
        """End it, unless it is dead; returns what it died of."""
        self.let_go()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return _DeadError(self._popen.wait(1))  # one that died a moment ago, or hears that nobody asks any more
        self._popen.kill()
        return _DeadError(self._popen.wait())

    def let_go(self) -> None:
        """Close what leads there; the process ends when nobody else asks."""
        self._channel.connection.close()
        while self._channel.blocks:
            os.close(self._channel.blocks.pop())


class _Decoder:
    """Asks one process after another, from any thread, and knows what took too much."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._asked: deque[Coming] = deque()  # without an answer, the oldest first
        self._verdicts: dict[str, str] = {}  # reasons, by the SHA-256 of the question
        self._path: Path | None = None  # where they are kept

    def begin(self, coming: Coming) -> Coming:
        with self._lock:
            if self._verdicts and (known := self._verdicts.get(coming.digest())):
                coming.answer = {"reason": known}
                return coming
            while self._process and len(self._asked) >= self._process.most_questions:
                self._go_on()
            self._asked.append(coming)
            with self._buried():
                self._ask()
        return coming

    def wait(self, coming: Coming) -> dict:
        """The answer; raises UnusablePictureError if it is a reason."""
        with self._lock:
            while coming.answer is None:
                self._go_on()
        if "reason" in coming.answer:
            raise UnusablePictureError(coming.answer["reason"])
        return coming.answer

    def _go_on(self) -> None:
        """Wait for the answer to the oldest question, or for the death of the process that is at it."""
        with self._buried():
            answer, content = self._ask().answer()
            self._give(answer, content)

    def _ask(self) -> _Process:
        """All that has no answer is asked for; of a process that died with questions, the next one has to be."""
        self._process = process = self._process or _Process()
        for coming in list(self._asked)[: process.most_questions]:
            if coming.process is not process:
                process.ask(coming.question(), coming.encoded)
                coming.process = process
        return process

    @contextlib.contextmanager
    def _buried(self) -> Iterator[None]:
        """One that dies may have been killed from outside: another is asked before the file is to blame."""
        try:
            yield
        except BaseException as error:
            self._process = None
            if not isinstance(error, _DeadError):
                raise
            self._asked[0].deaths += 1
            if error.is_too_long or self._asked[0].deaths == 2:
                kind = KINDS[self._asked[0].kind]
                reason = f"{kind.too_large}: {TOO_LONG}" if error.is_too_long else f"{kind.unreadable}: {error}"
                self._give({"reason": reason, "is_costly": error.is_of_itself})

    def _give(self, answer: dict, content: memoryview = NO_BYTES) -> None:
        coming = self._asked.popleft()
        coming.answer, coming.content, coming.process = answer, content, None
        if answer.get("is_costly"):
            self._note(coming.digest(), answer["reason"])
        coming.encoded = b""

    def _note(self, digest: str, reason: str) -> None:
        self._verdicts[digest] = reason
        self._use_memory(lambda journal: journal.add(digest, reason=np.array(reason)))

    def _use_memory(self, use: Callable[[Journal], None]) -> None:
        """Nothing is lost but time where there is none to be had, as in a folder that cannot be written."""
        if self._path is None:
            return
        try:
            journal = Journal(self._path, VERDICTS, wait_s=VERDICT_WAIT_S)
            try:
                use(journal)
            finally:
                journal.close()
        except (OSError, StorageError) as error:
            log.warning("%s; what decoders took too much for is not kept", error)

    def open_memory(self, path: Path) -> None:
        def read(journal: Journal) -> None:
            self._verdicts = {digest: str(journal.get(digest)["reason"]) for digest in journal.offsets}

        with self._lock:
            self._path = path
            if path.exists():
                self._use_memory(read)

    def close_memory(self) -> None:
        with self._lock:
            self._path, self._verdicts = None, {}

    def let_go(self) -> None:
        if self._process is not None:
            self._process.let_go()

    def end(self) -> None:
        if self._process is not None:
            self._process.end()


_decoder = _Decoder()


def _start_anew() -> None:
    """In a process that was forked off: the other's decoder answers the other."""
    global _decoder
    _decoder.let_go()
    _decoder = _Decoder()


os.register_at_fork(after_in_child=_start_anew)
atexit.register(lambda: _decoder.end())


# ----------------------------------------------------------------------------------------------- the decoder's process


class _Bounds:
    """What the kernel allows this process for one file."""

    def __init__(self) -> None:
        self._had = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        self._most = resource.getrlimit(resource.RLIMIT_AS)[1]

    def allow(self, pixels: int, more_bytes: int = 0) -> None:
        """From here on, so many seconds and bytes as that many pixels may take."""
        signal.setitimer(signal.ITIMER_PROF, SECONDS + SECONDS_PER_MEGAPIXEL * pixels / 1e6)
        self._limit(self._had + MEGABYTES * 2**20 + BYTES_PER_PX * pixels + more_bytes)

    def lift(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (self._most, self._most))

    def _limit(self, size: int) -> None:
        least = size if self._most == resource.RLIM_INFINITY else min(size, self._most)
        resource.setrlimit(resource.RLIMIT_AS, (least, self._most))


def _serve(blocks: list[int]) -> None:
    """The decoder's process: answers until nobody is there to ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the job says when to stop
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # faces are in this memory
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # should memory be short, this goes and not the job
    channel, bounds = _Channel(socket.socket(fileno=0), blocks), _Bounds()
    with contextlib.suppress(EOFError, ConnectionError):
        channel.connection.sendall(READY)
        while True:
            question, content = channel.receive()
            _reply(channel, bounds, question, bytes(content))
            del question, content


def _reply(channel: _Channel, bounds: _Bounds, question: dict, encoded: bytes) -> None:
    kind = KINDS[question["kind"]]

    def allow(pixels: int) -> None:
        bounds.allow(pixels, 4 * len(encoded))

    allow(0)
    content = NOTHING
    try:
        with faults(kind, encoded):
            found = kind.unpack(encoded, allow, **question["given"])
            if question["is_wanted"]:
                content = channel.lay_down(found.parts)
            else:
                deque(found.parts, maxlen=0)
            answer: dict[str, object] = {"shape": found.shape, "dtype": found.dtype, "note": found.note}
    except UnusablePictureError as error:
        answer = {"reason": f"{error}", "is_costly": False}
    except MemoryError:
        answer = {"reason": f"{kind.too_large}: {TOO_MUCH}", "is_costly": True}
    bounds.lift()
    channel.send(answer, content)


if __name__ == "__main__":
    _serve(list(map(int, sys.argv[1:])))
