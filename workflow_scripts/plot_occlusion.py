"""Rule plot_occlusion: see leam.analyses.occlusion.figure.plot_occlusion."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.occlusion.figure import plot_occlusion

plot_occlusion(
    snakemake.input.occlusion,
    snakemake.input.decisions,
    dict(snakemake.output.items()),
    guide=snakemake.params.guide,
    fill=snakemake.params.fill,
    confidence=snakemake.params.analysis["confidence"],
)
