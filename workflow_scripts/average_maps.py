"""Rule average_maps: see leam.averages.average_maps."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.averages import average_maps

average_maps(snakemake.input.maps, snakemake.output[0], snakemake.params.seed)
