"""Sources that tests make, and what is listed and imported of them."""

import pandas as pd

from leam import images, links, storage
from leam.sources import source_of


def make_folder(root, tree):
    for identity, names in tree.items():
        (root / identity).mkdir(parents=True)
        for name in names:
            (root / identity / name).write_bytes(b"")
    return root


def people_of(folder, **options):
    """A source of the kind folder, with the defaults of its settings."""
    settings = {
        "layout": "identity/image",
        "include": None,
        "label_suffix": None,
        "label_order": "farl",
        "label_check": True,
        "landmark_suffix": None,
        "rects": None,
    }
    return source_of({"kind": "folder", "path": folder} | settings | options)


def table(tmp_path, source, per_job=1):
    links.list_links(tmp_path / "links.parquet", source=source, identities_per_job=per_job)
    return pd.read_parquet(tmp_path / "links.parquet")


def imported(tmp_path, source):
    """The ledger by image and the pictures of a source."""
    output = tmp_path / "images.h5"
    table(tmp_path, source, per_job=100)
    images.import_images(tmp_path / "links.parquet", output, shard="00000", source=source)
    with storage.open_shard(output, "images") as shard:
        ledger = {row["image"]: row["status"] for row in storage.read_ledger(shard)}
        return ledger, {name: storage.read_pictures(shard, name) for name in storage.identities(shard)}
