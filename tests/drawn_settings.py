"""Configurations drawn at random from the schema: every key may be set to anything that it allows, but for what would
make a run large, or lead it to files; of these they draw among few."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from album import write_album
from leam.config import SCHEMA_PATH

SCHEMA = yaml.safe_load(SCHEMA_PATH.read_text())
SET = 0.3  # probability that a key is set
HOSTILE = ["{x}", "a b", "$(id)", "%s", "{{ y }}", "'", '"', "é", "=1", "#", "a\nb", "*", "\\", "{wildcards.shard}"]
PEOPLE = {"ann": ["01", "02", "03"], "bob": ["01", "02"], "cat {x}": ["21", "34"], "=dan": ["7"]}
NETWORK = """
import torch
from torch import nn


def build(width=4):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, width, 5, stride=2), nn.ReLU(), nn.Conv2d(width, 4, 3)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
"""
TINY = {"architecture": "tiny_networks:build", "mean": [127.5] * 3, "std": [127.5] * 3, "layers": ["0", "2"]}
MODELS = ["tiny", "tiny-2", "sample_arcface"]


def prepare(folder: Path) -> None:
    """Lay down in a working directory what drawn settings lead to."""
    write_album(folder / "album", PEOPLE, 64)
    (folder / "tiny_networks.py").write_text(NETWORK)
    (folder / "people.csv").write_text(
        "identity,gender,ethnicity\nann,female,African\nbob,male,\ns001,male,Caucasian\n"
    )
    edges = (f'"{name}",{stem}.png,3,2,61,64' for name, stems in PEOPLE.items() for stem in stems)
    (folder / "rects.csv").write_text("\n".join(["identity,image,left,top,right,bottom", *edges]))
    (folder / "more.smk").write_text(
        "rule more:\n    output:\n        results('more {{x}}.txt'),\n    shell:\n        'touch {output:q}'\n"
    )


AGE_PATTERNS = [None, r"^(\d\d)", r"(\d{1,2})", "(x)?", "(.*)", "(", "a", r"(?P<age>\d+)"]

# What is drawn for a key in place of all that the schema allows.
SMALL: dict[str, Callable[[random.Random], object]] = {
    "root": lambda draw: draw.choice([".", "./", "album/.."]),
    "results": lambda draw: draw.choice(["results", "out/a b", "out-é", "out=1", *(f"out {text}" for text in HOSTILE)]),
    "custom_rules": lambda draw: draw.choice([[], ["more.smk"], ["absent.smk"]]),
    "demographics": lambda draw: draw.choice([None, "people.csv", "people.csv", "absent.csv"]),
    "age_pattern": lambda draw: draw.choice(AGE_PATTERNS),
    "models": lambda draw: draw.sample([*MODELS, "AF_R18", "all"], k=draw.choice([1, 1, 2])),
    "source.kind": lambda draw: draw.choice(["sample", "folder", "fgnet", "celebamask_hq", "imdb_face"]),
    "source.sample.identities": lambda draw: draw.randint(1, 4),
    "source.sample.images": lambda draw: draw.randint(2, 3),
    "source.sample.size": lambda draw: draw.randint(64, 128),
    "source.sample.region": lambda draw: draw.choice([None, "nose", "hair", "signature", "chin"]),
    "source.folder.path": lambda draw: draw.choice(["album", "album", "album", "absent", None]),
    "source.folder.layout": lambda draw: draw.choice([*["identity/image"] * 4, "*/identity/image", "*/image", "image"]),
    "source.folder.include": lambda draw: draw.choice([None, ["ann", "bob"], ["cat {x}", "ann"], ["nobody"], ["=dan"]]),
    "source.folder.label_suffix": lambda draw: draw.choice([".labels.png", ".labels.png", ".other.png", None]),
    "source.folder.landmark_suffix": lambda draw: draw.choice([".npy", ".npy", ".pts", None]),
    "source.folder.rects": lambda draw: draw.choice([None, "rects.csv", "rects.csv", "people.csv", "absent.csv"]),
    "faces.crop_size": lambda draw: draw.randint(32, 64),
    "faces.crop_margin": lambda draw: draw.choice([None, None, 0, 0.25, 0.3]),
    "faces.min_face_px": lambda draw: draw.choice([1, 1, 5, 20, 1000]),
    "faces.detector": lambda draw: draw.choice(["auto", "given", "none", "none", "mtcnn", "retinaface"]),
    "maps.grid": lambda draw: draw.choice([16, 20, 28, 32]),
    "maps.top_percents": lambda draw: [1, *draw.sample([0.01, 0.1, 0.5, 5, 10, 100], draw.randint(0, 3))],
    "similarity.cell": lambda draw: draw.choice([1, 2, 4, 4, 5, 7]),
    "occlusion.percents": lambda draw: draw.sample([0.1, 1, 1.5, 10, 100], draw.randint(1, 3)),
    "occlusion.headline_percent": lambda draw: draw.choice([1, 1, 10, 0.1]),
    "occlusion.guides": lambda draw: draw.choice([None, ["tiny"], ["tiny", "tiny-2"], ["absent"]]),
    "occlusion.headline_guide": lambda draw: draw.choice([None, "tiny", "tiny-2"]),
    "occlusion.repeats": lambda draw: draw.randint(1, 2),
    "localisation.when": lambda draw: draw.choice(["sample", "always", "never", "never", "never"]),
    "localisation.regions": lambda draw: draw.sample(["hair", "nose", "llip", "le"], draw.choice([1, 1, 2])),
    "localisation.identities": lambda draw: draw.randint(2, 3),
    "localisation.images": lambda draw: draw.randint(2, 3),
    "localisation.size": lambda draw: draw.randint(64, 96),
    "recognisers.NAME.architecture": lambda draw: "tiny_networks:build",
    "recognisers.NAME.arguments": lambda draw: draw.choice([{}, {"width": 3}]),
    "recognisers.NAME.input_size": lambda draw: draw.choice([[28, 28], [32, 32], [56, 28], [16, 16]]),
    "recognisers.NAME.window": lambda draw: draw.choice([[0, 0, 112, 112], [14, 0, 112, 98], [3, 5, 8, 13]]),
    "recognisers.NAME.aligned_window": lambda draw: draw.choice([None, None, [-14, 0, 98, 112], [22, 6, 122, 106]]),
    "recognisers.NAME.reshape": lambda draw: draw.choice([{}, {"0": "channels_last"}, {"2": {"size": [4, 4]}}]),
    "recognisers.NAME.layers": lambda draw: draw.choice([["0"], ["2"], ["0", "2"], ["2", "0"]]),
    "recognisers.NAME.std": lambda draw: [draw.choice([1, 60.5, 127.5])] * 3,
    "recognisers.NAME.mean": lambda draw: [draw.choice([0, -1.5, 127.5])] * 3,
}  # fmt: skip
ALWAYS = {  # what the defaults make too large, or would leave out
    *("models", "maps.grid", "faces.crop_size", "faces.min_face_px", "faces.detector", "localisation.when"),
    *("source.kind", "source.sample.identities", "source.sample.images", "source.sample.size", "source.folder.path"),
    *("source.folder.label_suffix", "source.folder.landmark_suffix", "localisation.identities"),
    *("localisation.images", "localisation.size", "recognisers.NAME.input_size"),
}


def leaves(schema: dict, path: str = "") -> Iterator[tuple[str, dict]]:
    """Every key that is no section, with its schema; a recogniser's below recognisers.NAME."""
    for key, part in schema["properties"].items():
        here = f"{path}.{key}".lstrip(".")
        if "properties" in part:
            yield from leaves(part, here)
        elif key == "recognisers":
            yield from leaves(part["additionalProperties"], f"{here}.NAME")
        else:
            yield here, part


def draw_settings(seed: int) -> dict:
    """A configuration that the schema allows; what it says together may make no sense."""
    found: dict = {}
    for key, part in leaves(SCHEMA):
        for name in MODELS[:2] if key.startswith("recognisers.") else ["NAME"]:
            own = key.replace("NAME", name)
            draw = random.Random(f"{seed} {own}")  # so that a new key changes no draw of another
            if key in ALWAYS or draw.random() < SET:
                _put(found, own.split("."), _value(key, part, draw))
    for name in MODELS[:2]:  # an entry by itself has to say these
        found["recognisers"][name] = TINY | found["recognisers"][name]
    return _agreed(found, seed) if seed % 5 else found


def _agreed(found: dict, seed: int) -> dict:
    """With what goes by another setting set by it, most times: drawn alone, nearly all are refused."""
    models = found["models"] = [name for name in found["models"] if name in MODELS] or ["tiny"]
    agreed = {
        "occlusion.headline_percent": lambda draw: draw.choice(found["occlusion"].get("percents") or [1]),
        "occlusion.headline_fill": lambda draw: draw.choice(found["occlusion"].get("fills", ["black"])),
        "occlusion.guides": lambda draw: draw.choice([None, draw.sample(models, 1)]),
        "occlusion.headline_guide": lambda draw: None,
        "similarity.cell": lambda draw: draw.choice([1, 2, 4]),
        "similarity.polarities": lambda draw: draw.choice(
            [["loss", "similarity"], [found["analysis"].get("polarity") or "similarity"]]
        ),
        "localisation.regions": lambda draw: draw.sample(["hair", "nose", "llip"], draw.choice([1, 1, 2])),
        "source.kind": lambda draw: draw.choice(["sample", "folder"]),
        "source.folder.path": lambda draw: "album",
        "source.folder.label_suffix": lambda draw: ".labels.png",
        "source.folder.label_order": lambda draw: draw.choice(
            ["farl", "celebamask_hq", ["background", "hair", "nose"] * 7]
        ),
        "source.folder.label_check": lambda draw: found["source"]["folder"]["label_order"] == "farl",
        "source.folder.landmark_suffix": lambda draw: draw.choice([".npy", ".npy", ".pts", None]),
        "source.folder.layout": lambda draw: "identity/image",
        "source.folder.include": lambda draw: draw.choice([None, ["ann", "bob"], ["ann", "cat {x}", "=dan"]]),
        "source.sample.region": lambda draw: draw.choice([None, "nose", "signature"]),
        "source.folder.rects": lambda draw: draw.choice([None, "rects.csv"]),
        "faces.detector": lambda draw: draw.choice(["auto", "given", "none", "none"]),
        "faces.label_maps": lambda draw: draw.choice(["auto", "given"]),
        "faces.landmarks": lambda draw: _whether_or_not_a_file_is_installed(
            found["source"], draw.choice(["auto", "given", "none"])
        ),
        "custom_rules": lambda draw: draw.choice([[], ["more.smk"]]),
        "calibration.when": lambda draw: "never",  # it is of rendered people, whatever the run is about
        "demographics": lambda draw: draw.choice([None, "people.csv"]),
        "age_pattern": lambda draw: draw.choice([None, r"^(\d{1,2})", "(x)?", "(.*)", r"(?P<age>\d+)"]),
        "source.imdb_face.max_images": lambda draw: 20,
        "source.imdb_face.min_images": lambda draw: 2,
        "source.fgnet.max_images": lambda draw: None,
        "source.celebamask_hq.max_images": lambda draw: None,
        "faces.crop_margin": lambda draw: draw.choice([None, None, 0, 0.25, 0.3]),
        "faces.min_face_px": lambda draw: draw.choice([1, 1, 5]),
        **dict.fromkeys(
            ("faces.detector_weights", "faces.landmark_weights", "faces.parser_weights"), lambda draw: None
        ),
    }
    for name in MODELS[:2]:
        agreed |= {f"recognisers.{name}.{key}": lambda draw: None for key in ("weights", "sha256", "bytes")}
        agreed |= {f"recognisers.{name}.reshape": lambda draw: {}, f"recognisers.{name}.layout": lambda draw: None}
        agreed[f"recognisers.{name}.output"] = lambda draw: None
        agreed[f"recognisers.{name}.window"] = lambda draw: draw.choice([[0, 0, 112, 112], [0, 0, 56, 56]])
    for section in ("occlusion", "analysis", "faces", "similarity"):
        found.setdefault(section, {})
    for key, value in agreed.items():
        _put(found, key.split("."), value(random.Random(f"{seed} agreed {key}")))
    return found


def _whether_or_not_a_file_is_installed(source: dict, landmarks: str) -> str:
    """auto would take landmarks from the package of model files, where there is one and the album has none."""
    brought = source["kind"] == "sample" or source["folder"].get("landmark_suffix")
    return landmarks if brought else landmarks.replace("auto", "none")


def _put(section: dict, parts: list[str], value: object) -> None:
    for part in parts[:-1]:
        section = section.setdefault(part, {})
    section[parts[-1]] = value


def _value(key: str, part: dict, draw: random.Random) -> object:
    if key in SMALL:
        return SMALL[key](draw)
    if "oneOf" in part:
        return _value(key, draw.choice(part["oneOf"]), draw)
    if "enum" in part:
        return draw.choice(part["enum"])
    kinds = part["type"] if isinstance(part["type"], list) else [part["type"]]
    kind = draw.choice(kinds)
    if kind == "null":
        return None
    if kind == "boolean":
        return draw.random() < 0.5
    if kind in ("integer", "number"):
        return _number(part, kind, draw)
    if kind == "array":
        return _list(key, part, draw)
    return _text(part, draw)


def _number(part: dict, kind: str, draw: random.Random) -> float:
    """Within the bounds; small where there is no upper one."""
    low = part.get("minimum", part.get("exclusiveMinimum", 0))
    high = part.get("maximum", part.get("exclusiveMaximum", low + 20))
    if kind == "integer":
        return draw.choice([low, min(high, low + 1), draw.randint(low, min(high, low + 20))])
    inner = low + (high - low) * draw.choice([0.001, 0.3, 0.5, 0.95, 0.999])
    return draw.choice([inner, *([low] if "minimum" in part else []), *([high] if "maximum" in part else [])])


def _list(key: str, part: dict, draw: random.Random) -> list:
    least = part.get("minItems", 0)
    if "enum" in part["items"]:
        allowed = list(part["items"]["enum"])
        chosen = draw.sample(allowed, draw.randint(least, len(allowed)))
        needed = part.get("contains", {}).get("const")
        return chosen if needed is None or needed in chosen else [needed, *chosen]
    return [_value(f"{key}[]", part["items"], draw) for _ in range(max(least, 1))]


PATTERNS = {  # a text of each pattern of the schema
    "@": ["me@example.org", "https://example.org/{x}"],
    "/[A-Za-z0-9_.-]+": ["leam", "mine/1.0"],
    "\\*": ["example.org", "*.example.org:8080", "[::1]:80"],
    "{64}": ["0" * 64, "ab" * 32],
    "nm": ["nm0000001"],
}


def _text(part: dict, draw: random.Random) -> str:
    for sign, texts in PATTERNS.items():
        if sign in part.get("pattern", ""):
            return draw.choice(texts)
    return draw.choice([*HOSTILE, "absent", "download", "absent/{x}.pt"])
