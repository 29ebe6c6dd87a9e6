"""Rule tabulate_run: see leam.analyses.run.table.tabulate_run."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.run.table import tabulate_run

tabulate_run(snakemake.input.retention, snakemake.output[0], snakemake.params.config, snakemake.params.words)
