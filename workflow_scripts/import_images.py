"""Rule import_images: see leam.images."""

from leam import joblog
from leam.sources.layouts import layout_of

joblog.start(snakemake.log[0])

from leam.images import import_images

import_images(
    snakemake.input.links,
    snakemake.output[0],
    shard=snakemake.wildcards.shard,
    layout=layout_of(snakemake.params.source),
)
