"""Why an image is not used, as tables and figures name it."""


def reason_kind(reason: str) -> str:
    """A reason without what is particular to one image: "too small: 20 px < 40" is of the kind "too small"."""
    return "duplicate" if reason.startswith("duplicate of ") else reason.partition(":")[0]
