"""A recogniser that fails on order, for tests alone: `architecture: faulty:build`, found through PYTHONPATH.

Orders are files in the folder FAULTS of the working directory, one per recogniser: JSON with ``fault`` (a name of
FAULTS below), ``image`` (the digest of the first image of the person at which it strikes) and ``once``. Without an
order it is a small ordinary network, so that an undisturbed run needs no other configuration.
"""

import hashlib
import json
import time
from pathlib import Path

import torch
from torch import nn

from leam.recognisers import architectures

FOLDER = Path("faults")


def build(name: str) -> nn.Module:
    return Faulty(name)


def digest(x: torch.Tensor) -> str:
    """What identifies a person: SHA-256 of the first image of a batch."""
    return hashlib.sha256(x[0].detach().cpu().numpy().tobytes()).hexdigest()


def order(folder: Path, name: str, fault: str, image: str, once: bool = True) -> None:
    """Let the recogniser of this name fail at one person, once or always."""
    (folder / FOLDER).mkdir(exist_ok=True)
    (folder / FOLDER / name).write_text(json.dumps({"fault": fault, "image": image, "once": once}))


class Faulty(nn.Module):
    """An IResNet-18 of few channels, the same weights for every name."""

    def __init__(self, name: str):
        super().__init__()
        self.order = FOLDER / name
        torch.manual_seed(sum(name.encode()))
        self.network = architectures.iresnet(18, widths=[4, 4, 8, 8], embedding_size=16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        image = digest(x)  # with an order or without: so BatchNorm is never folded, as this cannot be traced
        found = json.loads(self.order.read_text()) if self.order.exists() else {}
        if found and image == found["image"]:
            if found["once"]:
                self.order.unlink()
            FAULTS[found["fault"]]()
        return self.network(x)


def hang() -> None:
    """Longer than any limit of the tests."""
    time.sleep(1200)


def hold() -> None:
    """Until the test lets go."""
    for _ in range(2400):
        if (FOLDER / "go").exists():
            return
        time.sleep(0.5)


def dawdle() -> None:
    """Long enough that a job of two minutes stops itself before its next person."""
    time.sleep(62)


def swell() -> None:
    """Take 1.5 GB."""
    blocks = [torch.ones(2**25) for _ in range(12)]
    del blocks


def fail() -> None:
    raise RuntimeError("this person always fails")


FAULTS = {function.__name__: function for function in (hang, hold, dawdle, swell, fail)}
