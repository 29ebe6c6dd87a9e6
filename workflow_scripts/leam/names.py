"""Names of people, pictures, recognisers and layers are data: how each kind of output writes them, whatever they are.

One function per kind of output: HDF5 (``group_name``, ``layer_name``), CSV (``csv_cell``), pages (``in_script``), lines
of logs (``printable``), figures (``plotting.shown_name``), paths (``path_faults``). Nothing heavy is imported, as logs
need this before all else.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence

RESERVED = ("discarded", "ledger")  # groups of HDF5 files that stand beside the identities
LONGEST = 100  # bytes of a recogniser's name: file systems take 255, and names of files have more before and behind
MOST_REPEATS = (
    19  # of a piece at the end of a recogniser's name; Snakemake refuses more in what its wildcards stand for
)
IMAGES_OF = ".images"  # regions/NAME.images.parquet stands beside regions/NAME.parquet
# What begins a formula in a spreadsheet, in full width too, or would begin another cell, and marks before it.
FORMULA = re.compile(r"'*(?:[\t\r\n]|\s*[=+\-@＝＋－＠])")  # noqa: RUF001
NO_TEXT = re.compile("[\0\ud800-\udfff]")  # what no file can hold: NUL, and halves of characters


def group_name(identity: str) -> str:
    """The HDF5 group of an identity: '/', '%' and NUL escaped, and the reserved group names too."""
    escaped = identity.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    return f"%{escaped}" if escaped in RESERVED or escaped in ("", ".", "..") else escaped


def layer_name(layer: str) -> str:
    """The HDF5 name of a layer: ONNX nodes have '/' in theirs, which would open a group; `twins` tells collisions."""
    escaped = layer.replace("/", ".").replace("\0", "%00")
    return escaped if escaped.strip(".") else f"%{escaped}"


def csv_cell(text: str) -> str:
    """The cell of a CSV table: an apostrophe before what a spreadsheet would take for a formula; see ``from_cell``."""
    return f"'{text}" if FORMULA.match(text) else text


def from_cell(cell: str) -> str:
    """The text that ``csv_cell`` made the cell of."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def composed(name: str) -> str:
    """The name as two lists of names are compared: file systems write one and the same in several forms of Unicode."""
    return unicodedata.normalize("NFC", name)


def in_script(data: object) -> str:
    """JSON that can stand in a script element whatever the names are: `<!--<script>` would hide the page's end."""
    return json.dumps(data).replace("<", "\\u003c")


def printable(text: str) -> str:
    """Text in which nothing ends the line, moves the cursor or turns the direction: escaped as in Python's strings."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def twins(names: Sequence[str], written: Iterable[str]) -> list[str]:
    """Those of some names that are written the same way as another one of them."""
    forms = list(written)
    return [name for name, form in zip(names, forms, strict=True) if forms.count(form) > 1]


def path_faults(names: Sequence[str]) -> list[str]:
    """What keeps names from standing in paths, in one sentence each; a recogniser's files have its name."""
    faults = [
        f"{name!r} has {len(name.encode())} bytes; allowed: at most {LONGEST}, as it stands in names of files"
        for name in names
        if len(name.encode()) > LONGEST
    ]
    faults += [
        f"{name!r} ends as a file of another recogniser may; allowed: no {IMAGES_OF} at the end"
        for name in names
        if name.casefold().endswith(IMAGES_OF)
    ]
    faults += [
        f"{name!r} ends in {found[1]!r} over and over, which Snakemake takes for a path without end; allowed: at most "
        f"{MOST_REPEATS} times"
        for name in names
        if (found := re.search(rf"(.+?)\1{{{MOST_REPEATS},}}$", name, re.S))
    ]
    if alike := twins(names, [name.casefold() for name in names]):
        faults.append(f"{' and '.join(map(repr, alike))} differ in case alone, which not every file system tells apart")
    return faults
