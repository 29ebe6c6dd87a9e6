"""Rule import_images: see leam.images.import_images."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.images import import_images
from leam.sources import source_of

import_images(
    snakemake.input.links,
    snakemake.output[0],
    shard=snakemake.wildcards.shard,
    source=source_of(snakemake.params.source),
)
