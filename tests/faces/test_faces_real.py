"""leam.faces on real photographs, which are not part of the project (LEAM_REAL says where they are).

Nothing of them is written anywhere but to pytest's temporary folder.
"""

import dataclasses
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from sklearn.metrics import roc_auc_score

from leam import images, links, storage
from leam.embedding import normalise
from leam.faces import detection, frames
from leam.faces import stage as faces_stage
from leam.recognisers import networks, registry
from leam.regions import REGIONS
from listed import people_of

REAL = Path(os.environ.get("LEAM_REAL", "unset"))
WEIGHTS = {
    "detector_weights": str(REAL / "models" / "retinaface_mobilenet0.25.pth"),
    "parser_weights": str(REAL / "models" / "face_parsing_celebm_standin_jit.pt"),
    "landmark_weights": str(REAL / "models" / "shape_predictor_68_standin.dat"),
}
PHOTOGRAPHS = {"detector": "retinaface", "label_maps": "pyfacer", "landmarks": "dlib"}

pytestmark = [
    pytest.mark.skipif(not REAL.is_dir(), reason="no real photographs (LEAM_REAL is to name a folder that has them)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def imported(folder, where, include=None, **options):
    """The images shard of some identities of a folder."""
    source = people_of(folder, include=include, **options)
    links.list_links(where / "links.parquet", source=source, identities_per_job=1000)
    images.import_images(where / "links.parquet", where / "images.h5", shard="00000", source=source)
    return where / "images.h5"


def parsed(shard_path, output, **settings):
    """{identity: faces} and {(identity, image): reason}."""
    faces_stage.parse_faces(shard_path, output, WEIGHTS | settings, device="cpu", threads=1)
    with storage.open_shard(output, "faces") as shard:
        reasons = {(row.identity, row.image): row.reason for row in storage.read_discarded(shard)}
        return {name: storage.read_faces(shard, name) for name in storage.identities(shard)}, reasons


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    pytest.importorskip("facer")
    return imported(REAL / "photos", tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module", params=[("mtcnn", "box"), ("mtcnn", "aligned"), ("retinaface", "box")])
def people(request, photographs):
    detector, mode = request.param
    settings = PHOTOGRAPHS | {"detector": detector, "crop_mode": mode, "crop_size": 224, "crop_margin": 0.2}
    return parsed(photographs, photographs.with_name(f"{detector}.{mode}.h5"), **settings)


@pytest.mark.parametrize("align_by", ["points", "landmarks"])
def test_one_aligned_crop_serves_recognisers_of_two_alignments(photographs, tmp_path, align_by):
    """ArcFace's two and dlib's see their own windows of it: 38 genuine pairs, 262 of two people."""
    settings = {"detector": "mtcnn", "label_maps": "landmarks", "landmarks": "dlib", "landmark_weights": "package"}
    settings |= {"crop_mode": "aligned", "crop_margin": 0.125, "crop_size": 210, "align_by": align_by}
    faces_stage.parse_faces(photographs, tmp_path / "faces.h5", settings, device="cpu", threads=1)
    with storage.open_shard(tmp_path / "faces.h5", "faces") as shard:
        people = [storage.read_faces(shard, name) for name in storage.identities(shard)]
    crops = np.concatenate([person.crops for person in people])
    who = np.concatenate([[person.identity] * len(person.images) for person in people])
    one, other = np.triu_indices(len(crops), 1)
    assert len(crops) == 25
    described = yaml.safe_load((Path(__file__).parents[2] / "docs/examples/photos.yaml").read_text())["recognisers"]
    for name in ("mobilefacenet_y1", "mobilefacenet_casia", "dlib_resnet"):
        entry = dict(described.get(name, {}))
        entry |= {"weights": str(REAL / entry["weights"])} if entry else {}
        plain = registry.recogniser(name, entry)
        seen = dataclasses.replace(plain, window=registry.window_in_crop(plain, 0.125))
        with torch.no_grad():
            found = normalise(networks.build_network(seen)(networks.to_input(crops, seen)))
        cosines = (found @ found.T).numpy()[one, other]
        assert roc_auc_score(who[one] == who[other], cosines) > 0.97, name


def middle(regions, name):
    """Mean position (2,) of a region in a crop, or None where it has fewer than 10 pixels."""
    y, x = np.nonzero(regions == REGIONS.index(name))
    return np.array([x.mean(), y.mean()]) if len(x) >= 10 else None


def each(people):
    for person in people.values():
        yield from zip(person.crops, person.regions, person.landmarks, person.points, strict=True)


def test_people_are_kept_and_groups_are_not(people):
    found, reasons = people
    assert sorted(found) == [f"q0{number}" for number in range(1, 10)]
    assert sum(len(person.images) for person in found.values()) == 25
    assert reasons == {
        ("several_faces", ""): storage.TOO_FEW,
        ("several_faces", "01.jpg"): "several faces",
        ("several_faces", "02.jpg"): "several faces",
    }


@pytest.mark.parametrize("several", ["largest", "central"])
def test_of_a_group_one_face_is_taken_and_the_others_are_counted(photographs, tmp_path, several):
    settings = {"detector": "mtcnn", "label_maps": "pyfacer", "landmarks": "none", "several": several}
    found, reasons = parsed(photographs, tmp_path / "faces.h5", **settings)
    group = found["several_faces"]
    assert reasons == {} and (group.faces_found > 1).all()
    assert all((person.faces_found == 1).all() for name, person in found.items() if name != "several_faces")
    assert all((regions == REGIONS.index("face")).mean() > 0.1 for regions in group.regions)


def test_regions_lie_where_the_points_are(people):
    """The parser's eyes, nose and mouth against the detector's points, in eye distances."""
    errors = {"re": [], "le": [], "nose": [], "mouth": []}
    for _, regions, _, points in each(people[0]):
        eye_distance = np.linalg.norm(points[1] - points[0])
        targets = {"re": points[0], "le": points[1], "nose": points[2], "mouth": (points[3] + points[4]) / 2}
        lips = np.where(np.isin(regions, [REGIONS.index(n) for n in ("ulip", "llip", "imouth")]), 1, 0)
        for name, target in targets.items():
            found = middle(lips * REGIONS.index("nose"), "nose") if name == "mouth" else middle(regions, name)
            if found is not None:
                errors[name].append(np.linalg.norm(found - target) / eye_distance)
    for name, error in errors.items():
        assert len(error) >= 24, name
        assert np.median(error) < (0.3 if name == "nose" else 0.12), name  # the point is the tip, not the middle


def test_left_and_right_are_the_subjects_own(people):
    for _, regions, _, _ in each(people[0]):
        for right, left in (("re", "le"), ("rb", "lb")):
            ends = middle(regions, right), middle(regions, left)
            if ends[0] is not None and ends[1] is not None:
                assert ends[1][0] > ends[0][0]


def test_landmarks_agree_with_detector_and_regions(people):
    known = [
        (regions, landmarks, points)
        for _, regions, landmarks, points in each(people[0])
        if detection.is_known(landmarks)
    ]
    assert len(known) >= 23
    apart = [
        np.linalg.norm(detection.five_points(landmarks) - points, axis=1) / np.linalg.norm(points[1] - points[0])
        for _, landmarks, points in known
    ]
    assert np.median(apart) < 0.08
    on_face = []
    for regions, landmarks, _ in known:
        x, y = np.rint(landmarks[17:]).astype(int).clip(0, 223).T  # all but the jaw line
        on_face.append(np.isin(regions[y, x], [0, REGIONS.index("neck"), REGIONS.index("cloth")]).mean())
    assert np.mean(on_face) < 0.02


def test_a_face_fills_the_box(people):
    """The face region is the largest but hair and background, and no crop is empty."""
    for crop, regions, _, _ in each(people[0]):
        assert crop.std() > 20
        assert 0.1 < (regions == REGIONS.index("face")).mean() < 0.8


def test_crops_have_the_labels_of_the_full_picture(photographs):
    """Parsing the parser's view and reading the crop's pixels is what pyfacer does with the whole picture."""
    models = faces_stage.load_models(faces_stage.face_settings(WEIGHTS | PHOTOGRAPHS), "cpu")
    with storage.open_shard(photographs, "images") as shard:
        pixels = images.decode(storage.read_pictures(shard, "q03").encoded[1])
    ((face,),) = detection.find_faces(models.detector, [pixels])
    whole = {"points": torch.from_numpy(face.points)[None].float(), "image_ids": torch.zeros(1, dtype=torch.long)}
    logits = models.parser.net(torch.from_numpy(pixels).permute(2, 0, 1)[None], whole)["seg"]["logits"]
    of_picture = logits[0].argmax(0).to(torch.uint8).numpy()
    for mode in ("box", "aligned"):
        frame = faces_stage.crop_frame(face, pixels.shape, faces_stage.FaceSettings(crop_mode=mode, crop_size=224))
        (ours,) = models.parser([pixels], face.points[None], frame[None], 224)
        assert (ours == frames.warp_labels(of_picture, frame, 224)).mean() > 0.98, mode


def test_landmarks_hardly_depend_on_whose_rectangle_it_is(tmp_path):
    """dlib's rectangle against the one placed in the detected box, in eye distances."""
    photographs = imported(REAL / "photos", tmp_path, include=["q02", "q04", "q05", "q08"])
    found = [
        parsed(photographs, tmp_path / f"{box}.h5", **PHOTOGRAPHS, landmark_box=box, crop_size=224)[0]
        for box in ("dlib", "detected")
    ]
    apart, seen = [], []
    for name in found[0]:
        own, placed = (person[name].landmarks for person in found)
        eye_distance = np.linalg.norm(found[0][name].points[:, 1] - found[0][name].points[:, 0], axis=1)
        apart += list(np.linalg.norm(own - placed, axis=2).mean(1) / eye_distance)
        seen += list(np.isfinite(placed).all((1, 2)))
    assert all(seen)
    assert np.nanmedian(apart) < 0.08 and np.nanmax(apart) < 0.3


@pytest.mark.parametrize("identity, index", [("q01", 4), ("q07", 1), ("q09", 0)])
def test_a_large_photograph_gives_the_same_face(photographs, identity, index):
    """The detector splits or misplaces very large faces, so it must not see them at full size."""
    models = faces_stage.load_models(faces_stage.face_settings(WEIGHTS | PHOTOGRAPHS | {"label_maps": "given"}), "cpu")
    with storage.open_shard(photographs, "images") as shard:
        pixels = images.decode(storage.read_pictures(shard, identity).encoded[index])
    large = cv2.resize(pixels, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    (small_face,), (large_face,) = detection.find_faces(models.detector, [pixels, large])
    back = np.linalg.inv(frames.resize_frame(pixels.shape, large.shape))
    side = small_face.sides.max()  # this small detector wavers by some 3 % when a picture is only softened
    assert abs(frames.transform(large_face.points, back) - small_face.points).max() < 0.06 * side
    assert abs(frames.transform(large_face.box.reshape(2, 2), back).ravel() - small_face.box).max() < 0.08 * side


def test_given_crops_and_label_maps_pass_unchanged(tmp_path):
    shard = imported(REAL / "faces", tmp_path, include=["p01", "p07"], label_suffix=".regions.png")
    settings = {"detector": "none", "label_maps": "given", "landmarks": "dlib", "crop_mode": "whole", "crop_size": 112}
    found, reasons = parsed(shard, tmp_path / "faces.h5", **settings)
    assert reasons == {}
    for name, person in found.items():
        assert len(person.images) == 12
        for image, crop, regions in zip(person.images, person.crops, person.regions, strict=True):
            file = REAL / "faces" / name / image
            assert np.array_equal(crop, images.decode(file.read_bytes()))
            beside = file.with_name(f"{file.stem}.regions.png")
            assert np.array_equal(regions, images.decode_labels(beside.read_bytes(), (112, 112)))
        known = np.isfinite(person.landmarks).all(axis=(1, 2))
        assert known.sum() >= 9
        apart = np.linalg.norm(person.points[known] - frames.ARCFACE_POINTS, axis=-1)
        assert np.median(apart) < 4  # px at 112: these crops are aligned to the template
