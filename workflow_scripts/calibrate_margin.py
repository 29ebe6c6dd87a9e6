"""Rule calibrate_margin: see leam.analyses.margin.table."""

from leam import joblog
from leam.analyses.margin.table import calibrate_margin
from leam.faces.stage import with_face_models

joblog.start(snakemake.log[0])


calibrate_margin(
    snakemake.input.images,
    snakemake.output.table,
    snakemake.output.png,
    snakemake.output.pdf,
    with_face_models(snakemake.params.settings, snakemake.input.get("models")),
    device="cuda" if snakemake.resources.get("gpu") else "auto",
    threads=snakemake.threads,
)
