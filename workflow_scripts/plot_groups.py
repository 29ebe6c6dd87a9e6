"""Rule plot_groups: see leam.analyses.groups.figure.plot_groups."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.groups.figure import plot_groups

plot_groups(
    snakemake.input.drops,
    snakemake.input.significance,
    snakemake.output.png,
    snakemake.output.pdf,
    attribute=snakemake.wildcards.attribute,
    guide=snakemake.params.guide,
    fill=snakemake.params.fill,
    confidence=snakemake.params.analysis["confidence"],
)
