"""Whole files: written beside their name and renamed when complete, with a digest; full disks said in one sentence."""

import contextlib
import errno
import glob
import hashlib
import io
import json
import logging
import os
import platform
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

log = logging.getLogger(__name__)

MOMENT_S = 0.1  # between two looks at a digest that does not agree


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


def whole_digest(part: Path, name: str) -> str:
    """What stands beside an output called ``name``: the line that ``sha256sum`` writes, and checks with ``-c``."""
    return f"{sha256(part)}  {name}\n"


def pieces_digest(part: Path, pieces: list[tuple[int, int]]) -> str:
    """The same of some pieces of a file, each (first byte, bytes), where the rest carries checksums of its own."""
    lines = "".join(f"{start} {size}\n" for start, size in pieces)
    return f"{_sha256_of_pieces(part, pieces)} of the pieces below: first byte, bytes\n{lines}"


def _sha256_of_pieces(path: Path, pieces: list[tuple[int, int]]) -> str:
    """Raises ValueError where a piece lies beyond the file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        end = os.fstat(file.fileno()).st_size
        for start, size in pieces:
            if not 0 <= start <= start + size <= end:
                raise ValueError(f"{path} has {end} bytes")
            digest.update(os.pread(file.fileno(), size, start))
    return digest.hexdigest()


@contextlib.contextmanager
def whole_file(path: str | Path, digest: Callable[[Path, str], str] | None = whole_digest) -> Iterator[Path]:
    """A path to write to; it becomes ``path`` only if the block ends without an error.

    Each process writes to a piece of its own, so that two jobs at the same file (one left over from a run that was
    killed, and its successor) do not mix; pieces that killed jobs left behind go when the file is whole.

    digest : what stands beside the file, of the piece and the file's name, for ``verify``; None: nothing

    Raises StorageError when there is no room.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    own = f"{socket.gethostname()}.{os.getpid()}.part"
    part, summed = (beside.with_name(f"{beside.name}.{own}") for beside in (path, digest_path(path)))
    try:
        with room_for(path):
            yield part
            if digest is not None:
                _write_digest(part, summed, path.name, digest)
        _put_in_place(part, summed, path)
    finally:
        part.unlink(missing_ok=True)
        summed.unlink(missing_ok=True)


def _write_digest(part: Path, summed: Path, name: str, digest: Callable[[Path, str], str]) -> None:
    with contextlib.suppress(FileNotFoundError):  # another process finished the same file first, and removed this piece
        summed.write_text(digest(part, name), encoding="utf-8")


def _put_in_place(part: Path, summed: Path, path: Path) -> None:
    """The file and its digest under their names; whoever is stopped in between leaves a file without a digest."""
    try:
        own = part.stat()
        digest_path(path).unlink(missing_ok=True)
        os.replace(part, path)
    except FileNotFoundError:  # another process did, and removed this piece
        if not path.exists():
            raise
    else:
        _put_digest_in_place(summed, path, own)
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.part"):
        left.unlink(missing_ok=True)


def _put_digest_in_place(summed: Path, path: Path, own: os.stat_result) -> None:
    with contextlib.suppress(FileNotFoundError):  # there is none, or another process removed it
        os.replace(summed, digest_path(path))
        if os.path.samestat(own, path.stat()):
            return
    digest_path(path).unlink(missing_ok=True)  # of two processes' files, nobody knows which one this is the digest of


def digest_path(path: Path) -> Path:
    """Where the digest of an output stands."""
    return path.with_name(f"{path.name}.sha256")


_verified: dict[tuple[int, int, int, int], bool] = {}


def verify(path: str | Path) -> bool:
    """Whether an output agrees with its digest, looked at once per process; False: no digest stands beside it.

    Raises FileNotFoundError; StorageError where they do not agree: the file is set aside as ``path``.damaged, so that
    the next run makes it anew.
    """
    path = Path(path)
    try:
        content = content_of(path)
    except FileNotFoundError:
        if aside(path).exists():
            raise StorageError(f"{path} was damaged and set aside; run again, and it is made anew") from None
        raise
    if content not in _verified:
        _verified[content] = _agrees(path)
    return _verified[content]


def content_of(path: str | Path) -> tuple[int, int, int, int]:
    """What tells a file's content from another's without reading it: device, inode, bytes, time."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _agrees(path: Path) -> bool:
    digest = _digest_of(path)
    while digest is not None:
        if _is_digest_of(path, digest):
            return True
        time.sleep(MOMENT_S)
        before, digest = digest, _digest_of(path)
        if digest == before:  # no other process was putting its own file in place
            beside = digest_path(path).name
            raise StorageError(f"{path} is damaged (it and its digest {beside} do not agree); {set_aside(path)}")
    log.info("%s has no digest beside it and is read unchecked", path)
    return False


def _digest_of(path: Path) -> bytes | None:
    try:
        return digest_path(path).read_bytes()
    except FileNotFoundError:
        return None


def _is_digest_of(path: Path, digest: bytes) -> bool:
    """Whether a file has this digest, in either form; of pieces and no pieces, or in no form: not."""
    first, *rest = digest.split(b"\n")
    try:
        if first.endswith(b" of the pieces below: first byte, bytes"):
            pieces = [(int(start), int(size)) for start, size in map(bytes.split, rest[:-1])]
            found = _sha256_of_pieces(path, pieces)
        else:
            found = sha256(path)
    except ValueError:
        return False
    return first.split(b" ")[0] == found.encode()


def aside(path: Path) -> Path:
    """Where a damaged file is set aside."""
    return path.with_name(path.name + ".damaged")


def set_aside(path: Path) -> str:
    """Rename a damaged file, so that the next run makes it anew; the end of a sentence that says so."""
    try:
        os.replace(path, aside(path))
    except OSError as error:
        return f"it cannot be set aside ({error.strerror}): delete it and run again"
    digest_path(path).unlink(missing_ok=True)
    return f"it was set aside as {aside(path).name}: run again, and it is made anew"


@contextlib.contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """``verify``, then a block that reads the file; what it cannot read of one without a digest is one sentence.

    Raises FileNotFoundError, StorageError.
    """
    is_checked = verify(path)
    try:
        yield
    except (ValueError, KeyError, OSError) as error:
        if is_checked or getattr(error, "errno", None):
            raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise StorageError(f"{path} is damaged or of another version ({reason}): delete it and run again") from error


def read_json(path: str | Path) -> Any:
    """What an earlier stage wrote as JSON, after a look at its digest; with the errors of ``reading``."""
    with reading(path):
        return json.loads(Path(path).read_text(encoding="utf-8"))


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
