"""Same against different people: similarity.csv and the paper's tables 3 to 6, ours beside."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from leam import files, paper
from leam.analyses.similarity import BC, DIFFERENT, EMD, EMPTY, LEAM_MAPS, PAIRINGS, SAME, SIMILARITY_MEASURES, TOP
from leam.reasons import NO_LANDMARKS, NOBODY
from leam.statistics import bootstrap_weights, equal_weights, interval, ratio, weighted_means

SIMILARITY_CELL = ["kind", "layer", "region", "polarity", "frame", "part", "measure"]
SIMILARITY_COUNTS = ["pairs_same", "pairs_different", "no_landmarks", "empty"]
PAPER_SIMILARITY = {  # paper table: our pairing and measure, and the paper's name of the value
    "table03": (SAME, BC, "bc"),
    "table04": (DIFFERENT, BC, "bc"),
    "table05": (SAME, EMD, "emd"),
    "table06": (DIFFERENT, EMD, "emd"),
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
    found = [_rows(wide, table[SIMILARITY_CELL].assign(pairing=pairing)).T for pairing in PAIRINGS]
    weights = bootstrap_weights(i, samples, seed), equal_weights(i)
    drawn, center = ([weighted_means(each, values) for values in found] for each in weights)
    for name, values, mean in zip(
        (*PAIRINGS, "ratio"), (*drawn, ratio(*drawn)), (*center, ratio(*center)), strict=True
    ):
        table[name] = mean[0]
        table[f"{name}_low"], table[f"{name}_high"] = interval(values, confidence)
    return table.assign(identities=(~np.isnan(found[0])).sum(0))


def _mean_by_identity(pairs: pd.DataFrame) -> pd.DataFrame:
    """The mean of both measures over each identity's pairs of one kind, and the counts, one row per measure."""
    keys = [*(key for key in SIMILARITY_CELL if key != "measure"), "pairing", "identity"]
    pairs = pairs if "kind" in pairs else pairs.assign(kind=LEAM_MAPS, region="")  # the maps' own files have neither
    pairs = pairs.astype(dict.fromkeys([*keys, "reason"], str))
    tables = []
    for measure in SIMILARITY_MEASURES:
        measured, lost = pairs[measure].notna(), pairs[measure].isna()
        counted = pairs[keys].assign(
            mean=pairs[measure],
            pairs_same=measured & (pairs["pairing"] == SAME),
            pairs_different=measured & (pairs["pairing"] == DIFFERENT),
            no_landmarks=lost & (pairs["reason"] == NO_LANDMARKS),
            empty=lost & (pairs["reason"] == EMPTY),
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
    *(name + end for name in (*PAIRINGS, "ratio") for end in ("", "_low", "_high")),
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
        for chosen in (paths, nulls[model]):
            untrained = pd.concat([pd.read_parquet(path, columns=["untrained"]) for path in chosen])["untrained"]
            if len(untrained):
                table = compare_pairings(map(pd.read_parquet, chosen), bootstrap_samples, confidence, seed)
                found.append(table.assign(model=model, untrained=bool(untrained.any())))
    if not found:
        raise ValueError(NOBODY)
    table = pd.concat(found, ignore_index=True)[SIMILARITY_COLUMNS]
    with files.whole_file(outputs["similarity"]) as part:
        table.to_csv(part, index=False, float_format="%.6g")
    for name in PAPER_SIMILARITY:
        with files.whole_file(outputs[name]) as part:
            paper_similarity(table, name).to_csv(part, index=False, float_format="%.6g")


def paper_similarity(similarity: pd.DataFrame, name: str) -> pd.DataFrame:
    """One of the paper's tables 3-6 (top 1 %), of every model, polarity and frame, the paper's number beside ours."""
    pairing, measure, value = PAPER_SIMILARITY[name]
    chosen = (similarity["kind"] == LEAM_MAPS) & (similarity["part"] == TOP) & (similarity["measure"] == measure)
    columns = {pairing: value, f"{pairing}_low": f"{value}_low", f"{pairing}_high": f"{value}_high"}
    ours = similarity.loc[chosen, ["polarity", "frame", "model", "layer", *columns, "identities", "untrained"]]
    table = paper.beside(ours.rename(columns=columns), paper.read_table(name), ["model", "layer"], value)
    return table[[*(column for column in table if column != "untrained"), "untrained"]]
