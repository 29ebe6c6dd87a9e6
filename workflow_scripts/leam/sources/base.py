"""What a source answers: the contract that the class of every ``source.kind`` keeps, and what several of them share.

The Snakefile asks a source while it is parsed: modules of sources import nothing heavy but within the methods that
list and open pictures.
"""

import hashlib
import logging
import os
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TextIO

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

log = logging.getLogger(__name__)

PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".webp"),
    *(".avif", ".bmp", ".gif", ".pbm", ".pgm", ".pnm", ".ppm", ".tif", ".tiff"),
)
# Why rows of lists and tables cannot be used, where several say the same.
LONGEST_LINE = 100_000  # characters; Python's csv ends with an error at a field of 131,072
LINE_TOO_LONG = f"line: more than {LONGEST_LINE} characters"  # stands for such a line, and is said of it
OUTSIDE_PICTURE = "rect: not a rectangle within the picture"
REPEATED = "image: the same image of the same person stands in an earlier line"
RENDERED, IMPORTED, SCRAPED = "rendered", "imported", "scraped"

People = dict[str, list[str]]  # identity -> its images, sorted


class Row(NamedTuple):
    """One picture as links.parquet has it. ``image`` is "" in the only row of an identity without pictures; ``url`` is
    an address or the path within the source's folder; rect (xmin ymin xmax ymax), height and width, in pixels of the
    picture that was published, are "" where nothing is said of them."""

    identity: str
    image: str
    url: str = ""
    rect: str = ""
    height: str = ""
    width: str = ""


class Source(ABC):
    """People and their pictures. A source has to say `words`, `identities` and `rows`; the rest has a default.

    settings : ``kind`` and the source's own section of the configuration, paths resolved, and the run's ``seed`` where
        the section has ``max_images``

    words : how captions name the people, after their number
    pictures : how they are had, and so by which rule: RENDERED, IMPORTED (from files) or SCRAPED (from addresses)
    needs : settings of the section that must not be null
    paths : settings of the section that are paths; relative ones start from ``root``
    label_setting, landmark_setting : the setting that holds the suffix of label maps (of landmarks), null without any
    age_pattern : a regular expression whose first group is the age in years in an image's name
    rejects : whether `rejected` has anything to tell
    brings_rects : whether pictures come with rectangles, as far as `rows` has one
    """

    words: ClassVar[str]
    pictures: ClassVar[str] = IMPORTED
    needs: ClassVar[tuple[str, ...]] = ()
    paths: ClassVar[tuple[str, ...]] = ()
    label_setting: ClassVar[str | None] = None
    landmark_setting: ClassVar[str | None] = None
    age_pattern: ClassVar[str | None] = None
    rejects: bool = False
    brings_rects: bool = False

    def __init__(self, settings: dict):
        self.settings = settings

    @property
    def kind(self) -> str:
        return self.settings["kind"]

    @property
    def folder(self) -> Path:
        """Where the pictures lie that are imported."""
        return Path(self.settings["path"])

    # ------------------------------------------------------------------------------- before the first job: be quick

    @classmethod
    def setting_faults(cls, section: dict) -> list[str]:
        """What is wrong in the source's section, in one sentence each, whichever source is chosen."""
        return []

    def faults(self, config: dict) -> list[str]:
        """What a run on this source lacks elsewhere (files, other settings), in one sentence each."""
        return []

    @property
    def brings_labels(self) -> bool:
        """Whether pictures come with label maps."""
        return self.label_setting is not None and self.settings[self.label_setting] is not None

    @property
    def brings_landmarks(self) -> bool:
        """Whether pictures come with landmarks."""
        return self.landmark_setting is not None and self.settings[self.landmark_setting] is not None

    @property
    def landmarks_everywhere(self) -> bool:
        """Whether landmarks come with every picture, so that they stand in for a detector."""
        return self.brings_landmarks

    @abstractmethod
    def identities(self) -> list[str]:
        """The identities, sorted. Raises ValueError, which says what is missing, where there are none."""

    def count(self) -> int:
        """How many identities there are, and so how many shards; where `identities` takes long, without it."""
        return len(self.identities())

    def fingerprint(self) -> str:
        """Text that changes with the list of pictures, which then is made anew; "" where settings say it all."""
        return ""

    def identities_at_once(self) -> list[str] | None:
        """The identities while a run is planned; None where it takes long to know them."""
        return self.identities()

    @property
    def told(self) -> tuple[str, ...]:
        """What the source itself says of people: of gender and ethnicity those that `attributes` has."""
        return ()

    def attributes(self) -> dict[str, dict[str, str]]:
        """{attribute: {identity: value}} for those of `told`, in the words of `leam.demographics.ALLOWED`."""
        return {}

    def files(self) -> dict[str, str]:
        """Files from which the list of pictures is read, by a name: inputs of the rule that lists."""
        return {}

    # -------------------------------------------------------------------------------------- list_links: every picture

    @abstractmethod
    def rows(self) -> Iterable[Row]:
        """A row per picture, in any order, and one for each identity without pictures."""

    def unused(self) -> Iterable[tuple[str, str]]:
        """(file or folder, reason) for what lies in the source's folders and is no one's picture or beside one."""
        return ()

    def rejected(self) -> "pd.DataFrame":
        """The rows of a list or table that cannot be used: a data frame of ``line`` and ``reason``."""
        raise NotImplementedError(f"source {self.kind} rejects no rows")

    # --------------------------------------------------------- import_images: the files of one picture after another

    def check(self) -> None:  # noqa: B027 - most have nothing to check
        """Raises ValueError for a folder or settings with which no picture can be had."""

    def judge(self) -> None:  # noqa: B027 - most have nothing to say
        """Raises ValueError for what can only be told once all pictures of a shard were read, and is no one's fault."""

    def url(self, identity: str, image: str) -> str:
        """The path of a picture within the folder; links that name any other are refused."""
        return f"{identity}/{image}"

    def labels(self, picture: Path, shape: tuple[int, int]) -> bytes | None:
        """The label map of a picture of ``shape`` (H, W), as a PNG in FaRL order; None without `brings_labels`.

        Raises `leam.reasons.UnusablePictureError` with the reason for the ledger.
        """
        return None

    def landmarks(self, picture: Path) -> "np.ndarray | None":
        """The landmarks of a picture, (68, 2) float32 in pixels, iBUG order; None where it has none.

        Raises `leam.reasons.UnusablePictureError` with the reason for the ledger.
        """
        return None

    # ------------------------------------------------------------------------------------------------------- for all

    def file_names(self, folder: str | Path, expected: str) -> list[str]:
        """The names of a folder's files, sorted; ValueError with what was ``expected`` for one that is not there."""
        if not Path(folder).is_dir():
            raise ValueError(f"source {self.kind}: {str(folder)!r} does not exist or is no folder; expected {expected}")
        return open_names(folder, os.DirEntry.is_file)


class DataSet(Source):
    """A source that tells all of its people, of whom a run takes some.

    Its section has ``min_images``, and ``max_images`` of a person, which may be null (`choose_people`).
    """

    @abstractmethod
    def people(self) -> People:
        """All there are. Raises ValueError, which says what is missing, where there are none."""

    def identities(self) -> list[str]:
        return sorted(choose_people(self.people(), self.settings))

    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self.people()).encode()).hexdigest()

    def rows(self) -> Iterable[Row]:
        people = self.people()
        chosen = choose_people(people, self.settings)
        log.info(
            "%s: %d of %d people have min_images, %d of %d pictures are taken",
            *(self.kind, len(chosen), len(people)),
            *(sum(map(len, group.values())) for group in (chosen, people)),
        )
        for identity, images in chosen.items():
            for image in images:
                yield Row(identity, image, self.url(identity, image))


def choose_people(people: People, settings: dict) -> People:
    """Those with at least ``min_images`` images, and of each at most ``max_images``, drawn with ``seed`` and its name.

    Raises ValueError when no one is left.
    """
    least, most, seed = settings["min_images"], settings["max_images"], settings["seed"]
    chosen = {
        identity: sorted(random.Random(f"{seed}/{identity}").sample(images, min(most or len(images), len(images))))
        for identity, images in people.items()
        if len(images) >= least
    }
    if not chosen:
        raise ValueError(f"source {settings['kind']}: no one of {len(people)} people has min_images, {least}, pictures")
    return chosen


def open_names(folder: str | Path, is_wanted: Callable[[os.DirEntry], bool]) -> list[str]:
    """The names in a folder of what is wanted, sorted, hidden ones left out. Raises ValueError for one that is not
    UTF-8: Parquet and HDF5 hold no other."""
    return sorted(
        _utf8(entry.name) for entry in os.scandir(folder) if not entry.name.startswith(".") and is_wanted(entry)
    )


def read_lines(file: TextIO, chunk: int) -> Iterator[list[str]]:
    """The lines from where a file is read, so many characters at a time that memory holds them, however long a line is;
    of one that is too long only LINE_TOO_LONG."""
    rest = ""
    while text := file.read(chunk):
        *lines, rest = (rest + text).split("\n")
        rest = rest[: LONGEST_LINE + 1]
        if lines:
            yield [_whole_line(line) for line in lines]
    if rest:
        yield [_whole_line(rest)]


def _whole_line(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else LINE_TOO_LONG


def _utf8(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"file name {os.fsencode(name)!r}: expected UTF-8; rename it") from None
    return name
