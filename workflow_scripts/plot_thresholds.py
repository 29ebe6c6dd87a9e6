"""Rule plot_thresholds: see leam.analyses.regions.figure.plot_thresholds."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.regions.figure import plot_thresholds

plot_thresholds(
    snakemake.input.regions,
    snakemake.output.png,
    snakemake.output.pdf,
    model=snakemake.wildcards.model,
    confidence=snakemake.params.analysis["confidence"],
)
