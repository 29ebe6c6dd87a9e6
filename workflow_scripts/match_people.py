"""Rule match_people: see leam.analyses.groups.people.match_people."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.groups.people import match_people
from leam.sources import source_of

match_people(
    snakemake.input.links,
    snakemake.input.get("demographics") or None,
    snakemake.output.people,
    snakemake.output.missing,
    source=source_of(snakemake.params.source),
)
