"""Sets of a map's largest pixels: which they are, and how many of them lie in which region, on any device.

Shape letters: N images, M maps of an image, G side of the common grid, K largest pixels, T thresholds, R regions.
"""

import torch
from torch import Tensor
from torch.nn import functional

from leam.grid import FULL_ACTIVATION, TOP_PERCENTS, set_size
from leam.regions import REGIONS

REGION_BITS = 5  # hold 19 regions
MARGIN = 128  # pixels; the smallest maps, enlarged to 112 x 112, have 64 equal ones at each corner


def sort_keys(values: Tensor, low_bits: Tensor) -> Tensor:
    """int64 keys that order as the float32 values >= 0 do, then as ``low_bits`` (below 2**32) where these are equal."""
    return (values.abs().view(torch.int32).long() << 32) | low_bits  # non-negative floats order as their bits do


class RegionCounter:
    """Counts the activated pixels of every pixel set per region, from one partial sort per map (docs/method.md 2.5).

    top p % : the round(p / 100 * G * G) largest pixels that are > 0, at least 1, ties by the lowest index;
    full activation : pixels above 1 % of the maximum. A map of zeros counts nowhere.
    """

    def __init__(self, regions: Tensor, top_percents: tuple[float, ...] = TOP_PERCENTS):
        """regions : (N, G, G) uint8, on the device of the maps."""
        regions = regions.flatten(1).long()  # (N, G*G)
        pixels = regions.shape[1]
        self.one_hot = functional.one_hot(regions, len(REGIONS)).float()  # (N, G*G, R)
        # Below the bits of a value stand first the pixel's place from the end, so that ties fall to the lowest index
        # whatever the sorting algorithm, then its region, so that a sorted key needs no looking up.
        self.low_bits = (torch.arange(pixels - 1, -1, -1, device=regions.device) << REGION_BITS) | regions
        self.sizes = [set_size(percent, pixels) for percent in top_percents]
        order = sorted(set(self.sizes))
        edges = torch.tensor(order, device=regions.device)
        ranks = torch.arange(order[-1], device=regions.device)
        self.cells = torch.bucketize(ranks, edges, right=True) * len(REGIONS)  # the smallest set a rank belongs to
        self.columns = torch.tensor([order.index(size) for size in self.sizes], device=regions.device)

    def count(self, grids: Tensor) -> Tensor:
        """Maps (a, M, G, G), M of each of the first a images -> (a, M, T, R) int64; T: top-p sets, then full."""
        step = len(grids) if grids.is_cuda else 1  # on a CPU, what stays in its cache
        of_images = (tensor[: len(grids)] for tensor in (self.low_bits, self.one_hot))
        parts = (tensor.split(step) for tensor in (grids.flatten(2).float(), *of_images))
        return torch.cat([self._count(*part) for part in zip(*parts, strict=True)])

    def _count(self, grids: Tensor, low_bits: Tensor, one_hot: Tensor) -> Tensor:
        full = (grids / grids.amax(2, keepdim=True) > FULL_ACTIVATION).float() @ one_hot  # (N, M, R)
        return torch.cat((self._count_top(grids, low_bits), full.long().unsqueeze(2)), dim=2)

    def _count_top(self, grids: Tensor, low_bits: Tensor) -> Tensor:
        keys = sort_keys(grids, low_bits.unsqueeze(1))
        return self._histogram(keys.topk(len(self.cells), dim=2).values)

    def _histogram(self, keys: Tensor) -> Tensor:
        """Keys (a, M, K), largest first -> (a, M, T - 1, R)."""
        region = keys & (2**REGION_BITS - 1)
        shape = (*keys.shape[:2], len(set(self.sizes)), len(REGIONS))
        histogram = torch.zeros(shape, dtype=torch.long, device=keys.device)
        histogram.flatten(2).scatter_add_(2, self.cells + region, (keys >= 2**32).long())  # only pixels > 0
        return histogram.cumsum(2)[:, :, self.columns]  # a larger set contains the smaller ones

    def is_settled(self) -> bool:
        """Whether every count so far is right."""
        return True


class QuickCounter(RegionCounter):
    """The same counts, for GPUs: searched among the values alone, half as wide, and only what is found is ordered.

    Which of several equal pixels a search finds is arbitrary, so it finds MARGIN more than the largest set has. Where
    the equals of that set's last pixel reach beyond the margin too, counts may be wrong, and ``is_settled`` says so.
    """

    unsettled: Tensor | None = None  # number of such maps so far, on the device

    def _count_top(self, grids: Tensor, low_bits: Tensor) -> Tensor:
        size, pixels = len(self.cells), grids.shape[2]
        found = grids.abs().view(torch.int32).topk(min(size + MARGIN, pixels), dim=2, sorted=False)
        low_bits = low_bits.unsqueeze(1).expand(-1, grids.shape[1], -1).gather(2, found.indices)
        keys = ((found.values.long() << 32) | low_bits).sort(dim=2, descending=True).values  # as of sort_keys
        if keys.shape[2] < pixels:
            values = keys >> 32
            last = values[..., size - 1]
            unsettled = ((last > 0) & (values[..., -1] == last)).sum()
            self.unsettled = unsettled if self.unsettled is None else self.unsettled + unsettled
        return self._histogram(keys[..., :size])

    def is_settled(self) -> bool:
        return self.unsettled is None or not self.unsettled.item()


def order_pixels(scores: Tensor, count: int) -> Tensor:
    """Scores (N, G, G) >= 0 -> (N, K) the pixels of the ``count`` largest, ties by lowest index (docs/method.md 2.5).

    Where fewer are > 0 the rest is G * G, which is no pixel.
    """
    flat = scores.flatten(1).float()  # (N, G*G)
    pixels = flat.shape[1]
    backwards = torch.arange(pixels - 1, -1, -1, device=flat.device)
    keys = sort_keys(flat, backwards).topk(min(count, pixels), dim=1).values
    return torch.where(keys >= 2**32, pixels - 1 - (keys & (2**32 - 1)), pixels)


def keep_top(maps: Tensor, percent: float) -> Tensor:
    """Maps (n, G*G), zero outside their top p %: the largest pixels > 0, ties by lowest index (docs/method.md 2.5)."""
    size = set_size(percent, maps.shape[1])
    least = maps.topk(size, dim=1).values[:, -1:]
    above, level = maps > least, maps == least
    level &= level.cumsum(1) <= size - above.sum(1, keepdim=True)
    return torch.where(above | level, maps, torch.where(maps.isnan(), torch.nan, 0))
