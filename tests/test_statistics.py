"""Intervals, intraclass correlation and what tests can show, against naive computations and by simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu, norm, wilcoxon
from scipy.stats import t as t_distribution

from leam import statistics
from naive_statistics import naive_icc, naive_interval, without_each


@pytest.mark.parametrize("people", [2, 3, 6, 40])
def test_the_interval_of_a_mean_is_that_of_leaving_out_each_person(people):
    values = np.random.default_rng(people).exponential(size=(people + 1, 3))
    values[1, 0] = values[0, 1] = np.nan
    mean, low, high = statistics.mean_interval(values, 0.9)
    for k, column in enumerate(values.T):
        known = column[~np.isnan(column)]
        assert mean[k] == pytest.approx(known.mean())
        expected = naive_interval(known.mean(), without_each(np.mean, known), confidence=0.9)
        assert (low[k], high[k]) == pytest.approx(expected)
    if people > 6:  # many people, hardly skewed: Student's alone
        values = np.random.default_rng(0).uniform(size=(400, 1))
        _, low, high = statistics.mean_interval(values, 0.95)
        expected = t_distribution.interval(0.95, 399, values.mean(), values.std(ddof=1) / 20)
        np.testing.assert_allclose([low[0], high[0]], expected, rtol=2e-3)


def test_intervals_stay_where_values_can_be_and_need_two_people():
    values = np.array([[0.0, 1.0], [0.1, np.nan], [2.0, np.nan]])
    mean, low, high = statistics.mean_interval(values, 0.95, statistics.PERCENTS)
    assert low[0] == 0 and high[0] > 2 and mean[1] == 1 and np.isnan([low[1], high[1]]).all()
    equal = statistics.mean_interval(np.full((4, 1), 7.0), 0.95)
    np.testing.assert_array_equal(np.ravel(equal), [7, 7, 7])


def test_the_interval_of_a_ratio_is_taken_of_its_logarithm():
    rng = np.random.default_rng(1)
    share, area = rng.exponential(size=9), rng.uniform(1, 2, 9)
    found = statistics.means(share[:, None]).over(statistics.means(area[:, None]))
    value = share.mean() / area.mean()
    without = [np.log(value) - (share[k] - value * area[k]) / 8 / share.mean() for k in range(9)]
    low, high = statistics.ratio_interval(found, 0.95)
    assert (low[0], high[0]) == pytest.approx(tuple(np.exp(naive_interval(np.log(value), without))))
    nothing = statistics.means(np.zeros((3, 1))).over(statistics.means(np.ones((3, 1))))
    assert [end[0] for end in statistics.ratio_interval(nothing, 0.95)] == [0, 0]
    undefined = statistics.means(np.ones((3, 1))).over(statistics.means(np.zeros((3, 1))))
    assert np.isnan([end[0] for end in statistics.ratio_interval(undefined, 0.95)]).all()


# ------------------------------------------------------------------------------------------------ pairs of two people


def sums_over_pairs(x, other):
    """(firsts, pairs, K) values of pairs with the people ``other`` -> the arguments of ``means_over_pairs``."""
    people, pairs, cells = x.shape
    total, weight = np.zeros((2, people, cells))
    np.add.at(total, other.ravel(), x.reshape(-1, cells) / pairs)
    np.add.at(weight, other.ravel(), 1 / pairs)
    return x.mean(1), total, weight, np.stack([(x**power).sum((0, 1)) / pairs**2 for power in range(3)])


def test_a_pair_of_two_people_is_gone_without_either_of_them():
    rng = np.random.default_rng(2)
    other = (np.arange(7)[:, None] + rng.integers(1, 7, (7, 3))) % 7
    x = rng.exponential(size=(7, 3, 1))
    found = statistics.means_over_pairs(*sums_over_pairs(x, other))
    pairs = [(first, second, x[first, k, 0]) for first in range(7) for k, second in enumerate(other[first])]
    value = np.mean([value for *_, value in pairs])
    without = [np.mean([value for *two, value in pairs if person not in two]) for person in range(7)]
    assert found.value[0] == pytest.approx(value)
    np.testing.assert_allclose(found.influence[:, 0], value - np.array(without))
    shared = sum((each - value) ** 2 for *_, each in pairs) / 21**2
    expected = naive_interval(value, without, shared)
    assert tuple(end[0] for end in statistics.interval(found, 0.95)) == pytest.approx(expected)


@pytest.mark.parametrize("people", [12, 24, 100])
def test_the_error_of_pairs_is_right_where_that_of_one_side_is_too_small(people):
    """Two-way random effects: a pair has an effect of each of its people and one of its own."""
    rng, found = np.random.default_rng(people), []
    for _ in range(20):
        other = (np.arange(people)[:, None] + rng.integers(1, people, (people, 3))) % people
        first, second = rng.normal(size=(2, people, 150))
        x = first[:, None] + second[other] + rng.normal(size=(people, 3, 150))
        both = statistics.means_over_pairs(*sums_over_pairs(x, other))
        one = statistics.means(x.mean(1))
        covered = [(np.multiply(*statistics.interval(each, 0.95)) < 0).mean() for each in (both, one)]
        errors = [np.sqrt((each.standard_error() ** 2).mean()) / both.value.std() for each in (both, one)]
        found.append([*errors, *covered])
    both, one, both_covered, one_covered = np.mean(found, axis=0)
    assert 0.97 < both < 1.1 and one < 0.85
    assert both_covered > 0.93 and one_covered < 0.92


def test_pairs_that_all_have_one_person_in_common_have_no_interval():
    other, x = np.array([[1], [0], [0]]), np.array([1.0, 2, 4])[:, None, None]
    found = statistics.means_over_pairs(*sums_over_pairs(x, other))
    assert found.value[0] == pytest.approx(7 / 3)
    assert np.isnan(statistics.interval(found, 0.95)).all()


# ------------------------------------------------------------------------------------------------------------ coverage

SKEWED = {"exponential": lambda rng, shape: rng.exponential(size=shape) - 1}
DRAWS = {"normal": lambda rng, shape: rng.normal(size=shape)} | SKEWED


@pytest.mark.parametrize("people", [6, 12])
@pytest.mark.parametrize("name", DRAWS)
def test_intervals_cover_what_they_say_from_six_people_on(name, people):
    """Of 4,000: 0.93 has a standard error of 0.004. tests/benchmarks/bench_coverage.txt has more people and values."""
    rng = np.random.default_rng(4)
    values = DRAWS[name](rng, (people, 4000))
    _, low, high = statistics.mean_interval(values, 0.95)
    assert 0.93 < ((low < 0) & (high > 0)).mean() < 0.98
    drawn = rng.multinomial(people, np.full(people, 1 / people), 500) / people @ values
    percentiles = np.percentile(drawn, [2.5, 97.5], axis=0)
    assert ((percentiles[0] < 0) & (percentiles[1] > 0)).mean() < 0.92
    area = 1 + 0.2 * rng.normal(size=values.shape).clip(-3, 3)
    found = statistics.means((values + 3) * area).over(statistics.means(area))
    low, high = statistics.ratio_interval(found, 0.95)
    assert 0.93 < ((low < 3) & (high > 3)).mean() < 0.98


# --------------------------------------------------------------------------------------------- intraclass correlation


def test_the_intraclass_correlation_is_that_of_an_analysis_of_variance():
    rng = np.random.default_rng(5)
    identities = rng.permutation(np.repeat(list("abcdefg"), [2, 3, 5, 4, 1, 6, 3]))
    values = 50 + rng.normal(size=(24, 4)) + 2 * rng.normal(size=7)[np.unique(identities, return_inverse=True)[1], None]
    values[rng.random(values.shape) < 0.1] = np.nan
    values[identities == "c", 3] = np.nan
    found, low, high = statistics.intraclass_correlation(values, identities, 0.95)
    for k, column in enumerate(values.T):
        expected, f, size = naive_icc(column, identities)
        assert found[k] == pytest.approx(expected)
        names = [name for name in np.unique(identities) if not np.isnan(column[identities == name]).all()]
        without = [np.log(naive_icc(column[identities != name], identities[identities != name])[1]) for name in names]
        ends = np.exp(naive_interval(np.log(f), without))
        assert (low[k], high[k]) == pytest.approx(tuple((end - 1) / (end + size - 1) for end in ends))


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("planted", [0.0, 0.5, 0.9])
def test_a_planted_intraclass_correlation_is_found_and_covered(planted, name):
    rng, people, images, cells = np.random.default_rng(6), 12, 5, 2000
    of_people = np.sqrt(planted / (1 - planted)) * DRAWS[name](rng, (people, 1, cells))
    values = (of_people + rng.normal(size=(people, images, cells))).reshape(-1, cells)
    found, low, high = statistics.intraclass_correlation(values, np.repeat(np.arange(people), images), 0.95)
    assert np.median(found) == pytest.approx(planted, abs=0.06)
    assert ((low < planted) & (high > planted)).mean() > 0.915


def test_where_nothing_varies_there_is_no_correlation():
    found = statistics.intraclass_correlation(np.ones((6, 1)), np.repeat(list("abc"), 2), 0.95)
    assert np.isnan(found).all()
    assert np.isnan(statistics.intraclass_correlation(np.arange(3.0)[:, None], np.array(list("abc")), 0.95)).all()
    assert np.isnan(statistics.intraclass_correlation(np.arange(3.0)[:, None], np.array(list("aaa")), 0.95)).all()


def test_images_that_are_alike_within_people_correlate_fully_without_an_interval():
    """And where people's means are alike, the correlation is the lowest that k images allow, -1 / (k - 1)."""
    identities = np.repeat(list("abc"), 2)
    values = np.array([[1, 1, 2, 2, 5, 5], [1, 3, 0, 4, 2.5, 1.5], [1, 1, 1, 1, 3, 3], [0, 0, 0, 0, 3, 4]]).T
    for moved in (values, 1000 + values / 7):  # in floating point, squares within people do not vanish there
        found, low, high = statistics.intraclass_correlation(moved, identities, 0.95)
        expected = naive_icc(values[:, 3], identities)[0]
        np.testing.assert_allclose(found, [1, -1, 1, expected], atol=1e-9)
        assert np.isnan(low).all() and np.isnan(high).all()  # without person c, nothing varies in the last
    people = np.repeat(np.random.default_rng(15).random((9, 50)), 7, axis=0)
    found, low, high = statistics.intraclass_correlation(people, np.repeat(np.arange(9), 7), 0.95)
    assert (found == 1).all() and np.isnan(low).all() and np.isnan(high).all()


def test_the_standard_deviation_of_one_value_is_unknown():
    assert statistics.standard_deviation(np.array([1.0, 2, 6])) == pytest.approx(7**0.5)
    assert np.isnan([statistics.standard_deviation(np.ones(n)) for n in (0, 1)]).all()


# ------------------------------------------------------------------------------------------------ what tests could show


@pytest.mark.parametrize("n", [1, 2, 5, 9, 13, 20])
def test_signed_ranks_of_ties_are_scipys(n):
    rng = np.random.default_rng(n)
    for _ in range(5):
        difference = rng.integers(-3, 5, n).astype(float)
        if difference.any():
            assert statistics.signed_rank(difference) == pytest.approx(wilcoxon(difference).pvalue)


def test_six_people_and_24_tests_can_show_nothing():
    p = np.full(24, 0.2)
    np.testing.assert_allclose(statistics.attainable_p(p, np.full(24, 6)), 0.75)
    assert np.isnan(statistics.detectable_difference(np.ones(24), np.full(24, 24), np.full(24, 6))).all()
    np.testing.assert_allclose(statistics.attainable_p(np.array([0.2]), np.array([6])), 2 / 2**6)


def test_the_smallest_p_is_that_of_the_most_extreme_values():
    rng = np.random.default_rng(8)
    families = [
        np.array([wilcoxon(np.abs(rng.normal(size=n))).pvalue for n in (5, 9, 12)]),
        np.array([mannwhitneyu(rng.random(n) + 2, rng.random(m)).pvalue for n, m in ((3, 4), (5, 5), (9, 20))]),
    ]
    sizes = [(np.array([5, 9, 12]),), (np.array([3, 5, 9]), np.array([4, 5, 20]))]
    for p, size in zip(families, sizes, strict=True):
        found = statistics.attainable_p(np.full(3, 0.9), *size)
        np.testing.assert_allclose(found, statistics.holm(p))
    with_none = statistics.attainable_p(np.array([0.3, np.nan]), np.array([6, 6]))
    assert with_none[0] == 2 / 2**6 and np.isnan(with_none[1])


@pytest.mark.parametrize(("people", "tests"), [(6, 1), (10, 3), (12, 9), (30, 15), (60, 9)])
def test_a_difference_of_the_detectable_size_is_seen_four_times_of_five(people, tests):
    rng, deviation = np.random.default_rng(9), 0.02
    (size,) = statistics.detectable_difference(np.array([deviation]), np.array([tests]), np.array([people]))
    values = size + deviation * rng.normal(size=(2000, people))
    p = wilcoxon(values, axis=1).pvalue
    assert (p * tests < 0.05).mean() == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(("first", "second", "tests"), [(4, 4, 1), (8, 9, 5), (5, 60, 2), (40, 30, 9)])
def test_so_is_one_between_two_groups(first, second, tests):
    rng = np.random.default_rng(10)
    sizes = np.array([first]), np.array([second])
    (size,) = statistics.detectable_difference(np.array([3.0]), np.array([tests]), *sizes)
    p = mannwhitneyu(size + 3 * rng.normal(size=(1500, first)), 3 * rng.normal(size=(1500, second)), axis=1).pvalue
    assert (p * tests < 0.05).mean() == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize("sizes", [(500,), (500, 700), (20, 6000)])
def test_of_many_values_it_is_computed_and_seen_as_often(sizes):
    """2,000 draws: 0.8 has a standard error of 0.009, and 3 percent of the difference are 0.03."""
    rng, tests = np.random.default_rng(13), 9
    (size,) = statistics.detectable_difference(np.ones(1), np.array([tests]), *(np.array([n]) for n in sizes))
    seen = 0
    for _ in range(20):
        samples = [rng.normal(size=(100, n)) for n in sizes]
        samples[0] += size
        p = (wilcoxon if len(sizes) == 1 else mannwhitneyu)(*samples, axis=1).pvalue
        seen += (p * tests < 0.05).sum()
    assert seen / 2000 == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("sizes", [(500,), (500, 500), (500, 900)])
def test_what_is_computed_and_what_is_simulated_meet(sizes, monkeypatch):
    computed = statistics._detectable_shift.__wrapped__(0.005, *sizes)
    monkeypatch.setattr(statistics, "MANY", 10**6)
    assert statistics._detectable_shift.__wrapped__(0.005, *sizes) == pytest.approx(computed, rel=0.03)


def test_of_images_of_a_large_collection():
    many, tests = np.array([140_000] * 2), np.array([40, 1])
    found = statistics.detectable_difference(np.ones(2), tests, many, np.array([90_000, 6]))
    t_test = (norm.ppf(1 - 0.05 / 80) + norm.ppf(0.8)) * (1 / 140_000 + 1 / 90_000) ** 0.5
    assert found[0] == pytest.approx(t_test * (np.pi / 3) ** 0.5)
    # six values among 140,000: their ranks are the normal distribution's own
    rng = np.random.default_rng(14)
    least = np.quantile(rng.random((100_000, 6)).sum(1), 0.975)
    assert (norm.cdf(found[1] + rng.normal(size=(100_000, 6))).sum(1) > least).mean() == pytest.approx(0.8, abs=0.04)


def test_a_test_of_few_people_beside_those_of_more_says_so():
    """Six people have p of 2/64 at least: below 0.05 where the others' are lower, and not below a third of it."""
    table = pd.DataFrame({"p": [0.2, 0.3, 0.4], "people": [12, 12, 6], "deviation": 1.0, "family": "one"})
    found = statistics.correct(table, ["family"], ["people"])
    np.testing.assert_allclose(found["p_attainable"], [6 / 2**12, 6 / 2**12, 2 / 2**6])
    assert found["detectable_difference"].isna().tolist() == [False, False, True]
    seen = found["detectable_difference"][0]
    words = [statistics.verdict(found.iloc[[k]]) for k in range(3)]
    assert words == [f"would have seen {seen:.2g}"] * 2 + ["too few people by itself"]
    assert statistics.verdict(found) == f"2 would have seen {seen:.2g}; 1 too few people by itself"


def test_what_tests_say_in_words():
    rows = [(0.01, 0.01, 1.0, 2.0), (0.04, 0.01, 1.0, -2.0), (0.2, 0.01, 0.031, 1.0), (0.06, 0.02, 1.26, -1.0)]
    rows += [(0.05, 0.05, np.nan, 1.0), (np.nan, np.nan, np.nan, np.nan)]
    tests = pd.DataFrame(rows, columns=["p_holm", *statistics.CORRECTED[2:], "difference"])
    each = ["holds", "reversed", "would have seen 0.031", "would have seen 1.3", "too few people", "not tested"]
    assert [statistics.verdict(tests.iloc[[k]]) for k in range(6)] == each
    assert (
        statistics.verdict(tests)
        == "1 holds; 1 reversed; 2 would have seen 0.031 to 1.3; 1 too few people; 1 not tested"
    )
    assert statistics.verdict(tests.iloc[:2].drop(columns="difference")) == "2 hold"
    assert statistics.verdict(tests.iloc[:0]) == ""


def test_families_are_corrected_apart_and_rows_keep_their_places():
    rng = np.random.default_rng(11)
    table = pd.DataFrame(
        {"family": list("abab"), "p": [0.01, 0.04, np.nan, 0.03], "people": [9, 12, 9, 12]}, [4, 2, 7, 0]
    )
    found = statistics.correct(table.assign(deviation=rng.random(4)), ["family"], ["people"])
    assert list(found["tests"]) == [1, 2, 1, 2] and list(found.index) == [4, 2, 7, 0]
    np.testing.assert_allclose(found["p_holm"], [0.01, 0.06, np.nan, 0.06])
    np.testing.assert_allclose(found["p_attainable"], [2 / 2**9, 4 / 2**12, np.nan, 4 / 2**12])
    assert found["detectable_difference"].isna().tolist() == [False, False, True, False]


def test_families_without_any_difference_show_one_in_at_most_a_twentieth():
    """600 draws of 9 recognisers and 15 people: 0.05 has a standard error of 0.009."""
    rng, wrong = np.random.default_rng(12), 0
    for _ in range(600):
        p = wilcoxon(rng.normal(size=(9, 15)), axis=1).pvalue
        wrong += (statistics.holm(p) < statistics.LEVEL).any()
    assert 0.01 < wrong / 600 < 0.07
