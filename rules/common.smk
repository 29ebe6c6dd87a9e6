# What all stages share, the checked configuration, the names that follow from it, and small helpers.

import os
import re
import sys

from snakemake.exceptions import WorkflowError

# found from this file: where leam is a module of another workflow, workflow.basedir is that one's
SCRIPTS = os.path.normpath(
    os.path.join(workflow.current_basedir, "..", "workflow_scripts")
)
sys.path.insert(0, SCRIPTS)
# scripts of a user's own rules import leam too
os.environ.update(
    PYTHONPATH=os.pathsep.join([SCRIPTS, *filter(None, [os.getenv("PYTHONPATH")])])
)

from leam import code, files, joblog
from leam import config as settings
from leam import links as link_lists
from leam.analyses.run import table as run_table
from leam.recognisers import registry

# ------------------------------------------------------------------------------------------------- configuration

try:
    config = settings.complete(config)
    SOURCE = settings.source_settings(config)
    PEOPLE = link_lists.count_identities(SOURCE)
    SHARDS = link_lists.shard_names(
        link_lists.count_shards(PEOPLE, config["identities_per_job"])
    )
except (settings.ConfigError, ValueError) as error:
    raise WorkflowError(str(error)) from None

MODELS = config["models"]
RUN = run_table.describe_run(
    config, PEOPLE
)  # the captions' sentence on how runs differ


def results(path):
    """A path beneath the folder of the results."""
    return os.path.join(config["results"], path)


wildcard_constraints:
    model="|".join(re.escape(model) for model in MODELS),
    shard=r"\d{5}",
    attribute="gender|ethnicity",
    world="|".join(config["localisation"]["regions"]),


# ------------------------------------------------------------------------------------------------------- outputs

TABLES = {
    name: results(f"tables/{file}.csv")
    for name, file in {
        "retention": "retention",
        "discarded": "discarded",
        "verification": "verification",
        "regions": "regions",
        "table01": "table01_layer_regions",
        "table02": "table02_first_layer_regions",
        "table10": "table10_regions_full",
        "table11": "table11_regions_top1",
    }.items()
}
TABLES |= {
    "similarity": results("tables/similarity.csv"),
    "table03": results("tables/table03_bc_same.csv"),
    "table04": results("tables/table04_bc_different.csv"),
    "table05": results("tables/table05_emd_same.csv"),
    "table06": results("tables/table06_emd_different.csv"),
}
if config["demographics"]:
    TABLES["groups"] = results("tables/groups.csv")
if SOURCE["kind"] == "imdb_face":
    TABLES["scraping"] = results("tables/scraping.csv")
FIGURES = [
    results(f"figures/{name}.{kind}")
    for name in ("regions", *(f"maps_{model}" for model in MODELS))
    for kind in ("png", "pdf")
]

WORLDS = config["localisation"]["regions"]
LOCALISATION = {
    "found": results("tables/localisation.csv"),
    "regions": results("tables/localisation_regions.csv"),
    "png": results("figures/localisation.png"),
    "pdf": results("figures/localisation.pdf"),
}
if settings.wants_localisation(config):
    TABLES |= {
        "localisation": LOCALISATION["found"],
        "localisation_regions": LOCALISATION["regions"],
    }
    FIGURES += [LOCALISATION["png"], LOCALISATION["pdf"]]
FIGURES += [
    results(f"figures/{name}.{kind}")
    for name in ("retention", "similarity")
    for kind in ("png", "pdf")
]

# Occlusion (rules/occlusion.smk)
TABLES |= {
    name: results(f"tables/{file}.csv")
    for name, file in {
        "occlusion": "occlusion",
        "decisions": "decisions",
        "person_specific": "person_specific",
        "transfer": "transfer",
        "table09": "table09_occlusion_drop",
        "table21": "table21_occlusion_drop_by_model",
    }.items()
}
FIGURES += [
    results(f"figures/{name}.{kind}")
    for name in (
        "figure08_occlusion",
        "decisions",
        "transfer",
        "person_specific",
        "person_specific_layers",
    )
    for kind in ("png", "pdf")
]

# Examples, thresholds and individuals (rules/figures.smk, rules/tables.smk)
TABLES |= {
    name: results(f"tables/{file}.csv")
    for name, file in {
        "table12_to_20": "table12_to_20_regions_by_threshold",
        "run": "run",
        "individuals": "individuals",
        "table07": "table07_regions_by_individual",
        "table08": "table08_individual_statistics",
    }.items()
}
EXAMPLES = ("layers", "sensitivity", "thresholds")
EXPRESSIONS = settings.chosen_faces(config)["landmarks"] != "none"
FIGURES += [
    results(f"figures/{name}.{kind}")
    for name in (
        "person",
        "recognisers",
        *(
            f"{figure}_{model}"
            for figure in (*EXAMPLES, *["expressions"] * EXPRESSIONS)
            for model in MODELS
        ),
    )
    for kind in ("png", "pdf")
]

# Groups and ages (rules/significance.smk)
ATTRIBUTES = settings.attributes(config)
AGE_PATTERN = settings.age_pattern(config)
DROP_TABLES = {
    name: results(f"tables/{file}.csv")
    for name, file in {
        "drops_by_group": "drops_by_group",
        "table22": "table22_occlusion_drop_female",
        "table23": "table23_occlusion_drop_male",
    }.items()
    if "gender" in ATTRIBUTES or name == "drops_by_group"
}
if ATTRIBUTES:
    TABLES |= DROP_TABLES | {"significance": results("significance.csv")}
if AGE_PATTERN:
    TABLES["table24"] = results("tables/table24_age_difference.csv")
    TABLES["age_slopes"] = results("tables/age_slopes.csv")
FIGURES += [
    results(f"figures/{name}.{kind}")
    for name in (
        *(f"drops_by_{attribute}" for attribute in ATTRIBUTES),
        *["ages"] * bool(AGE_PATTERN),
    )
    for kind in ("png", "pdf")
]

# ------------------------------------------------------------------------------------------------------- helpers


def code_of(rule):
    """A digest of the rule's adapter and all of the library that it leads to: a changed formula runs it again."""
    return code.digest(os.path.join(SCRIPTS, f"{rule}.py"))


def weights_of(wildcards):
    """The weights' file of a model where it has one and it exists; fetch_weights says what is missing."""
    entry = registry.recogniser(wildcards.model, recogniser_entry(wildcards))
    exists = entry.weights and not entry.untrained and os.path.isfile(entry.weights)
    return [entry.weights] if exists else []


def brought(paths):
    """Those of some files that a user brings, as inputs."""
    return [path for path in paths if not registry.is_shipped(path)]


def shipped(paths):
    """Digests of those of some files that ship: as parameters, so that a checkout may be moved."""
    return [files.sha256(path) for path in paths if registry.is_shipped(path)]


def weights_file(wildcards):
    return brought(weights_of(wildcards))


def shipped_weights(wildcards):
    return shipped(weights_of(wildcards))


def recogniser_entry(wildcards):
    return settings.recogniser_entry(config, wildcards.model)


def shards_of(kind):
    """The files of a stage for every shard."""
    return [results(f"{kind}/{shard}.h5") for shard in SHARDS]


def maps_of_model(wildcards):
    return shards_of(f"maps/{wildcards.model}")


def world_weights(wildcards):
    """The weights of the recognisers that are looked into in a world, as inputs where the files exist."""
    return brought(settings.world_weights(config, wildcards.world))


def shipped_world_weights(wildcards):
    return shipped(settings.world_weights(config, wildcards.world))


def guides_of_model(wildcards):
    return settings.guides_of_model(config, wildcards.model)


def guides_maps(wildcards):
    return [
        results(f"maps/{guide}/{wildcards.shard}.h5")
        for guide in guides_of_model(wildcards)
    ]


DROPS = {
    f"drops_{model}": [
        results(f"occlusion/{model}/{shard}.parquet") for shard in SHARDS
    ]
    for model in MODELS
}
MAPS = {f"maps_{model}": shards_of(f"maps/{model}") for model in MODELS}

# What fetch_face_models found, where model files are needed.
FACE_MODELS = (
    {"models": results("face_models/files.json")}
    if settings.face_model_files(config)
    else {}
)


def shards_compared(wildcards):
    """A shard, and those from which it takes different people to compare with."""
    limit = config["similarity"]["partner_shards"]
    others = link_lists.partner_shards(wildcards.shard, SHARDS, limit, config["seed"])
    return [wildcards.shard, *others]


def maps_compared(wildcards):
    return [
        results(f"maps/{wildcards.model}/{shard}.h5")
        for shard in shards_compared(wildcards)
    ]


def faces_compared(wildcards):
    return [results(f"faces/{shard}.h5") for shard in shards_compared(wildcards)]


SIMILARITY = {
    f"{kind}_{model}": [
        results(f"similarity/{model}/{shard}{ending}.parquet") for shard in SHARDS
    ]
    for kind, ending in (("pairs", ""), ("nulls", ".null"))
    for model in MODELS
}


def age_guides(wildcards):
    """The recognisers whose maps measure_ages reads: its own, for its embeddings, and the guide's."""
    return list(dict.fromkeys([wildcards.model, settings.paper_guide(config)]))


def age_maps(wildcards):
    return [
        results(f"maps/{model}/{wildcards.shard}.h5") for model in age_guides(wildcards)
    ]


AGES = {
    f"ages_{model}": [results(f"ages/{model}/{shard}.parquet") for shard in SHARDS]
    for model in MODELS
}


# Snakemake itself names what failed where it failed, perhaps thousands of lines before the end of a long run.
onerror:
    print(joblog.failures(log), file=sys.stderr)
