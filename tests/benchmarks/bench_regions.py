"""Regions drawn from landmarks: how far they agree with label maps, and how far tables of the regions move.

    PYTHONPATH=workflow_scripts [LEAM_REAL=FOLDER] python tests/benchmarks/bench_regions.py [--people 12] [--images 6]

Intersection over union of each region's pixels, all images together, in crops of 112 px, with

- sample: the exact label maps of rendered people;
- given: label maps that lie beside aligned faces (FOLDER/faces), landmarks by dlib;
- parser: those of the parser in FOLDER/models, on the photographs of FOLDER/photos, landmarks by dlib.

dlib's landmark file is that of the installed package. The regions' shares of the area move by so many percentage
points, mean absolute difference over the regions that are drawn, and of the background; and so do LEAM's shares, whole
model, under the sample's sample_arcface, whose maps are counted in either label maps. Last, the overlap at other values
of the polygons' constants, from which these were chosen: the mean of sample and given, over the region that each of
them decides.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from leam import maps, storage
from leam.analyses.localisation.measure import render_world
from leam.analyses.regions.measure import count_regions
from leam.analyses.regions.table import share_regions
from leam.faces import polygons
from leam.faces import stage as faces_stage
from leam.faces.detection import face_of_picture, is_known
from leam.faces.landmarks import LandmarkPredictor
from leam.faces.polygons import PAINTED, landmark_regions
from leam.images import decode, decode_labels
from leam.model_package import LANDMARKS
from leam.recognisers import registry
from leam.regions import FULL, REGIONS, TOP_1, WHOLE_MODEL, area_percents
from leam.sample import training

SIDE = 112
KNOWN = ("background", *PAINTED)
MODEL = "sample_arcface"
TRIED = {
    "FOREHEAD": ((0.5, 0.6, 0.7, 0.75, 0.8, 0.9), ("face",)),
    "BROW": ((0.02, 0.03, 0.035, 0.04, 0.05), ("rb", "lb")),
    "WING": ((0.1, 0.15, 0.2, 0.25, 0.3), ("nose",)),
    "BRIDGE": ((0.1, 0.15, 0.2, 0.25, 0.3), ("nose",)),
}
Compared = tuple[np.ndarray, np.ndarray]  # landmarks (N, 68, 2) px and label maps (N, 112, 112) of the same crops


def overlaps(landmarks: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Intersection over union per region, all images together."""
    drawn = np.stack([landmark_regions(points, SIDE) for points in landmarks])
    found = {}
    for region in KNOWN:
        ours, theirs = drawn == REGIONS.index(region), labels == REGIONS.index(region)
        found[region] = float((ours & theirs).sum() / (ours | theirs).sum())
    return found


def report_moved(what: str, moved: dict[str, float]) -> None:
    """moved : percentage points of each region"""
    drawn = np.abs([moved[region] for region in PAINTED]).mean()
    for whose, points in (("drawn", drawn), ("background", abs(moved["background"]))):
        print(f"figure moved_{what}_{whose} {points:.2f} percentage_points", flush=True)


def moved_areas(landmarks: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Percentage points of each region."""
    drawn = np.stack([landmark_regions(points, SIDE) for points in landmarks])
    return dict(zip(REGIONS, area_percents(drawn) - area_percents(labels), strict=True))


def faces_of(path: Path) -> Compared:
    """Landmarks and label maps of all people of a faces file."""
    with storage.open_shard(path, "faces") as shard:
        found = [storage.read_faces(shard, name) for name in storage.identities(shard)]
    return tuple(np.concatenate([getattr(faces, name) for faces in found]) for name in ("landmarks", "regions"))


def parse_sample(folder: Path, people: int, images: int) -> dict[str, Path]:
    """Faces files of the same rendered people: with their exact label maps, and with those by landmarks."""
    files = {kind: folder / f"{kind}.h5" for kind in ("given", "landmarks")}
    render_world(None, folder, files["given"], people, images, 192, 0)
    settings = {"crop_margin": training.CROP_MARGIN, "crop_size": training.INPUT_PX, "label_maps": "landmarks"}
    faces_stage.parse_faces(folder / "images.h5", files["landmarks"], settings)
    return files


def shares(folder: Path, faces: Path) -> pd.DataFrame:
    """Rows of regions.csv of the whole model, by polarity, pixel set and region."""
    computed, outputs = folder / f"maps_{faces.name}", (folder / "counts.parquet", folder / "images.parquet")
    maps.compute_maps(faces, computed, registry.recogniser(MODEL, None), maps.MapSettings(), device="cpu")
    count_regions([computed], [faces], *outputs, MODEL)
    table = share_regions(pd.read_parquet(outputs[0]))
    table = table[(table["layer"] == WHOLE_MODEL) & table["threshold"].isin([FULL, TOP_1])]
    return table.set_index(["polarity", "threshold", "region"]).sort_index()


def given_faces(folder: Path) -> Compared:
    """Aligned faces with label maps beside them, as far as dlib finds landmarks."""
    predictor, found = LandmarkPredictor(LANDMARKS.path()), []
    files = sorted(folder.glob("faces/*/*.regions.png"))
    for file in files:
        pixels = decode(file.with_name(file.name.replace(".regions", "")).read_bytes())
        points = predictor(pixels, face_of_picture(pixels.shape)[0])
        if is_known(points):
            found.append((points, np.asarray(decode_labels(file.read_bytes(), pixels.shape[:2]))))
    print(f"given: {len(found)} of {len(files)} faces have landmarks")
    return tuple(map(np.stack, zip(*found, strict=True)))


def parsed_photographs(folder: Path) -> Compared:
    """Crops of photographs, their label maps by the parser."""
    (parser,) = folder.glob("models/face_parsing*.pt")
    chosen = {"detector": "mtcnn", "label_maps": "pyfacer", "landmarks": "dlib", "landmark_weights": "package"}
    settings = faces_stage.face_settings(chosen | {"parser_weights": str(parser), "landmarks_required": True})
    models, found, total = faces_stage.load_models(settings, "cpu"), [], 0
    for person in sorted(folder.glob("photos/q*")):
        files = sorted(person.glob("*.jpg"))
        pictures = storage.Pictures(person.name, [file.name for file in files], [file.read_bytes() for file in files])
        faces, _ = faces_stage.parse_identity(pictures, settings, models)
        total += len(files)
        if faces is not None:
            found.append((faces.landmarks, faces.regions))
    landmarks, regions = (np.concatenate(parts) for parts in zip(*found, strict=True))
    print(f"parser: {len(landmarks)} of {total} photographs have a face with landmarks")
    return landmarks, regions


def report_shares(folder: Path, files: dict[str, Path]) -> None:
    ours, theirs = (shares(folder, files[kind]) for kind in ("landmarks", "given"))
    moved = ours["percent"] - theirs["percent"]
    for cell, points in moved.groupby(level=["polarity", "threshold"]):
        report_moved(f"percent_{'_'.join(cell)}", points.droplevel([0, 1]).to_dict())
    for region in KNOWN:
        row = "similarity", TOP_1, region
        both = (
            f"{theirs.loc[row, 'percent']:.2f} percent of the top 1 %, {ours.loc[row, 'percent']:.2f} by polygons; area"
        )
        print(f"{region}: {both} {theirs.loc[row, 'area_percent']:.2f}, {ours.loc[row, 'area_percent']:.2f}")


def report_constants(compared: dict[str, Compared]) -> None:
    for name, (values, regions) in TRIED.items():
        chosen = getattr(polygons, name)
        for value in values:
            setattr(polygons, name, value)
            mean = np.mean([[overlaps(*both)[region] for region in regions] for both in compared.values()])
            print(f"figure iou_at_{name.lower()}_{value:g} {mean:.3f} share")
        setattr(polygons, name, chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--images", type=int, default=6)
    arguments, real = parser.parse_args(), os.environ.get("LEAM_REAL")
    with tempfile.TemporaryDirectory() as scratch:
        files = parse_sample(Path(scratch), arguments.people, arguments.images)
        compared = {"sample": faces_of(files["given"])}
        if real:
            compared |= {"given": given_faces(Path(real)), "parser": parsed_photographs(Path(real))}
        for kind, both in compared.items():
            for region, share in overlaps(*both).items():
                print(f"figure iou_{kind}_{region} {share:.3f} share")
            report_moved(f"area_{kind}", moved_areas(*both))
        report_shares(Path(scratch), files)
        if real:
            report_constants({kind: compared[kind] for kind in ("sample", "given")})


if __name__ == "__main__":
    main()
