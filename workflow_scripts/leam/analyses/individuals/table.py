"""Do people differ, and how much do a person's own images? Shares of the regions per individual (paper RQ4).

Shape letters: N images of one identity.
"""

import numpy as np
import pandas as pd

from leam import files, paper
from leam.regions import REGIONS, WHOLE_MODEL

SPREAD_STATISTICS = ("std", "mean", "min", "max", "cv")
INDIVIDUAL_KEYS = ["model", "polarity", "threshold", "region"]
EVERYONE = "all"  # stands for the identity where a row is of all of them
PAPER_INDIVIDUALS = "10 individuals"  # of its table 7


def describe_spread(values: pd.Series | pd.DataFrame, keys: list) -> pd.DataFrame:
    """std (n - 1), mean, min, max and coefficient of variation (100 std / mean, percent) of each group's values.

    values : a column, NaN left out; keys : what to group by. cv is NaN where the mean is 0, std with one value.
    """
    table = values.groupby(keys, sort=False, observed=True).agg(["std", "mean", "min", "max"])
    table["cv"] = 100 * table["std"] / table["mean"].where(table["mean"] > 0)
    return table


def tabulate_individuals(
    counts: dict[str, str],
    images: dict[str, str],
    outputs: dict[str, str],
    *,
    table_identities: int = 10,
    seed: int = 0,
) -> None:
    """individuals.csv (everyone) and the paper's tables 7 and 8 beside ours: whole model, full activation and top 1 %.

    counts, images : the two files of ``count_regions`` per model; outputs : paths by the names individuals, table07,
    table08; table_identities : how many, drawn with the seed, tables 7 and 8 show (the paper: 10, and 1)

    individuals.csv : percent of each identity and its spread over the identity's images.
    table07 : percent, beside the mean of the paper's ten individuals, who are other people.
    table08 : long form. over "images": the spread over an identity's images, and under identity "all" its mean over
    identities, beside the paper's one individual (table 8). over "identities": the spread of the identities' percent,
    beside that of the paper's ten (from table 7).
    """
    everyone = pd.concat([_individuals(counts[model], images[model]) for model in counts], ignore_index=True)
    names = sorted(everyone["identity"].unique())
    shown = sorted(np.random.default_rng(seed).permutation(names)[:table_identities])
    chosen = everyone[everyone["identity"].isin(shown)]
    for name, table in {
        "individuals": everyone,
        "table07": _individual_shares(chosen),
        "table08": pd.concat((_over_images(chosen, everyone), _over_identities(everyone)), ignore_index=True),
    }.items():
        with files.whole_file(outputs[name]) as part:
            table.to_csv(part, index=False, float_format="%.6g")


def _individuals(counts: str, images: str) -> pd.DataFrame:
    """One row per polarity, threshold, identity and region of one model: percent, images, spread over the images."""
    keys = ["model", "polarity", "threshold", "identity", "region"]
    of_images = pd.read_parquet(images).astype(dict.fromkeys([*keys, "image"], str))
    spread = describe_spread(of_images["percent"], [of_images[key] for key in keys])
    spread.insert(0, "images", of_images.groupby(keys, sort=False)["image"].nunique())
    kept = [("layer", "==", WHOLE_MODEL), ("threshold", "in", sorted(of_images["threshold"].unique()))]
    whole = pd.read_parquet(counts, filters=kept).astype(dict.fromkeys(keys, str))
    table = whole[[*keys, "percent", "untrained"]].merge(spread.reset_index(), on=keys, validate="1:1")
    return table[[*keys, "images", "percent", *SPREAD_STATISTICS, "untrained"]]


def _individual_shares(chosen: pd.DataFrame) -> pd.DataFrame:
    theirs = paper.read_table("table07").groupby("region", sort=False)["percent"].mean().reset_index()
    ours = chosen.drop(columns=list(SPREAD_STATISTICS))
    return paper.beside(ours, theirs, ["region"], "percent", f"mean of {PAPER_INDIVIDUALS}")


def _over_images(chosen: pd.DataFrame, everyone: pd.DataFrame) -> pd.DataFrame:
    mean = everyone.groupby(INDIVIDUAL_KEYS, sort=False)[[*SPREAD_STATISTICS, "untrained"]].mean().reset_index()
    mean = mean.assign(identity=EVERYONE, untrained=mean["untrained"] > 0)
    return _beside_statistics(pd.concat((mean, chosen)), paper.read_table("table08"), "images", "1 individual")


def _over_identities(everyone: pd.DataFrame) -> pd.DataFrame:
    ours = describe_spread(everyone["percent"], [everyone[key] for key in INDIVIDUAL_KEYS]).reset_index()
    untrained = everyone.groupby(INDIVIDUAL_KEYS, sort=False)["untrained"].first().reset_index()
    theirs = paper.read_table("table07")
    spread = describe_spread(theirs["percent"], [theirs["region"]]).reset_index()
    ours = ours.merge(untrained, on=INDIVIDUAL_KEYS).assign(identity=EVERYONE)
    return _beside_statistics(ours, spread, "identities", PAPER_INDIVIDUALS)


def _beside_statistics(ours: pd.DataFrame, theirs: pd.DataFrame, over: str, whose: str) -> pd.DataFrame:
    """Both in long form over the statistics, side by side."""
    keys = ["model", "polarity", "threshold", "identity"]
    long = ours.melt([*keys, "region", "untrained"], list(SPREAD_STATISTICS), "statistic", "value")
    theirs = theirs.melt(["region"], list(SPREAD_STATISTICS), "statistic", "value")
    joined = paper.beside(long.assign(over=over), theirs, ["region", "statistic"], "value", whose)
    place = {region: number for number, region in enumerate(REGIONS)}
    joined = joined.sort_values(
        [*keys, "region"],
        key=lambda column: column.map(place.get) if column.name == "region" else column,
        kind="stable",
    )
    values = ["value", "paper", "difference", "paper_of", "untrained"]
    return joined[[*keys[:3], "over", "identity", "region", "statistic", *values]]
