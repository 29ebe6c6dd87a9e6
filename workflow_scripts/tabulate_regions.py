"""Rule tabulate_regions: see leam.analyses.regions.table.tabulate_regions."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.regions.table import tabulate_regions

analysis = snakemake.params.analysis
tabulate_regions(
    dict(zip(snakemake.params.models, snakemake.input.counts, strict=True)),
    dict(snakemake.output.items()),
    confidence=analysis["confidence"],
)
