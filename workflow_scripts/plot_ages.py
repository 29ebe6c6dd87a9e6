"""Rule plot_ages: see leam.analyses.ages.figure."""

from leam import joblog
from leam.analyses.ages.figure import plot_ages

joblog.start(snakemake.log[0])


plot_ages(
    snakemake.input.ages,
    snakemake.output.png,
    snakemake.output.pdf,
    polarity=snakemake.params.analysis["polarity"],
    confidence=snakemake.params.analysis["confidence"],
)
