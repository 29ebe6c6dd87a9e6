"""Who of a run stands in the table of people.

Names that differ in the form of Unicode alone are the same: file systems write a name in one form or the other.
"""

import logging
import re
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from leam.demographics import ALLOWED, PICTURE, read_demographics, shown
from leam.names import composed
from leam.sources.base import Source
from leam.tables import no_rows, read_output, write_table

log = logging.getLogger(__name__)

# A person is of a group in which this share of their pictures is: what is said of one picture may be wrong.
AGREEING = 0.75
OF_TABLE, OF_RUN = "table", "run"  # that somebody is missing from
MISSING_COLUMNS = ("identity", "missing_from", "perhaps")
NAMED = 5  # at most so many names in a sentence


class Match(NamedTuple):
    """people : the table for those of the run who are in it, by their names in the run; missing : everybody else of the
    run and of the table, where each is missing from, and whom of the run a name of the table may mean."""

    people: pd.DataFrame
    missing: pd.DataFrame

    def of(self, where: str) -> pd.DataFrame:
        """Those who are missing there."""
        return self.missing[self.missing["missing_from"] == where]


def join_people(table: pd.DataFrame, identities: Iterable[str]) -> Match:
    """The identities of a run and the rows of a table of people (`leam.demographics.read_demographics`), by name."""
    names = list(dict.fromkeys(identities))
    if table.index.name == PICTURE:
        table = _by_person(table, {*names, *map(composed, names)})
    row_of = _rows_of(names, list(table.index))
    absent = [name for name in names if name not in row_of]
    used = set(row_of.values())
    strangers = [row for row in table.index if row not in used]
    meant = _grouped(absent, _loosened)
    perhaps = [meant.get(_loosened(row), []) for row in strangers]
    rows = [(name, OF_TABLE, "") for name in absent]
    rows += [(row, OF_RUN, one[0] if len(one) == 1 else "") for row, one in zip(strangers, perhaps, strict=True)]
    return Match(
        table.loc[list(row_of.values())].set_axis(list(row_of)).rename_axis("identity"),
        pd.DataFrame(rows, columns=list(MISSING_COLUMNS)) if rows else no_rows(MISSING_COLUMNS),
    )


def _rows_of(names: list[str], rows: list[str]) -> dict[str, str]:
    """{name: the row that is written alike, or else the only one that differs in Unicode's form}."""
    found = {name: name for name in names if name in set(rows)}
    left = _grouped([row for row in rows if row not in found], composed)
    alike = _grouped([name for name in names if name not in found], composed)
    both = {key: (group[0], left[key][0]) for key, group in alike.items() if len(group) == len(left.get(key, [])) == 1}
    return found | dict(both.values())


def _grouped(names: list[str], form: Callable[[str], str]) -> dict[str, list[str]]:
    """The names by a form of theirs."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(form(name), []).append(name)
    return found


def _loosened(name: str) -> str:
    """A name without what programs take from it or change: zeros before a number, case, spaces and underscores."""
    return re.sub(r"[\s_.\-]+", "", unicodedata.normalize("NFKC", name).casefold()).lstrip("0")


def _by_person(pictures: pd.DataFrame, names: set[str]) -> pd.DataFrame:
    """Rows of pictures as rows of people: these are the pictures, or their folders by path or by name, whichever finds
    most of the run."""
    paths = pd.Series(pictures.index)
    folders = paths.str.rpartition("/")[0]
    keys = max((paths, folders, folders.str.rpartition("/")[2]), key=lambda key: len(set(key) & names))
    return pictures.groupby(keys.to_numpy()).agg(_agreed)


def _agreed(values: pd.Series) -> str:
    """The value that nearly all pictures of a person have, else "" for unknown."""
    counts = values[values != ""].value_counts()
    return str(counts.index[0]) if len(counts) and counts.iloc[0] >= AGREEING * counts.sum() else ""


def fault_of_match(match: Match) -> str:
    """Why a table that has nobody of the run is of no use, in one sentence; "" where it has somebody."""
    if len(match.people):
        return ""
    theirs, ours = _some(match.of(OF_RUN)), _some(match.of(OF_TABLE))
    return f"nobody of this run is in it: the run has {ours}, it has {theirs or 'nobody'}{_hint(match)}"


def say_match(match: Match) -> str:
    """Who did not match, in one sentence; "" where everybody of both did."""
    absent, strangers = match.of(OF_TABLE), match.of(OF_RUN)
    of_run = f"{len(absent)} of the run's {len(absent) + len(match.people)} people are not in it: {_some(absent)}"
    of_table = f"{len(strangers)} people in it are not in the run: {_some(strangers)}"
    return "; ".join([of_run] * bool(len(absent)) + [of_table] * bool(len(strangers))) + _hint(match)


def _some(people: pd.DataFrame) -> str:
    return shown(people["identity"].head(NAMED).tolist()) + " and others" * (len(people) > NAMED)


def _hint(match: Match) -> str:
    near = match.missing[match.missing["perhaps"] != ""]
    if not len(near):
        return ""
    theirs, ours = near.iloc[0]["identity"], near.iloc[0]["perhaps"]
    why = ": spreadsheets take zeros before a number away" if ours.lstrip("0") == theirs else ""
    return f" (is {theirs!r} there {ours!r} here{why}?)"


def read_people(path: str | Path) -> pd.DataFrame:
    """people.csv, indexed by identity: gender and ethnicity where known of anybody; "" is unknown."""
    return read_output(path).set_index("identity").fillna("").astype(str)


def match_people(
    links: str | Path, demographics: str | Path | None, people: str | Path, missing: str | Path, *, source: Source
) -> None:
    """people.csv: gender and ethnicity of everybody of the run, as the table says or else the source; "" is unknown.
    missing_people.csv: who is in the run or in the table alone.

    links : of the run; demographics : None without a table
    Raises ValueError for a table in which nobody of the run stands.
    """
    names = read_output(links)["identity"].drop_duplicates().tolist()
    told = pd.DataFrame(source.attributes(), index=names).fillna("")
    table, alone = told, no_rows(MISSING_COLUMNS)
    if demographics is not None:
        match = join_people(read_demographics(demographics), names)
        if fault := fault_of_match(match):
            raise ValueError(f"{demographics}: {fault}")
        if said := say_match(match):
            log.warning("%s: %s", demographics, said)
        given, alone = match.people.reindex(names).fillna(""), match.missing
        table = given.mask(given == "").combine_first(told).fillna("")
    columns = [column for column in ALLOWED if column in table]
    write_table(table.loc[names, columns].rename_axis("identity").reset_index(), people)
    write_table(alone, missing)
