"""Rule plot_transfer: see leam.analyses.occlusion.figure."""

from leam import joblog
from leam.analyses.occlusion.figure import plot_transfer

joblog.start(snakemake.log[0])


plot_transfer(snakemake.input.transfer, snakemake.output.png, snakemake.output.pdf, percent=snakemake.params.percent)
