"""Rule average_population: see leam.analyses.similarity.measure.average_population."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.similarity.measure import average_population, similarity_settings

average_population(
    snakemake.input.maps,
    snakemake.input.faces,
    snakemake.output[0],
    settings=similarity_settings(snakemake.params.settings, snakemake.params.grid),
    template_faces=snakemake.params.settings["template_faces"],
    seed=snakemake.params.seed,
)
