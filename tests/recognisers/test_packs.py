"""InsightFace's packs: each file is what InsightFace itself takes it for, and the recogniser runs as any other does.

The packs themselves are not part of the project: these are small files of the same inputs and outputs.
"""

import json
import shutil

import numpy as np
import onnx
import pytest
from insightface import model_zoo
from onnx import TensorProto, helper

from leam import config as settings
from leam import packs, storage, weights
from leam.grid import CENTRED
from leam.maps import MapSettings, compute_maps
from leam.recognisers import networks, registry
from shards import make_faces, write_faces
from small_packs import NARROW, write_detector, write_other, write_pack, write_recogniser

LAYERS = tuple(f"/body/body.{3 * number}/Conv" for number in range(9))
SAMPLE = {"source": {"sample": {"identities": 2, "images": 2}}}


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("models") / "buffalo_x")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


# ------------------------------------------------------------------------------------------------ what the files are


def test_every_file_is_what_insightfaces_router_takes_it_for(pack):
    kinds = {model_zoo.ArcFaceONNX: packs.RECOGNITION, model_zoo.SCRFD: packs.DETECTION}
    for path in sorted(pack.iterdir()):
        theirs = model_zoo.get_model(str(path), providers=["CPUExecutionProvider"])
        assert packs.look_into(path).kind == kinds.get(type(theirs), ""), path.name


def test_names_of_files_are_no_matter(pack, tmp_path):
    shutil.copytree(pack, tmp_path / "pack")
    for number, path in enumerate(sorted((tmp_path / "pack").iterdir(), reverse=True)):
        path.rename(path.with_name(f"{number}.onnx"))
    assert packs.entry_of(tmp_path / "pack")["input_size"] == (112, 112)
    assert packs.look_into(packs.detector_file(tmp_path / "pack")).kind == packs.DETECTION


@pytest.mark.parametrize("normalises", [False, True])
def test_embeddings_are_insightfaces(tmp_path, normalises):
    """Of the same crop: theirs takes BGR, and its rule of what to subtract is followed."""
    write_recogniser(tmp_path / "any.onnx", seed=3, normalises=normalises)
    entry = registry.recogniser("mine", {"pack": str(tmp_path)})
    assert entry.mean == ((0.0 if normalises else 127.5),) * 3
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    theirs = model_zoo.get_model(str(tmp_path / "any.onnx"), providers=["CPUExecutionProvider"])
    expected = theirs.get_feat([crop[..., ::-1] for crop in crops])
    found = networks.build_network(entry)(networks.to_input(crops, entry)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(expected[0] - expected[1]).max() > 1e-2 * np.abs(expected).max()


def test_the_first_nine_convolutions_are_looked_into(pack, tmp_path):
    entry = registry.recogniser("mine", {"pack": str(pack)})
    assert entry.layers == tuple(layer.strip("/").replace(".", "/") for layer in LAYERS)
    weights.fetch_weights(tmp_path / "mine.ok", entry)
    facts = json.loads((tmp_path / "mine.ok").read_text())
    assert facts["licence"] == "non-commercial research only (InsightFace)" and "buffalo_x" in facts["origin"]
    assert facts["path"].endswith("w600k_r50.onnx") and len(facts["sha256"]) == 64


def test_maps_of_a_pack(pack, tmp_path):
    entry = registry.recogniser("mine", {"pack": str(pack)})
    faces = write_faces(tmp_path / "faces.h5", [make_faces("ann", 3), make_faces("bob", 2)])
    compute_maps(faces, tmp_path / "maps.h5", entry, MapSettings(), device="cpu")
    with storage.open_shard(tmp_path / "maps.h5", "maps") as shard:
        assert storage.identities(shard) == ["ann", "bob"]
        assert len(shard.attrs["layers"]) == 9
        maps = [dataset[()] for polarity in shard["ann/maps"].values() for dataset in polarity.values()]
        assert np.isfinite(maps[0]).all() and any(found.any() for found in maps)


def test_keys_beside_the_pack_override_it(pack):
    layers = ["body/body/0/Conv", "body/body/27/Conv"]
    entry = registry.recogniser("mine", {"pack": str(pack), "layers": layers, "std": [128.0] * 3})
    assert entry.layers == tuple(layers) and entry.std == (128.0,) * 3 and entry.mean == (127.5,) * 3
    weights.try_layers(networks.build_network(entry), entry, CENTRED)


def test_a_built_in_name_is_the_packs_and_nothing_of_the_registry(pack):
    assert registry.REGISTRY["CF_R100"].sha256
    assert registry.recogniser("CF_R100", {"pack": str(pack)}).sha256 is None


# ------------------------------------------------------------------------------------------------ the configuration


def planned(pack, **changes):
    return settings.complete(SAMPLE | {"models": ["mine"], "recognisers": {"mine": {"pack": str(pack)}}} | changes)


def test_a_configuration_names_a_pack_by_its_folder(pack):
    config = planned(pack)
    entry = settings.recogniser_entry(config, "mine")
    assert "pack" not in entry and entry["weights"] == str(pack / "w600k_r50.onnx")
    assert settings.brought_files(config)[0] == pack / "w600k_r50.onnx"
    assert settings.complete(config) == config


def test_the_detector_is_that_of_the_runs_pack(pack, home):
    packed = {"models": ["mine"], "recognisers": {"mine": {"pack": str(pack)}}, "faces": {"detector": "scrfd"}}
    found = settings.faces_settings(settings.complete(packed))
    assert found["detector_weights"] == str(packs.detector_file(pack))
    for others in ({"models": ["sample_arcface"]}, {"models": ["mine", "other"]}):
        recognisers = packed["recognisers"] | {"other": {"pack": str(pack.parent / "elsewhere")}}
        with pytest.raises(settings.ConfigError, match=r"faces\.detector_weights is null; faces\.detector scrfd needs"):
            settings.complete(packed | others | {"recognisers": recognisers})


def test_a_path_starts_from_root_and_a_tilde_is_the_home(pack, home):
    assert settings.recogniser_entry(planned(pack.name, root=str(pack.parent)), "mine")["weights"].startswith(str(pack))
    shutil.copytree(pack, home / "packs" / "mine")
    assert settings.recogniser_entry(planned("~/packs/mine"), "mine")["weights"].startswith(str(home))


def test_a_mere_name_is_looked_for_where_insightface_keeps_packs(pack, home):
    installed = home / ".insightface" / "models" / "buffalo_x"
    shutil.copytree(pack, installed)
    assert settings.recogniser_entry(planned("buffalo_x"), "mine")["weights"] == str(installed / "w600k_r50.onnx")


def test_a_name_below_root_comes_first(pack, home, tmp_path):
    shutil.copytree(pack, home / ".insightface" / "models" / "buffalo_x")
    shutil.copytree(pack, tmp_path / "buffalo_x")
    config = planned("buffalo_x", root=str(tmp_path))
    assert settings.recogniser_entry(config, "mine")["weights"] == str(tmp_path / "buffalo_x" / "w600k_r50.onnx")


def test_an_absent_pack_is_not_downloaded(home, monkeypatch):
    import socket

    monkeypatch.setattr(socket, "socket", lambda *args, **kwargs: pytest.fail("a socket was opened"))
    with pytest.raises(
        settings.ConfigError, match=r"models: recogniser mine: no pack at .*buffalo_l; expected a folder"
    ):
        planned("buffalo_l")


def test_a_pack_that_is_not_run_stops_nothing(home):
    config = settings.complete(SAMPLE | {"recognisers": {"mine": {"pack": "nowhere"}}})
    assert settings.recogniser_entries(config)["mine"]["pack"].endswith("nowhere")


def test_braces_are_refused(pack, tmp_path):
    shutil.copytree(pack, tmp_path / "a{b}")
    with pytest.raises(settings.ConfigError, match=r"recognisers\.mine\.pack: .* holds braces"):
        planned(tmp_path / "a{b}")


@pytest.mark.parametrize("key, value", [("architecture", "onnx"), ("weights", "x.onnx")])
def test_a_pack_and_a_file_contradict_each_other(pack, key, value):
    with pytest.raises(settings.ConfigError, match=f"pack and {key} are both given"):
        planned(pack, recognisers={"mine": {"pack": str(pack), key: value}})


# ------------------------------------------------------------------------------------------------------ wrong packs


def refused(folder):
    """What is said of a pack that cannot be used, in one line."""
    with pytest.raises(registry.ModelError) as error:
        registry.recogniser("mine", {"pack": str(folder)})
    said = str(error.value)
    assert said.startswith("recogniser mine: ") and said.isprintable() and len(said) < 600
    return said


def damaged(path, change):
    content = bytearray(path.read_bytes())
    path.write_bytes(change(content))


def test_packs_that_lack_a_recogniser_or_have_two(pack, tmp_path):
    assert "no .onnx file" in refused(tmp_path)
    shutil.copy(pack / "det_10g.onnx", tmp_path)
    assert "0 files of a recogniser (det_10g.onnx); expected one" in refused(tmp_path)
    for name in ("a.onnx", "b.onnx"):
        shutil.copy(pack / "w600k_r50.onnx", tmp_path / name)
    assert "2 files of a recogniser (a.onnx, b.onnx); expected one" in refused(tmp_path)


def test_a_file_where_a_folder_was_expected(pack):
    assert "no pack at" in refused(pack / "w600k_r50.onnx")


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"no network at all",
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: b"\xff" * 4096,
    ],
    ids=["text", "empty", "cut", "ones"],
)
def test_damaged_files_are_one_sentence(tmp_path, change):
    damaged(write_recogniser(tmp_path / "m.onnx"), change)
    refused(tmp_path)


def test_flipped_bits_end_in_a_sentence_or_in_a_network(tmp_path):
    """400 of them, in the half of the file that has the graph as often as in its weights."""
    rng = np.random.default_rng(0)
    path = write_recogniser(tmp_path / "m.onnx")
    whole = path.read_bytes()
    for number in range(400):
        content = bytearray(whole)
        content[rng.integers(0, 4000 if number % 2 else len(whole))] ^= 1 << rng.integers(0, 8)
        path.write_bytes(content)
        packs._look_into.cache_clear()
        try:
            registry.recogniser("mine", {"pack": str(tmp_path)})
        except registry.ModelError as error:
            assert len(str(error).splitlines()) == 1


def test_weights_in_other_files_are_refused(tmp_path):
    model = onnx.load(write_recogniser(tmp_path / "m.onnx"))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="secret.bin", size_threshold=0)
    assert (tmp_path / "secret.bin").stat().st_size
    assert "keeps weights in other files" in refused(tmp_path)


def test_folders_pipes_and_broken_links_called_onnx_are_passed_over(pack, tmp_path):
    import os

    shutil.copy(pack / "w600k_r50.onnx", tmp_path)
    (tmp_path / "folder.onnx").mkdir()
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "link.onnx").symlink_to(tmp_path / "nowhere")
    assert registry.recogniser("mine", {"pack": str(tmp_path)}).weights == str(tmp_path / "w600k_r50.onnx")


@pytest.mark.parametrize("name", ["a\0b", "x" * 10_000, "{wildcard}/../..", "<script>", "a\nb"])
def test_layers_of_hostile_names(tmp_path, name):
    """Names that no file can hold, or of any length, are not taken over; others are data."""
    model = onnx.load(write_recogniser(tmp_path / "m.onnx"))
    next(node for node in model.graph.node if node.op_type == "Conv").name = name
    onnx.save(model, tmp_path / "m.onnx")
    if len(name) > 1000 or "\0" in name:
        assert "layers must be given" in refused(tmp_path)
        assert registry.recogniser("mine", {"pack": str(tmp_path), "layers": ["body/body/3/Conv"]})
    else:
        entry = registry.recogniser("mine", {"pack": str(tmp_path)})
        assert networks.find_layers(networks.build_network(entry), entry.layers)


@pytest.mark.parametrize("version", [2, 1, None])
def test_a_package_that_says_how_it_is_fed_is_refused(pack, tmp_path, version):
    shutil.copytree(pack, tmp_path / "pack")
    (tmp_path / "pack" / "manifest.json").write_text(json.dumps({"manifest_version": version}))
    if version == 2:
        assert "says in manifest.json how its files are fed" in refused(tmp_path / "pack")
    else:
        assert registry.recogniser("mine", {"pack": str(tmp_path / "pack")})


def test_recognisers_of_other_sizes_and_what_is_none(tmp_path):
    """Squares of 112 px and more in steps of 16, but 192, as InsightFace's router has it."""
    for side, outputs, kind in [
        (112, 1, packs.RECOGNITION),
        (128, 1, packs.RECOGNITION),
        (192, 1, ""),
        (120, 1, ""),
        (96, 1, ""),
        (112, 2, ""),
        (112, 7, ""),
        (112, 9, packs.DETECTION),
    ]:
        path = write_other(tmp_path / f"{side}_{outputs}.onnx", side, outputs)
        assert packs.look_into(path).kind == kind, path.name
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "no picture",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
    )
    onnx.save(helper.make_model(graph), tmp_path / "none.onnx")
    assert packs.look_into(tmp_path / "none.onnx") == packs.Contents("", (0, 0), False, ())


def test_a_file_that_changed_is_looked_into_again(tmp_path):
    path = write_recogniser(tmp_path / "m.onnx")
    assert packs.look_into(path).kind == packs.RECOGNITION and NARROW == 4
    write_detector(path)
    assert packs.look_into(path).kind == packs.DETECTION
