"""Rule plot_calibration: see leam.analyses.calibration.figure.plot_calibration."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.calibration import SIZES
from leam.analyses.calibration.figure import plot_calibration

params = snakemake.params
plot_calibration(
    snakemake.input.calibration,
    snakemake.output.png,
    snakemake.output.pdf,
    placement=params.maps["placement"],
    target=params.maps["target"],
    images=max(SIZES[params.size].images),
)
