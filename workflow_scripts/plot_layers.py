"""Rule plot_layers: see leam.analyses.examples.figure."""

from leam import joblog
from leam.analyses.examples.figure import plot_layers

joblog.start(snakemake.log[0])


plot_layers(
    snakemake.input.maps,
    snakemake.input.faces,
    snakemake.output.png,
    snakemake.output.pdf,
    seed=snakemake.params.seed,
)
