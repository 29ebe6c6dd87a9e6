"""Every setting is described, defaults and file agree, and a wrong setting is said in one sentence."""

from pathlib import Path

import pytest
import yaml

from leam import config

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


@pytest.mark.parametrize(("key", "part"), [*leaves(SCHEMA), *leaves(ENTRY, "recognisers.NAME")])
def test_every_setting_has_description_unit_and_default(key, part):
    assert {"description", "unit", "default"} <= set(part), key


def test_config_yaml_holds_the_defaults_of_the_schema():
    written = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert config.complete({}) == written
    assert config.complete(written) == written


def test_recogniser_entries_of_the_schema_are_those_of_the_library():
    import dataclasses

    from leam.models import Recogniser

    assert set(ENTRY["properties"]) == {field.name for field in dataclasses.fields(Recogniser)} - {"name"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"maps": {"batch": 0}}, "config: maps.batch is 0; allowed: integer, at least 1, in images"),
        ({"maps": {"dtype": "half"}}, "config: maps.dtype is 'half'; allowed: float32 or float16"),
        ({"seeed": 1}, "config: seeed is no setting; allowed here: analysis, demographics"),
        ({"faces": {"crop": "box"}}, "config: faces.crop is no setting; allowed here: crop_margin, crop_mode"),
        ({"maps": {"top_percents": [0.1]}}, "maps.top_percents is .*; allowed: array, no entry twice, 1 among them"),
        ({"models": ["AF_R19"]}, "config: models: no recogniser is called 'AF_R19'; known are AF_R18"),
        ({"models": ["x"], "recognisers": {"x": {"architecture": "iresnet18"}}}, "input_size, mean, std, layers must"),
        ({"source": {"kind": "folder"}}, "config: source.folder.path is null; source.kind folder needs a path there"),
        ({"faces": {"regions": "pyfacer"}}, "faces.parser_weights is null; faces.regions pyfacer needs a path"),
        (
            {"faces": {"detector": "none", "landmarks": "none", "crop_mode": "aligned"}},
            "faces.crop_mode is 'aligned'; allowed only with a detector or landmarks",
        ),
        ({"source": {"sample": {"region": "chin"}}}, "source.sample.region is 'chin'; allowed: null or "),
        ({"occlusion": {"percent": 3}}, "occlusion.percent is 3; allowed: one of occlusion.percents: 0.1, 0.25"),
        ({"occlusion": {"guides": ["AF_R18"]}}, "occlusion.guides has 'AF_R18'; allowed: the models of this run"),
        (
            {"occlusion": {"guides": ["sample_arcface"], "guide": "sample_cosface"}},
            "occlusion.guide is 'sample_cosface'; allowed: null or one of the guides: sample_arcface",
        ),
        ({"occlusion": {"kinds": ["random"]}}, "occlusion.kinds is .*; allowed: array, no entry twice, image among"),
        ({"demographics": "nowhere.csv"}, "config: demographics: .*nowhere.csv"),
    ],
)
def test_a_wrong_setting_names_key_value_and_what_is_allowed(given, message):
    with pytest.raises(config.ConfigError, match=message):
        config.complete(given)


def test_all_faults_are_told_at_once():
    with pytest.raises(config.ConfigError) as error:
        config.complete({"maps": {"batch": 0, "grid": "x"}, "seed": -1})
    assert len(str(error.value).splitlines()) == 3


def test_paths_start_from_root():
    given = {"root": "data", "source": {"kind": "folder", "folder": {"path": "faces", "label_suffix": ".regions.png"}}}
    given |= {"faces": {"detector": "none", "landmarks": "none", "parser_weights": "/abs/parser.pt"}}
    given |= {"recognisers": {"AF_R18": {"weights": "w/backbone.pth"}}}
    found = config.complete(given)
    assert config.source_settings(found)["path"] == "data/faces"
    assert config.faces_settings(found)["parser_weights"] == "/abs/parser.pt"
    assert config.recogniser_entry(found, "AF_R18")["weights"] == "data/w/backbone.pth"


def test_the_papers_guide_is_taken_where_it_is_run():
    names = ["AF_R18", "IR_CASIA", "VGG_16"]
    for occlusion, guides, guide in (
        ({}, names, "IR_CASIA"),
        ({"guides": ["VGG_16", "AF_R18"]}, ["AF_R18", "VGG_16"], "AF_R18"),
        ({"guide": "VGG_16"}, names, "VGG_16"),
    ):
        found = config.complete({"models": names, "occlusion": occlusion})
        assert (config.occlusion_guides(found), config.paper_guide(found)) == (guides, guide)


def test_merged_configuration_is_written(tmp_path):
    config.write_config(tmp_path / "config.yaml", config.complete({"seed": 7}))
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert written["seed"] == 7 and written["maps"]["grid"] == 112
