"""The table every run starts from: which picture belongs to whom, where it is, and which shard it falls into.

The Snakefile calls the light functions here while it is parsed, so pandas is imported only to write the table.
"""

import logging
import random
from collections.abc import Sequence
from pathlib import Path

from leam.sources.base import Row, Source

log = logging.getLogger(__name__)

MOST_JOBS = 10_000  # that one Snakemake plans without ado (tests/benchmarks/bench_planning.txt)
UNUSED_COLUMNS = ("file", "reason")
LINK_COLUMNS = (*Row._fields, "shard")


def count_shards(n_identities: int, identities_per_job: int) -> int:
    """How many shards hold ``n_identities``. Raises ValueError unless both numbers are at least 1."""
    for name, value in (("the number of identities", n_identities), ("identities_per_job", identities_per_job)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: expected a whole number of at least 1, found {value!r}")
    return -(-n_identities // identities_per_job)


def shard_names(n_shards: int) -> list[str]:
    """The names of the shards: "00000", "00001", ..."""
    return [f"{number:05d}" for number in range(n_shards)]


def larger_shards(n_identities: int, identities_per_job: int, n_models: int) -> str:
    """That one Snakemake would plan too many jobs, and which ``identities_per_job`` would do; "" where it would not."""
    per_shard = 2 + 3 * n_models  # images, faces; maps, similarity and occlusion of every model
    jobs = count_shards(n_identities, identities_per_job) * per_shard
    if jobs <= MOST_JOBS:
        return ""
    enough = -(-n_identities // max(MOST_JOBS // per_shard, 1))
    return (
        f"identities_per_job: {identities_per_job} makes about {jobs} jobs of {n_identities} identities, too many for "
        f"one Snakemake to plan and watch; {enough} would do (at most {MOST_JOBS} jobs)"
    )


def assign_shards(identities: Sequence[str], identities_per_job: int) -> dict[str, str]:
    """The shard of each identity: contiguous runs of the sorted identities."""
    names = shard_names(count_shards(len(identities), identities_per_job))
    return {identity: names[k // identities_per_job] for k, identity in enumerate(sorted(identities))}


def partner_shards(shard: str, shards: Sequence[str], limit: int, seed: int) -> list[str]:
    """The shards, other than its own, from which a shard takes people to compare with: all, or ``limit`` drawn ones.

    So the files that all jobs read together grow with the number of shards, not with its square.
    """
    others = [other for other in shards if other != shard]
    if len(others) <= limit:
        return others
    return sorted(random.Random(f"{seed}/{shard}").sample(others, limit))


def list_links(
    output: str | Path,
    *,
    source: Source,
    identities_per_job: int,
    unused: str | Path | None = None,
    rejected: str | Path | None = None,
) -> None:
    """Write links.parquet: identity, image, url, rect, height, width, shard (all text), sorted by identity and image.

    source : its rows say what the columns hold (`leam.sources.base.Row`)
    unused : where files are written that lie in the source's folders and are of no use (file, reason); None: nowhere
    rejected : where the rows of a list or table that cannot be used are written (line, reason); None: nowhere
    """
    import pandas as pd

    from leam.files import whole_file
    from leam.tables import write_table

    rows = sorted(source.rows())
    if rejected is not None:
        write_table(source.rejected(), rejected)
    if unused is not None:
        no_use = pd.DataFrame(sorted(source.unused()), columns=list(UNUSED_COLUMNS), dtype=str)
        if len(no_use):
            log.warning("%d files or folders of the source are of no use: %s", len(no_use), Path(unused).name)
        write_table(no_use, unused)
    table = pd.DataFrame(rows, columns=Row._fields)
    shards = assign_shards(sorted(set(table["identity"])), identities_per_job)  # every identity has a row
    table = table.assign(shard=table["identity"].map(shards)).astype("string")
    with whole_file(output) as part:
        table.to_parquet(part, index=False)
