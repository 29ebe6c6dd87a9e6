"""Rule write_config: see leam.config.write_config."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.config import write_config

write_config(snakemake.output[0], snakemake.params.config)
