"""Every setting is described, defaults and file agree, and a wrong setting is said in one sentence."""

import datetime
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from leam import config, defaults, model_package
from leam.analyses.occlusion import PAPER_PERCENTS
from leam.recognisers.registry import Recogniser
from leam.sources.fgnet import Fgnet

ROOT = Path(__file__).parents[1]


def leaves(schema, path=""):
    for key, part in schema["properties"].items():
        here = f"{path}.{key}".lstrip(".")
        if part.get("type") == "object" and "properties" in part:
            assert part["additionalProperties"] is False, f"{here} takes unknown keys"
            yield from leaves(part, here)
        else:
            yield here, part


SCHEMA = yaml.safe_load(config.SCHEMA_PATH.read_text())
ENTRY = SCHEMA["properties"]["recognisers"]["additionalProperties"]
TINY = {"architecture": "m:f", "input_size": [8, 8], "mean": [0, 0, 0], "std": [1, 1, 1], "layers": ["0"]}
IMDB_FACE = {"kind": "imdb_face", "imdb_face": {"path": "absent.csv", "min_images": 30}}


@pytest.mark.parametrize(("key", "part"), [*leaves(SCHEMA), *leaves(ENTRY, "recognisers.NAME")])
def test_every_setting_has_description_unit_and_default(key, part):
    assert {"description", "unit", "default"} <= set(part), key


def test_config_yaml_holds_the_defaults_of_the_schema():
    written = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert config.complete({}) == config.complete(written) == config.complete(config.complete(written))
    of_preset = {path for path, part in leaves(SCHEMA) if "presets" in part}
    for path, part in leaves(SCHEMA):
        assert config.setting(written, path) == part["default"] and (part["default"] is None or path not in of_preset)
    assert config.setting(config.complete(written), "maps.target") == "dot"


@pytest.mark.parametrize("preset", config.PRESETS)
def test_a_preset_fills_what_is_null_and_nothing_else(preset):
    of_preset = {path: part["presets"][preset] for path, part in leaves(SCHEMA) if "presets" in part}
    found, plain = config.complete({"preset": preset}), config.complete({})
    assert {path: config.setting(found, path) for path in of_preset} == of_preset
    others = [path for path, _ in leaves(SCHEMA) if path not in (*of_preset, "preset")]
    assert all(config.setting(found, path) == config.setting(plain, path) for path in others)
    assert config.complete({"preset": preset, "maps": {"placement": "stretched"}})["maps"]["placement"] == "stretched"


def test_the_paper_is_one_word_away():
    found = config.complete({"preset": "paper"})
    assert (found["maps"]["placement"], found["maps"]["target"]) == ("stretched", "cosine")
    assert (found["analysis"]["polarity"], found["occlusion"]["headline_fill"]) == ("loss", "black")
    assert tuple(found["occlusion"]["percents"]) == PAPER_PERCENTS


def test_config_yaml_is_what_the_schema_gives():
    assert (ROOT / "config.yaml").read_text() == defaults.render_config(SCHEMA), "run `make config`"


def test_config_yaml_can_be_read():
    """No line is too long, every setting has its meaning and its unit above it, and long meanings are wrapped."""
    schema = {
        "properties": {
            "seed": {"default": 0, "unit": "-", "description": "Seed."},
            "maps": {
                "description": "Maps of " + 20 * "many " + "images.",
                "properties": {
                    "grid": {"default": [1, 0.5], "unit": "pixels", "description": 30 * "word " + "end."},
                    "name": {"default": None, "unit": "-", "description": "Name: or null."},
                },
            },
            "list": {"default": {}, "unit": "-", "description": "List."},
        }
    }
    text = defaults.render_config(schema)
    assert yaml.safe_load(text) == {"seed": 0, "maps": {"grid": [1, 0.5], "name": None}, "list": {}}
    assert max(len(line) for line in text.splitlines()) <= 120
    assert "\n\n# Seed.\nseed: 0\n\n" in text and "end. [pixels]\n  grid: [1, 0.5]\n" in text
    assert "images.\nmaps:\n" in text and "  # Name: or null.\n  name: null\n\n# List.\nlist: {}\n" in text


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_examples_say_what_they_are_for_and_hold_settings_that_exist(path):
    assert path.read_text().startswith("# For ")
    Draft202012Validator(SCHEMA).validate(yaml.safe_load(path.read_text()))


def test_recogniser_entries_of_the_schema_are_those_of_the_library():
    import dataclasses

    of_a_pack = {"pack"}  # stands for several of them
    assert set(ENTRY["properties"]) - of_a_pack == {field.name for field in dataclasses.fields(Recogniser)} - {"name"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"maps": {"batch_images": 0}},
            "config: maps.batch_images is 0; allowed: integer or null, at least 1, in images",
        ),
        ({"maps": {"dtype": "half"}}, "config: maps.dtype is 'half'; allowed: float32 or float16"),
        (
            {"age_pattern": "A\\d\\d"},
            "age_pattern is 'A.*', without a group; allowed: null or a regular expression",
        ),
        ({"age_pattern": "("}, "age_pattern is '\\(': .*; allowed: null or a regular"),
        ({"seeed": 1}, "config: seeed is no setting; allowed here: age_pattern, analysis, calibration, custom_rules"),
        (
            {"faces": {"crop": "box"}},
            "config: faces.crop is no setting; allowed here: align_by, batch_images, crop_margin, crop_mode",
        ),
        ({"maps": {"top_percents": [0.1]}}, "maps.top_percents is .*; allowed: array, no entry twice, 1 among them"),
        ({"models": ["AF_R19"]}, "config: models: no recogniser is called 'AF_R19'; known are AF_R18"),
        ({"models": ["x"], "recognisers": {"x": {"architecture": "iresnet18"}}}, "input_size, mean, std, layers must"),
        ({"source": {"kind": "folder"}}, "config: source.folder.path is null; source.kind folder needs a path there"),
        ({"faces": {"label_maps": "pyfacer"}}, "faces.parser_weights is null; faces.label_maps pyfacer needs a path"),
        (
            {"faces": {"landmarks": "dlib"}},
            "faces.landmark_weights is null; faces.landmarks dlib needs a path there, or the package .*: pip install",
        ),
        (
            {"faces": {"landmarks": "dlib", "landmark_weights": "package"}},
            "faces.landmark_weights is 'package', which is not installed; allowed: a path, or pip install face-",
        ),
        (
            {"faces": {"landmarks": "none", "label_maps": "landmarks"}},
            "faces.label_maps is 'landmarks', but faces.landmarks is 'none'; allowed: given or dlib ",
        ),
        (
            {"faces": {"detector": "none", "landmarks": "none", "crop_mode": "aligned"}},
            "faces.crop_mode is 'aligned'; allowed only with landmarks or a detector of five points",
        ),
        ({"source": {"sample": {"region": "chin"}}}, "source.sample.region is 'chin'; allowed: null or .*or signature"),
        ({"localisation": {"regions": ["signature"]}}, "localisation.regions holds 'signature'; allowed: face or hair"),
        ({"models": ["x\n"]}, "models.0 is 'x.n'; allowed: string, of the form"),
        (
            {"models": ["sample_arcface", "Sample_ArcFace"]},
            "differ in case alone, which not every file system tells apart",
        ),
        (
            {"models": ["all"], "recognisers": {"all": TINY}},
            "models: 'all' is what tables call all recognisers together",
        ),
        ({"models": ["a" * 101], "recognisers": {"a" * 101: TINY}}, "models: 'a+' has 101 bytes; allowed: at most 100"),
        ({"models": ["a.images"], "recognisers": {"a.images": TINY}}, "models: 'a.images' ends as a file of another"),
        ({"root": "a\0"}, "config: root holds 'a.x00'; allowed: text without NUL"),
        (
            {"recognisers": {"x": {"layers": ["\udc80"]}}},
            "recognisers.x.layers.0 holds '.udc80'; allowed: text without",
        ),
        ({"recognisers": {"\0": {}}}, "recognisers holds '.x00'; allowed: text without"),
        ({"results": "out/{model}"}, "results is 'out/{model}'; allowed: a path without braces"),
        ({"results": "a\nb"}, "results is 'a.nb'; allowed: a path without braces"),
        ({"source": {"kind": "fgnet"}}, "source.fgnet.path is null; source.kind fgnet needs a path there"),
        (
            {"source": {"kind": "folder", "folder": {"path": "x"}}},
            r"faces.parser_weights is null; faces.label_maps pyfacer \(by auto\) needs a path there, or label maps "
            r"that come with the pictures, or landmarks \(faces.landmark_weights, or pip install face-recognition-mod",
        ),
        (
            {"source": {"kind": "celebamask_hq"}, "faces": {"detector": "given"}},
            "faces.detector is 'given', but source celebamask_hq has no landmarks; allowed: auto",
        ),
        (
            {"source": {"kind": "fgnet"}, "faces": {"label_maps": "given"}},
            "faces.label_maps is 'given', but source fgnet has no label maps; allowed: pyfacer, or landmarks",
        ),
        ({"source": {"fgnet": {"min_images": 5, "max_images": 3}}}, "source.fgnet.max_images is 3; allowed: at least"),
        ({"faces": {"landmark_weights": "download"}}, "faces.landmark_weights is 'download'; allowed: a path"),
        ({"faces": {"parser_sha256": "abc"}}, "faces.parser_sha256 is 'abc'; allowed: .* of the form"),
        ({"localisation": {"regions": ["chin"]}}, "localisation.regions holds 'chin'; allowed: face or hair or nose"),
        (
            {"localisation": {"regions": ["le"]}},
            "holds 'le', but no recogniser is called sample_le; allowed: hair or nose",
        ),
        (
            {"occlusion": {"headline_percent": 3}},
            "occlusion.headline_percent is 3; allowed: one of occlusion.percents: 0.1, 0.25",
        ),
        (
            {"occlusion": {"fills": ["black"]}},
            "occlusion.headline_fill is 'mean'; allowed: one of occlusion.fills: black",
        ),
        ({"occlusion": {"guides": ["AF_R18"]}}, "occlusion.guides has 'AF_R18'; allowed: the models of this run"),
        (
            {"occlusion": {"guides": ["sample_arcface"], "headline_guide": "sample_cosface"}},
            "occlusion.headline_guide is 'sample_cosface'; allowed: null or one of the guides: sample_arcface",
        ),
        ({"occlusion": {"kinds": ["random"]}}, "occlusion.kinds is .*; allowed: array, no entry twice, image among"),
        ({"demographics": "nowhere.csv"}, "config: demographics: .*nowhere.csv"),
        ({"source": {"kind": "imdb_face"}}, "source.imdb_face.path is null; source.kind imdb_face needs a path there"),
        ({"source": IMDB_FACE}, "config: source.imdb_face.path: no such file: absent.csv"),
        (
            {"source": IMDB_FACE, "scraping": {"contact": "me@example.org", "deadline_s": 99}},
            r"scraping.deadline_s is 99; allowed: at least timeout_s \* \(retries \+ 1\), 100",
        ),
        ({"source": IMDB_FACE}, "config: scraping.contact is null; source.kind imdb_face needs an e-mail address"),
        ({"source": IMDB_FACE}, "config: source.imdb_face.max_images is 20; allowed: at least min_images, 30"),
        (
            {"source": IMDB_FACE, "faces": {"landmarks": "given"}},
            "config: faces.landmarks is 'given', but source imdb_face has no landmarks; allowed: auto",
        ),
        ({"scraping": {"contact": "me\nX-Evil: 1"}}, "scraping.contact is .*; allowed: string or null, of the form"),
        ({"scraping": {"hosts": ["http://a.org"]}}, "scraping.hosts.0 is 'http://a.org'; allowed: string, of the form"),
    ],
)
def test_a_wrong_setting_names_key_value_and_what_is_allowed(given, message, no_model_package):
    with pytest.raises(config.ConfigError, match=message):
        config.complete(given)


def nested(key, value):
    """{"a": {"b": value}} of the key a.b."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def test_renamed_keys_are_those_that_the_settings_lack():
    known = {key for key, _ in leaves(SCHEMA)}
    assert not known & {*config.RENAMED_KEYS, *config.REMOVED_KEYS}
    assert set(config.RENAMED_KEYS.values()) <= known


@pytest.mark.parametrize("old", config.RENAMED_KEYS)
def test_an_old_key_is_an_error_that_names_the_new_one(old):
    new = config.RENAMED_KEYS[old]
    with pytest.raises(config.ConfigError) as error:
        config.complete(nested(old, None))
    assert str(error.value) == f"config: {old} is now {new}: rename it where you set it"


def test_a_key_that_is_gone_is_an_error_that_says_why():
    with pytest.raises(config.ConfigError) as error:
        config.complete({"analysis": {"bootstrap_samples": 2000}})
    assert str(error.value) == "config: analysis.bootstrap_samples is gone, as intervals need no samples: leave it out"


def test_a_value_that_is_a_list_now_is_told_as_one():
    with pytest.raises(config.ConfigError, match=r"occlusion.fill is now occlusion.fills: .* as a list: \[blur\]$"):
        config.complete({"occlusion": {"fill": "blur"}})
    with pytest.raises(
        config.ConfigError, match=r"occlusion.fills is 'blur'; allowed: array, .* black or mean or blur"
    ):
        config.complete({"occlusion": {"fills": "blur"}})


def test_the_papers_tables_are_black_where_black_is_among_the_fills():
    for fills, fill in ((["mean", "black"], "black"), (["noise", "mean"], "noise")):
        chosen = config.chosen_occlusion(config.complete({"occlusion": {"fills": fills}}))
        assert (chosen["paper_fill"], chosen["headline_fill"], chosen["headline_guide"]) == (
            fill,
            "mean",
            "sample_arcface",
        )


def test_all_old_keys_are_told_at_once():
    given = {"occlusion": {"percent": 1, "guide": None, "percents": [1]}, "faces": {"regions": "given"}}
    with pytest.raises(config.ConfigError) as error:
        config.complete(given)
    assert [line.split()[1] for line in str(error.value).splitlines()] == [
        "faces.regions",
        "occlusion.percent",
        "occlusion.guide",
    ]


def test_a_section_that_is_none_is_said_though_keys_of_it_are_renamed():
    with pytest.raises(config.ConfigError, match="config: occlusion is 'percent'; allowed: object"):
        config.complete({"occlusion": "percent"})


def test_numbers_of_identities_say_so():
    numbers = {key: part for key, part in leaves(SCHEMA) if "identities" in key}
    assert {part["type"] for part in numbers.values()} == {"integer"}
    assert all(part["description"].startswith("Number of identities") for part in numbers.values())


def test_all_faults_are_told_at_once():
    with pytest.raises(config.ConfigError) as error:
        config.complete({"maps": {"batch_images": 0, "grid": "x"}, "seed": -1})
    assert len(str(error.value).splitlines()) == 3


def test_paths_start_from_root():
    given = {"root": "data", "source": {"kind": "folder", "folder": {"path": "faces", "label_suffix": ".regions.png"}}}
    given |= {"faces": {"detector": "none", "landmarks": "none", "parser_weights": "/abs/parser.pt"}}
    given |= {"recognisers": {"AF_R18": {"weights": "w/backbone.pth"}}}
    found = config.complete(given)
    assert config.source_settings(found)["path"] == "data/faces"
    assert config.faces_settings(found)["parser_weights"] == "/abs/parser.pt"
    assert config.recogniser_entry(found, "AF_R18")["weights"] == "data/w/backbone.pth"


def test_settings_of_scraping_are_those_of_the_library():
    import dataclasses

    from leam.fetching import ScrapeSettings

    known = {field.name: field.default for field in dataclasses.fields(ScrapeSettings)}
    section = config.complete({})["scraping"]
    assert set(section) == set(known)
    required = ("contact", "hosts")
    assert {name: section[name] for name in section if name not in required} == {
        name: default for name, default in known.items() if name not in required
    }


def test_the_seed_goes_with_the_list_of_imdb_face(tmp_path):
    (tmp_path / "list.csv").touch()
    given = {"seed": 7, "root": str(tmp_path), "source": {"kind": "imdb_face", "imdb_face": {"path": "list.csv"}}}
    given |= {"scraping": {"contact": "me@example.org"}}
    given |= {"faces": {"detector": "none", "landmarks": "none", "label_maps": "given"}}
    with pytest.raises(
        config.ConfigError, match=r"faces\.label_maps is 'given', but source imdb_face has no label maps"
    ):
        config.complete(given)
    given["faces"] = {"detector": "retinaface", "detector_weights": "x", "landmarks": "none"}
    given["faces"] |= {"label_maps": "pyfacer", "parser_weights": "x"}
    source = config.source_settings(config.complete(given))
    assert source["seed"] == 7 and source["path"] == str(tmp_path / "list.csv")


def test_the_papers_guide_is_taken_where_it_is_run():
    names = ["AF_R18", "IR_CASIA", "VGG_16"]
    for occlusion, guides, guide in (
        ({}, names, "IR_CASIA"),
        ({"guides": ["VGG_16", "AF_R18"]}, ["AF_R18", "VGG_16"], "AF_R18"),
        ({"headline_guide": "VGG_16"}, names, "VGG_16"),
    ):
        found = config.complete({"models": names, "occlusion": occlusion})
        assert (config.occlusion_guides(found), config.headline_guide(found)) == (guides, guide)


def test_merged_configuration_is_written(tmp_path):
    config.write_config(tmp_path / "config.yaml", config.complete({"seed": 7}))
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert written["seed"] == 7 and written["maps"]["grid"] == 112


@pytest.mark.parametrize(
    ("source", "faces", "chosen"),
    [
        ({}, {}, ("given", "given", "given")),
        ({"kind": "folder"}, {}, ("mtcnn", "pyfacer", "none")),
        ({"kind": "folder"}, {"parser_weights": None, "landmark_weights": "w.dat"}, ("mtcnn", "landmarks", "dlib")),
        ({"kind": "fgnet"}, {"parser_weights": None}, ("mtcnn", "landmarks", "given")),
        (
            {"kind": "folder", "folder": {"landmark_suffix": ".npy"}},
            {"parser_weights": None},
            ("given", "landmarks", "given"),
        ),
        ({}, {"label_maps": "landmarks"}, ("given", "landmarks", "given")),
        ({"kind": "folder"}, {"landmark_weights": "w.dat"}, ("mtcnn", "pyfacer", "dlib")),
        ({"kind": "folder", "folder": {"label_suffix": ".png", "landmark_suffix": ".pts"}}, {}, ("given",) * 3),
        ({"kind": "folder", "folder": {"label_suffix": ".png"}}, {"detector": "none"}, ("none", "given", "none")),
        ({"kind": "fgnet"}, {}, ("mtcnn", "pyfacer", "given")),
        ({"kind": "fgnet"}, {"landmark_weights": "w.dat"}, ("mtcnn", "pyfacer", "dlib")),
        ({"kind": "celebamask_hq"}, {}, ("mtcnn", "given", "none")),
        ({}, {"detector": "mtcnn", "landmarks": "none"}, ("mtcnn", "given", "none")),
    ],
)
def test_auto_takes_what_came_with_the_pictures_else_a_model(source, faces, chosen, no_model_package):
    assert auto_faces(source, faces) == (*chosen, faces.get("landmark_weights"))


@pytest.mark.parametrize(
    ("source", "faces", "chosen"),
    [
        ({}, {}, ("given", "given", "given", None)),  # nothing changes for the sample
        ({"kind": "folder"}, {}, ("mtcnn", "pyfacer", "dlib", "package")),
        ({"kind": "folder"}, {"parser_weights": None}, ("mtcnn", "landmarks", "dlib", "package")),
        ({"kind": "folder"}, {"landmark_weights": "w.dat"}, ("mtcnn", "pyfacer", "dlib", "w.dat")),
        ({"kind": "folder"}, {"landmark_weights": "package"}, ("mtcnn", "pyfacer", "dlib", "package")),
        ({"kind": "folder"}, {"landmarks": "none"}, ("mtcnn", "pyfacer", "none", None)),
        ({"kind": "folder"}, {"landmarks": "dlib"}, ("mtcnn", "pyfacer", "dlib", "package")),
        ({"kind": "folder", "folder": {"landmark_suffix": ".pts"}}, {}, ("given", "pyfacer", "given", None)),
        ({"kind": "fgnet"}, {}, ("mtcnn", "pyfacer", "dlib", "package")),
        ({"kind": "fgnet"}, {"landmarks": "given"}, ("mtcnn", "pyfacer", "given", None)),
        ({"kind": "celebamask_hq"}, {"detector": "none"}, ("none", "given", "dlib", "package")),
    ],
)
def test_the_installed_package_s_landmarks_come_after_those_of_all_pictures_and_a_file(
    source, faces, chosen, model_package_here
):
    assert auto_faces(source, faces) == chosen


def auto_faces(source, faces):
    """Detector, label maps, landmarks and their file, as jobs are told."""
    sources = {"folder": {"path": "p"}, "fgnet": {"path": "p"}, "celebamask_hq": {"path": "p", "identity_file": "i"}}
    given = {"source": sources | source, "faces": {"parser_weights": "p.pt"} | faces}
    given["source"]["folder"] = {"path": "p"} | given["source"]["folder"]
    found = config.faces_settings(config.complete(given))
    return tuple(found[key] for key in ("detector", "label_maps", "landmarks", "landmark_weights"))


def test_where_the_package_lies_is_no_part_of_what_jobs_are_told(model_package_here):
    found = config.complete({"source": {"kind": "folder", "folder": {"path": "p"}}, "root": "data"})
    assert config.face_model_files(found) == ["package"]
    assert str(model_package_here) not in repr(config.faces_settings(found)) + repr(config.decided(found))
    with pytest.raises(
        config.ConfigError, match=r"faces\.landmark_sha256 is 0+; allowed: null, as the package's file has"
    ):
        config.complete({"faces": {"landmarks": "dlib", "landmark_sha256": "0" * 64}})
    known = model_package.LANDMARKS.sha256.upper()
    config.complete({"faces": {"landmarks": "dlib", "landmark_sha256": known}})
    config.complete({"faces": {"landmark_sha256": "0" * 64}})  # of no use: the sample's landmarks come with it


def test_a_package_that_is_not_needed_need_not_be_installed(no_model_package):
    assert config.face_model_files(config.complete({"faces": {"landmark_weights": "package"}})) == []


def test_model_files_are_those_that_the_choices_need():
    given = {"source": {"kind": "folder", "folder": {"path": "p"}}, "faces": {"parser_weights": "download"}}
    with pytest.raises(
        config.ConfigError, match=r"faces\.parser_weights is 'download' and faces\.parser_sha256 is null"
    ):
        config.complete(given)
    given["faces"] |= {"parser_sha256": "0" * 64}
    given["faces"] |= {"detector_weights": "unused.pth", "landmark_weights": "w.dat"}
    assert config.face_model_files(config.complete(given | {"root": "data"})) == ["download", "data/w.dat"]
    assert config.face_model_files(config.complete({})) == []


def test_localisation_is_part_of_runs_on_the_sample_and_of_others_if_asked_for():
    from_folder = {"kind": "folder", "folder": {"path": "p", "label_suffix": ".png", "landmark_suffix": ".npy"}}
    for source, when, wanted in (
        ({}, "sample", True),
        ({}, "never", False),
        (from_folder, "sample", False),
        (from_folder, "always", True),
    ):
        found = config.complete({"source": source, "localisation": {"when": when}})
        assert config.wants_localisation(found) == wanted


def test_a_recogniser_of_ones_own_serves_another_world():
    entry = {"architecture": "iresnet18", "weights": "le.pth", "input_size": [112, 112], "layers": ["conv1"]}
    entry |= {"mean": [127.5] * 3, "std": [127.5] * 3}
    found = config.complete({"localisation": {"regions": ["le"]}, "recognisers": {"sample_le": entry}})
    assert found["localisation"]["regions"] == ["le"]
    assert config.recogniser_entries(found)["sample_le"]["weights"] == "le.pth"


def test_ages_are_looked_for_where_names_say_them():
    assert config.age_pattern(config.complete({})) is None
    assert config.age_pattern(config.complete({"age_pattern": "(.)"})) == "(.)"
    assert config.age_pattern({"age_pattern": None, "source": {"kind": "fgnet"}}) == Fgnet.age_pattern


def of_people(tmp_path, text):
    (tmp_path / "people.csv").write_text(text)
    return {"root": str(tmp_path), "demographics": "people.csv"}


def test_a_table_of_other_people_stops_before_the_first_job(tmp_path):
    with pytest.raises(config.ConfigError, match=r"demographics: .*people\.csv: nobody of this run is in it: the"):
        config.complete(of_people(tmp_path, "identity,gender\ns0,male\n"))


def test_people_who_are_in_one_list_alone_are_said(tmp_path):
    given = of_people(tmp_path, "identity,gender\ns000,male\nzoe,male\n")
    found = config.complete(given | {"source": {"sample": {"identities": 3}}})
    assert (
        "people.csv: 2 of the run's 3 people are not in it: 's001', 's002'; 1 people in it"
        in config.unmatched_people(found)
    )
    found = config.complete(given | {"source": {"sample": {"identities": 1}}})
    assert "1 people in it are not in the run: 'zoe'; missing_people.csv will" in config.unmatched_people(found)
    assert config.unmatched_people(config.complete({})) == ""


def test_people_of_a_list_that_is_not_read_yet_stop_nothing(tmp_path):
    (tmp_path / "list.csv").write_text("")
    given = of_people(tmp_path, "identity,gender\nnm1,male\n") | {"scraping": {"contact": "me@example.org"}}
    source = {"kind": "imdb_face", "imdb_face": {"path": "list.csv"}}
    found = config.complete(given | {"source": source, "faces": {"parser_weights": "parser.pt"}})
    assert config.unmatched_people(found) == "" and config.attributes(found) == ("gender",)


@pytest.mark.parametrize("name", [37, True, datetime.date(2001, 1, 1)])
def test_a_name_that_yaml_takes_for_something_else_is_told(name):
    with pytest.raises(config.ConfigError, match="put such a name in quotation marks"):
        config.complete({"source": {"kind": "folder", "folder": {"path": "p", "include": [name]}}})


def test_a_source_may_tell_groups(tmp_path):
    (tmp_path / "p" / "female" / "ann").mkdir(parents=True)
    (tmp_path / "p" / "female" / "ann" / "a.jpg").write_bytes(b"")
    folder = {"path": "p", "layout": "gender/identity/image"}
    source = {"kind": "folder", "folder": folder}
    given = of_people(tmp_path, "identity,ethnicity\nann,African\n") | {"faces": {"parser_weights": "parser.pt"}}
    assert config.attributes(config.complete(given | {"source": source})) == ("gender", "ethnicity")
    assert config.attributes(config.complete(given | {"source": source, "demographics": None})) == ("gender",)


def test_groups_are_those_of_the_table_of_people(tmp_path):
    assert config.attributes(config.complete({})) == ()
    (tmp_path / "people.csv").write_text("identity,ethnicity\ns000,African\n")
    assert config.attributes(config.complete({"root": str(tmp_path), "demographics": "people.csv"})) == ("ethnicity",)
