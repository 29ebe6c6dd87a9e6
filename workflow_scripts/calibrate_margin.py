"""Rule calibrate_margin: see leam.analyses.margin.table.calibrate_margin."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.margin.table import calibrate_margin
from leam.faces.stage import with_face_models

calibrate_margin(
    snakemake.input.images,
    snakemake.output.table,
    snakemake.output.png,
    snakemake.output.pdf,
    with_face_models(snakemake.params.settings, snakemake.input.get("models")),
    device="cuda" if snakemake.resources.get("gpu") else "auto",
    threads=snakemake.threads,
)
