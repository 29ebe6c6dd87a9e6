"""Rule render_sample: see leam.sample.rendering.render_sample."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.sample.rendering import render_sample

source = snakemake.params.source
render_sample(
    snakemake.input.links,
    snakemake.output[0],
    shard=snakemake.wildcards.shard,
    seed=snakemake.params.seed,
    size=source["size"],
    region=source["region"],
)
