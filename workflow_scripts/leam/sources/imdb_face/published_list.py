"""The published list of IMDb-Face: 1.7 million links to photographs, and the choice of people and images among them.

The list is read in chunks of lines, so that memory does not follow its length, and judged column by column. A person
goes by the nm-number; the name in the first column is never used.
"""

import csv
import hashlib
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from leam.sources.base import LINE_TOO_LONG, LONGEST_LINE, OUTSIDE_PICTURE, REPEATED, read_lines

log = logging.getLogger(__name__)
HEADER = ["name", "index", "image", "rect", "height width", "url"]
LISTED_COLUMNS = ["identity", "image", "url", "rect", "height", "width"]
CHUNK_CHARACTERS = 16_000_000
NUMBER = r"-?[0-9]{1,6}(?:\.[0-9]*)?"
# What a row must look like, column by column: what is said of one that does not, and what it must match in full.
FORMS = (
    ("index", "index: expected nm and at least seven digits", r"nm[0-9]{7,10}"),
    ("image", "image: expected a name of at most 255 characters", r"[^\x00-\x1f\x7f�]{1,255}"),
    ("rect", "rect: expected xmin ymin xmax ymax", rf"{NUMBER}(?: +{NUMBER}){{3}}"),
    ("height width", "height width: expected two whole numbers above 0", r"0*[1-9][0-9]{0,5} +0*[1-9][0-9]{0,5}"),
    (
        "url",
        "url: expected http:// or https:// and a host",
        r"https?://[^\x00-\x20\x7f/?#�]+(?:[/?#][^\x00-\x1f\x7f�]*)?",
    ),
)
MOST_URL = 4096  # characters
LONG_URL = f"url: expected at most {MOST_URL} characters"


class ListError(ValueError):
    """A list that cannot be used: the message names the file, what was found and what was expected."""


def read_rows(path: str | Path) -> Iterator[tuple[np.ndarray, pa.ListArray]]:
    """The rows of the list in chunks of n: their line numbers (n,), the header's being 1, and their fields; empty lines
    are none. Raises ListError unless the header is the published one."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        header = file.readline(LONGEST_LINE).rstrip("\n")
        if [name.strip() for name in header.split(",")] != HEADER:
            raise ListError(f"{path}: the header is {header[:200]!r}; expected {','.join(HEADER)!r}")
        first = 2
        for lines in read_lines(file, CHUNK_CHARACTERS):
            yield _split(np.arange(first, first + len(lines)), pc.utf8_trim_whitespace(pa.array(lines)))
            first += len(lines)


def _split(numbers: np.ndarray, lines: pa.StringArray) -> tuple[np.ndarray, pa.ListArray]:
    """Fields at the commas; those of the address, the last one, are its own. A row never spans lines here, so that a
    stray quotation mark harms its own line only."""
    quoted, empty = (check(lines, sign).to_numpy(False) for check, sign in ((pc.match_substring, '"'), (pc.equal, "")))
    plain = ~quoted & ~empty
    rows = pc.split_pattern(lines.filter(pa.array(plain)), ",", max_splits=len(HEADER) - 1)
    if not quoted.any():
        return numbers[plain], rows
    marked = pa.array(_whole_address(next(csv.reader([line]))) for line in lines.filter(pa.array(quoted)).to_pylist())
    found = np.concatenate([numbers[plain], numbers[quoted]])
    order = np.argsort(found)
    return found[order], pa.concat_arrays([rows, marked.cast(rows.type)]).take(pa.array(order))


def _whole_address(fields: list[str]) -> list[str]:
    """Fields of a quoted line, of whose address the commas may stand outside of the quotation marks."""
    return [*fields[: len(HEADER) - 1], ",".join(fields[len(HEADER) - 1 :])] if len(fields) > len(HEADER) else fields


def check_rows(numbers: np.ndarray, rows: pa.ListArray) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The good rows of a chunk (``line`` and LISTED_COLUMNS, those text) and its bad ones (line, reason)."""
    lengths = pc.list_value_length(rows).to_numpy()
    whole = lengths == len(HEADER)
    fields = rows.filter(pa.array(whole)).flatten()
    columns = {name: pc.utf8_trim_whitespace(fields[k :: len(HEADER)]) for k, name in enumerate(HEADER)}
    reason = np.full(whole.sum(), "", object)
    for name, message, form in FORMS:
        fits = pc.match_substring_regex(columns[name], rf"\A(?:{form})\z").to_numpy(False)
        reason[(reason == "") & ~fits] = message
    long = pc.greater(pc.utf8_length(columns["url"]), MOST_URL).to_numpy(False)
    reason[(reason == "") & long] = LONG_URL
    well = reason == ""
    rect, size = (_numbers(columns[name].filter(pa.array(well)), n) for name, n in (("rect", 4), ("height width", 2)))
    reason[well] = np.where(_is_within(rect, size), "", OUTSIDE_PICTURE)
    bad = {"line": numbers[whole][reason != ""], "reason": reason[reason != ""]}
    wrong = pd.DataFrame({"line": numbers[~whole], "reason": _count_reasons(rows.filter(pa.array(~whole)))})
    return _good_rows(numbers[whole], columns, reason == ""), pd.concat([pd.DataFrame(bad), wrong])


def _count_reasons(rows: pa.ListArray) -> list[str]:
    """What is wrong with rows of another number of fields."""
    firsts = pc.list_element(rows, 0).to_pylist() if len(rows) else []
    counts = pc.list_value_length(rows).to_pylist()
    expected = [f"{n} fields: expected {len(HEADER)}" for n in counts]
    return [LINE_TOO_LONG if first == LINE_TOO_LONG else reason for first, reason in zip(firsts, expected, strict=True)]


def _good_rows(numbers: np.ndarray, columns: dict[str, pa.StringArray], good: np.ndarray) -> pd.DataFrame:
    found = {name: column.filter(pa.array(good)) for name, column in columns.items()}
    size = pc.split_pattern_regex(found["height width"], " +").flatten()
    named = (found["index"], found["image"], found["url"], found["rect"], size[::2], size[1::2])
    table = pa.table(dict(zip(LISTED_COLUMNS, named, strict=True))).to_pandas()
    return table.assign(line=numbers[good])


def _numbers(texts: pa.StringArray, n: int) -> np.ndarray:
    """(rows, n) float64: the numbers of texts that hold n each."""
    return pc.ascii_split_whitespace(texts).flatten().cast(pa.float64()).to_numpy(False).reshape(-1, n)


def _is_within(rect: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(rows,) whether xmin < xmax, ymin < ymax, and at least a part lies within the picture of (height, width)."""
    low, high = rect[:, :2], rect[:, 2:]
    return np.asarray(((low < high) & (high > 0) & (low < size[:, ::-1])).all(axis=1))


def survey(path: str | Path) -> tuple[pd.Series, pd.DataFrame]:
    """Read the whole list once: the number of good rows per identity, and the bad rows (line, reason), by line.

    Of rows with the same identity and image the first is good. They are told by a 64-bit hash, so that memory grows by
    a few bytes per row.
    """
    codes_of: dict[str, int] = {}
    codes, keys, numbers, bad = [], [], [], []
    for chunk in read_rows(path):
        good, wrong = check_rows(*chunk)
        local, names = pd.factorize(good["identity"])
        codes.append(np.array([codes_of.setdefault(name, len(codes_of)) for name in names], np.int32)[local])
        keys.append(pd.util.hash_array((good["identity"] + "/" + good["image"]).to_numpy(object), categorize=False))
        numbers.append(good["line"].to_numpy(np.int32))
        bad.append(wrong)
    if not codes:
        raise ListError(f"{path}: no rows below the header")
    repeated = pd.Series(np.concatenate(keys)).duplicated().to_numpy()
    again = pd.DataFrame({"line": np.concatenate(numbers)[repeated], "reason": REPEATED})
    counts = np.bincount(np.concatenate(codes)[~repeated], minlength=len(codes_of))
    return pd.Series(counts, index=list(codes_of)), pd.concat([*bad, again]).sort_values("line", ignore_index=True)


def _draw(names: Iterable[str], seed: int, count: int) -> list[str]:
    """``count`` of the names, by the order of their hashes: who asks for more keeps these, whatever else is listed."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())[:count]


def choose_identities(counts: pd.Series, source: dict) -> list[str]:
    """The identities of a run: those of ``include``, or ``identities`` drawn with the seed from those with
    ``min_images`` good rows or more. Raises ListError when there are not enough."""
    enough = counts.index[counts >= source["min_images"]]
    what = f"{source['min_images']} good rows or more (source.imdb_face.min_images)"
    if source["include"] is not None:
        missing = sorted(set(source["include"]) - set(enough))
        if missing:
            raise ListError(f"{source['path']}: {len(missing)} of `include` lack {what}: {', '.join(missing[:5])}")
        return sorted(source["include"])
    if len(enough) < source["identities"]:
        raise ListError(
            f"{source['path']}: {len(enough)} people have {what}; source.imdb_face.identities asks for "
            f"{source['identities']}"
        )
    return sorted(_draw(enough, source["seed"], source["identities"]))


def _rows_of(path: str | Path, identities: list[str]) -> pd.DataFrame:
    """The good rows of some identities, repeated ones included."""
    wanted, parts = pa.array(identities), []
    for numbers, rows in read_rows(path):
        second = pc.list_element(rows.filter(pa.array(longer := pc.list_value_length(rows).to_numpy() > 1)), 1)
        theirs = pc.is_in(pc.utf8_trim_whitespace(second), wanted).to_numpy(False)
        chosen = np.flatnonzero(longer)[theirs]
        parts.append(check_rows(numbers[chosen], rows.take(pa.array(chosen)))[0])
    return pd.concat(parts)


def choose_links(source: dict) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of the chosen identities, at most ``max_images`` each, and the bad rows of the whole list.

    source : the configuration's section imdb_face, with ``path`` and ``seed``
    Returns the links (LISTED_COLUMNS, sorted by identity and image) and the bad rows (line, reason).
    """
    counts, bad = survey(source["path"])
    log.info("%s: %d good rows of %d people, %d bad rows", source["path"], counts.sum(), len(counts), len(bad))
    rows = _rows_of(source["path"], choose_identities(counts, source))
    rows = rows[~rows["line"].isin(bad["line"])]
    rows["key"] = rows["identity"] + "/" + rows["image"]
    keys = rows.groupby("identity")["key"]
    drawn = {key for _, group in keys for key in _draw(group, source["seed"], source["max_images"])}
    rows = rows[rows["key"].isin(drawn)].sort_values(["identity", "image"], ignore_index=True)
    return rows[LISTED_COLUMNS], bad
