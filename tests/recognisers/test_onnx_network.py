"""ONNX's operators against the examples that ONNX's own authors publish with the format, of every opset."""

import collections
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import pytest
import torch
from onnx import numpy_helper

from leam.recognisers import onnx_network
from leam.recognisers.onnx_operators import OPERATORS, UnknownOperatorError

DATA = Path(onnx.backend.test.__file__).parent / "data"
TIES = ("test_top_k_same_values", "test_top_k_uint64")  # which of equal numbers comes first, and a type of no picture
EMPTY = "_empty_set"  # the largest of no numbers
FORMS = (  # of known operators that no recogniser has; each is refused by name
    "Attention with a cache",
    "AveragePool with dilations",
    "BatchNormalization in training",
    "ConvTranspose of a stated size",
    "MaxPool that also says where",
    "Resize ",
    "numbers of type",
    "an output (",
)


def published():
    """ONNX's examples of single operators, as (name, model, inputs, outputs)."""
    from onnx.backend.test.case import node

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        cases = node.collect_testcases(None)
    for case in cases:
        for inputs, outputs in case.data_sets:
            yield case.name, case.model, inputs, outputs


def stored(folder):
    """Examples that PyTorch's first exporters left, in opset 6 and 9."""
    for path in sorted((DATA / folder).iterdir()):
        model = onnx.load(path / "model.onnx")
        for data in path.glob("test_data_set_*"):
            arrays = [
                [
                    numpy_helper.to_array(onnx.TensorProto.FromString(file.read_bytes()))
                    for file in sorted(data.glob(f"{kind}_*.pb"))
                ]
                for kind in ("input", "output")
            ]
            yield path.name, model, *arrays


def is_tried(name, model, inputs, outputs):
    """Whether an example is of known operators, and of numbers that PyTorch and NumPy share."""
    kinds = {node.op_type for node in model.graph.node}
    arrays = [*inputs, *outputs]
    plain = inputs and all(isinstance(array, np.ndarray) and array.dtype.kind in "fiub" for array in arrays)
    return plain and kinds <= {*OPERATORS, "Constant"} and not name.startswith(TIES) and EMPTY not in name


def outputs_of(model, inputs):
    """What the built network gives; the first input is what it is fed, the others stand in the file."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    for value, array in list(zip(model.graph.input, inputs, strict=False))[1:]:
        whole.graph.initializer.append(numpy_helper.from_array(array, value.name))
    x = torch.from_numpy(np.array(inputs[0]))
    x = x.float() if x.dtype == torch.float16 else x
    return onnx_network.build(whole, x, channels_last=False, images=0).network(x)


@pytest.mark.parametrize(
    ("examples", "least"),
    [
        (published, 900),
        (lambda: stored("pytorch-converted"), 55),
        (lambda: stored("pytorch-operator"), 30),
        (lambda: stored("simple"), 5),
    ],
    ids=["published", "pytorch-converted", "pytorch-operator", "simple"],
)
def test_operators_give_what_onnx_publishes(examples, least):
    held, refused = collections.Counter(), collections.Counter()
    for name, model, inputs, outputs in examples():
        if not is_tried(name, model, inputs, outputs):
            continue
        try:
            found = outputs_of(model, inputs)
        except UnknownOperatorError as error:
            assert str(error).startswith(FORMS), (name, error)
            refused[name] += 1
            continue
        for place, (array, expected) in enumerate(zip(found, outputs, strict=True)):
            assert array.shape == expected.shape, (name, place)
            half = expected.dtype == np.float16
            np.testing.assert_allclose(
                array.double().numpy(),
                expected.astype(float),
                rtol=1e-3,
                atol=2e-3 if half else 1e-5,
                err_msg=f"{name}, output {place}",
            )
        held[name] += 1
    assert held.total() >= least and refused.total() < held.total() / 5, (held.total(), refused.total())
