"""Rule plot_sensitivity: see leam.analyses.examples.figure.plot_sensitivity."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.examples.figure import plot_sensitivity

plot_sensitivity(
    snakemake.input.maps,
    snakemake.input.faces,
    snakemake.output.png,
    snakemake.output.pdf,
    polarity=snakemake.params.analysis["polarity"],
    seed=snakemake.params.seed,
)
