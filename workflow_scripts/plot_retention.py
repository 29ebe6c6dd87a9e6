"""Rule plot_retention: see leam.analyses.retention.figure.plot_retention."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.retention.figure import plot_retention

plot_retention(snakemake.input.retention, snakemake.input.discarded, snakemake.output.png, snakemake.output.pdf)
