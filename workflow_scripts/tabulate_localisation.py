"""Rule tabulate_localisation: see leam.analyses.localisation.table."""

from leam import joblog
from leam.analyses.localisation.table import tabulate_localisation

joblog.start(snakemake.log[0])


analysis = snakemake.params.analysis
tabulate_localisation(
    snakemake.input.measured,
    snakemake.output.found,
    snakemake.output.regions,
    bootstrap_samples=analysis["bootstrap_samples"],
    confidence=analysis["confidence"],
    seed=snakemake.params.seed,
)
