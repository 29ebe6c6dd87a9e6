"""Statistics that several analyses share: estimates over identities with intervals, tests, what tests can see.

The identity is the unit of inference (docs/method.md, 6). An estimate carries the influence of every identity, so
means, ratios, differences and means over pairs of two people have their interval from one function, ``interval``.
Shape letters: I identities, M images, K cells, T tests of a family, n values.
"""

import functools
import itertools
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu, norm, rankdata, wilcoxon
from scipy.stats import t as t_distribution

LEVEL = 0.05  # of Holm's adjusted p, below which a difference counts as shown
FEW = 13  # values among which SciPy takes ties exactly
POWER = 0.8  # with which a detectable difference is seen
CORRECTED = ("p_holm", "tests", "p_attainable", "detectable_difference")  # columns of ``correct``
PERCENTS = (0.0, 100.0)  # bounds of a share
FARTHEST = 2.5  # times Student's t: beyond, Hall's transformation of few people has no more to say
LARGEST_SHIFT = 16.0  # standard deviations among which the detectable difference is searched
EFFICIENCY = 3 / np.pi  # asymptotic, relative to the t test, of both tests of normal values
MANY = 500  # values from which on a test's power is taken as that of normal rank sums
NO_WEIGHT, NO_VARIANCE = 1e-9, 1e-12  # of all of it: less is rounding
HOLDS, REVERSED, UNTESTED = "holds", "reversed", "not tested"
TOO_FEW_PEOPLE, TOO_FEW_BY_ITSELF = "too few people", "too few people by itself"


# ------------------------------------------------------------------------------------------- estimates and intervals


@dataclass(frozen=True)
class Estimates:
    """Estimates of K cells over identities, and what each identity adds to their error.

    value (K,); influence (I, K) : the value minus what it would be without an identity, 0 for one without part in it;
    shared (K,) : variance that the influences have twice, because a pair of two people stands in both people's;
    people (K,) : identities behind the value
    """

    value: np.ndarray
    influence: np.ndarray
    shared: np.ndarray
    people: np.ndarray

    def over(self, other: "Estimates") -> "Estimates":
        """The ratio of two estimates over the same identities; NaN where the denominator is not above 0."""
        value = ratio(self.value, other.value)
        scale = ratio(np.ones_like(other.value), other.value)
        influence = (self.influence - value * other.influence) * scale
        shared = (self.shared + value**2 * other.shared) * scale**2
        return Estimates(value, influence, shared, np.minimum(self.people, other.people))

    def minus(self, other: "Estimates") -> "Estimates":
        """The difference of two estimates over the same identities."""
        return Estimates(
            self.value - other.value,
            self.influence - other.influence,
            self.shared + other.shared,
            np.minimum(self.people, other.people),
        )

    def standard_error(self) -> np.ndarray:
        """(K,), by the jackknife over people; NaN with fewer than two; never below that of pairs without people."""
        variance = (self.influence**2).sum(0) * (1 - 1 / _several(self.people))
        return np.sqrt(np.maximum(variance - self.shared, self.shared))


def _several(people: np.ndarray) -> np.ndarray:
    """How many people, NaN where there are fewer than two."""
    return np.where(people > 1, people, np.nan)


def means(values: np.ndarray) -> Estimates:
    """Means over identities of (I, K), those without a value (NaN) left out."""
    known = ~np.isnan(values)
    people = known.sum(0)
    value = ratio(np.where(known, values, 0).sum(0), people)
    influence = np.where(known, values - value, 0) / np.maximum(people - 1, 1)
    return Estimates(value, influence, np.zeros(values.shape[1]), people)


def means_over_pairs(
    own: np.ndarray, partner_total: np.ndarray, partner_weight: np.ndarray, moments: np.ndarray
) -> Estimates:
    """Means over identities of each one's mean over its pairs with other people, who vary as well.

    A pair weighs the product of both people's weights: without a person, all pairs are gone in which the person is the
    first or the other one. With v = 1 / pairs of the first one, for each pair of value x:
    own (I, K) : sum of v x over the pairs in which an identity is the first, NaN without any;
    partner_total, partner_weight (I, K) : sums of v x and of v over those in which it is the other one;
    moments (3, K) : sums of v^2, v^2 x and v^2 x^2 over all pairs. No error where all pairs have one person in common.
    """
    known = ~np.isnan(own)
    firsts = known.sum(0)
    value = ratio(np.where(known, own, 0).sum(0), firsts)
    moved = np.where(known, own - value, 0) + partner_total - value * partner_weight
    left = firsts - known - partner_weight
    influence = ratio(moved, np.where(left > NO_WEIGHT * firsts, left, 0))
    shared = ratio(moments[2] - 2 * value * moments[1] + value**2 * moments[0], firsts**2)
    return Estimates(value, influence, np.maximum(shared, 0), (known | (partner_weight > 0)).sum(0))


def interval(
    found: Estimates, confidence: float, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[np.ndarray, np.ndarray]:
    """Two (K,): Student's t interval, widened by Hall's where people are skewed; NaN with fewer than two people.

    Hall's transformation of t takes the skewness out of it. Alone it covers too little where tails are heavy, as
    Student's alone does where one is longer, so the interval reaches to the farther end of both, and at most FARTHEST
    times as far as Student's. bounds : of what is estimated, a share's being (0, 100)
    """
    n, error = _several(found.people), found.standard_error()
    quantile = t_distribution.ppf((1 + confidence) / 2, n - 1)
    scaled = skewness(found.influence, n) / np.sqrt(n)
    below, above = (
        np.clip(sign * unskewed(sign * quantile, scaled), quantile, FARTHEST * quantile) for sign in (1, -1)
    )
    low, high = found.value - below * error, found.value + above * error
    return np.clip(low, *bounds), np.clip(high, *bounds)


def skewness(influence: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Adjusted Fisher-Pearson coefficient (K,) of influences (I, K) of the n (K,) people behind each column.

    0 for two people, and where all are alike.
    """
    mean, square, cube = (ratio((influence**power).sum(0), n) for power in (1, 2, 3))
    skewness = ratio(cube - 3 * mean * square + 2 * mean**3, np.maximum(square - mean**2, 0) ** 1.5)
    factor = ratio(np.sqrt(n * (n - 1)), n - 2)
    return np.nan_to_num(skewness * factor)


def unskewed(t: np.ndarray, scaled: np.ndarray) -> np.ndarray:
    """Hall's (1992) inverse transformation: where t would lie under skewness; scaled : skewness / sqrt(n)."""
    scaled = np.where(np.abs(scaled) < 1e-8, 1e-8, scaled)
    return 3 / scaled * (np.cbrt(1 + scaled * (t - scaled / 6)) - 1)


def ratio_interval(found: Estimates, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """``interval`` of ratios (``Estimates.over``), taken of their logarithm: two (K,), both 0 where the ratio is 0."""
    positive = found.value > 0
    value = np.where(positive, found.value, np.nan)
    logarithm = Estimates(np.log(value), found.influence / value, found.shared / value**2, found.people)
    low, high = (
        np.where(found.value == 0, 0 * found.standard_error(), np.exp(end)) for end in interval(logarithm, confidence)
    )
    return low, high


def mean_interval(
    values: np.ndarray, confidence: float, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over identities of (I, K), and its interval: three (K,); no interval with one identity."""
    found = means(values)
    return found.value, *interval(found, confidence, bounds)


def standard_deviation(values: np.ndarray) -> float:
    """Of (n,), with n - 1 in the denominator; NaN of fewer than two."""
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Broadcast division; NaN where the denominator is not above 0."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.divide(numerator, denominator, out=np.full(shape, np.nan), where=denominator > 0)


def intraclass_correlation(
    values: np.ndarray, identities: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ICC(1) of one-way random effects and its interval, three (K,): the share of the variance that is people's.

    values (M, K) : per image, NaN left out; identities (M,) : whose it is. 1: images of a person are alike and people
    differ; 0: images of a person are no more alike than those of different people; it can lie below. The interval is
    ``interval`` of log F, which does not ask for normal values as the F distribution does. There is none where F is 0
    or infinite, or would be without one of the people: people's means are alike, or the images of each. All three are
    NaN where nothing varies, with one identity, or without a second image of anybody.
    """
    order = np.argsort(identities, kind="stable")
    starts = np.unique(identities[order], return_index=True)[1]
    known = ~np.isnan(values[order])
    center = ratio(np.where(known, values[order], 0).sum(0), known.sum(0))
    centered = np.where(known, values[order] - center, 0)
    images, total, square = (np.add.reduceat(each, starts) for each in (known.astype(float), centered, centered**2))
    explained = total * np.nan_to_num(ratio(total, images))
    parts = np.stack([images > 0, images, total, explained, square - explained])  # (5, I, K)
    whole = parts.sum(1)
    rounding = NO_VARIANCE * (whole[3] + whole[4])
    logarithm = _log_f(rounding, *whole)
    with np.errstate(invalid="ignore"):
        influence = np.where(parts[0] > 0, logarithm - _log_f(rounding, *(whole[:, None] - parts)), 0)
    influence[~np.isfinite(influence)] = np.nan
    found = Estimates(logarithm, influence, np.zeros_like(logarithm), whole[0])
    size = ratio(whole[1] - ratio((images**2).sum(0), whole[1]), whole[0] - 1)  # images of each, as if equally many
    f = (np.exp(each) for each in (logarithm, *interval(found, confidence)))
    return tuple(1 - size / (each + size - 1) for each in f)


def _log_f(
    rounding: np.ndarray,
    people: np.ndarray,
    images: np.ndarray,
    total: np.ndarray,
    explained: np.ndarray,
    within: np.ndarray,
) -> np.ndarray:
    """log of the mean square between people over that within them; NaN where both are 0.

    rounding : sum of squares that is taken for 0; explained : sum over people of total^2 / images; within : sum of
    squares around each one's mean
    """
    between = explained - np.nan_to_num(ratio(total**2, images))
    between, within = (np.where(each > rounding, each, 0) for each in (between, within))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(ratio(between, people - 1) / ratio(within, images - people))


# ------------------------------------------------------------------------------------------------------------- tests


def rank_biserial(difference: np.ndarray) -> float:
    """Matched-pairs rank-biserial correlation: (W+ - W-) / (W+ + W-), 1 when every difference is above 0."""
    difference = difference[difference != 0]
    if not len(difference):
        return float("nan")
    ranks = rankdata(np.abs(difference))
    return float((ranks * np.sign(difference)).sum() / ranks.sum())


def signed_rank(difference: np.ndarray) -> float:
    """p of Wilcoxon's signed-rank test, two-sided, differences of 0 left out; NaN without any other."""
    nonzero = difference[difference != 0]
    if not len(nonzero):
        return float("nan")
    if len(difference) <= FEW and len({*np.abs(nonzero)}) < len(difference):
        return _signed_rank_of_ties(nonzero)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # few identities: the exact distribution is taken
        return float(wilcoxon(difference).pvalue)


def _signed_rank_of_ties(difference: np.ndarray) -> float:
    """The exact p over all signs of these ranks, as SciPy finds it by going through them, which takes far longer."""
    ranks = (2 * rankdata(np.abs(difference))).astype(int)
    chance = np.ones(1)  # of each sum of the ranks above 0, doubled
    for rank in ranks:
        chance = (np.pad(chance, (0, rank)) + np.pad(chance, (rank, 0))) / 2
    above = ranks[difference > 0].sum()
    return float(min(1, 2 * min(chance[: above + 1].sum(), chance[above:].sum())))


def mann_whitney(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """U of a, and p of the two-sided Mann-Whitney test of two groups without NaN.

    NaN where a group has fewer than two values, or all values are equal. Exact where a group has eight or fewer and no
    two values are equal.
    """
    if min(len(a), len(b)) < 2 or np.ptp(np.concatenate((a, b))) == 0:
        return float("nan"), float("nan")
    found = mannwhitneyu(a, b)
    return float(found.statistic), float(found.pvalue)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment of a family (T,) of p values; NaN (no test) stays and does not count."""
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    scaled = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return adjusted


# ------------------------------------------------------------------------------------------- what tests could have seen


@functools.cache
def _least_p(*sizes: int) -> float:
    """The smallest p of a test with these numbers of values, no two equal: signed ranks of one, Mann-Whitney of two."""
    ends = np.cumsum((0, *sizes))
    return float(_test(*(np.arange(start + 1.0, end + 1)[None] for start, end in itertools.pairwise(ends)))[0])


def _test(*samples: np.ndarray) -> np.ndarray:
    """p of each row: of samples (n, values), signed ranks of one, Mann-Whitney of two."""
    return (wilcoxon(*samples, axis=1) if len(samples) == 1 else mannwhitneyu(*samples, axis=1)).pvalue


def attainable_p(p: np.ndarray, *sizes: np.ndarray) -> np.ndarray:
    """The smallest p of each test of a family (T,) that its numbers of people allow after Holm's correction.

    p : as found, NaN where there was no test; sizes (T,) : differences of a signed-rank test, or values of both groups.
    Every test of the family takes its smallest p at once, so that one of few people, beside tests of more, can have a
    ``detectable_difference`` of NaN, which is of that test by itself. Where ties let a test go lower, that is its
    smallest.
    """
    known = ~np.isnan(p)
    least = np.full(len(p), np.nan)
    least[known] = [_least_p(*map(int, each)) for each in zip(*(size[known] for size in sizes), strict=True)]
    return holm(np.fmin(least, p))


@functools.cache
def _detectable_shift(level: float, *sizes: int) -> float:
    """The shift of normal values, in standard deviations, that the test sees at this level with POWER; NaN if none is.

    By simulation with a seed of its own, as approximations fail with few values; of MANY or more, all by the normal
    approximation. Where only one of two groups is that large, it is simulated by fewer values.
    """
    if _least_p(*sizes) >= level:
        return float("nan")
    error = np.sqrt(sum(1 / size for size in sizes))
    if min(sizes) >= MANY:
        return float((norm.ppf(1 - level / 2) + norm.ppf(POWER)) * error / np.sqrt(EFFICIENCY))
    if max(sizes) > 2 * MANY:
        fewer = [min(size, 2 * MANY) for size in sizes]
        return _detectable_shift(level, *fewer) * float(error / np.sqrt(sum(1 / size for size in fewer)))
    rng, draws = np.random.default_rng(0), int(np.clip(400_000 // sum(sizes), 1000, 2000))
    noise = [rng.normal(size=(draws, size)) for size in sizes]
    low, high = 0.0, LARGEST_SHIFT
    for _ in range(13):  # to 0.002
        middle = (low + high) / 2
        seen = (_test(noise[0] + middle, *noise[1:]) < level).mean() >= POWER
        low, high = (low, middle) if seen else (middle, high)
    return high


def detectable_difference(deviation: np.ndarray, tests: np.ndarray, *sizes: np.ndarray) -> np.ndarray:
    """The smallest true differences (T,) that would have been seen with POWER after Holm's correction at LEVEL.

    The minimum detectable effect: of normal values with the ``deviation`` that was found, at the first step of the
    correction, LEVEL / tests. NaN where the test could have seen none by itself. sizes : as in ``attainable_p``
    """
    cells = zip(tests, *sizes, strict=True)
    shifts = [
        _detectable_shift(LEVEL / count, *map(int, each)) if count and all(each) else np.nan for count, *each in cells
    ]
    return deviation * np.array(shifts, float)


def correct(table: pd.DataFrame, family: list[str], sizes: list[str]) -> pd.DataFrame:
    """With CORRECTED, made within the rows that agree in the columns ``family``: one test per row.

    table : p (NaN: no test), deviation of what was tested, and the columns ``sizes`` as ``attainable_p`` takes them;
    NaN in a column of ``family`` is a value of its own
    """
    table = table.assign(**dict.fromkeys(CORRECTED, np.nan))
    for _, rows in table.groupby(family, sort=False, dropna=False):
        p, of_people = rows["p"].to_numpy(float), [rows[name].to_numpy() for name in sizes]
        tests = np.full(len(p), np.count_nonzero(~np.isnan(p)))
        difference = detectable_difference(rows["deviation"].to_numpy(float), tests, *of_people)
        found = holm(p), tests, attainable_p(p, *of_people), np.where(np.isnan(p), np.nan, difference)
        table.loc[rows.index, list(CORRECTED)] = np.column_stack(found)
    return table.astype({"tests": int})


def verdict(tests: pd.DataFrame) -> str:
    """One test or several, rows of ``correct``, in words: whether they hold after Holm's correction, or could have.

    "holds" or, where there is a column ``difference`` and it is below 0, "reversed"; "too few people": no difference
    could have been shown; "too few people by itself": only other tests of the family could have; "would have seen
    0.02": the detectable difference, or the least and the largest one. Several are counted: "2 hold; 3 too few people".
    """
    words = _verdicts(tests)
    found = []
    for word in dict.fromkeys([HOLDS, REVERSED, "", TOO_FEW_BY_ITSELF, TOO_FEW_PEOPLE, UNTESTED]):
        here = words == word
        count = np.count_nonzero(here)
        if count:
            said = word or _would_have_seen(tests["detectable_difference"].to_numpy(float)[here])
            found.append(f"{count} {'hold' if word == HOLDS and count > 1 else said}" if len(tests) > 1 else said)
    return "; ".join(found)


def _verdicts(tests: pd.DataFrame) -> np.ndarray:
    """A word of each test; "" where one would have seen a difference, and did not."""
    p, attainable, detectable = (tests[name].to_numpy(float) for name in ("p_holm", *CORRECTED[2:]))
    below = tests["difference"].to_numpy(float) < 0 if "difference" in tests else np.zeros(len(p), bool)
    cases = {
        UNTESTED: np.isnan(p),
        REVERSED: (p < LEVEL) & below,
        HOLDS: p < LEVEL,
        TOO_FEW_PEOPLE: attainable >= LEVEL,
        TOO_FEW_BY_ITSELF: np.isnan(detectable),
    }
    return np.select(list(cases.values()), list(cases), default="")


def _would_have_seen(differences: np.ndarray) -> str:
    ends = dict.fromkeys(f"{end:.2g}" for end in (differences.min(), differences.max()))
    return "would have seen " + " to ".join(ends)
