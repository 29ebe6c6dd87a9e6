"""What several tests share: a shard of faces to work on, and a small recogniser."""

import numpy as np
import pytest

from leam import storage
from leam.recognisers import registry


def make_faces(identity: str, images: int, side: int = 112, seed: int = 0) -> storage.Faces:
    """Smooth random colours with 19 regions in stripes: nothing like a face, and enough for the engine."""
    rng = np.random.default_rng([seed, *identity.encode()])
    coarse = rng.integers(0, 256, (images, 14, 14, 3), dtype=np.uint8)
    crops = coarse.repeat(side // 14, axis=1).repeat(side // 14, axis=2)
    stripes = (np.arange(side) * 19 // side).astype(np.uint8)
    return storage.Faces(
        identity=identity,
        images=[f"{number:02d}" for number in range(images)],
        crops=crops,
        regions=np.broadcast_to(stripes[:, None], (images, side, side)).copy(),
        landmarks=np.zeros((images, 68, 2), np.float32),
        points=np.zeros((images, 5, 2), np.float32),
    )


@pytest.fixture
def faces_shard(tmp_path):
    """A faces file with identities a, b, c, d of 3, 2, 4 and 3 images."""
    path = tmp_path / "faces" / "00000.h5"
    with storage.create_shard(path, "faces") as shard:
        for identity, images in zip("abcd", (3, 2, 4, 3), strict=True):
            storage.write_faces(shard, make_faces(identity, images))
        storage.write_discarded(shard, [])
    return path


@pytest.fixture
def narrow():
    """A narrow, untrained IResNet-18 with the paper's nine layers."""
    return registry.recogniser(
        "narrow",
        {
            "architecture": "iresnet18",
            "input_size": [112, 112],
            "mean": [127.5, 127.5, 127.5],
            "std": [127.5, 127.5, 127.5],
            "layers": list(registry.IRESNET_LAYERS),
            "arguments": {"widths": [4, 4, 8, 8], "embedding_size": 16},
            "untrained": True,
        },
    )
