"""A folder of one's own: identity/KK.jpg, and label maps and landmarks beside the pictures if there are any."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from leam import reasons
from leam.sources.base import PICTURE_SUFFIXES, Row, Source, open_names

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)
LAYOUT = "expected a folder of identity/image.jpg"
FEWEST_JUDGED = 3  # label maps of a shard from which it is told whether they are read in their own order
LABEL_SUFFIX = ".regions.png"  # of label maps beside the pictures; never a picture, whether they are used or not


class Folder(Source):
    """The subfolders of ``path`` (those of ``include``, unless it is null), with pictures or without.

    The label map of KK.jpg is KK + ``label_suffix``, its numbers in ``label_order``; its landmarks are KK +
    ``landmark_suffix``. A null suffix: there are no such files.
    """

    words = "people of a folder of pictures"

    def __init__(self, settings: dict):
        super().__init__(settings)
        self._judged: dict[str, str] = {}  # what is wrong with the label map of each picture

    needs = paths = ("path",)
    label_setting = "label_suffix"
    landmark_setting = "landmark_suffix"

    def identities(self) -> list[str]:
        folder, include = str(self.folder), self.settings["include"]
        if not self.folder.is_dir():
            raise ValueError(f"source folder {folder!r} does not exist or is no folder; {LAYOUT}")
        found = open_names(folder, os.DirEntry.is_dir)
        missing = sorted(set(include or ()) - set(found))
        if missing:
            raise ValueError(f"source folder {folder!r} has no subfolder {missing[0]!r}, which `include` names")
        chosen = found if include is None else sorted(set(include))
        if not any(self._pictures(identity) for identity in chosen):
            raise ValueError(
                f"source folder {folder!r} holds no pictures; {LAYOUT}; found {self._what_is_there(found)}"
            )
        return chosen

    def _what_is_there(self, people: list[str]) -> str:
        """In a folder in which nobody can be found: so that one sees whether it is a level too high or too low."""
        beside = open_names(self.folder, os.DirEntry.is_file)
        below = sum(len(open_names(self.folder / identity, os.DirEntry.is_dir)) for identity in people)
        suffixes = Counter(Path(name).suffix.lower() or "none" for person in people for name in self._names(person))
        files = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(5)) or "no files"
        return f"{len(beside)} files and {len(people)} folders in it, and in these {below} folders and {files}" + (
            ": is `path` a level too high?" if below else ": is `path` a level too low?" if beside else ""
        )

    def fingerprint(self) -> str:
        """Made of the times of the folders alone: a file that is added, removed or renamed changes its folder's, one
        overwritten in place goes unnoticed."""
        times = [(name, (self.folder / name).stat().st_mtime_ns) for name in self.identities()]
        return hashlib.sha256(repr(times).encode()).hexdigest()

    def images(self, identity: str) -> list[str]:
        """The files of one identity that are neither label maps nor landmarks, sorted: pictures, or what a ledger says
        is none. Hidden files are nobody's; nested folders are named in the log.
        """
        if nested := open_names(self.folder / identity, os.DirEntry.is_dir):
            log.warning("folders below that of a person are not looked into: %d in %r", len(nested), identity)
        return self._names(identity)

    def _names(self, identity: str) -> list[str]:
        given = (LABEL_SUFFIX, self.settings["label_suffix"], self.settings["landmark_suffix"])
        beside = tuple(suffix.lower() for suffix in given if suffix)
        names = open_names(self.folder / identity, os.DirEntry.is_file)
        return [name for name in names if not name.lower().endswith(beside)]

    def _pictures(self, identity: str) -> list[str]:
        return [name for name in self._names(identity) if name.lower().endswith(PICTURE_SUFFIXES)]

    def rows(self) -> Iterable[Row]:
        for identity in self.identities():
            for image in self.images(identity) or [""]:
                yield Row(identity, image, self.url(identity, image) if image else "")

    def check(self) -> None:
        from leam.regions import LABEL_ORDERS, REGIONS

        if not self.folder.is_dir():
            raise ValueError(f"source folder {str(self.folder)!r} does not exist or is no folder")
        order = self.settings["label_order"]
        known = order in LABEL_ORDERS if isinstance(order, str) else set(order) <= set(REGIONS)
        if not known:
            raise ValueError(
                f"label_order {order!r}: expected one of {', '.join(LABEL_ORDERS)}, or a list of these regions, the "
                f"first for label 0: {', '.join(REGIONS)}"
            )
        if "" in (self.settings["label_suffix"], self.settings["landmark_suffix"]):
            raise ValueError("label_suffix and landmark_suffix: expected the end of a file name or null, found ''")

    def labels(self, picture: Path, shape: tuple[int, int]) -> bytes | None:
        from leam.images import encode_labels, read_label_map
        from leam.regions import implausible

        if not self.brings_labels:
            return None
        beside = picture.with_name(picture.stem + self.settings["label_suffix"])
        if not beside.is_file():
            raise reasons.UnusablePictureError(reasons.LABELS_MISSING)
        labels = read_label_map(beside, shape, self.settings["label_order"])
        self._judged[f"{picture.parent.name}/{picture.name}"] = implausible(labels)
        return encode_labels(labels)

    def judge(self) -> None:
        """Label maps of which most can be of no face were written in another order, or belong to other pictures."""
        odd = {name: fault for name, fault in self._judged.items() if fault}
        if not odd:
            return
        name, fault = next(iter(odd.items()))
        said = f"{len(odd)} of {len(self._judged)} label maps look like no face: {name}: {fault}"
        if self.settings["label_check"] and len(self._judged) >= FEWEST_JUDGED and len(odd) > len(self._judged) / 2:
            raise ValueError(
                f"{said}; label_order is {self.settings['label_order']!r}: is it that of these maps? (label_check: "
                "false takes them as they are)"
            )
        log.warning("%s", said)

    def landmarks(self, picture: Path) -> "np.ndarray | None":
        from leam.images import read_landmark_file

        if not self.brings_landmarks:
            return None
        beside = picture.with_name(picture.stem + self.settings["landmark_suffix"])
        return read_landmark_file(beside) if beside.is_file() else None
