"""Rule plot_layers: see leam.examples.plot_layers."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.examples import plot_layers

plot_layers(
    snakemake.input.maps,
    snakemake.input.faces,
    snakemake.output.png,
    snakemake.output.pdf,
    seed=snakemake.params.seed,
)
