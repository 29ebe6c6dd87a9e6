"""The files of the workflow: the only module that knows the names inside them.

A *shard* is one HDF5 file with one group per identity. It is written beside its final name and renamed when it is
whole, so an output that exists is complete. Datasets are chunked, compressed and carry checksums.

Shape letters: N images of one identity, P = N(N-1) ordered pairs, S side of a crop, D embedding size, L layers,
T thresholds, R regions.
"""

import contextlib
import json
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from leam import files
from leam.files import StorageError, _SteadyFile, set_aside, whole_file
from leam.grid import Grid, Lattice
from leam.names import RESERVED, group_name, layer_name

SCHEMA = "leam-1"
NO_LOCKS = False  # a file that stands under its name is never written to, and some file systems have no locks
PACKED = {"compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}
QUICKLY = PACKED | {"compression_opts": 1}  # of counts: a tenth larger in two thirds of the time
CHECKED = {
    "fletcher32": True
}  # of what is compressed already, or can't be: gzip takes a sixth off maps, in 5 times as long
TOO_FEW = "identity has fewer than two usable images"


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
    """The usable faces of one identity, everything in the crop's frame (docs/formats.md: faces/{shard}.h5).

    crops : (N, S, S, 3) uint8 RGB; regions : (N, S, S) uint8 in FaRL order;
    landmarks : (N, 68, 2) float32 px; points : (N, 5, 2) float32 px (eyes, nose tip, mouth corners; the picture's
    left first). NaN where unknown. Pixel coordinates: x then y, the centre of the top left pixel is (0, 0).
    thumbnails : (N, 16, 16) float32, grey levels of the whole pictures that the crops are from; None where unknown
    faces_found : (N,) int32, how many faces each picture has, of which one was chosen; None where several are refused
    """

    identity: str
    images: list[str]
    crops: np.ndarray
    regions: np.ndarray
    landmarks: np.ndarray
    points: np.ndarray
    thumbnails: np.ndarray | None = None
    faces_found: np.ndarray | None = None


FACE_ARRAYS = ("crops", "regions", "landmarks", "points", "thumbnails", "faces_found")  # a row per image


@dataclass
class IdentityMaps:
    """LEAM of one identity under one recogniser (docs/formats.md: maps/{model}/{shard}.h5).

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
    threshold : the lowest cosine that at most 0.001 of the impostor pairs exceed; NaN where there are fewer than 1,000
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


@contextlib.contextmanager
def create_shard(path: str | Path, kind: str, **attributes: object) -> Iterator[h5py.File]:
    """An HDF5 file to fill; ``kind`` is the stage that writes it. Appears under its name only when whole.

    Its digest is of the bytes that HDF5 itself has no checksums of, about a twentieth: whoever reads some maps need not
    read them all.

    Raises OSError when the disk is full.
    """
    chunks: list[tuple[int, int]] = []

    def digest(part: Path, _name: str) -> str:
        return files.pieces_digest(part, _gaps(chunks, part.stat().st_size))

    with whole_file(path, digest) as part, _SteadyFile(part, "w+") as file:
        with h5py.File(file, "w") as shard:
            shard.attrs.update({"schema": SCHEMA, "kind": kind} | attributes)
            yield shard
            shard.flush()
            if file.fault is None:
                chunks += _checked_chunks(shard)
        if file.fault is not None:
            raise file.fault


def _checked_chunks(shard: h5py.File) -> Iterator[tuple[int, int]]:
    """Where chunks with checksums lie: (first byte, bytes)."""
    for _, _, item in _items(shard):
        if isinstance(item, h5py.h5d.DatasetID) and _has_checksums(item):
            chunks: list[h5py.h5d.StoreInfo] = []
            item.chunk_iter(chunks.append)
            yield from ((chunk.byte_offset, chunk.size) for chunk in chunks if not chunk.filter_mask)


def _has_checksums(dataset: h5py.h5d.DatasetID) -> bool:
    layout = dataset.get_create_plist()
    filters = (layout.get_filter(number)[0] for number in range(layout.get_nfilters()))
    return h5py.h5z.FILTER_FLETCHER32 in filters


def _gaps(pieces: Iterable[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """What some pieces (first byte, bytes) leave of a file of this size."""
    found, end = [], 0
    for start, length in [*sorted(pieces), (size, 0)]:
        if start > end:
            found.append((end, start - end))
        end = start + length
    return found


@contextlib.contextmanager
def open_shard(path: str | Path, kind: str) -> Iterator[h5py.File]:
    """Open a shard for reading, after a look at its digest.

    A damaged one (not what its digest is of, cut short, or with a wrong checksum in what the block reads) is set aside
    as ``path``.damaged, so that the next run makes it anew.

    Raises StorageError when it is damaged, of another kind or of another version of the layout, or holds no data of its
    own but leads to another file's.
    """
    files.verify(path)
    is_open = False
    try:
        with h5py.File(path, "r", locking=NO_LOCKS) as shard:
            found = shard.attrs.get("kind"), shard.attrs.get("schema")
            if found != (kind, SCHEMA):
                raise StorageError(f"{path}: expected a file of kind {kind!r}, layout {SCHEMA!r}; found {found}")
            _refuse_links(shard)
            is_open = True
            yield shard
    except Exception as error:
        if not _is_damage(error) or (is_open and _is_readable(path)):  # or another file's, read in the same block
            raise
        raise StorageError(f"{path} is damaged ({error}); {set_aside(Path(path))}") from error


_own: set[tuple[int, int, int, int]] = set()  # files that were looked at and hold all their data themselves


def _refuse_links(shard: h5py.File) -> None:
    """HDF5 follows links and external storage to any file that this process may read; no stage writes such.

    Every object is looked at, once per file and process: 30 microseconds each.
    """
    content = files.content_of(shard.filename)
    if content in _own:
        return
    for path, kind, item in _items(shard):
        if kind != h5py.h5l.TYPE_HARD or _is_elsewhere(item):
            raise StorageError(f"{shard.filename}: {path!r} leads to another place; expected data of the file's own")
    _own.add(content)


def _items(shard: h5py.File) -> Iterator[tuple[bytes, int, h5py.h5g.GroupID | h5py.h5d.DatasetID | None]]:
    """Every object of a file but its root: path, kind of its link, and the object, which is None behind other links."""
    kinds: list[tuple[bytes, int]] = []
    shard.id.links.visit(lambda path, info: kinds.append((path, info.type)), info=True)
    groups = [(b"", shard.id)]  # those on the way to an object, which is found sooner in its own
    for path, kind in kinds:
        above, _, name = path.rpartition(b"/")
        while groups[-1][0] != above:
            groups.pop()
        item = h5py.h5o.open(groups[-1][1], name) if kind == h5py.h5l.TYPE_HARD else None
        if isinstance(item, h5py.h5g.GroupID):
            groups.append((path, item))
        yield path, kind, item


def _is_elsewhere(item: h5py.h5g.GroupID | h5py.h5d.DatasetID | None) -> bool:
    if not isinstance(item, h5py.h5d.DatasetID):
        return False
    layout = item.get_create_plist()
    return bool(layout.get_external_count()) or layout.get_layout() == h5py.h5d.VIRTUAL


def is_damaged(path: str | Path) -> bool:
    """Whether a file is cut short or no HDF5 file at all; only its head is read, so that many can be asked."""
    try:
        h5py.File(path, "r", locking=NO_LOCKS).close()
    except OSError as error:
        return _is_damage(error)
    return False


def _is_readable(path: str | Path) -> bool:
    """Whether all of a file can be read."""
    try:
        with h5py.File(path, "r", locking=NO_LOCKS) as shard:
            for _, _, item in _items(shard):
                if isinstance(item, h5py.h5d.DatasetID):
                    h5py.Dataset(item)[()]
    except Exception as error:
        return not _is_damage(error)
    return True


def _is_damage(error: Exception) -> bool:
    """Whether HDF5 found the content wrong; faults of the file system carry a number and may pass."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) is not None or "errno" in str(error):
        return False
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__", "").startswith("h5py.") for frame in frames)


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


def write_ledger(shard: h5py.File, rows: Iterable[Mapping[str, str | float]]) -> None:
    """One row per link of the shard; status is "ok" or the reason why there is no picture."""
    rows = list(rows)
    group = shard.create_group("ledger")
    for column in (*LEDGER_COLUMNS, DETAIL) if rows and DETAIL in rows[0] else LEDGER_COLUMNS:
        _put_strings(group, column, [str(row[column]) for row in rows])


def read_ledger(shard: h5py.File) -> list[dict[str, str]]:
    names = [name for name in (*LEDGER_COLUMNS, DETAIL) if name in shard["ledger"]]
    columns = [_strings(shard["ledger"], name) for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def write_unseen_regions(shard: h5py.File, regions: Iterable[str]) -> None:
    """Say which regions the maps of a faces file cannot have, whatever the pictures show."""
    shard.attrs["unseen_regions"] = list(regions)


def read_unseen_regions(shard: h5py.File) -> list[str]:
    """The regions that the maps of a faces file cannot have; of most files none."""
    return [str(region) for region in shard.attrs.get("unseen_regions", ())]


def write_faces(shard: h5py.File, faces: Faces) -> None:
    group = _group_of(shard, faces.identity)
    _put_strings(group, "images", faces.images)
    for name in ("crops", "regions"):
        _put(group, name, getattr(faces, name).astype(np.uint8, copy=False))
    for name in ("landmarks", "points", "thumbnails"):
        if getattr(faces, name) is not None:
            _put(group, name, getattr(faces, name).astype(np.float32, copy=False))
    if faces.faces_found is not None:
        _put(group, "faces_found", faces.faces_found.astype(np.int32, copy=False))


def read_faces(shard: h5py.File, identity: str, images: list[str] | None = None) -> Faces:
    """Of an identity's faces all, or some (their names, in the order of the file)."""
    group = shard[group_name(identity)]
    names = _strings(group, "images")
    rows = [number for number, name in enumerate(names) if images is None or name in images]
    chosen = slice(None) if len(rows) == len(names) else rows
    arrays = {name: group[name][chosen] for name in FACE_ARRAYS if name in group}
    return Faces(identity=identity, images=[names[row] for row in rows], **arrays)


def write_twins(shard: h5py.File, identity: str, images: list[str], crops: np.ndarray) -> None:
    """Crops (N, S, S, 3) uint8 of other people in an identity's own pictures."""
    group = _group_of(shard, identity)
    _put_strings(group, "images", images)
    _put(group, "crops", crops)


def read_twins(shard: h5py.File, identity: str, images: list[str]) -> np.ndarray:
    """What ``write_twins`` wrote of some images, in their order: (n, S, S, 3)."""
    rows = {image: row for row, image in enumerate(read_images(shard, identity))}
    return shard[group_name(identity)]["crops"][()][[rows[image] for image in images]]


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
        _fill(group, f"counts/{polarity}", array, anchor * (n - 1), n * (n - 1), n - 1, QUICKLY)
    for polarity, layers in maps.items():
        for layer, array in layers.items():
            scale = array.shape[1] * array.shape[2] if dtype == "float16" else 1
            scaled = (array * np.float32(scale)).astype(dtype)
            _fill(group, f"maps/{polarity}/{layer_name(layer)}", scaled, anchor, n, 1, CHECKED).attrs["scale"] = scale
    for polarity, layers in pair_maps.items():
        for layer, array in layers.items():
            _fill(group, f"pair_maps/{polarity}/{layer_name(layer)}", array, anchor * (n - 1), n * (n - 1), 1, PACKED)


def _fill(
    group: h5py.Group, name: str, rows: np.ndarray, start: int, total: int, chunk: int, packed: Mapping[str, object]
) -> h5py.Dataset:
    """Write rows into a dataset of ``total`` rows, made when first needed; a chunk never spans two anchors."""
    dataset = group.get(name)
    if dataset is None:
        shape = (total, *rows.shape[1:])
        options = {**packed, "chunks": (chunk, *rows.shape[1:])} if rows.size else {}
        dataset = group.create_dataset(name, shape=shape, dtype=rows.dtype, **options)
    dataset[start : start + len(rows)] = rows
    return dataset


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


def read_grid(shard: h5py.File) -> Grid:
    """The common grid of a maps file, which knows where the units of each layer lie."""
    recogniser, lattices = read_recogniser(shard), {}
    if "offsets" in shard.attrs:  # absent where maps are stretched
        rows = zip(shard.attrs["offsets"].tolist(), shard.attrs["strides"].tolist(), strict=True)
        lattices = {layer: Lattice(*map(tuple, row)) for layer, row in zip(read_layers(shard), rows, strict=True)}
    return Grid(int(shard.attrs["grid"]), recogniser["window"], recogniser["input_size"], lattices)


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
        names, shards = (_strings(shard, name) for name in ("identities", "shards"))
        return Averages(names, shards, totals, float(shard.attrs["threshold"]))


def _unscaled(stored: h5py.Dataset, rows: list[int] | tuple[()] = ()) -> np.ndarray:
    return stored[rows].astype(np.float32) / np.float32(stored.attrs.get("scale", 1))
