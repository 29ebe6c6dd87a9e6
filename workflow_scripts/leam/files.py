"""Whole files: written beside their name and renamed when complete; digests; full disks said in one sentence."""

import contextlib
import errno
import glob
import hashlib
import io
import json
import os
import platform
import re
import socket
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class StorageError(Exception):
    """A file that is not what the stage before should have written; the message names the file and the fault."""


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bytes(path: Path, most: int) -> bytes:
    """A regular file of at most so many bytes.

    Raises OSError for a larger one, and for a pipe or a device, which might never end.
    """
    if not path.is_file():
        raise OSError(f"{path} is no regular file")
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(f"{path} has more than {most} bytes")
    return content


def digest_value(settings: object) -> str:
    """SHA-256 of a JSON-able value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def versions(*modules: ModuleType, packages: Iterable[str] = ()) -> str:
    """The versions a number depends on, as JSON: Python, each module and each installed package given."""
    found = {module.__name__: str(module.__version__) for module in modules}
    found |= {name: metadata.version(name) for name in packages}
    return json.dumps({"python": platform.python_version()} | found, sort_keys=True)


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A path to write to; it becomes ``path`` only if the block ends without an error.

    Each process writes to a piece of its own, so that two jobs at the same file (one left over from a run that was
    killed, and its successor) do not mix; pieces that killed jobs left behind go when the file is whole.

    Raises StorageError when there is no room.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.part")
    try:
        with room_for(path):
            yield part
        _put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)


def _put_in_place(part: Path, path: Path) -> None:
    try:
        os.replace(part, path)
    except FileNotFoundError:  # another process finished the same file first, and removed this piece
        if not path.exists():
            raise
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        left.unlink(missing_ok=True)


@contextlib.contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Say in one sentence that a disk is full or a quota reached, whoever notices it; HDF5 buries the number."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        numbers = {getattr(error, "errno", None), *(int(found) for found in re.findall(r"errno = (\d+)", str(error)))}
        if full := {errno.ENOSPC, errno.EDQUOT} & numbers:
            reason = os.strerror(full.pop()).lower()
            raise StorageError(f"{path}: {reason}; make room and run again, finished work is kept") from error
        raise


class _SteadyFile(io.FileIO):
    """A file that keeps its first failure to write (a full disk) until it is asked for it.

    HDF5 writes much of a file while closing it, where it loses an error or does not survive it; so it is not told.
    """

    fault: OSError | None = None

    def write(self, content: "ReadableBuffer", /) -> int:
        whole = left = memoryview(content)
        while left and self.fault is None:
            try:
                left = left[super().write(left) :]
            except OSError as error:
                self.fault = error
        return len(whole)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.fault = self.fault or error
            return self.tell() if size is None else size
