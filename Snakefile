# links -> images -> faces -> maps -> analyses (regions, similarity, occlusion, ...) -> tables, figures -> report, explorer
#
# Every stage and every analysis is one file of rules, which declares its tables and figures at its head; its code stands in
# workflow_scripts/leam/ under the same name (an analysis under analyses/), what it makes under results/.
# {model} is a recogniser, {shard} a group of identities; both follow from the configuration alone.

from snakemake.utils import min_version

min_version("9.0")


configfile: f"{workflow.current_basedir}/config.yaml"


include: "rules/common.smk"
include: "rules/inputs.smk"
include: "rules/links.smk"
include: "rules/images.smk"
include: "rules/sample.smk"
include: "rules/weights.smk"
include: "rules/faces.smk"
include: "rules/duplicates.smk"
include: "rules/margin.smk"
include: "rules/maps.smk"
include: "rules/retention.smk"
include: "rules/verification.smk"
include: "rules/regions.smk"
include: "rules/individuals.smk"
include: "rules/similarity.smk"
include: "rules/occlusion.smk"
include: "rules/groups.smk"
include: "rules/ages.smk"
include: "rules/examples.smk"
include: "rules/localisation.smk"
include: "rules/calibration.smk"
include: "rules/run.smk"
include: "rules/explorer.smk"


# Rules of the user's own: they see results(), TABLES and FIGURES, and may add to them.
for path in settings.custom_rules(config):

    include: path


# As a module, leam leaves the head of the report to the workflow that uses it.
if workflow.modifier.is_main_snakefile():

    report: FIRST_PAGE if os.path.exists(FIRST_PAGE) else FRONT_PAGE


rule all:
    default_target: True
    input:
        results("config.yaml"),
        VERDICT["page"],
        TABLES.values(),
        FIGURES,
        results("explorer/index.html"),
