"""Rule plot_transfer: see leam.analyses.occlusion.figure.plot_transfer."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.occlusion.figure import plot_transfer

plot_transfer(
    snakemake.input.transfer,
    snakemake.output.png,
    snakemake.output.pdf,
    percent=snakemake.params.percent,
    fill=snakemake.params.fill,
)
