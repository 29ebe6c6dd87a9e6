"""A changed formula runs again what comes from it, and nothing else does; a moved checkout runs nothing again."""

import ast
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from leam import code, sources

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "workflow_scripts"
ADAPTERS = sorted(SCRIPTS.glob("*.py"))
MODULES = sorted(code.PACKAGE.rglob("*.py"))
SHOWING = ("build_explorer", "calibrate_margin")  # they draw what they compute
LIGHT = re.compile("tabulate|plot|assess|count|write")  # rules of tables and figures


def rules():
    """(name, text) of every rule."""
    for path in sorted((ROOT / "rules").glob("*.smk")):
        yield from re.findall(r"^ *rule (\w+):\n(.*?)(?=^ *rule |\Z)", path.read_text(), re.M | re.S)


@pytest.fixture
def package(tmp_path):
    """A package of four modules, of which ``adapter.py`` leads to three: a -> sub.b -> c; d is of no use to it."""
    folder = tmp_path / "leam"
    (folder / "sub").mkdir(parents=True)
    for name, text in {
        "__init__.py": '__version__ = "1"\n',
        "a.py": "from leam.sub import b\nX = 1\n",
        "sub/__init__.py": '"""Package."""\n',
        "sub/b.py": "def f():\n    from leam.c import g  # within a function\n    return g()\n",
        "c.py": '"""Text."""\nTABLE = Path(__file__).with_name("table.csv")\ndef g():\n    return 1\n',
        "d.py": "Y = 2\n",
        "table.csv": "1,2\n",
    }.items():
        (folder / name).write_text(text)
    (tmp_path / "adapter.py").write_text("from leam.a import X\nprint(X)\n")
    return folder


def digest(package):
    for cached in (code._read, code._imported, code._data):
        cached.cache_clear()
    return code.digest_code(package.parent / "adapter.py", package)


def test_the_closure_follows_imports_of_every_kind(package):
    found = code.closure(package.parent / "adapter.py", package)
    assert [path.relative_to(package).as_posix() for path in found] == ["a.py", "c.py", "sub/__init__.py", "sub/b.py"]


def test_imports_for_annotations_alone_lead_nowhere(package):
    text = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from leam import d\nelse:\n    from leam import c\n"
    )
    (package / "a.py").write_text(text)
    found = code.closure(package.parent / "adapter.py", package)
    assert [path.relative_to(package).as_posix() for path in found] == ["a.py", "c.py"]
    before = digest(package)
    (package / "d.py").write_text("Y = 3\n")
    assert digest(package) == before


@pytest.mark.parametrize("name", ["a.py", "sub/__init__.py", "sub/b.py", "c.py", "table.csv", "../adapter.py"])
def test_a_change_in_the_closure_changes_the_digest(package, name):
    before = digest(package)
    path = package / name
    path.write_text(path.read_text() + "Z = 3\n")
    assert digest(package) != before


@pytest.mark.parametrize("name", ["d.py", "__init__.py"])
def test_a_change_elsewhere_and_a_new_version_do_not(package, name):
    before = digest(package)
    path = package / name
    path.write_text(path.read_text() + "Z = 3\n")
    assert digest(package) == before


def test_comments_docstrings_and_blank_lines_change_nothing(package):
    before = digest(package)
    path = package / "c.py"
    path.write_text(
        path.read_text().replace('"""Text."""', '"""Other\ntext."""\n# why\n').replace("return 1", "return 1  # !")
    )
    assert digest(package) == before
    path.write_text(path.read_text().replace("return 1", 'return "# 1"'))
    assert digest(package) != before


def test_the_place_of_the_checkout_changes_nothing(package, tmp_path):
    before = digest(package)
    shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name} moved")
    assert digest(tmp_path.parent / f"{tmp_path.name} moved" / "leam") == before


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda path: path.stem)
def test_a_rule_runs_anew_for_every_module_of_its_closure_and_for_no_other(adapter, tmp_path, monkeypatch):
    """Module by module, on the digest that the rule carries as a parameter."""
    closure = set(code.closure(adapter))
    texts = {path: code._code(path) for path in [adapter, *MODULES]}
    before = code.digest_code(adapter)
    for path in MODULES:
        if path == code.PACKAGE / "__init__.py":
            continue
        monkeypatch.setattr(code, "_code", lambda asked, path=path: texts[asked] + "Z = 3" * (asked == path))
        assert (code.digest_code(adapter) != before) == (path in closure), path
    monkeypatch.undo()
    assert code.digest_code(adapter) == before


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda path: path.stem)
def test_the_closure_holds_what_python_really_loads_and_tables_and_figures_load_no_torch(adapter):
    """Against Python itself, in a process that runs the adapter's imports."""
    imports = [node for node in ast.parse(adapter.read_text()).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    text = "\n".join(ast.unparse(node) for node in imports)
    text += "\nimport sys\nprint('torch' in sys.modules)"
    text += "\nprint('\\n'.join(m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'leam'))"
    loaded = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, cwd=SCRIPTS, check=True)
    torch, *paths = loaded.stdout.splitlines()
    assert {Path(path) for path in paths} - {code.PACKAGE / "__init__.py"} <= set(code.closure(adapter))
    assert not (torch == "True" and LIGHT.match(adapter.stem))


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda path: path.stem)
def test_no_stage_that_computes_knows_titles_or_the_papers_numbers(adapter):
    computes = not LIGHT.match(adapter.stem) and adapter.stem not in SHOWING
    assert not (computes and code.PACKAGE / "paper.py" in code.closure(adapter))


def test_each_file_is_read_and_parsed_once(package, monkeypatch):
    """Planning a run takes the digests of all rules: what is parsed twice is felt there."""
    parsed, parse = [], ast.parse
    monkeypatch.setattr(code.ast, "parse", lambda text: parsed.append(text) or parse(text))
    digest(package)
    code.closure(package.parent / "adapter.py", package)
    assert len(parsed) == len(set(parsed)) == 5


def test_the_packages_own_init_holds_nothing_but_the_version():
    body = ast.parse((code.PACKAGE / "__init__.py").read_text()).body
    assert [type(node) for node in body] == [ast.Expr, ast.Assign] and body[1].targets[0].id == "__version__"


def test_a_source_added_or_changed_runs_only_its_own_runs_again():
    """No adapter leads to a source's class, which is loaded by name; rules that load one carry its digest too."""
    classes = {kind: Path(inspect.getfile(sources.source_class(kind))) for kind in sources.kinds()}
    for kind, path in classes.items():
        led_to = set(code.closure(path))
        assert code.PACKAGE / "sources/base.py" in led_to
        assert not led_to & {other for name, other in classes.items() if name != kind}
    loading = set()
    for adapter in ADAPTERS:
        assert not set(code.closure(adapter)) & set(classes.values())
        loading |= {adapter.stem} if "from leam.sources import source_of" in adapter.read_text() else set()
    carrying = {rule for rule, body in rules() if "source_code=code_of_source()" in body}
    assert loading == carrying == {"list_links", "import_images", "match_people"}


def test_every_rule_carries_the_digest_of_its_own_code():
    for rule, body in rules():
        assert f'code=code_of("{rule}")' in body, rule
