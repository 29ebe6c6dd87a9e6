"""Rule tabulate_regions: see leam.analyses.regions.table."""

from leam import joblog
from leam.analyses.regions.table import tabulate_regions

joblog.start(snakemake.log[0])


analysis = snakemake.params.analysis
tabulate_regions(
    dict(zip(snakemake.params.models, snakemake.input.counts, strict=True)),
    dict(snakemake.output.items()),
    bootstrap_samples=analysis["bootstrap_samples"],
    confidence=analysis["confidence"],
    seed=snakemake.params.seed,
)
