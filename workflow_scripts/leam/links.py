"""The table every run starts from: which picture belongs to whom, where it is, and which shard it falls into.

The Snakefile calls the light functions here while it is parsed, so pandas is imported only to write the table.
"""

import hashlib
import logging
import os
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

COLUMNS = ("identity", "image", "url", "rect", "height", "width", "shard")
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
LABEL_SUFFIX = ".regions.png"  # of label maps beside the pictures; never a picture, whether they are used or not

Rows = Iterable[tuple[str, str, str]]  # identity, image, url


# ------------------------------------------------------------------------------------------------------------ shards


def count_shards(n_identities: int, identities_per_job: int) -> int:
    """How many shards hold ``n_identities``. Raises ValueError unless both numbers are at least 1."""
    for name, value in (("the number of identities", n_identities), ("identities_per_job", identities_per_job)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: expected a whole number of at least 1, found {value!r}")
    return -(-n_identities // identities_per_job)


def shard_names(n_shards: int) -> list[str]:
    """The names of the shards: "00000", "00001", ..."""
    return [f"{number:05d}" for number in range(n_shards)]


def assign_shards(identities: Sequence[str], identities_per_job: int) -> dict[str, str]:
    """The shard of each identity: contiguous runs of the sorted identities."""
    names = shard_names(count_shards(len(identities), identities_per_job))
    return {identity: names[k // identities_per_job] for k, identity in enumerate(sorted(identities))}


def partner_shards(shard: str, shards: Sequence[str], limit: int, seed: int) -> list[str]:
    """The shards, other than its own, from which a shard takes people to compare with: all, or ``limit`` drawn ones.

    So the files that all jobs read together grow with the number of shards, not with its square.
    """
    others = [other for other in shards if other != shard]
    if len(others) <= limit:
        return others
    return sorted(random.Random(f"{seed}/{shard}").sample(others, limit))


# ----------------------------------------------------------------------------------------------------------- sources


def sample_identities(n_identities: int) -> list[str]:
    """The rendered people: s000, s001, ... (wider when there are more than 1,000, so that they sort as they count)."""
    return _numbered("s", n_identities, digits=3)


def sample_images(n_images: int) -> list[str]:
    """The pictures of each rendered person: 00, 01, ..."""
    return _numbered("", n_images, digits=2)


def _numbered(prefix: str, count: int, digits: int) -> list[str]:
    return [f"{prefix}{number:0{max(digits, len(str(count - 1)))}d}" for number in range(count)]


def folder_identities(folder: str | Path, include: Sequence[str] | None = None) -> list[str]:
    """The identities of a folder, sorted: its subfolders but the hidden ones, with pictures or without.

    include : only these names; None takes all.
    Raises ValueError when the folder does not exist, holds no identities, or lacks one that was asked for.
    """
    layout = "expected a folder of identity/image.jpg"
    if not Path(folder).is_dir():
        raise ValueError(f"source folder {str(folder)!r} does not exist or is no folder; {layout}")
    found = {_utf8(entry.name) for entry in os.scandir(folder) if _is_open(entry) and entry.is_dir()}
    missing = sorted(set(include or ()) - found)
    if missing:
        raise ValueError(f"source folder {str(folder)!r} has no subfolder {missing[0]!r}, which `include` names")
    chosen = sorted(found if include is None else set(include))
    if not chosen:
        raise ValueError(f"source folder {str(folder)!r} holds no identities; {layout}")
    return chosen


def folder_images(folder: str | Path, identity: str, label_suffix: str | None = None) -> list[str]:
    """The picture files of one identity, sorted by name; hidden files, label maps and nested folders are none."""
    labels = tuple({LABEL_SUFFIX, (label_suffix or LABEL_SUFFIX).lower()})
    names = (_utf8(entry.name) for entry in os.scandir(Path(folder) / identity) if _is_open(entry) and entry.is_file())
    return sorted(
        name for name in names if name.lower().endswith(PICTURE_SUFFIXES) and not name.lower().endswith(labels)
    )


def _is_open(entry: os.DirEntry) -> bool:
    return not entry.name.startswith(".")


def _utf8(name: str) -> str:
    """Names go into Parquet and HDF5, which hold UTF-8 only."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"file name {os.fsencode(name)!r}: expected UTF-8; rename it") from None
    return name


def list_identities(source: dict) -> list[str]:
    """The identities of a source, sorted; cheap enough for the Snakefile.

    source : the configuration's section: kind "sample" with ``identities`` and ``images`` (counts), kind "folder"
        with ``path`` and, if wanted, ``include``, or a kind of ``PUBLISHED`` with its settings and ``seed``.
    """
    if source["kind"] in PUBLISHED:
        return sorted(choose_people(PUBLISHED[source["kind"]](source), source))
    if source["kind"] == "sample":
        return sample_identities(source["identities"])
    if source["kind"] == "folder":
        return folder_identities(source["path"], source.get("include"))
    known = ", ".join(map(repr, ("sample", "folder", *PUBLISHED)))
    raise ValueError(f"source kind {source['kind']!r}: expected one of {known}")


def count_identities(source: dict) -> int:
    """How many identities a run has, and so how many shards; a list of IMDb-Face need not be read for it."""
    if source["kind"] == "imdb_face":
        return len(source["include"] or ()) or source["identities"]
    return len(list_identities(source))


def digest_listing(source: dict) -> str:
    """A digest that changes when a picture is added to, removed from or renamed in an identity's folder.

    For a folder it is made of the folders' times alone, so that planning stays quick; a file overwritten in place goes
    unnoticed. For published data sets it is made of the names.
    """
    if source["kind"] in PUBLISHED:
        return hashlib.sha256(repr(PUBLISHED[source["kind"]](source)).encode()).hexdigest()
    if source["kind"] != "folder":
        return ""
    times = [(name, (Path(source["path"]) / name).stat().st_mtime_ns) for name in list_identities(source)]
    return hashlib.sha256(repr(times).encode()).hexdigest()


def _sample_rows(source: dict) -> Rows:
    for identity in list_identities(source):
        for image in sample_images(source["images"]):
            yield identity, image, ""


def _folder_rows(source: dict) -> Rows:
    """An identity without pictures gets one row with an empty image, so that later stages can account for it."""
    for identity in list_identities(source):
        for image in folder_images(source["path"], identity, source.get("label_suffix")) or [""]:
            yield identity, image, f"{identity}/{image}" if image else ""


# ----------------------------------------------------------------------------------------------- published data sets

FGNET_NAME = re.compile(r"(\d{3})A(\d{1,3})[a-z]?\.(?:jpe?g|png)", re.IGNORECASE)
CELEBAMASK_PICTURES = "CelebA-HQ-img"
CELEBAMASK_MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"

People = dict[str, list[str]]  # identity -> its images, sorted


def read_age(image: str) -> int | None:
    """Age in years from a name in FG-NET's style, ``NNNAyy[letter].JPG`` (docs/method.md 6); None for other names."""
    found = FGNET_NAME.fullmatch(image)
    return int(found[2]) if found else None


def fgnet_people(source: dict) -> People:
    """The subjects of the FG-NET Aging Database, all pictures in one folder; case does not matter in names.

    Pictures with other names are none of them. Raises ValueError for a folder that is not there or holds none.
    """
    people = defaultdict(list)
    for name in _names(source["path"], "source fgnet", "a folder of NNNAyy.JPG"):
        if found := FGNET_NAME.fullmatch(name):
            people[found[1]].append(name)
    if not people:
        raise ValueError(f"source fgnet: {source['path']!r} holds no pictures named NNNAyy.JPG")
    return dict(people)


def celebamask_people(source: dict) -> People:
    """The identities of CelebAMask-HQ: picture number -> CelebA's file -> CelebA's identity, padded to five digits.

    Raises ValueError for a missing file, a line of another form, or a picture of which the identity is not known.
    """
    folder = Path(source["path"])
    mapping = Path(source.get("mapping") or folder / CELEBAMASK_MAPPING)
    original = {
        row[0]: row[-1] for row in _text_rows(mapping, "a number first, a CelebA file last") if row[0].isdigit()
    }
    identity = dict(_text_rows(Path(source["identities"]), "a CelebA file and a number", fields=2))
    people = defaultdict(list)
    for name in _names(folder / CELEBAMASK_PICTURES, "source celebamask_hq", "the data set's pictures"):
        stem, _, suffix = name.rpartition(".")
        if f".{suffix.lower()}" not in PICTURE_SUFFIXES:
            continue
        found = identity.get(original.get(stem, ""), "")
        if not found.isdigit():
            raise ValueError(f"source celebamask_hq: no identity of {name} in {mapping} and {source['identities']}")
        people[f"{int(found):05d}"].append(name)
    return dict(people)


def _names(folder: str | Path, what: str, expected: str) -> list[str]:
    """The files of a folder, sorted."""
    if not Path(folder).is_dir():
        raise ValueError(f"{what}: {str(folder)!r} does not exist or is no folder; expected {expected}")
    return sorted(_utf8(entry.name) for entry in os.scandir(folder) if _is_open(entry) and entry.is_file())


def _text_rows(path: Path, expected: str, fields: int | None = None) -> list[list[str]]:
    """The lines of a text file, split at spaces; raises ValueError for one with other than ``fields`` fields."""
    try:
        rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise ValueError(f"source celebamask_hq: {path}: {error.strerror}") from error
    for number, row in enumerate(rows, start=1):
        if len(row) != (fields or len(row)) or len(row) < 2:
            raise ValueError(f"{path}, line {number}: expected {expected}; found {' '.join(row)[:80]!r}")
    return rows


PUBLISHED: dict[str, Callable[[dict], People]] = {"fgnet": fgnet_people, "celebamask_hq": celebamask_people}


def choose_people(people: People, source: dict) -> People:
    """Those with at least ``min_images`` images, and of each at most ``max_images``, drawn with ``seed`` and its name.

    Raises ValueError when no one is left.
    """
    least, most, seed = source["min_images"], source["max_images"], source["seed"]
    chosen = {
        identity: sorted(random.Random(f"{seed}/{identity}").sample(images, min(most or len(images), len(images))))
        for identity, images in people.items()
        if len(images) >= least
    }
    if not chosen:
        raise ValueError(f"source {source['kind']}: no one of {len(people)} people has min_images, {least}, pictures")
    return chosen


def _published_rows(source: dict) -> Rows:
    people = PUBLISHED[source["kind"]](source)
    chosen = choose_people(people, source)
    log.info(
        "%s: %d of %d people have min_images, %d of %d pictures are taken",
        *(source["kind"], len(chosen), len(people)),
        *(sum(map(len, group.values())) for group in (chosen, people)),
    )
    folder = {"fgnet": "", "celebamask_hq": f"{CELEBAMASK_PICTURES}/"}[source["kind"]]
    for identity, images in chosen.items():
        for image in images:
            yield identity, image, f"{folder}{image}"


# ------------------------------------------------------------------------------------------------------------- table


def _rows(source: dict) -> Rows:
    if source["kind"] in PUBLISHED:
        return _published_rows(source)
    return _sample_rows(source) if source["kind"] == "sample" else _folder_rows(source)


def _imdb_face_table(source: dict, rejected: str | Path):
    """The chosen rows of an IMDb-Face list; the bad ones go to a CSV of line and reason."""
    from leam.files import whole_file
    from leam.sources.imdb_face import choose_links

    table, bad = choose_links(source)
    with whole_file(rejected) as part:
        bad.to_csv(part, index=False)
    return table


def list_links(
    output: str | Path, *, source: dict, identities_per_job: int, rejected: str | Path | None = None
) -> None:
    """Write links.parquet: identity, image, url, rect, height, width, shard (all text), sorted by identity and image.

    source : see `list_identities` and, for kind "imdb_face", `imdb_face.choose_links`; url is the address, or the
        picture's path within the folder. rect (xmin ymin xmax ymax), height and width, in pixels of the picture that
        was published, are "" for sources without them.
    rejected : where the rows of an IMDb-Face list that cannot be used are written (line, reason)
    """
    import pandas as pd

    from leam.files import whole_file

    if source["kind"] == "imdb_face":
        table = _imdb_face_table(source, rejected)
    else:
        table = pd.DataFrame([(*row, "", "", "") for row in sorted(_rows(source))], columns=COLUMNS[:-1])
    shards = assign_shards(sorted(set(table["identity"])), identities_per_job)  # every identity has a row
    table = table.assign(shard=table["identity"].map(shards))[list(COLUMNS)].astype("string")
    with whole_file(output) as part:
        table.to_parquet(part, index=False)
