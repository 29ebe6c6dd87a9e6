"""Rule plot_regions: see leam.analyses.regions.figure."""

from leam import joblog
from leam.analyses.regions.figure import plot_regions

joblog.start(snakemake.log[0])


plot_regions(
    snakemake.input.regions,
    snakemake.output.png,
    snakemake.output.pdf,
    polarity=snakemake.params.analysis["polarity"],
    confidence=snakemake.params.analysis["confidence"],
)
