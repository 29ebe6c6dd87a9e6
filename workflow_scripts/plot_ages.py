"""Rule plot_ages: see leam.significance_figures.plot_ages."""

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
