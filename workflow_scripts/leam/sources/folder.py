"""A folder of one's own: identity/KK.jpg, and label maps and landmarks beside the pictures if there are any."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from leam import reasons
from leam.sources.base import PICTURE_SUFFIXES, Row, Source, open_names

if TYPE_CHECKING:
    import numpy as np

LAYOUT = "expected a folder of identity/image.jpg"
LABEL_SUFFIX = ".regions.png"  # of label maps beside the pictures; never a picture, whether they are used or not


class Folder(Source):
    """The subfolders of ``path`` (those of ``include``, unless it is null), with pictures or without.

    The label map of KK.jpg is KK + ``label_suffix``, its numbers in ``label_order``; its landmarks are KK +
    ``landmark_suffix``. A null suffix: there are no such files.
    """

    words = "people of a folder of pictures"
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
        if not chosen:
            raise ValueError(f"source folder {folder!r} holds no identities; {LAYOUT}")
        return chosen

    def fingerprint(self) -> str:
        """Made of the times of the folders alone: a file that is added, removed or renamed changes its folder's, one
        overwritten in place goes unnoticed."""
        times = [(name, (self.folder / name).stat().st_mtime_ns) for name in self.identities()]
        return hashlib.sha256(repr(times).encode()).hexdigest()

    def images(self, identity: str) -> list[str]:
        """The picture files of one identity, sorted; hidden files, label maps and nested folders are none."""
        labels = (LABEL_SUFFIX, (self.settings["label_suffix"] or LABEL_SUFFIX).lower())
        names = open_names(self.folder / identity, os.DirEntry.is_file)
        return [name for name in names if name.lower().endswith(PICTURE_SUFFIXES) and not name.lower().endswith(labels)]

    def rows(self) -> Iterable[Row]:
        for identity in self.identities():
            for image in self.images(identity) or [""]:
                yield Row(identity, image, self.url(identity, image) if image else "")

    def check(self) -> None:
        from leam.regions import LABEL_ORDERS

        if not self.folder.is_dir():
            raise ValueError(f"source folder {str(self.folder)!r} does not exist or is no folder")
        if self.settings["label_order"] not in LABEL_ORDERS:
            order = self.settings["label_order"]
            raise ValueError(f"label_order {order!r}: expected one of {', '.join(LABEL_ORDERS)}")
        if "" in (self.settings["label_suffix"], self.settings["landmark_suffix"]):
            raise ValueError("label_suffix and landmark_suffix: expected the end of a file name or null, found ''")

    def labels(self, picture: Path, shape: tuple[int, int]) -> bytes | None:
        from leam.images import encode_labels, read_label_map

        if not self.brings_labels:
            return None
        beside = picture.with_name(picture.stem + self.settings["label_suffix"])
        if not beside.is_file():
            raise reasons.UnusablePictureError(reasons.LABELS_MISSING)
        return encode_labels(read_label_map(beside, shape, self.settings["label_order"]))

    def landmarks(self, picture: Path) -> "np.ndarray | None":
        from leam.images import read_landmark_file

        if not self.brings_landmarks:
            return None
        beside = picture.with_name(picture.stem + self.settings["landmark_suffix"])
        return read_landmark_file(beside) if beside.is_file() else None
