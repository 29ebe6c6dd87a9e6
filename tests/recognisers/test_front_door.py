"""What people bring: files of several exporters and opsets, networks of several manners; each works, or one sentence
says why not.
"""

import collections
import dataclasses
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import brought
from leam import weights
from leam.embedding import made_up_pictures
from leam.grid import CENTRED, Lattice
from leam.recognisers import adaptation, networks, registry
from leam.recognisers.lattice import find_lattices
from leam.recognisers.taps import Taps

PICTURES = made_up_pictures(3, (brought.SIDE, brought.SIDE))
PLAIN = {"input_size": [brought.SIDE] * 2, "mean": [0.0] * 3, "std": [1.0] * 3}


def export(network, path, opset=17, *, of_any=True, shape=None, **options):
    """By PyTorch's older exporter, which is still what most files come from."""
    example = torch.zeros(shape or (1, 3, brought.SIDE, brought.SIDE))
    axes = {"dynamic_axes": {"input": {0: "N"}}} if of_any else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (example,), path, opset_version=opset, dynamo=False, input_names=["input"], **axes, **options
        )
    return path


def first_convolution(path):
    return next(node.name or node.output[0] for node in onnx.load(path).graph.node if node.op_type == "Conv")


def described(path, **changes):
    entry = PLAIN | {"architecture": "onnx", "weights": str(path), "layers": [first_convolution(path)]}
    return registry.recogniser("mine", entry | changes)


def check_file(path, place=0, pictures=PICTURES, **changes):
    """Build, look into as the maps' stage does, and compare each picture's embedding with onnxruntime's."""
    recogniser = described(path, **changes)
    network = networks.build_network(recogniser)
    weights.try_layers(network, recogniser, CENTRED)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (value,) = session.get_inputs()
    found, fed = network(PICTURES), pictures.numpy()
    kind = np.float16 if "float16" in value.type else np.float32
    for picture, embedding in zip(fed, found, strict=True):
        expected = session.run(None, {value.name: picture[None].astype(kind)})[place].reshape(-1)
        np.testing.assert_allclose(
            embedding, expected, atol=1e-4 * np.abs(expected).max() if kind == np.float32 else 0.02
        )
    return network


ZOO = {
    "mobileface": brought.MobileFace,
    "squeezed": brought.Squeezed,
    "tokens": brought.Tokens,
    "windows": brought.Windows,
    "mixed": brought.Mixed,
    "normalised": brought.Normalised,
    "norm": lambda: brought.Normalised(1),
    "root": lambda: brought.Normalised(2),
    "two outputs": brought.WithNorm,
    "for one": brought.OfOne,
}


@pytest.mark.parametrize("of_any", [True, False], ids=["any batch", "batch of one"])
@pytest.mark.parametrize("opset", [9, 11, 13, 17, 18, 20])
@pytest.mark.parametrize("name", ZOO)
def test_files_of_the_older_exporter(tmp_path, name, opset, of_any):
    if (name == "for one" and of_any) or (opset < 11 and name in ("squeezed", "mixed")):
        pytest.skip("the exporter refuses or fixes the batch, or that opset cannot make a picture smaller")
    network = brought.settled(ZOO[name]())
    check_file(export(network, tmp_path / "m.onnx", opset, of_any=of_any))


@pytest.mark.parametrize("name", ["mobileface", "tokens", "normalised", "two outputs"])
def test_files_of_the_exporter_that_is_torchs_default(tmp_path, name):
    network = brought.settled(ZOO[name]())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (PICTURES[:1],), tmp_path / "m.onnx", external_data=False, verbose=False)
    check_file(tmp_path / "m.onnx")


@pytest.mark.parametrize("name", ["keras_tf2onnx_13", "keras_tf2onnx_17_half"])
def test_files_of_keras(name):
    """Made by tf2onnx 1.17 from a small Keras network, whose input has the channels last; the second by
    onnxconverter-common from the like.
    """
    path = Path(__file__).parent / "files" / f"{name}.onnx"
    check_file(path, pictures=PICTURES.permute(0, 2, 3, 1))


def test_halves_are_widened(tmp_path):
    network = brought.settled(brought.MobileFace())
    model = onnx.load(export(network, tmp_path / "whole.onnx"))
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
            tensor.CopyFrom(half)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, tmp_path / "m.onnx")
    built = check_file(tmp_path / "m.onnx")
    assert {each.dtype for each in built.state_dict().values() if each.is_floating_point()} == {torch.float32}


def test_a_quantised_file_is_refused_with_the_way_out(tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    export(brought.settled(brought.MobileFace()), tmp_path / "whole.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_dynamic(tmp_path / "whole.onnx", tmp_path / "m.onnx")
    recogniser = dataclasses.replace(described(tmp_path / "whole.onnx"), weights=str(tmp_path / "m.onnx"))
    with pytest.raises(registry.ModelError, match=r"m\.onnx is quantised \(node '.*'\).*give the file"):
        networks.build_network(recogniser)


@pytest.mark.parametrize(("of_any", "stated"), [(True, True), (False, True), (True, False)])
def test_channels_last(tmp_path, of_any, stated):
    shape = (1, brought.SIDE, brought.SIDE, 3)
    path = export(brought.settled(brought.Last()), tmp_path / "m.onnx", of_any=of_any, shape=shape)
    model = onnx.load(path)
    if not stated:  # a file that says nothing of its input: the setting must
        model.graph.input[0].type.tensor_type.ClearField("shape")
        onnx.save(model, path)
        with pytest.raises(registry.ModelError, match="cannot be turned into a PyTorch network"):
            networks.build_network(described(path))
    check_file(path, pictures=PICTURES.permute(0, 2, 3, 1), **({} if stated else {"layout": "nhwc"}))


def test_the_output_is_the_one_that_is_named_or_plain(tmp_path):
    path = export(brought.settled(brought.WithNorm()), tmp_path / "m.onnx", output_names=["embedding", "norm"])
    check_file(path, output="embedding")
    with pytest.raises(registry.ModelError, match=r"has no output 'x'; outputs are 'embedding', 'norm'"):
        networks.build_network(described(path, output="x"))

    class Twice(brought.MobileFace):
        def forward(self, x):
            x = super().forward(x)
            return x, x[:, :5]

    path = export(brought.settled(Twice()), tmp_path / "t.onnx", output_names=["a", "b"])
    with pytest.raises(registry.ModelError, match=r"outputs 'a' \(2, 12\), 'b' \(2, 5\); say which is the embedding"):
        networks.build_network(described(path))
    check_file(path, place=1, output="b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"input_size": [48, 48]},
            r"takes an input of \['any', 3, 32, 32\]; expected 3 channels and input_size \[48, 48\]",
        ),
        ({"layout": "nhwc"}, r"takes an input of \['any', 3, 32, 32\]; expected 3 channels"),
        ({"layers": ["none"]}, "no layer is called 'none'; convolutions are "),
    ],
)
def test_what_does_not_fit_the_file_is_said(tmp_path, change, message):
    path = export(brought.settled(brought.MobileFace()), tmp_path / "m.onnx")
    with pytest.raises(registry.ModelError, match=message):
        recogniser = described(path, **change)
        weights.try_layers(networks.build_network(recogniser), recogniser, CENTRED)


def test_an_unknown_operator_is_named_with_the_export_that_works(tmp_path):
    path = export(brought.settled(brought.MobileFace()), tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.node[1].op_type, model.graph.node[1].domain = "FancyRelu", "com.example"
    onnx.save(model, path)
    with pytest.raises(registry.ModelError, match=r"has the operator 'FancyRelu' of 'com\.example', which"):
        networks.build_network(described(path))


def test_a_batch_that_cannot_be_opened_is_said(tmp_path):
    class First(brought.MobileFace):
        def forward(self, x):
            return super().forward(x)[0].unsqueeze(0)

    path = export(brought.settled(First()), tmp_path / "m.onnx", of_any=False)
    with pytest.raises(registry.ModelError, match=r"gives \(1, 12\) for two images"):
        networks.build_network(described(path))


def test_a_file_with_two_inputs_is_refused(tmp_path):
    path = export(brought.settled(brought.MobileFace()), tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("phase_train", TensorProto.BOOL, []))
    onnx.save(model, path)
    with pytest.raises(registry.ModelError, match=r"has 2 inputs \('input', 'phase_train'\); expected one"):
        networks.build_network(described(path))


# --------------------------------------------------------------------------------------------------- functions


class ModelOutput(collections.OrderedDict):
    """As transformers' outputs: a dictionary whose keys are attributes."""


class Outer(nn.Module):
    def __init__(self, of):
        super().__init__()
        self.inner, self.of = brought.settled(brought.MobileFace()), of

    def forward(self, x):
        return self.of(self.inner(x))


def function(**_):
    raise AssertionError


GIVES = {
    "tuple": lambda y: (y, y.norm(dim=1, keepdim=True)),
    "list": lambda y: [y.norm(dim=1, keepdim=True), y],
    "dictionary": lambda y: {"feature": y, "logit": y[:, :1]},
    "model output": lambda y: ModelOutput(pooler_output=y, hidden_states=(y, y)),
    "four axes": lambda y: y[:, :, None, None],
}


def of_function(monkeypatch, network, **entry):
    monkeypatch.setattr(sys.modules[__name__], "function", lambda **_: network)
    entry = PLAIN | {"architecture": f"{__name__}:function", "layers": ["inner.conv1.0"]} | entry
    return registry.recogniser("mine", entry)


@pytest.mark.parametrize("gives", GIVES)
def test_functions_that_return_more_than_a_tensor(monkeypatch, gives):
    outer = Outer(GIVES[gives])
    recogniser = of_function(monkeypatch, outer)
    network = networks.build_network(recogniser)
    weights.try_layers(network, recogniser, CENTRED)
    torch.testing.assert_close(network(PICTURES), outer.inner(PICTURES))


def test_an_output_that_is_not_plain_is_asked_for(monkeypatch):
    outer = Outer(lambda y: {"face": y, "body": y[:, :4]})
    with pytest.raises(registry.ModelError, match=r"gives face \(2, 12\), body \(2, 4\) for a picture; say which"):
        networks.build_network(of_function(monkeypatch, outer))
    found = networks.build_network(of_function(monkeypatch, outer, output="body"))(PICTURES)
    torch.testing.assert_close(found, outer.inner(PICTURES)[:, :4])
    with pytest.raises(registry.ModelError, match="output is 'hand'"):
        networks.build_network(of_function(monkeypatch, Outer(outer.of), output="hand"))


def test_a_function_that_takes_channels_last(monkeypatch):
    network = brought.settled(brought.Last())
    found = networks.build_network(of_function(monkeypatch, network, layout="nhwc", layers=["conv1.0"]))
    torch.testing.assert_close(found(PICTURES), brought.MobileFace.forward(network, PICTURES))


def test_a_network_that_mirrors_its_picture_is_refused_by_name(monkeypatch):
    recogniser = of_function(monkeypatch, brought.settled(brought.Mirrored()), layers=["conv1.0"])
    with pytest.raises(registry.ModelError, match=r"more than once per image.*also embeds the mirrored picture"):
        weights.try_layers(networks.build_network(recogniser), recogniser, CENTRED)


def test_a_network_whose_images_depend_on_each_other_is_refused(monkeypatch):
    outer = Outer(lambda y: y - y.mean(0, keepdim=True) * 0.9)
    with pytest.raises(registry.ModelError, match="embeds a picture otherwise when another is beside it"):
        networks.build_network(of_function(monkeypatch, outer))


# ------------------------------------------------------------------------------------------------------ tokens


def test_tokens_are_looked_at_as_maps_through_a_reshape(monkeypatch):
    network = brought.settled(brought.Tokens())
    asked = of_function(monkeypatch, network, layers=["norm1", "patches"])
    with pytest.raises(registry.ModelError, match=r"reshape: \{norm1: \{skip: 1, size: \[4, 4\]\}\}"):
        weights.try_layers(networks.build_network(asked), asked, "stretched")
    recogniser = dataclasses.replace(asked, reshape={"norm1": {"skip": 1, "size": [4, 4]}})
    network = networks.build_network(recogniser)
    weights.try_layers(network, recogniser, CENTRED)
    with Taps(network, recogniser.layers) as taps:
        embeddings, maps = taps.run(PICTURES)
        found = torch.autograd.grad(embeddings.square().sum(), maps["norm1"])[0]
    assert found.shape == maps["norm1"].shape == (3, 16, 4, 4)
    kept = {}
    with torch.enable_grad():  # by hand: the gradient of the tokens themselves
        handle = network.norm1.register_forward_hook(lambda _m, _i, y: kept.setdefault("y", y.requires_grad_()).clone())
        by_hand = torch.autograd.grad(network(PICTURES).square().sum(), kept["y"])[0][:, 1:]
        handle.remove()
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), by_hand)
    lattices = find_lattices(network, recogniser.layers, recogniser.input_size)
    assert lattices["norm1"] == lattices["patches"]  # a token lies where its patch does: 8 px wide, from 3.5 on
    assert lattices["norm1"] == Lattice((3.5, 3.5), (8.0, 8.0))


def test_layers_with_channels_last_are_turned(monkeypatch):
    network = brought.settled(brought.Windows())
    recogniser = of_function(monkeypatch, network, layers=["last"], reshape={"last": "channels_last"})
    network = networks.build_network(recogniser)
    weights.try_layers(network, recogniser, CENTRED)
    with Taps(network, ("last",)) as taps:
        _, maps = taps.run(PICTURES)
    assert maps["last"].shape == (3, 8, 8, 8)
    torch.testing.assert_close(maps["last"].mean((2, 3)), network(PICTURES))


def test_a_reshape_that_does_not_fit_is_said(monkeypatch):
    network = brought.settled(brought.Tokens())
    for reshape, message in (
        ({"norm1": {"size": [4, 4]}}, r"gives \(2, 17, 16\); its reshape expects \(N, 0 \+ 4 x 4, C\)"),
        ({"norm1": "channels_last"}, r"its reshape expects \(N, h, w, C\)"),
        ({"norm2": "channels_last"}, "reshape names 'norm2', which is none of its layers"),
    ):
        recogniser = of_function(monkeypatch, network, layers=["norm1"], reshape=reshape)
        with pytest.raises(registry.ModelError, match=message):
            weights.try_layers(networks.build_network(recogniser), recogniser, CENTRED)


def test_a_copy_takes_over_how_the_network_is_adapted(monkeypatch):
    outer = Outer(GIVES["dictionary"])
    recogniser = of_function(monkeypatch, outer)
    network = networks.build_network(recogniser)
    copy = Outer(GIVES["dictionary"])
    copy.load_state_dict(outer.state_dict())
    adaptation.take_over(network, copy)
    torch.testing.assert_close(copy(PICTURES), network(PICTURES))


# ------------------------------------------------------------------------------------------------- state dicts


WRAPPED = {
    "plain": lambda state: state,
    "wrapped": lambda state: {"epoch": 3, "state_dict": state, "best": 0.98},
    "data parallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "with its head": lambda state: (
        {f"backbone.{key}": value for key, value in state.items()} | {"head.weight": torch.zeros(10, 16)}
    ),
    "deep": lambda state: {
        "model": {f"module.encoder.{key}": value for key, value in state.items()},
        "optimizer": {"state": {}, "lr": 0.1},
    },
    "without counts": lambda state: {key: value for key, value in state.items() if "num_batches" not in key},
}


@pytest.mark.parametrize("way", WRAPPED)
def test_state_dicts_as_others_save_them(tmp_path, narrow, way):
    trained = networks.build_network(narrow, seed=4)
    torch.save(WRAPPED[way](trained.state_dict()), tmp_path / "w.pt")
    saved = dataclasses.replace(narrow, untrained=False, weights=str(tmp_path / "w.pt"))
    x = made_up_pictures(2, narrow.input_size)
    torch.testing.assert_close(networks.build_network(saved)(x), trained(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": {"x": torch.zeros(1)}, "b": {"y": torch.zeros(1)}}, "holds a dict of dict under 'a', 'b'"),
        ({"net": {"conv9.weight": torch.zeros(1)}}, "it lacks conv1.weight"),
    ],
)
def test_what_a_file_holds_instead_is_listed(tmp_path, narrow, content, message):
    torch.save(content, tmp_path / "w.pt")
    saved = dataclasses.replace(narrow, untrained=False, weights=str(tmp_path / "w.pt"))
    with pytest.raises(registry.ModelError, match=message):
        networks.build_network(saved)
