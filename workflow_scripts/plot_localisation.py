"""Rule plot_localisation: see leam.analyses.localisation.figure.plot_localisation."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.localisation.figure import plot_localisation

plot_localisation(
    snakemake.input.found,
    snakemake.input.regions,
    snakemake.input.faces,
    snakemake.input.maps,
    snakemake.output.png,
    snakemake.output.pdf,
    seed=snakemake.params.seed,
)
