"""What a job that may be killed at any moment has finished, in a side file of its output."""

import contextlib
import fcntl
import hashlib
import io
import json
import logging
import math
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from leam.files import StorageError, room_for

log = logging.getLogger(__name__)
WAIT_S = 1  # between two tries to get a lock
ARCHIVE = b"PK"  # as records of version 0.1 begin, .npz files; they are still read: no server is asked twice
ALIGNED = 16  # arrays begin at a multiple of this many bytes
_LENGTH = struct.Struct("<Q")


def journal_of(output: Path) -> Path:
    """Where the journal of what makes this file lies: beside it."""
    return output.with_name(f"{output.name}.journal")


class Records:
    """Records of a journal at known places (``offsets``), to be read, also while another process adds more."""

    FRAME = struct.Struct("<Q32s")

    def __init__(self, path: str | Path):
        """Raises OSError when there is no such file."""
        self.path = Path(path)
        self.offsets: dict[str, int] = {}
        self._file: io.BufferedReader | io.BufferedRandom = open(self.path, "rb")  # noqa: SIM115  (as long as this)

    def __len__(self) -> int:
        return len(self.offsets)

    def __contains__(self, name: str) -> bool:
        return name in self.offsets

    def get(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a finished record, read-only.

        Raises StorageError when the file was damaged since it was opened.
        """
        payload = self._read(self.offsets[name])
        if payload is None:
            raise StorageError(f"{self.path} was damaged: the record of {name!r} is not what was written; run again")
        return _unpack(payload)[1]

    def _read(self, offset: int) -> bytes | None:
        head = self._bytes(offset, self.FRAME.size)
        if len(head) < self.FRAME.size:
            return None
        size, checksum = self.FRAME.unpack(head)
        if size > os.fstat(self._file.fileno()).st_size:
            return None
        payload = self._bytes(offset + self.FRAME.size, size)
        return payload if hashlib.sha256(payload).digest() == checksum else None

    def _bytes(self, offset: int, size: int) -> bytes:
        """At most ``size`` bytes from there, without moving where the other thread appends."""
        parts: list[bytes] = []
        while size and (part := os.pread(self._file.fileno(), size, offset)):  # one call gives 2 GB at most
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what could not be written has been said
            self._file.close()


class Journal(Records):
    """What a job that may be killed at any moment has finished: records appended to one side file.

    A record is a name and its arrays, framed by its length and SHA-256; reading stops at the first frame that is cut
    or damaged, and writing goes on from there. The first record is the digest of everything the results depend on;
    a journal with another digest is started anew. Unlike HDF5, an append cut in half harms nothing before it.

    One thread may add while another reads what is there.
    """

    def __init__(self, path: str | Path, work: str, wait_s: float = 0):
        """wait_s : how long to wait while another process holds this journal, seconds; ``waited`` says if it did."""
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.offsets: dict[str, int] = {}
        self.waited = False
        self._file = self._locked(time.monotonic() + wait_s)
        end = self._scan(work.encode())
        self._file.truncate(end)
        if not end:
            self._append(work.encode())

    def _locked(self, deadline: float) -> io.BufferedRandom:
        """Two processes never write the same shard; the lock goes when the process does, however it ends."""
        while True:
            file = open(self.path, "a+b")  # noqa: SIM115  (held, with its lock, as long as the journal)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._wait(file, deadline)
                continue
            except OSError:  # some network file systems have no locks
                log.warning("%s: this file system has no locks, so take care that no second run writes here", self.path)
            if self._is_current(file):
                return file
            file.close()

    def _wait(self, file: io.BufferedRandom, deadline: float) -> None:
        file.close()
        if time.monotonic() >= deadline:
            raise BlockingIOError(f"{self.path}: another process is writing this shard; wait for it or stop it")
        if not self.waited:
            log.info("%s: another process is writing this shard, perhaps of a run that was killed; waiting", self.path)
        self.waited = True
        time.sleep(WAIT_S)

    def _is_current(self, file: io.BufferedRandom) -> bool:
        """Whether the path still names this file: whoever held the lock before may have finished and deleted it."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _scan(self, work: bytes) -> int:
        """Find the whole records; returns where they end (0 when the journal is of other work)."""
        end, first = 0, True
        for offset, payload in self._records():
            if first and payload != work:
                return 0
            if not first:
                self.offsets[_unpack(payload)[0]] = offset
            end, first = offset + self.FRAME.size + len(payload), False
        return end

    def _records(self) -> Iterator[tuple[int, bytes]]:
        offset = 0
        while (payload := self._read(offset)) is not None:
            yield offset, payload
            offset += self.FRAME.size + len(payload)

    def _append(self, *payloads: bytes) -> list[int]:
        """Write records, whole or not at all; returns where they begin. They are on disk when this returns."""
        start = end = self._file.seek(0, os.SEEK_END)
        frames, offsets = [], []
        for payload in payloads:
            offsets.append(end)
            frames.append(self.FRAME.pack(len(payload), hashlib.sha256(payload).digest()) + payload)
            end += len(frames[-1])
        try:
            with room_for(self.path):
                self._write(b"".join(frames))
        except (OSError, StorageError):
            os.truncate(self.path, start)  # half a record is of no use, and others need the room
            raise
        return offsets

    def _write(self, content: bytes) -> None:
        """Past the buffer: what a full disk leaves in it, closing the file would try to write once more."""
        left = memoryview(content)
        while left:
            left = left[os.write(self._file.fileno(), left) :]
        os.fsync(self._file.fileno())

    def add(self, name: str, **arrays: np.ndarray) -> None:
        """Append a finished record; it is on disk when this returns."""
        self.add_all([(name, arrays)])

    def add_all(self, records: list[tuple[str, dict[str, np.ndarray]]]) -> None:
        """Append finished records at the price of one: of names that stand there already the last counts."""
        payloads = [_pack(name, arrays) for name, arrays in records]
        names = [name for name, _ in records]
        self.offsets.update(zip(names, self._append(*payloads), strict=True))

    def remove(self) -> None:
        """Close and delete the side file: its records stand in the output now."""
        self.close()
        self.path.unlink(missing_ok=True)


def _pack(name: str, arrays: dict[str, np.ndarray]) -> bytes:
    """A record: what stands in it, as JSON, then the arrays' bytes, each from an even place on."""
    arrays = {key: np.asarray(array) for key, array in arrays.items()}
    if objects := [key for key, array in arrays.items() if array.dtype.hasobject]:
        raise TypeError(f"{name}: {', '.join(objects)} of Python objects; a journal keeps numbers and strings")
    described = {key: (array.dtype.str, array.shape) for key, array in arrays.items()}
    head = json.dumps([name, described]).encode()
    parts: list[bytes | memoryview] = [_LENGTH.pack(len(head)), head, bytes(_padding(_LENGTH.size + len(head)))]
    for array in arrays.values():
        parts += [np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, bytes(_padding(array.nbytes))]
    return b"".join(parts)


def _padding(size: int) -> int:
    """How many bytes lie between these and the next place to begin at."""
    return -size % ALIGNED


def _unpack(payload: bytes) -> tuple[str, dict[str, np.ndarray]]:
    if payload.startswith(ARCHIVE):
        with np.load(io.BytesIO(payload), allow_pickle=False) as stored:
            arrays = dict(stored)
        return str(arrays.pop("name")), arrays
    (size,) = _LENGTH.unpack_from(payload)
    name, described = json.loads(payload[_LENGTH.size : _LENGTH.size + size])
    place, arrays = _LENGTH.size + size, {}
    for key, (dtype, shape) in described.items():
        place += _padding(place)
        arrays[key] = np.frombuffer(payload, dtype, math.prod(shape), place).reshape(shape)
        place += arrays[key].nbytes
    return name, arrays
