"""The configuration: defaults filled in, every fault found before the first job and said in one sentence each."""

import copy
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, ValidationError

from leam import models

SCHEMA_PATH = Path(__file__).parents[2] / "rules" / "schemas" / "config.schema.yaml"

# A setting that another one makes necessary: (setting, its value) -> the setting that must not be null.
NEEDS = (
    (("source.kind", "folder"), "source.folder.path"),
    (("faces.detector", "retinaface"), "faces.detector_weights"),
    (("faces.regions", "pyfacer"), "faces.parser_weights"),
    (("faces.landmarks", "dlib"), "faces.landmark_weights"),
)
FACES_PATHS = ("detector_weights", "parser_weights", "landmark_weights")


class ConfigError(Exception):
    """Settings that cannot be run; the message has one line per fault: the key, its value, and what is allowed."""


def complete(config: dict, schema_path: str | Path = SCHEMA_PATH) -> dict:
    """The configuration with every default filled in.

    Raises ConfigError for unknown keys, values that are not allowed, and settings that contradict each other.
    """
    schema = yaml.safe_load(Path(schema_path).read_text())
    faults = [_fault(error) for error in sorted(Draft202012Validator(schema).iter_errors(config), key=_path)]
    if not faults:
        config = _with_defaults(config, schema)
        faults = [*_missing(config), *_contradictions(config)]
    if faults:
        raise ConfigError("\n".join(f"config: {fault}" for fault in faults))
    return config


def _path(error: ValidationError) -> str:
    return ".".join(str(part) for part in error.absolute_path)


def _fault(error: ValidationError) -> str:
    """One sentence: the key, the value, what is allowed."""
    where = _path(error)
    if error.validator == "additionalProperties":
        known = sorted(error.schema.get("properties", {}))
        unknown = sorted(set(error.instance) - set(known))
        return f"{'.'.join(filter(None, (where, str(unknown[0]))))} is no setting; allowed here: {', '.join(known)}"
    note = error.schema.get("description", "").strip()
    meaning = f" ({note})" if note else ""
    return f"{where or 'the whole'} is {error.instance!r}; allowed: {_allowed(error.schema)}{meaning}"


def _allowed(schema: dict) -> str:
    """What a schema allows, in words."""
    if "enum" in schema:
        return " or ".join(str(value) for value in schema["enum"])
    kinds = schema.get("type", "anything")
    words = [" or ".join(kinds) if isinstance(kinds, list) else kinds]
    for key, text in (
        ("minimum", "at least {}"),
        ("exclusiveMinimum", "above {}"),
        ("maximum", "at most {}"),
        ("exclusiveMaximum", "below {}"),
        ("minItems", "at least {} entries"),
        ("maxItems", "at most {} entries"),
        ("minLength", "not empty"),
        ("uniqueItems", "no entry twice"),
        ("pattern", "of the form {}"),
        ("contains", "{} among them"),
    ):
        if key in schema:
            words.append(text.format(schema[key].get("const") if key == "contains" else schema[key]))
    if isinstance(schema.get("items"), dict):
        words.append(f"each {_allowed(schema['items'])}")
    unit = schema.get("unit", "-")
    return ", ".join(words) + (f", in {unit}" if unit != "-" else "")


def _with_defaults(given: dict, schema: dict) -> dict:
    """Defaults of the schema beneath what is given, down through nested sections; keys in the schema's order."""
    known = schema.get("properties", {})
    merged = {}
    for key, part in known.items():
        if part.get("type") == "object" and "properties" in part:
            merged[key] = _with_defaults(given.get(key, {}), part)
        else:
            merged[key] = copy.deepcopy(given.get(key, part.get("default")))
    return merged


def setting(config: dict, key: str) -> object:
    """The value of a dotted key."""
    for part in key.split("."):
        config = config[part]
    return config


def _missing(config: dict) -> list[str]:
    return [
        f"{needed} is null; {key} {value} needs a path there"
        for (key, value), needed in NEEDS
        if setting(config, key) == value and setting(config, needed) is None
    ]


def _contradictions(config: dict) -> list[str]:
    faults = _sample_region(config["source"]["sample"]["region"])
    faces, folder = config["faces"], config["source"]["folder"]
    from_folder = config["source"]["kind"] == "folder"
    if from_folder and faces["regions"] == "given" and folder["label_suffix"] is None:
        faults.append("faces.regions is 'given', but source.folder.label_suffix is null; allowed: a suffix, or pyfacer")
    no_landmarks = from_folder and folder["landmark_suffix"] is None
    for key in ("detector", "landmarks"):
        if no_landmarks and faces[key] == "given":
            faults.append(f"faces.{key} is 'given', but source.folder.landmark_suffix is null; allowed: a suffix there")
    if faces["detector"] == faces["landmarks"] == "none":
        for key, value in (("crop_mode", "aligned"), ("regions", "pyfacer"), ("landmarks_required", True)):
            if faces[key] == value:
                faults.append(f"faces.{key} is {value!r}; allowed only with a detector or landmarks: both are 'none'")
    faults += _demographics(resolve(config, config["demographics"]))
    faults += _occlusion(config["occlusion"], config["models"])
    for name in config["models"]:
        try:
            models.recogniser(name, config["recognisers"].get(name))
        except models.ModelError as error:
            faults.append(f"models: {error}")
    return faults


def _demographics(path: str | None) -> list[str]:
    if path is None:
        return []
    from leam.demographics import read_demographics

    try:
        read_demographics(path)
    except (OSError, ValueError) as error:
        return [f"demographics: {error}"]
    return []


def _occlusion(occlusion: dict, run: list[str]) -> list[str]:
    faults = []
    if occlusion["percent"] not in occlusion["percents"]:
        allowed = ", ".join(f"{percent:g}" for percent in occlusion["percents"])
        faults.append(f"occlusion.percent is {occlusion['percent']}; allowed: one of occlusion.percents: {allowed}")
    guides = run if occlusion["guides"] is None else occlusion["guides"]
    if unknown := [name for name in guides if name not in run]:
        faults.append(f"occlusion.guides has {unknown[0]!r}; allowed: the models of this run: {', '.join(run)}")
    guide = occlusion["guide"]
    if guide not in (None, *guides):
        faults.append(f"occlusion.guide is {guide!r}; allowed: null or one of the guides: {', '.join(guides)}")
    return faults


def _sample_region(region: str | None) -> list[str]:
    if region is None:
        return []
    from leam.sample import supported_regions

    known = supported_regions()
    return [] if region in known else [f"source.sample.region is {region!r}; allowed: null or {' or '.join(known)}"]


# ------------------------------------------------------------------------------------------- what the rules ask for


def resolve(config: dict, path: str | None) -> str | None:
    """An input path as jobs use it: relative ones start from ``root``; a URL stays what it is."""
    return path if path is None or "://" in path else str(Path(config["root"]) / path)


def source_settings(config: dict) -> dict:
    """The chosen source: its ``kind`` and its own settings, the folder's path resolved."""
    kind = config["source"]["kind"]
    chosen = {"kind": kind} | config["source"][kind]
    if kind == "folder":
        chosen["path"] = resolve(config, chosen["path"])
    return chosen


def faces_settings(config: dict) -> dict:
    """The ``faces`` section with its paths resolved."""
    faces = config["faces"]
    return faces | {key: resolve(config, faces[key]) for key in FACES_PATHS}


def occlusion_guides(config: dict) -> list[str]:
    """The recognisers whose maps choose pixels for all others, in the order of ``models``."""
    guides = config["occlusion"]["guides"]
    return [name for name in config["models"] if guides is None or name in guides]


def paper_guide(config: dict) -> str:
    """The guide of the paper's tables: the one that is set, or IR_CASIA as in the paper, or the first."""
    guides = occlusion_guides(config)
    return next(name for name in (config["occlusion"]["guide"], "IR_CASIA", *guides) if name in guides)


def recogniser_entry(config: dict, name: str) -> dict:
    """What the configuration says of a recogniser, its weights' path resolved; {} when it says nothing."""
    entry = dict(config["recognisers"].get(name, {}))
    if entry.get("weights"):
        entry["weights"] = resolve(config, entry["weights"])
    return entry


def write_config(output: str | Path, config: dict) -> None:
    """The merged configuration, every default included, beside the results."""
    from leam.storage import whole_file

    with whole_file(output) as part:
        part.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
