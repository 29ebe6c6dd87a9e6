"""Rule train_recogniser: see leam.sample.training.train_recogniser."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.sample.training import train_recogniser

train_recogniser(
    snakemake.wildcards.model,
    snakemake.output.weights,
    snakemake.output.report,
    threads=snakemake.threads,
)
