"""Rule tabulate_run: see leam.paper.tabulate_run."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.paper import tabulate_run

tabulate_run(snakemake.input.retention, snakemake.output[0], snakemake.params.config)
