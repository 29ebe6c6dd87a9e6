"""leam.sources: every kind has its class; what is common to them, and the rendered sample."""

import pytest
import yaml

from leam import config, sources
from leam.sources import base, source_of
from listed import table

SCHEMA = yaml.safe_load(config.SCHEMA_PATH.read_text())["properties"]["source"]["properties"]


def test_every_kind_has_a_class_and_a_section_with_the_settings_that_the_class_names():
    assert set(sources.kinds()) == set(SCHEMA["kind"]["enum"]) == set(SCHEMA) - {"kind"}
    for kind in sources.kinds():
        found = sources.source_class(kind)
        assert issubclass(found, base.Source) and found.words
        assert found.pictures in (base.RENDERED, base.IMPORTED, base.SCRAPED)
        named = {*found.needs, *found.paths, found.label_setting, found.landmark_setting} - {None}
        assert named <= set(SCHEMA[kind]["properties"])
        assert not issubclass(found, base.DataSet) or {"min_images", "max_images"} <= set(SCHEMA[kind]["properties"])


def test_unknown_source_is_named():
    with pytest.raises(ValueError, match=r"'imdb': expected one of .*'fgnet', 'folder', .*'sample'"):
        source_of({"kind": "imdb"})


def test_sample_has_every_picture_of_every_person(tmp_path):
    found = table(tmp_path, source_of({"kind": "sample", "identities": 3, "images": 2}), per_job=2)
    assert list(found.identity + "/" + found.image) == [f"s00{i}/0{k}" for i in range(3) for k in range(2)]
    assert list(found.shard) == ["00000"] * 4 + ["00001"] * 2
    assert (found.url == "").all()


def test_sample_names_sort_as_they_count():
    names = source_of({"kind": "sample", "identities": 1001}).identities()
    assert names == sorted(names)
    assert names[-1] == "s1000"
    assert source_of({"kind": "sample"}).fingerprint() == ""


def test_images_are_drawn_with_the_seed_and_the_identity():
    settings = {"kind": "fgnet", "min_images": 2, "max_images": None, "seed": 0}
    people = {f"{k:03d}": [f"{k:03d}A{age:02d}.JPG" for age in range(20)] for k in range(10)}
    chosen = [base.choose_people(people, settings | {"max_images": 5, "seed": seed}) for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert all(len(group) == 5 and group == sorted(group) for group in chosen[0].values())
    assert len({tuple(name[4:6] for name in group) for group in chosen[0].values()}) > 5
    fewer = base.choose_people({k: people[k] for k in ("003", "004")}, settings | {"max_images": 5})
    assert fewer["003"] == chosen[0]["003"]  # whoever else is there
    with pytest.raises(ValueError, match="no one of 10 people has min_images, 21, pictures"):
        base.choose_people(people, settings | {"min_images": 21})
