"""Rule measure_similarity: see leam.analyses.similarity.measure.measure_similarity."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.similarity.measure import measure_similarity, similarity_settings

measure_similarity(
    snakemake.input.maps,
    snakemake.input.faces,
    snakemake.input.population,
    snakemake.output.pairs,
    snakemake.output.nulls,
    settings=similarity_settings(snakemake.params.settings, snakemake.params.grid),
    seed=snakemake.params.seed,
    processes=snakemake.threads,
)
