"""ONNX files that were made to do harm: nothing that stands in one is run, whatever it is called."""

import contextlib
import itertools

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import fx

from leam.recognisers import folding, networks, onnx_files, registry

MARK = "harm_was_done"
COMMAND = f"""getattr(__import__("os"), "system")("touch {MARK}")"""
REAL = f"""conv" if {COMMAND} >= 0 else "conv"""  # a name that is run where names are written into source as they are
PAYLOADS = (
    REAL,
    f"""conv' if {COMMAND} >= 0 else 'conv""",
    f"""conv" if ({COMMAND} >= 0) else \"conv""",
    f"""conv") or {COMMAND} or getattr(self, "conv""",
    f"""conv"), {COMMAND}, ("conv""",
    f"""x"); open("{MARK}", "w"); print(("y""",
    f"""x'); open('{MARK}', 'w'); print(('y""",
    f"""x")\n    open("{MARK}", "w")\n    print(("y""",
    f"""x\\"); open("{MARK}", "w") #""",
    f"""x\r    open("{MARK}", "w")\r    #""",
    f"""x\u2028    open("{MARK}", "w") #""",
    f"""{{__import__("pathlib").Path("{MARK}").touch()}}""",
    f"""\"\"\" + str(open("{MARK}", "w")) + \"\"\"""",
    f"""a.b.__class__; open("{MARK}", "w")""",
    f"""open("{MARK}", "w")""",
    f"""= open("{MARK}", "w") #""",
    f"""self; import os; os.close(os.open("{MARK}", 65))""",
)
INNOCENT = {
    name: name
    for name in ("graph", "image", "embedding", "weight", "bias", "conv", "between", "relu", "pool", "flat", "note")
}
INNOCENT |= {"domain": "", "dimension": "N", "metadata": "k"}


def write_model(path, **names):
    """A convolution, a ReLU, a mean and a flattening, in which everything that has a name can have another one."""
    of = INNOCENT | names
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(size=(5, 3, 3, 3)).astype(np.float32), of["weight"]),
        numpy_helper.from_array(rng.normal(size=5).astype(np.float32), of["bias"]),
    ]
    nodes = [
        helper.make_node("Conv", [of["image"], of["weight"], of["bias"]], [of["between"]], name=of["conv"]),
        helper.make_node("Relu", [of["between"]], ["b"], name=of["relu"], doc_string=of["note"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"], name=of["pool"], domain=of["domain"]),
        helper.make_node("Flatten", ["c"], [of["embedding"]], name=of["flat"]),
    ]
    nodes[0].attribute.append(helper.make_attribute("kernel_shape", [3, 3]))
    graph = helper.make_graph(
        nodes,
        of["graph"],
        [helper.make_tensor_value_info(of["image"], TensorProto.FLOAT, [of["dimension"], 3, 32, 32])],
        [helper.make_tensor_value_info(of["embedding"], TensorProto.FLOAT, ["N", 5])],
        weights,
        doc_string=of["note"],
    )
    opsets = [helper.make_opsetid(domain, 13) for domain in {"", of["domain"]}]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name=of["note"])
    helper.set_model_props(model, {of["metadata"]: of["note"]})
    path.write_bytes(model.SerializeToString())
    return path


def described(path, layer="conv", name="mine"):
    entry = {"architecture": "onnx", "input_size": [32, 32], "mean": [0.0] * 3, "std": [1.0] * 3}
    return registry.recogniser(name, entry | {"weights": str(path), "layers": [layer]})


def test_the_attack_is_real(tmp_path, monkeypatch):
    """A step of a graph that is called so runs its own name: else the tests below would show nothing."""
    monkeypatch.chdir(tmp_path)
    root, graph = torch.nn.Module(), fx.Graph()
    root.add_module(REAL, torch.nn.ReLU())
    graph.output(graph.call_module(REAL, (graph.placeholder("x"),)))
    with contextlib.suppress(AttributeError):  # then it takes one step for another
        fx.GraphModule(root, graph)(torch.zeros(1))
    assert (tmp_path / MARK).exists()


@pytest.mark.parametrize(("place", "payload"), list(itertools.product(INNOCENT, PAYLOADS)))
def test_no_name_of_a_file_is_run_or_stands_in_generated_source(tmp_path, monkeypatch, place, payload):
    monkeypatch.chdir(tmp_path)
    layer = payload if place == "conv" else "conv"
    recogniser = described(write_model(tmp_path / "m.onnx", **{place: payload}), layer)
    try:
        network = networks.build_network(recogniser)
    except registry.ModelError as error:
        assert place == "domain" and len(str(error).splitlines()) == 1  # no step is known by such a name
        assert not (tmp_path / MARK).exists()
        return
    folded = folding.fold_norms(network, recogniser.layers)
    assert isinstance(folded, fx.GraphModule) and folded is not network
    for each in (network, folded):
        assert MARK not in each.code and tuple(each(torch.zeros(2, 3, 32, 32)).shape) == (2, 5)
        (module,) = networks.find_layers(each, recogniser.layers).values()
        assert isinstance(module, torch.nn.Conv2d)
    assert not (tmp_path / MARK).exists()


def test_numbers_stand_for_all_names_and_the_table_leads_back(tmp_path):
    write_model(tmp_path / "m.onnx", conv="/stem.1/Conv", relu="", pool="stem.1/Conv", between="conv.out")
    network = networks.build_network(described(tmp_path / "m.onnx", "/stem.1/Conv"))
    assert {name for name, _ in network.named_modules()} == {"", "n0", "n1", "n2", "n3"}
    nodes = {"stem/1/Conv": "n0", "Relu": "n1", "stem/1/Conv_1": "n2", "flat": "n3"}
    assert onnx_files.module_names(network) == nodes | {"conv.out": "n0", "b": "n1", "c": "n2", "embedding": "n3"}
    for name in ("/stem.1/Conv", "stem/1/Conv", "conv.out"):
        assert isinstance(networks.find_layers(network, (name,))[name], torch.nn.Conv2d)
    with pytest.raises(registry.ModelError, match="no layer is called 'n0'; convolutions are stem/1/Conv"):
        networks.find_layers(network, ("n0",))


def test_weights_in_other_files_are_refused(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(4 * 5 * 27))
    model = onnx.load(write_model(tmp_path / "m.onnx"))
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="secret")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(registry.ModelError, match="keeps weights in other files, which its SHA-256 says nothing of"):
        networks.build_network(described(tmp_path / "m.onnx"))


def test_a_graph_that_branches_on_its_picture_or_loops_is_refused(tmp_path):
    branch = helper.make_graph([], PAYLOADS[0], [], [])
    for node in (
        helper.make_node("If", ["large"], ["d"], then_branch=branch, else_branch=branch),
        helper.make_node("Loop", ["", "large"], ["d"], body=branch),
    ):
        model = onnx.load(write_model(tmp_path / "m.onnx"))
        limit = helper.make_node("Constant", [], ["limit"], value_float=0.5)
        model.graph.node.extend([limit, helper.make_node("Greater", ["c", "limit"], ["large"]), node])
        (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(registry.ModelError, match=r"a branch that depends on what is in the picture|loops"):
            networks.build_network(described(tmp_path / "m.onnx"))


def test_weights_in_other_files_are_refused_inside_a_branch_too(tmp_path):
    model = onnx.load(write_model(tmp_path / "m.onnx"))
    outside = TensorProto(name="o", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="/etc/passwd")
    branch = helper.make_graph([], "b", [], [], [outside])
    model.graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=branch, else_branch=branch))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(registry.ModelError, match="keeps weights in other files"):
        networks.build_network(described(tmp_path / "m.onnx"))


def test_a_damaged_file_is_one_sentence_wherever_it_is_cut_or_flipped(tmp_path):
    whole, rng = write_model(tmp_path / "m.onnx").read_bytes(), np.random.default_rng(0)
    for attempt in range(60):
        content = bytearray(whole)
        place = int(rng.integers(len(content)))
        if attempt % 3:
            content[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "m.onnx").write_bytes(content if attempt % 3 else content[:place])
        try:
            networks.find_layers(networks.build_network(described(tmp_path / "m.onnx")), ("conv",))
        except registry.ModelError as error:
            assert len(str(error).splitlines()) == 1, error
