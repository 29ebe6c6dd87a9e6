"""Rule measure_similarity: see leam.analyses.similarity.measure."""

from leam import joblog
from leam.analyses.similarity.measure import measure_similarity, settings_of

joblog.start(snakemake.log[0])


measure_similarity(
    snakemake.input.maps,
    snakemake.input.faces,
    snakemake.input.population,
    snakemake.output.pairs,
    snakemake.output.nulls,
    settings=settings_of(snakemake.params.settings, snakemake.params.grid),
    seed=snakemake.params.seed,
    processes=snakemake.threads,
)
