"""Which images were kept, and why others were not (paper 3.2)."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def read_retention(path: str | Path) -> "tuple[pd.DataFrame, pd.Series]":
    """retention.csv: its rows by identity, and the last one, of all together: a person may be called "all" too."""
    from leam.tables import read_output

    table = read_output(path).set_index("identity")
    return table.iloc[:-1], table.iloc[-1]
