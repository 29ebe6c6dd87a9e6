"""Rule tabulate_similarity: see leam.analyses.similarity.table.tabulate_similarity."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.similarity.table import tabulate_similarity

analysis = snakemake.params.analysis
pairs, nulls = (
    {model: snakemake.input[f"{kind}_{model}"] for model in snakemake.params.models} for kind in ("pairs", "nulls")
)
tabulate_similarity(
    pairs,
    nulls,
    dict(snakemake.output.items()),
    confidence=analysis["confidence"],
)
