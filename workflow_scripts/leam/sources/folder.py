"""A folder of one's own: identity/KK.jpg, and label maps and landmarks beside the pictures if there are any."""

import contextlib
import functools
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from leam import reasons
from leam.names import composed
from leam.rectangles import fault_of_rectangles, open_rectangles, place_rectangles
from leam.sources.base import PICTURE_SUFFIXES, Row, Source, open_names

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

log = logging.getLogger(__name__)
FEWEST_JUDGED = 3  # label maps of a shard from which it is told whether they are read in their own order
LABEL_SUFFIX = ".regions.png"  # of label maps beside the pictures; never a picture, whether they are used or not
PERSON, ANY = "identity", "*"  # levels of a layout, beside gender and ethnicity
USUAL_LAYOUT = "identity/image"


class Folder(Source):
    """The people in the folders of ``path`` (those of ``include``, unless it is null), with pictures or without.

    layout : what each level of folders is: the person, their gender or ethnicity, or no matter ("*"). Where no level is
        the person, each picture is a person of its own, called by its path
    The label map of KK.jpg is KK + ``label_suffix``, its numbers in ``label_order``; its landmarks are KK +
    ``landmark_suffix``. A null suffix: there are no such files. ``rects`` is a table of rectangles
    (`leam.rectangles`), or null.
    """

    words = "people of a folder of pictures"

    def __init__(self, settings: dict):
        super().__init__(settings)
        self.rejects = self.brings_rects = settings["rects"] is not None
        self._judged: dict[str, str] = {}  # what is wrong with the label map of each picture

    needs = ("path",)
    paths = ("path", "rects")
    label_setting = "label_suffix"
    landmark_setting = "landmark_suffix"

    def identities(self) -> list[str]:
        include, places = self.settings["include"], self._places
        by_name = {composed(identity): identity for identity in places}
        if missing := sorted(name for name in include or () if name not in places and composed(name) not in by_name):
            raise ValueError(f"{self._named} has no folder of {missing[0]!r}, whom `include` names")
        chosen = sorted({name if name in places else by_name[composed(name)] for name in include or places})
        if not any(self._pictures(identity) for identity in chosen):
            raise ValueError(
                f"{self._named} holds no pictures; expected a folder of {self._layout}; found {self._what_is_there()}"
            )
        self._words_of_folders()
        return chosen

    @property
    def _named(self) -> str:
        return f"source folder {str(self.folder)!r}"

    @property
    def _layout(self) -> str:
        return self.settings["layout"] if self.settings["layout"] != USUAL_LAYOUT else "identity/image.jpg"

    @property
    def _levels(self) -> list[str]:
        return self.settings["layout"].split("/")[:-1]

    @property
    def _in_folders(self) -> bool:
        """Whether people have folders, or else are pictures."""
        return PERSON in self._levels

    @property
    def _above(self) -> list[str]:
        """The levels above the people."""
        return self._levels[:-1] if self._in_folders else self._levels

    @functools.cached_property
    def _places(self) -> dict[str, str]:
        """Where within ``path`` each person's folder lies, or the picture that is the person."""
        if not self.folder.is_dir():
            raise ValueError(f"{self._named} does not exist or is no folder; expected a folder of {self._layout}")
        places: dict[str, str] = {}
        for group in self._groups(self._above):
            if not self._in_folders:
                places |= {path: path for path in self._within(group, os.DirEntry.is_file) if self._is_picture(path)}
                continue
            for path in self._within(group, os.DirEntry.is_dir):
                name = path.rpartition("/")[2]
                if name in places:
                    raise ValueError(f"{self._named}: {name!r} is a person in two folders: {places[name]} and {path}")
                places[name] = path
        return places

    def _groups(self, levels: list[str]) -> list[str]:
        """The folders below as many levels."""
        groups = [""]
        for _ in levels:
            groups = [path for group in groups for path in self._within(group, os.DirEntry.is_dir)]
        return groups

    def _within(self, group: str, is_wanted: Callable[[os.DirEntry], bool]) -> list[str]:
        return [f"{group}/{name}".lstrip("/") for name in open_names(self.folder / group, is_wanted)]

    def _words_of_folders(self) -> dict[tuple[str, str], str]:
        """{(attribute, name of a folder): the word for it}; raises ValueError for a folder that is none."""
        found: dict[tuple[str, str], str] = {}
        if not self.told:
            return found
        import pandas as pd

        from leam.demographics import ALLOWED, in_our_words

        for depth, level in enumerate(self._levels):
            if level not in self.told:
                continue
            names = sorted({path.split("/")[depth] for path in self._places.values()})
            words, wrong = in_our_words(level, pd.Series(names, dtype=str))
            if wrong:
                raise ValueError(
                    f"{self._named}: layout says that {wrong[0]!r} is {level}; allowed: {', '.join(ALLOWED[level])}"
                )
            found |= {(level, name): word for name, word in zip(names, words, strict=True)}
        return found

    @property
    def told(self) -> tuple[str, ...]:
        return tuple(level for level in self._levels if level not in (PERSON, ANY))

    def attributes(self) -> dict[str, dict[str, str]]:
        words = self._words_of_folders()
        return {
            level: {identity: words[level, path.split("/")[depth]] for identity, path in self._places.items()}
            for depth, level in enumerate(self._levels)
            if level in self.told
        }

    def url(self, identity: str, image: str) -> str:
        if self.settings["layout"] == USUAL_LAYOUT:
            return f"{identity}/{image}"
        place = self._places.get(identity, identity)
        return f"{place}/{image}" if self._in_folders else place

    def _what_is_there(self) -> str:
        """In a folder in which nobody can be found: so that one sees whether it is a level too high or too low."""
        beside = open_names(self.folder, os.DirEntry.is_file)
        people = self._within("", os.DirEntry.is_dir)
        below = sum(len(open_names(self.folder / place, os.DirEntry.is_dir)) for place in people)
        suffixes = Counter(Path(name).suffix.lower() or "none" for place in people for name in self._names(place))
        files = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(5)) or "no files"
        return f"{len(beside)} files and {len(people)} folders in it, and in these {below} folders and {files}" + (
            ": is `path` a level too high, or `layout` */identity/image?"
            if below
            else ": is `path` a level too low?" * bool(beside)
        )

    def fingerprint(self) -> str:
        """Made of the times of the folders alone: a file that is added, removed or renamed changes its folder's, one
        overwritten in place goes unnoticed."""
        people = self.identities()
        folders = [self._places[name] for name in people] if self._in_folders else self._groups(self._above)
        times = [(place, (self.folder / place).stat().st_mtime_ns) for place in folders]
        return hashlib.sha256(repr(times).encode()).hexdigest()

    def images(self, identity: str) -> list[str]:
        """The files of one identity that are neither label maps nor landmarks, sorted: pictures, or what a ledger says
        is none. Hidden files are nobody's.
        """
        place = self._places[identity]
        return self._names(place) if self._in_folders else [place.rpartition("/")[2]]

    def _names(self, place: str) -> list[str]:
        return [name for name in open_names(self.folder / place, os.DirEntry.is_file) if not self._suffix_beside(name)]

    def _suffix_beside(self, name: str) -> str:
        """The suffix of a label map or of landmarks, if it is the end of a name."""
        given = (LABEL_SUFFIX, self.settings["label_suffix"], self.settings["landmark_suffix"])
        return next((suffix for suffix in given if suffix and name.lower().endswith(suffix.lower())), "")

    def _is_picture(self, name: str) -> bool:
        return name.lower().endswith(PICTURE_SUFFIXES) and not self._suffix_beside(name)

    def _pictures(self, identity: str) -> list[str]:
        return [name for name in self.images(identity) if self._is_picture(name)]

    def faults(self, config: dict) -> list[str]:
        """A table of rectangles must be one, and be of these pictures."""
        path = self.settings["rects"]
        try:
            fault = None if path is None else self._fault_of_rects(path)
        except (OSError, ValueError) as error:
            fault = f"{error}"
        return [] if fault is None else [f"source.folder.rects: {fault}"]

    def _fault_of_rects(self, path: str) -> str | None:
        if not Path(path).is_file():
            return f"no such file: {path}; allowed: a CSV of rectangles"
        table = open_rectangles(path)
        people: list[str] = []
        if self.settings["path"] is not None:
            with contextlib.suppress(ValueError):  # whoever asks for the people is told
                people = self.identities()
        return fault_of_rectangles(table, people, self.images) if people else None

    def files(self) -> dict[str, str]:
        path = self.settings["rects"]
        return {} if path is None else {"rects": path}

    def rows(self) -> Iterable[Row]:
        return self._rows() if self.settings["rects"] is None else self._placed[0]

    def rejected(self) -> "pd.DataFrame":
        import pandas as pd

        return pd.DataFrame(self._placed[1], columns=["line", "reason"])

    @functools.cached_property
    def _placed(self) -> tuple[list[Row], list[tuple[int, str]]]:
        return place_rectangles(open_rectangles(self.settings["rects"]), self._rows())

    def _rows(self) -> Iterator[Row]:
        for identity in self.identities():
            for image in self.images(identity) or [""]:
                yield Row(identity, image, self.url(identity, image) if image else "")

    def unused(self) -> Iterator[tuple[str, str]]:
        """Files above the people, folders below them, and label maps and landmarks of no picture."""
        for depth in range(len(self._above) + self._in_folders):
            for group in self._groups(self._above[:depth]):
                for path in self._within(group, os.DirEntry.is_file):
                    yield path, "not in the folder of a person"
        if self._in_folders:
            lowest = [self._places[identity] for identity in self.identities()]
        else:
            lowest = self._groups(self._above)
        for place in lowest:
            yield from self._unused_beside_pictures(place)

    def _unused_beside_pictures(self, place: str) -> Iterator[tuple[str, str]]:
        for path in self._within(place, os.DirEntry.is_dir):
            yield path, "a folder beside pictures"
        stems = {Path(name).stem for name in self._names(place)}
        for path in self._within(place, os.DirEntry.is_file):
            name = path.rpartition("/")[2]
            suffix = self._suffix_beside(name)
            if suffix and name[: -len(suffix)] not in stems:
                yield path, "a label map or landmarks of no picture"
            elif not (suffix or self._in_folders or self._is_picture(name)):
                yield path, "no picture"

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
