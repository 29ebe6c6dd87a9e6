"""Rule plot_maps: see leam.analyses.examples.figure.plot_maps."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.examples.figure import plot_maps

analysis = snakemake.params.analysis
plot_maps(
    snakemake.input.maps,
    snakemake.input.faces,
    snakemake.output.png,
    snakemake.output.pdf,
    polarity=analysis["polarity"],
    identities=analysis["figure_identities"],
    images=analysis["figure_images"],
    seed=snakemake.params.seed,
)
