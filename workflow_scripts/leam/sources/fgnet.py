"""The FG-NET Aging Database: NNNAyy.JPG in one folder (subject, age), NNNAyy.pts in another; case as it comes."""

import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from leam.sources.base import DataSet, People

if TYPE_CHECKING:
    import numpy as np

NAME = re.compile(r"(\d{3})A\d{1,3}[a-z]?\.(?:jpe?g|png)", re.IGNORECASE)

POINTS_SUFFIX = ".pts"


class Fgnet(DataSet):
    """The subjects of ``path``. Pictures with other names are none of theirs.

    points : the folder of the landmarks; null looks beside the pictures, and in ``points`` below or beside their
        folder; missing files are fine
    landmark_order : "fgnet", the database's own 68 points, or "ibug"
    """

    words = "people of FG-NET"
    needs = ("path",)
    paths = ("path", "landmark_folder")
    age_pattern = r"^\d{3}[Aa](\d{2})"
    brings_landmarks = True
    landmarks_everywhere = False

    def people(self) -> People:
        people = defaultdict(list)
        for name in self.file_names(self.settings["path"], "a folder of NNNAyy.JPG"):
            if found := NAME.fullmatch(name):
                people[found[1]].append(name)
        if not people:
            raise ValueError(f"source fgnet: {self.settings['path']!r} holds no pictures named NNNAyy.JPG")
        return dict(people)

    def unused(self) -> Iterator[tuple[str, str]]:
        """Files with other names, and landmarks of no picture."""
        names = self.file_names(self.settings["path"], "a folder of NNNAyy.JPG")
        pictures = {Path(name).stem.lower() for name in names if NAME.fullmatch(name)}
        for name in names:
            if not NAME.fullmatch(name) and not name.lower().endswith(POINTS_SUFFIX):
                yield name, "not named NNNAyy.JPG"
        for stem, file in self._points_files.items():
            if stem not in pictures:
                yield str(file), "landmarks of no picture"

    def url(self, identity: str, image: str) -> str:
        return image

    def landmarks(self, picture: Path) -> "np.ndarray | None":
        from leam.faces.landmarks import ibug_of_fgnet
        from leam.images import read_landmark_file

        file = self._points_files.get(picture.stem.lower())
        if file is None:
            return None
        found = read_landmark_file(file)
        return ibug_of_fgnet(found) if self.settings["landmark_order"] == "fgnet" else found

    @functools.cached_property
    def _points_files(self) -> dict[str, Path]:
        usual = [self.folder.parent / "points", self.folder / "points", self.folder]
        given = self.settings["landmark_folder"]
        folders = [Path(given)] if given else usual
        return {
            file.stem.lower(): file
            for folder in folders
            if folder.is_dir()
            for file in sorted(folder.iterdir())
            if file.suffix.lower() == POINTS_SUFFIX
        }
