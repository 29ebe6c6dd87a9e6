"""Shards of faces and of images for tests."""

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from drawn import png
from leam import storage
from leam.sample import rendering


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


def write_faces(path: Path, faces: Iterable[storage.Faces]) -> Path:
    """A faces file of these people, none of whose images was discarded."""
    with storage.create_shard(path, "faces") as shard:
        for person in faces:
            storage.write_faces(shard, person)
        storage.write_discarded(shard, [])
    return path


def write_embeddings(path: Path, people: dict[str, np.ndarray], **attributes) -> Path:
    """A maps file without any layer: the embeddings (N, D) of these people alone."""
    with storage.create_shard(path, "maps", layers=np.zeros(0, "S1"), **attributes) as shard:
        for identity, embeddings in people.items():
            n = len(embeddings)
            pairs = np.array(list(itertools.permutations(range(n), 2)), np.int16)
            images = [f"{number:02d}" for number in range(n)]
            storage.start_maps(shard, identity, images, pairs, np.zeros(len(pairs), np.float32), embeddings, 0)
    return path


def write_images(path, people, failed=()):
    """An images shard of ``people``; ``failed`` are further rows of the ledger: identity, image, status."""
    rows = [(person.identity, image, "ok") for person in people for image in person.images]
    with storage.create_shard(path, "images") as shard:
        for person in people:
            storage.write_pictures(shard, person)
        storage.write_ledger(
            shard,
            [
                {"identity": identity, "image": image, "url": "", "status": status, "sha256": ""}
                for identity, image, status in [*rows, *failed]
            ],
        )
    return path


def rendered(identity, numbers, size=192):
    """Rendered heads as pictures with label maps and without landmarks, and the landmarks apart."""
    scenes = [rendering.render_person(5, number, [0], size)[0] for number in numbers]
    encoded, labels = (
        [png(part) for part in parts] for parts in zip(*((s.image, s.regions) for s in scenes), strict=True)
    )
    found = storage.Pictures(identity, [f"{number}" for number in numbers], encoded, labels)
    return found, np.stack([scene.landmarks for scene in scenes])
