"""Rule tabulate_verification: see leam.analyses.verification.table.tabulate_verification."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.verification.table import tabulate_verification

tabulate_verification(
    {model: snakemake.input[f"maps_{model}"] for model in snakemake.params.models},
    snakemake.output[0],
    seed=snakemake.params.seed,
)
