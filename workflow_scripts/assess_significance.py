"""Rule assess_significance: see leam.analyses.groups.table.assess_significance."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.groups.table import assess_significance

params = snakemake.params
assess_significance(
    {model: snakemake.input[f"drops_{model}"] for model in params.models},
    dict(zip(params.models, snakemake.input.counts, strict=True)),
    dict(zip(params.models, snakemake.input.images, strict=True)),
    snakemake.input.people,
    snakemake.output[0],
    guide=params.guide,
)
