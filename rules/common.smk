# What all stages share, the checked configuration, the names that follow from it, and small helpers.

import os
import re
import sys

from snakemake.exceptions import WorkflowError

LIBRARY = os.path.join(workflow.basedir, "workflow_scripts", "leam")
sys.path.insert(0, os.path.dirname(LIBRARY))

from leam import config as settings
from leam import joblog
from leam import links as link_lists

# ------------------------------------------------------------------------------------------------- configuration

try:
    config = settings.complete(config)
    SOURCE = settings.source_settings(config)
    SHARDS = link_lists.shard_names(
        link_lists.count_shards(
            len(link_lists.list_identities(SOURCE)), config["identities_per_job"]
        )
    )
except (settings.ConfigError, ValueError) as error:
    raise WorkflowError(str(error)) from None

MODELS = config["models"]


def results(path):
    """A path beneath the folder of the results."""
    return os.path.join(config["results"], path)


wildcard_constraints:
    model="|".join(re.escape(model) for model in MODELS),
    shard=r"\d{5}",


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
if config["demographics"]:
    TABLES["groups"] = results("tables/groups.csv")
FIGURES = [
    results(f"figures/{name}.{kind}")
    for name in ("regions", *(f"maps_{model}" for model in MODELS))
    for kind in ("png", "pdf")
]

# ------------------------------------------------------------------------------------------------------- helpers


def library(*modules):
    """The library files that a stage depends on: a changed formula runs it again."""
    return [f"{LIBRARY}/{module}.py" for module in modules]


def weights_file(wildcards):
    """The weights of a model, as an input where the file exists; fetch_weights says what is missing."""
    entry = settings.models.recogniser(
        wildcards.model, settings.recogniser_entry(config, wildcards.model)
    )
    exists = entry.weights and not entry.untrained and os.path.isfile(entry.weights)
    return [entry.weights] if exists else []


def recogniser_entry(wildcards):
    return settings.recogniser_entry(config, wildcards.model)


def shards_of(kind):
    """The files of a stage for every shard."""
    return [results(f"{kind}/{shard}.h5") for shard in SHARDS]


def maps_of_model(wildcards):
    return shards_of(f"maps/{wildcards.model}")


MAPS = {f"maps_{model}": shards_of(f"maps/{model}") for model in MODELS}


# Snakemake itself names what failed where it failed, perhaps thousands of lines before the end of a long run.
onerror:
    print(joblog.failures(log), file=sys.stderr)
