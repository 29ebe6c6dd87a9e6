"""Rule tabulate_localisation: see leam.analyses.localisation.table.tabulate_localisation."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.localisation.table import tabulate_localisation

analysis = snakemake.params.analysis
tabulate_localisation(
    snakemake.input.measured,
    snakemake.output.found,
    snakemake.output.regions,
    confidence=analysis["confidence"],
)
