"""Is it person-specific? What the calibration allows the headline to say."""

from pathlib import Path

import numpy as np
import pandas as pd

from leam.analyses.calibration import (
    CANNOT_TELL,
    CHAIN_POWER,
    CHAIN_WORLDS,
    ENOUGH_POWER,
    MOST_FALSE,
    NOT_SPECIFIC,
    PERSON_SPECIFIC,
)
from leam.analyses.occlusion.table import PRIMARY_STEP, STEP
from leam.analyses.retention import read_retention
from leam.analyses.run.table import LITERAL
from leam.files import whole_file
from leam.statistics import LEVEL, holm
from leam.tables import read_output, write_table

FRONT = Path(__file__).parents[4] / "rules" / "captions" / "workflow.rst"  # of the report's first page, what follows
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
    page: str | Path,
    *,
    front: str | Path = FRONT,
    percent: float,
    placement: str,
    target: str,
) -> None:
    """verdict.csv: is it person-specific? One row per recogniser, fill and polarity; verdict.txt: the same in words;
    report.rst: the report's first page, which begins with them.

    person_specific, retention : tables of the run; calibration : calibration.csv; None where there is none
    front : the rest of that page; percent : the headline's; placement, target : of the run's maps
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
    for path, words in ((text, describe_verdicts(table)), (page, front_page(table, Path(front).read_text()))):
        with whole_file(path) as part:
            part.write_text(words)


def chances(calibration: pd.DataFrame, cell: dict[str, str], people: float, images: float) -> tuple[float, float]:
    """Percent of runs of as many people that show a world of signatures, and of those that show a one-region world.

    Between the numbers of people that were tried by linear interpolation, beyond them those of the nearest; images :
    the nearest number that was tried. NaN where the cell was not calibrated.
    """
    rows = calibration[calibration["measure"] == CHAIN_POWER]
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
    shown = "not shown"
    if row["p_holm"] < LEVEL:
        shown = "shown" if row["difference"] > 0 else "shown the other way round"
    if np.isnan(row["power_percent"]):
        return f"{effect}, {shown}; not calibrated"
    power = f"such a run finds a world of signatures in {row['power_percent']:.0f} %"
    false = f"calls a one-region world person-specific in {row['false_percent']:.0f} % of cases"
    return f"{effect}, {shown}; {power} and {false}"


def describe_verdicts(table: pd.DataFrame, mark: str = "") -> str:
    """The verdicts in words: a line per recogniser, fill and polarity, below one that says what they are about.

    mark : what stands around the name of a recogniser
    """
    if not len(table):
        return "Is it person-specific? There was nobody to ask it of.\n"
    first = table.iloc[0]
    images = "" if np.isnan(first["images"]) else f" with {first['images']:g} images each"
    people = f"{first['identities']:.0f} people{images}"
    lines = [f"Is it person-specific? {people}; drop under the own mean map minus drop under other people's:"]
    lines += [
        f"  {mark}{row['model']}{mark}, {row['fill']}, {row['polarity']}: {row['verdict'].upper()} ({row['sentence']})"
        for row in table.to_dict("records")
    ]
    return "\n".join([*lines, ""])


def front_page(table: pd.DataFrame, rest: str) -> str:
    """The first page of the report, as reStructuredText."""
    title, *lines = describe_verdicts(table, LITERAL).splitlines()
    question, _, about = title.partition("? ")
    marked = [f"- {line.strip()}" for line in lines]
    return "\n".join([f"**{question}?** {about}", "", *marked, "", rest])
