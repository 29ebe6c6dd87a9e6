"""Rule average_maps: see leam.similarity.average_maps."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.similarity import average_maps, settings_of

average_maps(
    snakemake.input.maps,
    snakemake.input.faces,
    snakemake.output[0],
    settings=settings_of(snakemake.params.settings, snakemake.params.grid),
    template_faces=snakemake.params.settings["template_faces"],
    seed=snakemake.params.seed,
)
