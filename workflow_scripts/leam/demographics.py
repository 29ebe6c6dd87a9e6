"""The user's table of people: gender and ethnicity, for comparing groups (docs/method.md 6).

The tables that face data sets publish are read as they come; docs/sources.md shows each.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from leam.names import from_cell

ALLOWED = {
    "gender": ("female", "male"),
    "ethnicity": ("Caucasian", "African", "East Asian", "South Asian"),
}
# Other words for them, in lower case: those of VGGFace2, FairFace, RFW and people.
SYNONYMS = {
    "gender": {"f": "female", "woman": "female", "m": "male", "man": "male"},
    "ethnicity": {"white": "Caucasian", "black": "African", "asian": "East Asian", "indian": "South Asian"},
}
# FairFace's words for people who are in none of these groups.
ELSEWHERE = ("latino_hispanic", "middle eastern", "southeast asian")
PICTURE = "picture"  # the index of tables with a row per picture
HEADING_BYTES = 65_536  # a heading has fewer


class Heading(NamedTuple):
    """Where the names of the columns stand: in which line, counted from 0, and what separates them."""

    columns: list[str]
    line: int
    separator: str


def read_demographics(path: str | Path) -> pd.DataFrame:
    """The table indexed by identity, with the columns gender and ethnicity where given; an empty cell is unknown.

    Read are tables of ``identity`` and any of these columns, and by their headings VGGFace2's identity_meta.csv, LFW's
    attributes (the mean of a person's scores says the gender, and the largest one above 0 the ethnicity), and
    FairFace's labels and predictions, which are indexed by the path of each ``picture`` instead.
    Raises ValueError: a heading of none of these, an identity twice, or a value that is not allowed.
    """
    heading = _heading(path)
    known = {column.lower() for column in heading.columns}
    try:
        if {"class_id", "gender"} <= known:
            table = _chosen(_rows(path, heading, skipinitialspace=True), {"class_id": "identity"})
        elif {"person", "imagenum", "male"} <= known:
            table = _of_scores(_rows(path, heading))
        elif {"gender", "race"} <= known and (of_picture := {"file", "face_name_align"} & known):
            table = _chosen(_rows(path, heading), {of_picture.pop(): PICTURE, "race": "ethnicity"})
            table["ethnicity"] = table["ethnicity"].where(~table["ethnicity"].str.lower().isin(ELSEWHERE), "")
        else:
            table = _own(_rows(path, heading), heading.columns)
    except ValueError as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
    name = table.columns[0]
    if twice := sorted(table[name][table[name].duplicated()]):
        raise ValueError(f"{path}: {shown(twice[:1])} stands there more than once")
    faults = []
    for column in table.columns[1:]:
        table[column], wrong = in_our_words(column, table[column])
        faults += [f"{column} {shown(wrong)}; allowed: {', '.join(ALLOWED[column])}"] * bool(wrong)
    if faults:
        raise ValueError(f"{path}: {'. '.join(faults)}")
    return table.set_index(name)


def in_our_words(attribute: str, values: pd.Series) -> tuple[pd.Series, list[str]]:
    """Values of an attribute as ``ALLOWED`` has them, and those that mean none of these."""
    words = {word.lower(): word for word in ALLOWED[attribute]} | SYNONYMS[attribute] | {"": ""}
    found = values.map(lambda value: words.get(value.strip().lower()))
    return found, sorted(set(values[found.isna()]))


def _heading(path: str | Path) -> Heading:
    """The first line, or one of the next that begins with # as LFW's does, split at what separates its columns."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(HEADING_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.end < HEADING_BYTES - 4:  # not a character that the end of the head cuts
            raise ValueError(f"{path}: {error.reason}; expected a CSV file in UTF-8") from None
        head = error.object[: error.start].decode("utf-8-sig")
    lines = head.splitlines() or [""]
    number = next((k for k, line in enumerate(lines[:3]) if re.match(r"#\s*person\t", line)), 0)
    line = lines[number].removeprefix("#").strip("\t ") if number or lines[0].startswith("#\t") else lines[0]
    separator = next((mark for mark in (",", ";", "\t") if mark in line), ",")
    return Heading([cell.strip().strip('"') for cell in line.split(separator)], number, separator)


def _rows(path: str | Path, heading: Heading, *, skipinitialspace: bool = False) -> pd.DataFrame:
    """The cells, all text, by the names of the columns in lower case. Rows may end in one separator more."""
    try:  # the heading is read as a row: pandas renames what stands there twice, and shifts rows that are longer
        rows = pd.read_csv(
            path,
            sep=heading.separator,
            header=None,
            skiprows=heading.line,
            skipinitialspace=skipinitialspace,
            skip_blank_lines=False,
            dtype=str,
            keep_default_na=False,
        )
    except ValueError as error:  # not UTF-8, rows of several lengths, nothing at all
        raise ValueError(f"{error}; expected a CSV file in UTF-8") from None
    table = rows.iloc[1:].reset_index(drop=True)
    table = table[~(table == "").all(axis=1)]  # blank lines
    while table.shape[1] > len(heading.columns) and (table.iloc[:, -1] == "").all():
        table = table.iloc[:, :-1]
    if table.shape[1] != len(heading.columns):
        raise ValueError(f"columns are {shown(heading.columns)}, and rows have {table.shape[1]}; expected as many")
    table.columns = pd.Index([column.lower() for column in heading.columns])
    return table


def _own(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    lower, known = list(rows.columns), ["identity", *ALLOWED]
    if "identity" not in lower or not set(lower) <= set(known) or len(set(lower)) < len(lower) or len(lower) < 2:
        raise ValueError(f"columns are {shown(columns)}; expected identity and any of {list(ALLOWED)}")
    return rows[["identity", *(column for column in lower if column != "identity")]].assign(
        identity=rows["identity"].map(from_cell)
    )


def _chosen(rows: pd.DataFrame, renamed: dict[str, str]) -> pd.DataFrame:
    """The columns that are of use in a published table, the one of names first."""
    table = rows.rename(columns=renamed)
    return table[[next(iter(renamed.values())), *(column for column in ALLOWED if column in table)]].copy()


def _of_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """LFW's attributes: scores of each picture, above 0 where a person has it. Its folders have _ for the spaces."""
    groups = [word for word in SYNONYMS["ethnicity"] if word in rows]
    scores = rows[["male", *groups]].apply(pd.to_numeric, errors="coerce")
    means = scores.groupby(rows["person"].str.strip().str.replace(" ", "_")).mean()
    best = means[groups].fillna(float("-inf")).idxmax(axis=1).where(means[groups].max(axis=1) > 0, "")
    gender = means["male"].map(lambda score: "male" if score > 0 else "female" if score <= 0 else "")
    return pd.DataFrame({"identity": means.index, "gender": gender.to_numpy(), "ethnicity": best.to_numpy()})


def shown(values: Sequence[str]) -> str:
    """Some values, or the first of very many, for a sentence."""
    text = ", ".join(map(repr, values))
    return text if len(text) <= 300 else f"{text[:300]} ..."
