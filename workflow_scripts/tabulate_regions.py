"""Rule tabulate_regions: see leam.tables.tabulate_regions."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.tables import tabulate_regions

analysis = snakemake.params.analysis
tabulate_regions(
    dict(zip(snakemake.params.models, snakemake.input.counts, strict=True)),
    dict(snakemake.output.items()),
    bootstrap_samples=analysis["bootstrap_samples"],
    confidence=analysis["confidence"],
    seed=snakemake.params.seed,
)
