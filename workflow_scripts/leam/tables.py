"""Tables that a stage wrote, read by a later one."""

from pathlib import Path
from typing import Any

import pandas as pd

from leam.files import reading


def read_output(path: str | Path, **options: Any) -> pd.DataFrame:
    """A CSV or Parquet file, after a look at its digest; ``options`` are those of pandas' reader of that kind.

    Raises FileNotFoundError; StorageError when it is damaged, and then it is set aside as ``path``.damaged.
    """
    with reading(path):
        return pd.read_csv(path, **options) if Path(path).suffix == ".csv" else pd.read_parquet(path, **options)
