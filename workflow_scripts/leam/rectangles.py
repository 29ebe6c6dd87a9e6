"""A table of rectangles: where in which picture the face is, and its join with the pictures of a run.

Two headings are known: HEADING, with the four edges, and VGGFACE2, that of its own loose_bb_*.csv, where NAME_ID is
identity/picture without a suffix. Numbers are pixels of the picture as it is displayed; 0 is its left and upper edge.
Names are compared in Unicode's NFC, as some file systems take them apart.

The Snakefile asks for a match while it is parsed, so nothing heavy is imported.
"""

import csv
import itertools
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from leam.names import composed, from_cell
from leam.sources.base import (
    LINE_TOO_LONG,
    LONGEST_LINE,
    OUTSIDE_PICTURE,
    PICTURE_SUFFIXES,
    REPEATED,
    Row,
    read_lines,
)

log = logging.getLogger(__name__)

HEADING = ("identity", "image", "left", "top", "right", "bottom")
VGGFACE2 = ("NAME_ID", "X", "Y", "W", "H")
MOST_PX = 1e6  # the sum of four edges: no picture is so large
READ_CHARACTERS = 1_000_000
NOT_UTF8 = "line: expected UTF-8"
NO_NUMBERS = "edges: expected numbers of pixels"
NO_AREA = "edges: expected left < right and top < bottom"
NO_PICTURE = "image: no picture of this name"


@dataclass(frozen=True)
class RectangleTable:
    """A table with one of the two headings; ``columns`` are its own, in its order."""

    path: str | Path
    columns: tuple[str, ...]
    is_vggface2: bool

    def rows(self) -> Iterator[tuple[int, list[str] | str]]:
        """Of every row the number of its line, the heading's being 1, and its fields in the order of HEADING or of
        VGGFACE2, or why it has none.

        A row never spans lines, so that a stray quotation mark harms its own alone; empty lines are none.
        """
        order = [self.columns.index(name) for name in (VGGFACE2 if self.is_vggface2 else HEADING)]
        with _opened(self.path) as file:
            lines = itertools.chain.from_iterable(read_lines(file, READ_CHARACTERS))
            for number, line in enumerate(lines, start=1):
                if line and number > 1:
                    yield number, _fields_of_row(line, order)

    def names(self, fields: list[str]) -> tuple[str, str]:
        """Identity and image of a row, in NFC; the image without suffix in VGGFACE2."""
        if self.is_vggface2:
            identity, _, image = fields[0].partition("/")
        else:
            identity, image = from_cell(fields[0]), from_cell(fields[1])
        return composed(identity), composed(image)

    def name_of_image(self, image: str) -> str:
        """How the table names the image of a picture."""
        return composed(os.path.splitext(image)[0] if self.is_vggface2 else image)

    def edges(self, fields: list[str]) -> str:
        """The edges of a row as links.parquet has them. Raises ValueError, which says what is wrong with them."""
        try:
            left, top, right, bottom = map(float, fields[-4:])
        except ValueError:
            raise ValueError(NO_NUMBERS) from None
        if not abs(left) + abs(top) + abs(right) + abs(bottom) < MOST_PX:  # nor of what is not a number
            raise ValueError(NO_NUMBERS)
        if self.is_vggface2:  # width and height
            right, bottom = left + right, top + bottom
        if not (left < right and top < bottom):
            raise ValueError(NO_AREA)
        if right <= 0 or bottom <= 0:
            raise ValueError(OUTSIDE_PICTURE)
        return f"{left:.9g} {top:.9g} {right:.9g} {bottom:.9g}"


def open_rectangles(path: str | Path) -> RectangleTable:
    """A table of rectangles, of which only the heading is read. Raises OSError, and ValueError for another heading."""
    with _opened(path) as file:
        line = file.readline(LONGEST_LINE)
    found = tuple(name.strip() for name in _fields(line.rstrip("\n")))
    is_vggface2 = sorted(found) == sorted(VGGFACE2)
    if not is_vggface2 and sorted(found) != sorted(HEADING):
        expected = f"{','.join(HEADING)!r}, or VGGFace2's {','.join(VGGFACE2)!r}"
        raise ValueError(f"{path}: the heading is {line.strip()[:200]!r}; expected {expected}")
    return RectangleTable(path, found, is_vggface2)


def _opened(path: str | Path) -> TextIO:
    """Bytes that are no UTF-8 become halves of characters, which no name has."""
    return open(path, encoding="utf-8-sig", errors="surrogateescape")


def _fields(line: str) -> list[str]:
    return next(csv.reader([line]), []) if '"' in line else line.split(",")


def _fields_of_row(line: str, order: list[int]) -> list[str] | str:
    if line == LINE_TOO_LONG:
        return line
    if not line.isascii() and any("\ud800" <= letter <= "\udfff" for letter in line):
        return NOT_UTF8
    fields = _fields(line)
    if len(fields) != len(order):
        return f"{len(fields)} fields: expected {len(order)}"
    return [fields[place] for place in order]


# --------------------------------------------------------------------------------------------------------- the join


def fault_of_rectangles(
    table: RectangleTable, identities: Iterable[str], images_of: Callable[[str], list[str]]
) -> str | None:
    """That no row of a table is of a picture of the run, in one sentence; None at the first that is.

    images_of : the pictures of an identity; asked for those alone that the table names, until one matches
    """
    people: dict[str, list[str]] = defaultdict(list)
    for identity in identities:
        people[composed(identity)].append(identity)
    some = ", ".join(repr(name[:100]) for name in sorted(people)[:3])
    images: dict[str, set[str]] = {}  # of those whom the table has named
    first: tuple[int, list[str] | str] | None = None
    for number, row in table.rows():
        first = first or (number, row)
        if isinstance(row, str):
            continue
        identity, image = table.names(row)
        if identity in people:
            theirs = (found for name in people.pop(identity) for found in images_of(name))
            images[identity] = set(map(table.name_of_image, theirs))
        if image in images.get(identity, ()) and not _fault_of_edges(table, row):
            return None
    return f"{table.path}: no row is of a picture of this run, of {some}, ...; {_said_first(table, first)}"


def _fault_of_edges(table: RectangleTable, row: list[str]) -> str:
    try:
        table.edges(row)
    except ValueError as fault:
        return f"{fault}"
    return ""


def _said_first(table: RectangleTable, first: tuple[int, list[str] | str] | None) -> str:
    if first is None:
        return "there is none below the heading"
    number, row = first
    if isinstance(row, str):
        return f"the first, line {number}: {row}"
    names = "identity {!r}, image {!r}".format(*(name[:100] for name in table.names(row)))
    fault = _fault_of_edges(table, row)
    return f"the first, line {number}: {names}" + (f", {fault}" if fault else "")


def place_rectangles(table: RectangleTable, rows: Iterable[Row]) -> tuple[list[Row], list[tuple[int, str]]]:
    """The pictures of a run with their rectangles, and what is wrong with rows of the table: (line, reason), by line.

    Of rows for the same picture the first counts; of people who are not in the run one line has the number of rows.
    What does not match is counted in the log.
    """
    pictures = list(rows)
    said = _SaidOf({composed(picture.identity) for picture in pictures})
    for number, row in table.rows():
        said.take(table, number, row)
    used = set()
    for k, picture in enumerate(pictures):
        of_person = said.edges[composed(picture.identity)] if picture.image else {}
        number, edges = of_person.get(table.name_of_image(picture.image), (0, ""))
        pictures[k] = picture._replace(rect=edges)
        used.add(number)
    for of_person in said.edges.values():
        said.rejected += [(number, NO_PICTURE) for number, _ in of_person.values() if number not in used]
    _log_join(table.path, pictures, said)
    return pictures, sorted([*said.rejected, *said.of_strangers()])


class _SaidOf:
    """What the rows of a table say of some people, their names in NFC.

    edges : by person and image the line and the edges; rejected : (line, reason); strangers : of each other person the
    first line and the number of rows
    """

    def __init__(self, people: Iterable[str]):
        self.edges: dict[str, dict[str, tuple[int, str]]] = {name: {} for name in people}
        self.rejected: list[tuple[int, str]] = []
        self.strangers: dict[str, list[int]] = {}

    def take(self, table: RectangleTable, number: int, row: list[str] | str) -> None:
        if isinstance(row, str):
            self.rejected.append((number, row))
            return
        identity, image = table.names(row)
        of_person = self.edges.get(identity)
        if of_person is None:
            self.strangers.setdefault(identity, [number, 0])[1] += 1
        elif image in of_person:
            self.rejected.append((number, REPEATED))
        else:
            try:
                of_person[image] = number, table.edges(row)
            except ValueError as fault:
                self.rejected.append((number, f"{fault}"))

    def of_strangers(self) -> Iterator[tuple[int, str]]:
        for number, rows in self.strangers.values():
            yield number, f"identity: nobody of this name in the run, in {rows} {'row' if rows == 1 else 'rows'}"


def _log_join(path: str | Path, placed: list[Row], said: _SaidOf) -> None:
    pictures = [row for row in placed if row.image.lower().endswith(PICTURE_SUFFIXES)]
    without = [row for row in pictures if not row.rect]
    log.info("%s: rectangles of %d of %d pictures", path, len(pictures) - len(without), len(pictures))
    if without:
        names = without[0].identity, without[0].image
        log.warning("pictures without a rectangle: %d, such as %r", len(without), "/".join(names))
    if said.rejected:
        number, reason = min(said.rejected)
        log.warning("%s: rows without use: %d, such as line %d: %s", path, len(said.rejected), number, reason)
    if said.strangers:
        rows, (number, _) = sum(count for _, count in said.strangers.values()), min(said.strangers.values())
        # no name: logs have those of the run alone
        log.warning("%s: rows of people who are not in the run: %d, such as line %d", path, rows, number)
