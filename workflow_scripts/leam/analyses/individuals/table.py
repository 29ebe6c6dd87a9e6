"""Do people differ, and how much do a person's own images? Shares of the regions per individual (paper RQ4).

Whether a share is a trait of the person is its intraclass correlation: the part of its variance that is people's.
Shape letters: N images of one identity.
"""

import numpy as np
import pandas as pd

from leam import paper
from leam.regions import FULL, REGIONS, TOP_1, WHOLE_MODEL
from leam.statistics import PERCENTS, intraclass_correlation, mean_interval
from leam.tables import read_output, write_table

SPREAD_STATISTICS = ("std", "mean", "min", "max", "cv")
ICC = "icc"
INDIVIDUAL_KEYS = ["model", "polarity", "threshold", "region"]
EVERYONE = "all"  # stands for the identity where a row is of all of them
ALL_RECOGNISERS = "all"  # stands for the model where percents are means over all of them
PAPER_OF = {"table07": "mean of 10 individuals", "table08": "one individual", "identities": "10 individuals of table 7"}


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
    confidence: float = 0.95,
    table_identities: int = 10,
    seed: int = 0,
) -> None:
    """individuals.csv (everyone) and the paper's tables 7 and 8 beside ours: whole model, full activation and top 1 %.

    counts, images : the two files of ``count_regions`` per model; outputs : paths by the names individuals, table07,
    table08; table_identities : how many, drawn with the seed, tables 7 and 8 show (the paper: 10, and 1)

    individuals.csv : percent of each identity, its spread over the identity's images, and the intraclass correlation of
    all identities' images.
    table07 : percent, beside the mean of the paper's ten individuals, who are other people.
    table08 : long form. over "images": the spread over an identity's images, and under identity "all" its mean over
    identities, beside the paper's one individual (table 8). over "identities": the spread of the identities' percent,
    beside that of the paper's ten (from table 7), and the intraclass correlation.
    Both have rows over all recognisers, as the paper's numbers are, which are of the top 1 % alone.
    """
    shares = [_read_shares(counts[model], images[model]) for model in counts]
    own = pd.concat([_individuals(*each, confidence) for each in shares], ignore_index=True)
    everyone = pd.concat((own, _individuals(*_average_models(shares), confidence)), ignore_index=True)
    names = sorted(own["identity"].unique())
    shown = sorted(np.random.default_rng(seed).permutation(names)[:table_identities])
    chosen = everyone[everyone["identity"].isin(shown)]
    long = pd.concat(
        (_over_images(chosen, everyone, confidence), _over_identities(everyone, confidence)), ignore_index=True
    )
    for name, table in {"individuals": own, "table07": _individual_shares(chosen), "table08": long}.items():
        write_table(table, outputs[name])


KEYS = ["model", "polarity", "threshold", "identity", "region"]


def _read_shares(counts: str, images: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Percent of one model's identities, and of their images."""
    of_images = read_output(images).astype(dict.fromkeys([*KEYS, "image"], str))
    kept = [("layer", "==", WHOLE_MODEL), ("threshold", "in", [FULL, TOP_1])]
    whole = read_output(counts, filters=kept).astype(dict.fromkeys(KEYS, str))
    return whole[[*KEYS, "percent", "untrained"]], of_images


def _average_models(shares: list[tuple[pd.DataFrame, pd.DataFrame]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of each identity and of each image the mean over the recognisers that have it."""
    found = []
    for tables, keys in zip(zip(*shares, strict=True), (KEYS[1:], [*KEYS[1:], "image"]), strict=True):
        indexed = [table.set_index(keys) for table in tables]
        percent = pd.concat([table["percent"] for table in indexed], axis=1).mean(axis=1)
        untrained = any(table["untrained"].any() for table in tables)
        found.append(percent.rename("percent").reset_index().assign(model=ALL_RECOGNISERS, untrained=untrained))
    whole, of_images = found
    return whole, of_images


def _individuals(whole: pd.DataFrame, of_images: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """One row per polarity, threshold, identity and region of one model: percent, images, spread over the images."""
    spread = describe_spread(of_images["percent"], [of_images[key] for key in KEYS])
    spread.insert(0, "images", of_images.groupby(KEYS, sort=False)["image"].nunique())
    table = whole.merge(spread.reset_index(), on=KEYS, validate="1:1")
    wide = of_images.pivot(index=["identity", "image"], columns=INDIVIDUAL_KEYS, values="percent")
    found = intraclass_correlation(wide.to_numpy(float), wide.index.get_level_values("identity").to_numpy(), confidence)
    correlations = wide.columns.to_frame(index=False).assign(**dict(zip(ICC_COLUMNS, found, strict=True)))
    table = table.merge(correlations, on=INDIVIDUAL_KEYS, how="left", validate="m:1")
    return table[[*KEYS, "images", "percent", *SPREAD_STATISTICS, *ICC_COLUMNS, "untrained"]]


ICC_COLUMNS = (ICC, f"{ICC}_low", f"{ICC}_high")


def _individual_shares(chosen: pd.DataFrame) -> pd.DataFrame:
    theirs = paper.read_table("table07").groupby("region", sort=False)["percent"].mean().reset_index()
    ours = chosen[[*KEYS, "images", "percent", "untrained"]]
    joined = _beside(ours, theirs, ["region"], "percent", PAPER_OF["table07"])
    return joined[[*KEYS, "images", "percent", "paper", "difference", "paper_of", "untrained"]]


def _beside(ours: pd.DataFrame, theirs: pd.DataFrame, keys: list[str], value: str, whose: str) -> pd.DataFrame:
    """The paper's number beside ours of the top 1 %, which is what the paper shows of individuals, and whose it is."""
    of_top = theirs.assign(threshold=TOP_1)
    return paper.beside(ours, of_top, ["threshold", *keys], value, f"{whose}, over all recognisers")


def _over_images(chosen: pd.DataFrame, everyone: pd.DataFrame, confidence: float) -> pd.DataFrame:
    wide = everyone.pivot(index="identity", columns=INDIVIDUAL_KEYS, values=list(SPREAD_STATISTICS))
    found = mean_interval(wide.to_numpy(float), confidence, (0, np.inf))
    mean = wide.columns.to_frame(index=False, name=["statistic", *INDIVIDUAL_KEYS])
    mean = mean.assign(**dict(zip(VALUES, found, strict=True)), identity=EVERYONE)
    mean = mean.merge(_untrained(everyone), on="model")
    each = chosen.melt([*KEYS, "untrained"], list(SPREAD_STATISTICS), "statistic", "value")
    return _beside_statistics(pd.concat((mean, each)), paper.read_table("table08"), "images", PAPER_OF["table08"])


VALUES = ("value", "value_low", "value_high")


def _over_identities(everyone: pd.DataFrame, confidence: float) -> pd.DataFrame:
    spread = describe_spread(everyone["percent"], [everyone[key] for key in INDIVIDUAL_KEYS]).reset_index()
    wide = everyone.pivot(index="identity", columns=INDIVIDUAL_KEYS, values="percent")
    _, low, high = mean_interval(wide.to_numpy(float), confidence, PERCENTS)
    of_mean = wide.columns.to_frame(index=False).assign(statistic="mean", value_low=low, value_high=high)
    long = spread.melt(INDIVIDUAL_KEYS, list(SPREAD_STATISTICS), "statistic", "value")
    long = long.merge(of_mean, on=[*INDIVIDUAL_KEYS, "statistic"], how="left")
    correlations = everyone.drop_duplicates(INDIVIDUAL_KEYS)[[*INDIVIDUAL_KEYS, *ICC_COLUMNS]]
    correlations = correlations.rename(columns=dict(zip(ICC_COLUMNS, VALUES, strict=True))).assign(statistic=ICC)
    ours = pd.concat((long, correlations)).merge(_untrained(everyone), on="model").assign(identity=EVERYONE)
    theirs = paper.read_table("table07")
    ten = describe_spread(theirs["percent"], [theirs["region"]]).reset_index()
    return _beside_statistics(ours, ten, "identities", PAPER_OF["identities"])


def _untrained(everyone: pd.DataFrame) -> pd.DataFrame:
    return everyone.groupby("model", sort=False)["untrained"].any().reset_index()


def _beside_statistics(ours: pd.DataFrame, theirs: pd.DataFrame, over: str, whose: str) -> pd.DataFrame:
    """Both in long form over the statistics, side by side."""
    theirs = theirs.melt(["region"], list(SPREAD_STATISTICS), "statistic", "value")
    joined = _beside(ours.assign(over=over), theirs, ["region", "statistic"], "value", whose)
    orders = {"region": REGIONS, "statistic": (*SPREAD_STATISTICS, ICC)}
    places = {key: {name: place for place, name in enumerate(names)} for key, names in orders.items()}
    keys = ["model", "polarity", "threshold", "identity", "region", "statistic"]
    joined = joined.sort_values(keys, key=lambda column: column.map(places.get(column.name, str)), kind="stable")
    return joined[[*keys[:3], "over", *keys[3:], *VALUES, "paper", "difference", "paper_of", "untrained"]]
