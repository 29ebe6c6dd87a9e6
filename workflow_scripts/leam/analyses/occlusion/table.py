"""What the drops of all images say: the paper's tables 9 and 21, the transfer matrix, and "Is it person-specific?".

The identity is the unit: drops are averaged within each identity first, then over identities with equal weight.
Shape letters: I identities, K cells (guide x layer x kind x polarity x fill x percent).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.core.groupby import DataFrameGroupBy

from leam import paper
from leam.analyses.occlusion import MAPLESS_KINDS
from leam.controls import CENTRE, IMAGE, OTHER_MEAN, OWN_MEAN, POPULATION_MEAN, RANDOM, SHUFFLED
from leam.statistics import (
    PERCENTS,
    correct,
    mean_interval,
    rank_biserial,
    signed_rank,
    standard_deviation,
)
from leam.tables import no_rows, read_output, write_table

DROP_KEYS = ["guide", "layer", "kind", "polarity", "fill", "percent"]
# The claim that maps are person-specific, as a chain: each step must hold, and the second is the decisive one.
STEPS = (
    (IMAGE, OWN_MEAN),
    (OWN_MEAN, OTHER_MEAN),
    (OTHER_MEAN, POPULATION_MEAN),
    (POPULATION_MEAN, CENTRE),
    (CENTRE, RANDOM),
    (IMAGE, SHUFFLED),
)
PRIMARY_STEP, PRIMARY = (OWN_MEAN, OTHER_MEAN), "primary"
STEP = "{} > {}"
STEP_KEYS = ["layer", "layer_number", "polarity", "fill", "percent", "step", "more", "less"]
STEP_STATISTICS = [
    "drop_more",
    "drop_less",
    "difference",
    "difference_low",
    "difference_high",
    "greater_percent",
    "rank_biserial",
    "p",
]

STEP_TYPES = dict.fromkeys(["percent", *STEP_STATISTICS, "deviation"], "float64")  # of those that hold no text
STEP_TYPES |= {"layer_number": "int64", "identities": "int64"}


def average_images(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Drops per image of one model's shards -> one row per cell and identity, one shard at a time in memory.

    drop, cosine, pixels : means over the identity's images; accepted, lost : sums of pairs over them, NaN where
    no threshold says them, and lost_percent : of the accepted ones (NaN where there are none); images : those with
    a drop; pairs : theirs
    """
    return pd.concat([_average_shard(read_output(path)) for path in paths], ignore_index=True)


def _average_shard(table: pd.DataFrame) -> pd.DataFrame:
    known = table["drop"].notna()
    table = table.assign(images=known, pairs=table["pairs"] * known, accepted=table["accepted"] * known)
    grouped = table.groupby([*DROP_KEYS, "identity"], sort=False, observed=True)
    means = grouped[["drop", "cosine", "pixels"]].mean()
    sums = _add(grouped)
    found = means.join(sums).join(grouped["untrained"].any()).reset_index()
    found["lost_percent"] = (100 * found["lost"] / found["accepted"]).where(found["accepted"] > 0)
    return found.astype(dict.fromkeys([*DROP_KEYS[:-1], "identity"], str))


def _add(grouped: DataFrameGroupBy) -> pd.DataFrame:
    """What is counted, added up; ``accepted`` and ``lost`` are NaN where they are known of none."""
    return grouped[["accepted", "lost", "images", "pairs"]].sum(min_count=1)


def by_identity(means: pd.DataFrame, value: str) -> pd.DataFrame:
    """(I, K) one row per identity, sorted, and one column per cell, in the order in which cells come."""
    cells = pd.MultiIndex.from_frame(means[DROP_KEYS].drop_duplicates())
    return means.pivot(index="identity", columns=DROP_KEYS, values=value).reindex(columns=cells)


def summarise(means: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """One row per cell: drop and lost_percent with intervals over identities, and what they are means of."""
    table = by_identity(means, "drop").columns.to_frame(index=False)
    for value, bounds in (("drop", (-2, 2)), ("lost_percent", PERCENTS)):
        found = mean_interval(by_identity(means, value).to_numpy(), confidence, bounds)
        table[value], table[f"{value}_low"], table[f"{value}_high"] = found
    grouped = means.groupby(DROP_KEYS, sort=False)
    sums = _add(grouped).reset_index(drop=True)
    table = table.join(sums).join(grouped[["cosine", "pixels"]].mean().reset_index(drop=True))
    table["pooled_lost_percent"] = (100 * table["lost"] / table["accepted"]).where(table["accepted"] > 0)
    table["identities"] = by_identity(means, "drop").notna().sum().to_numpy()
    return table.assign(untrained=grouped["untrained"].any().to_numpy())


def compare_steps(means: pd.DataFrame, model: str, confidence: float) -> pd.DataFrame:
    """Each step of the chain, paired over identities: one row per step, layer, polarity, fill and percent of the own
    maps, as far as both kinds were tried there.

    difference : mean over identities of drop_more - drop_less, with its interval; greater_percent : of the
    identities where it is above 0; rank_biserial : the effect size; p : Wilcoxon's signed-rank test, two-sided;
    deviation : standard deviation of the differences over identities
    """
    drops, rows = by_identity(means, "drop"), []
    own = means[(means["guide"] == model) & (means["kind"] == IMAGE)]
    layers = {layer: number for number, layer in enumerate(pd.unique(own["layer"]), start=1)}
    cells = own[["layer", "polarity", "fill", "percent"]].drop_duplicates()
    for layer, polarity, fill, percent in cells.itertuples(index=False):

        def drop(kind: str, cell: tuple = (layer, polarity, fill, percent)) -> np.ndarray | None:
            key = ("", "", kind, "", *cell[2:]) if kind in MAPLESS_KINDS else (model, cell[0], kind, *cell[1:])
            return drops[key].to_numpy() if key in drops.columns else None

        for more, less in STEPS:
            drop_more, drop_less = drop(more), drop(less)
            if drop_more is None or drop_less is None:
                continue
            keys = {"layer": layer, "layer_number": layers[layer], "polarity": polarity, "fill": fill}
            keys |= {"percent": percent, "step": STEP.format(more, less), "more": more, "less": less}
            rows.append(keys | _compare(drop_more, drop_less, confidence))
    columns = [*STEP_KEYS, *STEP_STATISTICS, "deviation", "identities"]
    # none where no two kinds of a step were tried
    table = pd.DataFrame(rows, columns=columns) if rows else no_rows(columns, **STEP_TYPES)
    return table.assign(model=model, untrained=bool(own["untrained"].any()))


def _compare(more: np.ndarray, less: np.ndarray, confidence: float) -> dict[str, float]:
    """Two drops per identity (I,), paired."""
    known = ~(np.isnan(more) | np.isnan(less))
    more, less = more[known], less[known]
    difference = more - less
    mean, low, high = mean_interval(difference[:, None], confidence)
    return {
        "drop_more": more.mean() if len(more) else np.nan,
        "drop_less": less.mean() if len(less) else np.nan,
        "difference": float(np.squeeze(mean)),
        "difference_low": float(np.squeeze(low)),
        "difference_high": float(np.squeeze(high)),
        "greater_percent": 100 * float((difference > 0).mean()) if len(difference) else np.nan,
        "rank_biserial": rank_biserial(difference),
        "p": signed_rank(difference),
        "deviation": standard_deviation(difference),
        "identities": len(difference),
    }


def correct_steps(steps: pd.DataFrame, primary: dict[str, str | float]) -> pd.DataFrame:
    """Adds the family of each test, and ``statistics.CORRECTED`` within it.

    primary : the polarity, fill and percent of the question that is decided before looking: PRIMARY_STEP under each
    recogniser's first layer there is the family "primary". All other tests are secondary: those of one polarity, fill,
    percent and layer number, steps and recognisers together, are a family each.
    """
    return correct(steps.assign(family=_families(steps, primary)), ["family"], ["identities"])


def _families(steps: pd.DataFrame, primary: dict[str, str | float]) -> pd.Series:
    percent = steps["percent"].map("{:g} %".format)
    layer = "layer " + steps["layer_number"].astype(str)
    secondary = steps["polarity"].str.cat([steps["fill"], percent, layer], ", ")
    chosen = (steps["step"] == STEP.format(*PRIMARY_STEP)) & (steps["layer_number"] == 1)
    for name, value in primary.items():
        chosen &= steps[name] == value
    return ("secondary: " + secondary).mask(chosen, PRIMARY)


SUMMARY_COLUMNS = [
    "model",
    *DROP_KEYS,
    "drop",
    "drop_low",
    "drop_high",
    "cosine",
    "pixels",
    "identities",
    "images",
    "pairs",
    "untrained",
]
DECISION_COLUMNS = [
    "model",
    *DROP_KEYS,
    "lost_percent",
    "lost_percent_low",
    "lost_percent_high",
    "pooled_lost_percent",
    "accepted",
    "lost",
    "threshold",
    "false_match_rate",
    "impostor_pairs",
    "identities",
    "untrained",
]
STEP_COLUMNS = [
    "model",
    *STEP_KEYS,
    *STEP_STATISTICS,
    "family",
    "tests",
    "p_holm",
    "p_attainable",
    "detectable_difference",
    "identities",
    "untrained",
]


def tabulate_occlusion(
    drops: dict[str, list[str]],
    verification: str | Path,
    outputs: dict[str, str],
    *,
    guide: str,
    fill: str,
    primary: dict[str, str | float],
    confidence: float = 0.95,
) -> None:
    """The tables of RQ6, long form, both polarities and every fill.

    drops : per model the files of ``occlude_faces``; verification : verification.csv, for the thresholds;
    primary : as in ``correct_steps``
    outputs : paths by the names occlusion (every mean drop), decisions (genuine pairs lost), person_specific (the
    chain of steps), transfer (every guide under every model), table09 and table21 (``guide``'s maps under ``fill``
    alone, beside the paper)
    """
    summaries, steps = [], []
    for model, paths in drops.items():
        means = average_images(paths)
        summaries.append(summarise(means, confidence).assign(model=model))
        steps.append(compare_steps(means, model, confidence))
    summary = pd.concat(summaries, ignore_index=True)
    verified = read_output(verification)[["model", "threshold", "false_match_rate", "impostor_pairs"]]
    table21 = model_drop_table(summary, guide, fill, paper.read_table("table21"))
    for name, table in {
        "occlusion": summary[SUMMARY_COLUMNS],
        "decisions": summary.merge(verified, on="model", how="left")[DECISION_COLUMNS],
        "person_specific": correct_steps(pd.concat(steps, ignore_index=True), primary)[STEP_COLUMNS],
        "transfer": transfer_table(summary),
        "table09": mean_table(table21),
        "table21": table21,
    }.items():
        write_table(table, outputs[name])


def model_drop_table(summary: pd.DataFrame, guide: str, fill: str, table: pd.DataFrame) -> pd.DataFrame:
    """Paper table 21 (of everyone), 22 or 23 (of one gender): drop per model and percent, beside ours.

    Ours is under the guide's first layer and under random pixels, under one fill; table : the paper's
    """
    summary = summary[summary["fill"] == fill]
    image = summary[(summary["kind"] == IMAGE) & (summary["guide"] == guide)]
    image = image[image["layer"].isin(image["layer"].iloc[:1])].assign(occlusion=paper.PAPER_LEAM)
    ours = pd.concat((image, summary[summary["kind"] == RANDOM].assign(occlusion=paper.PAPER_RANDOM)))
    ours = ours.rename(columns={"percent": "occlusion_percent", "drop": "cosine_drop"})
    ours = ours.rename(columns={"drop_low": "cosine_drop_low", "drop_high": "cosine_drop_high"})
    keys = ["occlusion", "occlusion_percent", "model"]
    found = paper.beside_models(ours, table, keys, "cosine_drop")
    found = found.sort_values(["occlusion", "polarity", "occlusion_percent"], kind="stable")
    values = ["cosine_drop", "cosine_drop_low", "cosine_drop_high", "paper", "difference", "paper_of"]
    return found[["occlusion", "guide", "polarity", "fill", *keys[1:], *values, "identities", "untrained"]]


def mean_table(table21: pd.DataFrame) -> pd.DataFrame:
    """Paper table 9: the mean of table 21 over models."""
    keys = ["occlusion", "guide", "polarity", "fill", "occlusion_percent"]
    grouped = table21.groupby(keys, sort=False)
    ours = grouped.agg(cosine_drop=("cosine_drop", "mean"), models=("model", "nunique"), untrained=("untrained", "any"))
    theirs = paper.read_table("table09").melt("occlusion_percent", list(paper.OCCLUSIONS), "occlusion", "cosine_drop")
    whose = paper.whose_mean(paper.read_table("table21")["model"].nunique())
    found = paper.beside(ours.reset_index(), theirs, ["occlusion", "occlusion_percent"], "cosine_drop", whose)
    return found[[*keys, "cosine_drop", "paper", "difference", "paper_of", "models", "untrained"]]


def transfer_table(summary: pd.DataFrame) -> pd.DataFrame:
    """The drop of every model under every guide's first layer, with the random pixels' drop beside it."""
    image = summary[summary["kind"] == IMAGE]
    first = image.groupby(["model", "guide"], sort=False)["layer"].transform("first")
    same = ["model", "fill", "percent"]
    random = summary.loc[summary["kind"] == RANDOM, [*same, "drop"]].rename(columns={"drop": "random_drop"})
    found = image[image["layer"] == first].merge(random, on=same, how="left")
    found = found.sort_values(["polarity", "fill", "percent"], kind="stable")
    values = ["drop", "drop_low", "drop_high", "random_drop", "lost_percent", "identities", "untrained"]
    return found[["polarity", "fill", "percent", "model", "guide", "layer", *values]]
