"""Rule measure_truth: see leam.analyses.calibration.measure.measure_truth."""

from leam import joblog

joblog.start(snakemake.log[0])

import torch

from leam.analyses.calibration import SIZES
from leam.analyses.calibration.measure import measure_truth
from leam.analyses.occlusion.measure import occlusion_settings
from leam.maps import map_settings
from leam.recognisers import registry

torch.set_num_threads(snakemake.threads)
params = snakemake.params
measure_truth(
    snakemake.output.drops,
    snakemake.output.gains,
    recogniser=registry.recogniser(snakemake.wildcards.general),
    settings=map_settings(params.maps),
    occlusion=occlusion_settings(params.occlusion),
    size=SIZES[params.size],
    seed=params.seed,
)
