"""Rule measure_localisation: see leam.analyses.localisation.measure.measure_localisation."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.localisation.measure import measure_localisation, recognisers_of
from leam.maps import map_settings

world, settings = snakemake.wildcards.world, snakemake.params.settings
measure_localisation(
    world,
    snakemake.output.measured,
    snakemake.output.faces,
    snakemake.output.maps,
    recognisers=recognisers_of(world, snakemake.params.entries),
    settings=map_settings(snakemake.params.maps),
    identities=settings["identities"],
    images=settings["images"],
    size=settings["size"],
    seed=snakemake.params.seed,
)
