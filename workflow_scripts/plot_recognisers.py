"""Rule plot_recognisers: see leam.analyses.examples.figure.plot_recognisers."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.examples.figure import plot_recognisers

plot_recognisers(
    {model: snakemake.input[f"maps_{model}"] for model in snakemake.params.models},
    snakemake.input.faces,
    snakemake.output.png,
    snakemake.output.pdf,
    polarity=snakemake.params.analysis["polarity"],
    seed=snakemake.params.seed,
)
