"""Rule count_regions: see leam.analyses.regions.measure."""

from leam import joblog
from leam.analyses.regions.measure import count_regions

joblog.start(snakemake.log[0])


count_regions(
    snakemake.input.maps,
    snakemake.input.faces,
    snakemake.output.counts,
    snakemake.output.images,
    model=snakemake.wildcards.model,
    grid=snakemake.params.grid,
)
