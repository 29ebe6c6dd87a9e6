"""Rule fetch_weights: see leam.weights.fetch_weights."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.recognisers.registry import recogniser
from leam.weights import fetch_weights

fetch_weights(
    snakemake.output[0],
    recogniser(snakemake.wildcards.model, snakemake.params.recogniser),
    snakemake.params.seed,
    snakemake.params.placement,
)
