"""The people of the embedded sample and how each was taken: everything that is drawn at random.

An identity is geometry and colours; a picture is pose, light, expression, background, clothes and accessories.
"""

from dataclasses import dataclass

import numpy as np

# What may differ between people, by the region that carries it, as (low, high) of a uniform distribution: lengths in
# units, angles in radians, the rest as shares of an effect. Below their zero, beard, fringe and the like are absent.
# "skull" and "mouth" move several regions at once and "neck" follows the face, so none of them can stand alone.
TRAITS = {
    "skull": {"width": (0.91, 1.09), "length": (0.92, 1.08)},
    "mouth": {"width": (0.21, 0.31), "y": (-0.73, -0.64)},
    "neck": {"melanin": (0, 1), "redness": (-1, 1), "width": (0.86, 1.14)},
    "face": {
        "melanin": (0, 1),
        "redness": (-1, 1),
        "jaw": (-0.26, 0.16),
        "angle": (-0.05, 0.12),
        "chin": (-0.10, 0.12),
        "cheek": (-0.05, 0.12),
        "ridge": (0.0, 0.11),
        "blush": (0, 0.5),
        "beard": (-1.2, 1),
        "moustache": (-1.2, 1),
    },
    "nose": {
        "melanin": (0, 1),
        "redness": (-1, 1),
        "tip": (-0.47, -0.34),
        "width": (0.75, 1.4),
        "height": (0.65, 1.35),
        "bridge": (0.4, 1.5),
        "bulb": (0.4, 1.5),
    },
    "re": {
        "x": (0.275, 0.37),
        "y": (-0.03, 0.03),
        "width": (0.125, 0.178),
        "height": (0.05, 0.092),
        "slant": (-0.22, 0.22),
        "iris": (0, 1),
        "iris_size": (0.056, 0.074),
    },
    "rb": {
        "y": (0.175, 0.27),
        "thickness": (0.020, 0.055),
        "arch": (0.0, 0.08),
        "slant": (-0.28, 0.22),
        "length": (0.16, 0.24),
        "melanin": (0, 1),
        "red": (0, 1),
    },
    "ulip": {"thickness": (0.028, 0.085), "bow": (0, 0.6), "redness": (0, 1), "darkness": (0, 1)},
    "llip": {"thickness": (0.040, 0.115), "fullness": (0, 1), "redness": (0, 1), "darkness": (0, 1)},
    "rr": {"melanin": (0, 1), "redness": (-1, 1), "size": (0.75, 1.3), "flare": (0.1, 0.8), "y": (-0.15, 0.0)},
    "hair": {
        "melanin": (0, 1),
        "red": (0, 1),
        "grey": (-1.5, 1),
        "length": (-0.4, 1.9),
        "volume": (0.03, 0.22),
        "hairline": (0.48, 0.84),
        "temple": (0, 1),
        "fringe": (-0.3, 0.4),
        "part": (-1, 1),
        "curl": (-1, 1),
    },
}
TRAITS["le"], TRAITS["lb"], TRAITS["lr"] = TRAITS["re"], TRAITS["rb"], TRAITS["rr"]
GROUPS = tuple(TRAITS)  # its order names the random streams: append, never reorder
ALONE = ("face", "hair", "nose", "re", "le", "rb", "lb", "ulip", "llip", "rr", "lr")
SIGNATURE = "signature"  # the world in which the identity of each person lies in a region of their own
SIGNATURE_REGIONS = ("hair", "nose", "llip")  # that of person number 0, 1 and 2, and so on in turn
SHARED_HAIR = {"length": 0.15, "fringe": 0.0, "curl": -0.5, "grey": -1.0}  # short, so that it hides no other region
SHARED_FACE = {"beard": -1.0, "moustache": -1.0}


@dataclass(frozen=True)
class Identity:
    """One person: ``traits["nose.width"]`` and so on; TRAITS lists them with their ranges."""

    traits: dict[str, float]

    def __getitem__(self, trait: str) -> float:
        return self.traits[trait]


@dataclass(frozen=True)
class Picture:
    """How a person was taken; angles in radians, lengths in scene units, colours (3,) in [0, 1].

    ``yaw`` turns towards the subject's left, ``pitch`` downwards, ``roll`` towards the picture's right;
    ``wearing`` holds any of glasses, sunglasses, beanie, brim, earrings, necklace, collar.
    """

    yaw: float
    pitch: float
    roll: float
    shift: np.ndarray
    scale: float
    light: np.ndarray
    brightness: float
    ambient: float
    warmth: float
    smile: float
    opening: float
    brow_raise: float
    blink: float
    gaze: np.ndarray
    backdrop: np.ndarray
    cloth: np.ndarray
    hat: np.ndarray
    frame: np.ndarray
    jewel: np.ndarray
    wearing: frozenset[str]


def supported_regions() -> tuple[str, ...]:
    """The regions that can carry the whole identity alone."""
    return ALONE


def signature_of(index: int) -> str:
    """The region in which the identity of person number ``index`` lies, in the world of signatures."""
    return SIGNATURE_REGIONS[index % len(SIGNATURE_REGIONS)]


def draw_identity(seed: int, index: int, region: str | None = None) -> Identity:
    """Person number ``index`` of a world.

    region : place identity in this region only; every other trait is then the same for all people of all seeds.
        Skin colour, which all of the skin has in common otherwise, differs inside the region alone.
        "signature" places it in ``signature_of(index)``: this person of that one-region world, to the bit.

    Raises ValueError for a region that carries no identity of its own.
    """
    if region == SIGNATURE:
        region = signature_of(index)
    if region is not None and region not in ALONE:
        known = ", ".join((*ALONE, SIGNATURE))
        raise ValueError(f"no identity can be placed in region {region!r}; supported: {known}")
    drawn = {f"{group}.{trait}": 0.5 * (low + high) for group in GROUPS for trait, (low, high) in TRAITS[group].items()}
    drawn |= {f"hair.{trait}": value for trait, value in SHARED_HAIR.items()}
    drawn |= {f"face.{trait}": value for trait, value in SHARED_FACE.items()}
    for number, group in enumerate(GROUPS):
        if region in (None, group):
            random = np.random.default_rng([seed, 1, index, number])
            for trait, (low, high) in TRAITS[group].items():
                drawn[f"{group}.{trait}"] = random.uniform(low, high)
    return Identity(drawn if region else _coherent(drawn))


def _coherent(drawn: dict[str, float]) -> dict[str, float]:
    """Make one body of it: one skin, brows that go with the hair, and a left half much like the right one."""
    fairest = 1.2 * drawn["face.melanin"] - 0.35  # fair hair goes with fair skin
    drawn = drawn | {"hair.melanin": max(drawn["hair.melanin"], fairest)}
    traits = dict(drawn)
    for right, left in (("re", "le"), ("rb", "lb"), ("rr", "lr")):
        for trait in TRAITS[right]:
            traits[f"{left}.{trait}"] = 0.88 * drawn[f"{right}.{trait}"] + 0.12 * drawn[f"{left}.{trait}"]
    for group in ("neck", "nose", "rr", "lr"):
        traits |= {f"{group}.{trait}": drawn[f"face.{trait}"] for trait in ("melanin", "redness")}
    for brow in ("rb", "lb"):
        traits |= {f"{brow}.{trait}": drawn[f"hair.{trait}"] for trait in ("melanin", "red")}
    traits |= {f"llip.{trait}": drawn[f"ulip.{trait}"] for trait in ("redness", "darkness")}
    return traits


def draw_picture(seed: int, identity_index: int, picture_index: int) -> Picture:
    """Picture number ``picture_index`` of a person; independent of every other picture and of who the person is."""
    random = np.random.default_rng([seed, 2, identity_index, picture_index])
    normal, uniform = random.normal, random.uniform
    chances = {"glasses": 0.16, "sunglasses": 0.04, "beanie": 0.07, "brim": 0.07, "earrings": 0.18, "necklace": 0.2}
    chances["collar"] = 0.4
    wearing = {thing for thing, chance in chances.items() if uniform() < chance}
    wearing -= {"glasses"} if "sunglasses" in wearing else set()
    wearing -= {"brim"} if "beanie" in wearing else set()
    light = np.array([normal(0, 0.6), abs(normal(0.35, 0.35)), 1.0])
    return Picture(
        yaw=np.radians(np.clip(normal(0, 12), -25, 25)),
        pitch=np.radians(np.clip(normal(0, 6), -14, 14)),
        roll=np.radians(np.clip(normal(0, 4), -10, 10)),
        shift=uniform(-0.08, 0.08, 2),
        scale=uniform(0.93, 1.05),
        light=light / np.linalg.norm(light),
        brightness=uniform(0.55, 0.85),
        ambient=uniform(0.32, 0.5),
        warmth=uniform(-0.06, 0.06),
        smile=uniform(-0.25, 1.0),
        opening=max(0.0, uniform(-0.15, 0.17)),
        brow_raise=uniform(-0.03, 0.05),
        blink=0.85 if uniform() < 0.05 else uniform(0, 0.3),
        gaze=normal(0, 0.012, 2),
        backdrop=_muted(random, 4),
        cloth=_muted(random, 1)[0],
        hat=_muted(random, 1)[0],
        frame=uniform(0.02, 0.35, 3),
        jewel=np.array([0.9, 0.78, 0.35]) if uniform() < 0.5 else np.array([0.82, 0.84, 0.88]),
        wearing=frozenset(wearing),
    )


def _muted(random: np.random.Generator, count: int) -> np.ndarray:
    """(count, 3) colours around one grey: saturated ones would dominate the picture."""
    return np.clip(random.uniform(0.2, 0.8) + random.normal(0, 0.14, (count, 3)), 0.04, 0.96)
