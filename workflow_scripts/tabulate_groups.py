"""Rule tabulate_groups: see leam.analyses.groups.table.tabulate_groups."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.groups.table import tabulate_groups

analysis = snakemake.params.analysis
tabulate_groups(
    dict(zip(snakemake.params.models, snakemake.input.counts, strict=True)),
    snakemake.input.people,
    snakemake.output[0],
    polarity=analysis["polarity"],
    confidence=analysis["confidence"],
)
