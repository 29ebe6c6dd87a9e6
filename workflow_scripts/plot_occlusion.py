"""Rule plot_occlusion: see leam.analyses.occlusion.figure."""

from leam import joblog
from leam.analyses.occlusion.figure import plot_occlusion

joblog.start(snakemake.log[0])


plot_occlusion(
    snakemake.input.occlusion,
    snakemake.input.decisions,
    dict(snakemake.output.items()),
    guide=snakemake.params.guide,
    confidence=snakemake.params.analysis["confidence"],
)
