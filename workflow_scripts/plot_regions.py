"""Rule plot_regions: see leam.analyses.regions.figure.plot_regions."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.regions.figure import plot_regions

plot_regions(
    snakemake.input.regions,
    snakemake.output.png,
    snakemake.output.pdf,
    polarity=snakemake.params.analysis["polarity"],
    confidence=snakemake.params.analysis["confidence"],
)
