"""The table every run starts from: which picture belongs to whom, where it is, and which shard it falls into.

The Snakefile calls the light functions here while it is parsed, so pandas is imported only to write the table.
"""

import hashlib
import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

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

    source : the configuration's section: kind "sample" with ``identities`` and ``images`` (counts), or kind "folder"
        with ``path`` and, if wanted, ``include``.
    """
    if source["kind"] == "sample":
        return sample_identities(source["identities"])
    if source["kind"] == "folder":
        return folder_identities(source["path"], source.get("include"))
    raise ValueError(f"source kind {source['kind']!r}: expected 'sample' or 'folder'")


def digest_listing(source: dict) -> str:
    """A digest that changes when a picture is added to, removed from or renamed in an identity's folder.

    It is made of the folders' times alone, so that planning stays quick; a file overwritten in place goes unnoticed.
    """
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


def list_links(output: str | Path, *, source: dict, identities_per_job: int) -> None:
    """Write links.parquet: identity, image, url, rect, height, width, shard (all text), sorted by identity and image.

    source : see `list_identities`; url is the picture's path within the folder. rect, height and width belong to
        sources that come with them and are "" here.
    """
    import pandas as pd

    from leam.storage import whole_file

    shards = assign_shards(list_identities(source), identities_per_job)
    rows = _sample_rows(source) if source["kind"] == "sample" else _folder_rows(source)
    table = pd.DataFrame([(*row, "", "", "", shards[row[0]]) for row in rows], columns=COLUMNS, dtype="string")
    with whole_file(output) as part:
        table.to_parquet(part, index=False)
