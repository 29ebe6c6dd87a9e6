"""Rule plot_thresholds: see leam.analyses.regions.figure."""

from leam import joblog
from leam.analyses.regions.figure import plot_thresholds

joblog.start(snakemake.log[0])


plot_thresholds(
    snakemake.input.regions,
    snakemake.output.png,
    snakemake.output.pdf,
    model=snakemake.wildcards.model,
    confidence=snakemake.params.analysis["confidence"],
)
