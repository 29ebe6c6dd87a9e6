"""Rule plot_expressions: see leam.analyses.examples.figure."""

from leam import joblog
from leam.analyses.examples.figure import plot_expressions

joblog.start(snakemake.log[0])


plot_expressions(
    snakemake.input.maps,
    snakemake.input.faces,
    snakemake.output.png,
    snakemake.output.pdf,
    polarity=snakemake.params.analysis["polarity"],
    identities=snakemake.params.analysis["figure_identities"],
    seed=snakemake.params.seed,
)
