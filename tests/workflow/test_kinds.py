"""Every kind of source with every optional stage on: planned here, run to the last table and figure by the siege."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leam import sources
from leam.regions import CELEBAMASK_HQ, REGIONS
from leam.sample import rendering
from leam.sources import celebamask_hq
from picture_server import answer, serve
from runs import ABSENT_MODELS, jobs, snakemake, write_config
from small_recognisers import NARROW

REAL = os.environ.get("LEAM_REAL")
PEOPLE, IMAGES, SIDE = 4, 3, 128
GIVEN = {"detector": "none", "label_maps": "given", "crop_mode": "whole", "crop_size": 112}
ONE_LAYER = NARROW | {"layers": ["conv1", "layer1.0.conv1"]}


def scenes():
    """(person, image, picture with its label map and landmarks), of rendered people."""
    for person in range(PEOPLE):
        for image, scene in enumerate(rendering.render_person(3, person, list(range(IMAGES)), SIDE)):
            yield person, image, scene


def save(pixels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def folder(root):
    """As people have it, in folders whose names are of no use to a formatter."""
    rects = ["identity,image,left,top,right,bottom"]
    for person, image, scene in scenes():
        picture = root / "peo{x}ple" / f"{{name}} {person}" / f"{20 + 5 * image}_{{a}}.png"
        save(scene.image, picture)
        save(scene.regions, picture.with_suffix(".regions.png"))
        np.save(picture.with_suffix(".npy"), scene.landmarks)
        rects.append(f"{picture.parent.name},{picture.name},5,5,{SIDE - 5},{SIDE - 5}")
    (root / "rects.csv").write_text("\n".join(rects))
    section = {"path": str(root / "peo{x}ple"), "label_suffix": ".regions.png", "landmark_suffix": ".npy"}
    section |= {"rects": str(root / "rects.csv")}
    return section, GIVEN | {"landmarks": "given"}, [f"{{name}} {person}" for person in range(PEOPLE)]


def fgnet(root):
    for person, image, scene in scenes():
        name = f"{person + 1:03d}A{20 + 5 * image:02d}"
        save(scene.image, root / "images" / f"{name}.JPG")
        rows = "\n".join(f"{x:.2f} {y:.2f}" for x, y in scene.landmarks + 1)
        (root / "points").mkdir(exist_ok=True)
        (root / "points" / f"{name.lower()}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n")
    return (
        {"path": str(root / "images"), "landmark_order": "ibug"},
        ABSENT_MODELS,
        [f"{person + 1:03d}" for person in range(PEOPLE)],
    )


def celebamask(root):
    rows, people = ["idx orig_idx orig_file"], []
    for number, (person, _, scene) in enumerate(scenes()):
        save(scene.image, root / celebamask_hq.PICTURES / f"{number}.jpg")
        for label in np.unique(scene.regions[scene.regions > 0]):
            part = celebamask_hq.MASK_PARTS[CELEBAMASK_HQ.index(REGIONS[label]) - 1]
            mask = np.where(scene.regions == label, 255, 0).astype(np.uint8)
            save(mask, root / celebamask_hq.MASKS / "0" / f"{number:05d}_{part}.png")
        rows.append(f"{number} {number} {number:06d}.jpg")
        people.append(f"{number:06d}.jpg {person + 1}")
    (root / celebamask_hq.MAPPING).write_text("\n".join([*rows, ""]))
    (root / "identity.txt").write_text("\n".join([*people, ""]))
    section = {"path": str(root), "identity_file": str(root / "identity.txt")}
    return section, GIVEN, [f"{person + 1:05d}" for person in range(PEOPLE)]


def imdb(root, server=None):
    lines = ["name,index,image,rect,height width,url"]
    for person, image, scene in scenes():
        save(scene.image, root / f"{person}" / f"{image}.png")
        if server is not None:
            path = f"/{person}/{image}.png"
            server.routes[path] = answer((root / path[1:]).read_bytes())
        url = server.url(path) if server else f"https://m.media-amazon.com/{person}-{image}.jpg"
        lines.append(f"A_B,nm{person + 1:07d},{image}.png,5 5 {SIDE - 5} {SIDE - 5},{SIDE} {SIDE},{url}")
    (root / "list.csv").write_text("\n".join([*lines, ""]))
    section = {"path": str(root / "list.csv"), "identities": PEOPLE, "min_images": 2, "max_images": IMAGES}
    return section, ABSENT_MODELS, [f"nm{person + 1:07d}" for person in range(PEOPLE)]


def sample(_root):
    return {"identities": PEOPLE, "images": IMAGES, "size": 112}, {}, [f"s{person:03d}" for person in range(PEOPLE)]


KINDS = {"folder": folder, "fgnet": fgnet, "celebamask_hq": celebamask, "imdb_face": imdb, "sample": sample}


def configured(root, kind, section, faces, people, **changes):
    table = pd.DataFrame({"identity": people})
    table["gender"] = ["female", "male"] * (PEOPLE // 2)
    table["ethnicity"] = ["Caucasian", "African"] * (PEOPLE // 2)
    table.to_csv(root / "people.csv", index=False)
    return write_config(
        root / "mine.yaml",
        **{
            "identities_per_job": 2,
            "source": {"kind": kind, kind: section},
            "faces": faces,
            "demographics": str(root / "people.csv"),
            "age_pattern": r"(\d{2})",
            "scraping": {"contact": "me@example.org"},
            "models": ["own"],
            "recognisers": {"own": ONE_LAYER | {"origin": "{who} <made> it", "licence": "{none}"}},
            "calibration": {"when": "never"},
            "localisation": {"when": "always", "regions": ["nose"], "identities": 2, "images": 2},
            "occlusion": {"percents": [1], "fills": ["black", "mean"]},
            "similarity": {"pairs": 20},
        }
        | changes,
    )


def test_every_kind_is_tried():
    assert sorted(KINDS) == sources.kinds()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_planned_with_every_optional_stage(tmp_path, kind):
    file = configured(tmp_path, kind, *KINDS[kind](tmp_path))
    planned = jobs(snakemake("-n", "--configfile", file, directory=tmp_path))
    optional = {"measure_ages", "tabulate_groups", "assess_significance", "measure_localisation", "plot_ages"}
    assert optional <= set(planned)


def check_everything_is_made(root, file, people):
    """Run to the end; every table and figure is there, and the tables name the people of the run."""
    snakemake("--cores", 2, "--configfile", file, directory=root)
    results = root / "results"
    retained = pd.read_csv(results / "tables" / "retention.csv")
    assert len(retained) > 0 and len(list((results / "figures").glob("*.png"))) >= 12
    groups = pd.read_csv(results / "tables" / "groups.csv")
    assert {"female", "male", "Caucasian", "African"} <= set(groups["group"])
    known = pd.read_csv(results / "tables" / "people.csv", dtype=str)
    assert set(known["identity"]) == set(people) and set(known["gender"]) == {"female", "male"}
    assert len(pd.read_csv(results / "tables" / "missing_people.csv")) == 0
    assert len(pd.read_csv(results / "tables" / "age_slopes.csv")) > 0
    assert "<made>" not in (results / "explorer" / "index.html").read_text()


@pytest.mark.siege
@pytest.mark.parametrize("kind", ["folder", "celebamask_hq", "sample"])
def test_every_kind_that_brings_label_maps_is_run_to_the_last_figure(tmp_path, kind):
    section, faces, people = KINDS[kind](tmp_path)
    check_everything_is_made(tmp_path, configured(tmp_path, kind, section, faces, people), people)


@pytest.mark.siege
@pytest.mark.skipif(not REAL, reason="no real photographs (LEAM_REAL is to name a folder that has them)")
@pytest.mark.parametrize("kind", ["fgnet", "imdb_face"])
def test_every_kind_whose_faces_are_parsed_is_run_to_the_last_figure(tmp_path, kind):
    models = Path(REAL) / "models"
    parsed = {"detector": "none", "label_maps": "pyfacer", "landmarks": "given", "crop_mode": "whole"}
    with serve() as server:
        given = {"server": server} if kind == "imdb_face" else {}
        section, _, people = KINDS[kind](tmp_path, **given)
        faces = parsed if kind == "fgnet" else parsed | {"detector": "mtcnn", "landmarks": "none"}
        faces |= {"parser_weights": str(models / "face_parsing_celebm_standin_jit.pt")}
        hosts = {"hosts": [server.place], "allow_private_addresses": True, "requests_per_second": 200}
        scraping = {"contact": "me@example.org"} | hosts
        file = configured(tmp_path, kind, section, faces, people, scraping=scraping)
        check_everything_is_made(tmp_path, file, people)
