"""Rule tabulate_calibration: see leam.analyses.calibration.table.tabulate_calibration."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.calibration import SIZES
from leam.analyses.calibration.table import tabulate_calibration

given, params = snakemake.input, snakemake.params
tabulate_calibration(
    given.chains,
    given.drops,
    given.gains,
    snakemake.output[0],
    size=SIZES[params.size],
    confidence=params.analysis["confidence"],
    seed=params.seed,
)
