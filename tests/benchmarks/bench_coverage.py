"""How often intervals cover the truth, tests are wrong, and detectable differences are seen: by simulation.

    PYTHONPATH=workflow_scripts python tests/benchmarks/bench_coverage.py [--repeats 8000]

Intervals of nominal 0.95, as tables have them, at 3 to 100 people: of a mean over people, beside Student's t, Hall's
and the percentile bootstrap's, which were weighed against it; of a ratio of two means (enrichment); of pairs of two
people and their ratio to pairs of one; of the intraclass correlation. People are normal or skewed: exponential (2),
lognormal (1.8 and, beyond what the interval can do, 6.2), or have heavy tails (Student's t of 3 degrees of freedom).
Pairs have an effect of both people and one of their own, each with the same variance; their standard error is compared
with the spread of the estimates, and so is that of identities' own means, which takes the second person for fixed.

Families of tests as person_specific.csv has them: how often any p_holm is below 0.05 where there is no difference, and
how often a difference of detectable_difference is found.
"""

import argparse
from collections.abc import Callable

import numpy as np
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from leam import statistics

CONFIDENCE, PEOPLE = 0.95, (3, 4, 6, 8, 12, 24, 100)
PAIRS, DESIGNS = 3, 20  # pairs of different people that each is the first of; draws of who meets whom
IMAGES, BOOTSTRAP = 5, 1000

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
# Values of mean 0 and variance 1, by the distribution's name.
DISTRIBUTIONS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape) - 1,
    "lognormal": lambda rng, shape: _lognormal(rng, shape, 0.5),
    "lognormal_wide": lambda rng, shape: _lognormal(rng, shape, 1.0),
    "heavy_tails": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3),
}


def _lognormal(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    mean, variance = np.exp(sigma**2 / 2), (np.exp(sigma**2) - 1) * np.exp(sigma**2)
    return (rng.lognormal(0, sigma, shape) - mean) / np.sqrt(variance)


def covered(low: np.ndarray, high: np.ndarray, truth: float) -> float:
    return float(((low <= truth) & (truth <= high)).mean())


def mean_coverage(draw: Draw, people: int, repeats: int, rng: np.random.Generator) -> dict[str, float]:
    """By method; values have mean 0."""
    values = draw(rng, (people, repeats))
    found = statistics.means(values)
    low, high = statistics.interval(found, CONFIDENCE)
    quantile, error = t_distribution.ppf((1 + CONFIDENCE) / 2, people - 1), found.standard_error()
    scaled = statistics.skewness(found.influence, np.full(repeats, people)) / np.sqrt(people)
    ends = [statistics.unskewed(sign * quantile, scaled) for sign in (-1, 1)]
    result = {
        "mean": covered(low, high, 0),
        "width_of_mean": float(np.median((high - low) / (2 * quantile * error))),
        "student": covered(found.value - quantile * error, found.value + quantile * error, 0),
        "hall": covered(found.value - ends[1] * error, found.value - ends[0] * error, 0),
    }
    weights = rng.multinomial(people, np.full(people, 1 / people), BOOTSTRAP) / people
    tails = np.percentile(weights @ values, (50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)), axis=0)
    return result | {"percentile_bootstrap": covered(*tails, 0)}


def ratio_coverage(draw: Draw, people: int, repeats: int, rng: np.random.Generator) -> float:
    """Of enrichment: each share is the person's area (varying by 30 %) times a factor around 3 (varying by 60 %)."""
    area = np.maximum(1 + 0.3 * draw(rng, (people, repeats)), 0.05)
    share = np.maximum(3 + 1.8 * draw(rng, (people, repeats)), 0) * area
    reference = np.random.default_rng(1)
    truth = float(np.maximum(3 + 1.8 * draw(reference, (4_000_000,)), 0).mean())
    found = statistics.means(share).over(statistics.means(area))
    return covered(*statistics.ratio_interval(found, CONFIDENCE), truth)


def pairs_coverage(draw: Draw, people: int, repeats: int, rng: np.random.Generator) -> dict[str, float]:
    """Of pairs of different people (mean 2) and their ratio to pairs of one (mean 4); DESIGNS draws of who meets whom.

    error : root mean square of the standard error over the spread of the estimates, 1 is right
    """
    found: dict[str, list[float]] = {}
    quantile = t_distribution.ppf((1 + CONFIDENCE) / 2, people - 1)
    for _ in range(DESIGNS):
        other = (np.arange(people)[:, None] + rng.integers(1, people, (people, PAIRS))) % people
        cells = repeats // DESIGNS
        first, second, own = 0.2 * draw(rng, (3, people, cells))
        x = 2 + first[:, None] + second[other] + 0.2 * draw(rng, (people, PAIRS, cells))
        total, weight = np.zeros((2, people, cells))
        np.add.at(total, other.ravel(), x.reshape(-1, cells) / PAIRS)
        np.add.at(weight, other.ravel(), 1 / PAIRS)
        moments = np.stack([(x**power).sum((0, 1)) / PAIRS**2 for power in range(3)])
        different = statistics.means_over_pairs(x.mean(1), total, weight, moments)
        compared = statistics.means(4 + first + second + own).over(different)
        fixed, value = statistics.means(x.mean(1)).standard_error(), different.value
        for name, number in {
            "pairs": covered(*statistics.interval(different, CONFIDENCE), 2),
            "pairs_ratio": covered(*statistics.ratio_interval(compared, CONFIDENCE), 2),
            "pairs_second_person_fixed": covered(value - quantile * fixed, value + quantile * fixed, 2),
            "error_of_pairs": _relative_error(different.standard_error(), value),
            "error_of_pairs_second_person_fixed": _relative_error(fixed, value),
        }.items():
            found.setdefault(name, []).append(number)
    return {name: float(np.mean(numbers)) for name, numbers in found.items()}


def _relative_error(errors: np.ndarray, estimates: np.ndarray) -> float:
    return float(np.sqrt((errors**2).mean()) / estimates.std())


def icc_coverage(draw: Draw, people: int, repeats: int, rng: np.random.Generator) -> dict[str, float]:
    """Of 0.5: five images each, as much variance between people as within. Beside it the F distribution's interval."""
    values = draw(rng, (people, 1, repeats)) + rng.normal(size=(people, IMAGES, repeats))
    identities, freedom = np.repeat(np.arange(people), IMAGES), (people - 1, people * (IMAGES - 1))
    found, low, high = statistics.intraclass_correlation(values.reshape(-1, repeats), identities, CONFIDENCE)
    f = (1 + (IMAGES - 1) * found) / (1 - found)
    ends = [f / f_distribution.ppf(tail, *freedom) for tail in ((1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2)]
    return {"icc": covered(low, high, 0.5), "icc_by_f": covered(*((end - 1) / (end + IMAGES - 1) for end in ends), 0.5)}


def family_rates(people: int, tests: int, repeats: int, rng: np.random.Generator) -> tuple[float, float]:
    """How often a family without differences shows one, and how often one of the detectable size is found in it."""
    shift = statistics.detectable_difference(np.ones(1), np.array([tests]), np.array([people]))[0]
    wrong, seen = 0, 0
    for _ in range(repeats):
        values = rng.normal(size=(tests, people))
        wrong += (statistics.holm(np.array([statistics.signed_rank(row) for row in values])) < statistics.LEVEL).any()
        values[0] += shift
        if not np.isnan(shift):
            p = statistics.holm(np.array([statistics.signed_rank(row) for row in values]))
            seen += p[0] < statistics.LEVEL
    return wrong / repeats, seen / repeats if not np.isnan(shift) else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=8000)
    repeats, rng = parser.parse_args().repeats, np.random.default_rng(0)
    for people in PEOPLE:
        for name, draw in DISTRIBUTIONS.items():
            found = mean_coverage(draw, people, repeats, rng)
            found["ratio"] = ratio_coverage(draw, people, repeats, rng)
            found |= pairs_coverage(draw, people, repeats, rng)
            found |= icc_coverage(draw, people, repeats // 4, rng)
            for what, value in found.items():
                unit = "times" if what.startswith(("width", "error")) else "share"
                print(f"figure {what}_{name}_{people} {value:.3f} {unit}", flush=True)
    for people in (6, 8, 12, 24):
        for tests in (1, 2, 9, 15):
            wrong, seen = family_rates(people, tests, repeats // 8, rng)
            print(f"figure false_positives_{tests}_tests_{people} {wrong:.3f} share")
            if not np.isnan(seen):  # else no difference could be
                print(f"figure seen_of_{tests}_tests_{people} {seen:.3f} share", flush=True)


if __name__ == "__main__":
    main()
