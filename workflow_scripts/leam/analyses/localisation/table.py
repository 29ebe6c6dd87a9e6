"""Enrichment of the region in which a world's people differ, against the controls.

Shape letters: I identities, B bootstrap samples, K cells (polarity x layer x threshold).
"""

from pathlib import Path

import numpy as np
import pandas as pd

from leam import files, regions, statistics
from leam.analyses.localisation import CONTROLS, MEAN, PIXEL_CONTROLS, RECOGNISER_CONTROLS, TRAINED
from leam.analyses.regions import table as regions_table
from leam.regions import FULL


def tabulate_localisation(
    measured: list[str],
    output: str | Path,
    regions_output: str | Path,
    *,
    bootstrap_samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> None:
    """localisation.csv (is the region found? one row per world, polarity, layer and pixel set) and
    localisation_regions.csv (every region under every recogniser and control, the columns of regions.csv).

    measured : the files of ``measure_localisation``, one per world. Pixel sets: the top 1 % and the full activation.
    """
    found, shares = [], []
    for path in measured:
        counts = pd.read_parquet(path)
        counts = counts[counts["threshold"].isin([FULL, regions.TOP_1])]
        of_world = share_models(counts, bootstrap_samples, confidence, seed)
        shares.append(of_world)
        found.append(find_region(counts, of_world, bootstrap_samples, confidence, seed))
    for table_path, rows in ((output, found), (regions_output, shares)):
        with files.whole_file(table_path) as part:
            pd.concat(rows).to_csv(part, index=False, float_format="%.6g")


def share_models(counts: pd.DataFrame, samples: int, confidence: float, seed: int) -> pd.DataFrame:
    """``tables.share_regions`` of every recogniser and control of a world, with world, kind and auc."""
    shares = []
    for model, rows in counts.groupby("model", observed=True, sort=False):
        first = rows.iloc[0]
        facts = {"world": first["world"], "kind": first["kind"], "model": model, "auc": first["auc"]}
        table = regions_table.share_regions(rows, samples, confidence, seed).astype(
            dict.fromkeys(regions_table.REGION_KEYS, str)
        )
        shares.append(table.assign(**facts)[["world", "kind", "auc", *regions_table.REGION_COLUMNS]])
    return pd.concat(shares, ignore_index=True)


CELLS = ["polarity", "layer", "threshold"]


def find_region(counts: pd.DataFrame, shares: pd.DataFrame, samples: int, confidence: float, seed: int) -> pd.DataFrame:
    """Is the world's region found by the LEAM of its own recogniser? One row per polarity, layer and pixel set.

    under_general (the higher of the two), under_shuffled, ... : the region's enrichment under the controls and ``mean``
    nearest, difference : the control that comes closest, and enrichment minus its enrichment, with an interval
        bootstrapped over identities, who are the same under both
    above_chance : the interval of the enrichment lies above 1
    above_recognisers, above_random, above_centre, above_mean : the interval of the difference to each of them lies
        above 0 (to general, shuffled and untrained: all three)
    found : above chance and above every control
    """
    world = shares["world"].iloc[0]
    own = shares[shares["kind"] == TRAINED]
    table = own[own["region"] == world].drop(columns=["kind", "region"]).reset_index(drop=True)
    under = resample_enrichment(counts[counts["region"] == world], samples, seed)
    for kind in (*CONTROLS, MEAN):
        table[f"under_{kind}"] = np.max([values[0] for (other, _), values in under.items() if other == kind], axis=0)
    (trained,) = (values for (kind, _), values in under.items() if kind == TRAINED)
    gaps = {key: trained - values for key, values in under.items() if key[0] != TRAINED}
    above = {key: statistics.interval(gap[1:], confidence)[0] > 0 for key, gap in gaps.items()}
    table = pd.concat(
        [table, _nearest({m: gap for (kind, m), gap in gaps.items() if kind != MEAN}, confidence)], axis=1
    )
    table["above_chance"] = table["enrichment_low"] > 1
    table["above_recognisers"] = np.all([of for (kind, _), of in above.items() if kind in RECOGNISER_CONTROLS], axis=0)
    for kind in (*PIXEL_CONTROLS, MEAN):
        table[f"above_{kind}"] = above[kind, kind]
    claims = ["above_chance", "above_recognisers", *(f"above_{kind}" for kind in PIXEL_CONTROLS)]
    table["found"] = table[claims].all(axis=1)
    return table


def resample_enrichment(counts: pd.DataFrame, samples: int, seed: int) -> dict[tuple[str, str], np.ndarray]:
    """Enrichment of one region by (kind, model): (1 + B, K), first with every identity once, then bootstrapped.

    counts : the region's rows of ``measure_localisation``; the same identities are drawn under every model
    """
    found = {}
    for (kind, model), rows in counts.groupby(["kind", "model"], observed=True, sort=False):
        rows = rows.sort_values("identity", kind="stable")
        i = rows["identity"].astype(str).nunique()
        percent, area = (rows[name].to_numpy(float).reshape(i, -1) for name in ("percent", "area_percent"))
        weights = np.vstack([statistics.equal_weights(i), statistics.bootstrap_weights(i, samples, seed)])
        found[str(kind), str(model)] = statistics.ratio(statistics.weighted_means(weights, percent), weights @ area)
    return found


def _nearest(gaps: dict[str, np.ndarray], confidence: float) -> pd.DataFrame:
    """The smallest of the differences (1 + B, K) per cell, whose it is, and its interval."""
    nearest = np.argmin([gap[0] for gap in gaps.values()], axis=0)  # (K,)
    gap = np.stack(list(gaps.values()), -1)[:, np.arange(len(nearest)), nearest]  # (1 + B, K)
    low, high = statistics.interval(gap[1:], confidence)
    names = np.array(list(gaps))[nearest]
    return pd.DataFrame({"nearest": names, "difference": gap[0], "difference_low": low, "difference_high": high})
