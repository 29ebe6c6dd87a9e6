"""Rule tabulate_occlusion: see leam.analyses.occlusion.table.tabulate_occlusion."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.occlusion.table import tabulate_occlusion

params = snakemake.params
tabulate_occlusion(
    {model: snakemake.input[f"drops_{model}"] for model in params.models},
    snakemake.input.verification,
    dict(snakemake.output.items()),
    guide=params.guide,
    fill=params.fill,
    primary=params.primary,
    confidence=params.analysis["confidence"],
)
