"""The embedded sample world: people who do not exist, rendered so that everything about them is known.

A head is a handful of meshes (skull with face, ears, neck, torso, hair and what people wear). Every vertex carries
*template* coordinates, which are those of the average head before identity, expression and pose have moved it;
features are painted in template coordinates, so that regions and landmarks follow the geometry exactly, whatever
its pose. No photograph is involved: real faces would need licences and would not be private.

Who is rendered is drawn in ``leam.sample.people``, given shape in ``leam.sample.geometry`` and colour in
``leam.sample.painting``; here a scene becomes pixels, regions and landmarks.

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
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from leam import reasons, storage
from leam.sample.geometry import MESH_PARTS, Mesh, build_mesh, landmarks_of, pose, surface
from leam.sample.painting import PAINTERS
from leam.sample.people import Identity, Picture, draw_identity, draw_picture
from leam.tables import read_output

log = logging.getLogger(__name__)
VIEW = 3.7  # side of the square that a picture shows, at depth 0
VIEW_CENTRE = np.array([0.0, -0.22])
CAMERA_DISTANCE = 9.0


@dataclass(frozen=True)
class Rendering:
    """image : (S, S, 3) uint8 RGB; regions : (S, S) uint8 in FaRL order; landmarks : (68, 2) float32 px.

    Landmarks: x then y, the centre of the top left pixel is (0, 0); hidden points are where they would be seen.
    """

    image: np.ndarray
    regions: np.ndarray
    landmarks: np.ndarray


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
    mesh = build_mesh(identity, picture)
    screen, near = _project(mesh.points, picture, size)
    regions = np.zeros(size * size, np.uint8)
    hits = _rasterise(mesh, screen, near, size)
    regions[hits.pixel] = _paint(mesh, hits, identity, picture)[0]
    fine = 2 * size
    image = _backdrop(picture, fine).reshape(-1, 3)
    hits = _rasterise(mesh, 2 * screen + 0.5, near, fine)
    image[hits.pixel] = _shade(mesh, hits, _paint(mesh, hits, identity, picture), picture)
    image = image.reshape(size, 2, size, 2, 3).mean((1, 3))
    image = np.clip(np.rint(255 * image), 0, 255).astype(np.uint8)
    return Rendering(image, regions.reshape(size, size), find_landmarks(identity, picture, size))


def find_landmarks(identity: Identity, picture: Picture, size: int) -> np.ndarray:
    """(68, 2) float32: the landmarks of ``render``, without a picture."""
    on_head = surface(landmarks_of(identity, picture), identity, picture)
    return _project(pose(on_head, picture), picture, size)[0].astype(np.float32)


def _backdrop(picture: Picture, size: int) -> np.ndarray:
    """(size, size, 3) smooth blend of four colours, one a corner, with a wave across."""
    at = (np.arange(size) + 0.5) / size
    x, y = at[None, :, None], at[:, None, None]
    a, b, c, d = picture.backdrop
    blend = (a * (1 - x) + b * x) * (1 - y) + (c * (1 - x) + d * x) * y
    return blend * (0.9 + 0.1 * np.sin(9 * (x * a[0] + y * b[1]) + 6 * c[2]))


def render_person(
    seed: int, person: int, numbers: Iterable[int], size: int, region: str | None = None
) -> list[Rendering]:
    """Pictures of a person of the rendered world, by their numbers; seed, region : see ``draw_identity``."""
    who = draw_identity(seed, person, region)
    return [render(who, draw_picture(seed, person, number), size) for number in numbers]


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


def _paint(mesh: Mesh, hits: Hits, who: Identity, picture: Picture) -> tuple:
    """What is at the hits: regions (K,) uint8, colours (K, 3), gloss (K,) and shadow (K,), which is 1 where none."""
    template, part = hits.blend(mesh.template), mesh.part[hits.corners[:, 0]]
    regions, gloss, shadow = np.zeros(len(part), np.uint8), np.zeros(len(part)), np.ones(len(part))
    colour = np.zeros((len(part), 3))
    for number, name in enumerate(MESH_PARTS):
        here = np.flatnonzero(part == number)
        if len(here):
            found = PAINTERS[name](template[here], who, picture)
            regions[here], colour[here], gloss[here], shadow[here] = found
    return regions, colour, gloss, shadow


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
    table = read_output(links)
    described = {"seed": seed, "size": size, "region": region or ""} | (attributes or {})
    with storage.create_shard(output, kind="images", **described) as target:
        for identity, of_identity in table[table["shard"] == shard].groupby("identity", sort=True):
            pictures = _render_identity(str(identity), sorted(of_identity["image"]), seed, size, region)
            storage.write_pictures(target, pictures)
            rows += [_ledger_row(pictures, position) for position in range(len(pictures.images))]
            log.info("%s: %d pictures rendered", identity, len(pictures.images))
        storage.write_ledger(target, rows)


def person_number(identity: str) -> int:
    """The number of a person of the sample: "s012" is person 12."""
    return int(identity.removeprefix("s"))


def _render_identity(identity: str, images: list[str], seed: int, size: int, region: str | None) -> storage.Pictures:
    rendered = render_person(seed, person_number(identity), map(int, images), size, region)
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
        "status": reasons.OK,
        "sha256": hashlib.sha256(pictures.encoded[position]).hexdigest(),
    }
