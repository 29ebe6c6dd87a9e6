"""Rule measure_chain: see leam.analyses.calibration.measure.measure_chain."""

from leam import joblog

joblog.start(snakemake.log[0])

import torch

from leam.analyses.calibration import SIZES
from leam.analyses.calibration.measure import measure_chain
from leam.analyses.occlusion.measure import occlusion_settings
from leam.maps import map_settings
from leam.recognisers import registry

torch.set_num_threads(snakemake.threads)
world, params = snakemake.wildcards.kind, snakemake.params
measure_chain(
    world,
    snakemake.output[0],
    recogniser=registry.recogniser(registry.world_model(world)),
    settings=map_settings(params.maps),
    occlusion=occlusion_settings(params.occlusion),
    size=SIZES[params.size],
    seed=params.seed,
)
