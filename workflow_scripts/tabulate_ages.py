"""Rule tabulate_ages: see leam.analyses.ages.table.tabulate_ages."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.ages.table import tabulate_ages

params = snakemake.params
tabulate_ages(
    {model: snakemake.input[f"ages_{model}"] for model in params.models},
    dict(snakemake.output.items()),
    fill=params.fill,
    confidence=params.analysis["confidence"],
)
