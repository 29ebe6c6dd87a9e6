"""Rule plot_groups: see leam.analyses.groups.figure."""

from leam import joblog
from leam.analyses.groups.figure import plot_groups

joblog.start(snakemake.log[0])


plot_groups(
    snakemake.input.drops,
    snakemake.input.significance,
    snakemake.output.png,
    snakemake.output.pdf,
    attribute=snakemake.wildcards.attribute,
    guide=snakemake.params.guide,
    confidence=snakemake.params.analysis["confidence"],
)
