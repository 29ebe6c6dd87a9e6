"""How a run differs from the paper's: what its numbers depend on, in words, for captions and as a table."""

from pathlib import Path

from leam import paper
from leam.analyses.occlusion import BLACK_FILL
from leam.analyses.retention import read_retention
from leam.origins import face_origins, recogniser_origin
from leam.recognisers import registry

PAPER_MODELS = ("AF_R18", "AF_R50", "AF_R100", "CF_R18", "CF_R50", "CF_R100", "IR_CASIA", "IR_VGG", "VGG_16")
PAPER_LAYERS = 9  # in the paper's run
NONE = "none"
LITERAL = "``"  # around names in captions, where a_ would lead somewhere
CROPS = {
    "box": "a box around the detection",
    "aligned": "alignment onto ArcFace's template",
    "whole": "the pictures as they are",
}
REGIONS_FROM = {
    "pyfacer": "FaRL's parser",
    "given": "label maps that came with the pictures",
    "landmarks": "polygons of landmarks (no hair, ears, neck, clothes, glasses, hats, jewellery)",
}
PLACED = {"stretched": "stretched over the input", "centred": "placed by receptive fields"}
PAPER_RUN = {  # the paper's run, in words
    "people": "1,000 people in photographs",
    "recognisers": ", ".join(PAPER_MODELS),
    "shared": ", ".join(PAPER_MODELS),
    "untrained": NONE,
    "regions": REGIONS_FROM["pyfacer"],
    "crop": CROPS["box"],
    "maps": "maps stretched over the input, target cosine",
}


def describe_run(config: dict, people: int, words: str) -> str:
    """How this run differs from the paper's, in one sentence for captions.

    config : the merged configuration, its faces decided; people : how many identities its source lists
    words : how captions name the people of its source
    """
    ours = _facts(config, people, words, LITERAL)
    parts = [f"{ours['people']} instead of {PAPER_RUN['people']}", _describe_recognisers(ours)]
    parts += [
        f"{ours[fact]} instead of {PAPER_RUN[fact]}"
        for fact in ("regions", "crop", "maps")
        if ours[fact] != PAPER_RUN[fact]
    ]
    return f"This run differs from the paper's: {'; '.join(parts)}."


def describe_fill(fill: str) -> str:
    """Under which fill a table or figure stands beside the paper's, in one sentence for captions."""
    beside = (
        ", as the paper's" if fill == BLACK_FILL else f"; the paper's is {BLACK_FILL}, which is not among this run's"
    )
    return f"The fill is ``{fill}``{beside}."


def describe_fills(fills: list[str], headline: str) -> str:
    """Why drops stand under several fills, in a paragraph for captions; docs/method.md 5 has the same numbers."""
    names = "``, ``".join(fills)
    return (
        f"**Why several fills** (``{names}``): what takes the place of the pixels decides the answer. Where the truth "
        "is known, in rendered people whose hidden pixels can be taken from another person in the very same picture, "
        "the order of 64 maps by their drop agrees with the true one (Kendall's tau) at 0.77 to 0.86 under the "
        "picture's mean colour, 0.74 to 0.83 under blur, and at 0.57 to 0.64 (sample_arcface) or 0.06 to 0.16 "
        "(sample_cosface) under black. Black even turns the polarity round: first layer, top 1 %, ``loss`` / "
        "``similarity``: black 0.128 / -0.026, mean colour -0.017 / 0.067, true 0.004 / 0.037. So black, the "
        f"paper's fill, stands beside ``{headline}``, the headline's, and both polarities beside each other."
    )


def _describe_recognisers(ours: dict[str, str]) -> str:
    shared = "" if ours["shared"] == ours["recognisers"] else f", {ours['shared']} of them among the paper's nine"
    untrained = "" if ours["untrained"] == NONE else f" ({ours['untrained']} untrained, with random weights)"
    return f"recognisers {ours['recognisers']}{shared}{untrained}"


def _facts(config: dict, people: int, words: str, mark: str = "") -> dict[str, str]:
    """What a run's numbers depend on, in words, under the keys of PAPER_RUN; known before the first job.

    mark : what stands around the name of a recogniser
    """
    models, faces = config["models"], config["faces"]
    untrained = [name for name in models if config["recognisers"].get(name, {}).get("untrained")]

    def joined(names: list[str]) -> str:
        return ", ".join(f"{mark}{name}{mark}" for name in names) or NONE

    return {
        "people": f"{people:,} {words}",
        "recognisers": joined(models),
        "shared": joined([name for name in models if name in PAPER_MODELS]),
        "untrained": joined(untrained),
        "regions": REGIONS_FROM[faces["label_maps"]],
        "crop": CROPS[faces["crop_mode"]],
        "maps": f"maps {PLACED[config['maps']['placement']]}, target {config['maps']['target']}",
    }


def tabulate_run(retention: str | Path, output: str | Path, config: dict, words: str) -> None:
    """run.csv: fact, paper, this_run; what was run, and how much of it, beside the paper's run.

    retention : retention.csv of ``tabulate_retention``; config : the merged configuration, its faces decided
    words : how captions name the people of its source
    """
    import pandas as pd

    from leam.tables import write_table

    entries = config["recognisers"]
    used = face_origins(config["faces"])
    used += [recogniser_origin(registry.recogniser(name, entries.get(name))) for name in config["models"]]
    people, total = read_retention(retention)
    ours = _facts(config, len(people), words)
    lost = (people["kept"] == 0).sum()
    rows = [
        ("people", PAPER_RUN["people"], ours["people"]),
        ("people without usable images", "0", f"{lost:,}"),
        ("images linked", f"{paper.IMAGES_LINKED:,}", f"{total['linked']:,.0f}"),
        ("images kept", f"{paper.IMAGES_KEPT:,}", f"{total['kept']:,.0f}"),
        ("recognisers", PAPER_RUN["recognisers"], ours["recognisers"]),
        ("of them the paper's own", PAPER_RUN["shared"], ours["shared"]),
        ("untrained, with random weights", PAPER_RUN["untrained"], ours["untrained"]),
        ("layers per recogniser", f"{PAPER_LAYERS}", _layers(config)),
        ("regions from", PAPER_RUN["regions"], ours["regions"]),
        ("crop", PAPER_RUN["crop"], ours["crop"]),
        ("maps", PAPER_RUN["maps"], ours["maps"]),
        ("polarity of the maps", "loss in the equations, similarity in the prose", "both"),
    ]
    rows += [
        (f"origin of {origin.part}", "", "; ".join(filter(None, (origin.words, origin.licence)))) for origin in used
    ]
    write_table(pd.DataFrame(rows, columns=["fact", "paper", "this_run"]), output)


def _layers(config: dict) -> str:
    entries = config["recognisers"]
    numbers = {len(registry.recogniser(name, entries.get(name)).layers) for name in config["models"]}
    return ", ".join(f"{number}" for number in sorted(numbers))
