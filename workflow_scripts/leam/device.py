"""On which device a stage computes, with which products, and how much at once."""

import contextlib
import ctypes
import logging
import os
from collections.abc import Iterator
from typing import Any

import torch

log = logging.getLogger(__name__)
CPU_BATCH = 32  # images per forward and backward where there is no GPU
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt


class DeviceError(Exception):
    """The device that was asked for is not there, or too small for one image."""


def choose_device(device: str) -> torch.device:
    """The device to compute on: "cpu", "cuda", or "auto", which is the GPU if there is one.

    The environment variable LEAM_DEVICE overrules what is asked for (to try a GPU's profile on a CPU, for instance).

    Raises DeviceError when "cuda" is asked for and PyTorch sees none.
    """
    device = os.environ.get("LEAM_DEVICE", device)
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("a GPU was asked for, but PyTorch sees none: check the job's GPU request and the CUDA driver")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


@contextlib.contextmanager
def arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """How convolutions and matrix products are computed, for the block; restored afterwards.

    float32 : as such (PyTorch's own default on a GPU is tf32); tf32 : products rounded to 10 bits, on GPUs that can
    bf16 : activations, gradients and products rounded to 7 bits (autocast), on GPUs and CPUs that can
    Sums are kept in float32 in every case. On a GPU, cuDNN takes only algorithms that give the same bits every time.
    """
    repeatable, torch.backends.cudnn.deterministic = torch.backends.cudnn.deterministic, True
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # is made while PyTorch is imported
    # Before torch 2.14 the general setting does not reach cuDNN, whose own default is tf32.
    owners: tuple[Any, ...] = (torch.backends, torch.backends.cuda.matmul, convolutions)  # modules, says PyTorch
    before = [owner.fp32_precision for owner in owners]
    for owner in owners:
        owner.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        torch.backends.cudnn.deterministic = repeatable
        for owner, setting in zip(owners, before, strict=True):
            owner.fp32_precision = setting


def is_same_arithmetic(one: str, other: str, device: torch.device) -> bool:
    """Whether two precisions are the same there: a CPU has no tf32 and computes in float32 instead."""
    return one == other or (device.type == "cpu" and {one, other} == {"float32", "tf32"})


def tune_cpu() -> None:
    """Process-wide settings that make maps on a CPU faster: denormals count as zero, and freed memory is kept.

    By default glibc gives every large buffer back to the kernel when it is freed and takes it anew for the next
    gradient; the page faults cost little on an idle machine and up to a third of a backward on a busy one. Elsewhere
    than on glibc only denormals are set.
    """
    torch.set_flush_denormal(True)
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**30)
    except (OSError, AttributeError):
        return


def images_at_once(device: torch.device) -> int:
    """How many images share a block where the settings leave it open: on a GPU as many as its memory suggests.

    128 fill a card of 80 GB with work (the dearest recogniser, VGG_16, takes about 0.26 GB each).
    """
    if device.type != "cuda":
        return CPU_BATCH
    memory_gb = torch.cuda.get_device_properties(device).total_memory / 1e9
    return int(min(max(1.6 * memory_gb, 16), 128))


def halve(batch: int, error: RuntimeError) -> int:
    """Half the batch if the error says that memory ran out; any other error is raised again.

    Raises DeviceError when the batch is of one image.
    """
    if not (isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)):
        raise error
    if batch == 1:
        raise DeviceError("memory does not suffice for one image; take fewer layers or a larger machine") from error
    log.warning("memory ran out with %d images at once; going on with %d", batch, batch // 2)
    return batch // 2
