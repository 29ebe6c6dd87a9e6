"""Settings guessed from what lies in a folder of photographs, written with a reason per line (`make photos`).

    PYTHONPATH=workflow_scripts python -m leam.guess photos --output mine.yaml

The layout of the folders, label maps, landmarks, rectangles and a table of people are found by looking; the recogniser
and the landmarks are those of the installed package of model files. A file of settings that is there stays as it is.
"""

import argparse
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import yaml

from leam import config as settings
from leam import joblog, model_package
from leam.demographics import ALLOWED, SYNONYMS
from leam.files import whole_file
from leam.reasons import UNREADABLE, UnusablePictureError
from leam.regions import LABEL_ORDERS
from leam.sources.base import PICTURE_SUFFIXES, Source
from leam.sources.fgnet import NAME as FGNET_NAME

RUN_MODEL = "dlib_resnet"
CROP_PX = 210  # the network's 150 px of its window, pixel by pixel
DEEPEST = 4  # folders below the given one in which pictures are looked for
MOST_FILES = 200_000  # that are looked at
TRIED = 12  # pictures that are opened
LARGEST_CROP_PX = 300  # square pictures of one size up to this are faces that were cut out already
MOST_TABLE_BYTES = 2**26
LABEL_SUFFIXES, LANDMARK_SUFFIXES, TABLE_SUFFIXES = (
    (".png",),
    (".npy", ".csv", ".txt", ".pts"),
    (".csv", ".tsv", ".txt"),
)
GROUP_NAMES = {  # attribute: the names that folders of its groups may have
    attribute: {word.lower() for word in (*words, *SYNONYMS[attribute])} for attribute, words in ALLOWED.items()
}


class GuessError(Exception):
    """A folder from which no settings follow; the message says what was found and what is expected."""


@dataclass
class Tree:
    """What lies in a folder: its files by the folder that they lie in, as paths within it."""

    root: Path
    files: dict[str, list[str]] = field(default_factory=dict)

    @property
    def pictures(self) -> Iterator[tuple[str, str]]:
        """Folder and name of every file that is called like a picture."""
        for place, names in self.files.items():
            yield from ((place, name) for name in names if name.lower().endswith(PICTURE_SUFFIXES))


@dataclass
class Guess:
    """Settings by dotted key, each with its reason, and what a run on them cannot do, each with its reason."""

    lines: list[tuple[str, Any, str]] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)

    def add(self, key: str, value: Any, reason: str) -> None:
        self.lines.append((key, value, reason))

    def config(self, **more: Any) -> dict:
        """The settings as a configuration, with ``more`` in the source's section of a folder."""
        found: dict = {}
        lines = [(key, value) for key, value, _ in self.lines]
        for key, value in (*lines, *((f"source.folder.{key}", value) for key, value in more.items())):
            *sections, last = key.split(".")
            part = found
            for section in sections:
                part = part.setdefault(section, {})
            part[last] = value
        return found


def guess_settings(folder: str | Path, results: str) -> Guess:
    """The settings of a run on the photographs in a folder, which writes to ``results``.

    Raises GuessError, in one sentence, where people cannot be told apart, and OSError for a folder that cannot be read.
    """
    tree = _look(Path(folder).expanduser().absolute())
    guess = Guess()
    guess.add("results", results, "the folder of everything that the run writes")
    _guess_source(tree, guess)
    _guess_faces(tree, guess)
    guess.add("models", [RUN_MODEL], f"a real recogniser under a free licence, of the package {model_package.PACKAGE}")
    guess.add("identities_per_job", _people_per_job(guess), "people per job: each core gets some")
    _say_what_is_lacking(guess)
    return guess


# ------------------------------------------------------------------------------------------------------ the folder


def _look(root: Path) -> Tree:
    if not root.is_dir():
        raise GuessError(f"{root} is no folder; expected one of photographs: PERSON/PICTURE.jpg")
    tree, seen = Tree(root), 0
    for place, folders, names in os.walk(root):
        within = Path(place).relative_to(root)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) * (len(within.parts) < DEEPEST)
        tree.files[within.as_posix().removeprefix(".")] = sorted(name for name in names if not name.startswith("."))
        seen += len(names)
        if seen > MOST_FILES:
            break
    return tree


def _depths(tree: Tree) -> Counter[int]:
    """How many pictures lie how many folders deep."""
    return Counter(len(Path(place).parts) for place, _ in tree.pictures)


def _guess_source(tree: Tree, guess: Guess) -> None:
    pictures = list(tree.pictures)
    if not pictures:
        kinds = Counter(Path(name).suffix.lower() for names in tree.files.values() for name in names)
        there = ", ".join(f"{count} {kind or 'without a suffix'}" for kind, count in kinds.most_common(3)) or "nothing"
        raise GuessError(
            f"{tree.root} holds {there} and no pictures; expected PERSON/PICTURE.jpg, or one of "
            f"{', '.join(PICTURE_SUFFIXES)}"
        )
    if sum(bool(FGNET_NAME.fullmatch(name)) for _, name in pictures) > 0.9 * len(pictures):
        place = Counter(place for place, _ in pictures).most_common(1)[0][0]
        guess.add("source.kind", "fgnet", "names such as 001A02.JPG: the FG-NET Aging Database")
        guess.add("source.fgnet.path", str(tree.root / place), "its pictures")
        return
    depth = _depths(tree).most_common(1)[0][0]
    if depth == 0:
        raise GuessError(
            f"{tree.root} holds {len(pictures)} pictures side by side, so that nobody can say who is who; expected a "
            "folder per person: PERSON/PICTURE.jpg"
        )
    guess.add("source.kind", "folder", "a folder of one's own")
    guess.add("source.folder.path", str(tree.root), "where the photographs lie")
    levels = [_level(tree, above) for above in range(depth - 1)]
    words = "the folders above people's are of no matter" if "*" in levels else "the folders above say people's group"
    guess.add(
        "source.folder.layout", "/".join([*levels, "identity", "image"]), words if levels else "a folder per person"
    )
    _guess_beside(tree, depth, guess)
    _guess_tables(tree, guess)


def _level(tree: Tree, above: int) -> str:
    """What the folders at a depth are: those of gender or ethnicity, or of no matter."""
    names = {Path(place).parts[above].lower() for place, _ in tree.pictures if len(Path(place).parts) > above}
    return next((attribute for attribute, words in GROUP_NAMES.items() if names <= words), "*")


# --------------------------------------------------------------------------------------- files beside the pictures


def _guess_beside(tree: Tree, depth: int, guess: Guess) -> None:
    """Label maps and landmarks: files that are called as a picture is, and something more."""
    places = {place: names for place, names in tree.files.items() if len(Path(place).parts) == depth}
    labels = _suffix_beside(places, LABEL_SUFFIXES)
    if labels and (order := _label_order(tree.root, places, labels)):
        guess.add("source.folder.label_suffix", labels, "label maps of the 19 regions lie beside the pictures")
        guess.add("source.folder.label_order", order, "in this order most of them can be of faces")
    landmarks = _suffix_beside(places, LANDMARK_SUFFIXES)
    if landmarks and _are_landmarks(tree.root, places, landmarks):
        guess.add("source.folder.landmark_suffix", landmarks, "68 landmarks lie beside the pictures")


def _suffix_beside(places: dict[str, list[str]], suffixes: tuple[str, ...]) -> str:
    """What most pictures' names go on with in the name of another file; "" where less than half have such a file."""
    found: Counter[str] = Counter()
    pictures = 0
    for names in places.values():
        stems = {Path(name).stem for name in names if name.lower().endswith(PICTURE_SUFFIXES)}
        for name in names:
            own = [stem for stem in _beginnings(name) if stem in stems]
            if own and name.lower().endswith(suffixes):
                found[name[len(own[0]) :]] += 1
            elif name.lower().endswith(PICTURE_SUFFIXES):
                pictures += 1
    suffix, count = found.most_common(1)[0] if found else ("", 0)
    return suffix if 2 * count >= pictures else ""


def _beginnings(name: str) -> Iterator[str]:
    """What stands before each mark between parts of a name, the longest first, less the file's own suffix of a
    picture: 01.regions.png -> 01; 01_mask.png -> 01."""
    for at in sorted((match.start() for match in re.finditer(r"[._-]", name)), reverse=True):
        if at and name[at:].lower() not in PICTURE_SUFFIXES:
            yield name[:at]


def _beside(root: Path, places: dict[str, list[str]], suffix: str) -> Iterator[tuple[Path, Path]]:
    """Pictures and their files of a suffix, from all over the folders."""
    for place, names in places.items():
        for name in names:
            stem = Path(name).stem
            if name.lower().endswith(PICTURE_SUFFIXES) and not name.endswith(suffix) and stem + suffix in names:
                yield root / place / name, root / place / (stem + suffix)
                break


def _label_order(root: Path, places: dict[str, list[str]], suffix: str) -> str:
    """The order in which most of some label maps can be of faces; "" where they are no label maps."""
    from leam.images import read_label_map
    from leam.regions import implausible

    likely: Counter[str] = Counter()
    tried = 0
    for picture, beside in islice(_beside(root, places, suffix), TRIED):
        if (shape := _shape(picture)) is None:
            continue
        tried += 1
        for order in LABEL_ORDERS:
            try:
                likely[order] += not implausible(read_label_map(beside, shape, order))
            except UnusablePictureError:
                continue
    best = max(LABEL_ORDERS, key=lambda order: likely[order])  # of equals the first, FaRL's
    return best if 2 * likely[best] >= max(tried, 1) else ""


def _are_landmarks(root: Path, places: dict[str, list[str]], suffix: str) -> bool:
    from leam.images import read_landmark_file

    for _, beside in islice(_beside(root, places, suffix), 3):
        try:
            read_landmark_file(beside)
        except UnusablePictureError:
            return False
    return True


def _guess_tables(tree: Tree, guess: Guess) -> None:
    """Rectangles and a table of people, in the folder or beside it."""
    people = _source(guess.config()).identities()
    tables = list(_tables(tree))
    if rects := next((path for path in tables if _has_rectangles(path, guess)), None):
        guess.add("source.folder.rects", str(rects), "rectangles that say who is meant")
    if table := next((path for path in tables if _knows(path, people)), None):
        guess.add("demographics", str(table), "gender or ethnicity of people of this folder")


def _source(config: dict) -> Source:
    return settings.chosen_source(settings.complete(config))


def _tables(tree: Tree) -> Iterator[Path]:
    for folder in (tree.root, tree.root.parent):
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in TABLE_SUFFIXES and path.is_file() and path.stat().st_size < MOST_TABLE_BYTES:
                yield path


def _has_rectangles(path: Path, guess: Guess) -> bool:
    """Whether a file is a table of rectangles in which a picture of the folder stands."""
    from leam.rectangles import open_rectangles

    try:
        open_rectangles(path)
        _source(guess.config(rects=str(path)))
    except (OSError, ValueError, settings.ConfigError):
        return False
    return True


def _knows(path: Path, people: list[str]) -> bool:
    """Whether a file is a table of people in which somebody of the folder stands."""
    from leam.analyses.groups.people import join_people
    from leam.demographics import read_demographics

    try:
        return len(join_people(read_demographics(path), people).people) > 0
    except (OSError, ValueError):
        return False


# ------------------------------------------------------------------------------------------------ faces and the rest


def _guess_faces(tree: Tree, guess: Guess) -> None:
    places = {place: names for place, names in tree.files.items() if names}
    shapes = [shape for shape in map(_shape, islice(_some_pictures(tree.root, places), TRIED)) if shape]
    if not shapes:
        raise GuessError(f"{tree.root}: none of {TRIED} pictures can be read; expected JPEG, PNG, WebP and the like")
    largest = max(max(shape) for shape in shapes)
    if len(set(shapes)) == 1 and len(set(shapes[0])) == 1 and largest <= LARGEST_CROP_PX:
        guess.add("faces.detector", "none", f"all pictures are {largest} x {largest} px: faces, cut out already")
        guess.add("faces.crop_mode", "whole", "so each is its own crop, which this recogniser wants a little wider")
        guess.add("faces.crop_size", max(32, largest), "px, as they are")
        return
    guess.add("faces.crop_mode", "aligned", "turned onto a template: this recogniser knows people best so")
    guess.add("faces.crop_size", CROP_PX, "px: every pixel that the recogniser takes")
    least = min(min(shape) for shape in shapes)
    if least < 2 * 40:
        guess.add("faces.min_face_px", 20, f"px: some pictures have {least} px only")


def _some_pictures(root: Path, places: dict[str, list[str]]) -> Iterator[Path]:
    """The first picture of each folder, then the others."""
    named = {
        place: [name for name in names if name.lower().endswith(PICTURE_SUFFIXES)] for place, names in places.items()
    }
    yield from (root / place / names[0] for place, names in named.items() if names)
    yield from (root / place / name for place, names in named.items() for name in names[1:])


def _shape(picture: Path) -> tuple[int, int] | None:
    """Height and width of a picture, None where it cannot be decoded."""
    from leam import decoding
    from leam.decoders import MAX_MEGAPIXELS
    from leam.images import MAX_FILE_MB, read_beside

    try:
        encoded = read_beside(picture, MAX_FILE_MB * 2**20, UNREADABLE)
        height, width = decoding.measure("picture", encoded, max_megapixels=MAX_MEGAPIXELS).shape()[:2]
    except UnusablePictureError:
        return None
    return int(height), int(width)


def _people_per_job(guess: Guess) -> int:
    return max(1, min(6, -(-_source(guess.config()).count() // (os.cpu_count() or 1))))


def _say_what_is_lacking(guess: Guess) -> None:
    found = settings.complete(guess.config())
    source, faces = settings.chosen_source(found), settings.chosen_faces(found)
    alone = [identity for identity, count in _pictures_of(source.rows()).items() if count < 2]
    if alone:
        guess.lacking.append(f"maps of {len(alone)} people who have less than two pictures: a map is of a pair")
    if faces["label_maps"] == "landmarks":
        guess.lacking.append(
            "hair, ears, neck, clothes and glasses: no label maps lie beside the pictures, and the regions are drawn "
            "from 68 landmarks (faces.parser_weights takes FaRL's parser, which sees all 19)"
        )
    if not settings.attributes(found):
        guess.lacking.append("tests by gender and ethnicity: no table of people was found (demographics)")
    if settings.age_pattern(found) is None:
        guess.lacking.append("tests by age: no name of a picture says one (age_pattern)")
    guess.lacking.append(
        "knowing the truth: of photographs nobody does; the calibration is of rendered people (make demo)"
    )
    guess.lacking.append(
        "comparing recognisers: one is run; more are described under recognisers (docs/recognisers.md)"
    )


def _pictures_of(rows: Iterable) -> Counter[str]:
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row.identity] += bool(row.image)
    return counts


# -------------------------------------------------------------------------------------------------- what is written


def as_text(guess: Guess, folder: str | Path) -> str:
    """The settings as YAML, one per line with its reason behind it."""
    said = [f"# Guessed from {json.dumps(str(folder))}; every setting there is, with its meaning, is in config.yaml."]
    open_sections: list[str] = []
    for key, value, reason in sorted(guess.lines, key=lambda line: _first_of_section(guess, line[0])):
        *sections, last = key.split(".")
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(open_sections, sections, strict=False)))
        said += [f"{'  ' * depth}{sections[depth]}:" for depth in range(shared, len(sections))]
        said.append(f"{'  ' * len(sections)}{last}: {_scalar(value)} # {reason}")
        open_sections = sections
    return "\n".join(said) + "\n"


def _first_of_section(guess: Guess, key: str) -> int:
    """Where the section of a key begins: settings of one section stand together."""
    section = key.split(".")[0]
    return next(place for place, (other, _, _) in enumerate(guess.lines) if other.split(".")[0] == section)


def _scalar(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def write_settings(folder: str | Path, output: str | Path) -> str:
    """Write the settings of a folder, unless they are there; what was done, in some lines.

    Raises GuessError: no settings follow, or the file's are of another folder.
    """
    output = Path(output)
    if output.exists():
        if not _is_of(output, Path(folder).expanduser().absolute()):
            raise GuessError(f"{output} is of another folder; delete it, or say where the settings go: MINE=other.yaml")
        return f"{output} is there and stays as it is; delete it to have it guessed anew"
    guess = guess_settings(folder, f"results/{output.stem}")
    text = as_text(guess, folder)
    if yaml.safe_load(text) != guess.config():
        raise GuessError(f"{folder} has a name that YAML cannot hold; expected text")
    with whole_file(output, digest=None) as part:
        part.write_text(text, encoding="utf-8")
    said = [f"{output} is written, from what lies in {folder}:", "", *text.splitlines()[1:]]
    said += ["", "What such a run cannot do:", *(f"- {sentence}" for sentence in guess.lacking)]
    return "\n".join(said)


def _is_of(output: Path, folder: Path) -> bool:
    """Whether settings that are there name this folder, or one within."""
    try:
        found = settings.source_settings(settings.complete(yaml.safe_load(output.read_text(encoding="utf-8"))))
    except (OSError, ValueError, settings.ConfigError, yaml.YAMLError, AttributeError):
        return True  # whoever reads them next says what is wrong
    return folder in (path := Path(found.get("path", ""))).parents or path == folder


def main() -> int:
    parser = argparse.ArgumentParser(prog="leam.guess", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", help="photographs: PERSON/PICTURE.jpg")
    parser.add_argument("--output", default="mine.yaml", help="the settings; they stay as they are where there are any")
    given = parser.parse_args()
    try:
        print(joblog.without_urls(write_settings(given.folder, given.output)))
    except (GuessError, settings.ConfigError, ValueError, OSError) as error:
        print(f"photos: {joblog.without_urls(str(error))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
