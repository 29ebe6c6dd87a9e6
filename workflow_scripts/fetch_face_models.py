"""Rule fetch_face_models: see leam.faces.stage.fetch_face_models."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.faces.stage import fetch_face_models

fetch_face_models(snakemake.output[0], snakemake.params.settings)
