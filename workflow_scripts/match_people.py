"""Rule match_people: see leam.analyses.groups.people.write_people."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.analyses.groups.people import write_people
from leam.sources import source_of

write_people(
    snakemake.input.links,
    snakemake.input.get("demographics") or None,
    snakemake.output.people,
    snakemake.output.missing,
    source=source_of(snakemake.params.source),
)
