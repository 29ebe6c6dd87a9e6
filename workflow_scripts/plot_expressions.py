"""Rule plot_expressions: see leam.analyses.examples.figure.plot_expressions."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.examples.figure import plot_expressions

plot_expressions(
    snakemake.input.maps,
    snakemake.input.faces,
    snakemake.output.png,
    snakemake.output.pdf,
    polarity=snakemake.params.analysis["polarity"],
    identities=snakemake.params.analysis["figure_identities"],
    seed=snakemake.params.seed,
)
