"""Rule parse_faces: see leam.faces.stage.parse_faces."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.faces.stage import parse_faces, with_face_models

parse_faces(
    snakemake.input.images,
    snakemake.output[0],
    with_face_models(snakemake.params.settings, snakemake.input.get("models")),
    device="cuda" if snakemake.resources.get("gpu") else "auto",
    threads=snakemake.threads,
)
