"""The paper's own numbers (arXiv 2509.17457), and a run's tables set beside them."""

from pathlib import Path

import numpy as np
import pandas as pd

from leam import models, storage
from leam.regions import REGION_TITLES, REGIONS

FOLDER = Path(__file__).with_name("paper_tables")
MODELS = ("AF_R18", "AF_R50", "AF_R100", "CF_R18", "CF_R50", "CF_R100", "IR_CASIA", "IR_VGG", "VGG_16")
BASE_RATE_MODEL = "VGG_16"  # its threshold-100 column in table 20 counts all pixels: the area of each region
IMAGES_LINKED, IMAGES_KEPT, LAYERS = 13_838, 13_445, 9  # in the paper's run
NONE = "none"
CROPS = {
    "box": "a box around the detection",
    "aligned": "five-point alignment",
    "whole": "the pictures as they are",
}
PAPER = {  # the paper's run, in words
    "people": "1,000 people in photographs",
    "recognisers": ", ".join(MODELS),
    "shared": ", ".join(MODELS),
    "untrained": NONE,
    "regions": "FaRL's parser",
    "crop": CROPS["box"],
}
SOURCES = {  # how captions name the people of a source
    "sample": "rendered people (no photographs)",
    "folder": "people of a folder of pictures",
    "fgnet": "people of FG-NET",
    "celebamask_hq": "people of CelebAMask-HQ",
    "imdb_face": "people of IMDB-Face",
}


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


def beside(ours: pd.DataFrame, table: pd.DataFrame, keys: list[str], value: str) -> pd.DataFrame:
    """``ours`` with two more columns: ``paper``, the paper's ``value`` for the same ``keys``, and ``difference``,
    ours minus the paper's; both NaN where the paper has no such number.

    ours, table : long form with the columns ``keys`` and ``value``; a key twice in ``table`` is a ValueError
    """
    if table.duplicated(keys).any():
        raise ValueError(
            f"the paper's table has {keys} more than once: {table[table.duplicated(keys)].iloc[0].to_dict()}"
        )
    joined = ours.merge(table[[*keys, value]].rename(columns={value: "paper"}), on=keys, how="left", sort=False)
    joined["difference"] = joined[value] - joined["paper"].astype(np.float64)
    return joined


def shares_by_threshold() -> pd.DataFrame:
    """Tables 12-20, with threshold 100 as the full activation for every model.

    Columns: model, region, threshold_percent, percent. VGG_16's 100 column counts all pixels, so the 100 columns are
    taken from table 10, which equals them elsewhere.
    """
    table = read_table("table12")
    full = read_table("table10").assign(threshold_percent=100.0)
    return pd.concat((table[table["threshold_percent"] < 100], full[table.columns]), ignore_index=True)


def beside_models(ours: pd.DataFrame, table: pd.DataFrame, keys: list[str], value: str) -> pd.DataFrame:
    """``beside`` for tables with a key ``model``: the same recogniser's number where the paper has that recogniser,
    else the mean over the paper's recognisers. A further column ``paper_of`` says whose number it is.
    """
    rest = [key for key in keys if key != "model"]
    names = list(pd.unique(table["model"]))
    mean = table.groupby(rest, sort=False)[value].mean().reset_index()
    others = [mean.assign(model=model) for model in pd.unique(ours["model"]) if model not in names]
    joined = beside(ours, pd.concat((table[[*keys, value]], *others), ignore_index=True), keys, value)
    mean_of = names[0] if len(names) == 1 else f"mean of {len(names)} recognisers"
    whose = joined["model"].where(joined["model"].isin(names), mean_of)
    return joined.assign(paper_of=whose.where(joined["paper"].notna(), ""))


# ----------------------------------------------------------------------------------- how a run differs from the paper


def describe_run(config: dict, people: int) -> str:
    """How this run differs from the paper's, in one sentence for captions.

    config : the merged configuration; people : how many identities its source lists
    """
    ours = _facts(config, people)
    parts = [f"{ours['people']} instead of {PAPER['people']}", _describe_recognisers(ours)]
    parts += [f"{ours[fact]} instead of {PAPER[fact]}" for fact in ("regions", "crop") if ours[fact] != PAPER[fact]]
    return f"This run differs from the paper's: {'; '.join(parts)}."


def _describe_recognisers(ours: dict[str, str]) -> str:
    shared = "" if ours["shared"] == ours["recognisers"] else f", {ours['shared']} of them among the paper's nine"
    untrained = "" if ours["untrained"] == NONE else f" ({ours['untrained']} untrained, with random weights)"
    return f"recognisers {ours['recognisers']}{shared}{untrained}"


def _facts(config: dict, people: int) -> dict[str, str]:
    """What a run's numbers depend on, in words, under the keys of PAPER; known before the first job."""
    names, faces = config["models"], config["faces"]
    return {
        "people": f"{people:,} {SOURCES[config['source']['kind']]}",
        "recognisers": ", ".join(names),
        "shared": ", ".join(name for name in names if name in MODELS) or NONE,
        "untrained": ", ".join(name for name in names if config["recognisers"].get(name, {}).get("untrained")) or NONE,
        "regions": PAPER["regions"] if faces["regions"] == "pyfacer" else "label maps that came with the pictures",
        "crop": CROPS[faces["crop_mode"]],
    }


def tabulate_run(retention: str | Path, output: str | Path, config: dict) -> None:
    """run.csv: fact, paper, this_run; what was run, and how much of it, beside the paper's run.

    retention : retention.csv of ``tables.tabulate_retention``; config : the merged configuration
    """
    kept = pd.read_csv(retention, dtype={"identity": str}).set_index("identity")
    total = kept.drop(index="all").sum()
    ours = _facts(config, len(kept) - 1)
    lost = (kept.drop(index="all")["kept"] == 0).sum()
    rows = [
        ("people", PAPER["people"], ours["people"]),
        ("people without usable images", "0", f"{lost:,}"),
        ("images linked", f"{IMAGES_LINKED:,}", f"{total['linked']:,.0f}"),
        ("images kept", f"{IMAGES_KEPT:,}", f"{total['kept']:,.0f}"),
        ("recognisers", PAPER["recognisers"], ours["recognisers"]),
        ("of them the paper's own", PAPER["shared"], ours["shared"]),
        ("untrained, with random weights", PAPER["untrained"], ours["untrained"]),
        ("layers per recogniser", f"{LAYERS}", _layers(config)),
        ("regions from", PAPER["regions"], ours["regions"]),
        ("crop", PAPER["crop"], ours["crop"]),
        ("polarity of the maps", "loss in the equations, similarity in the prose", "both"),
    ]
    with storage.whole_file(output) as part:
        pd.DataFrame(rows, columns=["fact", "paper", "this_run"]).to_csv(part, index=False)


def _layers(config: dict) -> str:
    numbers = {len(models.recogniser(name, config["recognisers"].get(name)).layers) for name in config["models"]}
    return ", ".join(f"{number}" for number in sorted(numbers))
