"""regions.csv and the paper's tables 1, 2 and 10 to 20, ours beside.

Shape letters: I identities, K cells (polarity x layer x threshold x region), R regions.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from leam import paper
from leam.regions import FULL, REGIONS, TOP_1, WHOLE_MODEL, share_percents
from leam.statistics import PERCENTS, interval, means, ratio_interval
from leam.tables import read_output, write_table

REGION_KEYS = ["polarity", "layer", "threshold", "region"]


def share_regions(counts: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """Shares of the regions of one model, from ``regions.count_regions``'s table: one row per cell.

    percent : mean over identities of the identity's share, with its interval; pooled_percent : all
    identities' pixels together; area_percent : the region's share of all pixels; attainable_percent : mean over
    identities of the largest share that the region has room for; enrichment : percent / area_percent (NaN for a region
    without area); rank : of the enrichment among the ``regions`` that have one in that pixel set, 1 is the highest.
    All are NaN for a region that the label maps cannot have.
    Intervals need two identities, and are NaN with one.
    """
    counts = counts.sort_values("identity", kind="stable")
    i = counts["identity"].astype(str).nunique()
    cells = counts.iloc[: len(counts) // max(i, 1)][REGION_KEYS].reset_index(drop=True)
    shape = i, len(cells)
    percent, area, attainable = (
        means(counts[name].to_numpy(float).reshape(shape)) for name in ("percent", "area_percent", "attainable_percent")
    )
    count = counts["count"].to_numpy(float).reshape(shape).sum(0)
    table = cells.assign(percent=percent.value, area_percent=area.value)
    pooled = share_percents(count.reshape(-1, len(REGIONS))).ravel()
    table["pooled_percent"] = np.where(np.isnan(area.value), np.nan, pooled)
    table["attainable_percent"] = attainable.value
    enrichment = percent.over(area)
    table["enrichment"] = enrichment.value
    of_set = table.groupby(REGION_KEYS[:-1], sort=False, observed=True)["enrichment"]
    table["rank"] = of_set.rank(ascending=False, method="min").astype("Int64")
    table["regions"] = of_set.transform("count")
    for name, found in (("percent", percent), ("area_percent", area)):
        table[f"{name}_low"], table[f"{name}_high"] = interval(found, confidence, PERCENTS)
    table["enrichment_low"], table["enrichment_high"] = ratio_interval(enrichment, confidence)
    table["identities"] = i
    for name in ("pairs", "empty_pairs"):
        table[name] = counts[name].to_numpy().reshape(shape).sum(0)
    table["untrained"] = bool(counts["untrained"].any())
    return table


REGION_COLUMNS = [
    "model",
    *REGION_KEYS,
    "percent",
    "percent_low",
    "percent_high",
    "pooled_percent",
    "area_percent",
    "area_percent_low",
    "area_percent_high",
    "attainable_percent",
    "enrichment",
    "enrichment_low",
    "enrichment_high",
    "rank",
    "regions",
    "identities",
    "pairs",
    "empty_pairs",
    "untrained",
]


def tabulate_regions(
    counts: dict[str, str],
    outputs: dict[str, str],
    *,
    confidence: float = 0.95,
) -> None:
    """regions.csv (everything, long form) and the paper's tables 1, 2, 10, 11 and 12-20 beside ours, both polarities.

    counts : the file of ``count_regions`` per model; outputs : paths by the names regions, table01, table02, table10,
    table11, table12_to_20
    """
    tables = []
    for model, path in counts.items():
        table = share_regions(read_output(path), confidence)
        tables.append(table.assign(model=model)[REGION_COLUMNS].astype(dict.fromkeys(REGION_KEYS, str)))
    regions = pd.concat(tables, ignore_index=True)
    for name, table in {
        "regions": regions,
        "table01": layer_table(regions),
        "table02": first_layer_table(regions),
        "table10": model_share_table(regions, FULL),
        "table11": model_share_table(regions, TOP_1),
        "table12_to_20": threshold_table(regions),
    }.items():
        write_table(table, outputs[name])


def _beside_paper(regions: pd.DataFrame, table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Rows of regions.csv with the paper's percent, the difference and the regions' areas; keys first."""
    joined = paper.beside_models(regions, table, keys, "percent")
    joined["title"] = joined["region"].map(dict(zip(REGIONS, paper.REGION_TITLES, strict=True)))
    joined["paper_area_percent"] = joined["region"].map(paper.base_rates())
    first = ["model", *REGION_KEYS, "title", "percent", "paper", "difference", "paper_of"]
    return joined[[*first, "area_percent", "paper_area_percent", "untrained"]]


def layer_table(regions: pd.DataFrame) -> pd.DataFrame:
    """Paper table 1, its CF_R18 beside every model: percent per layer and region; full activation and top 1 %."""
    chosen = regions[(regions["layer"] != WHOLE_MODEL) & regions["threshold"].isin([FULL, TOP_1])]
    return _beside_paper(chosen, paper.read_table("table01").assign(model="CF_R18"), ["model", "layer", "region"])


def first_layer_table(regions: pd.DataFrame) -> pd.DataFrame:
    """Paper table 2: percent per model and region in the first layer; full activation and top 1 %."""
    first = regions.groupby("model", sort=False)["layer"].transform("first")
    chosen = regions[(regions["layer"] == first) & regions["threshold"].isin([FULL, TOP_1])]
    return _beside_paper(chosen, paper.read_table("table02"), ["model", "region"])


def model_share_table(regions: pd.DataFrame, threshold: str) -> pd.DataFrame:
    """Paper tables 10 (full) and 11 (top 1 %): percent per model and region over all layers."""
    chosen = regions[(regions["layer"] == WHOLE_MODEL) & (regions["threshold"] == threshold)]
    return _beside_paper(chosen, paper.read_table({FULL: "table10", TOP_1: "table11"}[threshold]), ["model", "region"])


def threshold_table(regions: pd.DataFrame) -> pd.DataFrame:
    """Paper tables 12-20: percent per model, region and size of the pixel set over all layers.

    threshold_percent : top p % of the grid; 100 is the full activation, as in the paper
    """
    chosen = with_threshold_percent(regions[regions["layer"] == WHOLE_MODEL])
    table = _beside_paper(chosen, paper.shares_by_threshold(), ["model", "region", "threshold_percent"])
    table.insert(4, "threshold_percent", with_threshold_percent(table)["threshold_percent"])
    order = ["model", "polarity", "region", "threshold_percent"]
    keys = {"model": _places(table["model"]), "region": _places(REGIONS), "polarity": _places(table["polarity"])}
    return table.sort_values(order, key=lambda column: column.map(keys.get(column.name, float)), kind="stable")


def with_threshold_percent(regions: pd.DataFrame) -> pd.DataFrame:
    """With a column of the thresholds as numbers, the full activation as 100, as the paper writes it."""
    return regions.assign(threshold_percent=regions["threshold"].replace(FULL, "100").astype(float))


def _places(values: Iterable[str]) -> dict[str, int]:
    """The place of each value in the order in which they come."""
    return {value: place for place, value in enumerate(dict.fromkeys(values))}
