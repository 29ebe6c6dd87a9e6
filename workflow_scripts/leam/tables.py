"""The tables: long form for further work, and the paper's tables with ours beside.

Shape letters: I identities, B bootstrap samples, K cells (polarity x layer x threshold x region), R regions.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from leam import paper, storage
from leam.demographics import read_demographics
from leam.regions import FULL, REGION_TITLES, REGIONS, TOP_1, WHOLE_MODEL

log = logging.getLogger(__name__)

CELL = ["polarity", "layer", "threshold", "region"]


# ---------------------------------------------------------------------------------------------------------- regions


def bootstrap_weights(identities: int, samples: int, seed: int) -> np.ndarray:
    """(B, I) weights that sum to 1: identities drawn with replacement, the unit of inference (METHOD 2.7)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(identities, np.full(identities, 1 / identities), samples) / identities


def weighted_means(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Means over identities, those without a value (NaN) left out: (B, I), (I, K) -> (B, K)."""
    known = ~np.isnan(values)
    mass = weights @ known
    total = weights @ np.where(known, values, 0)
    return np.divide(total, mass, out=np.full(total.shape, np.nan), where=mass > 0)


def interval(samples: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval over bootstrap samples (B, K) -> two (K,); NaN where a cell has no samples."""
    tails = [50 * (1 - confidence), 50 * (1 + confidence)]
    known = ~np.isnan(samples).all(0)
    low_high = np.full((2, samples.shape[1]), np.nan)
    low_high[:, known] = np.nanpercentile(samples[:, known], tails, axis=0)
    return low_high[0], low_high[1]


def share_regions(counts: pd.DataFrame, samples: int = 2000, confidence: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Shares of the regions of one model, from ``regions.count_regions``'s table: one row per cell.

    percent : mean over identities of the identity's share, with its bootstrap interval; pooled_percent : all
    identities' pixels together; area_percent : the region's share of all pixels; enrichment : percent / area_percent
    (NaN for a region without area). Intervals need two identities, and are NaN with one.
    """
    counts = counts.sort_values("identity", kind="stable")
    i = counts["identity"].astype(str).nunique()
    cells = counts.iloc[: len(counts) // i][CELL].reset_index(drop=True)
    percent, area, count = (
        counts[name].to_numpy(float).reshape(i, -1) for name in ("percent", "area_percent", "count")
    )
    once = np.full((1, i), 1 / i)
    table = cells.assign(percent=weighted_means(once, percent)[0], area_percent=area.mean(0))
    shape = (-1, len(REGIONS))
    pooled = count.sum(0).reshape(shape)
    sums = pooled.sum(1, keepdims=True)
    table["pooled_percent"] = np.divide(100 * pooled, sums, out=np.full(pooled.shape, np.nan), where=sums > 0).ravel()
    table["enrichment"] = _ratio(table["percent"].to_numpy(), table["area_percent"].to_numpy())
    weights = bootstrap_weights(i, samples, seed) if i > 1 else np.full((1, i), np.nan)
    drawn, drawn_area = weighted_means(weights, percent), weights @ area
    for name, values in (("percent", drawn), ("area_percent", drawn_area), ("enrichment", _ratio(drawn, drawn_area))):
        table[f"{name}_low"], table[f"{name}_high"] = interval(values, confidence)
    table["identities"] = i
    for name in ("pairs", "empty_pairs"):
        table[name] = counts[name].to_numpy().reshape(i, -1).sum(0)
    table["untrained"] = bool(counts["untrained"].iloc[0])
    return table


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.divide(numerator, denominator, out=np.full(shape, np.nan), where=denominator > 0)


REGION_COLUMNS = [
    "model",
    *CELL,
    "percent",
    "percent_low",
    "percent_high",
    "pooled_percent",
    "area_percent",
    "area_percent_low",
    "area_percent_high",
    "enrichment",
    "enrichment_low",
    "enrichment_high",
    "identities",
    "pairs",
    "empty_pairs",
    "untrained",
]


def tabulate_regions(
    counts: dict[str, str],
    outputs: dict[str, str],
    *,
    bootstrap_samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> None:
    """regions.csv (everything, long form) and the paper's tables 1, 2, 10, 11 and 12-20 beside ours, both polarities.

    counts : the file of ``count_regions`` per model; outputs : paths by the names regions, table01, table02, table10,
    table11, table12_to_20
    """
    tables = []
    for model, path in counts.items():
        table = share_regions(pd.read_parquet(path), bootstrap_samples, confidence, seed)
        tables.append(table.assign(model=model)[REGION_COLUMNS].astype(dict.fromkeys(CELL, str)))
    regions = pd.concat(tables, ignore_index=True)
    for name, table in {
        "regions": regions,
        "table01": layer_table(regions),
        "table02": first_layer_table(regions),
        "table10": model_table(regions, FULL),
        "table11": model_table(regions, TOP_1),
        "table12_to_20": threshold_table(regions),
    }.items():
        with storage.whole_file(outputs[name]) as part:
            table.to_csv(part, index=False, float_format="%.6g")


def _beside_paper(regions: pd.DataFrame, table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Rows of regions.csv with the paper's percent, the difference and the regions' areas; keys first."""
    joined = paper.beside_models(regions, table, keys, "percent")
    joined["title"] = joined["region"].map(dict(zip(REGIONS, REGION_TITLES, strict=True)))
    joined["paper_area_percent"] = joined["region"].map(paper.base_rates())
    first = ["model", *CELL, "title", "percent", "paper", "difference", "paper_of"]
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


def model_table(regions: pd.DataFrame, threshold: str) -> pd.DataFrame:
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


# ----------------------------------------------------------------------------------------------------------- groups


def tabulate_groups(
    counts: dict[str, str],
    demographics: str | Path,
    output: str | Path,
    *,
    polarity: str,
    bootstrap_samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> None:
    """groups.csv: the whole model's shares for each gender and ethnicity, full activation and top 1 %, one polarity.

    Identities without a value in the demographics table, or without a row there, form the group "unknown"; the log says
    how many.
    """
    people = read_demographics(demographics)
    tables = []
    for model, path in counts.items():
        table = pd.read_parquet(path)
        chosen = (table["polarity"] == polarity) & (table["layer"] == WHOLE_MODEL)
        table = table[chosen & table["threshold"].isin([FULL, TOP_1])]
        for attribute in people.columns:
            groups = table["identity"].astype(str).map(people[attribute]).replace("", np.nan).fillna("unknown")
            named, nameless = table["identity"].astype(str), groups == "unknown"
            log.info(
                "%s: %d of %d identities have no %s in the table of people",
                model,
                named[nameless].nunique(),
                named.nunique(),
                attribute,
            )
            for group, rows in table.groupby(groups):
                shares = share_regions(rows, bootstrap_samples, confidence, seed)
                tables.append(shares.assign(model=model, attribute=attribute, group=group))
    columns = ["model", "attribute", "group", *REGION_COLUMNS[1:]]
    with storage.whole_file(output) as part:
        pd.concat(tables)[columns].to_csv(part, index=False, float_format="%.6g")


# -------------------------------------------------------------------------------------------------------- retention


def tabulate_retention(
    links: str | Path,
    faces: Iterable[str],
    maps: dict[str, list[str]],
    retention: str | Path,
    discarded: str | Path,
) -> None:
    """retention.csv (per identity and in total: linked, kept, discarded) and discarded.csv (each with its reason).

    Raises ValueError when an image was lost: linked must equal kept + discarded for every identity (METHOD 2.1).
    """
    linked = pd.read_parquet(links)
    linked = linked[linked["image"] != ""].groupby("identity").size()
    kept, rows = {}, []
    for path in faces:
        with storage.open_shard(path, "faces") as shard:
            kept |= {identity: len(storage.read_images(shard, identity)) for identity in storage.identities(shard)}
            rows += [("faces", row.identity, row.image, row.reason) for row in storage.read_discarded(shard)]
    lost = pd.DataFrame(rows, columns=["stage", "identity", "image", "reason"])
    table = pd.DataFrame({"linked": linked, "kept": pd.Series(kept, dtype=int)}).fillna(0).astype(int)
    table["discarded"] = lost[lost["image"] != ""].groupby("identity").size().reindex(table.index, fill_value=0)
    _check_sums(table)
    table.loc["all"] = table.sum()
    table["kept_percent"] = (100 * table["kept"] / table["linked"]).round(2)
    for model, paths in maps.items():
        for path in paths:
            with storage.open_shard(path, "maps") as shard:
                found = storage.read_discarded(shard)
            extra = [(f"maps/{model}", row.identity, row.image, row.reason) for row in found]
            lost = pd.concat((lost, pd.DataFrame(extra, columns=lost.columns)), ignore_index=True)
    with storage.whole_file(retention) as part:
        table.rename_axis("identity").reset_index().to_csv(part, index=False)
    with storage.whole_file(discarded) as part:
        lost.to_csv(part, index=False)


def _check_sums(table: pd.DataFrame) -> None:
    wrong = table[table["linked"] != table["kept"] + table["discarded"]]
    if len(wrong):
        first = wrong.iloc[0]
        raise ValueError(
            f"images of {wrong.index[0]} were lost: {first['linked']} linked, but {first['kept']} kept + "
            f"{first['discarded']} discarded (and {len(wrong) - 1} more identities)"
        )


# ------------------------------------------------------------------------------------------------------- similarity

SIMILARITY_CELL = ["kind", "layer", "region", "polarity", "frame", "part", "measure"]
SIMILARITY_COUNTS = ["pairs_same", "pairs_different", "no_landmarks", "empty"]
PAPER_SIMILARITY = {  # paper table: our pairing and measure, and the paper's name of the value
    "table03": ("same", "bc", "bc"),
    "table04": ("different", "bc", "bc"),
    "table05": ("same", "emd_px", "emd"),
    "table06": ("different", "emd_px", "emd"),
}


def compare_pairings(
    pairs: Iterable[pd.DataFrame], samples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Same against different people under one model, from tables of ``similarity.measure_similarity``.

    One row per cell (SIMILARITY_CELL): ``same`` and ``different``, the means over identities of an identity's mean over
    its pairs; ``ratio``, same / different; each with its bootstrap interval over identities (NaN with one identity).
    Besides, how many pairs were measured, and how many not, for want of landmarks or of a map that is not empty. What
    was not asked for has no row.
    """
    means = pd.concat([_mean_by_identity(table) for table in pairs], ignore_index=True)
    keys = [*SIMILARITY_CELL, "pairing", "identity"]
    counts = means.groupby(SIMILARITY_CELL, sort=False)[SIMILARITY_COUNTS].sum()
    table = counts[counts.sum(axis=1) > 0].reset_index()
    wide = means.set_index(keys)["mean"].unstack("identity").sort_index()  # (pairing and cell, I)
    i = wide.shape[1]
    found = [_rows(wide, table[SIMILARITY_CELL].assign(pairing=pairing)).T for pairing in ("same", "different")]
    weights = bootstrap_weights(i, samples, seed) if i > 1 else np.full((1, i), np.nan)
    drawn, center = ([weighted_means(w, values) for values in found] for w in (weights, np.full((1, i), 1 / i)))
    for name, values, mean in zip(
        ("same", "different", "ratio"), (*drawn, _ratio(*drawn)), (*center, _ratio(*center)), strict=True
    ):
        table[name] = mean[0]
        table[f"{name}_low"], table[f"{name}_high"] = interval(values, confidence)
    return table.assign(identities=(~np.isnan(found[0])).sum(0))


def _mean_by_identity(pairs: pd.DataFrame) -> pd.DataFrame:
    """The mean of both measures over each identity's pairs of one kind, and the counts, one row per measure."""
    keys = [*(key for key in SIMILARITY_CELL if key != "measure"), "pairing", "identity"]
    pairs = pairs if "kind" in pairs else pairs.assign(kind="leam", region="")  # the maps' own files have neither
    pairs = pairs.astype(dict.fromkeys([*keys, "reason"], str))
    tables = []
    for measure in ("bc", "emd_px"):
        measured, lost = pairs[measure].notna(), pairs[measure].isna()
        counted = pairs[keys].assign(
            mean=pairs[measure],
            pairs_same=measured & (pairs["pairing"] == "same"),
            pairs_different=measured & (pairs["pairing"] == "different"),
            no_landmarks=lost & (pairs["reason"] == "no landmarks"),
            empty=lost & (pairs["reason"] == "empty map"),
        )
        rules = {"mean": "mean"} | dict.fromkeys(SIMILARITY_COUNTS, "sum")
        tables.append(counted.groupby(keys, sort=False).agg(rules).reset_index().assign(measure=measure))
    return pd.concat(tables, ignore_index=True)


def _rows(wide: pd.DataFrame, cells: pd.DataFrame) -> np.ndarray:
    """The rows of a table that is indexed by the columns of ``cells``, in their order; NaN where there is none."""
    order = pd.MultiIndex.from_frame(cells[list(wide.index.names)])
    return wide.reindex(order).to_numpy(float)


SIMILARITY_COLUMNS = [
    "model",
    *SIMILARITY_CELL,
    *(name + end for name in ("same", "different", "ratio") for end in ("", "_low", "_high")),
    "identities",
    *SIMILARITY_COUNTS,
    "untrained",
]


def tabulate_similarity(
    pairs: dict[str, list[str]],
    nulls: dict[str, list[str]],
    outputs: dict[str, str],
    *,
    bootstrap_samples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> None:
    """similarity.csv (everything, long form), and the paper's tables 3-6 with its numbers beside ours.

    pairs, nulls : the files of ``measure_similarity`` per model; outputs : paths by the names similarity, table03,
    table04, table05, table06
    """
    found = []
    for model, paths in pairs.items():
        for files in (paths, nulls[model]):
            untrained = pd.concat([pd.read_parquet(path, columns=["untrained"]) for path in files])["untrained"]
            if len(untrained):
                table = compare_pairings(map(pd.read_parquet, files), bootstrap_samples, confidence, seed)
                found.append(table.assign(model=model, untrained=bool(untrained.any())))
    if not found:
        raise ValueError("no identity has two usable images, so there are no pairs; see the discarded images")
    table = pd.concat(found, ignore_index=True)[SIMILARITY_COLUMNS]
    with storage.whole_file(outputs["similarity"]) as part:
        table.to_csv(part, index=False, float_format="%.6g")
    for name in PAPER_SIMILARITY:
        with storage.whole_file(outputs[name]) as part:
            paper_similarity(table, name).to_csv(part, index=False, float_format="%.6g")


def paper_similarity(similarity: pd.DataFrame, name: str) -> pd.DataFrame:
    """One of the paper's tables 3-6 (top 1 %), of every model, polarity and frame, the paper's number beside ours."""
    pairing, measure, value = PAPER_SIMILARITY[name]
    chosen = (similarity["kind"] == "leam") & (similarity["part"] == "top1") & (similarity["measure"] == measure)
    columns = {pairing: value, f"{pairing}_low": f"{value}_low", f"{pairing}_high": f"{value}_high"}
    ours = similarity.loc[chosen, ["polarity", "frame", "model", "layer", *columns, "identities", "untrained"]]
    table = paper.beside(ours.rename(columns=columns), paper.read_table(name), ["model", "layer"], value)
    return table[[*(column for column in table if column != "untrained"), "untrained"]]
