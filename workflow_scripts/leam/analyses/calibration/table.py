"""How far the instrument can be believed, as numbers, and what that allows the headline to say.

Shape letters: I identities, K rankings, n people of a drawn run.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from leam.analyses.calibration import (
    AGREEMENT,
    CANNOT_TELL,
    CELL,
    CHAIN_WORLDS,
    ENOUGH_POWER,
    EVERYBODY,
    GAIN,
    HALVES,
    MOST_FALSE,
    NOT_SPECIFIC,
    PERSON_SPECIFIC,
    POWER,
    RUN_PEOPLE,
    Size,
)
from leam.analyses.occlusion import TWIN_FILL
from leam.analyses.occlusion.table import PRIMARY_STEP, STEP
from leam.analyses.retention import read_retention
from leam.files import whole_file
from leam.statistics import LEVEL, holm, interval, means, signed_rank
from leam.tables import read_output, write_table

COLUMNS = ["measure", "model", "world", *CELL, "layer", "part", "people", "images", "value", "low", "high", "count"]


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
    for cell, table in chain.groupby([*CELL, "images"], sort=False):
        difference = (table["own"] - table["other"]).dropna().to_numpy(float)
        for people in RUN_PEOPLE:
            share = 100 * share_of_runs(difference, people, runs, seed)
            margin = 196 * np.sqrt(max(share * (100 - share), 100 / runs) / 1e4 / runs)
            named = dict(zip([*CELL, "images"], cell, strict=True))
            ends = {"low": max(share - margin, 0), "high": min(share + margin, 100)}
            rows.append(named | {"people": people, "value": share, "count": len(difference)} | ends)
    first = chain.iloc[0]
    return pd.DataFrame(rows).assign(measure=POWER, model=first["model"], world=first["world"])


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


# ------------------------------------------------------------------------------------------------------- the verdict

VERDICT_COLUMNS = [
    *("model", "fill", "polarity", "verdict", "difference", "difference_low", "difference_high", "rank_biserial"),
    *("p", "p_holm", "identities", "images", "power_percent", "false_percent", "sentence"),
]


def tabulate_verdict(
    person_specific: str | Path,
    retention: str | Path,
    calibration: str | Path | None,
    output: str | Path,
    text: str | Path,
    *,
    percent: float,
    placement: str,
    target: str,
) -> None:
    """verdict.csv: is it person-specific? One row per recogniser, fill and polarity; verdict.txt: the same in words.

    person_specific, retention : tables of the run; calibration : calibration.csv; None where there is none
    percent : the headline's; placement, target : of the run's maps
    The chain's decisive step, under each recogniser's first layer, with Holm's correction over the recognisers.
    "person-specific": shown, and hardly ever shown where it is not so; "not person-specific": not shown by a run that
    would have shown a signature; else "cannot tell".
    """
    steps = read_output(person_specific)
    chosen = (steps["step"] == STEP.format(*PRIMARY_STEP)) & (steps["layer_number"] == 1)
    steps = steps[chosen & (steps["percent"] == percent)]
    kept = read_retention(retention)[0]["kept"]
    images = float(kept[kept >= 2].median()) if (kept >= 2).any() else float("nan")
    known = None if calibration is None else read_output(calibration)
    rows = []
    for (fill, polarity), tests in steps.groupby(["fill", "polarity"], sort=False):
        corrected = holm(tests["p"].to_numpy(float))
        for (_, test), p_holm in zip(tests.iterrows(), corrected, strict=True):
            cell = {"fill": fill, "placement": placement, "target": target, "polarity": polarity}
            power, false = (
                chances(known, cell, float(test["identities"]), images) if known is not None else (np.nan, np.nan)
            )
            row = test.to_dict() | {"images": images, "power_percent": power, "false_percent": false, "p_holm": p_holm}
            row["verdict"] = judge(row)
            rows.append(row | {"sentence": say_verdict(row)})
    table = pd.DataFrame(rows).reindex(columns=VERDICT_COLUMNS)
    write_table(table, output)
    with whole_file(text) as part:
        part.write_text(describe_verdicts(table))


def chances(calibration: pd.DataFrame, cell: dict[str, str], people: float, images: float) -> tuple[float, float]:
    """Percent of runs of as many people that show a world of signatures, and of those that show a one-region world.

    Between the numbers of people that were tried by linear interpolation, beyond them those of the nearest; images :
    the nearest number that was tried. NaN where the cell was not calibrated.
    """
    rows = calibration[calibration["measure"] == POWER]
    for name, value in cell.items():
        rows = rows[rows[name] == value]
    if not len(rows):
        return float("nan"), float("nan")
    tried = rows["images"].unique()
    rows = rows[rows["images"] == tried[np.abs(tried - (tried[0] if np.isnan(images) else images)).argmin()]]
    of_worlds = rows.pivot_table("value", "people", "world").sort_index()
    signature, one_region = of_worlds[CHAIN_WORLDS[0]], of_worlds.drop(columns=CHAIN_WORLDS[0]).mean(axis=1)
    return tuple(float(np.interp(people, of_worlds.index, each)) for each in (signature, one_region))  # type: ignore[return-value]


def judge(row: dict) -> str:
    """The verdict of a row of verdict.csv."""
    if row["p_holm"] < LEVEL and row["difference"] > 0:
        return PERSON_SPECIFIC if row["false_percent"] <= 100 * MOST_FALSE else CANNOT_TELL
    return NOT_SPECIFIC if row["power_percent"] >= 100 * ENOUGH_POWER else CANNOT_TELL


def say_verdict(row: dict) -> str:
    """Why the verdict is what it is, in one sentence."""
    effect = f"{row['difference']:+.3f} ({row['difference_low']:+.3f} to {row['difference_high']:+.3f})"
    shown = row["p_holm"] < LEVEL
    if np.isnan(row["power_percent"]):
        return f"{effect}, {'shown' if shown else 'not shown'}; not calibrated"
    power = f"such a run finds a world of signatures in {row['power_percent']:.0f} %"
    false = f"calls a one-region world person-specific in {row['false_percent']:.0f} % of cases"
    return f"{effect}, {'shown' if shown else 'not shown'}; {power} and {false}"


def describe_verdicts(table: pd.DataFrame) -> str:
    """The verdicts in words: a line per recogniser, fill and polarity, below one that says what they are about."""
    if not len(table):
        return "Is it person-specific? There was nobody to ask it of.\n"
    first = table.iloc[0]
    images = "" if np.isnan(first["images"]) else f" with {first['images']:g} images each"
    people = f"{first['identities']:.0f} people{images}"
    lines = [f"Is it person-specific? {people}; drop under the own mean map minus drop under other people's:"]
    lines += [
        f"  {row['model']}, {row['fill']}, {row['polarity']}: {str(row['verdict']).upper()} ({row['sentence']})"
        for _, row in table.iterrows()
    ]
    return "\n".join([*lines, ""])
