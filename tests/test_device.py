"""Device and precision, as the stages ask for them."""

import pytest
import torch

from leam import device


def test_precision_is_set_for_the_block_and_restored():
    owners = (torch.backends, torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = torch.backends.fp32_precision
    for precision, expected in (("float32", "ieee"), ("tf32", "tf32"), ("bf16", "ieee")):
        with device.arithmetic(precision, torch.device("cpu")):
            assert [owner.fp32_precision for owner in owners] == [expected] * 3
    with pytest.raises(KeyError), device.arithmetic("bf16", torch.device("cpu")):
        assert torch.is_autocast_enabled("cpu")
        raise KeyError
    assert torch.backends.fp32_precision == before and not torch.is_autocast_enabled("cpu")


def test_a_gpu_that_was_asked_for_must_be_there():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(device.DeviceError, match="a GPU was asked for"):
        device.choose_device("cuda")
