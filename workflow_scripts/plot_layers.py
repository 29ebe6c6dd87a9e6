"""Rule plot_layers: see leam.analyses.examples.figure.plot_layers."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.examples.figure import plot_layers

plot_layers(
    snakemake.input.maps,
    snakemake.input.faces,
    snakemake.output.png,
    snakemake.output.pdf,
    seed=snakemake.params.seed,
)
