"""Rule plot_localisation: see leam.analyses.localisation.figure."""

from leam import joblog
from leam.analyses.localisation.figure import plot_localisation

joblog.start(snakemake.log[0])


plot_localisation(
    snakemake.input.found,
    snakemake.input.regions,
    snakemake.input.faces,
    snakemake.input.maps,
    snakemake.output.png,
    snakemake.output.pdf,
    seed=snakemake.params.seed,
)
