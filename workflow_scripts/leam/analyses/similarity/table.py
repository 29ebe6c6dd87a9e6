"""Same against different people: similarity.csv and the paper's tables 3 to 6, ours beside."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from leam import paper
from leam.analyses.similarity import BC, DIFFERENT, EMD, EMPTY, LEAM_MAPS, PAIRINGS, SAME, SIMILARITY_MEASURES, TOP
from leam.reasons import NO_LANDMARKS
from leam.statistics import Estimates, interval, means, means_over_pairs, ratio_interval
from leam.tables import read_output, write_table

SIMILARITY_CELL = ["kind", "layer", "region", "polarity", "frame", "part", "measure"]
SIMILARITY_COUNTS = ["pairs_same", "pairs_different", "no_landmarks", "empty"]
PAPER_SIMILARITY = {  # paper table: our pairing and measure, and the paper's name of the value
    "table03": (SAME, BC, "bc"),
    "table04": (DIFFERENT, BC, "bc"),
    "table05": (SAME, EMD, "emd"),
    "table06": (DIFFERENT, EMD, "emd"),
}


def compare_pairings(pairs: Iterable[pd.DataFrame], confidence: float = 0.95) -> pd.DataFrame:
    """Same against different people under one model, from tables of ``measure_similarity``.

    One row per cell (SIMILARITY_CELL): ``same`` and ``different``, the means over identities of an identity's mean over
    its pairs; ``ratio``, same / different; each with its interval over identities (NaN with one identity). A pair of
    different people belongs to both: its second person varies as well as its first. Besides, how many pairs were
    measured, and how many not, for want of landmarks or of a map that is not empty. What was not asked for has no row.
    """
    sums = [_sum_by_identity(table) for table in pairs]
    own, partners, moments = (pd.concat(tables, ignore_index=True) for tables in zip(*sums, strict=True))
    counts = own.groupby(SIMILARITY_CELL, sort=False)[SIMILARITY_COUNTS].sum()
    table = counts[counts.sum(axis=1) > 0].reset_index()
    cells = pd.MultiIndex.from_frame(table[SIMILARITY_CELL])
    identities = pd.Index(sorted({*own["identity"], *partners["identity"]}), name="identity")

    def wide(rows: pd.DataFrame, value: str) -> np.ndarray:
        """(I, K), NaN where there is none."""
        return rows.pivot_table(value, "identity", SIMILARITY_CELL, "sum").reindex(identities, columns=cells).to_numpy()

    measured = own.dropna(subset="mean")
    mean = {pairing: wide(measured[measured["pairing"] == pairing], "mean") for pairing in PAIRINGS}
    total, weight = (np.nan_to_num(wide(partners, name)) for name in ("total", "weight"))
    squares = moments.groupby(SIMILARITY_CELL)[list(MOMENTS)].sum().reindex(cells, fill_value=0).to_numpy().T
    found = {SAME: means(mean[SAME]), DIFFERENT: means_over_pairs(mean[DIFFERENT], total, weight, squares)}
    for pairing in PAIRINGS:
        table[pairing] = found[pairing].value
        table[f"{pairing}_low"], table[f"{pairing}_high"] = intervals(found[pairing], table["measure"], confidence)
    compared = found[SAME].over(found[DIFFERENT])
    table["ratio"] = compared.value
    table["ratio_low"], table["ratio_high"] = ratio_interval(compared, confidence)
    return table.assign(identities=found[SAME].people)


def intervals(found: Estimates, measures: pd.Series, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Of cells (K,) of both measures, within what each can be."""
    low, high = interval(found, confidence, (0, np.inf))
    return low, np.where((measures == BC) & ~np.isnan(high), np.minimum(high, 1), high)


MOMENTS = ("weight_square", "weighted_total", "total_square")  # as in ``statistics.means_over_pairs``


def _sum_by_identity(pairs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """What intervals need of a shard's pairs: three tables, each with a row per cell (SIMILARITY_CELL) and

    pairing and identity : the mean over its pairs, and the counts;
    second person of different pairs, as ``identity`` : total and weight over these pairs;
    nothing more : MOMENTS of different pairs.
    """
    keys = [*(key for key in SIMILARITY_CELL if key != "measure"), "pairing", "identity"]
    pairs = pairs if "kind" in pairs else pairs.assign(kind=LEAM_MAPS, region="")  # the maps' own files have neither
    pairs = pairs.astype(dict.fromkeys([*keys, "other_identity", "reason"], str))
    tables = [_sum_measure(pairs, measure, keys) for measure in SIMILARITY_MEASURES]
    own, partners, moments = (pd.concat(each, ignore_index=True) for each in zip(*tables, strict=True))
    return own, partners, moments


def _sum_measure(pairs: pd.DataFrame, measure: str, keys: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    cell = keys[:-2]
    measured, lost = pairs[measure].notna(), pairs[measure].isna()
    counted = pairs[keys].assign(
        mean=pairs[measure],
        pairs_same=measured & (pairs["pairing"] == SAME),
        pairs_different=measured & (pairs["pairing"] == DIFFERENT),
        no_landmarks=lost & (pairs["reason"] == NO_LANDMARKS),
        empty=lost & (pairs["reason"] == EMPTY),
    )
    rules = {"mean": "mean"} | dict.fromkeys(SIMILARITY_COUNTS, "sum")
    own = counted.groupby(keys, sort=False).agg(rules).reset_index()
    far = pairs.loc[counted["pairs_different"], [*cell, "identity", "other_identity", measure]]
    weight = 1 / far.groupby([*cell, "identity"])[measure].transform("size")
    total = weight * far[measure]
    far = far.assign(total=total, weight=weight)
    far = far.assign(weight_square=weight**2, weighted_total=weight * total, total_square=total**2)
    partners = far.groupby([*cell, "other_identity"])[["total", "weight"]].sum().reset_index()
    moments = far.groupby(cell)[list(MOMENTS)].sum().reset_index()
    partners = partners.rename(columns={"other_identity": "identity"})
    return own.assign(measure=measure), partners.assign(measure=measure), moments.assign(measure=measure)


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
    confidence: float = 0.95,
) -> None:
    """similarity.csv (everything, long form), and the paper's tables 3-6 with its numbers beside ours.

    pairs, nulls : the files of ``measure_similarity`` per model; outputs : paths by the names similarity, table03,
    table04, table05, table06
    """
    found = []
    for model, paths in pairs.items():
        for chosen in (paths, nulls[model]):
            untrained = pd.concat([read_output(path, columns=["untrained"]) for path in chosen])["untrained"]
            table = compare_pairings(map(read_output, chosen), confidence)
            found.append(table.assign(model=model, untrained=bool(untrained.any())))
    table = pd.concat(found, ignore_index=True)[SIMILARITY_COLUMNS]
    write_table(table, outputs["similarity"])
    for name in PAPER_SIMILARITY:
        write_table(paper_similarity(table, name), outputs[name])


def paper_similarity(similarity: pd.DataFrame, name: str) -> pd.DataFrame:
    """One of the paper's tables 3-6 (top 1 %), of every model, polarity and frame, the paper's number beside ours."""
    pairing, measure, value = PAPER_SIMILARITY[name]
    chosen = (similarity["kind"] == LEAM_MAPS) & (similarity["part"] == TOP) & (similarity["measure"] == measure)
    columns = {pairing: value, f"{pairing}_low": f"{value}_low", f"{pairing}_high": f"{value}_high"}
    ours = similarity.loc[chosen, ["polarity", "frame", "model", "layer", *columns, "identities", "untrained"]]
    table = paper.beside(ours.rename(columns=columns), paper.read_table(name), ["model", "layer"], value)
    return table[[*(column for column in table if column != "untrained"), "untrained"]]
