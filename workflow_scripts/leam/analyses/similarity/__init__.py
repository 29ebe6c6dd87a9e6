"""How alike are two images' maps, of the same person and of different people? (paper RQ3)"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leam.grid import Maps

FRAMES = IDENTITY, CANONICAL, UNALIGNED = ("identity", "canonical", "none")  # what each is: see ``alignment``
MAP_PARTS = TOP, WHOLE = ("top1", "full")  # of a map: its top 1 %, made to sum to 1 again, and all of it
PAIRINGS = SAME, DIFFERENT = ("same", "different")
SIMILARITY_MEASURES = BC, EMD = ("bc", "emd_px")
LEAM_MAPS, MASK = "leam", "region_mask"  # kinds of maps, beside ``controls.POPULATION_MEAN``
MEASURED, EMPTY = "", "empty map"  # why a pair has no value, or ``reasons.NO_LANDMARKS``


def bhattacharyya(p: "Maps", q: "Maps") -> "Maps":
    """BC of all pairs of distributions (a, K) and (b, K) as one matrix product: (a, b), equation 6.

    p, q : two NumPy arrays or two tensors
    """
    return p**0.5 @ (q**0.5).T
