"""The embedded sample world: people who do not exist, rendered so that everything about them is known.

A head is a handful of meshes (skull with face, ears, neck, torso, hair and what people wear). Every vertex carries
*template* coordinates, which are those of the average head before identity, expression and pose have moved it;
features are painted in template coordinates, so that regions and landmarks follow the geometry exactly, whatever
its pose. An identity is geometry and colours; a picture is pose, light, expression, background, clothes and
accessories. No photograph is involved: real faces would need licences and would not be private.

What is not simulated: cast shadows, skin texture, single hairs. The region of glasses is their frame (and the dark
lenses of sunglasses): what is seen through a clear lens keeps its own region, because it still shows the person. Jaw
landmarks are fixed points of the head, so in a turned head they are not the outline that is seen.

Axes: x to the picture's right (the subject's left), y up, z towards the camera; one unit is about 10 cm, the eyes
are at height 0. Everything is continuous until it is sampled at pixel centres, so a scene does not depend on the
size it is rendered at.

Shape letters: V vertices, M triangles, F fragments (a triangle at a pixel), K pixels that are painted.
"""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from leam import storage
from leam.regions import REGIONS

log = logging.getLogger(__name__)

LABEL = {name: number for number, name in enumerate(REGIONS)}

RADII = np.array([0.78, 1.12, 0.95])  # of the template head, an ellipsoid around the origin
VIEW = 3.7  # side of the square that a picture shows, at depth 0
VIEW_CENTRE = np.array([0.0, -0.22])
CAMERA_DISTANCE = 9.0

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


@dataclass(frozen=True)
class Rendering:
    """image : (S, S, 3) uint8 RGB; regions : (S, S) uint8 in FaRL order; landmarks : (68, 2) float32 px.

    Landmarks: x then y, the centre of the top left pixel is (0, 0); hidden points are where they would be seen.
    """

    image: np.ndarray
    regions: np.ndarray
    landmarks: np.ndarray


# --------------------------------------------------------------------------------------------- drawing of parameters


def supported_regions() -> tuple[str, ...]:
    """The regions that can carry the whole identity alone."""
    return ALONE


def draw_identity(seed: int, index: int, region: str | None = None) -> Identity:
    """Person number ``index`` of a world.

    region : place identity in this region only; every other trait is then the same for all people of all seeds.
        Skin colour, which all of the skin has in common otherwise, differs inside the region alone.

    Raises ValueError for a region that carries no identity of its own.
    """
    if region is not None and region not in ALONE:
        raise ValueError(f"no identity can be placed in region {region!r}; supported: {', '.join(ALONE)}")
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


# ------------------------------------------------------------------------------------------------------- the surface


def _ramp(start: float, end: float, x: np.ndarray) -> np.ndarray:
    """0 before ``start``, 1 after ``end``, smooth between; ``start`` may be the larger one."""
    t = np.clip((x - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def _hill(x: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-((x / width) ** 2))


def _on_template(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(..., 3) points of the template head's front with the given x and y."""
    x, y = np.broadcast_arrays(x, y)
    z = RADII[2] * np.sqrt(np.clip(1 - (x / RADII[0]) ** 2 - (y / RADII[1]) ** 2, 0, None))
    return np.stack([x, y, z], -1)


def _surface(template: np.ndarray, who: Identity, picture: Picture) -> np.ndarray:
    """Where the points ``template`` (..., 3) of the template head are on this head, before its pose: (..., 3)."""
    x, y, z = np.moveaxis(template, -1, 0)
    front, low = _ramp(0.0, 0.35, z), _ramp(-0.1, -1.1, y)
    wide = 1 + who["face.jaw"] * low + who["face.angle"] * _hill(y + 0.62, 0.25) + 0.05 * _hill(y + 0.2, 0.25)
    out_x = x * who["skull.width"] * wide
    chin = (0.26 + who["face.chin"]) * _hill(x, 0.33) * _ramp(-0.55, -1.0, y)
    out_z = np.where(z < 0, z * (1 - 0.55 * low), z) + front * (chin + _relief(x, y, who, picture))
    drop = 0.9 * picture.opening * _ramp(who["mouth.y"], -1.05, y) * front
    out_y = np.where(y < 0, y * who["skull.length"], y) - drop - 0.25 * who["face.chin"] * low * _hill(x, 0.4) * front
    return np.stack([out_x, out_y, out_z], -1)


def _relief(x: np.ndarray, y: np.ndarray, who: Identity, picture: Picture) -> np.ndarray:
    """How far the features stand out of the front of the head, in units."""
    ax, mouth = np.abs(x), who["mouth.y"]
    z = (0.02 + who["face.ridge"]) * _hill(ax - 0.27, 0.3) * _hill(y - 0.2, 0.11)
    z = z + (who["face.cheek"] + 0.05 * max(picture.smile, 0)) * _hill(ax - 0.46, 0.2) * _hill(y + 0.28, 0.18)
    for side, eye in ((-1, "re"), (1, "le")):
        z = z - 0.12 * _hill(x - side * 0.32, 0.21) * _hill(y, 0.14)  # the socket is everyone's, the eye is not
        ball = _hill(x - side * who[f"{eye}.x"], 0.13) * _hill(y - who[f"{eye}.y"], 0.09)
        z = z + 0.07 * ball * (who[f"{eye}.height"] / 0.07)
    z = z + _nose_relief(x, y, who)
    z = z + 0.07 * _hill(x, 0.32) * _hill(y - mouth, 0.17) - 0.05 * _hill(x, 0.2) * _hill(y - mouth + 0.19, 0.07)
    inside = np.sqrt(np.clip(1 - (x / who["mouth.width"]) ** 2, 0, 1))
    upper, lower = who["ulip.thickness"], who["llip.thickness"]
    z = z + 0.8 * upper * inside * _hill(y - mouth - 0.5 * upper, 0.05)
    below = mouth - 0.7 * picture.opening - 0.5 * lower
    z = z + (0.4 + 0.5 * who["llip.fullness"]) * lower * inside * _hill(y - below, 0.055)
    return z - 0.35 * picture.opening * inside * _hill(y - mouth + 0.25 * picture.opening, 0.06)


def _nose_relief(x: np.ndarray, y: np.ndarray, who: Identity) -> np.ndarray:
    tip, width = who["nose.tip"], who["nose.width"]
    along = np.clip((0.12 - y) / (0.12 - tip), 0, 1.3)  # 0 between the eyes, 1 at the tip
    height = (0.07 * who["nose.bridge"] + 0.27 * who["nose.height"] * along**1.3) * _ramp(0.16, 0.0, y)
    under = _ramp(tip - 0.11, tip - 0.03, y)
    ridge = height * under * _hill(x, (0.075 + 0.05 * np.minimum(along, 1)) * (0.4 + 0.6 * width))
    ball = 0.07 * who["nose.bulb"] * _hill(x, 0.085 * width) * _hill(y - tip, 0.075)
    wings = 0.11 * _hill(np.abs(x) - 0.125 * width, 0.055) * _hill(y - tip + 0.035, 0.06)
    return ridge + ball + wings


# -------------------------------------------------------------------------------------------------------- the meshes


@dataclass
class Mesh:
    """points, template, normals : (V, 3); keep : (V,), the surface exists where it is > 0; triangles : (M, 3);
    part : (V,) which entry of PARTS paints it."""

    points: np.ndarray
    template: np.ndarray
    normals: np.ndarray
    keep: np.ndarray
    triangles: np.ndarray
    part: np.ndarray


PARTS = ("head", "ear_r", "ear_l", "neck", "torso", "hair", "hat", "rim", "lens", "earring", "necklace")


def _grid(part: str, points: np.ndarray, template: np.ndarray | None = None, keep: np.ndarray | None = None) -> Mesh:
    """A mesh from an (n, m, 3) array of points; its outside is where d/dm x d/dn points."""
    n, m = points.shape[:2]
    normals = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    if np.allclose(points[:, 0], points[:, -1]):  # closed: the seam must not show in the shading
        seam = np.cross(points[:, 1] - points[:, -2], np.gradient(points[:, 0], axis=0))
        normals[:, 0] = normals[:, -1] = 0.5 * seam
    normals += 1e-6 * (points - points.mean((0, 1)))  # a pole has no tangents of its own
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    corner = np.arange(n * m).reshape(n, m)
    a, b, c, d = (corner[i : n - 1 + i, j : m - 1 + j].ravel() for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)))
    return Mesh(
        points=points.reshape(-1, 3),
        template=(points if template is None else template).reshape(-1, 3),
        normals=normals.reshape(-1, 3),
        keep=np.ones(n * m) if keep is None else keep.ravel(),
        triangles=np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)]),
        part=np.full(n * m, PARTS.index(part)),
    )


def _sphere(rows: int, columns: int, crowding: float = 0.0) -> np.ndarray:
    """(rows, columns, 3) unit vectors from the top down and around from the back; crowding (< 1) favours the front."""
    down = np.linspace(0, np.pi, rows)[:, None]
    around = np.linspace(-np.pi, np.pi, columns)[None, :]
    around = around - crowding * np.sin(around)
    return np.stack([np.sin(down) * np.sin(around), np.cos(down) + 0 * around, np.sin(down) * np.cos(around)], -1)


def _tube(part: str, path: np.ndarray, radius: float, sides: int = 7) -> Mesh:
    """A tube around the (n, 3) path."""
    ahead = np.gradient(path, axis=0)
    if np.allclose(path[0], path[-1]):
        ahead[0] = ahead[-1] = path[1] - path[-2]
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    least = np.eye(3)[np.argmin(np.abs(ahead).max(0))]
    across = np.cross(ahead, least)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    turn = np.linspace(0, 2 * np.pi, sides)[None, :, None]
    ring = np.cos(turn) * across[:, None] + np.sin(turn) * np.cross(ahead, across)[:, None]
    return _grid(part, path[:, None] - radius * ring[:, ::-1], np.broadcast_to(path[:, None], ring.shape))


def _both_sides(mesh: Mesh) -> Mesh:
    """Make a thin surface visible from behind too."""
    mesh.triangles = np.concatenate([mesh.triangles, mesh.triangles[:, ::-1]])
    return mesh


def _join(meshes: list[Mesh]) -> Mesh:
    starts = np.cumsum([0] + [len(mesh.points) for mesh in meshes])
    triangles = [mesh.triangles + start for mesh, start in zip(meshes, starts, strict=False)]
    fields = ("points", "template", "normals", "keep", "part")
    return Mesh(
        triangles=np.concatenate(triangles), **{f: np.concatenate([getattr(m, f) for m in meshes]) for f in fields}
    )


_HEAD = _sphere(104, 124, crowding=0.35) * RADII
_SHELL = _sphere(64, 84) * RADII
_BALL = _sphere(22, 26)


def _ear(side: int, name: str, who: Identity) -> Mesh:
    """A flat ball that stands off by its flare; its template coordinates are those of the ball."""
    size, flare = who[f"{name}.size"], side * (0.25 + who[f"{name}.flare"])
    ball = _BALL * np.array([0.055, 0.25, 0.155]) * size
    turned = np.stack(
        [
            ball[..., 0] * np.cos(flare) - ball[..., 2] * np.sin(flare),
            ball[..., 1],
            ball[..., 0] * np.sin(flare) + ball[..., 2] * np.cos(flare),
        ],
        -1,
    )
    at = np.array([side * (0.775 * who["skull.width"] + 0.11 * size * np.sin(abs(flare))), who[f"{name}.y"], -0.06])
    return _grid(f"ear_{'r' if side < 0 else 'l'}", turned + at, _BALL * np.array([side, 1, 1]))


def _hairline(template: np.ndarray, who: Identity) -> np.ndarray:
    """Height of the hair's lower edge over template points (..., 3); high where there is no hair."""
    x, _, z = np.moveaxis(template, -1, 0)
    line, temple = who["hair.hairline"], who["hair.temple"]
    edge = np.interp(
        z / RADII[2],
        [-1, -0.35, -0.16, 0.08, 0.16, 0.42, 0.62, 0.9],
        [-0.75, -0.62, -0.2, -0.1 - 0.1 * temple, 0.18, 0.33 + 0.2 * temple, line - 0.08 + 0.14 * temple, line],
    )
    parted = np.clip(who["hair.part"] * x / 0.5 + 0.5, 0, 1.4)
    return edge - max(who["hair.fringe"], 0) * parted * _ramp(0.45, 0.75, z / RADII[2])


def _hair(who: Identity, picture: Picture) -> list[Mesh]:
    if who["hair.length"] < -0.25:
        return []
    x, y, z = np.moveaxis(_SHELL, -1, 0)
    curl = max(who["hair.curl"], 0)
    waves = np.sin(9 * x + 4 * y) * np.sin(8 * y + 3 * z) * np.sin(9 * z + 2)
    above = y - _hairline(_SHELL, who) + 0.05 * curl * waves
    covered = {"beanie", "brim"} & picture.wearing
    volume = min(who["hair.volume"], 0.04) if covered else who["hair.volume"] * (1 + 0.8 * curl)
    thick = 0.015 + volume * _ramp(0, 0.45, above) * (1 + 0.35 * curl * waves)
    lift = 1 + thick / np.linalg.norm(_SHELL, axis=-1)
    skull = _surface(_SHELL, who, picture)
    cap = _grid("hair", skull * lift[..., None], _SHELL, above)
    return [cap] + ([_curtain(who)] if who["hair.length"] > 0.7 else [])


def _curtain(who: Identity) -> Mesh:
    """Long hair: a bell from above the ears down, open where the face is."""
    down = np.linspace(0, 1, 26)[:, None]
    bottom = -0.25 - 1.0 * who["hair.length"]
    y = 0.62 + (bottom - 0.62) * down
    opening = 0.46 - 0.10 * down  # half of the gap in front, in units of pi
    around = np.pi * (2 * np.linspace(0, 1, 44)[None, :] - 1) * (1 - opening) + np.pi
    bulge = np.sin(np.pi * np.clip(0.25 + 0.55 * down, 0, 1)) * (0.93 + 0.8 * who["hair.volume"])
    curl = 1 + 0.05 * max(who["hair.curl"], 0) * np.sin(14 * y + 5 * around)
    x = 0.84 * who["skull.width"] * bulge * curl * np.sin(around)
    z = -0.22 + 0.75 * bulge * curl * np.cos(around)
    points = np.stack([x, np.broadcast_to(y, x.shape), z], -1)
    return _both_sides(_grid("hair", points))


def _hats(who: Identity, picture: Picture) -> list[Mesh]:
    if not {"beanie", "brim"} & picture.wearing:
        return []
    x, y, z = np.moveaxis(_SHELL, -1, 0)
    above = y - 0.46 - 0.12 * z
    tall = 0.07 + (0.06 if "beanie" in picture.wearing else 0.12) * _ramp(0, 0.5, above)
    lift = 1 + tall / np.linalg.norm(_SHELL, axis=-1)
    crown = _grid("hat", _surface(_SHELL, who, picture) * lift[..., None], _SHELL, above)
    if "beanie" in picture.wearing:
        return [crown]
    around, out = np.linspace(-np.pi, np.pi, 60)[None, :], np.linspace(0.95, 1.5, 6)[:, None]
    x = 0.8 * who["skull.width"] * out * np.sin(around)
    z = 0.95 * out * np.cos(around)
    brim = np.stack([x, 0.5 + 0.12 * z - 0.1 * (out - 1) ** 2 + 0.06 * x**2, z], -1)
    return [crown, _both_sides(_grid("hat", brim))]


def _glasses(who: Identity, picture: Picture) -> list[Mesh]:
    if not {"glasses", "sunglasses"} & picture.wearing:
        return []
    # Glasses are the picture's, not the person's: they sit where the average eyes are, scaled with the skull.
    turn, wide = np.linspace(0, 2 * np.pi, 41), who["skull.width"]

    def plane(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.stack([x * wide, y, 0.96 - 0.22 * x**2 + 0.09 * _hill(x, 0.1)], -1)

    meshes = []
    for side in (-1, 1):
        x, y = 0.325 * side + 0.225 * np.cos(turn), -0.03 + 0.165 * np.sin(turn)
        meshes.append(_tube("rim", plane(x, y), 0.022))
        hinge, ear = plane(np.array(side * 0.55), np.array(0.02)), np.array([side * 0.83 * wide, 0.06, -0.02])
        meshes.append(_tube("rim", hinge + np.linspace(0, 1, 14)[:, None] * (ear - hinge), 0.02))
        if "sunglasses" in picture.wearing:
            out = np.linspace(0, 1, 8)[:, None]
            disc = plane(0.325 * side + 0.225 * out * np.cos(turn), -0.03 + 0.165 * out * np.sin(turn))
            lens = _grid("lens", disc)
            lens.normals[:] = (0, 0, 1)  # flat: the disc's grid has no tangents at its centre
            meshes.append(_both_sides(lens))
    x = np.linspace(-0.1, 0.1, 9)
    return [*meshes, _tube("rim", plane(x, 0.02 + 0.02 * _hill(x, 0.08)), 0.02)]


def _earrings(who: Identity, picture: Picture) -> list[Mesh]:
    if "earrings" not in picture.wearing:
        return []
    meshes = []
    for side, ear in ((-1, "rr"), (1, "lr")):
        low = who[f"{ear}.y"] - 0.27 * who[f"{ear}.size"]
        at = np.array([side * (0.84 * who["skull.width"] + 0.05), low, -0.02])
        meshes.append(_grid("earring", at + 0.055 * _BALL))
        meshes.append(_grid("earring", at - np.array([0, 0.12, 0]) + np.array([0.045, 0.08, 0.045]) * _BALL))
    return meshes


def _body(who: Identity, picture: Picture) -> list[Mesh]:
    """Neck, torso and necklace; they turn with the head by a part of its angles only."""
    down, around = np.linspace(0, 1, 22)[:, None], np.linspace(-np.pi, np.pi, 40)[None, :]
    radius = 0.47 * who["neck.width"] * (1 - 0.12 * np.sin(np.pi * down))
    wide = radius * (1 + 0.4 * _ramp(0.6, 1, down))
    y = -0.55 - 1.3 * down + 0 * around
    neck = np.stack([wide * np.sin(around), y, -0.16 - 0.28 * down + radius * np.cos(around)], -1)
    torso = _sphere(36, 48, 0.3)
    torso = np.sign(torso) * np.abs(torso) ** 0.85 * np.array([1.75, 1.0, 0.75]) + np.array([0, -2.58, -0.28])
    meshes = [_grid("neck", neck), _grid("torso", torso)]
    if "necklace" in picture.wearing:
        turn = np.linspace(-np.pi, np.pi, 61)
        ring = 0.56 * who["neck.width"]
        path = np.stack([ring * np.sin(turn), -1.60 - 0.14 * np.cos(turn), -0.16 + 1.05 * ring * np.cos(turn)], -1)
        path[:, 2] += 0.04
        meshes.append(_tube("necklace", path, 0.035))
        meshes.append(_grid("necklace", 0.075 * _BALL + path[30] + np.array([0, -0.06, 0.03])))
    return meshes


def _rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    (a, b, c), (s, t, u) = np.cos([yaw, pitch, roll]), np.sin([yaw, pitch, roll])
    about_y = np.array([[a, 0, s], [0, 1, 0], [-s, 0, a]])
    about_x = np.array([[1, 0, 0], [0, b, -t], [0, t, b]])
    about_z = np.array([[c, u, 0], [-u, c, 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def _pose(points: np.ndarray, picture: Picture, share: np.ndarray | float = 1.0) -> np.ndarray:
    """Turn points (..., 3) with the head about the top of the neck; where ``share`` is below 1, only so much."""
    pivot = np.array([0, -0.55, -0.1])
    full = (points - pivot) @ _rotation(picture.yaw, picture.pitch, picture.roll).T + pivot
    return full if isinstance(share, float) else points + share[..., None] * (full - points)


def _build(who: Identity, picture: Picture) -> Mesh:
    """Everything in the scene, posed."""
    head = [_grid("head", _surface(_HEAD, who, picture), _HEAD), _ear(-1, "rr", who), _ear(1, "lr", who)]
    head += _hair(who, picture) + _hats(who, picture) + _glasses(who, picture) + _earrings(who, picture)
    upper, body = _join(head), _join(_body(who, picture))
    turn = _rotation(picture.yaw, picture.pitch, picture.roll)
    upper.points, upper.normals = _pose(upper.points, picture), upper.normals @ turn.T
    body.points = _pose(body.points, picture, 0.2 + 0.8 * _ramp(-1.7, -0.8, body.points[:, 1]))
    return _join([upper, body])


# --------------------------------------------------------------------------------------------------------- rendering


def _project(points: np.ndarray, picture: Picture, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates (..., 2) and nearness (...,) of posed points, in a picture of ``size`` pixels a side."""
    near = CAMERA_DISTANCE / (CAMERA_DISTANCE - points[..., 2])
    plane = (points[..., :2] - VIEW_CENTRE) * near[..., None] * picture.scale + picture.shift
    unit = plane / VIEW * np.array([1, -1]) + 0.5
    return unit * size - 0.5, near


@dataclass
class Hits:
    """What is seen: pixel (K,) flat indices, corners (K, 3) vertex indices, weights (K, 3) that sum to 1."""

    pixel: np.ndarray
    corners: np.ndarray
    weights: np.ndarray

    def blend(self, values: np.ndarray) -> np.ndarray:
        """Interpolate vertex values (V, c) at the hits: (K, c)."""
        return np.einsum("kc,kcd->kd", self.weights, values[self.corners])


def _rasterise(mesh: Mesh, screen: np.ndarray, near: np.ndarray, size: int) -> Hits:
    """The nearest surface at every pixel centre; triangles that face away are skipped.

    Every triangle is tried at every pixel of its bounding box, all of them in one flat list: triangles are a few
    pixels large, so few trials are in vain, and the cost does not depend on Python.
    """
    a, b, c = (screen[mesh.triangles[:, corner]] for corner in range(3))  # (M, 2) each
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    facing = np.flatnonzero(area < -1e-12)
    a, b, c, area, triangles = a[facing], b[facing], c[facing], area[facing], mesh.triangles[facing]
    low = np.clip(np.ceil(np.minimum(np.minimum(a, b), c)), 0, size).astype(np.int64)
    high = np.clip(np.floor(np.maximum(np.maximum(a, b), c)), -1, size - 1).astype(np.int64)
    extent = np.maximum(high - low + 1, 0)
    count = extent[:, 0] * extent[:, 1]
    triangle = np.repeat(np.arange(len(count)), count)  # (F,)
    number = np.arange(len(triangle)) - np.repeat(np.cumsum(count) - count, count)
    dy, dx = np.divmod(number, extent[triangle, 0])
    px, py = low[triangle, 0] + dx, low[triangle, 1] + dy
    ux, uy = px - a[triangle, 0], py - a[triangle, 1]
    b, c = ((b - a) / area[:, None])[triangle], ((c - a) / area[:, None])[triangle]
    # barycentric weights of the second and third corner
    second, third = ux * c[:, 1] - uy * c[:, 0], uy * b[:, 0] - ux * b[:, 1]
    first = 1 - second - third
    inside = np.flatnonzero((first >= -1e-9) & (second >= -1e-9) & (third >= -1e-9))
    weights = np.stack([first[inside], second[inside], third[inside]], -1)
    hits = Hits((py * size + px)[inside], triangles[triangle[inside]], weights)
    return _nearest(hits, mesh.keep, near, size)


def _nearest(hits: Hits, keep: np.ndarray, near: np.ndarray, size: int) -> Hits:
    both = hits.blend(np.stack([keep, near], -1))
    depth = np.where(both[:, 0] > 0, both[:, 1], -np.inf)  # hair and hats end where ``keep`` does, not at an edge
    nearest = np.full(size * size, -np.inf)
    np.maximum.at(nearest, hits.pixel, depth)
    chosen = np.full(size * size, -1)
    first = np.flatnonzero((depth == nearest[hits.pixel]) & np.isfinite(depth))
    chosen[hits.pixel[first]] = first
    chosen = chosen[chosen >= 0]
    return Hits(hits.pixel[chosen], hits.corners[chosen], hits.weights[chosen])


def render(identity: Identity, picture: Picture, size: int) -> Rendering:
    """Render a person in a picture, ``size`` pixels a side; the scene is the same at every size.

    The image is the mean of 2 x 2 samples a pixel; a region is what is seen at the pixel's centre.
    """
    mesh = _build(identity, picture)
    screen, near = _project(mesh.points, picture, size)
    regions = np.zeros(size * size, np.uint8)
    hits = _rasterise(mesh, screen, near, size)
    regions[hits.pixel] = _paint(mesh, hits, identity, picture)[0]
    fine = 2 * size
    image = _backdrop(picture, fine).reshape(-1, 3)
    hits = _rasterise(mesh, 2 * screen + 0.5, near, fine)
    image[hits.pixel] = _shade(mesh, hits, _paint(mesh, hits, identity, picture), picture)
    image = image.reshape(size, 2, size, 2, 3).mean((1, 3))
    landmarks = _project(_pose(_surface(_landmarks(identity, picture), identity, picture), picture), picture, size)[0]
    image = np.clip(np.rint(255 * image), 0, 255).astype(np.uint8)
    return Rendering(image, regions.reshape(size, size), landmarks.astype(np.float32))


def _backdrop(picture: Picture, size: int) -> np.ndarray:
    """(size, size, 3) smooth blend of four colours, one a corner, with a wave across."""
    at = (np.arange(size) + 0.5) / size
    x, y = at[None, :, None], at[:, None, None]
    a, b, c, d = picture.backdrop
    blend = (a * (1 - x) + b * x) * (1 - y) + (c * (1 - x) + d * x) * y
    return blend * (0.9 + 0.1 * np.sin(9 * (x * a[0] + y * b[1]) + 6 * c[2]))


def _shade(mesh: Mesh, hits: Hits, painted: tuple, picture: Picture) -> np.ndarray:
    """Lambert, a highlight and a soft ambient from above: colours (K, 3)."""
    _, colour, gloss, shadow = painted
    normal = hits.blend(mesh.normals)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    normal *= np.where(normal[:, 2:] < -0.2, -1, 1)  # the inside of hair and brim
    diffuse = np.clip(0.12 + 0.88 * (normal @ picture.light), 0, None)
    halfway = picture.light + np.array([0, 0, 1])
    shine = np.clip(normal @ (halfway / np.linalg.norm(halfway)), 0, 1) ** 24
    level = picture.brightness * diffuse + picture.ambient * (0.85 + 0.15 * normal[:, 1])
    warm = 1 + picture.warmth * np.array([1, 0, -1])
    return colour * (level * shadow)[:, None] * warm + (gloss * shine * picture.brightness)[:, None]


# ---------------------------------------------------------------------------------------------------------- painting


def _skin(melanin: float, redness: float) -> np.ndarray:
    tones = np.array([[0.98, 0.83, 0.74], [0.90, 0.70, 0.56], [0.72, 0.50, 0.36], [0.42, 0.27, 0.19]])
    tone = np.array([np.interp(melanin, np.linspace(0, 1, 4), tones[:, channel]) for channel in range(3)])
    return tone * (1 + 0.06 * redness * np.array([0.5, -0.7, -0.5]))


def _hair_tone(melanin: float, red: float, grey: float = -1.0) -> np.ndarray:
    fair, dark = np.array([0.86, 0.70, 0.42]), np.array([0.07, 0.05, 0.045])
    tone = dark + (fair - dark) * (1 - melanin) ** 1.6
    tone = tone + max(red - 0.6, 0) * (1 - melanin) * np.array([0.25, -0.35, -0.45])
    return tone + min(max(grey, 0), 0.85) * (np.array([0.72, 0.72, 0.74]) - tone)


def _iris_tone(position: float) -> np.ndarray:
    tones = np.array(
        [[0.16, 0.09, 0.05], [0.36, 0.20, 0.09], [0.40, 0.40, 0.16], [0.25, 0.48, 0.38], [0.30, 0.50, 0.74]]
    )
    return np.array([np.interp(position, np.linspace(0, 1, 5), tones[:, channel]) for channel in range(3)])


def _paint(mesh: Mesh, hits: Hits, who: Identity, picture: Picture) -> tuple:
    """What is at the hits: regions (K,) uint8, colours (K, 3), gloss (K,) and shadow (K,), which is 1 where none."""
    template, part = hits.blend(mesh.template), mesh.part[hits.corners[:, 0]]
    regions, gloss, shadow = np.zeros(len(part), np.uint8), np.zeros(len(part)), np.ones(len(part))
    colour = np.zeros((len(part), 3))
    for number, name in enumerate(PARTS):
        here = np.flatnonzero(part == number)
        if len(here):
            found = _PAINTERS[name](template[here], who, picture)
            regions[here], colour[here], gloss[here], shadow[here] = found
    return regions, colour, gloss, shadow


def _eye_lids(x: np.ndarray, side: int, eye: str, who: Identity, picture: Picture) -> tuple:
    """Along the eye: position (-1 at the picture's left corner, 1 at the other), heights of upper and lower lid."""
    along = (x - side * who[f"{eye}.x"]) / who[f"{eye}.width"]
    open_ = who[f"{eye}.height"] * (1 - 0.9 * picture.blink) * (1 - 0.15 * max(picture.smile, 0))
    axis = who[f"{eye}.y"] + side * np.tan(who[f"{eye}.slant"]) * along * who[f"{eye}.width"]
    arc = np.clip(1 - along**2, 0, 1)
    closing = 0.35 * who[f"{eye}.height"] * picture.blink  # the upper lid comes down to the lower
    return along, axis - closing + open_ * arc**0.75, axis - closing - 0.75 * open_ * arc


def _brow_line(x: np.ndarray, side: int, brow: str, who: Identity, picture: Picture) -> tuple:
    """Along the brow: position (-1 at the nose, 1 at the temple) and the height of its middle."""
    along = (side * x - 0.33) / who[f"{brow}.length"]
    height = who[f"{brow}.y"] + picture.brow_raise + who[f"{brow}.arch"] * (1 - (along - 0.25) ** 2)
    return along, height + np.tan(who[f"{brow}.slant"]) * along * who[f"{brow}.length"] * 0.6 - 0.03


def _mouth_lines(x: np.ndarray, who: Identity, picture: Picture) -> tuple:
    """Position along the mouth (-1 to 1) and heights of four lines: upper lip's top, its bottom, lower lip's two."""
    along = x / (who["mouth.width"] * (1 + 0.12 * picture.smile))
    arc = np.clip(1 - along**2, 0, 1)
    middle = who["mouth.y"] + 0.07 * picture.smile * (along**2 - 0.3)
    top, bottom = middle + 0.3 * picture.opening * arc**0.6, middle - 0.8 * picture.opening * arc**0.6
    bow = 1 - who["ulip.bow"] * _hill(along, 0.18)
    upper = top + who["ulip.thickness"] * arc**0.7 * bow
    return along, upper, top, bottom, bottom - who["llip.thickness"] * arc**0.6


def _nose_edge(y: np.ndarray, who: Identity) -> np.ndarray:
    """Half of the nose's width at height y; negative above and below it."""
    tip, wide = who["nose.tip"], 0.185 * who["nose.width"]
    return np.interp(
        y, [tip - 0.10, tip - 0.085, tip - 0.03, tip + 0.12, 0.06, 0.075], [-1, 0.09, wide, 0.11, 0.065, -1]
    )


def _paint_head(template: np.ndarray, who: Identity, picture: Picture) -> tuple:
    x, y, z = template.T
    front = z > 0
    regions = np.full(len(x), LABEL["face"], np.uint8)
    colour = np.tile(_skin(who["face.melanin"], who["face.redness"]), (len(x), 1))
    cheeks = who["face.blush"] * _hill(np.abs(x) - 0.42, 0.16) * _hill(y + 0.3, 0.14) * front
    colour *= 1 - 0.35 * cheeks[:, None] * np.array([0, 1, 0.8])
    gloss, shadow = np.full(len(x), 0.10), np.ones(len(x))
    shadow -= 0.2 * _ramp(-0.85, -1.1, y) * (1 - _ramp(0.3, 0.8, z))
    canvas = Canvas(x, y, front, regions, colour, gloss, shadow)
    _paint_beard(canvas, who, picture)
    _paint_nose(canvas, who)
    for side, eye, brow in ((-1, "re", "rb"), (1, "le", "lb")):
        _paint_eye(canvas, side, eye, who, picture)
        _paint_brow(canvas, side, brow, who, picture)
    _paint_mouth(canvas, who, picture)
    return canvas.regions, canvas.colour, canvas.gloss, canvas.shadow


@dataclass
class Canvas:
    """The head's visible points, being painted: template x and y, whether on the front half, and the results."""

    x: np.ndarray
    y: np.ndarray
    front: np.ndarray
    regions: np.ndarray
    colour: np.ndarray
    gloss: np.ndarray
    shadow: np.ndarray

    def tint(self, strength: np.ndarray, colour: np.ndarray) -> None:
        self.colour += strength[:, None] * (colour - self.colour)

    def fill(self, where: np.ndarray, region: str, colour: np.ndarray, gloss: float) -> None:
        self.regions[where], self.colour[where], self.gloss[where] = LABEL[region], colour, gloss


def _paint_beard(canvas: Canvas, who: Identity, picture: Picture) -> None:
    x, y, mouth = canvas.x, canvas.y, who["mouth.y"]
    grain = 0.85 + 0.15 * np.sin(70 * x + 9 * y) * np.sin(60 * y)
    tone = _hair_tone(who["hair.melanin"], who["hair.red"], who["hair.grey"])
    cheek_line = -0.62 + 0.55 * np.abs(x) ** 1.5
    beard = _ramp(0, 0.12, cheek_line - y) * np.clip(who["face.beard"] * 1.6, 0, 0.9)
    moustache = _hill(x, 0.24) * _ramp(mouth + 0.19, mouth + 0.12, y) * _ramp(mouth - 0.02, mouth + 0.04, y)
    moustache = np.clip(1.8 * moustache, 0, 1) * np.clip(who["face.moustache"] * 1.6, 0, 0.9)
    canvas.tint(np.maximum(beard, moustache) * grain * canvas.front, tone)


def _paint_nose(canvas: Canvas, who: Identity) -> None:
    x, y, tip, width = canvas.x, canvas.y, who["nose.tip"], who["nose.width"]
    inside = (_nose_edge(y, who) - np.abs(x)) * canvas.front
    here = inside > 0
    soft = np.where(here, _ramp(0, 0.03, inside), 0)  # the tint fades inside the nose: nothing outside depends on it
    canvas.tint(soft, _skin(who["nose.melanin"], who["nose.redness"] + 0.6))
    nostril = ((np.abs(x) - 0.075 * width) / (0.042 * width)) ** 2 + ((y - tip + 0.062) / 0.022) ** 2 < 1
    canvas.regions[here] = LABEL["nose"]
    canvas.shadow[here & nostril] *= 0.35
    canvas.shadow *= np.where(here, 1 - 0.22 * _ramp(tip - 0.02, tip - 0.08, y), 1)
    canvas.gloss[here] = 0.16


def _paint_eye(canvas: Canvas, side: int, eye: str, who: Identity, picture: Picture) -> None:
    x, y = canvas.x, canvas.y
    along, upper, lower = _eye_lids(x, side, eye, who, picture)
    within = (np.abs(along) < 1) & canvas.front
    here = within & (y < upper) & (y > lower)
    canvas.fill(here, eye, np.array([0.93, 0.92, 0.90]), 0.3)
    dx = x - side * who[f"{eye}.x"] - picture.gaze[0]
    dy = y - who[f"{eye}.y"] - picture.gaze[1] - 0.008
    away, radius = np.hypot(dx, dy), who[f"{eye}.iris_size"]
    canvas.colour[here & (away < radius)] = _iris_tone(who[f"{eye}.iris"])
    canvas.colour[here & (away < radius) & (away > 0.84 * radius)] *= 0.55
    canvas.colour[here & (away < 0.45 * radius)] = 0.03
    canvas.colour[here & (np.hypot(dx - 0.022, dy - 0.026) < 0.014)] = 1.0
    canvas.colour[here & (y > upper - 0.018)] *= 0.25  # lashes
    canvas.shadow[here] *= 1 - 0.3 * _ramp(0.05, 0.0, upper - y)[here]
    crease = within & (np.abs(y - upper - 0.045) < 0.010)
    canvas.shadow[crease & ~here] *= 0.86


def _paint_brow(canvas: Canvas, side: int, brow: str, who: Identity, picture: Picture) -> None:
    along, middle = _brow_line(canvas.x, side, brow, who, picture)
    half = who[f"{brow}.thickness"] * np.clip(1 - np.clip(along, 0, None) ** 2, 0, 1) ** 0.6
    here = (np.abs(along) < 1) & (np.abs(canvas.y - middle) < half) & canvas.front
    tone = 0.75 * _hair_tone(who[f"{brow}.melanin"], who[f"{brow}.red"])
    hairs = 0.9 + 0.1 * np.sin(90 * canvas.x[here] + 60 * canvas.y[here])
    canvas.fill(here, brow, tone * hairs[:, None], 0.02)


def _paint_mouth(canvas: Canvas, who: Identity, picture: Picture) -> None:
    x, y = canvas.x, canvas.y
    along, upper, top, bottom, lower = _mouth_lines(x, who, picture)
    within = (np.abs(along) < 1) & canvas.front
    skin = np.array([0.80, 0.52, 0.46])
    for lip, here in (("ulip", within & (y < upper) & (y >= top)), ("llip", within & (y <= bottom) & (y > lower))):
        tone = skin * (1.1 - 0.65 * who[f"{lip}.darkness"]) * (1 + who[f"{lip}.redness"] * np.array([0.2, -0.5, -0.35]))
        canvas.fill(here, lip, tone * (0.9 if lip == "ulip" else 1), 0.22)
        seam = np.abs(y - (top if lip == "ulip" else bottom))
        canvas.shadow[here] *= (0.55 + 0.45 * _ramp(0, 0.022, seam))[here]
    mouth = within & (y < top) & (y > bottom)
    canvas.fill(mouth, "imouth", np.array([0.25, 0.06, 0.06]), 0.05)
    teeth = mouth & (top - y < 0.07) & (np.abs(along) < 0.86)
    canvas.colour[teeth] = np.array([0.93, 0.91, 0.86])
    canvas.colour[teeth & (np.abs(np.sin(x * 42)) < 0.08)] *= 0.8


def _paint_plain(region: str, gloss: float, tone):
    """A painter of one region with one colour, which ``tone(who, picture)`` gives."""

    def paint(template: np.ndarray, who: Identity, picture: Picture) -> tuple:
        k = len(template)
        colour = np.tile(np.asarray(tone(who, picture), float), (k, 1))
        return np.full(k, LABEL[region], np.uint8), colour, np.full(k, gloss), np.ones(k)

    return paint


def _paint_ear(name: str):
    def paint(ball: np.ndarray, who: Identity, picture: Picture) -> tuple:
        x, y, z = ball.T
        shadow = 1 - 0.45 * _hill((y + 0.05) / 0.55, 1) * _hill((z - 0.1) / 0.5, 1) * (np.hypot(y, z) < 0.75)
        skin = np.tile(_skin(who[f"{name}.melanin"], who[f"{name}.redness"] + 0.8), (len(x), 1))
        return np.full(len(x), LABEL[name], np.uint8), skin, np.full(len(x), 0.08), shadow

    return paint


def _paint_neck(points: np.ndarray, who: Identity, picture: Picture) -> tuple:
    x, y = points.T[:2]
    skin = np.tile(_skin(who["neck.melanin"], who["neck.redness"]), (len(x), 1))
    shadow = 1 - 0.42 * _ramp(-1.45, -0.95, y)  # of the chin
    shadow = shadow * (1 - 0.06 * _hill(np.abs(x) - 0.16 - 0.1 * (y + 1.8), 0.05))
    return np.full(len(x), LABEL["neck"], np.uint8), skin, np.full(len(x), 0.06), shadow


def _paint_torso(points: np.ndarray, who: Identity, picture: Picture) -> tuple:
    x, y = points.T[:2]
    depth = 0.12 if "collar" in picture.wearing else 0.42
    bare = (x / 0.62) ** 2 + ((y + 1.62) / depth) ** 2 < 1
    regions = np.where(bare, LABEL["neck"], LABEL["cloth"]).astype(np.uint8)
    weave = 0.94 + 0.06 * np.sin(26 * x + 40 * (picture.cloth[0] - 0.5) * y)
    skin = _skin(who["neck.melanin"], who["neck.redness"])
    colour = np.where(bare[:, None], skin, picture.cloth * weave[:, None])
    return regions, colour, np.where(bare, 0.06, 0.02), np.ones(len(x))


def _paint_hair(template: np.ndarray, who: Identity, picture: Picture) -> tuple:
    x, y, z = template.T
    around = np.arctan2(x - 0.25 * who["hair.part"], z + 0.4)
    straight = np.sin(46 * around + 5 * y) + 0.6 * np.sin(83 * around + 3 * y)
    curly = 1.6 * np.sin(22 * x + 9 * y) * np.sin(21 * y + 8 * z) * np.sin(20 * z + 9 * x)
    strands = np.where(who["hair.curl"] > 0, curly, straight)
    tone = _hair_tone(who["hair.melanin"], who["hair.red"], who["hair.grey"])
    colour = tone * (1 + 0.13 * strands)[:, None]
    return np.full(len(x), LABEL["hair"], np.uint8), colour, np.full(len(x), 0.12), np.ones(len(x))


def _paint_hat(template: np.ndarray, who: Identity, picture: Picture) -> tuple:
    x, y, z = template.T
    band = np.abs(y - 0.56 - 0.12 * z) < 0.07
    ribs = 0.92 + 0.08 * np.sin(40 * np.arctan2(x, z)) if "beanie" in picture.wearing else 1 + 0 * x
    colour = picture.hat * (ribs * np.where(band, 0.65, 1))[:, None]
    return np.full(len(x), LABEL["hat"], np.uint8), colour, np.full(len(x), 0.04), np.ones(len(x))


_PAINTERS = {
    "head": _paint_head,
    "ear_r": _paint_ear("rr"),
    "ear_l": _paint_ear("lr"),
    "neck": _paint_neck,
    "torso": _paint_torso,
    "hair": _paint_hair,
    "hat": _paint_hat,
    "rim": _paint_plain("eyeg", 0.5, lambda who, picture: picture.frame),
    "lens": _paint_plain("eyeg", 0.7, lambda who, picture: picture.frame * 0.5),
    "earring": _paint_plain("earr", 0.9, lambda who, picture: picture.jewel),
    "necklace": _paint_plain("neck_l", 0.9, lambda who, picture: picture.jewel),
}


# --------------------------------------------------------------------------------------------------------- landmarks


def _landmarks(who: Identity, picture: Picture) -> np.ndarray:
    """(68, 3) template points in the iBUG order, from the same lines that are painted."""
    turn = np.linspace(np.pi - 0.02, 2 * np.pi + 0.02, 17)
    ahead = 0.12 + 0.28 * np.sin(turn - np.pi).clip(0)
    ring = np.sqrt(1 - ahead**2)
    jaw = np.stack([ring * np.cos(turn), ring * np.sin(turn), ahead], -1) * RADII
    points = [jaw]
    for side, brow in ((-1, "rb"), (1, "lb")):
        x = side * (0.33 + side * np.linspace(-0.92, 0.92, 5) * who[f"{brow}.length"])
        points.append(_on_template(x, _brow_line(x, side, brow, who, picture)[1]))
    tip = who["nose.tip"]
    points.append(_on_template(np.zeros(4), np.linspace(0.04, tip, 4)))
    x = np.linspace(-1, 1, 5) * 0.13 * who["nose.width"]
    points.append(_on_template(x, tip - 0.055 - 0.025 * (1 - (np.linspace(-1, 1, 5)) ** 2)))
    for side, eye in ((-1, "re"), (1, "le")):
        points.append(_ring_of_eye(side, eye, who, picture))
    points.append(_rings_of_mouth(who, picture))
    return np.concatenate(points)


def _ring_of_eye(side: int, eye: str, who: Identity, picture: Picture) -> np.ndarray:
    x = side * who[f"{eye}.x"] + who[f"{eye}.width"] * np.array([-1, -1 / 3, 1 / 3, 1, 1 / 3, -1 / 3])
    _, upper, lower = _eye_lids(x, side, eye, who, picture)
    return _on_template(x, np.where([1, 1, 1, 1, 0, 0], upper, lower))


def _rings_of_mouth(who: Identity, picture: Picture) -> np.ndarray:
    half = who["mouth.width"] * (1 + 0.12 * picture.smile)
    outer = np.array([-1, -0.62, -0.25, 0, 0.25, 0.62, 1, 0.62, 0.3, 0, -0.3, -0.62]) * half
    inner = np.array([-0.88, -0.35, 0, 0.35, 0.88, 0.35, 0, -0.35]) * half
    _, upper, _, _, lower = _mouth_lines(outer, who, picture)
    _, _, top, bottom, _ = _mouth_lines(inner, who, picture)
    outside = np.where(np.arange(12) < 7, upper, lower)
    inside = np.where(np.arange(8) < 5, top, bottom)
    return np.concatenate([_on_template(outer, outside), _on_template(inner, inside)])


# ---------------------------------------------------------------------------------------------------------- the stage


def render_sample(
    links: str | Path,
    output: str | Path,
    *,
    shard: str,
    seed: int,
    size: int,
    region: str | None = None,
    attributes: dict[str, str] | None = None,
) -> None:
    """Render the pictures of a shard and write them as imported ones would be, with regions and landmarks known.

    links : links.parquet, of which the rows of ``shard`` count: identity ("s012" is person 12), image ("03", picture 3)
    size : side of a picture in pixels
    region : the only region that differs between people, see ``draw_identity``
    attributes : written to the shard's root
    """
    rows = []
    table = pd.read_parquet(links)
    described = {"seed": seed, "size": size, "region": region or ""} | (attributes or {})
    with storage.create_shard(output, kind="images", **described) as target:
        for identity, of_identity in table[table["shard"] == shard].groupby("identity", sort=True):
            pictures = _render_identity(str(identity), sorted(of_identity["image"]), seed, size, region)
            storage.write_pictures(target, pictures)
            rows += [_ledger_row(pictures, position) for position in range(len(pictures.images))]
            log.info("%s: %d pictures rendered", identity, len(pictures.images))
        storage.write_ledger(target, rows)


def _render_identity(identity: str, images: list[str], seed: int, size: int, region: str | None) -> storage.Pictures:
    index = int(identity.removeprefix("s"))
    who = draw_identity(seed, index, region)
    rendered = [render(who, draw_picture(seed, index, int(image)), size) for image in images]
    return storage.Pictures(
        identity=identity,
        images=images,
        encoded=[_png(found.image[..., ::-1]) for found in rendered],
        labels=[_png(found.regions) for found in rendered],
        landmarks=np.stack([found.landmarks for found in rendered]),
    )


def _png(pixels: np.ndarray) -> bytes:
    """PNG of (S, S) grey or (S, S, 3) in OpenCV's order, blue first."""
    return cv2.imencode(".png", np.ascontiguousarray(pixels))[1].tobytes()


def _ledger_row(pictures: storage.Pictures, position: int) -> dict[str, str]:
    return {
        "identity": pictures.identity,
        "image": pictures.images[position],
        "url": "",
        "status": "ok",
        "sha256": hashlib.sha256(pictures.encoded[position]).hexdigest(),
    }
