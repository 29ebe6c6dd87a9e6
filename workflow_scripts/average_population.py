"""Rule average_population: see leam.analyses.similarity.measure.average_population."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.similarity.measure import average_population, settings_of

average_population(
    snakemake.input.maps,
    snakemake.input.faces,
    snakemake.output[0],
    settings=settings_of(snakemake.params.settings, snakemake.params.grid),
    template_faces=snakemake.params.settings["template_faces"],
    seed=snakemake.params.seed,
)
