"""Rule occlude_faces: see leam.analyses.occlusion.measure.occlude_faces."""

from leam import joblog

joblog.start(snakemake.log[0])

import torch

from leam.analyses.occlusion.measure import occlude_faces, occlusion_settings
from leam.recognisers.registry import recogniser
from leam.weights import fetched

given, params = snakemake.input, snakemake.params
torch.set_num_threads(snakemake.threads)
occlude_faces(
    given.faces,
    dict(zip(params.guides, given.maps, strict=True)),
    given.averages,
    snakemake.output[0],
    fetched(given.weights, recogniser(snakemake.wildcards.model, params.recogniser)),
    occlusion_settings(params.settings),
    device="cuda" if snakemake.resources.get("gpu") else "auto",
    twins=given.get("twins"),
    seed=params.seed,
    minutes=snakemake.resources.get("runtime"),
    progress=joblog.progress,
)
