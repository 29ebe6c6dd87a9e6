"""Images linked, kept and discarded, per identity, in total and with each reason."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from leam import storage
from leam.faces.duplicates import kept_images, leave_out
from leam.tables import read_output, write_table


def tabulate_retention(
    links: str | Path,
    faces: Iterable[str],
    maps: dict[str, list[str]],
    retention: str | Path,
    discarded: str | Path,
    *,
    duplicates: str | Path | None = None,
) -> None:
    """retention.csv (per identity and in total: linked, kept, discarded) and discarded.csv (each with its reason).

    duplicates : the table of the images that are left out before the maps; None where none is
    Raises ValueError when an image was lost: linked must equal kept + discarded for each identity (docs/method.md 2.1).
    """
    linked = read_output(links)
    linked = linked[linked["image"] != ""].groupby("identity").size()
    kept: dict[str, int] = {}
    rows = []
    for path in faces:
        with storage.open_shard(path, "faces") as shard:
            left_out = leave_out(shard, duplicates)
            kept |= {identity: len(images) for identity, images in kept_images(shard, left_out).items()}
            for stage, found in (("faces", storage.read_discarded(shard)), ("duplicates", left_out)):
                rows += [(stage, row.identity, row.image, row.reason) for row in found]
    lost = pd.DataFrame(rows, columns=["stage", "identity", "image", "reason"])
    table = pd.DataFrame({"linked": linked, "kept": pd.Series(kept, dtype=int)}).fillna(0).astype(int)
    table["discarded"] = lost[lost["image"] != ""].groupby("identity").size().reindex(table.index, fill_value=0)
    _check_sums(table)
    table = pd.concat([table, table.sum().to_frame("all").T]).rename_axis("identity").reset_index()
    table["kept_percent"] = (100 * table["kept"] / table["linked"]).round(2)
    for model, paths in maps.items():
        for path in paths:
            with storage.open_shard(path, "maps") as shard:
                found = storage.read_discarded(shard)
            extra = [(f"maps/{model}", row.identity, row.image, row.reason) for row in found]
            lost = pd.concat((lost, pd.DataFrame(extra, columns=lost.columns)), ignore_index=True)
    write_table(table, retention, float_format=None)
    write_table(lost, discarded, float_format=None)


def _check_sums(table: pd.DataFrame) -> None:
    wrong = table[table["linked"] != table["kept"] + table["discarded"]]
    if len(wrong):
        first = wrong.iloc[0]
        raise ValueError(
            f"images of {wrong.index[0]} were lost: {first['linked']} linked, but {first['kept']} kept + "
            f"{first['discarded']} discarded (and {len(wrong) - 1} more identities)"
        )
