"""A folder of rendered people, as a user brings one: pictures, their label maps and their landmarks."""

from pathlib import Path

import numpy as np
from PIL import Image

from leam.sample import rendering

SUFFIXES = {"label_suffix": ".labels.png", "landmark_suffix": ".npy"}


def write_album(folder: Path, people: dict[str, list[str]], size: int = 64) -> None:
    """``people``: the stems of each one's pictures, which are PNG files of ``size`` pixels."""
    for number, (person, stems) in enumerate(people.items()):
        (folder / person).mkdir(parents=True)
        scenes = rendering.render_person(7, number, list(range(len(stems))), size)
        for stem, scene in zip(stems, scenes, strict=True):
            beside = folder / person / stem
            Image.fromarray(scene.image).save(f"{beside}.png")
            Image.fromarray(scene.regions).save(f"{beside}{SUFFIXES['label_suffix']}")
            np.save(f"{beside}{SUFFIXES['landmark_suffix']}", scene.landmarks.astype(np.float32))
