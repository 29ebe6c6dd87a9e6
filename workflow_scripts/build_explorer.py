"""Rule build_explorer: see leam.explorer.build_explorer."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.explorer import build_explorer

build_explorer(
    {model: snakemake.input[f"maps_{model}"] for model in snakemake.params.models},
    snakemake.input.faces,
    snakemake.input.verification,
    snakemake.output[0],
    **snakemake.params.settings,
    seed=snakemake.params.seed,
)
