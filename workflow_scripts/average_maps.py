"""Rule average_maps: see leam.analyses.occlusion.averages."""

from leam import joblog
from leam.analyses.occlusion.averages import average_maps

joblog.start(snakemake.log[0])


average_maps(snakemake.input.maps, snakemake.output[0], snakemake.params.seed)
