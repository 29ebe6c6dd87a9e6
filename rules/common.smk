# What all stages share, the checked configuration, the names that follow from it, and small helpers.

import functools
import inspect
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

# found from this file: where leam is a module of another workflow, workflow.basedir is that one's
SCRIPTS = os.path.normpath(
    os.path.join(workflow.current_basedir, "..", "workflow_scripts")
)
sys.path.insert(0, SCRIPTS)
# scripts of a user's own rules import leam too
os.environ.update(
    PYTHONPATH=os.pathsep.join([SCRIPTS, *filter(None, [os.getenv("PYTHONPATH")])])
)

from leam import code, files, joblog, surroundings
from leam import config as settings
from leam import links as link_lists
from leam.analyses import calibration
from leam.analyses.run import table as run_table
from leam.recognisers import registry

# ------------------------------------------------------------------------------------------------- configuration

try:
    config = settings.complete(config)
    SOURCE = settings.chosen_source(config)
    PEOPLE = SOURCE.count()
    SHARDS = link_lists.shard_names(
        link_lists.count_shards(PEOPLE, config["identities_per_job"])
    )
except (settings.ConfigError, ValueError) as error:
    raise WorkflowError(joblog.without_urls(str(error))) from None

MODELS = config["models"]
if config["private"]:
    # Snakemake opens its own log before it reads this
    surroundings.keep_private(workflow.logger_manager.get_logfile())
# for the jobs, and for Snakemake's own line about who runs it
os.environ.update(surroundings.lacking_variables())
if workflow.is_main_process:
    there = Path(config["results"])
    fault = (
        surroundings.fault_of_interpreter(sys.executable)
        or surroundings.fault_of_checkout(SCRIPTS)
        or surroundings.fault_of_closed(there)
        or surroundings.fault_of_clock(there, *settings.brought_files(config))
    )
    if fault:
        raise WorkflowError(fault)
    if too_many := link_lists.larger_shards(
        PEOPLE, config["identities_per_job"], len(MODELS)
    ):
        logger.warning(too_many)
    if unmatched := settings.unmatched_people(config):
        logger.warning(joblog.without_urls(unmatched))

# captions say how runs differ
RUN = run_table.describe_run(settings.decided(config), PEOPLE, SOURCE.words)


# of the report, without its verdicts
FRONT_PAGE = os.path.normpath(os.path.join(SCRIPTS, "../rules/captions/workflow.rst"))


def results(path):
    """A path beneath the folder of the results."""
    return os.path.join(config["results"], path)


wildcard_constraints:
    model="|".join(re.escape(model) for model in MODELS),
    shard=r"\d{5}",
    attribute="gender|ethnicity",
    world="|".join(config["localisation"]["regions"]),


# ------------------------------------------------------------------------------------------------------- outputs

# What `all` asks for: every analysis adds its own at the head of its file.
TABLES, FIGURES = {}, []


def as_it_is(value):
    """A user's text among inputs or parameters: what no function gives, Snakemake searches for wildcards."""
    return lambda wildcards: value


def table_paths(files):
    """{name of a table: its path}, from {name: name of its file}."""
    return {name: results(f"tables/{file}.csv") for name, file in files.items()}


def figure_paths(*names):
    """The two files of each figure."""
    return [
        results(f"figures/{name}.{kind}") for name in names for kind in ("png", "pdf")
    ]


# ------------------------------------------------------------------------------------------------------- helpers


def code_of(rule):
    """A digest of the rule's adapter and all of the library that it leads to: a changed formula runs it again."""
    return code.digest_code(os.path.join(SCRIPTS, f"{rule}.py"))


def code_of_source():
    """A digest of the source's class, which is loaded by its name and so in no rule's digest."""
    return code.digest_code(inspect.getfile(type(SOURCE)))


# Snakemake itself names what failed where it failed, perhaps thousands of lines before the end of a long run.
onerror:
    print(joblog.failures(log), file=sys.stderr)


# A run of nobody ends well, and must not be taken for one of people.
onsuccess:
    from leam.selection import say_nobody

    planned = {path for job in workflow.dag.jobs for path in job.output}
    maps = {model: shards_of(f"maps/{model}") for model in MODELS}
    whole = {
        model: paths for model, paths in maps.items() if planned.issuperset(paths)
    }
    if said := say_nobody(whole):
        logger.warning(said)
