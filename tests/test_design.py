"""docs/design.md draws the library's imports as they are; no circle, and nothing lower imports what is higher."""

import ast
import functools
from collections import defaultdict
from pathlib import Path

from leam import code

PAGE = Path(__file__).parents[1] / "docs" / "design.md"
START, END = "<!-- imports -->\n", "<!-- end of imports -->\n"
ROOMS = ("sources", "faces", "sample", "recognisers", "methods", "analyses")
COMPUTING = (
    "maps",
    "methods",
    "grid",
    "pixel_sets",
    "device",
    "jobs",
    "embedding",
    "recognisers",
    "faces",
    "sample",
    "storage",
    "files",
    "journal",
    "regions",
    "statistics",
)


# Names that modules may share: the same thing in each, or (the last) two ways to compute it.
SHARED = {"log", "main", "OK", "PACKAGE", "ROOT", "SCHEMA_PATH", "weighted_activation"}


def name_of(path):
    parts = path.relative_to(code.PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports():
    """{module: the modules of the library that it imports itself}, the package's own __init__ left out."""
    paths = [path for path in code.PACKAGE.rglob("*.py") if path.parent != code.PACKAGE or path.stem != "__init__"]
    return {
        name_of(path): {name_of(other) for other in code._imported(path, code.PACKAGE)} - {name_of(path)}
        for path in paths
    }


def levels(graph):
    """[modules of level 0, of level 1, ...]: one stands above all that it imports. RecursionError at a circle."""

    @functools.cache
    def level(name):
        return max((level(other) + 1 for other in graph[name]), default=0)

    found = [[] for _ in range(max(map(level, graph)) + 1)]
    for name in sorted(graph):
        found[level(name)].append(name)
    return found


def drawn(graph):
    lines = ["| level | modules |", "|---|---|"]
    for number, names in reversed(list(enumerate(levels(graph)))):
        lines.append(f"| {number} | {' '.join(f'`{name}`' for name in names)} |")
    return "\n".join(lines) + "\n"


def redrawn(text):
    """The page with the imports as they are."""
    return text[: text.index(START) + len(START)] + drawn(imports()) + text[text.index(END) :]


def test_the_page_draws_the_imports_as_they_are():
    text = PAGE.read_text()
    assert text == redrawn(text)


def definitions(path):
    """The public functions, classes and constants that a module defines."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        else:
            names = []
        yield from (name for name in names if not name.startswith("_"))


def test_a_name_stands_for_one_thing():
    places = defaultdict(set)
    for path in code.PACKAGE.rglob("*.py"):
        for name in definitions(path):
            places[name].add(name_of(path))
    assert {name: modules for name, modules in places.items() if len(modules) > 1 and name not in SHARED} == {}


def test_a_circle_would_be_found():
    graph = {"a": {"b"}, "b": {"a"}}
    try:
        levels(graph)
    except RecursionError:
        return
    raise AssertionError("a circle has no levels")


def test_no_stage_imports_an_analysis():
    """But what trains and measures recognisers takes the verification's own measure."""
    for name, others in imports().items():
        if name.split(".")[0] in COMPUTING and name != "sample.training":
            assert not [other for other in others if other.startswith("analyses")], name


def test_measuring_tabulating_and_drawing_are_apart():
    graph = imports()
    for name, others in graph.items():
        if name.startswith("analyses.") and name.endswith(".table") and "margin" not in name:  # one rule does all there
            assert not [other for other in others if other.endswith(".figure")], name
            assert "torch" not in (code.PACKAGE / f"{name.replace('.', '/')}.py").read_text(), name
        if name.startswith("analyses.") and name.endswith(".measure"):
            assert not [other for other in others if other.endswith(".figure")], name


def test_files_of_tests_have_names_of_their_own():
    """pytest imports them by their names alone, and refuses the second of two; each folder's conftest is its own."""
    names = [path.name for path in (code.PACKAGE.parents[1] / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


if __name__ == "__main__":
    PAGE.write_text(redrawn(PAGE.read_text()))
