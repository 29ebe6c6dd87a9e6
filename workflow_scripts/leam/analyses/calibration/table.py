"""How far the instrument can be believed, as numbers.

Shape letters: I identities, K rankings, n people of a drawn run.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from leam.analyses.calibration import (
    AGREEMENT,
    CHAIN_CELL,
    CHAIN_POWER,
    EVERYBODY,
    GAIN,
    HALVES,
    RUN_PEOPLE,
    Size,
)
from leam.analyses.occlusion import TWIN_FILL
from leam.statistics import LEVEL, interval, means, signed_rank
from leam.tables import read_output, write_table

COLUMNS = [
    "measure",
    "model",
    "world",
    *CHAIN_CELL,
    "layer",
    "part",
    "people",
    "images",
    "value",
    "low",
    "high",
    "count",
]


def tabulate_calibration(
    chains: Iterable[str],
    drops: Iterable[str],
    gains: Iterable[str],
    output: str | Path,
    *,
    size: Size,
    confidence: float = 0.95,
    seed: int = 0,
) -> None:
    """calibration.csv: one number per row, of the three measures that ``leam.analyses.calibration`` names.

    chains : files of ``measure_chain``, one per world; drops, gains : of ``measure_truth``, one per recogniser
    """
    tables = [
        *(agreements(read_output(path)) for path in drops),
        *(powers(read_output(path), size.runs, seed) for path in chains),
        *(gains_by_layer(read_output(path), confidence) for path in gains),
    ]
    write_table(pd.concat(tables, ignore_index=True).reindex(columns=COLUMNS), output)


def halves(identities: Iterable[str]) -> dict[str, list[str]]:
    """All identities, and every other one of them."""
    names = sorted(set(identities))
    return {EVERYBODY: names, HALVES[0]: names[::2], HALVES[1]: names[1::2]}


def agreements(drops: pd.DataFrame) -> pd.DataFrame:
    """Kendall's tau between the order of the rankings by their mean drop under each fill and under the twin.

    value : by placement, target, fill and part of the people; count : rankings; polarities and layers are rankings here
    """
    rows = []
    for (placement, target), table in drops.groupby(["placement", "target"], sort=False):
        for part, names in halves(table["identity"]).items():
            some = table[table["identity"].isin(names)]
            by_fill = some.pivot_table("drop", ["kind", "layer", "polarity"], "fill", aggfunc="mean").dropna()
            for fill in by_fill.columns.drop(TWIN_FILL):
                tau = kendalltau(by_fill[fill], by_fill[TWIN_FILL]).statistic
                named = {"fill": fill, "placement": placement, "target": target, "part": part}
                rows.append(named | {"value": tau, "count": len(by_fill), "people": len(names)})
    return pd.DataFrame(rows).assign(measure=AGREEMENT, model=drops["model"].iloc[0])


def powers(chain: pd.DataFrame, runs: int, seed: int) -> pd.DataFrame:
    """Of runs of n people who are drawn from the measured ones, the share that calls the world person-specific.

    A run does so where Wilcoxon's signed-rank test of own - other has p below LEVEL and the mean lies above 0, as the
    chain's decisive step is tested. value : percent; low, high : 95 % interval of that share, by the number of runs;
    count : people who were measured, of whom each run takes some with replacement
    """
    rows = []
    for cell, table in chain.groupby([*CHAIN_CELL, "images"], sort=False):
        difference = (table["own"] - table["other"]).dropna().to_numpy(float)
        for people in RUN_PEOPLE:
            share = 100 * share_of_runs(difference, people, runs, seed)
            margin = 196 * np.sqrt(max(share * (100 - share), 100 / runs) / 1e4 / runs)
            named = dict(zip([*CHAIN_CELL, "images"], cell, strict=True))
            ends = {"low": max(share - margin, 0), "high": min(share + margin, 100)}
            rows.append(named | {"people": people, "value": share, "count": len(difference)} | ends)
    first = chain.iloc[0]
    return pd.DataFrame(rows).assign(measure=CHAIN_POWER, model=first["model"], world=first["world"])


def share_of_runs(difference: np.ndarray, people: int, runs: int, seed: int) -> float:
    """Of ``runs`` samples of so many people, with replacement, the share in which the difference is shown."""
    if not len(difference):
        return float("nan")
    drawn = np.random.default_rng(seed).choice(difference, (runs, people))
    return float(np.mean([sample.mean() > 0 and signed_rank(sample) < LEVEL for sample in drawn]))


def gains_by_layer(gains: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """The mean gain over identities with its interval, by placement, target, polarity, layer and part of the people."""
    rows = []
    for part, names in halves(gains["identity"]).items():
        some = gains[gains["identity"].isin(names)]
        for cell, table in some.groupby(["placement", "target", "polarity", "layer"], sort=False):
            values = table["gain"].to_numpy(float)[:, None]
            low, high = interval(means(values), confidence)
            named = dict(zip(["placement", "target", "polarity", "layer"], cell, strict=True))
            number = {"value": np.nanmean(values), "low": low[0], "high": high[0]}
            rows.append(named | number | {"part": part, "people": len(names), "count": len(names)})
    return pd.DataFrame(rows).assign(measure=GAIN, model=gains["model"].iloc[0])
