"""Compare two folders of results, such as those of one configuration before and after an update.

    python tests/compare_results.py BEFORE AFTER [--moved OLD=NEW ...] [--renamed TABLE:OLD=NEW ...]

Compared are every HDF5 group and dataset (type, shape, bytes) with its attributes, and every cell of every table (csv
as text, parquet by value; columns by name, in any order). Pictures and text (json, yaml, html) are compared byte by
byte and only listed, unless --pictures or --text asks that they count. Left out is what differs between equal runs:
logs, benchmarks, the report, side files, and the attributes that hold versions, digests or paths.

One line per difference: the file, the dataset or column in it, how much differs, and the largest difference of numbers.
The exit status is 0 where nothing differs, 1 where something does, and 2 where the folders cannot be compared.
"""

import argparse
import fnmatch
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

FOLDERS = {"logs", "benchmarks", ".snakemake"}
FILES = {"report.html", "README.md"}
SIDE_FILES = {".journal", ".part", ".damaged", ".sha256"}
PICTURES = {".png", ".pdf", ".svg", ".jpg"}
TEXT = {".json", ".yaml", ".ok", ".html"}
TABLES = {".csv", ".parquet"}
ARRAYS = {".h5"}
ATTRIBUTES = ("versions", "*digest", "*sha256")  # patterns of attributes that may differ
PATHS = {"weights", "path", "root"}  # keys of attributes in JSON that may differ: where files lie
SHOWN = 40  # lines, unless --all asks for more


class Comparison:
    """What was compared so far, and what was found: ``differences`` count, ``notes`` are only listed."""

    def __init__(self, renamed: list[tuple[str, str, str]] = (), attributes: tuple[str, ...] = ATTRIBUTES):
        self.renamed, self.ignored = renamed, attributes
        self.files = self.arrays = self.cells = 0
        self.differences: list[str] = []
        self.notes: list[str] = []

    def compare_files(self, before: Path, after: Path, name: str, counted: set[str]) -> None:
        """Compare one file that is in both folders; of kinds beyond tables and arrays ``counted`` ones fail."""
        self.files += 1
        if before.suffix in ARRAYS:
            with h5py.File(before) as old, h5py.File(after) as new:
                self.compare_groups(old, new, name)
        elif before.suffix in TABLES:
            self.compare_tables(read_table(before), read_table(after), name)
        elif before.read_bytes() != after.read_bytes():
            (self.differences if before.suffix in counted else self.notes).append(f"{name}: other bytes")

    # ---------------------------------------------------------------------------------------------------- arrays

    def compare_groups(self, old: h5py.Group, new: h5py.Group, where: str) -> None:
        self.compare_attributes(old, new, where)
        for name in sorted({*old, *new}):
            here = f"{where}:/{name}" if old.name == "/" else f"{where}/{name}"
            if name not in old or name not in new:
                self.differences.append(f"{here}: only {'before' if name in old else 'after'}")
            elif isinstance(old[name], h5py.Group) != isinstance(new[name], h5py.Group):
                self.differences.append(f"{here}: a group on one side, a dataset on the other")
            elif isinstance(old[name], h5py.Group):
                self.compare_groups(old[name], new[name], here)
            else:
                self.compare_attributes(old[name], new[name], here)
                self.compare_datasets(old[name], new[name], here)

    def compare_datasets(self, old: h5py.Dataset, new: h5py.Dataset, where: str) -> None:
        self.arrays += 1
        if old.dtype != new.dtype:
            self.differences.append(f"{where}: type {old.dtype} before, {new.dtype} after")
        elif old.shape != new.shape:
            self.differences.append(f"{where}: shape {old.shape} before, {new.shape} after")
        else:
            self.compare_values(np.asarray(old[()]).ravel(), np.asarray(new[()]).ravel(), where, "values")

    def compare_attributes(self, old: h5py.HLObject, new: h5py.HLObject, where: str) -> None:
        for name in sorted({*old.attrs, *new.attrs}):
            if any(fnmatch.fnmatch(name, pattern) for pattern in self.ignored):
                continue
            if name not in old.attrs or name not in new.attrs:
                side = "before" if name in old.attrs else "after"
                self.differences.append(f"{where}: attribute {name} only {side}")
            elif _plain(old.attrs[name]) != _plain(new.attrs[name]):
                self.differences.append(f"{where}: attribute {name} differs")

    # ---------------------------------------------------------------------------------------------------- tables

    def compare_tables(self, old: pd.DataFrame, new: pd.DataFrame, name: str) -> None:
        changes = {before: after for table, before, after in self.renamed if fnmatch.fnmatch(name, table)}
        old = old.rename(columns=changes)
        for column in sorted({*old, *new}):
            if column not in old or column not in new:
                side = "before" if column in old else "after"
                self.differences.append(f"{name}: column {column} only {side}")
        if len(old) != len(new):
            self.differences.append(f"{name}: {len(old)} rows before, {len(new)} after")
            return
        for column in old.columns.intersection(new.columns):
            self.cells += len(old)
            self.compare_columns(old[column], new[column], f"{name}: {column}")

    def compare_columns(self, old: pd.Series, new: pd.Series, where: str) -> None:
        numbers = [pd.api.types.is_numeric_dtype(column.dtype) for column in (old, new)]
        if any(numbers) and old.dtype != new.dtype:
            self.differences.append(f"{where}: type {old.dtype} before, {new.dtype} after")
        elif all(numbers):
            self.compare_values(old.to_numpy(), new.to_numpy(), where, "cells")
        else:
            self.compare_values(_objects(old), _objects(new), where, "cells")

    # ---------------------------------------------------------------------------------------------------- values

    def compare_values(self, old: np.ndarray, new: np.ndarray, where: str, noun: str) -> None:
        """Two flat arrays of one length."""
        if old.dtype.hasobject:
            differ = np.array([a != b for a, b in zip(old, new, strict=True)], bool)
        else:
            differ = (_bytes(old) != _bytes(new)).any(1)
        if not differ.any():
            return
        largest = _largest(old[differ], new[differ])
        size = "" if largest is None else f", by at most {largest:.6g}"
        self.differences.append(f"{where}: {differ.sum()} of {len(old)} {noun} differ{size}")


def _bytes(array: np.ndarray) -> np.ndarray:
    """(n, bytes of an item): so -0 is not 0, and a NaN is itself."""
    return np.ascontiguousarray(array).view(np.uint8).reshape(len(array), array.dtype.itemsize)


def _objects(column: pd.Series) -> np.ndarray:
    """Text, with None for what is missing, however the file says so."""
    values = column.astype(object)
    return values.where(values.notna(), None).to_numpy(object)


def _largest(old: np.ndarray, new: np.ndarray) -> float | None:
    """The largest difference of two arrays of numbers, or of text that reads as numbers."""
    try:
        old, new = (np.array([float(value) for value in values]) for values in (old, new))
    except (TypeError, ValueError):
        return None
    differences = np.abs(old - new)
    finite = differences[np.isfinite(differences)]
    return float(finite.max()) if len(finite) else None


def _plain(value: object) -> object:
    """An attribute as it is compared: arrays as lists, JSON without the keys that hold paths."""
    if isinstance(value, np.ndarray | np.generic):
        return repr(value.tolist())
    try:
        return _without_paths(json.loads(value))
    except (TypeError, ValueError):
        return repr(value)


def _without_paths(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_paths(part) for key, part in value.items() if key not in PATHS}
    return [_without_paths(part) for part in value] if isinstance(value, list) else value


def read_table(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    return pd.read_parquet(path)


def files(folder: Path) -> Iterator[str]:
    """The files of a run that are compared, from the folder of the results."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        left_out = FOLDERS & set(name.parts) or str(name) in FILES or path.suffix in SIDE_FILES
        if path.is_file() and not left_out:
            yield name.as_posix()


def moved_name(name: str, moved: list[tuple[str, str]]) -> str:
    """Where a file of BEFORE is in AFTER; OLD is a file or a folder, and the longest that fits counts."""
    for old, new in sorted(moved, key=lambda pair: -len(pair[0])):
        if name == old or name.startswith(old.rstrip("/") + "/"):
            return new.rstrip("/") + name[len(old.rstrip("/")) :]
    return name


def compare(
    before: Path,
    after: Path,
    moved: list[tuple[str, str]] = (),
    renamed: list[tuple[str, str, str]] = (),
    counted: set[str] = frozenset(),
    ignored: tuple[str, ...] = (),
) -> Comparison:
    """Compare all files of two folders; ``renamed`` are (table in AFTER, its old column, its new one)."""
    found = Comparison(renamed, (*ATTRIBUTES, *ignored))
    old = {moved_name(name, moved): name for name in files(before)}
    new = set(files(after))
    for name in sorted({*old, *new}):
        kind = Path(name).suffix
        if name in old and name in new:
            found.compare_files(before / old[name], after / name, name, counted)
        else:
            line = f"{old.get(name, name)}: only {'before' if name in old else 'after'}"
            (found.differences if kind in ARRAYS | TABLES | counted else found.notes).append(line)
    return found


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form OLD=NEW")
    return old, new


def _column(text: str) -> tuple[str, str, str]:
    table, colon, change = text.rpartition(":")
    if not (table and colon):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form TABLE:OLD=NEW")
    return table, *_pair(change)


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="folder of results")
    parser.add_argument("after", type=Path, help="folder of results")
    parser.add_argument(
        "--moved", type=_pair, action="append", default=[], metavar="OLD=NEW", help="a file or folder that moved"
    )
    parser.add_argument(
        "--renamed",
        type=_column,
        action="append",
        default=[],
        metavar="TABLE:OLD=NEW",
        help="a column that was renamed; TABLE is the table's path in AFTER, or a pattern such as 'tables/*.csv'",
    )
    parser.add_argument(
        "--ignore-attribute", action="append", default=[], metavar="NAME", help="an HDF5 attribute that may differ too"
    )
    parser.add_argument("--pictures", action="store_true", help="pictures of other bytes count as differences")
    parser.add_argument("--text", action="store_true", help="json, yaml and html of other bytes count as differences")
    parser.add_argument("--all", action="store_true", help=f"print every line, not the first {SHOWN} of each list")
    return parser.parse_args(arguments)


def _print(title: str, lines: list[str], everything: bool) -> None:
    if not lines:
        return
    print(title)
    shown = lines if everything else lines[:SHOWN]
    print("\n".join(f"  {line}" for line in shown))
    if len(lines) > len(shown):
        print(f"  and {len(lines) - len(shown)} more (--all prints them)")


def main(arguments: list[str] | None = None) -> int:
    given = _arguments(arguments)
    for folder in (given.before, given.after):
        if not folder.is_dir():
            print(f"{folder} is no folder", file=sys.stderr)
            return 2
    counted = (PICTURES if given.pictures else set()) | (TEXT if given.text else set())
    found = compare(given.before, given.after, given.moved, given.renamed, counted, tuple(given.ignore_attribute))
    if not found.files:
        print(f"{given.before} and {given.after} have no file in common that could be compared", file=sys.stderr)
        return 2
    _print("Different, and listed only (--pictures, --text let them count):", found.notes, given.all)
    _print("Different:", found.differences, given.all)
    print(f"figure compared_files {found.files} files")
    print(f"figure compared_arrays {found.arrays} arrays")
    print(f"figure compared_cells {found.cells} cells")
    print(f"figure different {len(found.differences)} items")
    return 1 if found.differences else 0


if __name__ == "__main__":
    sys.exit(main())
