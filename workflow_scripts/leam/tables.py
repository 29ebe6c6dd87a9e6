"""Tables of a run: written in one way, and read by a later stage."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from leam.files import reading, whole_file
from leam.names import csv_cell, from_cell

# Columns that hold names, which are text even where they look like numbers or like nothing ("007", "NA").
NAMES = ("identity", "image", "other_identity", "other_image", "model", "guide", "layer")


def no_rows(columns: Sequence[str], **types: str) -> pd.DataFrame:
    """A table without rows whose columns have the types of one with rows: text, or as ``types`` says."""
    return pd.DataFrame({column: pd.Series(dtype=types.get(column, "str")) for column in columns})


def concatenate(tables: Sequence[pd.DataFrame], columns: Sequence[str], **types: str) -> pd.DataFrame:
    """These columns of the tables, one below the other; of no tables ``no_rows``, with these types."""
    return pd.concat(tables, ignore_index=True)[list(columns)] if tables else no_rows(columns, **types)


def categorise(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """With these columns of few names as categories, in the order in which they come."""
    return table.assign(**{key: pd.Categorical(table[key], categories=table[key].unique()) for key in columns})


def write_table(table: pd.DataFrame, output: str | Path, float_format: str | None = "%.6g") -> None:
    """A CSV file without the index; ``read_output`` gives back the text of its cells (``names.csv_cell``)."""
    written, quoting = table.copy(deep=False), csv.QUOTE_MINIMAL
    for column in table:
        if pd.api.types.is_numeric_dtype(table[column]):
            continue
        cells = {text: csv_cell(text) for text in table[column].unique() if isinstance(text, str)}
        if any(text != cell for text, cell in cells.items()):
            written[column] = table[column].astype(object).map(lambda text, cells=cells: cells.get(text, text))
        if any("\r" in text for text in cells):
            quoting = csv.QUOTE_ALL  # otherwise Python quotes no carriage return, which ends a row for most readers
    with whole_file(output) as part:
        written.to_csv(part, index=False, float_format=float_format, quoting=quoting)


def read_output(path: str | Path, **options: Any) -> pd.DataFrame:
    """A CSV or Parquet file, after a look at its digest; ``options`` are those of pandas' reader of that kind.

    In a CSV file an empty cell is "" in a column of names and NaN in any other; "NA" and the like are text.

    Raises FileNotFoundError; StorageError when it is damaged, and then it is set aside as ``path``.damaged.
    """
    with reading(path):
        return _read_csv(path, **options) if Path(path).suffix == ".csv" else pd.read_parquet(path, **options)


def _read_csv(path: str | Path, dtype: dict[str, type] | None = None) -> pd.DataFrame:
    types = dict.fromkeys(NAMES, str) | (dtype or {})
    table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
    for column in table:
        if not pd.api.types.is_numeric_dtype(table[column]):
            table[column] = table[column].map(from_cell, na_action="ignore")
    names = [name for name in NAMES if name in table]
    return table.fillna(dict.fromkeys(names, ""))
