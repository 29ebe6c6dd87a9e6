"""The paper's table 24 and the slopes over years. Shape letters: I identities."""

import logging

import numpy as np
import pandas as pd

from leam import paper
from leam.analyses.ages import AGE_KEYS, NO_AGES, PAPER_PERCENT
from leam.controls import IMAGE
from leam.statistics import CORRECTED, correct, mean_interval, signed_rank, standard_deviation
from leam.tables import read_output, write_table

log = logging.getLogger(__name__)
YEAR_VALUES = ["cosine", "cosine_low", "cosine_high", "pooled_cosine", "pairs", "identities"]
YEARS_COLUMNS = ["model", *AGE_KEYS, "age_difference_years", *YEAR_VALUES, "untrained"]
YEARS_TYPES = dict.fromkeys(["percent", "age_difference_years", *YEAR_VALUES], float)  # where there is no row
SLOPES = [
    *("cosine_per_decade", "cosine_per_decade_low", "cosine_per_decade_high"),
    *("falling_percent", "identities", "p"),
]


def tabulate_ages(
    ages: dict[str, list[str]],
    outputs: dict[str, str],
    *,
    fill: str,
    confidence: float = 0.95,
) -> None:
    """Table 24 beside the paper's, and how fast the similarity falls with the difference in age.

    ages : per model the files of ``measure_ages``; outputs : paths by the names table24 and age_slopes; fill : of
    table24

    table24 : cosine by difference in years: the mean over identities of the identity's mean, with its interval, and
    pooled_cosine over all pairs. The paper's numbers are of pairs under its guide's maps at 1 %.
    age_slopes : the mean over identities of the identity's slope, cosine per ten years, with its interval; p of
    Wilcoxon's signed-rank test that it is 0, Holm's correction over the table.
    """
    years, slopes = [], []
    for model, paths in ages.items():
        table = average_sides(pd.concat([read_output(path) for path in paths], ignore_index=True))
        if not len(table):
            log.warning("%s: %s", model, NO_AGES)
        for cell, rows in table.groupby(AGE_KEYS, sort=False):
            keys = {
                "model": model,
                **dict(zip(AGE_KEYS, cell, strict=True)),
                "untrained": bool(rows["untrained"].any()),
            }
            if keys["fill"] in ("", fill):
                years.append(average_years(rows, confidence).assign(**keys))
            slopes.append(keys | average_slopes(rows, confidence))
    of_years = pd.concat(years, ignore_index=True) if years else pd.DataFrame(columns=YEARS_COLUMNS).astype(YEARS_TYPES)
    tested = pd.DataFrame(slopes, columns=["model", *AGE_KEYS, *SLOPES, "deviation", "untrained"]).assign(table="")
    corrected = correct(tested, ["table"], ["identities"])
    for name, table in {
        "table24": _beside_paper(of_years),
        "age_slopes": corrected[["model", *AGE_KEYS, *SLOPES, *CORRECTED, "untrained"]],
    }.items():
        write_table(table, outputs[name])


def average_sides(table: pd.DataFrame) -> pd.DataFrame:
    """One row per cell and unordered pair, from one per ordered pair: ``cosine`` is the mean of both, each of which has
    the other image occluded, or of the one that is there.
    """
    names = np.sort(table[["image", "partner"]].to_numpy(str), axis=1)
    table = table.assign(image=names[:, 0], partner=names[:, 1])
    keys = [name for name in table if name != "cosine"]
    return table.groupby(keys, sort=False, observed=True)["cosine"].mean().reset_index()


def average_years(rows: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """One row per difference in years: cosine (mean over identities), its interval, and the pairs' own mean."""
    of_identity = rows.pivot_table(index="identity", columns="age_difference_years", values="cosine", aggfunc="mean")
    grouped = rows.groupby("age_difference_years")["cosine"]
    table = grouped.agg(pooled_cosine="mean", pairs="size").reset_index()
    found = mean_interval(of_identity.to_numpy(float), confidence, (-1, 1))
    table["cosine"], table["cosine_low"], table["cosine_high"] = found
    return table.assign(identities=of_identity.notna().sum().to_numpy())


def average_slopes(rows: pd.DataFrame, confidence: float) -> dict[str, float]:
    """Least-squares slope of the cosine on the difference in age within each identity, averaged over identities."""
    slopes = np.array([_slope(own) for _, own in rows.groupby("identity")])
    slopes = slopes[~np.isnan(slopes)]
    mean, low, high = mean_interval(slopes[:, None], confidence)
    return {
        "cosine_per_decade": float(mean[0]),
        "cosine_per_decade_low": float(low[0]),
        "cosine_per_decade_high": float(high[0]),
        "falling_percent": 100 * float((slopes < 0).mean()) if len(slopes) else float("nan"),
        "identities": len(slopes),
        "p": signed_rank(slopes),
        "deviation": standard_deviation(slopes),
    }


def _slope(own: pd.DataFrame) -> float:
    """Cosine per ten years; NaN where all differences are the same."""
    years = own["age_difference_years"].to_numpy(float) / 10
    years = years - years.mean()
    spread = (years**2).sum()
    return float((years * own["cosine"].to_numpy(float)).sum() / spread) if spread > 0 else float("nan")


def _beside_paper(table: pd.DataFrame) -> pd.DataFrame:
    theirs = paper.read_table("table24").rename(columns={"cosine_similarity": "cosine"})
    theirs = theirs.assign(kind=IMAGE, percent=PAPER_PERCENT)
    keys = ["model", "kind", "percent", "age_difference_years"]
    found = paper.beside_models(table, theirs, keys, "cosine")
    values = ["cosine", "cosine_low", "cosine_high", "pooled_cosine", "paper", "difference", "paper_of"]
    return found[["model", *AGE_KEYS, "age_difference_years", *values, "pairs", "identities", "untrained"]]
