"""The user's table of people: gender and ethnicity, for comparing groups (docs/method.md 6)."""

from pathlib import Path

import pandas as pd

ALLOWED = {
    "gender": ("female", "male"),
    "ethnicity": ("Caucasian", "African", "East Asian", "South Asian"),
}


def read_demographics(path: str | Path) -> pd.DataFrame:
    """The table indexed by identity, with the columns gender and ethnicity where given; an empty cell is unknown.

    Raises ValueError: no ``identity`` column, other columns, an identity twice, or a value that is not allowed.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    known = {"identity", *ALLOWED}
    if "identity" not in table or not set(table.columns) <= known:
        raise ValueError(f"{path}: columns are {list(table.columns)}; expected identity and any of {list(ALLOWED)}")
    if twice := sorted(table["identity"][table["identity"].duplicated()]):
        raise ValueError(f"{path}: {twice[0]!r} stands there more than once")
    faults = [
        f"{column} {', '.join(map(repr, wrong))}; allowed: {', '.join(ALLOWED[column])}"
        for column in table.columns.drop("identity")
        if (wrong := sorted(set(table[column]) - {"", *ALLOWED[column]}))
    ]
    if faults:
        raise ValueError(f"{path}: {'. '.join(faults)}")
    return table.set_index("identity")
