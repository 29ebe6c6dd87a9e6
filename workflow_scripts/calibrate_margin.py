"""Rule calibrate_margin: see leam.calibration.calibrate_margin."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.calibration import calibrate_margin
from leam.faces import with_face_models

calibrate_margin(
    snakemake.input.images,
    snakemake.output.table,
    snakemake.output.png,
    snakemake.output.pdf,
    with_face_models(snakemake.params.settings, snakemake.input.get("models")),
    device="cuda" if snakemake.resources.get("gpu") else "auto",
    threads=snakemake.threads,
)
