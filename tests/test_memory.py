"""Memory is bounded by the setting ``maps.batch_images``, whatever the number of images of a person."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from leam import maps
from shards import make_faces, write_faces

MEASURED = """
import re
import torch
from leam import maps
from leam.recognisers import registry
torch.set_num_threads(1)
recogniser = registry.recogniser("narrow", {entry!r})
maps.compute_maps({faces!r}, {output!r}, recogniser, maps.MapSettings(grid=28, batch_images={batch}))
print(int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read()).group(1)) // 1024)
"""


def peak_mb(folder, recogniser, images, batch):
    """Peak memory, MB, of a process that computes the maps of one person with this many images.

    Read from /proc, since getrusage counts what the parent held when the process was made.
    """
    faces, output = folder / f"{images}.h5", folder / f"{images}_{batch}_maps.h5"
    write_faces(faces, [make_faces("a", images)])
    entry = {key: value for key, value in dataclasses.asdict(recogniser).items() if key != "name"}
    code = MEASURED.format(entry=entry, faces=str(faces), output=str(output), batch=batch)
    environment = os.environ | {"PYTHONPATH": str(Path(maps.__file__).parents[1])}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return int(found.stdout)


@pytest.mark.slow
def test_peak_memory_follows_the_batch_and_not_the_images(tmp_path, narrow):
    wider = dataclasses.replace(narrow, arguments={"widths": [32, 32, 32, 32], "embedding_size": 16})
    wider = dataclasses.replace(wider, layers=("conv1", "layer1.0.conv1"))
    few, many = (peak_mb(tmp_path, wider, images, batch=4) for images in (6, 16))
    at_once = peak_mb(tmp_path, wider, 16, batch=16)
    assert many - few < 100, (few, many)  # the images themselves, and their pairs on the way to the file
    assert at_once - many > 150, (many, at_once)
