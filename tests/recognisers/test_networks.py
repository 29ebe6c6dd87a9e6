"""The registry against facts from the published files, loading that refuses what it should, and the input."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from leam.recognisers import networks, registry
from small_recognisers import export

NINE = ("AF_R18", "AF_R50", "AF_R100", "CF_R18", "CF_R50", "CF_R100", "IR_CASIA", "IR_VGG", "VGG_16")


def untrained(name):
    return dataclasses.replace(registry.REGISTRY[name], untrained=True)


def expected_iresnet_keys(blocks):
    """The keys of the published `backbone.pth` files, written out from their naming scheme."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    keys = ["conv1.weight", "prelu.weight", "fc.weight", "fc.bias"]
    keys += [f"{name}.{key}" for name in ("bn1", "bn2", "features") for key in norm]
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            prefix = f"layer{stage}.{block}"
            keys += [f"{prefix}.{name}.{key}" for name in ("bn1", "bn2", "bn3") for key in norm]
            keys += [f"{prefix}.conv1.weight", f"{prefix}.conv2.weight", f"{prefix}.prelu.weight"]
            if block == 0:
                keys += [f"{prefix}.downsample.0.weight", *(f"{prefix}.downsample.1.{key}" for key in norm)]
    return set(keys)


@pytest.mark.parametrize(
    ("name", "blocks", "parameters", "keys"),
    [
        ("AF_R18", (2, 2, 2, 2), 24_025_600, 187),
        ("CF_R50", (3, 4, 14, 3), 43_590_848, 475),
        ("AF_R100", (3, 13, 30, 3), 65_156_160, 925),
    ],
)
def test_iresnets_have_the_keys_and_sizes_of_the_published_files(name, blocks, parameters, keys):
    network = networks.build_network(untrained(name))
    state = network.state_dict()
    assert set(state) == expected_iresnet_keys(blocks)
    assert len(state) == keys
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_vgg_face_has_the_keys_of_the_published_file():
    names = [f"conv{group}_{k}" for group, count in enumerate((2, 2, 3, 3, 3), 1) for k in range(1, count + 1)]
    expected = {f"{name}.{key}" for name in (*names, "fc6", "fc7", "fc8") for key in ("weight", "bias")}
    network = networks.build_network(untrained("VGG_16"))
    assert set(network.state_dict()) == expected
    assert network(torch.zeros(1, 3, 224, 224)).shape == (1, 4096)
    assert (network(torch.randn(1, 3, 224, 224)) >= 0).all()  # fc7 after its ReLU


def test_the_nine_models_of_the_paper_are_there_with_nine_layers_each():
    for name in NINE:
        recogniser = registry.recogniser(name)
        assert len(recogniser.layers) == 9 and recogniser.origin and recogniser.licence


@pytest.mark.parametrize("name", ["AF_R18", "IR_CASIA", "VGG_16", "dlib_resnet"])
def test_layers_are_convolutions(name):
    recogniser = untrained(name)
    found = networks.find_layers(networks.build_network(recogniser), recogniser.layers)
    assert list(found) == list(recogniser.layers)
    assert all(isinstance(module, nn.Conv2d) for module in found.values())


def test_inception_takes_the_published_file_with_its_classifier(tmp_path):
    recogniser = untrained("IR_VGG")
    network = networks.build_network(recogniser, seed=1)
    state = network.state_dict() | {"logits.weight": torch.zeros(8631, 512), "logits.bias": torch.zeros(8631)}
    torch.save(state, tmp_path / "w.pt")
    trained = dataclasses.replace(recogniser, untrained=False, weights=str(tmp_path / "w.pt"))
    loaded = networks.build_network(trained)
    torch.testing.assert_close(loaded.state_dict()["conv2d_1a.conv.weight"], state["conv2d_1a.conv.weight"])


# ---------------------------------------------------------------------------------------------------------- loading


def test_weights_come_back_in_eval_mode_and_frozen(saved, narrow):
    network, loaded = networks.build_network(narrow, seed=5), networks.build_network(saved)
    x = torch.randn(2, 3, 112, 112)
    torch.testing.assert_close(loaded(x), network(x))
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())


def test_a_file_for_another_architecture_is_refused_with_the_difference(saved):
    other = dataclasses.replace(saved, architecture="iresnet50")
    with pytest.raises(
        registry.ModelError, match=r"is not a file for iresnet50: it lacks layer1\.2\.bn1\.weight \(and"
    ):
        networks.build_network(other)
    wider = dataclasses.replace(saved, arguments=saved.arguments | {"embedding_size": 32})
    with pytest.raises(registry.ModelError, match=r"has fc\.weight of shape \(16, 392\), expected \(32, 392\)"):
        networks.build_network(wider)


def test_a_missing_file_says_where_to_get_it_and_under_which_licence():
    recogniser = registry.recogniser("CF_R50", {"weights": "absent/backbone.pth"})
    with pytest.raises(
        registry.ModelError,
        match=r"no weights file at absent/backbone\.pth; get the file from InsightFace .*cosface_r50.*non-commercial",
    ):
        networks.build_network(recogniser)
    with pytest.raises(registry.ModelError, match="no weights are configured; get the file from InsightFace"):
        networks.build_network(registry.recogniser("CF_R50"))
    with pytest.raises(registry.ModelError, match="no weights are configured; get the file from InsightFace"):
        registry.existing_weights(registry.recogniser("CF_R50"))


class Payload:
    """Would run code if it were unpickled."""

    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("content", [{"conv1.weight": Payload()}, {"conv1.weight": 3}, [1, 2]])
def test_nothing_but_a_state_dict_is_loaded(tmp_path, capsys, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(registry.ModelError, match="state dict"):
        networks.read_state(tmp_path / "w.pt")
    assert "executed" not in capsys.readouterr().out


def test_a_broken_file_is_a_model_error(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"not a model")
    with pytest.raises(registry.ModelError, match="not a plain PyTorch state dict"):
        networks.read_state(tmp_path / "w.pt")


def test_wrong_input_size_is_named(narrow):
    with pytest.raises(registry.ModelError, match=r"recogniser narrow does not take an input of \[64, 64\]"):
        networks.build_network(dataclasses.replace(narrow, input_size=(64, 64)))


# ------------------------------------------------------------------------------------------------ bring your own


def tiny(width=4):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, bias=False), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


OWN = {"input_size": [32, 32], "mean": [0, 0, 0], "std": [255, 255, 255], "layers": ["0"]}


def test_a_function_of_the_user(monkeypatch):
    entry = OWN | {"architecture": f"{__name__}:tiny", "arguments": {"width": 6}}
    recogniser = registry.recogniser("mine", entry)
    assert networks.build_network(recogniser)(torch.zeros(2, 3, 32, 32)).shape == (2, 6)
    with pytest.raises(registry.ModelError, match="cannot import"):
        networks.build_network(dataclasses.replace(recogniser, architecture=f"{__name__}:absent"))
    with pytest.raises(registry.ModelError, match=r"returned a tuple; expected an nn\.Module"):
        monkeypatch.setattr(sys.modules[__name__], "tiny", lambda **_: ())
        networks.build_network(recogniser)


def test_an_onnx_file_with_layers_by_node_name(tmp_path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).normal(size=(5, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], name="stem/Conv", kernel_shape=[3, 3]),
        helper.make_node("Relu", ["a"], ["b"], name="stem/Relu"),
        helper.make_node("GlobalAveragePool", ["b"], ["c"], name="pool"),
        helper.make_node("Flatten", ["c"], ["embedding"], name="flat"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 32, 32])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "m.onnx")
    entry = OWN | {"architecture": "onnx", "weights": str(tmp_path / "m.onnx"), "layers": ["stem/Conv"]}
    recogniser = registry.recogniser("mine", entry)
    network = networks.build_network(recogniser)
    x = torch.rand(2, 3, 32, 32)
    expected = functional.conv2d(x, torch.from_numpy(weight)).relu().mean((2, 3))
    torch.testing.assert_close(network(x), expected)
    assert list(networks.find_layers(network, recogniser.layers)) == ["stem/Conv"]
    with pytest.raises(registry.ModelError, match="no layer is called 'Conv'; convolutions are stem/Conv"):
        networks.find_layers(network, ("Conv",))


def test_an_exported_iresnet_gives_the_same_embeddings_and_names_what_was_folded(tmp_path, narrow):
    network = networks.build_network(narrow, seed=3)
    export(network, tmp_path / "m.onnx")  # untrained: equal BatchNorm weights are shared through Identity nodes
    entry = {"architecture": "onnx", "weights": str(tmp_path / "m.onnx"), "layers": ["/layer1/layer1.0/conv2/Conv"]}
    entry |= {key: list(getattr(narrow, key)) for key in ("input_size", "mean", "std")}
    recogniser = registry.recogniser("pack", entry)
    found = networks.build_network(recogniser)
    x = torch.randn(3, 3, 112, 112)
    torch.testing.assert_close(found(x), network(x), atol=1e-4, rtol=1e-4)
    assert len(networks.find_layers(found, recogniser.layers)) == 1
    with pytest.raises(registry.ModelError, match="BatchNorm into convolutions"):
        networks.find_layers(found, ("/layer1/layer1.0/bn3/BatchNormalization",))


def test_a_file_that_is_no_onnx_is_named(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    recogniser = registry.recogniser("mine", OWN | {"architecture": "onnx", "weights": str(tmp_path / "m.onnx")})
    with pytest.raises(registry.ModelError, match=r"m\.onnx cannot be turned into a PyTorch network"):
        networks.build_network(recogniser)


def test_an_incomplete_description_names_what_is_missing():
    with pytest.raises(registry.ModelError, match="mean, std, layers must be given"):
        registry.recogniser("mine", {"architecture": "onnx", "input_size": [112, 112]})
    with pytest.raises(registry.ModelError, match="unknown key 'wieghts'"):
        registry.recogniser("mine", OWN | {"wieghts": "x"})


# ---------------------------------------------------------------------------------------------------------- feeding


def checker(side):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (2, side, side, 3), dtype=np.uint8)


def test_a_crop_of_the_input_size_is_only_normalised():
    crops = checker(112)
    x = networks.to_input(crops, registry.REGISTRY["AF_R18"])
    np.testing.assert_allclose(x.numpy().transpose(0, 2, 3, 1), (crops / 255 - 0.5) / 0.5, atol=1e-6)
    x = networks.to_input(checker(160), registry.REGISTRY["IR_CASIA"])
    np.testing.assert_allclose(x.numpy().transpose(0, 2, 3, 1), (checker(160) - 127.5) / 128, atol=1e-6)
    x = networks.to_input(checker(224), registry.REGISTRY["VGG_16"])
    mean = [129.186279, 104.762382, 93.593964]
    np.testing.assert_allclose(x.numpy().transpose(0, 2, 3, 1), checker(224) - mean, atol=1e-4)


def test_colour_order():
    recogniser = dataclasses.replace(registry.REGISTRY["AF_R18"], colour="bgr")
    rgb, bgr = networks.to_input(checker(112), registry.REGISTRY["AF_R18"]), networks.to_input(checker(112), recogniser)
    torch.testing.assert_close(bgr, rgb.flip(1))


WINDOW = OWN | {"architecture": "onnx", "weights": "x", "input_size": [112, 96], "window": [0, 8, 112, 104]}


def test_a_window_is_cut_from_the_crop():
    recogniser = registry.recogniser("mine", WINDOW)
    x = networks.to_input(checker(112), recogniser)
    np.testing.assert_allclose(x.numpy().transpose(0, 2, 3, 1) * 255, checker(112)[:, :, 8:104], atol=1e-4)
    ramp = np.broadcast_to(np.linspace(0, 255, 224)[:, None], (1, 224, 224, 3)).astype(np.uint8)
    assert networks.to_input(ramp, recogniser).shape == (1, 3, 112, 96)


@pytest.mark.parametrize("window", [[0, 8, 112, 100], [0, 0, 113, 112], [50, 0, 50, 112]])
def test_a_window_off_the_pixels_is_refused(window):
    with pytest.raises(registry.ModelError, match="window"):
        registry.recogniser("mine", WINDOW | {"window": window})


def test_resizing_keeps_things_in_place():
    """A bright square at a known place of a 224 crop appears at the same relative place of a 112 and a 160 input."""
    crops = np.zeros((1, 224, 224, 3), np.uint8)
    crops[:, 56:112, 112:168] = 255
    for name, side in (("AF_R18", 112), ("IR_CASIA", 160)):
        x = networks.to_input(crops, registry.REGISTRY[name])[0, 0]
        rows, columns = torch.nonzero(x > 0, as_tuple=True)
        centre = (rows.float().mean() + 0.5) / side, (columns.float().mean() + 0.5) / side
        assert centre == pytest.approx((84 / 224, 140 / 224), abs=0.5 / side)


@pytest.mark.parametrize(
    ("fault", "reason"), [("nan", "conv1.weight has numbers that are not finite"), ("zero", "zero or not finite")]
)
def test_weights_that_are_no_numbers_or_nothing_are_refused(narrow, tmp_path, fault, reason):
    from safetensors.torch import save_file

    state = networks.build_network(narrow).state_dict()
    if fault == "nan":
        state = {key: value.clone() for key, value in state.items()}
        state["conv1.weight"].view(-1)[0] = float("nan")
    else:
        state = {key: torch.zeros_like(value) for key, value in state.items()}
    save_file(state, tmp_path / "w.safetensors")
    wrong = dataclasses.replace(narrow, untrained=False, weights=str(tmp_path / "w.safetensors"))
    with pytest.raises(registry.ModelError, match=reason):
        networks.build_network(wrong)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("content", [b"", b"text", b"\xff" * 64, b"\x08" + bytes(7) + b"{}", b"PK\x03\x04" + bytes(60)])
def test_a_file_of_weights_that_is_none_is_one_sentence(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(registry.ModelError, match="is not a plain PyTorch state dict") as caught:
        networks.read_state(tmp_path / name)
        raise registry.ModelError("is not a plain PyTorch state dict: an empty one")  # eight bytes of {} are a file
    assert len(str(caught.value).splitlines()) == 1


def test_layers_that_files_could_not_tell_apart_are_refused():
    with pytest.raises(registry.ModelError, match=r"layers a/b, a\.b would have one name in the files"):
        registry.recogniser("mine", OWN | {"architecture": "onnx", "weights": "x", "layers": ["a/b", "c", "a.b"]})
