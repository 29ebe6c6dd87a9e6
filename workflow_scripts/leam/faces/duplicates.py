"""The same picture twice: under one person or under two, as the same file, re-encoded, or in another size.

Two images are alike when the fingerprints of their pictures correlate by ALIKE or more, and those of their crops by
SAME_FACE, as one photograph of two people is no copy; or those of their crops by ALIKE; or through others that are.

Shape letters: N images of one identity, M of all, S side of a crop, D numbers of a fingerprint.
"""

import csv
import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from leam import files, reasons, storage
from leam.faces.fingerprints import NUMBERS, fingerprints, thumbnail
from leam.names import from_cell

log = logging.getLogger(__name__)
ALIKE, SAME_FACE = 0.95, 0.6  # docs/method.md 2.1 says what lies on either side
COMPARED = 2**24  # correlations held at a time
DUPLICATE_COLUMNS = ("identity", "image", "other_identity", "other_image", "alike", "correlation", "copies")
SAME_FILE, SAME_PIXELS, NEAR = "file", "pixels", "near"
Duplicate = tuple[str, str, str, str, str, float, int]  # the values of DUPLICATE_COLUMNS


@dataclass(frozen=True)
class Digests:
    """Whose a face is, and the digests of its file ("" where there is none) and of its crop's pixels."""

    identity: str
    image: str
    file: str
    pixels: str


def find_duplicates(images: Sequence[str | Path], faces: Sequence[str | Path], output: str | Path) -> None:
    """duplicates.csv, from all shards: one row for every image that is to be left out (DUPLICATE_COLUMNS).

    images, faces : the shards' files

    Images are alike directly, or through others that are. Of those of one person the first stays; images that are alike
    under several people all go, as nothing says whose they are. ``other_identity`` and ``other_image`` are the first of
    those that an image is alike to, under another person where there is one, and ``copies`` is the number of all of
    them. Images that the import has left out, since their file came twice under one person, have a row too.
    """
    ledger = [row for path in images for row in _read_ledger(path)]
    import pandas as pd

    from leam.tables import write_table

    rows = [
        *_packed_once(ledger),
        *_compared(faces, {(row["identity"], row["image"]): row["sha256"] for row in ledger}),
    ]
    write_table(pd.DataFrame(sorted(rows), columns=DUPLICATE_COLUMNS), output, float_format="%.4f")
    log.info("%d images are duplicates", len(rows))


def _read_ledger(path: str | Path) -> list[dict[str, str]]:
    with storage.open_shard(path, "images") as shard:
        return storage.read_ledger(shard)


def _packed_once(ledger: list[dict[str, str]]) -> Iterator[Duplicate]:
    """The rows of the images whose file came under the same person before."""
    count_of = Counter(row["sha256"] for row in ledger)
    for row in ledger:
        original = reasons.original_of(row["status"], row.get(storage.DETAIL, ""))
        if original is not None:
            yield row["identity"], row["image"], row["identity"], original, SAME_FILE, 1.0, count_of[row["sha256"]] - 1


def _compared(faces: Sequence[str | Path], sha256: dict[tuple[str, str], str]) -> list[Duplicate]:
    """The rows of the images that are alike, from the faces of all shards; sha256 : of each image's file."""
    found: list[Digests] = []
    crops, pictures = np.empty((2, sum(map(_count_faces, faces)), NUMBERS), np.float32)
    for path in faces:
        with storage.open_shard(path, "faces") as shard:
            for identity in storage.identities(shard):
                person = storage.read_faces(shard, identity)
                own = slice(len(found), len(found) + len(person.images))
                thumbnails = np.stack([thumbnail(crop) for crop in person.crops])
                crops[own] = fingerprints(thumbnails)
                pictures[own] = fingerprints(thumbnails if person.thumbnails is None else person.thumbnails)
                found += [
                    Digests(identity, image, sha256.get((identity, image), ""), hashlib.sha256(crop).hexdigest())
                    for image, crop in zip(person.images, person.crops, strict=True)
                ]
    log.info("%d faces are compared", len(found))
    return _rows(found, crops, pictures)


def _count_faces(path: str | Path) -> int:
    with storage.open_shard(path, "faces") as shard:
        return sum(len(storage.read_images(shard, identity)) for identity in storage.identities(shard))


def compare(crops: np.ndarray, pictures: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fingerprints (M, D) of crops and of pictures, and whose they are (M,) -> of each image the one that it is a
    duplicate of (M,), -1 of none, and how many it is alike to (M,), directly or through others.

    It is a duplicate of the first that is alike under another person; where there is none, of the first of all, which
    itself is a duplicate of none.
    """
    first = _first_alike(crops, pictures)
    places = np.arange(len(people))
    across = people != people[first]
    second = np.full(len(people), -1)  # at a first one, the first under another person than its own
    starts, found = np.unique(first[across], return_index=True)
    second[starts] = places[across][found]
    others = np.where(across, first, np.where(second[first] >= 0, second[first], first))
    copies = np.bincount(first, minlength=len(people))[first] - 1
    return np.where(others == places, -1, others), copies


def _first_alike(crops: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """(M,) of each image the first that it is alike to, directly or through others; itself where no earlier one is.

    Every two are compared once: the rows of a block with themselves and those that follow.
    """
    total, start = len(crops), 0
    first = np.arange(total)
    while start < total:
        stop = min(total, start + max(1, COMPARED // (total - start)))
        of_crops, of_pictures = (prints[start:stop] @ prints[start:].T for prints in (crops, pictures))
        alike = (of_crops >= ALIKE) | ((of_pictures >= ALIKE) & (of_crops >= SAME_FACE))
        pairs = np.nonzero(np.triu(alike, 1))
        if len(pairs[0]):
            first = _joined(first, *(start + each for each in pairs))
        start = stop
    return first


def _joined(first: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``first`` (M,) of ``_first_alike``, when further pairs of images are alike."""
    ends = np.concatenate((np.arange(len(first)), one)), np.concatenate((first, other))
    graph = coo_array((np.ones(len(ends[0]), bool), ends), shape=(len(first), len(first)))
    component = connected_components(graph, directed=False)[1]
    return np.unique(component, return_index=True)[1][component]


def _rows(found: list[Digests], crops: np.ndarray, pictures: np.ndarray) -> list[Duplicate]:
    others, copies = compare(crops, pictures, np.unique([one.identity for one in found], return_inverse=True)[1])
    rows = []
    for place in np.flatnonzero(others >= 0):
        one, other = found[place], found[others[place]]
        alike = (
            SAME_FILE if one.file and one.file == other.file else SAME_PIXELS if one.pixels == other.pixels else NEAR
        )
        correlation = min(1.0, max(float(prints[place] @ prints[others[place]]) for prints in (crops, pictures)))
        names = one.identity, one.image, other.identity, other.image
        rows.append((*names, alike, correlation, int(copies[place])))
    return rows


def read_duplicates(path: str | Path) -> dict[tuple[str, str], str]:
    """The images that duplicates.csv says to leave out, (identity, image), with the reason of each."""
    with files.reading(path), open(path, newline="", encoding="utf-8") as file:
        rows = [{column: from_cell(cell) for column, cell in row.items()} for row in csv.DictReader(file)]
    return {(row["identity"], row["image"]): _reason(row) for row in rows}


def _reason(row: dict[str, str]) -> str:
    if row["identity"] == row["other_identity"]:
        return reasons.duplicate_of(row["other_image"])
    return reasons.under_another(row["other_identity"], row["other_image"])


def leave_out(faces: h5py.File, duplicates: str | Path | None) -> list[storage.Discarded]:
    """Which faces of a shard are left out as duplicates, and those of whoever has fewer than two without them.

    duplicates : the table of ``find_duplicates``; None leaves nothing out
    """
    if duplicates is None:
        return []
    reason_of, rows = read_duplicates(duplicates), []
    for identity in storage.identities(faces):
        images = storage.read_images(faces, identity)
        left_out = {image: reason_of[identity, image] for image in images if (identity, image) in reason_of}
        if left_out and len(images) - len(left_out) < 2:
            left_out = dict.fromkeys(["", *images], storage.TOO_FEW) | left_out
        rows += [storage.Discarded(identity, image, reason) for image, reason in left_out.items()]
    return rows


def kept_images(faces: h5py.File, left_out: Iterable[storage.Discarded]) -> dict[str, list[str]]:
    """The images of a shard that ``leave_out`` leaves, by identity; without those who have none left."""
    gone = defaultdict(set)
    for row in left_out:
        gone[row.identity].add(row.image)
    images = {identity: storage.read_images(faces, identity) for identity in storage.identities(faces)}
    kept = {identity: [image for image in names if image not in gone[identity]] for identity, names in images.items()}
    return {identity: names for identity, names in kept.items() if names}
