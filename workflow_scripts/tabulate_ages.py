"""Rule tabulate_ages: see leam.analyses.ages.table."""

from leam import joblog
from leam.analyses.ages.table import tabulate_ages

joblog.start(snakemake.log[0])


params = snakemake.params
tabulate_ages(
    {model: snakemake.input[f"ages_{model}"] for model in params.models},
    dict(snakemake.output.items()),
    bootstrap_samples=params.analysis["bootstrap_samples"],
    confidence=params.analysis["confidence"],
    seed=params.seed,
)
