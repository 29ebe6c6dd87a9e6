"""Rule plot_ages: see leam.significance_figures.plot_ages."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.significance_figures import plot_ages

plot_ages(
    snakemake.input.ages,
    snakemake.output.png,
    snakemake.output.pdf,
    polarity=snakemake.params.analysis["polarity"],
    confidence=snakemake.params.analysis["confidence"],
)
