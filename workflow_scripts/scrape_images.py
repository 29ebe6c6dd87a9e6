"""Rule scrape_images: see leam.scraping.scrape_images."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.scraping import scrape_images

scrape_images(
    snakemake.input.links,
    snakemake.output.images,
    snakemake.output.summary,
    snakemake.params.settings,
    shard=snakemake.wildcards.shard,
    minutes=snakemake.resources.get("runtime"),
)
