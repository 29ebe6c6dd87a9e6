"""Statistics that several analyses share: bootstrap over identities, intervals, signed ranks, Holm's correction.

Shape letters: I identities, B bootstrap samples, K cells, n values.
"""

import warnings

import numpy as np
from scipy.stats import rankdata, wilcoxon


def bootstrap_weights(identities: int, samples: int, seed: int) -> np.ndarray:
    """(B, I) weights that sum to 1: identities drawn with replacement, the unit of inference (docs/method.md 2.7).

    Of one identity (1, 1) NaN: there is no interval.
    """
    if identities < 2:
        return np.full((1, identities), np.nan)
    rng = np.random.default_rng(seed)
    return rng.multinomial(identities, np.full(identities, 1 / identities), samples) / identities


def equal_weights(identities: int) -> np.ndarray:
    """(1, I) weights that sum to 1, the same for every identity."""
    return np.full((1, identities), 1 / identities)


def weighted_means(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means over identities, those without a value (NaN) left out: (B, I), (I, K) -> (B, K)."""
    known = ~np.isnan(values)
    mass = weights @ known
    total = weights @ np.where(known, values, 0)
    return ratio(total, mass)


def interval(samples: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval over bootstrap samples (B, K) -> two (K,); NaN where a cell has no samples."""
    tails = [50 * (1 - confidence), 50 * (1 + confidence)]
    known = ~np.isnan(samples).all(0)
    low_high = np.full((2, samples.shape[1]), np.nan)
    low_high[:, known] = np.nanpercentile(samples[:, known], tails, axis=0)
    return low_high[0], low_high[1]


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Broadcast division; NaN where the denominator is not above 0."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.divide(numerator, denominator, out=np.full(shape, np.nan), where=denominator > 0)


def resample_mean(values: np.ndarray, samples: int, confidence: float, seed: int) -> tuple[np.ndarray, ...]:
    """Mean over identities of (I, K), and its bootstrap interval: three (K,); no interval with one identity."""
    i = len(values)
    mean = weighted_means(equal_weights(i), values)[0]
    return mean, *interval(weighted_means(bootstrap_weights(i, samples, seed), values), confidence)


def rank_biserial(difference: np.ndarray) -> float:
    """Matched-pairs rank-biserial correlation: (W+ - W-) / (W+ + W-), 1 when every difference is above 0."""
    difference = difference[difference != 0]
    if not len(difference):
        return float("nan")
    ranks = rankdata(np.abs(difference))
    return float((ranks * np.sign(difference)).sum() / ranks.sum())


def signed_rank(difference: np.ndarray) -> float:
    """p of Wilcoxon's signed-rank test, two-sided, differences of 0 left out; NaN without any other."""
    if not np.any(difference != 0):
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # few identities: the exact distribution is taken
        return float(wilcoxon(difference).pvalue)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment of a family (M,) of p values; NaN (no test) stays and does not count."""
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    scaled = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return adjusted
