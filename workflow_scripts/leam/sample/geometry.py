"""The shapes of the embedded sample: the surface of a head, the lines of its features, and the meshes of a scene.

Template coordinates and axes are those of ``leam.sample.rendering``. Shape letters: V vertices, M triangles.
"""

from dataclasses import dataclass

import numpy as np

from leam.sample.people import Identity, Picture

RADII = np.array([0.78, 1.12, 0.95])  # of the template head, an ellipsoid around the origin


def ramp(start: float, end: float, x: np.ndarray) -> np.ndarray:
    """0 before ``start``, 1 after ``end``, smooth between; ``start`` may be the larger one."""
    t = np.clip((x - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def hill(x: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    return np.exp(-((x / width) ** 2))


def on_template(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(..., 3) points of the template head's front with the given x and y."""
    x, y = np.broadcast_arrays(x, y)
    z = RADII[2] * np.sqrt(np.clip(1 - (x / RADII[0]) ** 2 - (y / RADII[1]) ** 2, 0, None))
    return np.stack([x, y, z], -1)


def surface(template: np.ndarray, who: Identity, picture: Picture) -> np.ndarray:
    """Where the points ``template`` (..., 3) of the template head are on this head, before its pose: (..., 3)."""
    x, y, z = np.moveaxis(template, -1, 0)
    front, low = ramp(0.0, 0.35, z), ramp(-0.1, -1.1, y)
    wide = 1 + who["face.jaw"] * low + who["face.angle"] * hill(y + 0.62, 0.25) + 0.05 * hill(y + 0.2, 0.25)
    out_x = x * who["skull.width"] * wide
    chin = (0.26 + who["face.chin"]) * hill(x, 0.33) * ramp(-0.55, -1.0, y)
    out_z = np.where(z < 0, z * (1 - 0.55 * low), z) + front * (chin + _relief(x, y, who, picture))
    drop = 0.9 * picture.opening * ramp(who["mouth.y"], -1.05, y) * front
    out_y = np.where(y < 0, y * who["skull.length"], y) - drop - 0.25 * who["face.chin"] * low * hill(x, 0.4) * front
    return np.stack([out_x, out_y, out_z], -1)


def _relief(x: np.ndarray, y: np.ndarray, who: Identity, picture: Picture) -> np.ndarray:
    """How far the features stand out of the front of the head, in units."""
    ax, mouth = np.abs(x), who["mouth.y"]
    z = (0.02 + who["face.ridge"]) * hill(ax - 0.27, 0.3) * hill(y - 0.2, 0.11)
    z = z + (who["face.cheek"] + 0.05 * max(picture.smile, 0)) * hill(ax - 0.46, 0.2) * hill(y + 0.28, 0.18)
    for side, eye in ((-1, "re"), (1, "le")):
        z = z - 0.12 * hill(x - side * 0.32, 0.21) * hill(y, 0.14)  # the socket is everyone's, the eye is not
        ball = hill(x - side * who[f"{eye}.x"], 0.13) * hill(y - who[f"{eye}.y"], 0.09)
        z = z + 0.07 * ball * (who[f"{eye}.height"] / 0.07)
    z = z + _nose_relief(x, y, who)
    z = z + 0.07 * hill(x, 0.32) * hill(y - mouth, 0.17) - 0.05 * hill(x, 0.2) * hill(y - mouth + 0.19, 0.07)
    inside = np.sqrt(np.clip(1 - (x / who["mouth.width"]) ** 2, 0, 1))
    upper, lower = who["ulip.thickness"], who["llip.thickness"]
    z = z + 0.8 * upper * inside * hill(y - mouth - 0.5 * upper, 0.05)
    below = mouth - 0.7 * picture.opening - 0.5 * lower
    z = z + (0.4 + 0.5 * who["llip.fullness"]) * lower * inside * hill(y - below, 0.055)
    return z - 0.35 * picture.opening * inside * hill(y - mouth + 0.25 * picture.opening, 0.06)


def _nose_relief(x: np.ndarray, y: np.ndarray, who: Identity) -> np.ndarray:
    tip, width = who["nose.tip"], who["nose.width"]
    along = np.clip((0.12 - y) / (0.12 - tip), 0, 1.3)  # 0 between the eyes, 1 at the tip
    height = (0.07 * who["nose.bridge"] + 0.27 * who["nose.height"] * along**1.3) * ramp(0.16, 0.0, y)
    under = ramp(tip - 0.11, tip - 0.03, y)
    ridge = height * under * hill(x, (0.075 + 0.05 * np.minimum(along, 1)) * (0.4 + 0.6 * width))
    ball = 0.07 * who["nose.bulb"] * hill(x, 0.085 * width) * hill(y - tip, 0.075)
    wings = 0.11 * hill(np.abs(x) - 0.125 * width, 0.055) * hill(y - tip + 0.035, 0.06)
    return ridge + ball + wings


def eye_lids(x: np.ndarray, side: int, eye: str, who: Identity, picture: Picture) -> tuple:
    """Along the eye: position (-1 at the picture's left corner, 1 at the other), heights of upper and lower lid."""
    along = (x - side * who[f"{eye}.x"]) / who[f"{eye}.width"]
    open_ = who[f"{eye}.height"] * (1 - 0.9 * picture.blink) * (1 - 0.15 * max(picture.smile, 0))
    axis = who[f"{eye}.y"] + side * np.tan(who[f"{eye}.slant"]) * along * who[f"{eye}.width"]
    arc = np.clip(1 - along**2, 0, 1)
    closing = 0.35 * who[f"{eye}.height"] * picture.blink  # the upper lid comes down to the lower
    return along, axis - closing + open_ * arc**0.75, axis - closing - 0.75 * open_ * arc


def brow_line(x: np.ndarray, side: int, brow: str, who: Identity, picture: Picture) -> tuple:
    """Along the brow: position (-1 at the nose, 1 at the temple) and the height of its middle."""
    along = (side * x - 0.33) / who[f"{brow}.length"]
    height = who[f"{brow}.y"] + picture.brow_raise + who[f"{brow}.arch"] * (1 - (along - 0.25) ** 2)
    return along, height + np.tan(who[f"{brow}.slant"]) * along * who[f"{brow}.length"] * 0.6 - 0.03


def mouth_lines(x: np.ndarray, who: Identity, picture: Picture) -> tuple:
    """Position along the mouth (-1 to 1) and heights of four lines: upper lip's top, its bottom, lower lip's two."""
    along = x / (who["mouth.width"] * (1 + 0.12 * picture.smile))
    arc = np.clip(1 - along**2, 0, 1)
    middle = who["mouth.y"] + 0.07 * picture.smile * (along**2 - 0.3)
    top, bottom = middle + 0.3 * picture.opening * arc**0.6, middle - 0.8 * picture.opening * arc**0.6
    bow = 1 - who["ulip.bow"] * hill(along, 0.18)
    upper = top + who["ulip.thickness"] * arc**0.7 * bow
    return along, upper, top, bottom, bottom - who["llip.thickness"] * arc**0.6


def nose_edge(y: np.ndarray, who: Identity) -> np.ndarray:
    """Half of the nose's width at height y; negative above and below it."""
    tip, wide = who["nose.tip"], 0.185 * who["nose.width"]
    return np.interp(
        y, [tip - 0.10, tip - 0.085, tip - 0.03, tip + 0.12, 0.06, 0.075], [-1, 0.09, wide, 0.11, 0.065, -1]
    )


@dataclass
class Mesh:
    """points, template, normals : (V, 3); keep : (V,), the surface exists where it is > 0; triangles : (M, 3);
    part : (V,) which entry of MESH_PARTS paints it."""

    points: np.ndarray
    template: np.ndarray
    normals: np.ndarray
    keep: np.ndarray
    triangles: np.ndarray
    part: np.ndarray


MESH_PARTS = ("head", "ear_r", "ear_l", "neck", "torso", "hair", "hat", "rim", "lens", "earring", "necklace")


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
        part=np.full(n * m, MESH_PARTS.index(part)),
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
    return edge - max(who["hair.fringe"], 0) * parted * ramp(0.45, 0.75, z / RADII[2])


def _hair(who: Identity, picture: Picture) -> list[Mesh]:
    if who["hair.length"] < -0.25:
        return []
    x, y, z = np.moveaxis(_SHELL, -1, 0)
    curl = max(who["hair.curl"], 0)
    waves = np.sin(9 * x + 4 * y) * np.sin(8 * y + 3 * z) * np.sin(9 * z + 2)
    above = y - _hairline(_SHELL, who) + 0.05 * curl * waves
    covered = {"beanie", "brim"} & picture.wearing
    volume = min(who["hair.volume"], 0.04) if covered else who["hair.volume"] * (1 + 0.8 * curl)
    thick = 0.015 + volume * ramp(0, 0.45, above) * (1 + 0.35 * curl * waves)
    lift = 1 + thick / np.linalg.norm(_SHELL, axis=-1)
    skull = surface(_SHELL, who, picture)
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
    tall = 0.07 + (0.06 if "beanie" in picture.wearing else 0.12) * ramp(0, 0.5, above)
    lift = 1 + tall / np.linalg.norm(_SHELL, axis=-1)
    crown = _grid("hat", surface(_SHELL, who, picture) * lift[..., None], _SHELL, above)
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
        return np.stack([x * wide, y, 0.96 - 0.22 * x**2 + 0.09 * hill(x, 0.1)], -1)

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
    return [*meshes, _tube("rim", plane(x, 0.02 + 0.02 * hill(x, 0.08)), 0.02)]


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
    wide = radius * (1 + 0.4 * ramp(0.6, 1, down))
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


def pose(points: np.ndarray, picture: Picture, share: np.ndarray | float = 1.0) -> np.ndarray:
    """Turn points (..., 3) with the head about the top of the neck; where ``share`` is below 1, only so much."""
    pivot = np.array([0, -0.55, -0.1])
    full = (points - pivot) @ _rotation(picture.yaw, picture.pitch, picture.roll).T + pivot
    return full if isinstance(share, float) else points + share[..., None] * (full - points)


def build_mesh(who: Identity, picture: Picture) -> Mesh:
    """Everything in the scene, posed."""
    head = [_grid("head", surface(_HEAD, who, picture), _HEAD), _ear(-1, "rr", who), _ear(1, "lr", who)]
    head += _hair(who, picture) + _hats(who, picture) + _glasses(who, picture) + _earrings(who, picture)
    upper, body = _join(head), _join(_body(who, picture))
    turn = _rotation(picture.yaw, picture.pitch, picture.roll)
    upper.points, upper.normals = pose(upper.points, picture), upper.normals @ turn.T
    body.points = pose(body.points, picture, 0.2 + 0.8 * ramp(-1.7, -0.8, body.points[:, 1]))
    return _join([upper, body])


def landmarks_of(who: Identity, picture: Picture) -> np.ndarray:
    """(68, 3) template points in the iBUG order, from the same lines that are painted."""
    turn = np.linspace(np.pi - 0.02, 2 * np.pi + 0.02, 17)
    ahead = 0.12 + 0.28 * np.sin(turn - np.pi).clip(0)
    ring = np.sqrt(1 - ahead**2)
    jaw = np.stack([ring * np.cos(turn), ring * np.sin(turn), ahead], -1) * RADII
    points = [jaw]
    for side, brow in ((-1, "rb"), (1, "lb")):
        x = side * (0.33 + side * np.linspace(-0.92, 0.92, 5) * who[f"{brow}.length"])
        points.append(on_template(x, brow_line(x, side, brow, who, picture)[1]))
    tip = who["nose.tip"]
    points.append(on_template(np.zeros(4), np.linspace(0.04, tip, 4)))
    x = np.linspace(-1, 1, 5) * 0.13 * who["nose.width"]
    points.append(on_template(x, tip - 0.055 - 0.025 * (1 - (np.linspace(-1, 1, 5)) ** 2)))
    for side, eye in ((-1, "re"), (1, "le")):
        points.append(_ring_of_eye(side, eye, who, picture))
    points.append(_rings_of_mouth(who, picture))
    return np.concatenate(points)


def _ring_of_eye(side: int, eye: str, who: Identity, picture: Picture) -> np.ndarray:
    x = side * who[f"{eye}.x"] + who[f"{eye}.width"] * np.array([-1, -1 / 3, 1 / 3, 1, 1 / 3, -1 / 3])
    _, upper, lower = eye_lids(x, side, eye, who, picture)
    return on_template(x, np.where([1, 1, 1, 1, 0, 0], upper, lower))


def _rings_of_mouth(who: Identity, picture: Picture) -> np.ndarray:
    half = who["mouth.width"] * (1 + 0.12 * picture.smile)
    outer = np.array([-1, -0.62, -0.25, 0, 0.25, 0.62, 1, 0.62, 0.3, 0, -0.3, -0.62]) * half
    inner = np.array([-0.88, -0.35, 0, 0.35, 0.88, 0.35, 0, -0.35]) * half
    _, upper, _, _, lower = mouth_lines(outer, who, picture)
    _, _, top, bottom, _ = mouth_lines(inner, who, picture)
    outside = np.where(np.arange(12) < 7, upper, lower)
    inside = np.where(np.arange(8) < 5, top, bottom)
    return np.concatenate([on_template(outer, outside), on_template(inner, inside)])
