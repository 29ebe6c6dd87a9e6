"""leam.faces with InsightFace's SCRFD, on files of its inputs and outputs that find drawn faces.

The packs themselves are not part of the project, and were not tried.
"""

import json
import shutil
import socket

import cv2
import numpy as np
import onnx
import pytest
from insightface import model_zoo
from insightface.utils import face_align
from onnx import TensorProto, helper

from drawn import disc_centroids, draw, pictures_of, places_px
from leam import config as settings
from leam import storage
from leam.faces import detection, frames
from leam.faces import stage as faces_stage
from shards import write_images
from small_packs import write_detector, write_other, write_pack, write_recogniser


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("models") / "buffalo_x")


@pytest.fixture(scope="module")
def scrfd(pack):
    return detection.Scrfd(pack / "det_10g.onnx", 0.5)


def parse(tmp_path, people, name="faces.h5", threads=None, **section):
    output = tmp_path / name
    section = {"detector": "scrfd", "min_face_px": 10} | section
    faces_stage.parse_faces(write_images(tmp_path / "images.h5", people), output, section, threads=threads)
    with storage.open_shard(output, "faces") as shard:
        reasons = {(row.identity, row.image): row.reason for row in storage.read_discarded(shard)}
        people = {name: storage.read_faces(shard, name) for name in storage.identities(shard)}
        return people, reasons, dict(shard.attrs)


# ------------------------------------------------------------------------------------------------- where faces are


@pytest.mark.parametrize("size", [90, 200, 336, 640, 1000])
def test_points_are_where_they_were_drawn(scrfd, size):
    ((face,),) = detection.find_faces(scrfd, [draw(size)[0]])
    expected = places_px(size)
    assert abs(face.points - expected).max() < 0.01 * size
    assert abs(face.box - [*expected.min(0), *expected.max(0)]).max() < 0.01 * size


def test_insightfaces_own_call_finds_the_same(scrfd, pack):
    """Its detect on the picture in BGR, at the size that is seen here."""
    picture = detection.pad_picture(draw(300)[0])
    theirs = model_zoo.get_model(str(pack / "det_10g.onnx"), providers=["CPUExecutionProvider"])
    boxes, points = theirs.detect(picture[..., ::-1], [(128, 128), picture.shape[1::-1]], det_thresh=0.5)
    ((face,),) = scrfd(picture[None])
    np.testing.assert_allclose(face.box, boxes[0, :4], atol=1e-3)
    np.testing.assert_allclose(face.points, points[0], atol=1e-3)


def test_a_picture_whose_channels_are_swapped_has_none_of_the_colours(scrfd):
    assert detection.find_faces(scrfd, [draw(200)[0][..., ::-1].copy()]) == [[]]


def test_a_batch_finds_what_one_by_one_finds(scrfd):
    pictures = [draw(size)[0] for size in (192, 180, 250, 192)]
    pictures.append(np.pad(pictures[0], ((60, 0), (0, 0), (0, 0)), constant_values=90))
    together = detection.find_faces(scrfd, pictures)
    assert [len(faces) for faces in together] == [1] * 5
    for picture, (face,) in zip(pictures, together, strict=True):
        ((alone,),) = detection.find_faces(scrfd, [picture])
        assert np.array_equal(face.box, alone.box) and np.array_equal(face.points, alone.points)


def test_nothing_where_no_face_is(scrfd):
    rng = np.random.default_rng(0)
    pictures = [np.zeros((8, 8, 3), np.uint8), rng.integers(0, 100, (100, 30, 3), np.uint8)]
    assert detection.find_faces(scrfd, pictures) == [[], []]


def test_the_threshold_is_asked_for(pack):
    assert detection.find_faces(detection.Scrfd(pack / "det_10g.onnx", 1.0), [draw(300)[0]]) == [[]]


def test_threads_are_no_matter_of_the_result(tmp_path, pack):
    people = [pictures_of("ann", [200, 336, 90])]
    one, *_ = parse(tmp_path, people, "one.h5", 1, detector_weights=str(pack))
    two, *_ = parse(tmp_path, people, "two.h5", 2, detector_weights=str(pack))
    assert np.array_equal(one["ann"].crops, two["ann"].crops) and np.array_equal(one["ann"].points, two["ann"].points)


def test_a_file_made_for_one_size(tmp_path):
    """Pictures are then brought to that size."""
    model = onnx.load(write_detector(tmp_path / "det.onnx"))
    for axis, size in ((2, 320), (3, 320)):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    onnx.save(model, tmp_path / "det.onnx")
    ((face,),) = detection.find_faces(detection.Scrfd(tmp_path / "det.onnx", 0.5), [draw(500)[0]])
    assert abs(face.points - places_px(500)).max() < 5


# ---------------------------------------------------------------------------------------------------- aligned crops


@pytest.mark.filterwarnings("ignore:`estimate` is deprecated:FutureWarning")
def test_aligned_crops_put_the_points_onto_the_template(tmp_path, pack):
    found, reasons, _ = parse(
        tmp_path, [pictures_of("ann", [200, 336, 500])], detector_weights=str(pack), crop_mode="aligned"
    )
    assert reasons == {} and found["ann"].images == ["00", "01", "02"]
    for crop, points in zip(found["ann"].crops, found["ann"].points, strict=True):
        assert abs(points - frames.ARCFACE_POINTS).max() < 8  # the drawn face is no scaled template
        assert abs(disc_centroids(crop) - points).max() < 0.7
    picture = draw(336)[0]
    ((face,),) = detection.find_faces(detection.Scrfd(pack / "det_10g.onnx", 0.5), [picture])
    theirs = face_align.norm_crop(picture, face.points, 112)
    assert abs(disc_centroids(theirs) - found["ann"].points[1]).max() < 0.7


# ----------------------------------------------------------------------------------------------- settings and files


def test_provenance_says_which_file_and_which_versions(tmp_path, pack):
    _, _, attributes = parse(tmp_path, [pictures_of("ann", [112, 112])], detector_weights=str(pack))
    stored = json.loads(attributes["settings"])
    assert stored["detector"] == "scrfd" and stored["detector_threshold"] == 0.5 and stored["crop_margin"] == 0.15
    assert len(stored["files"]["detector_weights"]) == 64 and "buffalo_x" not in attributes["settings"]
    assert {"insightface", "onnxruntime"} <= json.loads(attributes["versions"]).keys()


def test_a_pack_or_its_file_makes_no_difference_to_what_is_stored(tmp_path, pack):
    people = [pictures_of("ann", [112, 150])]
    *_, by_pack = parse(tmp_path, people, detector_weights=str(pack))
    *_, by_file = parse(tmp_path, people, detector_weights=str(pack / "det_10g.onnx"))
    assert by_pack["settings_sha256"] == by_file["settings_sha256"]


def planned(weights, **changes):
    faces = {"detector": "scrfd", "detector_weights": str(weights)} | changes
    return settings.complete({"source": {"sample": {"identities": 2, "images": 2}}, "faces": faces})


def test_a_configuration_names_a_pack_or_a_file(pack, tmp_path, monkeypatch):
    for weights in (pack, pack / "det_10g.onnx"):
        config = planned(weights)
        assert settings.face_model_files(config) == [str(pack / "det_10g.onnx")]
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(pack, tmp_path / ".insightface" / "models" / "buffalo_l")
    assert settings.face_model_files(planned("buffalo_l"))[0].startswith(str(tmp_path))
    faces_stage.fetch_face_models(tmp_path / "files.json", settings.faces_settings(planned("buffalo_l")))
    facts = json.loads((tmp_path / "files.json").read_text())["detector_weights"]
    assert facts["path"].endswith("buffalo_l/det_10g.onnx") and facts["bytes"] > 0


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda folder: folder / "absent", r"no pack at .*absent"),
        (lambda folder: write_recogniser(folder / "m.onnx"), r"m\.onnx is no SCRFD with five points"),
        (lambda folder: write_recogniser(folder / "m.onnx").parent, r"has 0 files of a detector with five points"),
        (lambda folder: write_detector(folder / "m.onnx", points=False), r"is no SCRFD with five points"),
        (lambda folder: shutil.copy(write_detector(folder / "m.onnx"), folder / "n.pth"), r"n\.pth is no SCRFD"),
        (lambda folder: shutil.copy(write_detector(folder / "m.onnx"), folder / "n.onnx").parent, r"has 2 files"),
    ],
    ids=["absent", "recogniser", "pack without", "no points", "suffix", "two"],
)
def test_what_is_no_detector_stops_before_the_first_job(tmp_path, monkeypatch, make, said):
    monkeypatch.setattr(socket, "socket", lambda *args, **kwargs: pytest.fail("a socket was opened"))
    weights = make(tmp_path)
    with pytest.raises(settings.ConfigError, match=rf"config: faces\.detector_weights: .*{said}"):
        planned(weights)


def test_no_file_and_no_download():
    with pytest.raises(settings.ConfigError, match=r"faces\.detector_weights is null; faces\.detector scrfd needs"):
        settings.complete({"faces": {"detector": "scrfd"}})
    with pytest.raises(settings.ConfigError, match=r"allowed with detector scrfd: a path"):
        planned("download", detector_sha256="0" * 64)


def test_another_sha256_is_refused(tmp_path, pack):
    with pytest.raises(ValueError, match=r"faces\.detector_weights: .*det_10g\.onnx has SHA-256 .*, expected 0000"):
        parse(tmp_path, [], detector_weights=str(pack), detector_sha256="0" * 64)


# ----------------------------------------------------------------------------------------------------- hostile files


def test_weights_in_other_files_are_refused(tmp_path):
    model = onnx.load(write_detector(tmp_path / "m.onnx"))
    onnx.external_data_helper.convert_model_to_external_data(
        model, location="secret.bin", size_threshold=0, convert_attribute=True
    )
    onnx.save(model, tmp_path / "m.onnx")
    assert (tmp_path / "secret.bin").stat().st_size
    with pytest.raises(ValueError, match="keeps weights in other files"):
        detection.Scrfd(tmp_path / "m.onnx", 0.5)


def outputs_of(path, count, shape, value=1.0):
    """A file of so many outputs, each one constant, whatever the picture."""
    tensor = helper.make_tensor("made", TensorProto.FLOAT, shape, [value] * int(np.prod(shape)))
    nodes = [helper.make_node("Constant", [], [f"o{number}"], value=tensor) for number in range(count)]
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, None, None])],
        [helper.make_tensor_value_info(f"o{number}", TensorProto.FLOAT, shape) for number in range(count)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7), path)
    return path


@pytest.mark.parametrize("count", [9, 15])
@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (0, 4), (1, 2, 3, 4)])
def test_outputs_of_other_shapes_are_one_sentence(tmp_path, count, shape):
    with pytest.raises(ValueError, match=r"^faces\.detector_weights: .*m\.onnx: "):
        detection.Scrfd(outputs_of(tmp_path / "m.onnx", count, shape), 0.5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38])
def test_numbers_that_are_no_places_are_no_faces(tmp_path, value):
    """Boxes and points of an otherwise right file, multiplied by such a number."""
    model = onnx.load(write_detector(tmp_path / "m.onnx"))
    model.graph.initializer.append(helper.make_tensor("factor", TensorProto.FLOAT, (), [value]))
    for output in model.graph.output[3:]:
        for node in model.graph.node:
            node.output[:] = [f"{name}.own" if name == output.name else name for name in node.output]
        model.graph.node.append(helper.make_node("Mul", [f"{output.name}.own", "factor"], [output.name]))
    onnx.save(model, tmp_path / "m.onnx")
    with np.errstate(all="ignore"):
        assert detection.find_faces(detection.Scrfd(tmp_path / "m.onnx", 0.5), [draw(200)[0]]) == [[]]


def test_flipped_bits_end_in_a_sentence_or_in_faces(tmp_path):
    """200 of them over a file whose nodes onnxruntime runs."""
    rng = np.random.default_rng(0)
    path, picture = write_detector(tmp_path / "m.onnx"), cv2.resize(draw(200)[0], (64, 64))
    whole = path.read_bytes()
    for _ in range(200):
        content = bytearray(whole)
        content[rng.integers(0, len(whole))] ^= 1 << rng.integers(0, 8)
        path.write_bytes(content)
        try:
            detection.Scrfd(path, 0.5)(picture[None])
        except ValueError as error:
            assert len(str(error).splitlines()) == 1


def test_other_files_of_a_pack_are_no_detectors(tmp_path):
    with pytest.raises(ValueError, match="is no SCRFD"):
        detection.Scrfd(write_other(tmp_path / "m.onnx", 192), 0.5)
