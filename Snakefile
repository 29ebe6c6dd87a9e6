# links -> images -> faces -> maps -> {regions, similarity, occlusion, significance} -> tables, figures -> report, explorer
#
# Every arrow is one rule file, one module of workflow_scripts/leam/, one folder under results/.
# {model} is a recogniser, {shard} a group of identities; both follow from the configuration alone.

from snakemake.utils import min_version

min_version("9.0")


configfile: f"{workflow.current_basedir}/config.yaml"


include: "rules/common.smk"
include: "rules/config.smk"
include: "rules/links.smk"
include: "rules/images.smk"
include: "rules/training.smk"
include: "rules/weights.smk"
include: "rules/faces.smk"
include: "rules/calibration.smk"
include: "rules/maps.smk"
include: "rules/regions.smk"
include: "rules/similarity.smk"
include: "rules/occlusion.smk"
include: "rules/significance.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/localisation.smk"
include: "rules/explorer.smk"


# Rules of the user's own: they see results(), TABLES and FIGURES, and may add to them.
for path in settings.custom_rules(config):

    include: path


# As a module, leam leaves the head of the report to the workflow that uses it.
if workflow.modifier.is_main_snakefile():

    report: "rules/captions/workflow.rst"


rule all:
    default_target: True
    input:
        results("config.yaml"),
        TABLES.values(),
        FIGURES,
        results("explorer/index.html"),
