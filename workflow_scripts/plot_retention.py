"""Rule plot_retention: see leam.analyses.retention.figure."""

from leam import joblog
from leam.analyses.retention.figure import plot_retention

joblog.start(snakemake.log[0])


plot_retention(snakemake.input.retention, snakemake.input.discarded, snakemake.output.png, snakemake.output.pdf)
