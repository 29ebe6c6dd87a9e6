"""Rule train_recogniser: see leam.sample.training."""

from leam import joblog
from leam.sample.training import train_recogniser

joblog.start(snakemake.log[0])


train_recogniser(
    snakemake.wildcards.model,
    snakemake.output.weights,
    snakemake.output.report,
    threads=snakemake.threads,
)
