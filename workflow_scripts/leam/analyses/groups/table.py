"""Do recognisers treat groups differently? Drops and shares by gender and ethnicity (paper RQ7, docs/method.md 6).

Images of one person are not independent of each other, so a test over images finds differences between groups that
are only differences between a few people; the test over identity means does not. Both are given, since the paper has
the former. Shape letters: n people or images of a group, K cells that are compared.
"""

import itertools
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from leam import paper
from leam.analyses.groups.people import read_people
from leam.analyses.occlusion.table import DROP_KEYS, SUMMARY_COLUMNS, average_images, model_drop_table, summarise
from leam.analyses.regions.table import REGION_COLUMNS, share_regions
from leam.demographics import ALLOWED
from leam.regions import FULL, TOP_1, WHOLE_MODEL
from leam.statistics import CORRECTED, correct, mann_whitney, ratio
from leam.tables import read_output, write_table

log = logging.getLogger(__name__)

GENDER_TABLES = {"table22": "female", "table23": "male"}
UNKNOWN = "unknown"  # the group of those of whom nobody says it
FAMILY = ["measure", "attribute", "unit", "fill"]  # what Holm's correction is made within
TEST_KEYS = [
    *FAMILY[:-1],
    "group_a",
    "group_b",
    "model",
    "guide",
    "layer",
    "kind",
    "polarity",
    "fill",
    "percent",
    "threshold",
    "region",
]
TEST_STATISTICS = ["n_a", "n_b", "mean_a", "mean_b", "u", "rank_biserial", "p"]


def compare_groups(a: np.ndarray, b: np.ndarray) -> pd.DataFrame:
    """Mann-Whitney U, two-sided, of every column of two groups (n_a, K) and (n_b, K), NaN left out: K rows.

    u : of group a; rank_biserial = 2 u / (n_a n_b) - 1, the effect size: the chance that a value of a lies above one of
    b, minus the chance that it lies below; deviation : standard deviation within the groups, pooled; u, p : NaN where a
    group has fewer than two values, or all values are equal
    """
    table = pd.DataFrame({"n_a": (~np.isnan(a)).sum(0), "n_b": (~np.isnan(b)).sum(0)})
    table["mean_a"], table["mean_b"] = (_means(values) for values in (a, b))
    squares = (np.nansum((values - _means(values)) ** 2, axis=0) for values in (a, b))
    table["deviation"] = np.sqrt(ratio(sum(squares), (table["n_a"] + table["n_b"] - 2).to_numpy()))
    columns = ((x[~np.isnan(x)], y[~np.isnan(y)]) for x, y in zip(a.T, b.T, strict=True))
    table["u"], table["p"] = np.array([mann_whitney(x, y) for x, y in columns]).reshape(-1, 2).T
    table["rank_biserial"] = 2 * table["u"] / (table["n_a"] * table["n_b"]) - 1
    return table


def _means(values: np.ndarray) -> np.ndarray:
    return ratio(np.nansum(values, axis=0), (~np.isnan(values)).sum(0))


def compare_attribute(values: pd.DataFrame, people: pd.Series, order: tuple[str, ...]) -> pd.DataFrame:
    """Every pair of the groups that are there: K rows each, with group_a, group_b and the columns' cells.

    values : one row per person or image, indexed by identity (and image), one column per cell; people : identity ->
    group, "" where unknown; order : of the groups
    """
    group = values.index.get_level_values("identity").map(people).to_numpy()
    present = [name for name in order if (group == name).any()]
    tables = []
    for first, second in itertools.combinations(present, 2):
        found = compare_groups(values[group == first].to_numpy(float), values[group == second].to_numpy(float))
        tables.append(values.columns.to_frame(index=False).join(found).assign(group_a=first, group_b=second))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def compare_units(images: pd.DataFrame, identities: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """``compare_attribute`` of every attribute over images, as in the paper, and over identities."""
    return pd.concat(
        [
            compare_attribute(values, people[attribute], ALLOWED[attribute]).assign(attribute=attribute, unit=unit)
            for attribute in people.columns
            for unit, values in (("image", images), ("identity", identities))
        ],
        ignore_index=True,
    )


def assess_significance(
    drops: dict[str, list[str]],
    counts: dict[str, str],
    images: dict[str, str],
    people: str | Path,
    output: str | Path,
    *,
    guide: str,
) -> None:
    """significance.csv: groups compared by Mann-Whitney U, one row per test.

    drops : per model the files of ``occlude_faces``; counts, images : its two files of ``count_regions``; people :
    people.csv
    measure "drop" : of the cosine, under the first layers of ``guide`` and of the model itself, and without a guide;
    measure "share" : percent of activated pixels per region, whole model. unit : what was tested, images or identity
    means. p_holm : Holm's correction within a measure, attribute, unit and fill; tests : how many that were;
    p_attainable, detectable_difference : the smallest p_holm that there could have been, and the difference that would
    have been seen
    """
    known = read_people(people)
    tables = []
    for model in drops:
        for measure, (by_image, by_identity, untrained) in {
            "drop": _drops(drops[model], model, guide),
            "share": _shares(counts[model], images[model]),
        }.items():
            found = compare_units(by_image, by_identity, known)
            tables.append(found.assign(measure=measure, model=model, untrained=untrained))
    table = pd.concat(tables, ignore_index=True).reindex(
        columns=[*TEST_KEYS, *TEST_STATISTICS, "deviation", "untrained"]
    )
    corrected = correct(table, FAMILY, ["n_a", "n_b"])
    write_table(corrected[[*TEST_KEYS, *TEST_STATISTICS, *CORRECTED, "untrained"]], output)


def first_layers(table: pd.DataFrame, guides: tuple[str, ...]) -> pd.DataFrame:
    """The rows of drops under the first layer of these guides, and those without a guide."""
    table = table[table["guide"].isin(guides)]
    return table[table["layer"] == table.groupby("guide", observed=True)["layer"].transform("first")]


def _drops(paths: list[str], model: str, guide: str) -> tuple[pd.DataFrame, pd.DataFrame, bool]:
    """Drops with a row per image, with a row per identity, and whether they come from random weights."""
    read = pd.concat([read_output(path) for path in paths], ignore_index=True)
    table = first_layers(read.astype(dict.fromkeys([*DROP_KEYS[:-1], "identity", "image"], str)), ("", guide, model))
    by_image = table.pivot(index=["identity", "image"], columns=DROP_KEYS, values="drop")
    return by_image, by_image.groupby(level="identity").mean(), bool(table["untrained"].any())


def _shares(counts: str, images: str) -> tuple[pd.DataFrame, pd.DataFrame, bool]:
    """Percent per region with a row per image, with a row per identity, and whether from random weights."""
    cells = ["polarity", "threshold", "region"]
    of_images = read_output(images).astype(dict.fromkeys([*cells, "identity", "image"], str))
    whole = read_output(counts, filters=[("layer", "==", WHOLE_MODEL)])
    whole = whole.astype(dict.fromkeys([*cells, "identity"], str))
    by_image = of_images.pivot(index=["identity", "image"], columns=cells, values="percent")
    by_identity = whole.pivot(index="identity", columns=cells, values="percent")[by_image.columns]
    return by_image, by_identity, bool(whole["untrained"].any())


def tabulate_drops(
    drops: dict[str, list[str]],
    people: str | Path,
    outputs: dict[str, str],
    *,
    guide: str,
    fill: str,
    confidence: float = 0.95,
) -> None:
    """Mean drops of every group, long form, and the paper's tables 22 (female) and 23 (male) beside ours.

    drops, guide : as in ``assess_significance``; fill : of tables 22 and 23; outputs : paths by the names
    drops_by_group, and table22 and table23 where people.csv has a gender. A mean is over identities, with its
    interval.
    """
    known = read_people(people)
    summaries = []
    for model, paths in drops.items():
        means = first_layers(average_images(paths), ("", guide, model))
        for attribute in known.columns:
            for group, rows in _by_group(means, known[attribute]):
                summary = summarise(rows, confidence)
                summaries.append(summary.assign(model=model, attribute=attribute, group=group))
    table = pd.concat(summaries, ignore_index=True)[["attribute", "group", *SUMMARY_COLUMNS]]
    tables = {"drops_by_group": table}
    if "table22" in outputs:
        tables |= {name: _gender_table(table, guide, fill, name) for name in GENDER_TABLES}
    for name, found in tables.items():
        write_table(found, outputs[name])


def _by_group(table: pd.DataFrame, people: pd.Series) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each group, sorted; people : as in ``compare_attribute``. A table without rows is of one group."""
    groups = table["identity"].astype(str).map(people).replace("", np.nan).fillna(UNKNOWN)
    return [(str(group), rows) for group, rows in table.groupby(groups)] or [(UNKNOWN, table)]


def _gender_table(table: pd.DataFrame, guide: str, fill: str, name: str) -> pd.DataFrame:
    chosen = table[(table["attribute"] == "gender") & (table["group"] == GENDER_TABLES[name])]
    return model_drop_table(chosen, guide, fill, paper.read_table(name)).assign(gender=GENDER_TABLES[name])


def tabulate_groups(
    counts: dict[str, str],
    people: str | Path,
    output: str | Path,
    *,
    polarity: str,
    confidence: float = 0.95,
) -> None:
    """groups.csv: the whole model's shares for each gender and ethnicity, full activation and top 1 %, one polarity.

    people : people.csv; identities without a value there form the group "unknown", and the log says how many.
    """
    known = read_people(people)
    tables = []
    for model, path in counts.items():
        table = read_output(path)
        chosen = (table["polarity"] == polarity) & (table["layer"] == WHOLE_MODEL)
        table = table[chosen & table["threshold"].isin([FULL, TOP_1])]
        for attribute in known.columns:
            groups = _by_group(table, known[attribute])
            sizes = {group: rows["identity"].nunique() for group, rows in groups}
            words = "%s: nobody said the %s of %d of %d identities"
            log.info(words, model, attribute, sizes.get(UNKNOWN, 0), sum(sizes.values()))
            for group, rows in groups:
                shares = share_regions(rows, confidence)
                tables.append(shares.assign(model=model, attribute=attribute, group=group))
    columns = ["model", "attribute", "group", *REGION_COLUMNS[1:]]
    write_table(pd.concat(tables)[columns], output)
