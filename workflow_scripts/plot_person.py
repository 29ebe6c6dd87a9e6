"""Rule plot_person: see leam.analyses.examples.figure.plot_person."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.examples.figure import plot_person

plot_person(
    {model: snakemake.input[f"maps_{model}"] for model in snakemake.params.models},
    snakemake.input.faces,
    snakemake.output.png,
    snakemake.output.pdf,
    polarity=snakemake.params.analysis["polarity"],
    images=snakemake.params.analysis["figure_images"],
    seed=snakemake.params.seed,
)
