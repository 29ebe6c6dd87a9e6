"""Rule tabulate_groups: see leam.analyses.groups.table."""

from leam import joblog
from leam.analyses.groups.table import tabulate_groups

joblog.start(snakemake.log[0])


analysis = snakemake.params.analysis
tabulate_groups(
    dict(zip(snakemake.params.models, snakemake.input.counts, strict=True)),
    snakemake.input.demographics,
    snakemake.output[0],
    polarity=analysis["polarity"],
    bootstrap_samples=analysis["bootstrap_samples"],
    confidence=analysis["confidence"],
    seed=snakemake.params.seed,
)
