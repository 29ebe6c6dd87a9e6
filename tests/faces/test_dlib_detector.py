"""leam.faces with dlib's CNN detector, whose file the installed package of model files brings; on rendered heads."""

import json

import numpy as np
import pytest

from leam import config as settings
from leam import model_package, storage
from leam.faces import detection
from leam.faces import stage as faces_stage
from leam.sample import rendering
from shards import rendered, write_images

if model_package.DETECTOR.find() is None:
    pytest.skip("the package of model files is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def network():
    return detection.DlibNetwork(model_package.DETECTOR.path(), detection.THRESHOLDS["dlib"])


@pytest.fixture(scope="module")
def heads():
    return [rendering.render_person(5, number, [0], 192)[0] for number in range(3)]


def overlap(box, other):
    common = np.prod((np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])).clip(0))
    return common / (np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2]) - common)


# ------------------------------------------------------------------------------------------------- where faces are


def test_heads_are_found_where_they_were_drawn_without_points(network, heads):
    for faces, head in zip(detection.find_faces(network, [head.image for head in heads]), heads, strict=True):
        (face,) = faces
        inner = head.landmarks[17:]  # brows, eyes, nose and mouth
        assert overlap(face.box, np.concatenate([inner.min(0), inner.max(0)])) > 0.4
        assert abs(face.sides[0] - face.sides[1]) <= 1
        assert np.isnan(face.points).all()


def test_a_batch_finds_what_one_by_one_finds(network, heads):
    pictures = [*(head.image for head in heads), np.pad(heads[0].image, ((70, 0), (0, 0), (0, 0)))]
    together = detection.find_faces(network, pictures)
    for picture, faces in zip(pictures, together, strict=True):
        (alone,) = detection.find_faces(network, [picture])
        assert [face.box.tolist() for face in faces] == [face.box.tolist() for face in alone] != []


def test_several_faces_and_none(network, heads):
    both = np.concatenate([heads[0].image, heads[1].image], axis=1)
    assert [len(faces) for faces in detection.find_faces(network, [both, np.zeros_like(both)])] == [2, 0]
    assert detection.find_faces(network, [np.zeros((8, 8, 3), np.uint8)]) == [[]]


def test_a_box_holds_whole_pixels():
    import dlib

    face = detection._face_of(dlib.rectangle(0, 0, 9, 19))
    assert face.box.tolist() == [-0.5, -0.5, 9.5, 19.5] and face.sides.tolist() == [10, 20]


def test_scores_below_the_threshold_do_not_count(heads):
    strict = detection.DlibNetwork(model_package.DETECTOR.path(), 2.0)
    assert detection.find_faces(strict, [heads[0].image]) == [[]]


# -------------------------------------------------------------------------------------------------------- the stage


def parse(tmp_path, people, **section):
    section = {"detector": "dlib", "crop_size": 64} | section
    faces_stage.parse_faces(write_images(tmp_path / "images.h5", people), tmp_path / "faces.h5", section)
    with storage.open_shard(tmp_path / "faces.h5", "faces") as shard:
        reasons = {(row.identity, row.image): row.reason for row in storage.read_discarded(shard)}
        return {name: storage.read_faces(shard, name) for name in storage.identities(shard)}, reasons, dict(shard.attrs)


def test_the_packages_file_is_in_the_provenance_and_its_place_is_not(tmp_path):
    found, reasons, attributes = parse(tmp_path, [rendered("ann", [0, 1])[0]])
    assert found["ann"].images == ["0", "1"] and not reasons
    stored = json.loads(attributes["settings"])
    assert stored["files"] == {"detector_weights": model_package.DETECTOR.sha256}
    assert stored["crop_margin"] == 0.35 and stored["detector_threshold"] == 0.5
    assert "dlib" in json.loads(attributes["versions"]) and "site-packages" not in attributes["settings"]


def test_points_come_from_the_landmarks(tmp_path):
    """dlib's five are corners of eyes and the base of the nose; ArcFace's need mouth corners, which the 68 have."""
    by_dlib = {"landmarks": "dlib", "landmark_weights": str(model_package.LANDMARKS.path())}
    found, reasons, _ = parse(
        tmp_path, [rendered("ann", [0, 1])[0]], crop_mode="aligned", landmark_box="detected", **by_dlib
    )
    assert not reasons and np.isfinite(found["ann"].points).all()
    expected = np.stack([detection.five_points(landmarks) for landmarks in found["ann"].landmarks])
    np.testing.assert_allclose(found["ann"].points, expected, atol=1e-3)


def test_without_landmarks_points_stay_unknown(tmp_path):
    found, _, _ = parse(tmp_path, [rendered("ann", [0, 1])[0]], landmarks="none")
    assert np.isnan(found["ann"].points).all()
    with pytest.raises(
        ValueError, match=r"crop_mode: aligned needs five points, but landmarks is none and detector dlib"
    ):
        parse(tmp_path, [], landmarks="none", crop_mode="aligned")


# ---------------------------------------------------------------------------------------------------- configuration


def planned(**faces):
    return settings.complete(
        {"source": {"sample": {"identities": 2, "images": 2}}, "faces": {"detector": "dlib"} | faces}
    )


@pytest.mark.parametrize("weights", [None, "package"])
def test_null_and_package_are_the_installed_file(tmp_path, weights):
    """Its place is found by the job, so that a moved environment runs nothing again."""
    config = planned(detector_weights=weights)
    assert settings.face_model_files(config) == ["package"]
    section = settings.faces_settings(config)
    faces_stage.fetch_face_models(tmp_path / "files.json", section)
    facts = json.loads((tmp_path / "files.json").read_text())["detector_weights"]
    assert facts["sha256"] == model_package.DETECTOR.sha256 and facts["bytes"] == model_package.DETECTOR.bytes
    known = faces_stage.with_face_models(section, tmp_path / "files.json")
    assert faces_stage.face_settings({k: v for k, v in known.items() if k != "duplicates"}).files()


def test_a_package_that_is_not_installed_stops_before_the_first_job(monkeypatch):
    monkeypatch.setattr(model_package, "MODULE", "face_recognition_models_absent")
    with pytest.raises(settings.ConfigError, match=r"faces\.detector_weights: mmod_human_face_detector\.dat is not"):
        planned()
    assert planned(detector_weights="mine.dat")


def test_another_file_under_the_packages_name_is_refused(tmp_path, monkeypatch):
    other = tmp_path / "mmod_human_face_detector.dat"
    other.write_bytes(b"another")
    monkeypatch.setattr(model_package.PackagedFile, "find", lambda self: other)
    with pytest.raises(ValueError, match=r"has SHA-256 .* expected 4cb19393"):
        parse(tmp_path, [])


def test_settings_that_need_points(tmp_path):
    for key, value in (("crop_mode", "aligned"), ("label_maps", "pyfacer")):
        more = {"parser_weights": "x"} if value == "pyfacer" else {}
        with pytest.raises(settings.ConfigError, match=rf"faces\.{key} is '{value}'; allowed only with landmarks or"):
            planned(landmarks="none", **{key: value}, **more)
    with pytest.raises(settings.ConfigError, match="allowed with detector dlib: a path"):
        planned(detector_weights="download", detector_sha256="0" * 64)


# ------------------------------------------------------------------------------------------------------ wrong files


def load(path):
    """Load a file and look at one small picture; what is said of a file that cannot be."""
    try:
        detection.DlibNetwork(path, 0.5)(np.zeros((1, 64, 64, 3), np.uint8))
    except ValueError as error:
        said = str(error)
        assert said.startswith(f"faces.detector_weights: {path}: ") and len(said.splitlines()) == 1
        return said
    return ""


def test_files_that_are_no_detector_are_one_sentence(tmp_path):
    for content in (b"", b"no network", b"\xff" * 10_000, model_package.POINTS.path().read_bytes()):
        (tmp_path / "m.dat").write_bytes(content)
        assert load(tmp_path / "m.dat")


def test_cuts_are_one_sentence(tmp_path):
    whole = model_package.DETECTOR.path().read_bytes()
    for end in np.linspace(0, len(whole) - 1, 12).astype(int):
        (tmp_path / "m.dat").write_bytes(whole[:end])
        assert load(tmp_path / "m.dat"), end
