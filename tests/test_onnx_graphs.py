"""leam.onnx_graphs: what is known of an ONNX file without its weights is what the whole file says."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from leam import onnx_graphs
from small_packs import write_pack, write_recogniser


def without_numbers(model):
    """The model whose weights have kept their names, shapes and types alone."""
    for tensor in model.graph.initializer:
        for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
            tensor.ClearField(field)
    return model


def test_an_outline_is_the_file_without_the_numbers_of_its_weights(tmp_path):
    for path in sorted(write_pack(tmp_path / "pack").iterdir()):
        outline = onnx_graphs.read_outline(path)
        assert outline == without_numbers(onnx.load(path)), path.name
        assert onnx_graphs.node_names(outline.graph) == onnx_graphs.node_names(onnx.load(path).graph)


@pytest.mark.parametrize("kind", ["raw", "FLOAT", "DOUBLE", "INT32", "INT64", "UINT64"])
def test_numbers_of_every_type_are_left_out(tmp_path, kind):
    model = onnx.load(write_recogniser(tmp_path / "m.onnx"))
    if kind == "raw":
        weights = numpy_helper.from_array(np.ones(10_000, np.float32), "many")
    else:
        weights = helper.make_tensor("many", getattr(TensorProto, kind), (10_000,), [1] * 10_000)
    before = onnx_graphs.read_outline(tmp_path / "m.onnx").ByteSize()
    model.graph.initializer.append(weights)
    onnx.save(model, tmp_path / "m.onnx")
    outline = onnx_graphs.read_outline(tmp_path / "m.onnx")
    assert outline.ByteSize() < before + 100 and outline == without_numbers(model)


def test_weights_in_other_files_are_seen_in_an_outline(tmp_path):
    model = onnx.load(write_recogniser(tmp_path / "m.onnx"))
    assert not onnx_graphs.has_other_files(onnx_graphs.read_outline(tmp_path / "m.onnx"))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="other.bin", size_threshold=0)
    assert onnx_graphs.has_other_files(onnx_graphs.read_outline(tmp_path / "m.onnx"))


def test_every_cut_is_an_error_or_an_outline(tmp_path):
    whole = write_recogniser(tmp_path / "m.onnx").read_bytes()
    for end in [*range(0, 300), *np.linspace(300, len(whole) - 1, 200).astype(int)]:
        (tmp_path / "m.onnx").write_bytes(whole[:end])
        try:
            assert isinstance(onnx_graphs.read_outline(tmp_path / "m.onnx"), onnx.ModelProto)
        except Exception as error:
            assert not isinstance(error, IndexError | MemoryError | RecursionError), end


@pytest.mark.parametrize(
    "content", [b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x80" * 40, b"\x3b\x00", b"\x3a\x05\x2a"]
)
def test_lengths_that_lie_are_refused(tmp_path, content):
    """A graph of 2^63 bytes, a number without end, a field of a kind that nobody writes, and one that is cut."""
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ValueError):
        onnx_graphs.read_outline(tmp_path / "m.onnx")
