"""Rule list_links: see leam.links.list_links."""

from leam import joblog

joblog.start(snakemake.log[0])

from leam.links import list_links
from leam.sources import source_of

list_links(
    snakemake.output.links,
    source=source_of(snakemake.params.source),
    identities_per_job=snakemake.params.identities_per_job,
    unused=snakemake.output.unused,
    rejected=snakemake.output.get("rejected"),
)
