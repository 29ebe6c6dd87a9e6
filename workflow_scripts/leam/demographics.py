"""The user's table of people: gender and ethnicity, for comparing groups (docs/method.md 6)."""

from pathlib import Path

import pandas as pd

from leam.names import from_cell

ALLOWED = {
    "gender": ("female", "male"),
    "ethnicity": ("Caucasian", "African", "East Asian", "South Asian"),
}


def read_demographics(path: str | Path) -> pd.DataFrame:
    """The table indexed by identity, with the columns gender and ethnicity where given; an empty cell is unknown.

    Raises ValueError: no ``identity`` column, other columns, an identity twice, or a value that is not allowed.
    """
    try:  # the heading is read as a row: pandas renames what stands there twice, and shifts rows that are longer
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, header=None)
    except ValueError as error:  # not UTF-8, rows of several lengths, nothing at all
        raise ValueError(f"{path}: {' '.join(str(error).split())}; expected a CSV file in UTF-8") from None
    columns, table = rows.iloc[0].tolist(), rows.iloc[1:].reset_index(drop=True)
    known = {"identity", *ALLOWED}
    if "identity" not in columns or not set(columns) <= known or len(set(columns)) < len(columns):
        raise ValueError(f"{path}: columns are {_shown(columns)}; expected identity and any of {list(ALLOWED)}")
    table.columns = pd.Index(columns)
    table["identity"] = table["identity"].map(from_cell)
    if twice := sorted(table["identity"][table["identity"].duplicated()]):
        raise ValueError(f"{path}: {_shown(twice[:1])} stands there more than once")
    faults = [
        f"{column} {_shown(wrong)}; allowed: {', '.join(ALLOWED[column])}"
        for column in table.columns.drop("identity")
        if (wrong := sorted(set(table[column]) - {"", *ALLOWED[column]}))
    ]
    if faults:
        raise ValueError(f"{path}: {'. '.join(faults)}")
    return table.set_index("identity")


def _shown(values: list[str]) -> str:
    """Some values, or the first of very many, for a sentence."""
    text = ", ".join(map(repr, values))
    return text if len(text) <= 300 else f"{text[:300]} ..."
