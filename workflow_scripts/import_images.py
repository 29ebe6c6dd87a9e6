"""Rule import_images: see leam.images.import_images."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.images import import_images

source = snakemake.params.source
import_images(
    snakemake.input.links,
    snakemake.output[0],
    shard=snakemake.wildcards.shard,
    folder=source["path"],
    label_suffix=source["label_suffix"],
    label_order=source["label_order"],
    landmark_suffix=source["landmark_suffix"],
)
