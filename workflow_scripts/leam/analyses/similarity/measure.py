"""How alike are two images' maps, of the same person and of different people? (paper 3.3 and RQ3; docs/method.md 4)

    BC(P, Q) = sum over pixels of sqrt(P Q)          (6), in [0, 1]
    EMD(P, Q), exact, in pixels of the common grid   (``transport``)

of the top 1 % of the maps, made to sum to 1 again (the paper's tables 3-6), and of the full maps. "Same" are the
unordered image pairs of an identity, "different" as many pairs of one of its images and one of another identity's,
drawn with the seed. Beside the maps stand two nulls, over the same pairs: the population's mean map, moved from the
template's frame onto each image's face, so that only the geometry differs; and the masks of the facial regions.

Shape letters: n images of an identity and those it is compared with, m pairs, C channels (polarities or regions),
h, w a layer's native map, G side of the common grid.
"""

import contextlib
import itertools
import logging
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from leam import files, storage
from leam.analyses.similarity import (
    BC,
    CANONICAL,
    EMD,
    EMPTY,
    FRAMES,
    IDENTITY,
    LEAM_MAPS,
    MAP_PARTS,
    MASK,
    MEASURED,
    PAIRINGS,
    SIMILARITY_MEASURES,
    TOP,
    UNALIGNED,
    WHOLE,
    alignment,
    bhattacharyya,
)
from leam.analyses.similarity.transport import Ground, Support
from leam.controls import POPULATION_MEAN
from leam.grid import Grid
from leam.methods import POLARITIES
from leam.pixel_sets import keep_top
from leam.reasons import NO_LANDMARKS
from leam.regions import REGIONS
from leam.tables import categorise, no_rows

log = logging.getLogger(__name__)
TOP_PERCENT = 1
NOT_FACIAL = ("background", "neck", "cloth", "hair", "hat", "earr", "neck_l")
FACIAL = tuple(region for region in REGIONS if region not in NOT_FACIAL)
WHOLE_FACE = "facial"  # all facial regions together
SIMILARITY_KEYS = ("layer", "polarity", "frame", "part")
PAIR_KEYS = ("pairing", "identity", "image", "other_identity", "other_image")
PAIR_VALUES = (*SIMILARITY_MEASURES, "reason")
PAIR_COLUMNS = ("model", *SIMILARITY_KEYS, *PAIR_KEYS, *PAIR_VALUES, "untrained")


@dataclass(frozen=True)
class SimilaritySettings:
    """The settings of ``measure_similarity`` (the configuration's section ``similarity``).

    first_layers : how many of each recogniser, None all; pairs : same pairs per identity at most, None all
    emd : the parts whose EMD is measured; cell : side of the cells into which full maps are pooled for it, grid pixels
    """

    grid: int = 112
    first_layers: int | None = None
    polarities: tuple[str, ...] = POLARITIES
    frames: tuple[str, ...] = FRAMES
    pairs: int | None = None
    emd: tuple[str, ...] = (TOP,)
    cell: int = 4


def similarity_settings(section: dict, grid: int) -> SimilaritySettings:
    """The settings from the configuration's section ``similarity``, and the side of the common grid."""
    single = {key: section[key] for key in ("first_layers", "pairs", "cell")}
    lists = {key: tuple(section[key]) for key in ("polarities", "frames", "emd")}
    return SimilaritySettings(**single | lists | {"grid": grid})


def to_distributions(maps: Tensor) -> Tensor:
    """Maps (n, G*G) >= 0, each made to sum to 1; one without mass becomes NaN."""
    total = maps.sum(1, keepdim=True)
    return maps / torch.where(total > 0, total, torch.nan)


def supports(distributions: Tensor, ground: Ground) -> list[Support]:
    """The pixels with mass of each distribution (n, G*G), and their masses; empty for one that is NaN."""
    found = []
    for row in distributions.numpy():
        pixels = np.flatnonzero(row > 0)
        found.append(ground.support(pixels, row[pixels]))
    return found


def pool(distributions: Tensor, grid: int, cell: int) -> Tensor:
    """Distributions (n, G*G) summed over square cells of ``cell`` pixels: (n, (G/cell)^2).

    The EMD between pooled maps differs from that of the maps by at most sqrt(2) (cell - 1) pixels.
    """
    cells = distributions.unflatten(1, (grid // cell, cell, grid // cell, cell))
    return cells.sum((2, 4)).flatten(1)


class Measure:
    """BC and EMD of given pairs of maps; knows the grid and which parts' EMD is asked for."""

    def __init__(self, settings: SimilaritySettings):
        self.settings = settings
        self.grounds = {
            TOP: Ground(settings.grid),
            WHOLE: Ground(settings.grid // settings.cell, settings.cell),
        }

    def part(self, maps: Tensor, part: str, pairs: np.ndarray, emd: bool) -> tuple[np.ndarray, np.ndarray]:
        """Maps (n, G, G) and pairs (m, 2) of them -> BC (m,) and EMD (m,), NaN where it is not defined or not asked."""
        flat = maps.flatten(1)
        distributions = to_distributions(keep_top(flat, TOP_PERCENT) if part == TOP else flat)
        first, second = pairs.T
        rows, places = np.unique(first, return_inverse=True)  # few: an identity's own images
        bc = bhattacharyya(distributions[rows], distributions)[places, second].numpy()
        if not emd:
            return bc, np.full(len(pairs), np.nan)
        if part == WHOLE:
            distributions = pool(distributions, self.settings.grid, self.settings.cell)
        ground = self.grounds[part]
        found = supports(distributions, ground)
        return bc, np.array([ground.emd(found[i], found[j]) for i, j in pairs])


@dataclass
class Person:
    """Where the maps of an identity are: the number of its shard, and its images there."""

    shard: int
    identity: str
    images: list[str]


@dataclass
class Stack:
    """Images whose maps are compared, of one identity first.

    maps : {layer: (n, polarities, h, w)}; landmarks, references : (n, 68, 2) grid px; regions : (n, S, S) uint8
    """

    names: list[tuple[str, str]]  # identity and image
    maps: dict[str, np.ndarray]
    landmarks: np.ndarray
    references: np.ndarray
    regions: np.ndarray


ARRAYS = ("landmarks", "references", "regions")  # of a stack, one row per image


class Shards:
    """Shards of maps and faces, opened side by side: the people to measure in the first, others to compare with."""

    def __init__(self, maps: list[str | Path], faces: list[str | Path], settings: SimilaritySettings, seed: int):
        self.settings, self.seed = settings, seed
        with contextlib.ExitStack() as stack:
            self.maps = [stack.enter_context(storage.open_shard(path, "maps")) for path in maps]
            self.faces = [stack.enter_context(storage.open_shard(path, "faces")) for path in faces]
            self._close = stack.pop_all()
        first = self.maps[0]
        self.model, self.untrained = str(first.attrs["model"]), storage.is_untrained(first)
        self.layers, self.placed = storage.read_layers(first)[: settings.first_layers], storage.read_grid(first)

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, *_: object) -> None:
        self._close.close()

    def people(self, numbers: range | None = None) -> list[Person]:
        """The people of some shards, by default of all, in the order of shards and identities."""
        return [
            Person(number, identity, storage.read_images(self.maps[number], identity))
            for number in (range(len(self.maps)) if numbers is None else numbers)
            for identity in storage.identities(self.maps[number])
        ]

    def read(self, chosen: list[tuple[Person, list[int]]]) -> Stack:
        """Maps, landmarks and regions of some images (positions, ascending) of some people."""
        parts = [self._read(person, images) for person, images in chosen]
        joined = {key: np.concatenate([getattr(part, key) for part in parts]) for key in ARRAYS}
        maps = {layer: np.concatenate([part.maps[layer] for part in parts]) for layer in self.layers}
        return Stack(names=[name for part in parts for name in part.names], maps=maps, **joined)

    def _landmarks(self, person: Person) -> np.ndarray:
        """Of the faces of a person that have maps: (N, 68, 2) in pixels of the grid."""
        maps, faces = self.maps[person.shard], self.faces[person.shard]
        landmarks = storage.read_landmarks(faces, person.identity)[storage.used_faces(maps, faces, person.identity)]
        return alignment.to_grid(landmarks, storage.read_side(faces, person.identity), self.settings.grid)

    def reference(self, person: Person) -> np.ndarray:
        """The reference shape (68, 2) of a person, grid px; NaN when no face has landmarks."""
        return alignment.draw_reference(person.identity, self._landmarks(person), self.seed)

    def _read(self, person: Person, images: list[int]) -> Stack:
        maps, faces = self.maps[person.shard], self.faces[person.shard]
        used = np.array(storage.used_faces(maps, faces, person.identity))[images]
        landmarks = self._landmarks(person)[images]
        return Stack(
            names=[(person.identity, person.images[image]) for image in images],
            maps=storage.read_image_maps(maps, person.identity, images, self.layers, list(self.settings.polarities)),
            landmarks=landmarks,
            references=np.broadcast_to(self.reference(person), landmarks.shape),
            regions=storage.read_regions(faces, person.identity)[used],
        )


def draw_pairs(
    own: Person, others: list[Person], limit: int | None, seed: int
) -> tuple[np.ndarray, list[tuple[int, Person, int]]]:
    """The pairs of an identity, drawn with the seed: same (m, 2), positions of its images, and as many different ones.

    same : all unordered pairs, or ``limit`` of them; different : image of one's own, other person, image of theirs,
    drawn without repetition from all such pairs (all of them when there are no more)
    """
    rng = np.random.default_rng([seed, *own.identity.encode()])
    n = len(own.images)
    same = np.array(list(itertools.combinations(range(n), 2)), int).reshape(-1, 2)
    if limit is not None and len(same) > limit:
        same = same[np.sort(rng.choice(len(same), limit, replace=False))]
    strangers = [person for person in others if person.identity != own.identity]
    ends = np.cumsum([len(person.images) for person in strangers], dtype=int)
    total = int(ends[-1]) if len(ends) else 0
    drawn = np.sort(rng.choice(n * total, min(len(same), n * total), replace=False)) if total else np.empty(0, int)
    different = []
    for number in drawn:
        image, place = divmod(int(number), total)
        who = int(np.searchsorted(ends, place, side="right"))
        different.append((image, strangers[who], place - int(ends[who]) + len(strangers[who].images)))
    return same, different


def _gather(shards: Shards, own: Person, others: list[Person]) -> tuple[Stack, np.ndarray, int]:
    """The images to compare, the pairs (m, 2) of them, and how many of these are same pairs (they come first)."""
    same, different = draw_pairs(own, others, shards.settings.pairs, shards.seed)
    wanted: dict[str, tuple[Person, set[int]]] = {}
    for _, person, image in different:
        wanted.setdefault(person.identity, (person, set()))[1].add(image)
    chosen = [(own, list(range(len(own.images))))]
    chosen += [(person, sorted(images)) for person, images in wanted.values()]
    stack = shards.read(chosen)
    place = {name: number for number, name in enumerate(stack.names)}
    far = [(image, place[person.identity, person.images[other]]) for image, person, other in different]
    return stack, np.concatenate((same, np.array(far, int).reshape(-1, 2))), len(same)


def facial_masks(regions: np.ndarray) -> np.ndarray:
    """Masks (n, C, S, S) float32 of all facial regions together, then of each, from labels (n, S, S)."""
    each = np.stack([regions == REGIONS.index(region) for region in FACIAL], axis=1)
    return np.concatenate((each.any(1, keepdims=True), each), axis=1).astype(np.float32)


def _frames(stack: Stack, template: np.ndarray, frame: str) -> np.ndarray:
    """(n, 3, 3): each image's grid pixels to those of the frame."""
    if frame == UNALIGNED:
        return np.broadcast_to(np.eye(3), (len(stack.names), 3, 3))
    targets = stack.references if frame == IDENTITY else np.broadcast_to(template, stack.landmarks.shape)
    return alignment.frames_onto(stack.landmarks, targets)


def _inverse(frames: np.ndarray) -> np.ndarray:
    """The way back (n, 3, 3) from a frame; NaN stays NaN."""
    known = np.isfinite(frames).all((1, 2))
    inverse = np.full(frames.shape, np.nan)
    inverse[known] = np.linalg.inv(frames[known])
    return inverse


@dataclass
class Worker:
    """What a worker holds: open shards, the people to compare with, the population, the measure."""

    shards: Shards
    others: list[Person]
    template: np.ndarray
    means: dict[str, np.ndarray]
    measure: Measure

    def measure_identity(self, own: Person) -> pd.DataFrame:
        """Every pair of an identity, by its maps and by the nulls (column ``kind``)."""
        stack, pairs, same = _gather(self.shards, own, self.others)
        cells = []
        for frame in self.shards.settings.frames:
            frames = _frames(stack, self.template, frame)
            for keys, maps in itertools.chain(self._maps(stack, frames), self._nulls(stack, frames)):
                cells += self._measure(maps, pairs, {"frame": frame} | keys)
        names = np.array(stack.names, object)
        who = {
            "pairing": np.where(np.arange(len(pairs)) < same, *PAIRINGS),
            "identity": names[pairs[:, 0], 0],
            "image": names[pairs[:, 0], 1],
            "other_identity": names[pairs[:, 1], 0],
            "other_image": names[pairs[:, 1], 1],
        }
        return _table(cells, who)

    def _maps(self, stack: Stack, frames: np.ndarray) -> Iterator[tuple[dict, Tensor]]:
        """The maps in one frame, by layer: keys, those of the channels as a list, and maps (n, C, G, G)."""
        settings = self.shards.settings
        warp = alignment.Warp(frames, self.shards.placed)
        for layer, maps in stack.maps.items():
            keys = {"kind": LEAM_MAPS, "layer": layer, "polarity": list(settings.polarities), "region": ""}
            yield keys, warp(torch.from_numpy(maps), layer)

    def _nulls(self, stack: Stack, frames: np.ndarray) -> Iterator[tuple[dict, Tensor]]:
        """Likewise the nulls: the population's mean maps, on each face, and the masks of the facial regions."""
        settings = self.shards.settings
        onto_faces = _inverse(_frames(stack, self.template, CANONICAL))
        warp = alignment.Warp(frames @ onto_faces, Grid(settings.grid))
        for layer in stack.maps:
            keys = {"kind": POPULATION_MEAN, "layer": layer, "polarity": list(settings.polarities), "region": ""}
            yield keys, warp(torch.from_numpy(self.means[layer]).expand(len(frames), -1, -1, -1))
        keys = {"kind": MASK, "layer": "", "polarity": "", "region": [WHOLE_FACE, *FACIAL]}
        yield keys, alignment.Warp(frames, Grid(settings.grid))(torch.from_numpy(facial_masks(stack.regions)))

    def _measure(self, maps: Tensor, pairs: np.ndarray, keys: dict) -> list[dict]:
        """One cell per part and channel: its keys, and the values (m,) of its pairs."""
        masks = keys["kind"] == MASK
        lost = maps.isnan().flatten(1).any(1).numpy()[pairs].any(1)  # (m,): without a frame
        empty = (maps.sum((2, 3)) == 0).numpy()[pairs].any(1)  # (m, C)
        cells = []
        for part in (WHOLE,) if masks else MAP_PARTS:
            emd = bool(self.shards.settings.emd) if masks else part in self.shards.settings.emd
            for channel in range(maps.shape[1]):
                bc, emd_px = self.measure.part(maps[:, channel], part, pairs, emd)
                reason = np.where(lost, NO_LANDMARKS, np.where(empty[:, channel], EMPTY, MEASURED))
                chosen = {key: value[channel] if isinstance(value, list) else value for key, value in keys.items()}
                cells.append(chosen | {"part": part, BC: bc, EMD: emd_px, "reason": reason})
        return cells


def _table(cells: list[dict], who: dict[str, np.ndarray]) -> pd.DataFrame:
    """Cells of m pairs each, one below the other, with the pairs' own columns."""
    m = len(who["identity"])
    columns = {key: np.repeat([cell[key] for cell in cells], m) for key in ("kind", "region", *SIMILARITY_KEYS)}
    columns |= {key: np.tile(values, len(cells)) for key, values in who.items()}
    return pd.DataFrame(columns | {key: np.concatenate([cell[key] for cell in cells]) for key in PAIR_VALUES})


def average_population(
    maps: list[str | Path],
    faces: list[str | Path],
    output: str | Path,
    *,
    settings: SimilaritySettings,
    template_faces: int = 200,
    seed: int = 0,
) -> None:
    """The population of one model: the template of the canonical frame, and the mean map in that frame.

    The template is the mean shape of one face of each of at most ``template_faces`` identities, drawn with the seed.
    The mean is over identities, each the mean over its images; images without landmarks are left out.
    """
    with Shards(maps, faces, settings, seed) as shards:
        people = shards.people()
        template = _template(shards, people, template_faces, seed)
        sums: dict[str, np.ndarray] = {}
        known = 0
        for person in people:
            stack = shards.read([(person, list(range(len(person.images))))])
            frames = _frames(stack, template, CANONICAL)
            usable = np.isfinite(frames).all((1, 2))
            known += usable.any()
            if usable.any():
                warp = alignment.Warp(frames[usable], shards.placed)
                for layer, found in stack.maps.items():
                    sums[layer] = sums.get(layer, 0.0) + warp(torch.from_numpy(found[usable]), layer).mean(0).numpy()
        log.info("%s: mean over %d of %d identities", shards.model, known, len(people))
        shape = (len(settings.polarities), settings.grid, settings.grid)
        means = {layer: sums[layer] / known if known else np.full(shape, np.nan) for layer in shards.layers}
        with storage.create_shard(output, "population", model=shards.model, identities=int(known)) as shard:
            storage.write_population(shard, template, means)


def _template(shards: Shards, people: list[Person], count: int, seed: int) -> np.ndarray:
    """The mean shape of the reference faces of at most ``count`` people drawn with the seed."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(people))[:count])
    shapes = [shards.reference(people[number]) for number in chosen]
    references = np.array(shapes).reshape(-1, *alignment.SHAPE)
    return alignment.mean_shape(references[alignment.are_usable(references)])


def measure_similarity(
    maps: list[str | Path],
    faces: list[str | Path],
    population: str | Path,
    output: str | Path,
    null: str | Path,
    *,
    settings: SimilaritySettings,
    seed: int = 0,
    processes: int = 1,
) -> None:
    """BC and EMD of the pairs of a shard under one recogniser, and those of the nulls: two Parquet files.

    maps, faces : the shard's own file first, then those from which different people are drawn, in the same order
    population : what ``average_population`` wrote; processes : workers, each with one identity at a time
    One row per pair, layer, polarity, frame and part: PAIR_COLUMNS, and for the nulls ``kind`` and ``region``
    before them. A pair that cannot be measured has NaN and a reason: an image without landmarks in an aligned frame, or
    a map that is zero everywhere.
    """
    work = (maps, faces, population, settings, seed)
    with Shards(maps, faces, settings, seed) as shards:
        people = shards.people(range(1))
        facts = {"model": shards.model, "untrained": shards.untrained}
    texts = ("kind", "region", *SIMILARITY_KEYS, *PAIR_KEYS, "reason")
    nobody = no_rows((*texts, *SIMILARITY_MEASURES), **dict.fromkeys(SIMILARITY_MEASURES, "float64"))
    found = _measure_all(people, work, processes) or [nobody]
    table = pd.concat(found, ignore_index=True).assign(**facts)
    for path, columns, rows in (
        (output, PAIR_COLUMNS, table["kind"] == LEAM_MAPS),
        (null, ("kind", "region", *PAIR_COLUMNS), table["kind"] != LEAM_MAPS),
    ):
        chosen = table.loc[rows, list(columns)]
        named = [column for column in columns if column not in (*SIMILARITY_MEASURES, "untrained")]
        with files.whole_file(path) as part:
            categorise(chosen, named).to_parquet(part, index=False)
    lost = table.loc[table["kind"] == LEAM_MAPS, "reason"].value_counts().drop(MEASURED, errors="ignore")
    log.info("%s: %d identities, %d rows; not measured: %s", facts["model"], len(people), len(table), lost.to_dict())


WorkerInputs = tuple[list[str | Path], list[str | Path], str | Path, SimilaritySettings, int]  # of ``_open_worker``


def _measure_all(people: list[Person], work: WorkerInputs, processes: int) -> list[pd.DataFrame]:
    """The tables of all people, in their order; each process opens the files anew."""
    if processes == 1 or len(people) < 2:
        threads = torch.get_num_threads()
        with _open_worker(*work) as worker:
            try:
                return [worker.measure_identity(person) for person in people]
            finally:
                torch.set_num_threads(threads)
    fork = multiprocessing.get_context("fork")  # the main module of a Snakemake script cannot be imported again
    with ProcessPoolExecutor(min(processes, len(people)), fork, _start, work) as pool:
        return list(pool.map(_measure_in_worker, people))


@contextlib.contextmanager
def _open_worker(
    maps: list[str | Path], faces: list[str | Path], population: str | Path, settings: SimilaritySettings, seed: int
) -> Iterator[Worker]:
    torch.set_num_threads(1)  # one core per process; and the same sums in the same order, whatever their number
    with Shards(maps, faces, settings, seed) as shards:
        with storage.open_shard(population, "population") as shard:
            template, means = storage.read_population(shard, shards.layers)
        yield Worker(shards, shards.people(), template, means, Measure(settings))


_held = contextlib.ExitStack()  # a worker's open files, until it ends
_worker: Worker  # a worker's own, from ``_start`` on


def _start(*work: *WorkerInputs) -> None:
    global _worker
    _worker = _held.enter_context(_open_worker(*work))


def _measure_in_worker(own: Person) -> pd.DataFrame:
    return _worker.measure_identity(own)
