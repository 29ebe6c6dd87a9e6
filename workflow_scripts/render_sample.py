"""Rule render_sample: see leam.sample.rendering."""

from leam import joblog
from leam.sample.rendering import render_sample

joblog.start(snakemake.log[0])


source = snakemake.params.source
render_sample(
    snakemake.input.links,
    snakemake.output[0],
    shard=snakemake.wildcards.shard,
    seed=snakemake.params.seed,
    size=source["size"],
    region=source["region"],
)
