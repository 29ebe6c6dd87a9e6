"""Rule fetch_face_models: see leam.faces.stage."""

from leam import joblog
from leam.faces.stage import fetch_face_models

joblog.start(snakemake.log[0])


fetch_face_models(snakemake.output[0], snakemake.params.settings)
