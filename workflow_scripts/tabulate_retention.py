"""Rule tabulate_retention: see leam.analyses.retention.table.tabulate_retention."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.retention.table import tabulate_retention

tabulate_retention(
    snakemake.input.links,
    snakemake.input.faces,
    {model: snakemake.input[f"maps_{model}"] for model in snakemake.params.models},
    snakemake.output.retention,
    snakemake.output.discarded,
    duplicates=snakemake.input.get("duplicates"),
)
