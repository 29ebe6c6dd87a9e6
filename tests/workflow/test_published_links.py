"""The workflow on a list of published links: planned without reading it, fetched from a server on loopback."""

import random

import numpy as np
import pandas as pd
import pytest

import strikes
from leam import storage
from leam.sample import rendering
from picture_server import answer, redirect, serve
from runs import ABSENT_MODELS, jobs, snakemake, write_config


def settings(path, **changes):
    """A run on a list of IMDb-Face; planning needs no weights."""
    return {
        "source": {"kind": "imdb_face", "imdb_face": {"path": str(path)} | changes},
        "scraping": {"contact": "me@example.org"},
        "faces": ABSENT_MODELS,
    }


def test_a_run_is_planned_without_reading_the_list(tmp_path):
    (tmp_path / "list.csv").write_text("not even the header")
    given = settings(tmp_path / "list.csv") | {"identities_per_job": 100}
    found = jobs(snakemake("-n", "--configfile", write_config(tmp_path / "mine.yaml", **given), directory=tmp_path))
    assert (found["list_links"], found["scrape_images"], found["parse_faces"]) == (1, 10, 10)
    assert found["tabulate_scraping"] == 1


@pytest.fixture
def people(tmp_path):
    """{identity: {image: encoded}} of three rendered people with four pictures of 96 px each."""
    rows = [(f"s{person:03d}", f"{image:02d}", "00000") for person in range(3) for image in range(4)]
    pd.DataFrame(rows, columns=["identity", "image", "shard"]).to_parquet(tmp_path / "rendered.parquet")
    rendering.render_sample(tmp_path / "rendered.parquet", tmp_path / "rendered.h5", shard="00000", seed=0, size=96)
    with storage.open_shard(tmp_path / "rendered.h5", "images") as shard:
        found = [storage.read_pictures(shard, identity) for identity in storage.identities(shard)]
    return {f"nm000000{k}": dict(zip(each.images, each.encoded, strict=True)) for k, each in enumerate(found)}


def publish(server, people, folder):
    """A list of their pictures, which the server has but for one; the arguments of Snakemake that fetch them."""
    lines = ["name,index,image,rect,height width,url"]
    for identity, images in people.items():
        for image, encoded in images.items():
            server.routes[f"/{identity}/{image}.jpg"] = answer(encoded)
            link = server.url(f"/{identity}/{image}.jpg")
            lines.append(f"Some_One,{identity},{image},20 30 120 170,192 144,{link}")
    server.routes["/nm0000000/01.jpg"] = redirect("/nm0000000/02.jpg")
    server.routes["/nm0000001/03.jpg"] = answer(b"", 404)
    (folder / "list.csv").write_text("\n".join([*lines, "a,bad,row", ""]))
    given = settings(folder / "list.csv", identities=3, min_images=4, max_images=4) | {"identities_per_job": 2}
    given["scraping"] |= {"hosts": [server.place], "allow_private_addresses": True, "requests_per_second": 200}
    given["scraping"] |= {"keep_downloads": False}
    file = write_config(folder / "mine.yaml", **given)
    targets = ["results/images/00000.h5", "results/images/00001.h5", "results/tables/scraping.csv"]
    return [*targets, "--cores", 2, "--configfile", file]


def test_published_links_become_pictures(tmp_path, people):
    with serve() as server:
        snakemake(*publish(server, people, tmp_path), directory=tmp_path)
    results = tmp_path / "results"
    rejected = pd.read_csv(results / "links_rejected.csv")
    assert rejected.to_dict("records") == [{"line": 14, "reason": "3 fields: expected 6"}]
    ledger, pictures = {}, {}
    for number in (0, 1):
        with storage.open_shard(results / f"images/0000{number}.h5", "images") as shard:
            ledger |= {(row["identity"], row["image"]): row["status"] for row in storage.read_ledger(shard)}
            pictures |= {identity: storage.read_pictures(shard, identity) for identity in storage.identities(shard)}
    dead = {("nm0000000", "02"): "duplicate", ("nm0000001", "03"): "http 404"}
    assert ledger == {(identity, image): "ok" for identity in people for image in people[identity]} | dead
    assert pictures["nm0000002"].encoded == list(people["nm0000002"].values())
    rect = [20 * 96 / 144, 30 * 96 / 192, 120 * 96 / 144, 170 * 96 / 192]
    np.testing.assert_allclose(pictures["nm0000002"].rect, [rect] * 4, rtol=1e-6)
    table = pd.read_csv(results / "tables/scraping.csv").set_index(["shard", "status"])["links"]
    assert table["all"].to_dict() == {"all": 12, "alive": 11, "dead": 1, "ok": 10, "duplicate": 1, "http 404": 1}
    assert "Some_One" not in "".join(path.read_text() for path in results.rglob("*.csv"))


@pytest.mark.siege
def test_jobs_of_pictures_may_be_killed_at_any_moment(tmp_path, people):
    """Those that fetch them; and those that read them from a folder, and look for the model files of its faces."""
    with serve() as server:
        fetching = tmp_path / "fetching"
        fetching.mkdir()
        snakemake(*publish(server, people, fetching), "--skip-script-cleanup", directory=fetching)
        for number, script in enumerate(found := strikes.scripts(fetching)):
            strikes.check_strikes(script, 12, random.Random(number))
    for identity, images in people.items():
        (tmp_path / "people" / identity).mkdir(parents=True)
        for image, encoded in images.items():
            (tmp_path / "people" / identity / f"{image}.jpg").write_bytes(encoded)
    models = {key: str(tmp_path / "list.csv") for key in ("detector_weights", "parser_weights")}
    (tmp_path / "list.csv").write_text("a file that is read by nobody here")
    source = {"kind": "folder", "folder": {"path": str(tmp_path / "people")}}
    file = write_config(tmp_path / "mine.yaml", source=source, faces=ABSENT_MODELS | models)
    targets = ["results/images/00000.h5", "results/face_models/files.json"]
    snakemake(*targets, "--cores", 1, "--configfile", file, "--skip-script-cleanup", directory=tmp_path)
    for number, script in enumerate(read := strikes.scripts(tmp_path)):
        strikes.check_strikes(script, 12, random.Random(number))
    assert {script.rule for script in found} == {"list_links", "scrape_images", "tabulate_scraping"}
    assert {script.rule for script in read} == {"list_links", "import_images", "fetch_face_models"}
