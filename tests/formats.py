"""What docs/formats.md says of a run's files, and what a run wrote: the two are compared here, and by a test.

    python tests/formats.py results      says what the page lacks, as rows to paste, and what the run does not have

A row of the page describes a dataset, an attribute, a key or a column of the files in the heading above it; names in
braces, such as {model}, stand for any. A file or a row whose text begins with "Only" need not be in a run.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import pandas as pd
import pyarrow.parquet
import yaml

PAGE = Path(__file__).parents[1] / "docs" / "formats.md"
BY_POLARITY = ("counts", "maps", "pair_maps", "totals")  # groups in which polarities stand, and in them layers
WHOLE_FOLDERS = ("logs", "benchmarks")  # described as one file each
PICTURES = (".png", ".pdf")  # of one name, described as one file
NAME = re.compile(r"`([^`]+)`")

# {file: {item: its type and number of axes, "" where it has none}}
Listing = dict[str, dict[str, str]]


# ------------------------------------------------------------------------------------------------------------- a run


def list_run(results: Path) -> Listing:
    """Every kind of file of a run, and what is in it."""
    settings = yaml.safe_load((results / "config.yaml").read_text())
    names = dict.fromkeys(settings["models"], "{model}")
    names |= dict.fromkeys(settings["localisation"]["regions"], "{world}")
    found: Listing = {}
    for path in sorted(path for path in results.rglob("*") if path.is_file()):
        file = _file_name(path.relative_to(results), names)
        if file is not None:
            found.setdefault(file, {}).update(_items(path))
    return found


def _file_name(path: Path, names: dict[str, str]) -> str | None:
    """The path with what differs between runs in braces; None for what is no output of a rule."""
    if path.name in ("README.md", "report.html") or path.suffix in (".part", ".journal", ".damaged", ".sha256"):
        return None
    if path.parts[0] in WHOLE_FOLDERS:
        return f"{path.parts[0]}/{{rule}}{path.suffix}"
    text = re.sub(r"\b\d{5}\b", "{shard}", path.as_posix())
    text = re.sub(r"^calibration/chain/\w+\.", "calibration/chain/{kind}.", text)
    text = re.sub(r"^calibration/(drops|gains)/\w+\.", r"calibration/\1/{general}.", text)
    for name, wildcard in names.items():
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", wildcard, text)
    text = re.sub(r"drops_by_(gender|ethnicity)", "drops_by_{attribute}", text)
    return text.removesuffix(path.suffix) if path.suffix in PICTURES else text


def _items(path: Path) -> dict[str, str]:
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return dict(contents(file))
    if path.suffix in (".csv", ".tsv"):
        return dict.fromkeys(pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", nrows=0), "")
    if path.suffix == ".parquet":
        return dict.fromkeys([*pyarrow.parquet.read_schema(path).names, *_table_attributes(path)], "")
    if path.suffix in (".ok", ".json"):
        return dict.fromkeys(json.loads(path.read_text()), "")
    return {}


def _table_attributes(path: Path) -> list[str]:
    metadata = json.loads(pyarrow.parquet.read_schema(path).metadata[b"pandas"])
    return [f"@{name}" for name in metadata.get("attributes", {})]


def contents(file: h5py.File) -> Iterator[tuple[str, str]]:
    """Datasets as /group/name and attributes as /group@name, with their types."""
    yield from ((f"@{name}", "") for name in file.attrs)
    for group in file:
        yield from _walk(file[group], ["{identity}" if "identity" in file[group].attrs else group])


def _walk(found: h5py.Group | h5py.Dataset, parts: list[str]) -> Iterator[tuple[str, str]]:
    name = "/" + "/".join(parts)
    yield from ((f"{name}@{attribute}", "") for attribute in found.attrs)
    if isinstance(found, h5py.Dataset):
        kind = "text" if found.dtype.hasobject else found.dtype.name
        yield name, f"{kind} {found.ndim}"
        return
    for child in found:
        yield from _walk(found[child], [*parts, _wildcard(parts, child)])


def _wildcard(parts: list[str], child: str) -> str:
    if parts[-1] in BY_POLARITY:
        return "{polarity}"
    return "{layer}" if parts[-1] in ("{polarity}", "means") else child


# ---------------------------------------------------------------------------------------------------------- the page


def read_page(text: str) -> tuple[Listing, set[tuple[str, str]]]:
    """What the page describes, and which (file, item) need not be there; (file, "") for a whole file."""
    found: Listing = {}
    optional, files = set(), []
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.startswith("#"):
            files = NAME.findall(paragraph)
            found |= {file: {} for file in files}
        elif paragraph.startswith("Only"):
            optional |= {(file, "") for file in files}
        elif paragraph.startswith("Also"):
            for file in files:
                found[file] |= dict.fromkeys(NAME.findall(paragraph.split(". ")[0]), "")
        elif paragraph.startswith("|"):
            _read_table(paragraph, files, found, optional)
    return found, optional


def _read_table(paragraph: str, files: list[str], found: Listing, optional: set[tuple[str, str]]) -> None:
    """One row per item, or, in a table whose first column is called ``file``, per file."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in paragraph.splitlines()]
    of_files = rows[0][0] == "file"
    for row in rows[2:]:
        kind = row[1] if rows[0][1] == "type" else ""
        for name in NAME.findall(row[0]):
            if of_files:
                found[name] = {}
            for file in files:
                found[file][name] = kind
            if row[-1].startswith("Only"):
                optional |= {(name, "")} if of_files else {(file, name) for file in files}


def _fits(kind: str, described: str) -> bool:
    """Whether "float32 2" is what "`float32` (N, D)" or "`uint16` or `uint32` (P, L)" describes."""
    name, axes = kind.split()
    shape = re.search(r"\(([^)]*)\)", described)
    letters = [letter for letter in shape.group(1).split(",") if letter.strip()] if shape else []
    return name in NAME.findall(described) and int(axes) == len(letters)


def compare(run: Listing, page: Listing, optional: set[tuple[str, str]]) -> list[str]:
    """What is only in the run, as rows for the page, and what is only on the page; empty where they agree."""
    lines = [f"not on the page: file {file}" for file in run if file not in page]
    lines += [f"not in the run: file {file}" for file in page if file not in run and (file, "") not in optional]
    for file in sorted(set(run) & set(page)):
        items, described = run[file], page[file]
        lines += [f"not on the page: {file}: | `{name}` | {items[name]} |" for name in items if name not in described]
        lines += [
            f"not in the run: {file}: {name}"
            for name in described
            if name not in items and (file, name) not in optional
        ]
        lines += [
            f"otherwise in the run: {file}: {name} is {items[name]}, described as {described[name] or 'a column'}"
            for name in items
            if items[name] and name in described and not _fits(items[name], described[name])
        ]
    return lines


def check(results: Path) -> list[str]:
    """How the page and the run of this folder differ."""
    return compare(list_run(results), *read_page(PAGE.read_text()))


if __name__ == "__main__":
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "config.yaml").is_file():
        sys.exit("Give one folder of results: python tests/formats.py results")
    differences = check(Path(sys.argv[1]))
    print("\n".join(differences) or "docs/formats.md and the run agree")
    sys.exit(1 if differences else 0)
