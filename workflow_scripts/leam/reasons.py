"""Why an image is not used, as ledgers, faces files, tables and figures name it: each reason stands here alone.

A message goes on after a colon with what is particular to one image.
"""

NOBODY = "no identity has two usable images; see the discarded images in the tables"


def reason_kind(reason: str) -> str:
    """A reason without what is particular to one image: "too small: 20 px < 40" is of the kind "too small"."""
    return "duplicate" if reason.startswith("duplicate of ") else reason.partition(":")[0]
