"""Rule tabulate_verification: see leam.analyses.verification.table."""

from leam import joblog
from leam.analyses.verification.table import tabulate_verification

joblog.start(snakemake.log[0])


tabulate_verification(
    {model: snakemake.input[f"maps_{model}"] for model in snakemake.params.models},
    snakemake.output[0],
    seed=snakemake.params.seed,
)
