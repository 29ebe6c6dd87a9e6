"""Copies of pictures in a folder of people: left out of a whole run by default, or kept, which waits for nobody."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leam import storage
from leam.sample import rendering
from runs import jobs, snakemake, write_config

PEOPLE = ("ann", "bob", "cat", "dan")


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """Four people in two shards, with label maps: ann has a picture as a JPEG too, bob and cat have one of dan's, in a
    file of another size, and cat is left with a single one."""
    folder = tmp_path_factory.mktemp("album")
    for number, (name, count) in enumerate(zip(PEOPLE, (3, 2, 1, 3), strict=True)):
        (folder / "people" / name).mkdir(parents=True)
        for k, scene in enumerate(rendering.render_person(7, number, list(range(count)), 128)):
            save(folder, name, f"{k}.png", scene.image, scene.regions)
    for name, image in (("bob", "9.png"), ("cat", "9.png"), ("ann", "9.jpg")):
        of = folder / "people" / ("ann" if name == "ann" else "dan")
        pixels, labels = (np.array(Image.open(of / f"0{kind}")) for kind in (".png", ".regions.png"))
        half = 1 if name == "ann" else 2
        save(folder, name, image, np.array(Image.fromarray(pixels).reduce(half)), labels[::half, ::half])
    return folder


def save(folder, name, image, pixels, labels):
    stem = folder / "people" / name / image.partition(".")[0]
    Image.fromarray(pixels).save(stem.parent / image, **({"quality": 60} if image.endswith("jpg") else {}))
    Image.fromarray(labels).save(f"{stem}.regions.png")


def configured(folder, results, duplicates):
    source = {"kind": "folder", "folder": {"path": str(folder / "people"), "label_suffix": ".regions.png"}}
    faces = {"detector": "none", "crop_mode": "whole", "duplicates": duplicates}
    given = {
        "results": results,
        "source": source,
        "faces": faces,
        "identities_per_job": 2,
        "models": ["sample_arcface"],
    }
    return write_config(folder / f"{results}.yaml", **given)


@pytest.mark.parametrize("duplicates", ["drop", "keep"])
def test_maps_wait_for_the_table_only_where_it_leaves_something_out(album, duplicates):
    file = configured(album, duplicates, duplicates)
    found = snakemake("-n", f"{duplicates}/maps/sample_arcface/00000.h5", "--configfile", file, directory=album)
    expected = {"find_duplicates": 1, "parse_faces": 2} if duplicates == "drop" else {"parse_faces": 1}
    assert {
        rule: count for rule, count in jobs(found).items() if rule in ("find_duplicates", "parse_faces")
    } == expected


@pytest.mark.slow
def test_copies_are_named_left_out_and_accounted_for(album):
    file = configured(album, "results", "drop")
    tables = [f"results/tables/{name}.csv" for name in ("duplicates", "retention", "discarded", "verification")]
    snakemake(*tables, "--cores", "2", "--configfile", file, directory=album)
    named, retention, discarded, verification = (
        pd.read_csv(album / table, dtype={"identity": str, "image": str}, keep_default_na=False) for table in tables
    )
    rows = named[["identity", "image", "other_identity", "alike", "copies"]].values.tolist()
    assert rows == [
        ["ann", "9.jpg", "ann", "near", 1],
        ["bob", "9.png", "cat", "file", 2],
        ["cat", "9.png", "bob", "file", 2],
        ["dan", "0.png", "bob", "near", 2],
    ]
    found = retention.set_index("identity")[["linked", "kept", "discarded"]].T.to_dict("list")
    assert found == {"ann": [4, 3, 1], "bob": [3, 2, 1], "cat": [2, 0, 2], "dan": [3, 2, 1], "all": [12, 7, 5]}
    reasons = {(row.identity, row.image): row.reason for row in discarded.itertuples()}
    assert reasons == {
        ("ann", "9.jpg"): "duplicate of 0.png",
        ("bob", "9.png"): "under another person too: cat, 9.png",
        ("cat", ""): storage.TOO_FEW,
        ("cat", "0.png"): storage.TOO_FEW,
        ("cat", "9.png"): "under another person too: bob, 9.png",
        ("dan", "0.png"): "under another person too: bob, 9.png",
    }
    assert set(discarded["stage"]) == {"duplicates"}
    assert (verification["images"][0], verification["identities"][0]) == (7, 3)
    with storage.open_shard(album / "results/maps/sample_arcface/00001.h5", "maps") as shard:
        assert storage.identities(shard) == ["dan"] and storage.read_images(shard, "dan") == ["1.png", "2.png"]
