"""How a run differs from the paper's: what its numbers depend on, in words, for captions and as a table."""

from pathlib import Path

from leam import paper
from leam.config import chosen_faces, layers_of_models
from leam.files import whole_file

MODELS = ("AF_R18", "AF_R50", "AF_R100", "CF_R18", "CF_R50", "CF_R100", "IR_CASIA", "IR_VGG", "VGG_16")
LAYERS = 9  # in the paper's run
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
    names, faces = config["models"], chosen_faces(config)
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
    import pandas as pd

    kept = pd.read_csv(retention, dtype={"identity": str}).set_index("identity")
    total = kept.drop(index="all").sum()
    ours = _facts(config, len(kept) - 1)
    lost = (kept.drop(index="all")["kept"] == 0).sum()
    rows = [
        ("people", PAPER["people"], ours["people"]),
        ("people without usable images", "0", f"{lost:,}"),
        ("images linked", f"{paper.IMAGES_LINKED:,}", f"{total['linked']:,.0f}"),
        ("images kept", f"{paper.IMAGES_KEPT:,}", f"{total['kept']:,.0f}"),
        ("recognisers", PAPER["recognisers"], ours["recognisers"]),
        ("of them the paper's own", PAPER["shared"], ours["shared"]),
        ("untrained, with random weights", PAPER["untrained"], ours["untrained"]),
        ("layers per recogniser", f"{LAYERS}", _layers(config)),
        ("regions from", PAPER["regions"], ours["regions"]),
        ("crop", PAPER["crop"], ours["crop"]),
        ("polarity of the maps", "loss in the equations, similarity in the prose", "both"),
    ]
    with whole_file(output) as part:
        pd.DataFrame(rows, columns=["fact", "paper", "this_run"]).to_csv(part, index=False)


def _layers(config: dict) -> str:
    numbers = {len(layers) for layers in layers_of_models(config).values()}
    return ", ".join(f"{number}" for number in sorted(numbers))
