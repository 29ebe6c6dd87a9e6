"""Enrichment of the region in which a world's people differ, against the controls.

Shape letters: I identities, K cells (polarity x layer x threshold).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from leam import regions
from leam.analyses.localisation import CONTROLS, MEAN, PIXEL_CONTROLS, RECOGNISER_CONTROLS, TRAINED
from leam.analyses.regions import table as regions_table
from leam.regions import FULL
from leam.statistics import (
    Estimates,
    correct,
    interval,
    means,
    rank_biserial,
    ratio,
    signed_rank,
    standard_deviation,
)
from leam.tables import read_output, write_table


def tabulate_localisation(
    measured: list[str],
    output: str | Path,
    regions_output: str | Path,
    *,
    confidence: float = 0.95,
) -> None:
    """localisation.csv (is the region found? one row per world, polarity, layer and pixel set) and
    localisation_regions.csv (every region under every recogniser and control, the columns of regions.csv).

    measured : the files of ``measure_localisation``, one per world. Pixel sets: the top 1 % and the full activation.
    """
    found, shares = [], []
    for path in measured:
        counts = read_output(path)
        counts = counts[counts["threshold"].isin([FULL, regions.TOP_1])]
        of_world = share_models(counts, confidence)
        shares.append(of_world)
        found.append(find_region(counts, of_world, confidence))
    tested = correct(pd.concat(found, ignore_index=True), ["threshold"], ["compared"])
    tables = {output: tested.drop(columns=["deviation", "compared"]), regions_output: pd.concat(shares)}
    for table_path, table in tables.items():
        write_table(table, table_path)


def share_models(counts: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """``share_regions`` of every recogniser and control of a world, with world, kind and auc."""
    shares = []
    for model, rows in counts.groupby("model", observed=True, sort=False):
        first = rows.iloc[0]
        facts = {"world": first["world"], "kind": first["kind"], "model": model, "auc": first["auc"]}
        table = regions_table.share_regions(rows, confidence).astype(dict.fromkeys(regions_table.REGION_KEYS, str))
        shares.append(table.assign(**facts)[["world", "kind", "auc", *regions_table.REGION_COLUMNS]])
    return pd.concat(shares, ignore_index=True)


CELLS = ["polarity", "layer", "threshold"]


def find_region(counts: pd.DataFrame, shares: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Is the world's region found by the LEAM of its own recogniser? One row per polarity, layer and pixel set.

    under_general (the higher of the two), under_shuffled, ... : the region's enrichment under the controls and ``mean``
    nearest, difference : the control that comes closest, and enrichment minus its enrichment, with an interval
        over identities, who are the same under both
    p : that the shares lie above those under every control: the largest p of Wilcoxon's signed-rank tests against each
        (an intersection-union test, so which control is the nearest may be chosen after looking)
    above_chance : the interval of the enrichment lies above 1
    above_recognisers, above_random, above_centre, above_mean : the interval of the difference to each of them lies
        above 0 (to general, shuffled and untrained: all three)
    found : above chance and above every control
    """
    world = shares["world"].iloc[0]
    own = shares[shares["kind"] == TRAINED]
    table = own[own["region"] == world].drop(columns=["kind", "region"]).reset_index(drop=True)
    under = estimate_enrichment(counts[counts["region"] == world])
    for kind in (*CONTROLS, MEAN):
        table[f"under_{kind}"] = np.max([each.found.value for (of, _), each in under.items() if of == kind], axis=0)
    (trained,) = (each for (kind, _), each in under.items() if kind == TRAINED)
    gaps = {key: trained.found.minus(each.found) for key, each in under.items() if key[0] != TRAINED}
    above = {key: interval(gap, confidence)[0] > 0 for key, gap in gaps.items()}
    controls = {model: key for key in gaps for kind, model in [key] if kind != MEAN}
    table["nearest"] = np.array(list(controls))[np.argmin([gaps[key].value for key in controls.values()], axis=0)]
    tests = [_compare(trained, under[key], gaps[key], confidence) for key in controls.values()]
    table = table.join(_choose(pd.concat(tests, keys=controls), table["nearest"]))
    table["p"] = np.max([each["p"] for each in tests], axis=0)
    table["above_chance"] = table["enrichment_low"] > 1
    table["above_recognisers"] = np.all([of for (kind, _), of in above.items() if kind in RECOGNISER_CONTROLS], axis=0)
    for kind in (*PIXEL_CONTROLS, MEAN):
        table[f"above_{kind}"] = above[kind, kind]
    claims = ["above_chance", "above_recognisers", *(f"above_{kind}" for kind in PIXEL_CONTROLS)]
    table["found"] = table[claims].all(axis=1)
    return table


@dataclass(frozen=True)
class Enrichment:
    """Of one region under one recogniser or control: percent (I, K) per identity, and the enrichment over them."""

    percent: np.ndarray
    area_percent: np.ndarray  # (K,), the mean
    found: Estimates


def estimate_enrichment(counts: pd.DataFrame) -> dict[tuple[str, str], Enrichment]:
    """By (kind, model), from the region's rows of ``measure_localisation``; identities in one order under all."""
    estimates = {}
    for (kind, model), rows in counts.groupby(["kind", "model"], observed=True, sort=False):
        rows = rows.sort_values("identity", kind="stable")
        i = rows["identity"].astype(str).nunique()
        percent, area = (rows[name].to_numpy(float).reshape(i, -1) for name in ("percent", "area_percent"))
        found = means(percent).over(means(area))
        estimates[str(kind), str(model)] = Enrichment(percent, area.mean(0), found)
    return estimates


def _compare(trained: Enrichment, control: Enrichment, gap: Estimates, confidence: float) -> pd.DataFrame:
    """difference and its interval; of the shares, paired, p that the recogniser's lie above (1 where they do not), and
    the deviation of their differences: one row per cell.
    """
    low, high = interval(gap, confidence)
    apart = trained.percent - control.percent
    known = [column[~np.isnan(column)] for column in apart.T]
    spread = [standard_deviation(column) for column in known]
    return pd.DataFrame(
        {
            "difference": gap.value,
            "difference_low": low,
            "difference_high": high,
            "p": [_p_above(column) for column in known],
            "deviation": ratio(np.array(spread), trained.area_percent),
            "compared": [len(column) for column in known],
        }
    )


def _p_above(difference: np.ndarray) -> float:
    """p of the signed-rank test, 1 where the differences do not lie above 0, NaN without any."""
    if not len(difference):
        return float("nan")
    return signed_rank(difference) if rank_biserial(difference) > 0 else 1.0


def _choose(tests: pd.DataFrame, nearest: pd.Series) -> pd.DataFrame:
    """The rows of each cell's nearest control, from those of all (control, cell)."""
    return tests.loc[list(zip(nearest, nearest.index, strict=True))].reset_index(drop=True)
