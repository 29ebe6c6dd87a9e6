"""How often every test of the tables is wrong where there is nothing, and how often it finds what is there.

    PYTHONPATH=workflow_scripts:tests python tests/benchmarks/bench_tests.py [--repeats 400]

Made-up people go through the functions that make the tables, over as many seeds as there are repeats. ``wrong`` is how
often a family has any p_holm below 0.05 without a difference (0.05 is allowed); ``seen`` is how often one planted
difference, of the size that the table calls detectable with a power of 0.8, has one.

    chain         person_specific.csv: own_mean > other_mean, and the rest of the chain, of two recognisers
    groups        significance.csv, over identities, and over images, whose people differ: what the paper's unit does
    slopes        age_slopes.csv
    similarity    similarity.csv: intervals of same / different that leave 1 out, each by itself; ``seen`` of 1.3
    localisation  localisation.csv: any p_holm, and ``found``, which asks every interval by itself
"""

import argparse
import itertools
from collections import Counter

import numpy as np
import pandas as pd

import planted
from leam import statistics
from leam.analyses import ages, localisation, occlusion
from leam.analyses.ages import table as ages_table
from leam.analyses.groups import table as groups_table
from leam.analyses.localisation import table as localisation_table
from leam.analyses.occlusion import table as occlusion_table
from leam.analyses.similarity import SIMILARITY_MEASURES
from leam.analyses.similarity import table as similarity_table
from leam.controls import CENTRE, RANDOM, SHUFFLED
from leam.statistics import LEVEL

CONFIDENCE, PEOPLE = 0.95, (6, 12, 24)
MODELS, POLARITIES, FILLS = ("a", "b"), ("loss", "similarity"), ("black", "mean")
QUESTION = {"polarity": "loss", "fill": "mean", "percent": 1.0}  # decided before looking
IMAGES, CELLS = 5, 10
Rates = Counter[str]


def report(name: str, found: Rates, repeats: int) -> None:
    for what, count in sorted(found.items()):
        print(f"figure {name}_{what} {count / repeats:.3f} share", flush=True)


def detectable(deviation: float, tests: int, *sizes: int) -> float:
    """0 where none is: such a plant is not looked for."""
    found = statistics.detectable_difference(np.array([deviation]), np.array([tests]), *(np.array([n]) for n in sizes))
    return float(np.nan_to_num(found[0]))


def is_shown(rows: pd.DataFrame) -> bool:
    return bool((rows["p_holm"] < LEVEL).any())


# ----------------------------------------------------------------------------------------------------------- the chain


def chain(people: int, repeats: int, rng: np.random.Generator) -> Rates:
    """A person's level is shared by all kinds, each of which has noise of its own."""
    found = Counter()
    shift = detectable(2**0.5, len(MODELS), people)
    for _ in range(repeats):
        steps = chain_steps(people, 0, rng)
        for family, rows in steps.groupby("family"):
            secondary = steps["family"].nunique() - 1
            if family == occlusion_table.PRIMARY:
                found["wrong_primary"] += is_shown(rows)
            else:
                found["wrong_secondary"] += is_shown(rows) / secondary
        if shift:
            rows = chain_steps(people, shift, rng)
            rows = rows[(rows["family"] == occlusion_table.PRIMARY) & (rows["model"] == "a")]
            found["seen"] += is_shown(rows)
    return found


def chain_steps(people: int, shift: float, rng: np.random.Generator) -> pd.DataFrame:
    """person_specific.csv; shift : of one's own mean map, of one recogniser in one polarity."""
    names, steps = [f"p{number:02d}" for number in range(people)], []
    for model in MODELS:
        rows = []
        for fill in FILLS:
            level = rng.normal(size=people)
            cells = [(polarity, kind) for polarity in POLARITIES for kind in occlusion.OCCLUSION_KINDS]
            cells = [cell for cell in cells if cell[1] not in occlusion.MAPLESS_KINDS]
            for polarity, kind in [*cells, ("", CENTRE), ("", RANDOM)]:
                is_planted = (model, polarity, kind) == ("a", "loss", "own_mean")
                values = level + rng.normal(size=people) + shift * is_planted
                keys = ("", "") if not polarity else (model, "conv1")
                rows += [(*keys, kind, polarity, fill, 1.0, *each, False) for each in zip(names, values, strict=True)]
        means = pd.DataFrame(rows, columns=[*occlusion_table.DROP_KEYS, "identity", "drop", "untrained"])
        steps.append(occlusion_table.compare_steps(means, model, CONFIDENCE))
    return occlusion_table.correct_steps(pd.concat(steps, ignore_index=True), QUESTION)


# ----------------------------------------------------------------------------------------------------- groups of people


def groups(people: int, repeats: int, rng: np.random.Generator) -> Rates:
    """Two equally large groups; a person's images share a level as large as their own spread."""
    found, half = Counter(), people // 2
    shift = detectable((1 + 1 / IMAGES) ** 0.5, CELLS, half, half)
    for _ in range(repeats):
        table = group_tests(people, 0, rng)
        for unit, rows in table.groupby("unit"):
            found[f"wrong_over_{'identities' if unit == 'identity' else 'images'}"] += is_shown(rows)
        if shift:
            table = group_tests(people, shift, rng)
            found["seen_over_identities"] += is_shown(table[(table["unit"] == "identity") & (table["cell"] == 0)])
    return found


def group_tests(people: int, shift: float, rng: np.random.Generator) -> pd.DataFrame:
    """The tests of significance.csv of one measure; shift : of one group in one of CELLS."""
    names = [f"p{number:02d}" for number in range(people)]
    values = rng.normal(size=(people, 1, CELLS)) + rng.normal(size=(people, IMAGES, CELLS))
    values[: people // 2, :, 0] += shift
    index = pd.MultiIndex.from_product([names, range(IMAGES)], names=["identity", "image"])
    by_image = pd.DataFrame(values.reshape(-1, CELLS), index, pd.Index(range(CELLS), name="cell"))
    gender = pd.Series(np.repeat(["female", "male"], [people // 2, people - people // 2]), names)
    table = groups_table.compare_units(
        by_image, by_image.groupby(level="identity").mean(), gender.to_frame("gender")
    ).assign(measure="drop", fill="mean")
    return statistics.correct(table, groups_table.FAMILY, ["n_a", "n_b"])


# -------------------------------------------------------------------------------------------------------- slopes of age


def slopes(people: int, repeats: int, rng: np.random.Generator) -> Rates:
    """Five pairs of each person, 0 to 40 years apart; the slopes of CELLS cells are tested together."""
    found, decades = Counter(), np.arange(IMAGES)
    deviation = float(np.sqrt(1 + 1 / ((decades - decades.mean()) ** 2).sum()))  # slopes of people vary by 1
    shift = detectable(deviation, CELLS, people)
    for _ in range(repeats):
        found["wrong"] += is_shown(slope_tests(people, 0, rng))
        if shift:
            found["seen"] += is_shown(slope_tests(people, shift, rng).iloc[:1])
    return found


def slope_tests(people: int, shift: float, rng: np.random.Generator) -> pd.DataFrame:
    """The tests of age_slopes.csv; shift : of the slopes of the first cell."""
    decades, rows = np.arange(IMAGES), []
    for cell in range(CELLS):
        steep = rng.normal(size=(people, 1)) + shift * (cell == 0)
        cosine = steep * decades + rng.normal(size=(people, IMAGES))
        names = np.repeat([f"p{number:02d}" for number in range(people)], IMAGES)
        years = np.tile(10 * decades, people)
        pairs = pd.DataFrame({"identity": names, ages.AGE_COLUMNS[-3]: years, "cosine": cosine.ravel()})
        rows.append(ages_table.average_slopes(pairs, CONFIDENCE))
    return statistics.correct(pd.DataFrame(rows).assign(table=""), ["table"], ["identities"])


# ----------------------------------------------------------------------------------------------------------- similarity


def similarity(people: int, repeats: int, rng: np.random.Generator) -> Rates:
    """Bhattacharyya coefficients and distances of ten pairs of one person and three of different people each.

    People differ, in pairs of their own and of others; ``seen`` : pairs of one person are 1.3 times as high.
    """
    found = Counter()
    for _ in range(repeats):
        for name, times in (("wrong", 1.0), ("seen", 1.3)):
            table = similarity_table.compare_pairings([similarity_pairs(people, times, rng)], CONFIDENCE)
            leaves_out = (table["ratio_low"] > 1) | (table["ratio_high"] < 1)
            for measure, is_out in zip(table["measure"], leaves_out, strict=True):
                found[f"{name}_{measure}"] += is_out
    return found


def similarity_pairs(people: int, times: float, rng: np.random.Generator) -> pd.DataFrame:
    names, level, rows = [f"p{number:02d}" for number in range(people)], rng.normal(0, 0.05, people), []
    for one in range(people):
        others = rng.choice([other for other in range(people) if other != one], 3, replace=False)
        for pairing, other in [("same", one)] * 10 + [("different", int(other)) for other in others]:
            height = (times if pairing == "same" else 1) * (0.4 + level[one] + level[other] + rng.normal(0, 0.05))
            rows.append((pairing, names[one], names[other], height, 10 * height, ""))
    columns = ["pairing", "identity", "other_identity", *SIMILARITY_MEASURES, "reason"]
    keys = {key: "" for key in similarity_table.SIMILARITY_CELL if key != "measure"}
    return pd.DataFrame(rows, columns=columns).assign(**keys)


# --------------------------------------------------------------------------------------------------------- localisation


def locate(people: int, repeats: int, rng: np.random.Generator) -> Rates:
    """The shares of all regions under the recogniser and every control are drawn alike; ``seen`` is of a region that
    has thrice its share."""
    found = Counter()
    for _ in range(max(1, repeats // 10)):  # a table of all regions takes long
        for name, times in (("wrong", 1), ("seen_thrice_the_share", 3)):
            table = localisation_tests(people, times, rng)
            found[name] += 10 * is_shown(table)
            found[f"{name}_found_mean"] += 10 * table["found"].mean()
    return found


def localisation_tests(people: int, times: float, rng: np.random.Generator) -> pd.DataFrame:
    """localisation.csv of one world; times : how much more the trained recogniser marks of its region."""
    kinds = [localisation.TRAINED, localisation.GENERAL, localisation.UNTRAINED, SHUFFLED, RANDOM, CENTRE]
    counts = []
    for kind in [*kinds, localisation.MEAN]:
        of_model = planted.make_counts(people, seed=int(rng.integers(2**31)))
        chosen = (of_model["region"] == "nose") & (kind == localisation.TRAINED)
        of_model["count"] = of_model["count"] * np.where(chosen, times, 1)
        of_pixels = of_model.groupby(["polarity", "layer", "threshold", "identity"])["count"].transform("sum")
        of_model["percent"] = 100 * of_model["count"] / of_pixels
        of_model["area_percent"] = 100 / of_model["region"].nunique()
        counts.append(of_model.assign(model=kind, kind=kind, world="nose", auc=np.nan))
    joined = pd.concat(counts, ignore_index=True)
    shares = localisation_table.share_models(joined, CONFIDENCE)
    found = localisation_table.find_region(joined, shares, CONFIDENCE)
    return statistics.correct(found, ["threshold"], ["compared"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=400)
    repeats, rng = parser.parse_args().repeats, np.random.default_rng(0)
    for people, (name, count) in itertools.product(
        PEOPLE,
        {"chain": chain, "groups": groups, "slopes": slopes, "similarity": similarity, "localisation": locate}.items(),
    ):
        report(f"{name}_{people}_people", count(people, repeats, rng), repeats)


if __name__ == "__main__":
    main()
