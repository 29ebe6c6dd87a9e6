"""Rule tabulate_run: see leam.analyses.run.table."""

from leam import joblog
from leam.analyses.run.table import tabulate_run

joblog.start(snakemake.log[0])


tabulate_run(snakemake.input.retention, snakemake.output[0], snakemake.params.config)
