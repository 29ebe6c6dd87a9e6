"""Rule import_images: see leam.images.import_images."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.images import import_images
from leam.sources.layouts import layout_of

import_images(
    snakemake.input.links,
    snakemake.output[0],
    shard=snakemake.wildcards.shard,
    layout=layout_of(snakemake.params.source),
)
