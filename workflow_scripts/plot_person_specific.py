"""Rule plot_person_specific: see leam.analyses.occlusion.figure."""

from leam import joblog
from leam.analyses.occlusion.figure import plot_person_specific

joblog.start(snakemake.log[0])


plot_person_specific(
    snakemake.input.occlusion,
    snakemake.input.person_specific,
    dict(snakemake.output.items()),
    percent=snakemake.params.percent,
    confidence=snakemake.params.analysis["confidence"],
)
