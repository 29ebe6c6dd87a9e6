"""What a job that may be killed at any moment has finished, in a side file of its output."""

import contextlib
import fcntl
import hashlib
import io
import json
import logging
import math
import os
import shutil
import struct
import time
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
        found, arrays = _unpack(payload)
        if found != name:
            raise StorageError(f"{self.path} was damaged: the record of {name!r} is that of {found!r}; run again")
        return arrays

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

    A record is a name and its arrays, framed by its length and SHA-256. An append that was cut in half goes when the
    journal is opened; damage before the end loses the records it lies in and no others, and a copy is set aside. The
    first record is the digest of everything the results depend on; a journal with another one is started anew.

    One thread may add while another reads what is there. A second process is kept away by a lock, and where a file
    system has none, whoever finds that the journal has grown meanwhile stops.
    """

    def __init__(self, path: str | Path, work: str, wait_s: float = 0):
        """wait_s : how long to wait while another process holds this journal, seconds; ``waited`` says if it did."""
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.offsets: dict[str, int] = {}
        self.waited = False
        self._file = self._locked(time.monotonic() + wait_s)
        self._end = self._scan(work.encode())
        self._file.truncate(self._end)
        if not self._end:
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
                log.warning("%s: this file system has no locks; should a second run write here, both stop", self.path)
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
        """Find the whole records; returns where the last one ends (0 when the journal is of other work)."""
        size = os.fstat(self._file.fileno()).st_size
        first = self._read(0)
        if first != work:
            if first is None and self._next_record(1, size) is not None:
                self._set_aside("its beginning is damaged, so nobody knows what it is of: it is started anew")
            return 0
        end = offset = self.FRAME.size + len(first)
        damaged = 0
        while offset < size:
            payload = self._read(offset)
            if payload is not None:
                self.offsets[_unpack(payload)[0]] = offset
                end = offset = offset + self.FRAME.size + len(payload)
            elif (found := self._next_record(offset + 1, size)) is not None:
                damaged, offset = damaged + 1, found
            else:
                break  # an append that was cut in half
        if damaged:
            self._set_aside(f"damaged in {damaged} places; what lay there is made again, {len(self)} records are whole")
        return end

    def _next_record(self, start: int, size: int) -> int | None:
        """Where the next whole record begins: looked for byte by byte, by its length and what a record begins with."""
        window = 2**22
        for first in range(start, size, window):
            content = self._bytes(first, window + 2 * _LENGTH.size)
            places = []
            for shift in range(_LENGTH.size):
                count = (len(content) - shift) // _LENGTH.size
                lengths = np.frombuffer(content, "<i8", count, shift) if count else np.zeros(0, np.int64)
                at = first + shift + _LENGTH.size * np.arange(count)
                places.append(at[(lengths > 0) & (lengths <= size - at - self.FRAME.size)])
            for place in np.sort(np.concatenate(places)).tolist():
                begins = self._bytes(place + self.FRAME.size, _LENGTH.size + 1)
                is_likely = begins.startswith(ARCHIVE) or begins[_LENGTH.size :] == b"["
                if is_likely and self._read(place) is not None:
                    return place
        return None

    def _set_aside(self, what: str) -> None:
        copy = self.path.with_name(f"{self.path.name}.damaged")
        if not copy.exists():  # the first is as it was found
            with contextlib.suppress(OSError):  # there may be no room for it
                shutil.copyfile(self.path, copy)
        log.warning("%s: %s; a copy is %s", self.path, what, copy.name)

    def _append(self, *payloads: bytes) -> list[int]:
        """Write records, whole or not at all; returns where they begin. They are on disk when this returns."""
        start = end = self._file.seek(0, os.SEEK_END)
        if start != self._end:
            raise StorageError(f"{self.path}: another process writes here too; stop one of them and run again")
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
        self._end = end
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
