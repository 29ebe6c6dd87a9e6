"""Verification: does a recogniser tell the same person from another on these very images?

LEAM of a recogniser that fails here says little. Shape letters: N images, D embedding size.
"""

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from leam import storage
from leam.methods import EQUAL

log = logging.getLogger(__name__)
FALSE_MATCH_RATE = 1e-3  # docs/method.md 5, decision view
MAX_IMPOSTORS = 2_000_000  # impostor pairs drawn at most; all of them when there are fewer


def split_pairs(
    embeddings: np.ndarray, identities: np.ndarray, seed: int = 0, limit: int = MAX_IMPOSTORS
) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of the unordered genuine pairs, and of the impostor pairs (a seeded sample when there are too many).

    embeddings : (N, D) of unit norm; identities : (N,), whose image each is
    """
    pairs = impostor_pairs(identities, seed, limit)
    return genuine_cosines(embeddings, identities), _cosines(embeddings, *pairs)


def genuine_cosines(embeddings: np.ndarray, identities: np.ndarray) -> np.ndarray:
    """Cosines of all unordered genuine pairs, identity by identity."""
    numbers = np.unique(identities, return_inverse=True)[1]
    grouped = np.argsort(numbers, kind="stable")  # one sort instead of a search per identity, which would be quadratic
    genuine = []
    for members in np.split(grouped, np.flatnonzero(np.diff(numbers[grouped])) + 1):
        own = embeddings[members]
        genuine.append((own @ own.T)[np.triu_indices(len(own), 1)])
    return np.concatenate(genuine or [np.empty(0, embeddings.dtype)])


def impostor_pairs(identities: np.ndarray, seed: int = 0, limit: int = MAX_IMPOSTORS) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the first and of the second image of each impostor pair, at most ``limit`` of them."""
    n, numbers = len(identities), np.unique(identities, return_inverse=True)[1]
    if n * (n - 1) // 2 <= limit:
        first, second = np.triu_indices(n, 1)
    else:
        rng = np.random.default_rng(seed)
        first, second = rng.integers(0, n, (2, limit))
    other = numbers[first] != numbers[second]
    return first[other], second[other]


def _cosines(embeddings: np.ndarray, first: np.ndarray, second: np.ndarray, block: int = 100_000) -> np.ndarray:
    parts = (slice(start, start + block) for start in range(0, len(first), block))
    return np.concatenate(
        [np.einsum("nd,nd->n", embeddings[first[part]], embeddings[second[part]]) for part in parts]
        or [np.empty(0, embeddings.dtype)]
    )


def area_under_curve(genuine: np.ndarray, impostor: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a genuine pair scores above an impostor pair, ties half each."""
    if not len(genuine) or not len(impostor):
        return float("nan")
    ranks = rankdata(np.concatenate((genuine, impostor)))[: len(genuine)]
    excess = ranks.sum() - len(genuine) * (len(genuine) + 1) / 2
    return float(excess / (len(genuine) * len(impostor)))


def threshold_at(impostor: np.ndarray, false_match_rate: float = FALSE_MATCH_RATE) -> tuple[float, float]:
    """The lowest threshold that at most this share of impostor pairs exceeds, and the share that does exceed it.

    The share is lower than asked for where scores are equal or their number does not divide. Both are NaN where there
    are so few impostor pairs that not even one of them may exceed it: fewer than 1,000 for a rate of 0.001.
    """
    allowed = math.floor(false_match_rate * len(impostor) * (1 + 1e-12))  # 0.001 has no exact binary form
    if allowed < 1:
        return float("nan"), float("nan")
    threshold = np.sort(impostor)[-1 - allowed]
    return float(threshold), float((impostor > threshold).mean())


def score_verification(model: str, paths: Sequence[str | Path], seed: int = 0) -> dict[str, str | bool | int | float]:
    """The row of one model in verification.csv, from its maps files of all shards; NaN where pairs are too few.

    Impostor pairs of equal embeddings are left out: one picture under two people would set the threshold to 1.
    """
    embeddings, identities, untrained = _embeddings(paths)
    genuine, pairs = genuine_cosines(embeddings, identities), impostor_pairs(identities, seed)
    impostor = _cosines(embeddings, *pairs)
    equal = 1 - impostor < EQUAL
    if equal.any():
        first, second = (identities[each[equal]][0] for each in pairs)
        words = "%s: %d impostor pairs of equal embeddings are left out, the first of %s and %s"
        log.warning(words, model, equal.sum(), first, second)
    impostor = impostor[~equal]
    threshold, achieved = threshold_at(impostor)
    accepts = len(genuine) > 0 and not math.isnan(threshold)
    return {
        "model": model,
        "untrained": untrained,
        "identities": len(np.unique(identities)),
        "images": len(identities),
        "genuine_pairs": len(genuine),
        "impostor_pairs": len(impostor),
        "equal_pairs": int(equal.sum()),
        "equal_genuine_pairs": int((1 - genuine < EQUAL).sum()),
        "auc": area_under_curve(genuine, impostor),
        "false_match_rate": achieved,
        "threshold": threshold,
        "true_match_rate": float((genuine > threshold).mean()) if accepts else float("nan"),
    }


def _embeddings(paths: Sequence[str | Path]) -> tuple[np.ndarray, np.ndarray, bool]:
    embeddings, identities, untrained = [], [], False
    for path in paths:
        with storage.open_shard(path, "maps") as shard:
            untrained = storage.is_untrained(shard)
            for identity in storage.identities(shard):
                found = storage.read_embeddings(shard, identity)
                embeddings.append(found)
                identities += [identity] * len(found)
    return np.concatenate(embeddings or [np.empty((0, 1), np.float32)]), np.array(identities), untrained
