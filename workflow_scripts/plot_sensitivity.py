"""Rule plot_sensitivity: see leam.analyses.examples.figure."""

from leam import joblog
from leam.analyses.examples.figure import plot_sensitivity

joblog.start(snakemake.log[0])


plot_sensitivity(
    snakemake.input.maps,
    snakemake.input.faces,
    snakemake.output.png,
    snakemake.output.pdf,
    polarity=snakemake.params.analysis["polarity"],
    grid=snakemake.params.grid,
    seed=snakemake.params.seed,
)
