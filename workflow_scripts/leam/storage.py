"""The files of the workflow: the only module that knows the names inside them.

A *shard* is one HDF5 file with one group per identity. It is written beside its final name and renamed when it is
whole, so an output that exists is complete. Datasets are chunked, compressed and carry checksums.

Shape letters: N images of one identity, P = N(N-1) ordered pairs, S side of a crop, D embedding size, L layers,
T thresholds, R regions.
"""

import contextlib
import errno
import fcntl
import glob
import hashlib
import io
import json
import logging
import os
import platform
import re
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

log = logging.getLogger(__name__)

SCHEMA = "leam-1"
PACKED = {"compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}
CHECKED = {"fletcher32": True}  # of what is compressed already
TOO_FEW = "identity has fewer than two usable images"
RESERVED = ("discarded", "ledger")  # groups that stand beside the identities
WAIT_S = 1  # between two tries to get a lock


class StorageError(Exception):
    """A file that is not what the stage before should have written; the message names the file and the fault."""


@dataclass
class Pictures:
    """The pictures of one identity as they were found: encoded files, and what came with them.

    labels : per picture a PNG label map in FaRL order, same size as the picture, or None
    landmarks : (N, 68, 2) float32, x and y in pixels of the picture (NaN where unknown), or None
    rect : (N, 4) float32, where the link says the face is: left, top, right, bottom in pixels of the decoded picture
        (NaN where it says nothing), or None
    """

    identity: str
    images: list[str]
    encoded: list[bytes]
    labels: list[bytes] | None = None
    landmarks: np.ndarray | None = None
    rect: np.ndarray | None = None


@dataclass
class Faces:
    """The usable faces of one identity, everything in the crop's frame (DESIGN: faces/{shard}.h5).

    crops : (N, S, S, 3) uint8 RGB; regions : (N, S, S) uint8 in FaRL order;
    landmarks : (N, 68, 2) float32 px; points : (N, 5, 2) float32 px (eyes, nose tip, mouth corners; the picture's
    left first). NaN where unknown. Pixel coordinates: x then y, the centre of the top left pixel is (0, 0).
    """

    identity: str
    images: list[str]
    crops: np.ndarray
    regions: np.ndarray
    landmarks: np.ndarray
    points: np.ndarray


@dataclass
class IdentityMaps:
    """LEAM of one identity under one recogniser (DESIGN: maps/{model}/{shard}.h5).

    pairs : (P, 2) int16, anchor and positive, sorted; cosine : (P,) float32; embeddings : (N, D) float32, unit norm
    maps : {polarity: {layer: (N, h, w)}} image maps at native size, each summing to 1 (0 where every pair's is empty)
    counts : {polarity: (P, L, T, R)} uint16 or uint32; T = the top-p sets, then the full activation
    pair_maps : {polarity: {layer: (P, h, w) float16}}, each scaled to a peak of 1; empty unless asked for
    nonfinite : how many maps (of 2 P L) were not finite, and taken as empty
    """

    identity: str
    images: list[str]
    pairs: np.ndarray
    cosine: np.ndarray
    embeddings: np.ndarray
    maps: dict[str, dict[str, np.ndarray]]
    counts: dict[str, np.ndarray]
    nonfinite: int = 0
    pair_maps: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


@dataclass
class Averages:
    """What is summed over all identities of a recogniser (averages/{model}.h5).

    identities : (I,) str, sorted; shards : (I,) str, the name of the maps file that each stands in
    totals : {(polarity, layer): (h, w) float64}, the sum over identities of the identity's mean image map
    threshold : cosine at a false match rate of 1e-3 among all impostor pairs; NaN where there are none
    """

    identities: list[str]
    shards: list[str]
    totals: dict[tuple[str, str], np.ndarray]
    threshold: float = float("nan")


@dataclass
class Discarded:
    """What was left out and why; ``image`` is "" when the whole identity was."""

    identity: str
    image: str
    reason: str


# ------------------------------------------------------------------------------------------------ names and digests


def group_name(identity: str) -> str:
    """The HDF5 group of an identity: '/', '%' and NUL escaped, and the reserved group names too."""
    escaped = identity.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    return f"%{escaped}" if escaped in RESERVED or escaped in ("", ".", "..") else escaped


def layer_name(layer: str) -> str:
    """The HDF5 name of a layer: ONNX nodes have '/' in theirs, which would open a group."""
    return layer.replace("/", ".")


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(settings: object) -> str:
    """SHA-256 of a JSON-able value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def versions(*modules) -> str:
    """The versions a number depends on, as JSON: Python and each module given."""
    found = {module.__name__: str(module.__version__) for module in modules}
    return json.dumps({"python": platform.python_version()} | found, sort_keys=True)


# ------------------------------------------------------------------------------------------------- files, made whole


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
        with _room_for(path):
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
def _room_for(path: Path) -> Iterator[None]:
    """Say in one sentence that a disk is full or a quota reached, whoever notices it; HDF5 buries the number."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        numbers = {getattr(error, "errno", None), *(int(found) for found in re.findall(r"errno = (\d+)", str(error)))}
        if full := numbers & {errno.ENOSPC, errno.EDQUOT}:
            reason = os.strerror(full.pop()).lower()
            raise StorageError(f"{path}: {reason}; make room and run again, finished work is kept") from error
        raise


class _SteadyFile(io.FileIO):
    """A file that keeps its first failure to write (a full disk) until it is asked for it.

    HDF5 writes much of a file while closing it, where it loses an error or does not survive it; so it is not told.
    """

    fault: OSError | None = None

    def write(self, content: bytes) -> int:
        left = memoryview(content)
        while left and self.fault is None:
            try:
                left = left[super().write(left) :]
            except OSError as error:
                self.fault = error
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.fault = self.fault or error
            return size


@contextlib.contextmanager
def create_shard(path: str | Path, kind: str, **attributes) -> Iterator[h5py.File]:
    """An HDF5 file to fill; ``kind`` is the stage that writes it. Appears under its name only when whole.

    Raises OSError when the disk is full.
    """
    with whole_file(path) as part, _SteadyFile(part, "w+") as file:
        with h5py.File(file, "w") as shard:
            shard.attrs.update({"schema": SCHEMA, "kind": kind} | attributes)
            yield shard
        if file.fault is not None:
            raise file.fault


@contextlib.contextmanager
def open_shard(path: str | Path, kind: str) -> Iterator[h5py.File]:
    """Open a shard for reading.

    A damaged one (cut short, or with a wrong checksum in what the block reads) is set aside as ``path``.damaged, so
    that the next run makes it anew.

    Raises StorageError when it is damaged, of another kind or of another version of the layout.
    """
    try:
        with h5py.File(path, "r") as shard:
            found = shard.attrs.get("kind"), shard.attrs.get("schema")
            if found != (kind, SCHEMA):
                raise StorageError(f"{path}: expected a file of kind {kind!r}, layout {SCHEMA!r}; found {found}")
            yield shard
    except FileNotFoundError:
        if _aside(Path(path)).exists():
            raise StorageError(f"{path} was damaged and set aside; run again, and it is made anew") from None
        raise
    except OSError as error:
        if not _is_damage(error):
            raise
        raise StorageError(f"{path} is damaged ({error}); {_set_aside(Path(path))}") from error


def is_damaged(path: str | Path) -> bool:
    """Whether a file is cut short or no HDF5 file at all; only its head is read, so that many can be asked."""
    try:
        h5py.File(path, "r").close()
    except OSError as error:
        return _is_damage(error)
    return False


def _is_damage(error: OSError) -> bool:
    """Whether HDF5 found the content wrong; faults of the file system carry a number and may pass."""
    text = str(error)
    by_hdf5 = "synchronously" in text and ("open file" in text or "read data" in text)
    return error.errno is None and "errno" not in text and by_hdf5


def _aside(path: Path) -> Path:
    return path.with_name(path.name + ".damaged")


def _set_aside(path: Path) -> str:
    aside = _aside(path)
    try:
        os.replace(path, aside)
    except OSError as error:
        return f"it cannot be set aside ({error.strerror}): delete it and run again"
    return f"it was set aside as {aside.name}: run again, and it is made anew"


def identities(shard: h5py.File) -> list[str]:
    """The identities of a shard, sorted."""
    return sorted(str(group.attrs["identity"]) for name, group in shard.items() if name not in RESERVED)


def holds(shard: h5py.File, identity: str) -> bool:
    """Whether an identity is in a shard."""
    return group_name(identity) in shard


def _put(group: h5py.Group, name: str, array: np.ndarray) -> h5py.Dataset:
    return group.create_dataset(name, data=array, **(PACKED if array.size else {}))


def _put_strings(group: h5py.Group, name: str, strings: Iterable[str]) -> None:
    group.create_dataset(name, data=list(strings), dtype=h5py.string_dtype())


def _put_bytes(group: h5py.Group, name: str, blobs: list[bytes]) -> None:
    """Encoded files of any length: one long array with its offsets, since HDF5 checksums no variable-length data."""
    joined = np.frombuffer(b"".join(blobs), np.uint8)
    group.create_dataset(name, data=joined, **(CHECKED if joined.size else {}))
    group.create_dataset(f"{name}_ends", data=np.cumsum([len(blob) for blob in blobs], dtype=np.int64))


def _strings(group: h5py.Group, name: str) -> list[str]:
    return [str(text) for text in group[name].asstr()[()]]


def _bytes(group: h5py.Group, name: str) -> list[bytes]:
    everything, ends = group[name][()].tobytes(), group[f"{name}_ends"][()]
    return [everything[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _group_of(shard: h5py.File, identity: str) -> h5py.Group:
    group = shard.create_group(group_name(identity))
    group.attrs["identity"] = identity
    return group


def write_discarded(shard: h5py.File, discarded: Iterable[Discarded]) -> None:
    rows = sorted((row.identity, row.image, row.reason) for row in discarded)
    group = shard.create_group("discarded")
    for position, column in enumerate(("identity", "image", "reason")):
        _put_strings(group, column, [row[position] for row in rows])


def read_discarded(shard: h5py.File) -> list[Discarded]:
    group = shard["discarded"]
    columns = (_strings(group, column) for column in ("identity", "image", "reason"))
    return [Discarded(*row) for row in zip(*columns, strict=True)]


# ------------------------------------------------------------------------------------------------------------ images

LEDGER_COLUMNS = ("identity", "image", "url", "status", "sha256")
DETAIL = "detail"  # a further column of scraped shards: what there is to say beyond the status


def write_pictures(shard: h5py.File, pictures: Pictures) -> None:
    group = _group_of(shard, pictures.identity)
    _put_strings(group, "images", pictures.images)
    _put_bytes(group, "encoded", pictures.encoded)
    if pictures.labels is not None:
        _put_bytes(group, "labels", pictures.labels)
    for name in ("landmarks", "rect"):
        if getattr(pictures, name) is not None:
            _put(group, name, np.asarray(getattr(pictures, name), np.float32))


def read_pictures(shard: h5py.File, identity: str) -> Pictures:
    group = shard[group_name(identity)]
    return Pictures(
        identity=identity,
        images=_strings(group, "images"),
        encoded=_bytes(group, "encoded"),
        labels=_bytes(group, "labels") if "labels" in group else None,
        **{name: group[name][()] for name in ("landmarks", "rect") if name in group},
    )


def write_ledger(shard: h5py.File, rows: Iterable[dict[str, str]]) -> None:
    """One row per link of the shard; status is "ok" or the reason why there is no picture."""
    rows = list(rows)
    group = shard.create_group("ledger")
    for column in (*LEDGER_COLUMNS, DETAIL) if rows and DETAIL in rows[0] else LEDGER_COLUMNS:
        _put_strings(group, column, [row[column] for row in rows])


def read_ledger(shard: h5py.File) -> list[dict[str, str]]:
    names = [name for name in (*LEDGER_COLUMNS, DETAIL) if name in shard["ledger"]]
    columns = [_strings(shard["ledger"], name) for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


# ------------------------------------------------------------------------------------------------------------- faces


def write_faces(shard: h5py.File, faces: Faces) -> None:
    group = _group_of(shard, faces.identity)
    _put_strings(group, "images", faces.images)
    for name in ("crops", "regions"):
        _put(group, name, getattr(faces, name).astype(np.uint8, copy=False))
    for name in ("landmarks", "points"):
        _put(group, name, getattr(faces, name).astype(np.float32, copy=False))


def read_faces(shard: h5py.File, identity: str) -> Faces:
    group = shard[group_name(identity)]
    arrays = {name: group[name][()] for name in ("crops", "regions", "landmarks", "points")}
    return Faces(identity=identity, images=_strings(group, "images"), **arrays)


# -------------------------------------------------------------------------------------------------------------- maps


def write_maps(shard: h5py.File, maps: IdentityMaps, dtype: str = "float32") -> None:
    """Everything of one identity at once; see ``start_maps`` and ``add_maps`` for identities with many images."""
    group = start_maps(shard, maps.identity, maps.images, maps.pairs, maps.cosine, maps.embeddings, maps.nonfinite)
    add_maps(group, 0, maps.counts, maps.maps, maps.pair_maps, dtype)


def start_maps(
    shard: h5py.File,
    identity: str,
    images: list[str],
    pairs: np.ndarray,
    cosine: np.ndarray,
    embeddings: np.ndarray,
    nonfinite: int,
) -> h5py.Group:
    """The group of an identity, with what is not per anchor; ``add_maps`` fills in the rest, some anchors at a time."""
    group = _group_of(shard, identity)
    _put_strings(group, "images", images)
    for name, array in (("pairs", pairs), ("cosine", cosine), ("embeddings", embeddings)):
        _put(group, name, array)
    group.attrs.update({"nonfinite": nonfinite, "complete": True})
    return group


def add_maps(
    group: h5py.Group,
    anchor: int,
    counts: dict[str, np.ndarray],
    maps: dict[str, dict[str, np.ndarray]],
    pair_maps: dict[str, dict[str, np.ndarray]],
    dtype: str = "float32",
) -> None:
    """Fill in b anchors from number ``anchor`` on: counts and pair maps of their b (N-1) pairs, and b image maps.

    Image maps are stored as float32, or as float16 times ``scale`` (h * w, so that a flat map is 1 everywhere).
    """
    n = len(group["images"])
    for polarity, array in counts.items():
        _fill(group, f"counts/{polarity}", array, anchor * (n - 1), n * (n - 1), n - 1)
    for polarity, layers in maps.items():
        for layer, array in layers.items():
            scale = array.shape[1] * array.shape[2] if dtype == "float16" else 1
            scaled = (array * np.float32(scale)).astype(dtype)
            _fill(group, f"maps/{polarity}/{layer_name(layer)}", scaled, anchor, n, 1).attrs["scale"] = scale
    for polarity, layers in pair_maps.items():
        for layer, array in layers.items():
            _fill(group, f"pair_maps/{polarity}/{layer_name(layer)}", array, anchor * (n - 1), n * (n - 1), 1)


def _fill(group: h5py.Group, name: str, rows: np.ndarray, start: int, total: int, chunk: int) -> h5py.Dataset:
    """Write rows into a dataset of ``total`` rows, made when first needed; a chunk never spans two anchors."""
    if name not in group:
        shape = (total, *rows.shape[1:])
        packed = PACKED | {"chunks": (chunk, *rows.shape[1:])} if rows.size else {}
        group.create_dataset(name, shape=shape, dtype=rows.dtype, **packed)
    group[name][start : start + len(rows)] = rows
    return group[name]


def read_layers(shard: h5py.File) -> list[str]:
    """The layers of a maps file, in the order of its counts."""
    return [str(layer) for layer in shard.attrs["layers"]]


def read_thresholds(shard: h5py.File) -> list[str]:
    """The pixel sets of a maps file, in the order of its counts: percents as text, then "full"."""
    return [str(threshold) for threshold in shard.attrs["thresholds"]]


def read_images(shard: h5py.File, identity: str) -> list[str]:
    """The images of an identity, in any shard."""
    return _strings(shard[group_name(identity)], "images")


def used_faces(maps: h5py.File, faces: h5py.File, identity: str) -> list[int]:
    """Which of an identity's faces its maps are of, as positions in the faces file."""
    position = {image: number for number, image in enumerate(read_images(faces, identity))}
    return [position[image] for image in read_images(maps, identity)]


def read_regions(shard: h5py.File, identity: str) -> np.ndarray:
    """Only the region maps (N, S, S) uint8 of an identity's faces."""
    return shard[group_name(identity)]["regions"][()]


def read_landmarks(shard: h5py.File, identity: str) -> np.ndarray:
    """Only the landmarks (N, 68, 2) float32 px of an identity's faces; NaN where unknown."""
    return shard[group_name(identity)]["landmarks"][()]


def is_untrained(shard: h5py.File) -> bool:
    """Whether the maps of this file come from random weights."""
    return bool(shard.attrs.get("untrained", False))


def read_embeddings(shard: h5py.File, identity: str) -> np.ndarray:
    """Only the embeddings (N, D) float32, of unit norm, in a maps file."""
    return shard[group_name(identity)]["embeddings"][()]


def read_pairs(shard: h5py.File, identity: str) -> tuple[np.ndarray, np.ndarray]:
    """Only the pairs (P, 2), anchor and positive, and their cosines (P,), of an identity in a maps file."""
    group = shard[group_name(identity)]
    return group["pairs"][()], group["cosine"][()]


def read_recogniser(shard: h5py.File) -> dict:
    """What a maps file says of its recogniser: name, input_size, window, layers, ..."""
    return json.loads(shard.attrs["recogniser"])


def read_counts(shard: h5py.File, identity: str) -> dict[str, np.ndarray]:
    """Only the counts of an identity in a maps file: {polarity: (P, L, T, R)}."""
    return {polarity: counts[()] for polarity, counts in shard[group_name(identity)]["counts"].items()}


def read_maps(shard: h5py.File, identity: str, pair_maps: bool = False) -> IdentityMaps:
    """Maps come back as float32 that sum to 1, however they are stored; pair maps only when asked for."""
    group = shard[group_name(identity)]
    layers = read_layers(shard)

    def by_polarity(kind: str) -> dict[str, dict[str, np.ndarray]]:
        return {
            polarity: {layer: _unscaled(stored[layer_name(layer)]) for layer in layers}
            for polarity, stored in group[kind].items()
        }

    return IdentityMaps(
        identity=identity,
        images=read_images(shard, identity),
        counts=read_counts(shard, identity),
        maps=by_polarity("maps"),
        nonfinite=int(group.attrs["nonfinite"]),
        pair_maps=by_polarity("pair_maps") if pair_maps and "pair_maps" in group else {},
        **{name: group[name][()] for name in ("pairs", "cosine", "embeddings")},
    )


def read_side(shard: h5py.File, identity: str) -> int:
    """The side S of an identity's crops, pixels."""
    return shard[group_name(identity)]["regions"].shape[1]


def read_window(shard: h5py.File) -> tuple[int, int, int, int]:
    """The window of a maps file's recogniser: top, left, bottom, right in 112ths of the crop."""
    return tuple(json.loads(shard.attrs["recogniser"])["window"])


def read_image_maps(
    shard: h5py.File, identity: str, images: list[int], layers: list[str], polarities: list[str]
) -> dict[str, np.ndarray]:
    """Image maps of some images (their positions, ascending) of an identity: {layer: (n, polarities, h, w) float32}."""
    group = shard[group_name(identity)]["maps"]
    return {
        layer: np.stack([_unscaled(group[polarity][layer_name(layer)], images) for polarity in polarities], axis=1)
        for layer in layers
    }


def write_population(shard: h5py.File, template: np.ndarray, means: dict[str, np.ndarray]) -> None:
    """The template (68, 2) of the canonical frame, and the mean maps in it: {layer: (polarities, G, G)}."""
    _put(shard, "template", template)
    for layer, array in means.items():
        _put(shard, f"means/{layer_name(layer)}", array)


def read_population(shard: h5py.File, layers: list[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What ``write_population`` wrote."""
    return shard["template"][()], {layer: shard[f"means/{layer_name(layer)}"][()] for layer in layers}


def read_layer_maps(shard: h5py.File, identity: str, polarity: str, layer: str) -> np.ndarray:
    """The image maps (N, h, w) float32 of one identity, polarity and layer, without reading the others."""
    return _unscaled(shard[group_name(identity)]["maps"][polarity][layer_name(layer)])


def write_averages(shard: h5py.File, averages: Averages) -> None:
    _put_strings(shard, "identities", averages.identities)
    _put_strings(shard, "shards", averages.shards)
    shard.attrs["threshold"] = averages.threshold
    for (polarity, layer), total in averages.totals.items():
        _put(shard, f"totals/{polarity}/{layer_name(layer)}", total)


def read_averages(path: str | Path) -> Averages:
    with open_shard(path, "averages") as shard:
        totals = {
            (polarity, layer): group[layer_name(layer)][()]
            for polarity, group in shard.get("totals", {}).items()
            for layer in read_layers(shard)
        }
        names = (_strings(shard, name) for name in ("identities", "shards"))
        return Averages(*names, totals, float(shard.attrs["threshold"]))


def _unscaled(stored: h5py.Dataset, rows: list[int] | tuple[()] = ()) -> np.ndarray:
    return stored[rows].astype(np.float32) / np.float32(stored.attrs.get("scale", 1))


# ----------------------------------------------------------------------------------------------------------- journal


class Journal:
    """What a job that may be killed at any moment has finished: records appended to one side file.

    A record is a name and its arrays, framed by its length and SHA-256; reading stops at the first frame that is cut
    or damaged, and writing goes on from there. The first record is the digest of everything the results depend on;
    a journal with another digest is started anew. Unlike HDF5, an append cut in half harms nothing before it.
    """

    _FRAME = struct.Struct("<Q32s")

    def __init__(self, path: str | Path, work: str, wait_s: float = 0):
        """wait_s : how long to wait while another process holds this journal, seconds; ``waited`` says if it did."""
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.offsets: dict[str, int] = {}
        self.waited = False
        self._file = self._locked(time.monotonic() + wait_s)
        end = self._scan(work)
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

    def _scan(self, work: str) -> int:
        """Find the whole records; returns where they end (0 when the journal is of other work)."""
        end, first = 0, True
        for offset, payload in self._records():
            if first and payload != work.encode():
                return 0
            if not first:
                self.offsets[str(self._unpack(payload)["name"])] = offset
            end, first = offset + self._FRAME.size + len(payload), False
        return end

    def _records(self) -> Iterator[tuple[int, bytes]]:
        offset = 0
        while (payload := self._read(offset)) is not None:
            yield offset, payload
            offset += self._FRAME.size + len(payload)

    def _read(self, offset: int) -> bytes | None:
        self._file.seek(offset)
        head = self._file.read(self._FRAME.size)
        if len(head) < self._FRAME.size:
            return None
        size, checksum = self._FRAME.unpack(head)
        if size > self.path.stat().st_size:
            return None
        payload = self._file.read(size)
        return payload if hashlib.sha256(payload).digest() == checksum else None

    def _append(self, *payloads: bytes) -> list[int]:
        """Write records, whole or not at all; returns where they begin. They are on disk when this returns."""
        start = end = self._file.seek(0, os.SEEK_END)
        frames, offsets = [], []
        for payload in payloads:
            offsets.append(end)
            frames.append(self._FRAME.pack(len(payload), hashlib.sha256(payload).digest()) + payload)
            end += len(frames[-1])
        try:
            with _room_for(self.path):
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

    @staticmethod
    def _unpack(payload: bytes) -> dict[str, np.ndarray]:
        with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
            return dict(arrays)

    def __len__(self) -> int:
        return len(self.offsets)

    def __contains__(self, name: str) -> bool:
        return name in self.offsets

    def add(self, name: str, **arrays: np.ndarray) -> None:
        """Append a finished record; it is on disk when this returns."""
        self.add_all([(name, arrays)])

    def add_all(self, records: list[tuple[str, dict[str, np.ndarray]]]) -> None:
        """Append finished records at the price of one: of names that stand there already the last counts."""
        payloads = [self._pack(name, arrays) for name, arrays in records]
        names = [name for name, _ in records]
        self.offsets.update(zip(names, self._append(*payloads), strict=True))

    @staticmethod
    def _pack(name: str, arrays: dict[str, np.ndarray]) -> bytes:
        packed = io.BytesIO()
        np.savez(packed, name=np.array(name), **arrays)
        return packed.getvalue()

    def get(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a finished record."""
        arrays = self._unpack(self._read(self.offsets[name]))
        arrays.pop("name")
        return arrays

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what could not be written has been said
            self._file.close()

    def remove(self) -> None:
        """Close and delete the side file: its records stand in the output now."""
        self.close()
        self.path.unlink(missing_ok=True)
