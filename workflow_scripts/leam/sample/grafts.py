"""Interventions on rendered people: another person in the very same picture, or one part of another person.

A *twin* of a picture is the same pose, light, expression and crop with another person in it. A *graft* is the person
of the picture with one group of traits of another person; what it does to an embedding is the true effect of the region
that the group shapes, measured by intervention on pictures that are like all others.

Shape letters: N pictures, S side of a crop.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from leam import storage
from leam.faces import stage
from leam.faces.detection import face_of_landmarks
from leam.faces.frames import warp
from leam.regions import REGIONS
from leam.sample import rendering
from leam.sample.people import Identity, Picture, draw_identity, draw_picture

log = logging.getLogger(__name__)
DONORS = 1000  # people among whom the other person of a twin is drawn
SKIN_COLOUR = tuple(
    f"{part}.{tint}" for part in ("face", "neck", "nose", "rr", "lr") for tint in ("melanin", "redness")
)
# Groups of traits, each with what its traits' names begin with, and the regions that it shapes. Skin has one colour all
# over; the head's width and length go with the shape of the face, the mouth's place and width with the lips.
GRAFTS = {
    "skin": (SKIN_COLOUR, ("face", "neck", "nose", "rr", "lr")),
    "face": (("face.", "skull."), ("face",)),
    "nose": (("nose.",), ("nose",)),
    "eyes": (("re.", "le."), ("re", "le")),
    "brows": (("rb.", "lb."), ("rb", "lb")),
    "lips": (("ulip.", "llip.", "mouth."), ("ulip", "llip", "imouth")),
    "ears": (("rr.", "lr."), ("rr", "lr")),
    "hair": (("hair.",), ("hair",)),
}


def traits_of(group: str, names: Sequence[str]) -> list[str]:
    """Those of some traits' names that a group has; the skin's colour is in the group "skin" alone.

    Raises ValueError for another group than those of GRAFTS.
    """
    if group not in GRAFTS:
        raise ValueError(f"graft {group!r}: expected one of {', '.join(GRAFTS)}")
    beginnings = GRAFTS[group][0]
    return [name for name in names if name.startswith(beginnings) and (group == "skin" or name not in SKIN_COLOUR)]


def graft(person: Identity, donor: Identity, group: str) -> Identity:
    """The person with one group of the donor's traits."""
    return Identity(person.traits | {name: donor[name] for name in traits_of(group, list(person.traits))})


def shaped(group: str, regions: np.ndarray) -> np.ndarray:
    """Where in regions (...) uint8 the group's own are: bool of the same shape."""
    return np.isin(regions, [REGIONS.index(region) for region in GRAFTS[group][1]])


def crop_as(person: Identity, shown: Identity, picture: Picture, size: int, settings: stage.FaceSettings) -> np.ndarray:
    """(S, S, 3) uint8: ``shown`` in a picture of ``size`` pixels, in the crop that ``person`` has in that picture.

    settings : of the detector "given", so that the crop follows from the person's landmarks
    """
    landmarks = rendering.find_landmarks(person, picture, size).astype(float)  # of the precision they are stored in
    (face,) = face_of_landmarks(landmarks, (size, size))
    frame = stage.crop_frame(face, (size, size), settings)
    return warp(rendering.render(shown, picture, size).image, frame, settings.crop_size)


def crop_twins(
    seed: int,
    index: int,
    numbers: Sequence[int],
    others: Sequence[int],
    size: int,
    settings: stage.FaceSettings,
    region: str | None = None,
) -> np.ndarray:
    """(N, S, S, 3) uint8: person ``others[k]`` in picture ``numbers[k]`` of person ``index``, and cropped so."""
    person = draw_identity(seed, index, region)
    return np.stack(
        [
            crop_as(person, draw_identity(seed, other, region), draw_picture(seed, index, number), size, settings)
            for number, other in zip(numbers, others, strict=True)
        ]
    )


def draw_other(seed: int, index: int, number: int) -> int:
    """The person who takes the place of person ``index`` in picture ``number``."""
    drawn = int(np.random.default_rng([seed, 3, index, number]).integers(DONORS - 1))
    return drawn + (drawn >= index)


def render_twins(
    faces: str | Path,
    output: str | Path,
    *,
    seed: int,
    size: int,
    settings: stage.FaceSettings,
    region: str | None = None,
) -> None:
    """The twin of every face of a shard of the sample, in the same crop: results/twins/{shard}.h5.

    seed, size, region : as those of the pictures (`leam.sample.rendering.render_sample`); settings : the faces'
    """
    described = {"seed": seed, "size": size, "region": region or ""}
    with storage.open_shard(faces, "faces") as parsed, storage.create_shard(output, "twins", **described) as target:
        for identity in storage.identities(parsed):
            images, index = storage.read_images(parsed, identity), rendering.person_number(identity)
            numbers = [int(image) for image in images]
            others = [draw_other(seed, index, number) for number in numbers]
            crops = crop_twins(seed, index, numbers, others, size, settings, region)
            storage.write_twins(target, identity, images, crops)
            log.info("%s: %d twins rendered", identity, len(images))
