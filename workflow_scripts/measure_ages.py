"""Rule measure_ages: see leam.analyses.ages.measure.measure_ages."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.ages.measure import measure_ages
from leam.analyses.occlusion.measure import occlusion_settings
from leam.recognisers.registry import recogniser
from leam.weights import fetched

given, params = snakemake.input, snakemake.params
measure_ages(
    given.faces,
    dict(zip(params.guides, given.maps, strict=True)),
    snakemake.output[0],
    fetched(given.weights, recogniser(snakemake.wildcards.model, params.recogniser)),
    occlusion_settings(params.settings),
    guide=params.guide,
    pattern=params.pattern,
    device="cuda" if snakemake.resources.get("gpu") else "auto",
    seed=params.seed,
)
