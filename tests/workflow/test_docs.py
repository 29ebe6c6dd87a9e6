"""What is written about the project names only files that are there, settings that exist, and what the code does."""

import os
import re
import shutil
import subprocess
from pathlib import Path, PurePosixPath

import pytest
import yaml
from jsonschema import Draft202012Validator

from leam import config, regions
from leam.analyses import occlusion
from leam.recognisers import registry
from pages import COMMENTED, PAGES, blocks, spans
from runs import ROOT

METHOD = ROOT / "docs" / "method.md"

# Texts in which a path that leaves the repository is meant: names in lists of pictures that must not be followed.
HOSTILE = ("test_images", "test_names", "test_imdb_face", "test_fgnet", "test_scraping", "test_storage")
OUTSIDE = re.compile(
    r"""(?<![\w./])/(?:tmp|work|home)/\w      # this or that machine's own folders
    | (?<![\w/.-])shared/\w                   # beside the repository
    | \b(?:METHOD|DESIGN)\b(?!\s*=|/)         # pages that were beside it; docs/ has their successors
    | \b(?:METHODS|STYLE|SLURM|DESIGN)\.md\b
    """,
    re.VERBOSE,
)
UPWARDS = re.compile(r"(?:\.\./)+[\w./-]*")
FILE = re.compile(
    r"(?<![\w./-])((?:docs|rules|tests|workflow_scripts|profiles|envs)/[\w./-]+\.(?:md|py|smk|yaml|csv|txt|sh))\b"
)


def texts():
    """{path from the root: text} of every text file that git tracks."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("no checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = {}
    for name in filter(None, listed.stdout.split("\0")):
        try:
            found[name] = (ROOT / name).read_text()
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue
    return found


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def file_at(name, text, position):
    """The file that a place of a text is in: within a block of a page, the one that the block's first line names."""
    fences = list(re.finditer(r"^```(?:\w*\n# (\S+))?", text[:position], re.M))
    return (fences[-1].group(1) or name) if len(fences) % 2 else name


def leads_out(name, link):
    """Whether a relative path in a file leads out of the repository, starting from the file's own folder."""
    depth = len(PurePosixPath(name).parent.parts)
    for part in PurePosixPath(link).parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return False


def test_no_text_refers_to_a_file_outside_the_repository():
    found = []
    for name, text in texts().items():
        if name == Path(__file__).relative_to(ROOT).as_posix():
            continue
        found += [f"{name}:{line_of(text, match.start())}: {match.group()}" for match in OUTSIDE.finditer(text)]
        if Path(name).stem not in HOSTILE:
            ways = (
                match for match in UPWARDS.finditer(text) if leads_out(file_at(name, text, match.start()), match[0])
            )
            found += [f"{name}:{line_of(text, match.start())}: {match.group()}" for match in ways]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [f"see /{folder}/x" for folder in ("tmp", "home")] + ["at shared/real", "(METHOD 2.5)", "DESIGN: x", "STYLE.md"],
)
def test_references_outside_are_recognised(text):
    assert OUTSIDE.search(text)


@pytest.mark.parametrize("text", ["METHOD = ROOT", "METHODS", "docs/method.md 2.5", "/data/people", "a_shared/x"])
def test_other_text_is_left_alone(text):
    assert not OUTSIDE.search(text)


def test_a_way_upwards_is_followed_from_the_files_own_folder():
    assert not leads_out("rules/maps.smk", "../envs/leam.yaml") and leads_out("Makefile", "../real")
    assert leads_out("tests/slurm/run.sh", "../../../x") and not leads_out("tests/slurm/run.sh", "../..")


def test_a_way_in_a_block_is_followed_from_the_folder_of_the_blocks_file():
    page = "```python\n# rules/a.smk\nin\n```\nafter\n```\n# other/b.py\nlast"
    found = [file_at("PAGE.md", page, page.index(word)) for word in ("in\n", "after", "last")]
    assert found == ["rules/a.smk", "PAGE.md", "other/b.py"]


def test_every_file_that_a_page_names_is_there():
    missing = []
    for page in [*PAGES, ROOT / "Makefile", ROOT / "config.yaml"]:
        text, shown = page.read_text(), {block.name for block in blocks(page)}  # which readers write
        named = set(FILE.findall(text)) - shown
        missing += [f"{page.name}: {name}" for name in named if not (ROOT / name).exists()]
        links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
        missing += [f"{page.name}: {link}" for link in links if not (page.parent / link).exists()]
    assert missing == []


def test_every_setting_that_a_page_names_exists():
    settings, unknown = config.complete({}), []
    for page in PAGES:
        for section, key in re.findall(r"`([a-z_]+)\.([a-z_]+)`", page.read_text().partition("<!-- imports -->")[0]):
            if key in ("csv", "parquet", "h5", "py", "smk") or not isinstance(settings.get(section), dict):
                continue
            if section != "recognisers" and key not in settings[section]:
                unknown.append(f"{page.name}: {section}.{key}")
    assert unknown == []


def known_settings(schema, above=""):
    """{dotted path: schema} of every setting; ``*`` stands for a name that is the user's."""
    found = {above: schema} if above else {}
    for key, part in (schema.get("properties", {}) | {"*": schema.get("additionalProperties")}).items():
        if isinstance(part, dict):
            found |= known_settings(part, f"{above}.{key}".removeprefix("."))
    return found


def test_every_setting_that_a_page_shows_with_a_value_is_allowed():
    known = known_settings(yaml.safe_load(config.SCHEMA_PATH.read_text()))
    profiles = [yaml.safe_load(path.read_text()) for path in (ROOT / "profiles").glob("*/config.yaml")]
    wrong, shown = [], 0
    for page in (*PAGES, *COMMENTED):
        for line, _, text in spans(page):
            if not (told := re.fullmatch(r"([a-z_.*-]+): (.+)", text)) or told[2] == "...":
                continue
            name, value = told[1], yaml.safe_load(told[2])
            parts = [part for path, part in known.items() if f".{path}".endswith(f".{name}")]
            fits = any(Draft202012Validator(part).is_valid(value) for part in parts)
            wrong += [f"{page.name}:{line}: {text}"] * (not fits and all(one.get(name) != value for one in profiles))
            shown += 1
    assert wrong == [] and shown > 20


def test_the_page_of_the_method_has_the_sections_that_the_code_names():
    numbers = set(re.findall(r"^#+ ([\d.]+) ", METHOD.read_text(), re.M))
    named = {number for text in texts().values() for number in re.findall(r"method\.md,? (\d+(?:\.\d+)?)", text)}
    assert {"1", "2.1", "2.8", "7"} <= numbers and named <= numbers


def test_the_page_of_the_method_has_what_the_code_has():
    text = " ".join(METHOD.read_text().split())
    layers = (registry.IRESNET_LAYERS, registry.INCEPTION_LAYERS, registry.VGG_LAYERS)
    assert all(", ".join(of_network) in text for of_network in layers)
    assert all(f"| {kind} |" in text for kind in occlusion.OCCLUSION_KINDS)
    order = re.search(r"in this order: (.*?)\. Left", text).group(1)
    assert re.findall(r"[a-z_]+", re.sub(r"\(.*?\)", "", order)) == list(regions.REGIONS)


@pytest.mark.skipif(not shutil.which("make"), reason="no make")
@pytest.mark.parametrize(("target", "name", "said"), [("real", "REAL", "path"), ("photos", "PHOTOS", "folder")])
def test_make_asks_for_the_folder(target, name, said):
    unset = {key: value for key, value in os.environ.items() if key != name}
    found = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, env=unset)
    assert found.returncode == 2 and f"make {target} {name}={said}" in found.stderr


def test_every_target_of_the_makefile_is_phony():
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.M).group(1).split()
    assert set(re.findall(r"^([a-z][a-z-]*):", text, re.M)) == set(phony)
