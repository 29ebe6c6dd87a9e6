"""Rule plot_similarity: see leam.analyses.similarity.figure."""

from leam import joblog
from leam.analyses.similarity.figure import plot_similarity

joblog.start(snakemake.log[0])


plot_similarity(
    snakemake.input.similarity,
    snakemake.output.png,
    snakemake.output.pdf,
    polarity=snakemake.params.analysis["polarity"],
    confidence=snakemake.params.analysis["confidence"],
)
