"""Rule tabulate_individuals: see leam.analyses.individuals.table.tabulate_individuals."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.individuals.table import tabulate_individuals

models = snakemake.params.models
tabulate_individuals(
    dict(zip(models, snakemake.input.counts, strict=True)),
    dict(zip(models, snakemake.input.images, strict=True)),
    dict(snakemake.output.items()),
    confidence=snakemake.params.confidence,
    table_identities=snakemake.params.table_identities,
    seed=snakemake.params.seed,
)
