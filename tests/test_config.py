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
IMDB_FACE = {"kind": "imdb_face", "imdb_face": {"path": "absent.csv", "min_images": 30}}


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
        ({"demographics": "nowhere.csv"}, "config: demographics: .*nowhere.csv"),
        ({"source": {"kind": "imdb_face"}}, "source.imdb_face.path is null; source.kind imdb_face needs a path there"),
        ({"source": IMDB_FACE}, "config: source.imdb_face.path: no such file: absent.csv"),
        ({"source": IMDB_FACE}, "config: scraping.contact is null; source.kind imdb_face needs an e-mail address"),
        ({"source": IMDB_FACE}, "config: source.imdb_face.min_images is 30; allowed: at most max_images, 20"),
        ({"source": IMDB_FACE}, "config: faces.landmarks is 'given', but IMDb-Face comes without"),
        ({"scraping": {"contact": "me\nX-Evil: 1"}}, "scraping.contact is .*; allowed: string or null, of the form"),
        ({"scraping": {"hosts": ["http://a.org"]}}, "scraping.hosts.0 is 'http://a.org'; allowed: string, of the form"),
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
    given |= {"faces": {"detector": "none", "landmarks": "none", "regions": "given"}}
    with pytest.raises(config.ConfigError, match=r"faces\.regions is 'given', but IMDb-Face comes"):
        config.complete(given)
    given["faces"] = {"detector": "retinaface", "detector_weights": "x", "landmarks": "none"}
    given["faces"] |= {"regions": "pyfacer", "parser_weights": "x"}
    source = config.source_settings(config.complete(given))
    assert source["seed"] == 7 and source["path"] == str(tmp_path / "list.csv")


def test_merged_configuration_is_written(tmp_path):
    config.write_config(tmp_path / "config.yaml", config.complete({"seed": 7}))
    written = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert written["seed"] == 7 and written["maps"]["grid"] == 112
