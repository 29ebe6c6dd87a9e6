"""Rule count_regions: see leam.analyses.regions.measure.count_regions."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.regions.measure import count_regions

count_regions(
    snakemake.input.maps,
    snakemake.input.faces,
    snakemake.output.counts,
    snakemake.output.images,
    model=snakemake.wildcards.model,
    grid=snakemake.params.grid,
)
