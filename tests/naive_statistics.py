"""Intervals and analyses of variance computed from their definitions, one person left out at a time.

Nothing here is shared with the statistics that it checks.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import skew
from scipy.stats import t as t_distribution


def naive_interval(value, without, shared=0.0, confidence=0.95):
    """From the estimates without each person in turn: Student's interval and Hall's, the farther end of both, but not
    beyond 2.5 times Student's."""
    n, moved = len(without), value - np.array(without)
    error = np.sqrt(max((n - 1) / n * (moved**2).sum() - shared, shared))
    q = t_distribution.ppf((1 + confidence) / 2, n - 1)
    a = skew(moved, bias=False) / np.sqrt(n) if n > 2 else 0

    def transformed(t):  # Hall (1992)
        return t + a / 3 * t**2 + a**2 / 27 * t**3 + a / 6

    ends = [brentq(lambda t, sign=sign: transformed(t) - sign * q, -1e4, 1e4) for sign in (-1, 1)]
    below, above = (min(max(q, end), 2.5 * q) for end in (ends[1], -ends[0]))
    return value - below * error, value + above * error


def without_each(function, *arrays):
    return [function(*(np.delete(array, k) for array in arrays)) for k in range(len(arrays[0]))]


def naive_icc(values, identities):
    """One-way analysis of variance by its definition."""
    groups = [values[identities == name] for name in np.unique(identities)]
    groups = [group[~np.isnan(group)] for group in groups]
    groups = [group for group in groups if len(group)]
    sizes, grand = [len(group) for group in groups], np.concatenate(groups).mean()
    between = sum(len(group) * (group.mean() - grand) ** 2 for group in groups) / (len(groups) - 1)
    within = sum(((group - group.mean()) ** 2).sum() for group in groups) / (sum(sizes) - len(groups))
    size = (sum(sizes) - sum(n**2 for n in sizes) / sum(sizes)) / (len(groups) - 1)
    return (between - within) / (between + (size - 1) * within), between / within, size
