"""LEAM: where a recogniser looks when it compares two images of one person (paper 3.1, equations 1-5).

For an ordered pair (anchor i, positive j) of one identity, with embeddings x_i and x_j:

    cos_ij = x_i . x_j / (|x_i| |x_j|)                  (4)        loss_ij = 1 - cos_ij      (5)
    w = ReLU(d . / d A)                                 (1)        A: a convolution's output for image i
    M_ij = ReLU( sum over channels of w * A )           (2, 3)     (h, w), >= 0

The polarity names what is differentiated: ``loss`` (1 - cos, the paper's equations) or ``similarity`` (cos). They
differ by the gradient's sign only, so one backward pass gives both. The positive is a constant. In eval mode the
images of a batch do not mix, so the gradient of the sum over a batch of pairs holds every pair's own gradient:
N forwards and N(N-1) image-backwards in all, every layer in the same backward, no parameter gradients.

Shape letters: N images, P = N(N-1) ordered pairs, b anchors of a block, L layers, C channels, h, w a layer's map,
G side of the common grid, K largest pixels, T thresholds, R regions, D embedding size.
"""

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from leam import files, storage
from leam.device import arithmetic, choose_device, halve, images_at_once, tune_cpu
from leam.embedding import COSINE, UnusableImagesError, embed, is_usable, normalise, unit_embeddings, wide
from leam.faces.duplicates import kept_images, leave_out
from leam.grid import CENTRED, TOP_PERCENTS, Grid, Lattice
from leam.jobs import Behind, Job
from leam.journal import Journal
from leam.maps_file import Planned, block_name, ordered_pairs, write_beside, write_here
from leam.methods import EQUAL, Cell, Place, Reduction, cells_of
from leam.methods.leam import LEAM
from leam.pixel_sets import QuickCounter, RegionCounter
from leam.recognisers import folding, graphs, networks
from leam.recognisers.lattice import find_lattices
from leam.recognisers.registry import ModelError, Recogniser, existing_weights
from leam.recognisers.taps import Taps, no_part
from leam.regions import FULL, REGIONS, resize_regions

log = logging.getLogger(__name__)


class MapsError(Exception):
    """Maps cannot be computed for this network or these layers."""


@dataclass(frozen=True)
class MapSettings:
    """The settings of ``compute_maps``.

    grid : side of the common grid, pixels
    batch_images : images per forward and backward, the bound on memory; None takes what ``device.images_at_once`` says
    pair_maps : store every pair's map too (float16); dtype : of the stored image maps, "float32" or "float16"
    precision : of the network's products, "float32", "tf32" or "bf16" (see ``device.arithmetic``)
    placement : "centred", each unit in the middle of its receptive field, or "stretched", evenly over the input
    target : what is differentiated, "cosine" (the paper's) or "dot", the cosine with the anchor's norm held constant
    """

    grid: int = 112
    top_percents: tuple[float, ...] = TOP_PERCENTS
    batch_images: int | None = 32
    pair_maps: bool = False
    dtype: str = "float32"
    precision: str = "float32"
    placement: str = CENTRED
    target: str = COSINE


def map_settings(section: dict) -> MapSettings:
    """The settings from the configuration's section ``maps``."""
    return MapSettings(**section | {"top_percents": tuple(section["top_percents"])})


# ------------------------------------------------------------------------------------------------ pairs in blocks


class Anchors:
    """The b anchors of a block and whom they meet: those of whole identities, the largest first, or a part of one.

    Shift s = 1, 2, ... pairs the image at place p of an identity of n with the one at (p + s) mod n, as long as s < n:
    after fewer shifts the anchors of small identities are done, and these stand last. All of it is on the device
    beforehand, so that nothing waits for Python's numbers between two backwards.
    """

    def __init__(self, sizes: Sequence[int], device: torch.device, start: int = 0, stop: int | None = None):
        """sizes : images of each identity, never rising; start, stop : the part of the images that are anchors."""
        first, n = (np.repeat(each, sizes)[start:stop] for each in (np.cumsum([0, *sizes[:-1]]), sizes))
        self.positions = np.arange(sum(sizes))[start:stop]  # (b,) among all images
        place = self.positions - first
        self.partners = max(sizes) - 1  # of the largest identity
        met = np.stack([(place + shift) % n for shift in range(1, self.partners + 1)])  # (S, b)
        self.active = [int((n > shift).sum()) for shift in range(1, self.partners + 1)]
        table = np.stack([first + met, met - (met > place)])  # the slots are places among the n - 1 partners
        self.positives, self.slots = torch.from_numpy(table).to(device)

    def __len__(self) -> int:
        return len(self.positions)


@dataclass
class PairBatch:
    """Maps of the pairs of one shift: maps[l] is (S, a, h, w), of cell l and the first a anchors."""

    positives: Tensor  # (a,) among all images
    slots: Tensor  # (a,) their places among the anchor's partners
    directed: Tensor  # (a,) whether the two embeddings differ, so that there is a direction from one to the other
    maps: list[Tensor]


def pair_batches(
    activations: dict[Place, Tensor],
    cells: Sequence[Cell],
    block: Tensor,
    anchors: Anchors,
    unit: Tensor,
    target: str = COSINE,
) -> Iterator[PairBatch]:
    """Every ordered pair of the given anchors, one shift at a time: at most b pairs per backward.

    activations : {place: (b, C, h, w) what was recorded there for the anchors}; block : (b, D) their embeddings, with
        the graph; unit : (N, D) unit embeddings of all images, constants; target : as in ``MapSettings``
    All cells take the same backward.
    """
    if not block.requires_grad:
        raise ModelError(no_part(activations))
    # equation 4: d cos_ij = x_j / |x_j| . d (x_i / |x_i|); with a constant norm the gradient keeps what the anchor
    # shares with itself, cos_ij x_i / |x_i| . d x_i / |x_i|
    block_unit = normalise(block) if target == COSINE else wide(block) / wide(block).detach().norm(dim=1, keepdim=True)
    constant = block_unit.detach()
    for number, active in enumerate(anchors.active, 1):
        positives, slots = (each[number - 1] for each in (anchors.positives, anchors.slots))
        along = unit[positives]
        along[active:] = 0  # these have met everyone
        found = torch.autograd.grad(
            block_unit, list(activations.values()), along, retain_graph=number < anchors.partners, allow_unused=True
        )
        gradients = dict(zip(activations, found, strict=True))
        if lost := [place for place, gradient in gradients.items() if gradient is None]:
            raise ModelError(no_part(lost))
        maps = [
            cell.reduction.reduce(gradients[cell.tapped][:active], activations[cell.tapped].detach()[:active])
            for cell in cells
        ]
        apart = (constant[:active] - along[:active]).square().sum(1) / 2  # 1 - cos, to more digits than from cos
        yield PairBatch(positives[:active], slots[:active], apart >= EQUAL, maps)


# ------------------------------------------------------------------------------------------------------ one identity


class Block:
    """Gathers the maps of b anchors with all their positives: image maps, counts and, if asked for, pair maps.

    All of it stays on the device until ``arrays``, the one wait of a block.
    """

    def __init__(
        self,
        anchors: Anchors,
        places: Sequence[str],
        regions: np.ndarray,
        settings: MapSettings,
        grid: Grid,
        counter: type[RegionCounter] = RegionCounter,
    ):
        """places : of the cells' maps; regions : (b, S, S) uint8 of the anchors."""
        self.anchors, self.places, self.grid, self.keep = anchors, places, grid, settings.pair_maps
        self.device = anchors.slots.device
        placed = torch.from_numpy(resize_regions(regions, grid.side))
        self.counter = counter(placed.to(self.device), settings.top_percents)
        self.nonfinite = torch.zeros(len(anchors), dtype=torch.long, device=self.device)  # of each anchor's maps
        self.sums: list[Tensor] = []  # per cell (S, b, h, w): pair maps, each summing to 1, added up
        self.filled: Tensor  # (L, S, b): how many of them were not empty
        self.counts: Tensor  # (S, b, N-1, L, T, R)
        self.pair_maps: list[Tensor] = []  # per cell (S, b, N-1, h, w)
        self.unit: Tensor  # (b, D) the anchors' embeddings
        self.usable: Tensor  # (b,) whether they are some

    def add(self, batch: PairBatch) -> None:
        if not self.sums:
            self._allocate(batch.maps)
        active = len(batch.slots)
        totals = torch.stack([m.sum((2, 3)) for m in batch.maps])  # (L, S, a)
        finite = totals.isfinite()
        self.nonfinite[:active] += (~finite).sum((0, 1))
        taken = finite & batch.directed
        maps = [torch.where(t[..., None, None], m, 0) for t, m in zip(taken, batch.maps, strict=True)]
        totals = torch.where(taken, totals, 0)
        self.filled[:, :, :active] += totals > 0
        scales = torch.where(totals > 0, 1 / totals, 0)[..., None, None]
        for total, m, scale in zip(self.sums, maps, scales, strict=True):
            total[:, :active].addcmul_(m, scale)
        rows = torch.arange(active, device=self.device)
        self.counts[:, rows, batch.slots] = self._count(maps)
        for m, kept in zip(maps, self.pair_maps, strict=self.keep):
            peak = m.amax((2, 3), keepdim=True)
            kept[:, rows, batch.slots] = torch.where(peak > 0, m / peak, 0).half()

    def _allocate(self, maps: list[Tensor]) -> None:
        """The first shift has all anchors."""
        signs, b, partners = len(maps[0]), len(self.anchors), self.anchors.partners
        self.sums = [torch.zeros_like(m) for m in maps]
        self.filled = torch.zeros(len(maps), signs, b, dtype=torch.long, device=self.device)
        signed = torch.int16 if self.grid.side**2 < 2**16 else torch.int32  # read as unsigned
        shape = (signs, b, partners, len(maps), len(self.counter.sizes) + 1, len(REGIONS))
        self.counts = torch.zeros(shape, dtype=signed, device=self.device)
        if self.keep:
            self.pair_maps = [
                torch.zeros(signs, b, partners, *m.shape[2:], dtype=torch.half, device=m.device) for m in maps
            ]

    def _count(self, maps: list[Tensor]) -> Tensor:
        grids = torch.stack(
            [self.grid.place(m, place) for m, place in zip(maps, self.places, strict=True)], dim=1
        )  # (S, L, a, G, G)
        counts = self.counter.count(grids.flatten(0, 1).transpose(0, 1))  # (a, S * L, T, R)
        return counts.unflatten(1, (-1, len(maps))).transpose(0, 1).to(self.counts.dtype)  # (S, a, L, T, R)

    def arrays(self) -> dict[str, np.ndarray]:
        """Of all anchors, on the host: usable (b,), nonfinite and embeddings (b, ...), maps.l (S, b, h, w), and with
        room for the partners of the largest identity counts (S, b, N-1, L, T, R) and pair_maps.l (S, b, N-1, h, w).
        """
        found = {"usable": self.usable, "nonfinite": self.nonfinite, "embeddings": self.unit.float()}
        for cell, (total, filled) in enumerate(zip(self.sums, self.filled, strict=True)):
            found[f"maps.{cell}"] = total / filled.clamp(min=1)[..., None, None]
        found |= {"counts": self.counts} | {f"pair_maps.{cell}": kept for cell, kept in enumerate(self.pair_maps)}
        arrays = to_host(found)
        unsigned = np.uint16 if self.counts.dtype is torch.int16 else np.uint32
        return arrays | {"counts": arrays["counts"].view(unsigned)}


def to_host(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """The tensors as arrays; from a GPU through pinned memory, with a single wait for all of them."""
    if not any(tensor.is_cuda for tensor in tensors.values()):
        return {name: tensor.numpy() for name, tensor in tensors.items()}
    pinned = {}
    for name, tensor in tensors.items():
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        pinned[name] = host.copy_(tensor, non_blocking=True)
    torch.cuda.synchronize()
    return {name: tensor.numpy() for name, tensor in pinned.items()}


def _of_identity(arrays: dict[str, np.ndarray], rows: slice, first: int, partners: int) -> dict[str, np.ndarray]:
    """What ``map_blocks`` yields for the anchors in these rows of a block, which are of one identity.

    first : the place of the first of them among its images; partners : how many each has
    """
    found = {
        "anchors": np.arange(first, first + rows.stop - rows.start),
        "embeddings": arrays["embeddings"][rows],
        "nonfinite": arrays["nonfinite"][rows].sum(),
    }
    for key, array in arrays.items():
        if key.startswith("maps."):
            found[key] = array[:, rows]
        elif key == "counts" or key.startswith("pair_maps."):  # pairs sorted by anchor, then positive
            found[key] = array[:, rows, :partners].reshape(len(array), -1, *array.shape[3:])
    return found


def map_blocks(
    network: nn.Module,
    cells: Sequence[Cell],
    x: Tensor,
    regions: np.ndarray,
    settings: MapSettings,
    grid: Grid,
) -> Iterator[dict[str, np.ndarray]]:
    """Maps of one identity, at most ``settings.batch_images`` anchors at a time, so that memory does not grow with N.

    x : (N, 3, height, width) the recogniser's input, on its device, N >= 2; regions : (N, S, S) uint8
    The batch is halved, and the block done again, when memory runs out.

    Yields for b anchors: anchors (b,), embeddings (b, D) of unit norm, counts (S, b (N-1), L, T, R), nonfinite (the
    number of maps that were not finite, taken as empty), and for cell l maps.l (S, b, h, w), the image maps
    (docs/method.md 4: mean over the anchor's pairs of the pair maps, each normalised to sum 1),
    and pair_maps.l (S, b (N-1), h, w).

    Raises UnusableImagesError when an embedding is zero or not finite.
    """
    n, start, batch = len(x), 0, settings.batch_images or images_at_once(x.device)
    unit = unit_embeddings(embed(network, x, batch)) if n > batch else None
    with Taps(network, places_of(cells)) as taps:
        while start < n:
            anchors, found = Anchors([n], x.device, start, min(start + batch, n)), None
            try:
                found = _compute_block(taps, cells, x, unit, anchors, regions, settings, grid, counter_for(x))
            except RuntimeError as error:
                batch = halve(len(anchors), error)
            if found is not None:
                yield _of_identity(found, slice(0, len(anchors)), start, n - 1)
                start += len(anchors)
            elif unit is None:
                unit = unit_embeddings(embed(network, x, batch))


def map_together(
    network: nn.Module,
    cells: Sequence[Cell],
    xs: list[Tensor],
    regions: list[np.ndarray],
    settings: MapSettings,
    grid: Grid,
    counter: type[RegionCounter] | None = None,
) -> list[dict[str, np.ndarray]]:
    """Maps of several identities in one block, whatever their images are: what ``map_blocks`` yields, of each.

    A GPU computes a backward of one identity's images in little more than the time that starting it takes.
    xs : (n, 3, height, width) of each identity, on the network's device, n >= 2; regions : (n, S, S) uint8 of each

    Raises UnusableImagesError, of all images in the given order, when an embedding is zero or not finite.
    """
    order = sorted(range(len(xs)), key=lambda each: -len(xs[each]))
    sizes = [len(xs[each]) for each in order]
    x, placed = torch.cat([xs[each] for each in order]), np.concatenate([regions[each] for each in order])
    anchors, ends = Anchors(sizes, x.device), np.cumsum(sizes)
    rows = {each: slice(end - size, end) for each, size, end in zip(order, sizes, ends, strict=True)}
    try:
        with Taps(network, places_of(cells)) as taps:
            found = _compute_block(taps, cells, x, None, anchors, placed, settings, grid, counter or counter_for(x))
    except UnusableImagesError as error:
        raise UnusableImagesError(np.concatenate([error.usable[rows[each]] for each in range(len(xs))])) from None
    return [_of_identity(found, rows[each], 0, len(xs[each]) - 1) for each in range(len(xs))]


def places_of(cells: Sequence[Cell]) -> tuple[Place, ...]:
    """Where the cells look, each place once."""
    return tuple(dict.fromkeys(cell.tapped for cell in cells))


def counter_for(x: Tensor) -> type[RegionCounter]:
    """The counter that is quicker where ``x`` is."""
    return QuickCounter if x.is_cuda else RegionCounter


def _compute_block(
    taps: Taps,
    cells: Sequence[Cell],
    x: Tensor,
    unit: Tensor | None,
    anchors: Anchors,
    regions: np.ndarray,
    settings: MapSettings,
    grid: Grid,
    counter: type[RegionCounter],
) -> dict[str, np.ndarray]:
    """The ``arrays`` of one block, whose maps are counted anew where the counter could not settle all ties."""
    given = anchors, [cell.place for cell in cells], regions[anchors.positions], settings, grid
    found, is_settled = _fill(taps, cells, x, unit, Block(*given, counter), settings.target)
    if not found["usable"].all():
        raise UnusableImagesError(found["usable"])
    return found if is_settled else _fill(taps, cells, x, unit, Block(*given), settings.target)[0]


def _fill(
    taps: Taps, cells: Sequence[Cell], x: Tensor, unit: Tensor | None, block: Block, target: str
) -> tuple[dict[str, np.ndarray], bool]:
    """The ``arrays`` of a block and whether its ties are settled. Where it holds all images, its own forward gives the
    positives (``unit``).
    """
    own = slice(block.anchors.positions[0], block.anchors.positions[-1] + 1)
    embeddings, activations = taps.run(x[own])
    with torch.autocast(x.device.type, enabled=False):  # what bf16 rounds is the network, not the maps and their counts
        block.usable = is_usable(embeddings.detach())
        unit = normalise(embeddings.detach()) if unit is None else unit
        block.unit = unit[own]
        for pair_batch in pair_batches(activations, cells, embeddings, block.anchors, unit, target):
            block.add(pair_batch)
    return block.arrays(), block.counter.is_settled()


def explain(
    network: nn.Module,
    layers: tuple[str, ...],
    x: Tensor,
    regions: np.ndarray,
    settings: MapSettings | None = None,
    grid: Grid | None = None,
    reductions: tuple[Reduction, ...] = (LEAM,),
) -> dict[str, np.ndarray]:
    """``map_blocks``, joined: maps of one identity with all its images, and its pairs (P, 2) and cosine (P,).

    grid : where maps are placed; by default as the settings say, for a recogniser that sees the whole crop

    All reductions take the same backwards; ``methods.cells_of(reductions, layers)`` says which cell is which.
    Raises MapsError when they do not have the same signs, and registry.ModelError for a layer that has no such place.
    """
    settings, cells = settings or MapSettings(), cells_of(reductions, layers)
    if len({reduction.signs for reduction in reductions}) > 1:
        names = ", ".join(f"{reduction.name}: {'/'.join(reduction.signs)}" for reduction in reductions)
        raise MapsError(f"methods that are computed together must have the same signs; these have {names}")
    if grid is None:
        size = (x.shape[2], x.shape[3])
        grid = Grid(settings.grid, input_size=size, lattices=lattices_of(network, layers, size, settings.placement))
    network = graphs.mark_places(network, places_of(cells))
    blocks = list(map_blocks(network, cells, x, regions, settings, grid))
    per_anchor = {"anchors", "embeddings"}
    joined = {
        key: np.concatenate([block[key] for block in blocks], axis=0 if key in per_anchor else 1)
        for key in blocks[0]
        if key != "nonfinite"
    }
    pairs = ordered_pairs(len(x))
    cosine = (joined["embeddings"] @ joined["embeddings"].T)[tuple(pairs.T)]
    return joined | {"pairs": pairs, "cosine": cosine, "nonfinite": sum(int(block["nonfinite"]) for block in blocks)}


# --------------------------------------------------------------------------------------------------------- the stage


def compute_maps(
    faces: str | Path,
    output: str | Path,
    recogniser: Recogniser,
    settings: MapSettings,
    *,
    attributes: dict[str, str] | None = None,
    device: str = "auto",
    seed: int = 0,
    minutes: float | None = None,
    progress: Callable = iter,
    together: bool | None = None,
    duplicates: str | Path | None = None,
) -> None:
    """LEAM of every identity of a shard under one recogniser: faces/{shard}.h5 -> maps/{model}/{shard}.h5.

    Finished identities go to a journal beside the output; a job that was stopped goes on after the last of them, and
    the output appears only when it is whole. minutes : the job's time limit; it stops itself before, and so long it
    waits for another process that is writing the same shard, whose result it then takes over. together : several
    identities per block, as many as ``settings.batch_images`` images hold; by default on a GPU alone. duplicates : the
    table of the images that are left out (``faces.duplicates``); None: none

    Raises jobs.OutOfTimeError, MapsError, device.DeviceError, registry.ModelError, files.StorageError, and
    BlockingIOError when another process is still writing the same shard.
    """
    job = Job(output, minutes, progress)
    with storage.open_shard(faces, "faces") as shard:
        left_out = leave_out(shard, duplicates)
    work = _work(faces, recogniser, settings, seed, left_out)
    described = work | (attributes or {})
    with job.journal(files.digest_value(work), lambda: _is_finished(job.output, described)) as journal:
        if journal is None:
            return
        with storage.open_shard(faces, "faces") as shard:
            parsed = Parsed(shard, kept_images(shard, left_out))
            where = choose_device(device)
            joined = where.type == "cuda" if together is None else together
            ready = make_ready(recogniser, settings, where, seed)
            groups = _groups(parsed, settings.batch_images or images_at_once(where), joined)
            images = {name: parsed.images[name] for group in groups for name in group}
            planned = Planned(job.output, _attributes(ready, described), images, recogniser.layers, settings.dtype)
            with (write_beside if joined else write_here)(planned, journal) as tell:

                def record(records: list[Record]) -> None:
                    journal.add_all(records)
                    tell({name: journal.offsets[name] for name, _ in records})

                if joined:
                    with Behind("record") as behind:
                        _compute_groups(parsed, job, groups, ready, journal, partial(behind.call, record))
                else:
                    _compute_groups(parsed, job, groups, ready, journal, record)


@dataclass(frozen=True)
class Parsed:
    """The faces of a shard that get maps.

    images : by identity, sorted, those that are not left out as duplicates
    """

    shard: h5py.File
    images: dict[str, list[str]]

    def read(self, identity: str) -> storage.Faces:
        return storage.read_faces(self.shard, identity, self.images[identity])


def _is_finished(output: Path, attributes: dict[str, str | bool]) -> bool:
    """Whether the output is there already, whole and of the same work."""
    if not output.exists():
        return False
    with storage.open_shard(output, "maps") as shard:
        return shard.attrs.get("config_digest") == files.digest_value(attributes) and bool(shard.attrs.get("complete"))


def _work(
    faces: str | Path, recogniser: Recogniser, settings: MapSettings, seed: int, left_out: list[storage.Discarded]
) -> dict[str, str | bool]:
    """Everything the maps depend on, as the attributes that the output carries."""
    images = [[row.identity, row.image] for row in left_out if row.image]
    return (
        identify(recogniser)
        | {
            "faces_sha256": files.sha256(faces),
            "settings": json.dumps(dataclasses.asdict(settings) | {"seed": seed}, sort_keys=True),
            "versions": files.versions(torch, np, h5py),
        }
        | ({"left_out_sha256": files.digest_value(images)} if images else {})
    )


def identify(recogniser: Recogniser) -> dict[str, str | bool]:
    """What a recogniser is, wherever its weights lie: equal for two that give the same embeddings and layers."""
    weights = None if recogniser.untrained else recogniser.weights
    return {
        "model": recogniser.name,
        "recogniser": json.dumps(dataclasses.asdict(recogniser) | {"weights": ""}, sort_keys=True),
        "weights_sha256": files.sha256(existing_weights(recogniser)) if weights else "",
        "untrained": recogniser.untrained,
    }


@dataclass(frozen=True)
class Ready:
    """A recogniser made ready: its network on its device, and where its maps are placed."""

    recogniser: Recogniser
    settings: MapSettings
    network: nn.Module
    grid: Grid
    device: torch.device

    def inputs(self, faces: storage.Faces) -> Tensor:
        """(N, 3, height, width) on the host."""
        return networks.to_input(faces.crops, self.recogniser)

    @property
    def cells(self) -> list[Cell]:
        return cells_of((LEAM,), self.recogniser.layers)


def make_ready(recogniser: Recogniser, settings: MapSettings, device: torch.device, seed: int = 0) -> Ready:
    """The recogniser's network, folded, with the places of its maps' units found before.

    Raises registry.ModelError, also when a layer has no place.
    """
    if device.type == "cpu":
        tune_cpu()
    network = networks.build_network(recogniser, seed)
    lattices = lattices_of(network, recogniser.layers, recogniser.input_size, settings.placement)
    grid = Grid(settings.grid, recogniser.window, recogniser.input_size, lattices)
    folded = folding.fold_network(network, recogniser.layers, recogniser.input_size, device, settings.precision)
    return Ready(recogniser, settings, folded, grid, device)


def lattices_of(
    network: nn.Module, layers: tuple[str, ...], input_size: tuple[int, int], placement: str
) -> dict[str, Lattice]:
    """Where the units of each layer lie, {} where maps are stretched."""
    return find_lattices(network, layers, input_size) if placement == CENTRED else {}


@dataclass(frozen=True)
class _Person:
    """One identity's faces, and the network's input that they make: x (N, 3, height, width), on the host."""

    faces: storage.Faces
    x: Tensor


Record = tuple[str, dict[str, np.ndarray]]
Add = Callable[[list[Record]], None]


def _compute_groups(
    parsed: Parsed, job: Job, groups: list[list[str]], ready: Ready, journal: Journal, add: Add
) -> None:
    model, total = ready.recogniser.name, sum(map(len, groups))
    done = sum(name in journal for group in groups for name in group)
    log.info("%s: %d identities, %d done before, on %s", model, total, done, ready.device)

    def read(group: list[str]) -> list[_Person]:
        found = [parsed.read(name) for name in group]
        return [_Person(faces, ready.inputs(faces)) for faces in found]

    for number, group in job.unfinished_groups(groups, journal, model, read):
        begun = time.monotonic()
        with arithmetic(ready.settings.precision, ready.device):
            _compute_group(ready, group, journal, add)
        seconds, sizes = time.monotonic() - begun, [len(person.x) for person in group]
        rate, names = sum(n * (n - 1) for n in sizes) / seconds, ", ".join(person.faces.identity for person in group)
        log.info("%s (%d of %d): %d images, %.0f pairs/s", names, number, total, sum(sizes), rate)


def _groups(parsed: Parsed, batch: int, together: bool) -> list[list[str]]:
    """The identities, each alone or together in groups of at most ``batch`` images, or of one, with similar sizes.

    They follow from the faces alone, so that a job that was stopped goes on with the same ones, to the same bits.
    """
    if not together:
        return [[name] for name in parsed.images]
    sizes = {name: len(images) for name, images in parsed.images.items()}
    groups: list[list[str]] = []
    room = 0
    for name in sorted(sizes, key=lambda name: -sizes[name]):  # in a group of unequal ones the small wait for the large
        if sizes[name] > room:
            groups.append([])
            room = batch
        groups[-1].append(name)
        room -= sizes[name]
    return groups


def _compute_group(ready: Ready, group: list[_Person], journal: Journal, add: Add) -> None:
    """LEAM of identities that share a block; by halves when memory runs out."""
    if len(group) == 1:
        return _compute_identity(ready, group[0], add)
    blocks = None
    try:
        blocks, usable = _blocks_of(ready, group)
    except RuntimeError as error:
        halve(sum(len(person.x) for person in group), error)
    if blocks is None:
        for half in (group[: len(group) // 2], group[len(group) // 2 :]):
            _compute_group(ready, half, journal, add)
        return None
    found = zip(group, usable, blocks, strict=True)  # some may be recorded already by a job that was stopped
    new = (each for each in found if each[0].faces.identity not in journal)
    add([record for person, use, block in new for record in _records(person.faces, use, block)])
    return None


def _blocks_of(ready: Ready, group: list[_Person]) -> tuple[list[list[dict[str, np.ndarray]]], list[np.ndarray]]:
    """Of each identity its one block, or none where fewer than two images are usable, and which of them are."""
    usable = [np.ones(len(person.x), bool) for person in group]
    blocks: list[list[dict[str, np.ndarray]]] = [[] for _ in group]
    while whole := [each for each, use in enumerate(usable) if use.sum() >= 2]:
        try:
            chosen = [group[each].x[usable[each]].to(ready.device) for each in whole]
            regions = [group[each].faces.regions[usable[each]] for each in whole]
            found = map_together(ready.network, ready.cells, chosen, regions, ready.settings, ready.grid)
        except UnusableImagesError as error:
            parts = np.split(error.usable, np.cumsum([usable[each].sum() for each in whole])[:-1])
            for each, part in zip(whole, parts, strict=True):
                usable[each][np.flatnonzero(usable[each])[~part]] = False
            continue
        for each, block in zip(whole, found, strict=True):
            blocks[each].append(block)
        break
    return blocks, usable


def _compute_identity(ready: Ready, person: _Person, add: Add) -> None:
    """LEAM of one identity, block by block."""
    usable = np.ones(len(person.x), bool)
    while True:
        blocks: Iterable[dict[str, np.ndarray]] = []
        if usable.sum() >= 2:
            chosen, regions = person.x[usable].to(ready.device), person.faces.regions[usable]
            blocks = map_blocks(ready.network, ready.cells, chosen, regions, ready.settings, ready.grid)
        try:
            for record in _records(person.faces, usable, blocks):
                add([record])
            return
        except UnusableImagesError as error:
            usable[np.flatnonzero(usable)[~error.usable]] = False


def _records(faces: storage.Faces, usable: np.ndarray, blocks: Iterable[dict[str, np.ndarray]]) -> Iterator[Record]:
    """An identity's blocks, then the record under its own name, which says that it is whole.

    Images whose embedding is zero or not finite are left out and named in ``dropped``; of an identity with fewer than
    two others there are no ``images``.
    """
    images = np.array(faces.images)
    used = usable if usable.sum() >= 2 else np.zeros_like(usable)
    embeddings, nonfinite = [], 0
    for number, block in enumerate(blocks):
        embeddings.append(block.pop("embeddings"))
        nonfinite += int(block["nonfinite"])
        yield block_name(faces.identity, number), block
    facts = {"images": images[used], "dropped": images[~usable], "blocks": np.array(len(embeddings))}
    if embeddings:
        facts |= {"embeddings": np.concatenate(embeddings), "nonfinite": np.array(nonfinite)}
    yield faces.identity, facts


def _attributes(ready: Ready, described: dict[str, str | bool]) -> dict[str, object]:
    """Everything that a maps file says of itself; ``described`` : what its numbers depend on."""
    layers, settings = ready.recogniser.layers, ready.settings
    found: dict[str, object] = {
        "layers": list(layers),
        "grid": settings.grid,
        "placement": settings.placement,
        "target": settings.target,
        "thresholds": [*(f"{percent:g}" for percent in settings.top_percents), FULL],
        "regions": list(REGIONS),
        "config_digest": files.digest_value(described),
    }
    if ready.grid.lattices:
        lattices = [ready.grid.lattices[layer] for layer in layers]
        found |= {name: np.array([getattr(each, name) for each in lattices]) for name in ("offsets", "strides")}
    return found | described
