"""Parsing: the region of every pixel of a crop, by FaRL's face parser (docs/method.md 2.2).

The parser looks at its own upright view of a face, which five points place in the picture. The view is cut from the
whole picture and the answer is read at the pixels of the crop, so that neither the crop's margin nor its mode changes
what the parser sees.

Shape letters: n faces, S side of a crop, V = 448 side of the parser's view, R = 19 regions.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from leam.faces.detection import without_known_warnings
from leam.faces.frames import transform, warp
from leam.reasons import one_line
from leam.regions import REGIONS

if TYPE_CHECKING:
    import torch

BY_LANDMARKS = "landmarks"
PARSERS = ("given", "pyfacer", BY_LANDMARKS)
MODEL = "farl/celebm/448"
VIEW_PX = 448
HALF = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # to coordinates with pixel centres at 0.5


def parser_url() -> str:
    """Where pyfacer itself downloads the parser."""
    with without_known_warnings():
        from facer.face_parsing.farl import pretrain_settings
    return pretrain_settings[MODEL.removeprefix("farl/")]["url"][0]


class RegionParser:
    """FaRL's face parser through pyfacer, ``farl/celebm/448``, from a TorchScript file."""

    def __init__(self, weights: Path, device: "torch.device", batch: int = 8):
        with without_known_warnings():
            import facer

            try:
                self.net = facer.face_parser(MODEL, device, model_path=str(weights))
            except Exception as error:
                raise ValueError(f"faces.parser_weights: {weights}: {one_line(error)}") from error
        self.device, self.batch = device, batch
        if tuple(self.net.label_names) != REGIONS:
            raise ValueError(f"faces.label_maps: pyfacer's labels {self.net.label_names} are not {list(REGIONS)}")

    def __call__(self, pictures: Sequence[np.ndarray], points: np.ndarray, crops: np.ndarray, size: int) -> np.ndarray:
        """Label maps (n, S, S) uint8 in FaRL order of the crops of n faces; background outside the parser's view.

        pictures : n of (H, W, 3) uint8 RGB; points : (n, 5, 2) px of the picture; crops : (n, 3, 3), the frame of
            each crop; size : S
        """
        labels = np.zeros((len(pictures), size, size), np.uint8)
        for start in range(0, len(pictures), self.batch):
            some = slice(start, start + self.batch)
            views = np.stack([self.view_frame(five) for five in points[some]])
            seen = np.stack([warp(*pair, VIEW_PX) for pair in zip(pictures[some], views, strict=True)])
            labels[some] = self._parse(seen, views @ np.linalg.inv(crops[some]), size)
        return labels

    def view_frame(self, points: np.ndarray) -> np.ndarray:
        """(3, 3) from the picture to the parser's view, as pyfacer places it by five points (5, 2).

        pyfacer takes points as pixel numbers, and adds the half pixel to the centre itself.
        """
        import torch

        placed = self.net.setting["get_matrix_fn"](torch.from_numpy(points)[None].double())
        return np.linalg.inv(HALF) @ placed[0].numpy() @ HALF

    def _parse(self, seen: np.ndarray, to_view: np.ndarray, size: int) -> np.ndarray:
        """(n, S, S) labels from views (n, V, V, 3), at positions that ``to_view`` (n, 3, 3) takes from crop to view."""
        import torch
        from torch.nn import functional

        steps = np.arange(size, dtype=float)
        pixels = np.stack(np.meshgrid(steps, steps), axis=-1)  # (S, S, 2), x then y
        grid = np.stack([(transform(pixels, frame) + 0.5) / VIEW_PX * 2 - 1 for frame in to_view])
        with torch.inference_mode():
            views = torch.from_numpy(seen).to(self.device).permute(0, 3, 1, 2).float() / 255
            logits = self.net.forward_warped(views, return_preds=False)  # (n, R, V, V)
            at_pixels = functional.grid_sample(
                logits, torch.from_numpy(grid).to(logits), mode="bilinear", align_corners=False
            )
            return at_pixels.argmax(dim=1).to(torch.uint8).cpu().numpy()
