"""Rule plot_ages: see leam.analyses.ages.figure.plot_ages."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.ages.figure import plot_ages

plot_ages(
    snakemake.input.ages,
    snakemake.output.png,
    snakemake.output.pdf,
    polarity=snakemake.params.analysis["polarity"],
    confidence=snakemake.params.analysis["confidence"],
)
