"""Which code a rule's results come from: its adapter and every module of this package that the adapter leads to.

Found from the source text, nothing is imported. A digest of that code, as a parameter of the rule, runs the rule again
when a formula changes, wherever the checkout lies. Comments, docstrings and blank lines change no result and no digest.
"""

import ast
import functools
import hashlib
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent  # its own __init__ holds the version only, which changes no result
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def digest_code(adapter: str | Path, package: str | Path = PACKAGE) -> str:
    """SHA-256 over the code of an adapter and of its ``closure``, and the data beside them, each with its place."""
    package = Path(package)
    found = hashlib.sha256(_code(Path(adapter)).encode())
    for path in closure(adapter, package):
        found.update(f"\n{path.relative_to(package).as_posix()}\n{_code(path)}".encode())
        for data in _data(path):
            found.update(f"\n{data.relative_to(package).as_posix()}\n".encode() + data.read_bytes())
    return found.hexdigest()


def closure(adapter: str | Path, package: str | Path = PACKAGE) -> list[Path]:
    """The modules of the package that a file imports, at its head or within functions, and those that these import.

    What is imported for annotations alone, under ``if TYPE_CHECKING:``, changes no result and is left out.
    Sorted; the file itself is not among them. Packages on the way to a module are, as importing it runs them.
    """
    package = Path(package)
    found: set[Path] = set()
    missing = [Path(adapter)]
    while missing:
        new = set(_imported(missing.pop(), package)) - found
        found |= new
        missing += new
    return sorted(found)


@functools.cache
def _imported(path: Path, package: Path) -> tuple[Path, ...]:
    """The modules of the package that a file itself imports."""
    return tuple(file for name in _read(path)[0] for file in _files(name, package))


def _files(name: str, package: Path) -> list[Path]:
    """The files that importing a dotted name runs; none where it is no module of the package."""
    top, *parts = name.split(".")
    if top != package.name:
        return []
    folders = [package.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    module = [package.joinpath(*parts[:-1], f"{parts[-1]}.py")] if parts else []
    return [file for file in (*folders, *module) if file.is_file()]


@functools.cache
def _data(path: Path) -> tuple[Path, ...]:
    """The files that a module reads from beside itself: those it names as ``with_name("...")``, folders whole."""
    named = [path.with_name(name) for name in re.findall(r'with_name\("([^"]+)"\)', path.read_text(encoding="utf-8"))]
    return tuple(file for name in named for file in ([name] if name.is_file() else sorted(name.glob("*.*"))))


def _code(path: Path) -> str:
    """The text of a file without comments, docstrings, blank lines and spaces at the ends of lines."""
    return _read(path)[1]


@functools.cache
def _read(path: Path) -> tuple[set[str], str]:
    """The dotted names that a file imports, and its ``_code``: both from one syntax tree."""
    text, names = path.read_text(encoding="utf-8"), set()
    lines = text.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in _executed(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            end = first.end_lineno or first.lineno
            lines[first.lineno - 1 : end] = [""] * (end - first.lineno + 1)
    return names, "\n".join(line.rstrip() for line in lines if line.strip())


def _executed(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes of a syntax tree, but for those under ``if TYPE_CHECKING:``, which never run."""
    missing: list[ast.AST] = [tree]
    while missing:
        node = missing.pop()
        yield node
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            missing += node.orelse
        else:
            missing += ast.iter_child_nodes(node)
