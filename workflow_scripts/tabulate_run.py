"""Rule tabulate_run: see leam.runs.tabulate_run."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.runs import tabulate_run

tabulate_run(snakemake.input.retention, snakemake.output[0], snakemake.params.config)
