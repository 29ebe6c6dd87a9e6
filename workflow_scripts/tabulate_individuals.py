"""Rule tabulate_individuals: see leam.analyses.individuals.table."""

from leam import joblog
from leam.analyses.individuals.table import tabulate_individuals

joblog.start(snakemake.log[0])


models = snakemake.params.models
tabulate_individuals(
    dict(zip(models, snakemake.input.counts, strict=True)),
    dict(zip(models, snakemake.input.images, strict=True)),
    dict(snakemake.output.items()),
    individuals=snakemake.params.individuals,
    seed=snakemake.params.seed,
)
