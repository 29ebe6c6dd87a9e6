"""Rule plot_person_specific: see leam.analyses.occlusion.figure.plot_person_specific."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.occlusion.figure import plot_person_specific

plot_person_specific(
    snakemake.input.occlusion,
    snakemake.input.person_specific,
    dict(snakemake.output.items()),
    percent=snakemake.params.percent,
    fill=snakemake.params.fill,
    verdicts=snakemake.input.verdict,
    confidence=snakemake.params.analysis["confidence"],
)
