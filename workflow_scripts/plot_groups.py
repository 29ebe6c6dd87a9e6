"""Rule plot_groups: see leam.significance_figures.plot_groups."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.significance_figures import plot_groups

plot_groups(
    snakemake.input.drops,
    snakemake.input.significance,
    snakemake.output.png,
    snakemake.output.pdf,
    attribute=snakemake.wildcards.attribute,
    guide=snakemake.params.guide,
    confidence=snakemake.params.analysis["confidence"],
)
