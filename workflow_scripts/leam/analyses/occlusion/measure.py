"""Occlusion: how much similarity is lost when the pixels a map points at are hidden (paper RQ6, docs/method.md 5).

    drop_ij = cos(x_i, x_j) - cos(x_i occluded, x_j)        averaged over the partners j of the anchor i

Only the anchor is occluded, and a fill (``FILLS``) takes the place of its pixels: black, the picture's mean colour, the
blurred picture, noise, or the same picture of another person. What is occluded are the top p % of the common grid under
one of these maps (``OCCLUSION_KINDS``):

    image            the anchor's own image map
    own_mean         the mean image map of the same identity's OTHER images: the anchor's own is not in it
    other_mean       the mean image map of another identity, over as many images as own_mean has (all, where it has
                     fewer); of several others, whose drops are averaged
    population_mean  the mean over all other identities, each with equal weight
    shuffled         the anchor's image map under the same network with every convolution's weights permuted
    centre           a disc around the grid's centre
    random           uniform over the pixels that the recogniser sees; several draws, averaged

Means are taken in the crop's frame, as the faces lie there: where crops are not aligned, a mean is blurred by pose, and
one person's photographs, often alike in pose, by less than the population's. own_mean and each map of other_mean are
averages of equally many images wherever the other person has them, so their step is about whose map it is. The own
image map is the gradient of the very similarities that are measured; a mean map is not.

Shape letters: N images of one identity, R rankings of the grid's pixels, K pixels that a ranking holds, T masks of a
ranking, M masks of an image, U those to embed, G side of the common grid, h, w the recogniser's input, D embedding
size, b images of a batch.
"""

import contextlib
import dataclasses
import itertools
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from leam import files, storage
from leam.analyses.occlusion import (
    ALL_MASKS,
    BLACK_FILL,
    BLUR_FILL,
    CURVE_KINDS,
    DROP_COLUMNS,
    DROP_TYPES,
    FILLS,
    MAPLESS_KINDS,
    MEAN_FILL,
    NOISE_FILL,
    OCCLUSION_KINDS,
    OTHERS_MEANS,
    PAPER_PERCENTS,
    RANKING_KEYS,
    SHOWN_MASKS,
    TWIN_FILL,
    averages,
    paper_fill,
)
from leam.controls import CENTRE, IMAGE, OTHER_MEAN, OWN_MEAN, POPULATION_MEAN, RANDOM, SHUFFLED
from leam.device import arithmetic, choose_device, is_same_arithmetic, tune_cpu
from leam.embedding import UnusableImagesError, cosines_of, embed, is_usable, normalise
from leam.grid import Grid, centre_scores, input_pixels, set_size
from leam.jobs import Job
from leam.journal import Journal
from leam.maps import MapSettings, explain, identify
from leam.methods import POLARITIES
from leam.pixel_sets import order_pixels
from leam.recognisers import folding, networks
from leam.recognisers.registry import Recogniser
from leam.regions import CROP_UNITS
from leam.statistics import ratio
from leam.tables import categorise, concatenate, read_output

log = logging.getLogger(__name__)
EMPTY_MAP = np.zeros((1, 1, 1), np.float32)  # the map of an image that has none
BLUR_WIDTH = 0.1  # the blur's standard deviation, of the input's height


class OcclusionError(Exception):
    """Files that do not belong together; the message says which stage to run again."""


@dataclass(frozen=True)
class OcclusionSettings:
    """The settings of ``occlude_faces``.

    percents : sizes of the occluded sets, percent of the grid; headline_percent : the one at which all layers are tried
    fills : of FILLS; headline_fill : the one under which all layers and guides are tried
    masks : "shown", what the paper's tables and the figures show, or "all" of the above (``plan_masks``)
    headline_guide : the recogniser whose maps are tried at every percent on all others, under the paper's fill
    layers : "all" layers of the recogniser's own maps, or the "first"; other recognisers' maps: the first
    others : people of other_mean; repeats : random draws; batch_images : images per forward
    precision : of the network's products, as in ``maps.MapSettings``; on a CPU tf32 is float32
    """

    percents: tuple[float, ...] = PAPER_PERCENTS
    headline_percent: float = 1.0
    polarities: tuple[str, ...] = POLARITIES
    layers: str = "all"
    kinds: tuple[str, ...] = OCCLUSION_KINDS
    others: int = 3
    repeats: int = 3
    fills: tuple[str, ...] = (BLACK_FILL, MEAN_FILL)
    headline_fill: str = MEAN_FILL
    headline_guide: str | None = None
    masks: str = SHOWN_MASKS
    batch_images: int = 64
    precision: str = "tf32"


def occlusion_settings(section: dict) -> OcclusionSettings:
    """The settings from the configuration's section ``occlusion``; what concerns other stages is left out."""
    known = {field.name for field in dataclasses.fields(OcclusionSettings)}
    given = {key: value for key, value in section.items() if key in known}
    lists = {key: tuple(value) for key, value in given.items() if isinstance(value, list)}
    percents = tuple(sorted(float(percent) for percent in given["percents"]))
    return OcclusionSettings(**given | lists | {"percents": percents})


@dataclass(frozen=True)
class Ranking:
    """Pixels in the order in which they are occluded: the top p % of one map, under a fill, for each of ``masks``.

    masks : (fill, percent) each; repeat : which of the draws of ``random``, or of the people of ``other_mean``
    """

    kind: str
    guide: str = ""
    layer: str = ""
    polarity: str = ""
    masks: tuple[tuple[str, float], ...] = ()
    repeat: int = 0

    def rows(self) -> list[tuple]:
        """Its rows of the output, by the columns RANKING_KEYS: repeats share theirs."""
        return [(self.kind, self.guide, self.layer, self.polarity, *mask) for mask in self.masks]


def plan_masks(
    settings: OcclusionSettings, kind: str, *, own: bool = True, first: bool = True, curve: bool = True
) -> tuple[tuple[str, float], ...]:
    """The (fill, percent) at which pixels are occluded in the order of a map of this kind.

    own : of the recogniser itself, or of no map; first : of its guide's first layer; curve : of the recogniser itself,
    of no map, or of the headline's guide. Layers after the first are tried at the headline's percent alone.

    masks "all" : under every fill at every percent. masks "shown" : under the paper's fill at every percent, what is
    shown against the occluded share (image, centre, random); at the headline's percent everything under the headline's
    fill, and under every fill the recogniser's own first layer and what comes from no map.
    """
    found = []
    for fill in settings.fills:
        everywhere = settings.masks == ALL_MASKS
        curved = everywhere or (fill == paper_fill(settings.fills) and curve and kind in CURVE_KINDS)
        at_headline = everywhere or fill == settings.headline_fill or (own and first)
        found += [
            (fill, percent)
            for percent in settings.percents
            if (first and curved) or (at_headline and percent == settings.headline_percent)
        ]
    return tuple(found)


def plan_rankings(settings: OcclusionSettings, model: str, layers: dict[str, list[str]]) -> list[Ranking]:
    """Everything that is tried on each image; ``layers`` : of every guide's maps, the model itself among them."""
    repeats, found = {OTHER_MEAN: settings.others, RANDOM: settings.repeats}, []
    chosen = [kind for kind in OCCLUSION_KINDS if kind in settings.kinds]
    for guide, names in layers.items():
        own = guide == model
        kinds = [kind for kind in chosen if kind not in MAPLESS_KINDS] if own else [IMAGE]
        deep = names if own and settings.layers == "all" else names[:1]
        for layer, polarity, kind in itertools.product(deep, settings.polarities, kinds):
            curve = own or guide == settings.headline_guide
            masks = plan_masks(settings, kind, own=own, first=layer == names[0], curve=curve)
            found += [
                Ranking(kind, guide, layer, polarity, masks, repeat=number) for number in range(repeats.get(kind, 1))
            ]
    return found + [
        Ranking(kind, masks=plan_masks(settings, kind), repeat=number)
        for kind in chosen
        if kind in MAPLESS_KINDS
        for number in range(repeats.get(kind, 1))
    ]


def seen_pixels(recogniser: Recogniser, grid: int) -> np.ndarray:
    """(G, G) bool: the pixels of the common grid that some pixel of the input lies in."""
    rows, columns = input_pixels(recogniser.input_size, recogniser.window, grid)
    seen = np.zeros((grid, grid), bool)
    seen[np.ix_(np.unique(rows), np.unique(columns))] = True
    return seen


def random_scores(seen: np.ndarray, seed: int, repeat: int, identity: str, image: str) -> np.ndarray:
    """(G, G) in (0, 1], 0 where the recogniser sees nothing; the same for every recogniser that sees the same."""
    rng = np.random.default_rng([seed, repeat, *f"{identity}/{image}".encode()])
    return (1 - rng.random(seen.shape)) * seen


def draw_masks(orders: Tensor, sizes: Tensor, grid: int, rows: Tensor, columns: Tensor) -> Tensor:
    """Orders (b, K) and sizes (b,), of which the first pixels are meant -> (b, 1, h, w) bool, where to occlude."""
    chosen = torch.arange(orders.shape[1], device=orders.device) < sizes[:, None]
    masks = torch.zeros(len(orders), grid * grid + 1, dtype=torch.bool, device=orders.device)
    masks.scatter_(1, torch.where(chosen, orders, grid * grid), True)
    return masks[:, :-1].view(-1, 1, grid, grid)[:, :, rows[:, None], columns]


def filling(fill: str, x: Tensor, recogniser: Recogniser, seed: int = 0) -> Tensor:
    """What takes the place of occluded pixels, in the units of the input.

    x (N, 3, h, w) -> (N, 3, h, w), or (N, 3, 1, 1) where it is one colour
    """
    mean, std = (torch.tensor(values).view(1, 3, 1, 1).to(x) for values in (recogniser.mean, recogniser.std))
    if fill == BLACK_FILL:  # 0 before normalisation
        return (-mean / std).expand(len(x), -1, -1, -1)
    if fill == MEAN_FILL:
        return x.mean((2, 3), keepdim=True)
    if fill == BLUR_FILL:
        from torchvision.transforms.functional import gaussian_blur  # seconds of starting, for this fill alone

        sigma = BLUR_WIDTH * x.shape[2]
        return gaussian_blur(x, 2 * round(2 * sigma) + 1, sigma)
    if fill == NOISE_FILL:
        random = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)
        return (255 * random - mean) / std
    raise ValueError(f"fill is {fill!r}; expected one of {', '.join(each for each in FILLS if each != TWIN_FILL)}")


@dataclass
class Measured:
    """What was measured on n images of an identity.

    pixels : (n, M) of the grid that are occluded; drop, lost : (n, M) mean drop over the N-1 partners, and how many of
    the accepted ones fall below the threshold, both NaN where the map is empty or the occluded face has no embedding,
    and ``lost`` where there is no threshold
    cosine, accepted : (n,) unoccluded mean over the partners, and how many lie above the threshold, NaN without one
    forwards : faces that were embedded
    """

    pixels: np.ndarray
    drop: np.ndarray
    lost: np.ndarray
    cosine: np.ndarray
    accepted: np.ndarray
    forwards: int


class Occluder:
    """Measures the drops of one identity's images under any masks.

    x : (N, 3, h, w) input; fills : {name: what ``filling`` gives}; unit : (N, D) unoccluded embeddings of unit norm;
    all on the network's device. threshold : cosine above which a pair is accepted, NaN where there is none
    """

    def __init__(
        self,
        network: nn.Module,
        recogniser: Recogniser,
        x: Tensor,
        fills: dict[str, Tensor],
        unit: Tensor,
        grid: int = CROP_UNITS,
        threshold: float = float("nan"),
        batch: int = 64,
    ):
        self.network, self.x, self.fills, self.unit = network, x, fills, unit
        self.grid, self.threshold, self.batch = grid, threshold, batch
        lines = input_pixels(recogniser.input_size, recogniser.window, grid)
        self.rows, self.columns = (torch.from_numpy(each).to(x.device) for each in lines)
        rng = np.random.default_rng(0)
        marks = rng.integers(1, 2**63 - 1, (grid, grid)) * seen_pixels(recogniser, grid)
        self.fill_marks = dict(zip(fills, rng.integers(1, 2**63 - 1, len(fills)), strict=True))
        self.marks = torch.from_numpy(np.append(marks, 0)).to(x.device)  # 0: the input shows nothing of this pixel

    def measure(self, anchors: Tensor, orders: list[Tensor], masks: list[list[tuple[str, int]]]) -> Measured:
        """All masks of n anchors, in full batches; equal masks of an image are embedded once under each fill.

        anchors : (n,) positions among the N images; orders : R of (n, K), K as large as the ranking needs
        masks : per ranking, the fill and how many of its first pixels to occlude; the result's columns are these, one
        after another
        """
        sizes = [[size for _, size in each] for each in masks]
        given = list(zip(orders, sizes, strict=True))
        pixels = torch.cat([_at(order < self.grid**2, k) for order, k in given], 1).cpu().numpy()
        marks = torch.cat([_at(self.marks[order], k) for order, k in given], 1).cpu().numpy()
        of_fills = np.array([self.fill_marks[fill] for each in masks for fill, _ in each])
        image, mask, inverse = distinct(np.where(marks == 0, 0, marks + of_fills))
        drop, lost = self._embed(anchors, image, mask, orders, masks)
        before = cosines_of(self.unit[anchors], self.unit)
        partners = self._partners(anchors)
        accepted = (before > self.threshold) & partners
        return Measured(
            pixels=pixels,
            drop=np.where(pixels == 0, np.nan, drop[inverse]),
            lost=np.where((pixels == 0) | np.isnan(self.threshold), np.nan, lost[inverse]),
            cosine=((before.double() * partners).sum(1) / partners.sum(1)).cpu().numpy(),
            accepted=np.full(len(anchors), np.nan) if np.isnan(self.threshold) else accepted.sum(1).cpu().numpy(),
            forwards=len(image),
        )

    def _partners(self, anchors: Tensor) -> Tensor:
        """(b, N) bool: every image but the anchor."""
        return torch.arange(len(self.unit), device=anchors.device) != anchors[:, None]

    def _embed(
        self,
        anchors: Tensor,
        image: np.ndarray,
        mask: np.ndarray,
        orders: list[Tensor],
        masks: list[list[tuple[str, int]]],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Drop and losses (U + 1,) of the masks to embed; the last entry stands for a mask that hides nothing."""
        longest = max(order.shape[1] for order in orders)
        padded = torch.stack([functional.pad(o, (0, longest - o.shape[1]), value=self.grid**2) for o in orders], 1)
        ranking = np.repeat(np.arange(len(masks)), [len(each) for each in masks])[mask]
        names = list(self.fills)
        fill, size = np.array([(names.index(fill), size) for each in masks for fill, size in each])[mask].T
        drop, lost = np.zeros(len(image) + 1), np.zeros(len(image) + 1)
        if not len(image):
            return drop, lost
        by_fill = np.argsort(fill, kind="stable")  # few batches have several
        # Numbers go to the device, and results come from it, all at once: nothing waits between two batches.
        on_device = [torch.from_numpy(each[by_fill]).to(anchors.device) for each in (image, ranking, fill, size)]
        found = []
        for start in range(0, len(image), self.batch):
            part = slice(start, start + self.batch)
            i, r, f, k = (each[part] for each in on_device)
            present = np.unique(fill[by_fill[part]]).tolist()
            found.append(self._compare(self._occluded(anchors[i], padded[i, r], k, f, present), anchors[i]))
        drop[by_fill], lost[by_fill] = torch.cat(found, 1).cpu().numpy()
        return drop, lost

    def _occluded(self, anchors: Tensor, orders: Tensor, sizes: Tensor, fills: Tensor, present: list[int]) -> Tensor:
        """Embeddings (b, D) of the anchors (b,) without the first ``sizes`` (b,) pixels of their orders (b, K).

        fills : (b,) numbers of what takes their place, in the order of ``self.fills``; present : those among them
        """
        hidden = draw_masks(orders, sizes, self.grid, self.rows, self.columns)
        occluded = self.x[anchors]
        each = list(self.fills.values())
        for number in present:
            occluded = torch.where(hidden & (fills == number).view(-1, 1, 1, 1), each[number][anchors], occluded)
        return embed(self.network, occluded, self.batch)

    def cosines(self, order: Tensor, fill: str, size: int) -> np.ndarray:
        """(N, N) of every image without the first ``size`` pixels of its order (N, K), with every image as it is.

        NaN where an order has no pixel (there is no map), or the occluded face no embedding
        """
        anchors = torch.arange(len(self.x), device=self.x.device)
        blocks = anchors.split(self.batch)
        number = list(self.fills).index(fill)
        found = torch.cat(
            [
                self._occluded(b, order[b], torch.full_like(b, size), torch.full_like(b, number), [number])
                for b in blocks
            ]
        )
        unusable = ~is_usable(found) | (order[:, 0] >= self.grid**2)
        cosines = cosines_of(normalise(found), self.unit)
        return cosines.masked_fill(unusable[:, None], float("nan")).cpu().numpy()

    def _compare(self, found: Tensor, anchors: Tensor) -> Tensor:
        """Embeddings (b, D) of the occluded anchors -> (2, b): mean drop over the partners, and how many are lost."""
        partners = self._partners(anchors)
        before, after = cosines_of(self.unit[anchors], self.unit), cosines_of(normalise(found), self.unit)
        drop = ((before - after).double() * partners).sum(1) / partners.sum(1)
        lost = ((before > self.threshold) & ~(after > self.threshold) & partners).sum(1).double()
        return torch.stack([drop, lost]).masked_fill(~is_usable(found), float("nan"))


def _at(of_pixels: Tensor, sizes: list[int]) -> Tensor:
    """Numbers (n, K) of ordered pixels, added up over the first ``sizes`` of them: (n, T), modulo 2**64.

    Of random numbers this is a fingerprint of the set: two different sets agree by chance once in 2**64.
    """
    sums = of_pixels.long().cumsum(1)
    return torch.stack([sums[:, size - 1] for size in sizes], 1)


def distinct(marks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The masks to embed among fingerprints (N, M): those that hide something, equal ones of an image once.

    Returns image (U,), mask (U,), and inverse (N, M): which of them each mask is, U where it hides nothing.
    """
    image, mask, inverse, total = [], [], np.empty(marks.shape, np.int64), 0
    for number, row in enumerate(marks):
        values, first, back = np.unique(row, return_index=True, return_inverse=True)
        kept = values != 0
        place = np.where(kept, total + np.cumsum(kept) - 1, -1)
        inverse[number] = place[back]
        image.append(np.full(kept.sum(), number))
        mask.append(first[kept])
        total += int(kept.sum())
    inverse[inverse < 0] = total
    return np.concatenate(image), np.concatenate(mask), inverse


class Sources:
    """Where the scores of a recogniser's identities come from: its own maps, other guides', and draws.

    guides : {model: its maps file of this shard}, open; the recogniser's own among them
    averaged : what takes all shards; their maps files lie beside the recogniser's own; others : people of other_mean
    precision : in which faces are embedded, by default that of the maps
    shuffled : the recogniser's network with permuted weights, needed by the kind of that name
    """

    def __init__(
        self,
        recogniser: Recogniser,
        guides: dict[str, h5py.File],
        averaged: storage.Averages,
        *,
        others: int = 1,
        batch: int = 64,
        seed: int = 0,
        precision: str | None = None,
    ):
        own = guides[recogniser.name]
        self.guides, self.averaged, self.batch, self.seed = guides, averaged, batch, seed
        self.others = averages.other_identities(averaged.identities, seed, others)
        self.paths = {
            identity: Path(own.filename).with_name(name)
            for identity, name in zip(averaged.identities, averaged.shards, strict=True)
        }
        of_maps = json.loads(own.attrs["settings"])
        self.grid, self.maps_precision, self.maps_target = (
            int(own.attrs["grid"]),
            of_maps["precision"],
            of_maps["target"],
        )
        self.precision = precision or self.maps_precision
        self.layers = {name: storage.read_layers(shard) for name, shard in guides.items()}
        self.placed = {name: storage.read_grid(shard) for name, shard in guides.items()}
        self.seen = seen_pixels(recogniser, self.grid)
        self.shuffled: nn.Module | None = None
        self._last: tuple[tuple, np.ndarray] = ((), EMPTY_MAP)  # the maps read last, which several kinds share

    def read(self, rankings: list[Ranking], identity: str, images: list[str]) -> list[np.ndarray]:
        """Per ranking what its pixels are ordered by, from files and draws: (1 or N, h, w) maps at their native size,
        or (1 or N, G, G) scores of the kinds that come from no map. Of SHUFFLED, which is computed, an empty map.
        """
        cells = {(each.polarity, each.layer): None for each in rankings if each.kind == OTHER_MEAN}
        repeats = {each.repeat for each in rankings if each.kind == OTHER_MEAN}
        others = {repeat: self._other_means(list(cells), identity, repeat, len(images) - 1) for repeat in repeats}
        found = []
        for ranking in rankings:
            if ranking.kind in MAPLESS_KINDS:
                found.append(self._free(ranking, identity, images))
            elif ranking.kind == OTHER_MEAN:
                found.append(others[ranking.repeat][ranking.polarity, ranking.layer][None])
            else:
                found.append(EMPTY_MAP if ranking.kind == SHUFFLED else self._native(ranking, identity, images))
        return found

    def orders(self, rankings: list[Ranking], read: list[np.ndarray], identity: str, x: Tensor) -> list[Tensor]:
        """Per ranking the pixels (N, K) of every image to occlude, largest first; x : (N, 3, h, w)."""
        found, shuffled = [], self._shuffled_maps(rankings, identity, x)
        for ranking, native in zip(rankings, read, strict=True):
            if ranking.kind == SHUFFLED:
                native = shuffled.get((ranking.polarity, ranking.layer), EMPTY_MAP)
            scores = torch.from_numpy(native).to(x.device)
            if ranking.kind not in MAPLESS_KINDS:
                scores = self.placed[ranking.guide].place(scores.float(), ranking.layer)
            longest = max(size for _, size in set_sizes(ranking, self.grid))
            found.append(order_pixels(scores, longest).expand(len(x), -1))
        return found

    def _free(self, ranking: Ranking, identity: str, images: list[str]) -> np.ndarray:
        """(1 or N, G, G): scores of the kinds that come from no map."""
        if ranking.kind == CENTRE:
            return centre_scores(self.grid)[None]
        draw = (random_scores(self.seen, self.seed, ranking.repeat, identity, image) for image in images)
        return np.stack(list(draw))

    def _native(self, ranking: Ranking, identity: str, images: list[str]) -> np.ndarray:
        """(1 or N, h, w): maps at their native size; an empty one for an image that the guide could not embed."""
        cell = ranking.polarity, ranking.layer
        found = self._image_maps(ranking.guide, identity, images, cell)
        if ranking.kind == OWN_MEAN:
            return averages.leave_one_out(found)
        if ranking.kind == POPULATION_MEAN:
            own = found.mean(0, dtype=np.float64)
            return averages.mean_of_others(self.averaged.totals[cell], own, len(self.averaged.identities))[None]
        return found

    def _image_maps(self, guide: str, identity: str, images: list[str], cell: tuple[str, str]) -> np.ndarray:
        """(N, h, w): the guide's maps of these images, in their order."""
        key = guide, identity, cell
        if self._last[0] != key:
            shard, found = self.guides[guide], {}
            if storage.holds(shard, identity):
                names = storage.read_images(shard, identity)
                found = dict(zip(names, storage.read_layer_maps(shard, identity, *cell), strict=True))
            nothing = np.zeros_like(next(iter(found.values()), EMPTY_MAP[0]))
            self._last = key, np.stack([found.get(image, nothing) for image in images])
        return self._last[1]

    def _other_means(
        self, cells: list[tuple[str, str]], identity: str, repeat: int, count: int
    ) -> dict[tuple[str, str], np.ndarray]:
        """{cell: (h, w)}: means over ``count`` images of another, drawn with the seed, or over all that there are."""
        other = self.others[identity][repeat]
        with storage.open_shard(self.paths[other], "maps") as shard:
            found = {cell: storage.read_layer_maps(shard, other, *cell) for cell in cells}
            images = len(storage.read_images(shard, other))
        drawn = np.random.default_rng([self.seed, *f"{identity}/{other}".encode()]).permutation(images)[:count]
        return {cell: maps[drawn].mean(0, dtype=np.float64) for cell, maps in found.items()}

    def _shuffled_maps(self, rankings: list[Ranking], identity: str, x: Tensor) -> dict[tuple[str, str], np.ndarray]:
        """{(polarity, layer): (N, h, w)} under permuted weights; {} where none are asked for, or there are none."""
        layers = tuple(dict.fromkeys(ranking.layer for ranking in rankings if ranking.kind == SHUFFLED))
        if not layers:
            return {}
        settings = MapSettings(grid=self.grid, top_percents=(1.0,), batch_images=self.batch, target=self.maps_target)
        # Its counts per region are not used, so no places of its units are looked for.
        regions, stretched = np.zeros((len(x), self.grid, self.grid), np.uint8), Grid(self.grid)
        assert self.shuffled is not None  # ``ready_networks`` makes it where such rankings are planned
        try:
            found = explain(self.shuffled, layers, x, regions, settings, stretched)
        except UnusableImagesError as error:
            log.warning("%s: no maps under permuted weights, so no drops: %s", identity, error)
            return {}
        return {
            (polarity, layer): found[f"maps.{number}"][sign]
            for number, layer in enumerate(layers)
            for sign, polarity in enumerate(POLARITIES)
        }


def set_sizes(ranking: Ranking, grid: int) -> list[tuple[str, int]]:
    """Of each of a ranking's masks the fill, and how many pixels of the grid are occluded."""
    return [(fill, set_size(percent, grid**2)) for fill, percent in ranking.masks]


def occlude_faces(
    faces: str | Path,
    guides: dict[str, str | Path],
    totals: str | Path,
    output: str | Path,
    recogniser: Recogniser,
    settings: OcclusionSettings,
    *,
    device: str = "auto",
    twins: str | Path | None = None,
    seed: int = 0,
    minutes: float | None = None,
    progress: Callable = iter,
) -> None:
    """Drops of every image of a shard under every mask: results/occlusion/{model}/{shard}.parquet.

    faces : the shard's faces; guides : {model: its maps file of this shard}, the recogniser's own among them
    totals : the recogniser's averages/{model}.h5; its maps files of other shards lie beside that of this shard
    twins : the shard's twins/{shard}.h5, for the fill of that name

    One row per image, kind, guide, layer, polarity, fill and percent: pixels (of the grid, occluded), pairs (N-1
    partners), cosine (unoccluded, mean over the partners), drop (mean; NaN where there is no map), accepted (partners
    above the threshold that at most 0.001 of the run's own impostor pairs exceed), lost (of those, no longer so; both
    NaN where there is no threshold), untrained (the recogniser or the guide). The draws of ``random`` and the people of
    ``other_mean`` are averaged, those without a drop left out. Of ``settings.others`` there are those that the run has;
    without a second identity OTHERS_MEANS are left out.

    Finished identities go to a journal beside the output, as in ``maps.compute_maps``, with the same errors; and
    OcclusionError when the maps are of other faces or of another recogniser.
    """
    if TWIN_FILL in settings.fills and twins is None:
        raise OcclusionError(f"fill {TWIN_FILL}: there are no other people's pictures; expected a file of render_twins")
    job = Job(output, minutes, progress)
    with contextlib.ExitStack() as stack:
        parsed = stack.enter_context(storage.open_shard(faces, "faces"))
        opened = {name: stack.enter_context(storage.open_shard(path, "maps")) for name, path in guides.items()}
        check(opened, files.sha256(faces), recogniser)
        others_shown = None if twins is None else stack.enter_context(storage.open_shard(twins, "twins"))
        averaged = storage.read_averages(totals)
        batch, others = settings.batch_images, min(settings.others, len(averaged.identities) - 1)
        sources = Sources(
            recogniser, opened, averaged, others=others, batch=batch, seed=seed, precision=settings.precision
        )
        planned = plan_rankings(settings, recogniser.name, sources.layers)
        rankings = [ranking for ranking in planned if ranking.kind not in OTHERS_MEANS or ranking.repeat < others]
        drawn = {"seed": seed} if twins is None else {"seed": seed, "twins_sha256": files.sha256(twins)}
        work = _work(opened, recogniser, settings, drawn, totals)
        journal = stack.enter_context(job.journal(files.digest_value(work), lambda: _is_finished(job.output, work)))
        if journal is None:
            return
        shown = parsed, others_shown
        _occlude_identities(shown, job, journal, sources, rankings, recogniser, settings, choose_device(device))
        table = _table(opened, recogniser, rankings, journal)
        table.attrs = work
        with files.whole_file(job.output) as part:
            table.to_parquet(part, index=False)


Work = dict[str, str | bool | dict[str, str]]


def _is_finished(output: Path, work: Work) -> bool:
    """Whether the output is there already, and of the same work."""
    return output.exists() and read_output(output, columns=["model"]).attrs == work


def check(opened: dict[str, h5py.File], faces_sha256: str, recogniser: Recogniser) -> None:
    """The embeddings in the maps file must be those of this recogniser, and all maps those of these faces."""
    own = opened[recogniser.name]
    for key, value in identify(recogniser).items():
        if own.attrs[key] != value:
            raise OcclusionError(f"{own.filename} was made with another {key} than now; run compute_maps again")
    for shard in opened.values():
        if shard.attrs["faces_sha256"] != faces_sha256:
            raise OcclusionError(f"{shard.filename} was made from other faces than now; run compute_maps again")
        if shard.attrs["grid"] != own.attrs["grid"]:
            raise OcclusionError(f"{shard.filename} has a grid of {shard.attrs['grid']}, expected {own.attrs['grid']}")


def _work(
    opened: dict[str, h5py.File], recogniser: Recogniser, settings: OcclusionSettings, drawn: dict, totals: str | Path
) -> Work:
    """Everything the drops depend on, as the attributes that the output carries."""
    return {
        **identify(recogniser),
        "guides": {
            name: files.digest_value({k: str(v) for k, v in shard.attrs.items()}) for name, shard in opened.items()
        },
        "averages_sha256": files.sha256(totals),
        "settings": json.dumps(dataclasses.asdict(settings) | drawn, sort_keys=True),
        "versions": files.versions(torch, np, h5py),
    }


def _occlude_identities(
    shown: tuple[h5py.File, h5py.File | None],
    job: Job,
    journal: Journal,
    sources: Sources,
    rankings: list[Ranking],
    recogniser: Recogniser,
    settings: OcclusionSettings,
    device: torch.device,
) -> None:
    own, (parsed, twins) = sources.guides[recogniser.name], shown
    names = storage.identities(own)
    done = sum(name in journal for name in names)
    log.info("%s: %d identities, %d done before, on %s", recogniser.name, len(names), done, device)
    if done == len(names):
        return
    network = ready_networks(sources, rankings, recogniser, device)

    def read(name: str) -> tuple[storage.Faces, np.ndarray, list[np.ndarray]]:
        faces = storage.read_faces(parsed, name, storage.read_images(own, name))
        return faces, storage.read_embeddings(own, name), sources.read(rankings, name, faces.images)

    for number, (faces, embeddings, natives) in job.unfinished(names, journal, recogniser.name, read):
        begun, name, images = time.monotonic(), faces.identity, faces.images
        with arithmetic(sources.precision, device):
            x = networks.to_input(faces.crops, recogniser).to(device)
            if is_same_arithmetic(sources.precision, sources.maps_precision, device):
                unit = torch.from_numpy(embeddings).to(device)
            else:  # a drop is a difference, of which both sides should be rounded alike
                unit = normalise(embed(network, x, settings.batch_images))
            fills = {fill: filling(fill, x, recogniser, sources.seed) for fill in settings.fills if fill != TWIN_FILL}
            if twins is not None:
                others = storage.read_twins(twins, name, images)
                fills[TWIN_FILL] = networks.to_input(others, recogniser).to(device)
            occluder = Occluder(
                network, recogniser, x, fills, unit, sources.grid, sources.averaged.threshold, settings.batch_images
            )
            found = _measure(occluder, sources.orders(rankings, natives, name, x), rankings)
        journal.add(name, images=np.array(images), **dataclasses.asdict(found))
        rate = found.forwards / (time.monotonic() - begun)
        log.info("%s (%d of %d): %d images, %.0f occluded/s", name, number, len(names), len(images), rate)


def ready_networks(
    sources: Sources, rankings: list[Ranking], recogniser: Recogniser, device: torch.device
) -> nn.Module:
    """The network to measure with; and, where it is asked for, the one with permuted weights for the sources."""
    if device.type == "cpu":
        tune_cpu()
    if any(ranking.kind == SHUFFLED for ranking in rankings):
        permuted = networks.build_network(dataclasses.replace(recogniser, shuffled=True), sources.seed)
        sources.shuffled = folding.fold_network(
            permuted, recogniser.layers, recogniser.input_size, device, sources.precision
        )
    network = networks.build_network(recogniser, sources.seed)
    return folding.fold_network(network, (), recogniser.input_size, device, sources.precision)


def _measure(occluder: Occluder, orders: list[Tensor], rankings: list[Ranking]) -> Measured:
    """``Occluder.measure`` for all images, at most a batch of them at a time, so that memory does not grow with N."""
    masks = [set_sizes(ranking, occluder.grid) for ranking in rankings]
    anchors = torch.arange(len(occluder.x), device=occluder.x.device)
    parts = [
        occluder.measure(block, [order[block] for order in orders], masks) for block in anchors.split(occluder.batch)
    ]
    joined = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(Measured)
        if field.name != "forwards"
    }
    return Measured(**joined, forwards=sum(part.forwards for part in parts))


def _table(
    opened: dict[str, h5py.File], recogniser: Recogniser, rankings: list[Ranking], journal: Journal
) -> pd.DataFrame:
    """The journal's records, in the order of the identities, as rows; repeats averaged."""
    untrained = {name: recogniser.untrained or storage.is_untrained(shard) for name, shard in opened.items()}
    rows = [row for ranking in rankings for row in ranking.rows()]
    places = {row: number for number, row in enumerate(dict.fromkeys(rows))}
    place = np.array([places[row] for row in rows])
    keys = pd.DataFrame(list(places), columns=RANKING_KEYS)
    keys["untrained"] = keys["guide"].map(untrained | {"": recogniser.untrained}).astype(bool)
    tables = []
    for name in storage.identities(opened[recogniser.name]):
        found = journal.get(name)
        images = [str(image) for image in found["images"]]
        n, m = len(images), len(places)
        table = pd.concat([keys] * n, ignore_index=True).assign(identity=name, image=np.repeat(images, m))
        for key in ("pixels", "drop", "lost"):
            table[key] = _average(found[key], place, m).ravel()
        for key in ("cosine", "accepted"):
            table[key] = np.repeat(found[key], m)
        tables.append(table.assign(model=recogniser.name, pairs=n - 1))
    table = concatenate(tables, DROP_COLUMNS, **DROP_TYPES).astype({"pixels": int, "pairs": int})
    if table["accepted"].notna().all():  # there is a threshold
        table = table.astype({"accepted": int})
    return categorise(table, ("model", *RANKING_KEYS[:-1], "identity", "image"))


def _average(values: np.ndarray, place: np.ndarray, columns: int) -> np.ndarray:
    """(n, M) -> (n, columns): the mean over those of the M that share a place, NaN left out."""
    total, known = np.zeros((2, columns, len(values)))
    np.add.at(total, place, np.nan_to_num(values.T))
    np.add.at(known, place, ~np.isnan(values.T))
    return ratio(total, known).T
