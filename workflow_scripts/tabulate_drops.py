"""Rule tabulate_drops: see leam.analyses.groups.table.tabulate_drops."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.groups.table import tabulate_drops

params = snakemake.params
tabulate_drops(
    {model: snakemake.input[f"drops_{model}"] for model in params.models},
    snakemake.input.people,
    dict(snakemake.output.items()),
    guide=params.guide,
    fill=params.fill,
    confidence=params.analysis["confidence"],
)
