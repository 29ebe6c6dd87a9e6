"""Rule render_twins: see leam.sample.grafts.render_twins."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.faces.stage import face_settings
from leam.sample.grafts import render_twins

params = snakemake.params
render_twins(
    snakemake.input.faces,
    snakemake.output[0],
    seed=params.seed,
    size=params.source["size"],
    settings=face_settings(params.faces),
    region=params.source["region"],
)
