"""Rule average_maps: see leam.analyses.occlusion.averages.average_maps."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.occlusion.averages import average_maps

average_maps(snakemake.input.maps, snakemake.output[0], snakemake.params.seed)
