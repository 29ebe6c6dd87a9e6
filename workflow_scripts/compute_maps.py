"""Rule compute_maps: see leam.maps.compute_maps."""

from leam import joblog

joblog.start(snakemake.log[0])

import torch

from leam.maps import compute_maps, map_settings
from leam.recognisers.registry import recogniser
from leam.weights import fetched

torch.set_num_threads(snakemake.threads)
compute_maps(
    snakemake.input.faces,
    snakemake.output[0],
    fetched(snakemake.input.weights, recogniser(snakemake.wildcards.model, snakemake.params.recogniser)),
    map_settings(snakemake.params.settings),
    device="cuda" if snakemake.resources.get("gpu") else "auto",
    seed=snakemake.params.seed,
    minutes=snakemake.resources.get("runtime"),
    progress=joblog.progress,
    duplicates=snakemake.input.get("duplicates"),
)
