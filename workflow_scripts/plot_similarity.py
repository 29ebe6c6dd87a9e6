"""Rule plot_similarity: see leam.figures.plot_similarity."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.figures import plot_similarity

plot_similarity(
    snakemake.input.similarity,
    snakemake.output.png,
    snakemake.output.pdf,
    polarity=snakemake.params.analysis["polarity"],
    confidence=snakemake.params.analysis["confidence"],
)
