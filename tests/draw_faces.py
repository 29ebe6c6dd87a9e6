"""Draw docs/pictures/faces.png: what the choices of docs/faces.md do to rendered people (no photograph is involved).

PYTHONPATH=workflow_scripts python tests/draw_faces.py
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from matplotlib.patches import Rectangle

from leam.faces import detection, frames, landmarks, polygons
from leam.faces.stage import FaceSettings, crop_frame
from leam.plotting import INK, MUTED, STYLE
from leam.sample import rendering

PICTURE = Path(__file__).parents[1] / "docs/pictures/faces.png"
SHOWN, SIZE, MARGIN = 210, 480, 0.125
PEOPLE = ((21, 0, 0), (21, 1, 3))  # seed, person, picture
WINDOWS = {"ArcFace's recognisers": ((0, 0, 112, 112), "#2a6fb0"), "dlib_resnet": (landmarks.CHIP, "#c2410c")}
CROPS = {
    "box, margin 0.35": {"crop_mode": "box"},
    "aligned, no margin": {"crop_mode": "aligned"},
    "aligned, margin 0.125": {"crop_mode": "aligned", "crop_margin": MARGIN},
    "aligned by 68 landmarks": {"crop_mode": "aligned", "crop_margin": MARGIN, "align_by": "landmarks"},
}


def draw() -> None:
    pyplot.rcParams.update(STYLE)
    figure, axes = pyplot.subplots(len(PEOPLE), len(CROPS) + 2, figsize=(11, 4.3), layout="constrained")
    for row, (seed, person, number) in zip(axes, PEOPLE, strict=True):
        (drawn,) = rendering.render_person(seed, person, [number], SIZE)
        (face,) = detection.face_of_landmarks(drawn.landmarks.astype(float), drawn.image.shape)
        face.landmarks = drawn.landmarks.astype(float)
        for axis, (title, settings) in zip(row, CROPS.items(), strict=False):
            chosen = FaceSettings(crop_size=SHOWN, **settings)
            frame = crop_frame(face, drawn.image.shape, chosen)
            axis.imshow(frames.warp(drawn.image, frame, SHOWN))
            axis.set_title(title, color=INK)
            if chosen.margin == MARGIN:
                _draw_windows(axis)
        exact = frames.warp_labels(drawn.regions, frame, SHOWN)
        points = frames.transform(drawn.landmarks.astype(float), frame)
        for axis, labels, title in (
            (row[-2], exact, "regions: exact"),
            (row[-1], polygons.landmark_regions(points, SHOWN), "regions: landmarks"),
        ):
            axis.imshow(np.where(labels == 0, np.nan, labels), cmap="tab20", vmin=0, vmax=19, interpolation="nearest")
            axis.set_title(title, color=INK)
        row[-1].plot(*points.T, ".", color=INK, markersize=1)
        for axis in row:
            axis.set(xticks=[], yticks=[], xlim=(-0.5, SHOWN - 0.5), ylim=(SHOWN - 0.5, -0.5))
            axis.spines[:].set_color(MUTED)
    handles = [
        Rectangle((0, 0), 1, 1, fill=False, edgecolor=colour, label=name) for name, (_, colour) in WINDOWS.items()
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=2, frameon=False, title="what they see of the crop")
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})


def _draw_windows(axis: pyplot.Axes) -> None:
    scale = SHOWN / (112 * (1 + 2 * MARGIN))
    for (top, left, bottom, right), colour in WINDOWS.values():
        corner = ((left + 112 * MARGIN) * scale - 0.5, (top + 112 * MARGIN) * scale - 0.5)
        size = ((right - left) * scale, (bottom - top) * scale)
        axis.add_patch(Rectangle(corner, *size, fill=False, edgecolor=colour, linewidth=1.5))


if __name__ == "__main__":
    draw()
