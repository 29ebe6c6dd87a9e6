"""The paper's own numbers (arXiv 2509.17457), and a run's tables set beside them."""

from pathlib import Path

import numpy as np
import pandas as pd

from leam.regions import REGIONS

FOLDER = Path(__file__).with_name("paper_tables")

# The paper's names of the regions, in the order of REGIONS: no stage that computes knows them.
REGION_TITLES = (
    "background",
    "neck",
    "face",
    "clothes",
    "right ear",
    "left ear",
    "right eyebrow",
    "left eyebrow",
    "right eye",
    "left eye",
    "nose",
    "inner mouth",
    "lower lip",
    "upper lip",
    "hair",
    "eyeglasses",
    "hat",
    "earrings",
    "necklace",
)

IMAGES_LINKED, IMAGES_KEPT = 13_838, 13_445  # 97.2 %
PAPER_LEAM, PAPER_RANDOM = OCCLUSIONS = ("leam", "random")  # by a guide's maps, and by random pixels
BASE_RATE_MODEL = "VGG_16"  # its threshold-100 column in table 20 counts all pixels: the area of each region


def read_table(name: str) -> pd.DataFrame:
    """A table of the paper by its file's stem or beginning (``table03``), long form; regions by FaRL's short names.

    Raises ValueError for a name that fits no table or several.
    """
    found = sorted(path for path in FOLDER.glob("*.csv") if path.stem.startswith(name))
    if len(found) != 1:
        known = ", ".join(path.stem for path in sorted(FOLDER.glob("*.csv")))
        raise ValueError(f"{name!r} names {len(found)} of the paper's tables; expected one of {known}")
    table = pd.read_csv(found[0])
    if "region" in table:
        table["region"] = table["region"].map(dict(zip(REGION_TITLES, REGIONS, strict=True)))
    return table


def base_rates() -> pd.Series:
    """Percent of all pixels of the paper's crops in each region it lists (table 20's last column), by region."""
    table = read_table("table12")
    chosen = table[(table["model"] == BASE_RATE_MODEL) & (table["threshold_percent"] == 100)]
    return chosen.set_index("region")["percent"]


def beside(
    ours: pd.DataFrame, table: pd.DataFrame, keys: list[str], value: str, whose: str | pd.Series | None = None
) -> pd.DataFrame:
    """``ours`` with three more columns: ``paper``, the paper's ``value`` for the same ``keys``, ``difference``, ours
    minus the paper's, both NaN where the paper has no such number, and ``paper_of``, whose number it is.

    ours, table : long form with the columns ``keys`` and ``value``; a key twice in ``table`` is a ValueError
    whose : of all rows or of each; the row's ``model`` where it is None
    """
    if table.duplicated(keys).any():
        raise ValueError(
            f"the paper's table has {keys} more than once: {table[table.duplicated(keys)].iloc[0].to_dict()}"
        )
    joined = ours.merge(table[[*keys, value]].rename(columns={value: "paper"}), on=keys, how="left", sort=False)
    joined["difference"] = joined[value] - joined["paper"].astype(np.float64)
    return joined.assign(paper_of=np.where(joined["paper"].notna(), ours["model"] if whose is None else whose, ""))


def shares_by_threshold() -> pd.DataFrame:
    """Tables 12-20, with threshold 100 as the full activation for every model.

    Columns: model, region, threshold_percent, percent. VGG_16's 100 column counts all pixels, so the 100 columns are
    taken from table 10, which equals them elsewhere.
    """
    table = read_table("table12")
    full = read_table("table10").assign(threshold_percent=100.0)
    return pd.concat((table[table["threshold_percent"] < 100], full[table.columns]), ignore_index=True)


def whose_mean(number: int) -> str:
    """Whose number a mean over recognisers is, as columns ``paper_of`` say it."""
    return f"mean of {number} recognisers"


def beside_models(ours: pd.DataFrame, table: pd.DataFrame, keys: list[str], value: str) -> pd.DataFrame:
    """``beside`` for tables with a key ``model``: the same recogniser's number where the paper has that recogniser,
    else the mean over the paper's recognisers, as ``paper_of`` says.
    """
    rest = [key for key in keys if key != "model"]
    names = list(pd.unique(table["model"]))
    mean = table.groupby(rest, sort=False)[value].mean().reset_index()
    others = [mean.assign(model=model) for model in pd.unique(ours["model"]) if model not in names]
    mean_of = names[0] if len(names) == 1 else whose_mean(len(names))
    whose = ours["model"].astype(str).where(ours["model"].isin(names), mean_of)
    return beside(ours, pd.concat((table[[*keys, value]], *others), ignore_index=True), keys, value, whose)
