"""The exact Earth Mover's Distance between maps, on their supports only (docs/method.md 4).

A map is a *support*: its pixels (flat indices of the grid) and their masses, which sum to 1. The ground distance is the
Euclidean one between pixel centres. Two reductions, both exact, come before POT's network simplex:

- The ground distance is a metric, so an optimal plan leaves the mass that both maps have at a pixel where it is: only
  the excess of each over the other is moved.
- All distances between pixels stand in one table, looked up by the difference of two pixel codes.

The order of the points is the solver's business alone. It looks for its next arc in blocks of neighbouring arcs; in
reading order a block holds nearly equal ones, and a shuffled order needs fewer steps.
"""

import numpy as np
from ot.lp.emd_wrap import emd_c

Support = tuple[np.ndarray, np.ndarray]  # pixels (K,) int64, masses (K,) float64
MAX_STEPS = 10_000_000
OPTIMAL = 1  # what POT's solver says when it has found the minimum
SHUFFLE_SEED = 0  # the order of the points; any will do
NEGLIGIBLE = 1e-12  # excess mass that is rounding; across the whole grid it costs less than 1e-9 px


class TransportError(Exception):
    """The solver did not reach the minimum."""


class Ground:
    """The grid on which mass is moved, with its table of distances.

    side : pixels of the grid along one side; pixel : the length of one, in the unit of the result
    """

    def __init__(self, side: int, pixel: float = 1.0):
        reach = np.arange(1 - side, side, dtype=float)
        self.side = side
        self.distances = (np.hypot(reach[:, None], reach) * pixel).ravel()  # by the difference of two codes
        row, column = np.divmod(np.arange(side * side), side)
        self.codes = row * len(reach) + column
        self.centre = len(self.distances) // 2  # the code difference of a pixel and itself
        self.rank = np.random.default_rng(SHUFFLE_SEED).permutation(side * side)
        self._excess = np.zeros(side * side)

    def support(self, pixels: np.ndarray, masses: np.ndarray) -> Support:
        """The support of given pixels (K,), none twice, and masses (K,) > 0, which are made to sum to 1."""
        order = np.argsort(self.rank[pixels])
        return pixels[order], masses[order] / masses.sum()

    def emd(self, p: Support, q: Support) -> float:
        """The least mass x distance that turns p into q; NaN when one of them is empty.

        Raises TransportError when the solver gives up.
        """
        if not len(p[0]) or not len(q[0]):
            return float("nan")
        sources, supply, sinks, demand = self._excesses(p, q)
        moved = supply.sum()
        if moved <= NEGLIGIBLE or not len(sinks):
            return 0.0
        costs = np.take(self.distances, self.codes[sources][:, None] - (self.codes[sinks] - self.centre))
        _, cost, _, _, state = emd_c(supply / moved, demand / demand.sum(), costs, MAX_STEPS, 1, None, None)
        if state != OPTIMAL:
            raise TransportError(f"POT's solver stopped with code {state} on {len(sources)} x {len(sinks)} points")
        return float(cost * moved)

    def _excesses(self, p: Support, q: Support) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Where p has more than q, and by how much; where q has more than p, and by how much."""
        excess = self._excess  # zero everywhere between two calls
        excess[p[0]] = p[1]
        excess[q[0]] -= q[1]
        more, less = excess[p[0]], -excess[q[0]]
        excess[p[0]] = excess[q[0]] = 0
        sources, sinks = more > 0, less > 0
        return p[0][sources], more[sources], q[0][sinks], less[sinks]
