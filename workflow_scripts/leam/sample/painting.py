"""The colours of the embedded sample: what is at a point of a part's surface, in template coordinates.

Shape letters: K points that are painted. A painter takes template points (K, 3) and gives regions (K,) uint8, colours
(K, 3), gloss (K,) and shadow (K,), which is 1 where there is none.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from leam.regions import REGIONS
from leam.sample.geometry import brow_line, eye_lids, hill, mouth_lines, nose_edge, ramp
from leam.sample.people import Identity, Picture

Painted = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # regions, colours, gloss, shadow
Painter = Callable[[np.ndarray, Identity, Picture], Painted]
LABEL = {name: number for number, name in enumerate(REGIONS)}


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


def _paint_head(template: np.ndarray, who: Identity, picture: Picture) -> Painted:
    x, y, z = template.T
    front = z > 0
    regions = np.full(len(x), LABEL["face"], np.uint8)
    colour = np.tile(_skin(who["face.melanin"], who["face.redness"]), (len(x), 1))
    cheeks = who["face.blush"] * hill(np.abs(x) - 0.42, 0.16) * hill(y + 0.3, 0.14) * front
    colour *= 1 - 0.35 * cheeks[:, None] * np.array([0, 1, 0.8])
    gloss, shadow = np.full(len(x), 0.10), np.ones(len(x))
    shadow -= 0.2 * ramp(-0.85, -1.1, y) * (1 - ramp(0.3, 0.8, z))
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
    beard = ramp(0, 0.12, cheek_line - y) * np.clip(who["face.beard"] * 1.6, 0, 0.9)
    moustache = hill(x, 0.24) * ramp(mouth + 0.19, mouth + 0.12, y) * ramp(mouth - 0.02, mouth + 0.04, y)
    moustache = np.clip(1.8 * moustache, 0, 1) * np.clip(who["face.moustache"] * 1.6, 0, 0.9)
    canvas.tint(np.maximum(beard, moustache) * grain * canvas.front, tone)


def _paint_nose(canvas: Canvas, who: Identity) -> None:
    x, y, tip, width = canvas.x, canvas.y, who["nose.tip"], who["nose.width"]
    inside = (nose_edge(y, who) - np.abs(x)) * canvas.front
    here = inside > 0
    soft = np.where(here, ramp(0, 0.03, inside), 0)  # the tint fades inside the nose: nothing outside depends on it
    canvas.tint(soft, _skin(who["nose.melanin"], who["nose.redness"] + 0.6))
    nostril = ((np.abs(x) - 0.075 * width) / (0.042 * width)) ** 2 + ((y - tip + 0.062) / 0.022) ** 2 < 1
    canvas.regions[here] = LABEL["nose"]
    canvas.shadow[here & nostril] *= 0.35
    canvas.shadow *= np.where(here, 1 - 0.22 * ramp(tip - 0.02, tip - 0.08, y), 1)
    canvas.gloss[here] = 0.16


def _paint_eye(canvas: Canvas, side: int, eye: str, who: Identity, picture: Picture) -> None:
    x, y = canvas.x, canvas.y
    along, upper, lower = eye_lids(x, side, eye, who, picture)
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
    canvas.shadow[here] *= 1 - 0.3 * ramp(0.05, 0.0, upper - y)[here]
    crease = within & (np.abs(y - upper - 0.045) < 0.010)
    canvas.shadow[crease & ~here] *= 0.86


def _paint_brow(canvas: Canvas, side: int, brow: str, who: Identity, picture: Picture) -> None:
    along, middle = brow_line(canvas.x, side, brow, who, picture)
    half = who[f"{brow}.thickness"] * np.clip(1 - np.clip(along, 0, None) ** 2, 0, 1) ** 0.6
    here = (np.abs(along) < 1) & (np.abs(canvas.y - middle) < half) & canvas.front
    tone = 0.75 * _hair_tone(who[f"{brow}.melanin"], who[f"{brow}.red"])
    hairs = 0.9 + 0.1 * np.sin(90 * canvas.x[here] + 60 * canvas.y[here])
    canvas.fill(here, brow, tone * hairs[:, None], 0.02)


def _paint_mouth(canvas: Canvas, who: Identity, picture: Picture) -> None:
    x, y = canvas.x, canvas.y
    along, upper, top, bottom, lower = mouth_lines(x, who, picture)
    within = (np.abs(along) < 1) & canvas.front
    skin = np.array([0.80, 0.52, 0.46])
    for lip, here in (("ulip", within & (y < upper) & (y >= top)), ("llip", within & (y <= bottom) & (y > lower))):
        tone = skin * (1.1 - 0.65 * who[f"{lip}.darkness"]) * (1 + who[f"{lip}.redness"] * np.array([0.2, -0.5, -0.35]))
        canvas.fill(here, lip, tone * (0.9 if lip == "ulip" else 1), 0.22)
        seam = np.abs(y - (top if lip == "ulip" else bottom))
        canvas.shadow[here] *= (0.55 + 0.45 * ramp(0, 0.022, seam))[here]
    mouth = within & (y < top) & (y > bottom)
    canvas.fill(mouth, "imouth", np.array([0.25, 0.06, 0.06]), 0.05)
    teeth = mouth & (top - y < 0.07) & (np.abs(along) < 0.86)
    canvas.colour[teeth] = np.array([0.93, 0.91, 0.86])
    canvas.colour[teeth & (np.abs(np.sin(x * 42)) < 0.08)] *= 0.8


def _paint_plain(region: str, gloss: float, tone: Callable[[Identity, Picture], np.ndarray]) -> Painter:
    """A painter of one region with one colour, which ``tone(who, picture)`` gives."""

    def paint(template: np.ndarray, who: Identity, picture: Picture) -> Painted:
        k = len(template)
        colour = np.tile(np.asarray(tone(who, picture), float), (k, 1))
        return np.full(k, LABEL[region], np.uint8), colour, np.full(k, gloss), np.ones(k)

    return paint


def _paint_ear(name: str) -> Painter:
    def paint(ball: np.ndarray, who: Identity, picture: Picture) -> Painted:
        x, y, z = ball.T
        shadow = 1 - 0.45 * hill((y + 0.05) / 0.55, 1) * hill((z - 0.1) / 0.5, 1) * (np.hypot(y, z) < 0.75)
        skin = np.tile(_skin(who[f"{name}.melanin"], who[f"{name}.redness"] + 0.8), (len(x), 1))
        return np.full(len(x), LABEL[name], np.uint8), skin, np.full(len(x), 0.08), shadow

    return paint


def _paint_neck(points: np.ndarray, who: Identity, picture: Picture) -> Painted:
    x, y = points.T[:2]
    skin = np.tile(_skin(who["neck.melanin"], who["neck.redness"]), (len(x), 1))
    shadow = 1 - 0.42 * ramp(-1.45, -0.95, y)  # of the chin
    shadow = shadow * (1 - 0.06 * hill(np.abs(x) - 0.16 - 0.1 * (y + 1.8), 0.05))
    return np.full(len(x), LABEL["neck"], np.uint8), skin, np.full(len(x), 0.06), shadow


def _paint_torso(points: np.ndarray, who: Identity, picture: Picture) -> Painted:
    x, y = points.T[:2]
    depth = 0.12 if "collar" in picture.wearing else 0.42
    bare = (x / 0.62) ** 2 + ((y + 1.62) / depth) ** 2 < 1
    regions = np.where(bare, LABEL["neck"], LABEL["cloth"]).astype(np.uint8)
    weave = 0.94 + 0.06 * np.sin(26 * x + 40 * (picture.cloth[0] - 0.5) * y)
    skin = _skin(who["neck.melanin"], who["neck.redness"])
    colour = np.where(bare[:, None], skin, picture.cloth * weave[:, None])
    return regions, colour, np.where(bare, 0.06, 0.02), np.ones(len(x))


def _paint_hair(template: np.ndarray, who: Identity, picture: Picture) -> Painted:
    x, y, z = template.T
    around = np.arctan2(x - 0.25 * who["hair.part"], z + 0.4)
    straight = np.sin(46 * around + 5 * y) + 0.6 * np.sin(83 * around + 3 * y)
    curly = 1.6 * np.sin(22 * x + 9 * y) * np.sin(21 * y + 8 * z) * np.sin(20 * z + 9 * x)
    strands = np.where(who["hair.curl"] > 0, curly, straight)
    tone = _hair_tone(who["hair.melanin"], who["hair.red"], who["hair.grey"])
    colour = tone * (1 + 0.13 * strands)[:, None]
    return np.full(len(x), LABEL["hair"], np.uint8), colour, np.full(len(x), 0.12), np.ones(len(x))


def _paint_hat(template: np.ndarray, who: Identity, picture: Picture) -> Painted:
    x, y, z = template.T
    band = np.abs(y - 0.56 - 0.12 * z) < 0.07
    ribs = 0.92 + 0.08 * np.sin(40 * np.arctan2(x, z)) if "beanie" in picture.wearing else 1 + 0 * x
    colour = picture.hat * (ribs * np.where(band, 0.65, 1))[:, None]
    return np.full(len(x), LABEL["hat"], np.uint8), colour, np.full(len(x), 0.04), np.ones(len(x))


PAINTERS: dict[str, Painter] = {
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
