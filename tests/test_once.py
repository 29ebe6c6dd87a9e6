"""What several places need stands in one of them: names of kinds, of reasons, of the settings' choices."""

import ast
import functools
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import yaml

from leam import config, controls, paper, reasons
from leam.analyses import calibration, localisation, occlusion, similarity
from leam.analyses.localisation import figure as localisation_figure
from leam.analyses.occlusion import figure as occlusion_figure
from leam.analyses.occlusion import table as occlusion_table
from leam.analyses.similarity import figure as similarity_figure
from leam.embedding import COSINE, DOT
from leam.grid import PLACEMENTS
from leam.methods import POLARITIES

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "workflow_scripts" / "leam"


@functools.cache
def literals() -> dict[str, list[str]]:
    """{text: the modules in which it stands as a literal, once for each time}; docstrings do not count."""
    found = defaultdict(list)
    for path in sorted(LIBRARY.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found[node.value].append(path.relative_to(LIBRARY).as_posix())
    return found


def settings() -> dict:
    return yaml.safe_load((ROOT / "rules/schemas/config.schema.yaml").read_text())["properties"]


@pytest.mark.parametrize(
    "kind",
    [kind for kind in occlusion.OCCLUSION_KINDS if kind != controls.IMAGE]  # "image" is a column, too
    + [localisation.TRAINED, localisation.GENERAL, similarity.MASK],
)
def test_the_name_of_a_kind_stands_once_in_the_library(kind):
    assert len(literals()[kind]) == 1 + (kind == paper.PAPER_RANDOM), literals()[kind]  # the paper has that word, too


def test_every_kind_has_a_label_in_the_figures():
    assert set(occlusion_figure.KIND_LOOKS) == set(occlusion.OCCLUSION_KINDS)
    assert set(localisation_figure.LINES) == {localisation.TRAINED, localisation.MEAN, *localisation.CONTROLS}
    assert set(similarity_figure.FRAME_TITLES) == set(similarity.FRAMES)
    assert tuple(similarity_figure.PAIRING_LOOKS) == similarity.PAIRINGS
    assert tuple(similarity_figure.SIMILARITY_LABELS) == similarity.SIMILARITY_MEASURES
    assert {kind for step in occlusion_table.STEPS for kind in step} == set(occlusion.OCCLUSION_KINDS)


def test_the_schema_allows_what_the_library_names():
    of = {section: part["properties"] for section, part in settings().items() if "properties" in part}
    kinds, frames, parts = of["occlusion"]["kinds"], of["similarity"]["frames"], of["similarity"]["emd"]
    assert kinds["items"]["enum"] == kinds["default"] == list(occlusion.OCCLUSION_KINDS)
    for key in ("fills", "headline_fill"):
        allowed = of["occlusion"][key].get("items", of["occlusion"][key])["enum"]
        assert tuple(fill for fill in allowed if fill is not None) == occlusion.FILLS
    assert tuple(of["occlusion"]["masks"]["enum"]) == occlusion.MASK_PLANS
    assert frames["items"]["enum"] == list(similarity.FRAMES)
    assert parts["items"]["enum"] == list(similarity.MAP_PARTS)
    for section in ("occlusion", "similarity"):
        assert of[section]["polarities"]["items"]["enum"] == list(POLARITIES)
    assert of["analysis"]["polarity"]["enum"] == [*POLARITIES, None]
    assert of["maps"]["placement"]["enum"] == [*PLACEMENTS, None] and of["maps"]["target"]["enum"] == [
        COSINE,
        DOT,
        None,
    ]
    assert settings()["preset"]["enum"] == list(config.PRESETS)
    assert of["calibration"]["size"]["enum"] == list(calibration.SIZES)


def test_the_polarities_stand_once_in_the_library():
    assert literals()["loss"] == ["methods/__init__.py"]


REASONS = {text for name, text in vars(reasons).items() if name.isupper() and isinstance(text, str)}


def test_a_reason_stands_once_in_the_library():
    """Whole, or before the colon of a message."""
    begun = Counter()
    for text, places in literals().items():
        begun[text.partition(":")[0]] += len(places)
    also = {reasons.OK: 1}  # doctor says it of what it checks
    assert {reason: begun[reason] for reason in REASONS} == {reason: 1 + also.get(reason, 0) for reason in REASONS}


def test_captions_speak_of_the_reasons_that_there_are():
    caption = (ROOT / "rules/captions/retention/plot_retention.rst").read_text()
    assert set(re.findall("``(.*?)``", caption)) <= REASONS


def test_pages_and_captions_have_the_papers_numbers_of_images():
    """Where they are written out, they are those of ``leam.paper``."""
    numbers = {f"{paper.IMAGES_LINKED:,}", f"{paper.IMAGES_KEPT:,}"}
    pages = ["docs/method.md", "rules/captions/retention/plot_retention.rst", "rules/captions/retention/retention.rst"]
    for page in pages:
        assert set(re.findall(r"13,\d{3}", (ROOT / page).read_text())) == numbers, page
    for path in [*LIBRARY.rglob("*.py"), *(ROOT / "tests" / "benchmarks").glob("*.py")]:
        found = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert path.name == "paper.py" or not found & {paper.IMAGES_LINKED, paper.IMAGES_KEPT}, path
