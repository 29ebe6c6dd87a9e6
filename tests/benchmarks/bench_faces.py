"""Faces per second: detection and parsing in batches, against one by one and against the packages' own calls.

    PYTHONPATH=workflow_scripts python tests/benchmarks/bench_faces.py --photos FOLDER --parser FILE [--retinaface FILE]
        [--landmarks FILE] [--threads 1] [--device cuda]

FOLDER holds identity/image.jpg, one face each; the first 8 with a face are used. One by one is the same code with one
picture at a time; the packages' own calls are a loop over facenet-pytorch's ``MTCNN.detect`` on the picture as it is,
and over pyfacer's parser on the whole picture. All run with the process settings that parse_faces makes. The
contestants take turns and medians are taken, as machines are shared; only ratios count.
"""

import argparse
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from leam import images
from leam.faces import detection
from leam.faces import stage as faces_stage

SIZE = 224
ROUNDS = 3


def read_photographs(folder: Path, network: detection.Network, count: int) -> list[np.ndarray]:
    """The first pictures of a folder that have one face."""
    found = []
    for path in sorted(folder.glob("*/*.jpg")):
        picture = images.decode(path.read_bytes())
        if len(detection.find_faces(network, [picture])[0]) == 1:
            found.append(picture)
        if len(found) == count:
            break
    return found


def take_turns(contestants: dict) -> dict[str, float]:
    """Median seconds of each, after one round to warm up."""
    seconds = {name: [] for name in contestants}
    for turn in range(ROUNDS + 1):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def report(name: str, seconds: dict[str, float], count: int) -> None:
    print(f"figure {name}_faces_per_second {count / seconds['batched']:.2f} faces/s")
    for other in [other for other in seconds if other != "batched"]:
        print(f"figure {name}_faster_than_{other} {seconds[other] / seconds['batched']:.2f} times", flush=True)


def bench_detection(name: str, network: detection.Network, pictures: list[np.ndarray], own=None) -> None:
    together = detection.find_faces(network, pictures)
    alone = [detection.find_faces(network, [picture])[0] for picture in pictures]
    apart = max(abs(a.box - b.box).max() for (a,), (b,) in zip(together, alone, strict=True))
    contestants = {
        "batched": lambda: detection.find_faces(network, pictures),
        "one_by_one": lambda: [detection.find_faces(network, [picture]) for picture in pictures],
    }
    if own is not None:
        contestants["the_packages_loop"] = lambda: [own(picture) for picture in pictures]
    report(name, take_turns(contestants), len(pictures))
    print(f"figure {name}_batched_and_one_by_one_differ {apart:.4f} px")


def bench_parsing(models: faces_stage.Models, pictures: list[np.ndarray], settings: faces_stage.FaceSettings) -> None:
    found = [of_one[0] for of_one in detection.find_faces(models.detector, pictures)]
    points = np.stack([face.points for face in found])
    frames = np.stack(
        [faces_stage.crop_frame(*pair, settings) for pair in zip(found, [p.shape for p in pictures], strict=True)]
    )

    def one_by_one() -> np.ndarray:
        return np.concatenate(
            [models.parser([p], points[k : k + 1], frames[k : k + 1], SIZE) for k, p in enumerate(pictures)]
        )

    def whole_pictures() -> None:
        for picture, five in zip(pictures, points, strict=True):
            view = torch.from_numpy(picture).permute(2, 0, 1)[None].to(models.parser.device)
            ids = torch.zeros(1, dtype=torch.long, device=view.device)
            faces_of = {"points": torch.from_numpy(five)[None].float().to(view.device), "image_ids": ids}
            models.parser.net(view, faces_of)["seg"]["logits"].argmax(1).cpu()

    together = models.parser(pictures, points, frames, SIZE)
    contestants = {
        "batched": lambda: models.parser(pictures, points, frames, SIZE),
        "one_by_one": one_by_one,
        "the_packages_loop": whole_pictures,
    }
    report("parsing", take_turns(contestants), len(pictures))
    print(f"figure parsing_batched_and_one_by_one_agree {100 * (together == one_by_one()).mean():.3f} percent")


def main() -> None:
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser()
    for name in ("photos", "parser", "retinaface", "landmarks"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    section = {"detector": "mtcnn", "label_maps": "pyfacer", "parser_weights": str(arguments.parser), "crop_size": SIZE}
    if arguments.landmarks:
        section |= {"landmarks": "dlib", "landmark_weights": str(arguments.landmarks)}
    settings = faces_stage.face_settings(section)
    models = faces_stage.load_models(settings, arguments.device)
    faces_stage.tune(models, arguments.threads)
    pictures = read_photographs(arguments.photos, models.detector, 8)
    print(
        f"{len(pictures)} photographs, {arguments.device}, {arguments.threads} thread(s), batch {settings.batch_images}"
    )
    from facenet_pytorch import MTCNN

    own = MTCNN(keep_all=True, device=arguments.device)
    bench_detection("mtcnn", models.detector, pictures, own.detect)
    if arguments.retinaface:
        retinaface = detection.RetinaFace(arguments.retinaface, 0.8, torch.device(arguments.device))
        bench_detection("retinaface", retinaface, pictures)
    bench_parsing(models, pictures, settings)
    whole = [
        faces_stage.DecodedPicture(str(k), p, None, detection.unknown(68), np.full(4, np.nan))
        for k, p in enumerate(pictures)
    ]
    seconds = take_turns({"batched": lambda: faces_stage.crop_faces(whole, settings, models)})
    report("detection_landmarks_parsing_and_crop", seconds, len(pictures))


if __name__ == "__main__":
    main()
