"""Rule plot_similarity: see leam.analyses.similarity.figure.plot_similarity."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.similarity.figure import plot_similarity

plot_similarity(
    snakemake.input.similarity,
    snakemake.output.png,
    snakemake.output.pdf,
    polarity=snakemake.params.analysis["polarity"],
    confidence=snakemake.params.analysis["confidence"],
)
