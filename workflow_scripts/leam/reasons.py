"""Why a picture is not used, as ledgers, faces files, tables and figures name it: each reason stands here alone.

What is particular to one picture follows after a colon. ``OK`` is the status of a picture that is used.
"""

OK = "ok"
# what a source, or a link, gives
MISSING, NO_IMAGES = "missing", "no images"
DUPLICATE, UNDER_ANOTHER = "duplicate", "under another person too"
UNREADABLE, UNSUPPORTED, TOO_LARGE = "unreadable", "unsupported format", "too large"
LABELS_MISSING, LABELS_UNREADABLE = "label map missing", "label map unreadable"
LABELS_SIZE, LABELS_RANGE = "label map of another size", "label out of range"
LANDMARKS_UNREADABLE = "landmarks unreadable"
RECT_OUTSIDE, NO_RECT = "rectangle outside the picture", "no rectangle"
# what a link gives (``fetching.STATUSES`` says what each means), beside "http NNN"
OPTED_OUT, NOT_A_PICTURE, TOO_MANY_BYTES = "opted out", "not a picture", "too many bytes"
BAD_URL, TOO_MANY_REDIRECTS = "bad url", "too many redirects"
SCHEME_NOT_ALLOWED, HOST_NOT_ALLOWED = "scheme not allowed", "host not allowed"
ADDRESS_NOT_ALLOWED, ENCODED = "address not allowed", "encoding not asked for"
UNRESOLVED_HOST, CONNECTION_FAILED = "unresolved host", "connection failed"
INCOMPLETE, TIMEOUT, DEADLINE = "incomplete", "timeout", "deadline"
# what finding and parsing its face gives
NO_FACE, SEVERAL_FACES, TOO_SMALL = "no face", "several faces", "too small"
NO_LANDMARKS, NO_LABELS = "no landmarks", "no label map"

NOBODY = "nobody has two usable images; tables/discarded.csv says why"


class UnusablePictureError(Exception):
    """A picture (or what came with it) that cannot be used; the message is the reason for the ledger."""


def one_line(error: Exception) -> str:
    """What an exception says, short enough for a reason."""
    return " ".join(str(error).split())[:120] or type(error).__name__


def duplicate_of(image: str) -> str:
    """The reason of a picture that the same person has as another image already."""
    return f"{DUPLICATE} of {image}"


def under_another(identity: str, image: str) -> str:
    """The reason of a picture that another person has too, so that nothing says who is in it."""
    return f"{UNDER_ANOTHER}: {identity}, {image}"


def original_of(status: str, detail: str) -> str | None:
    """The image that a ledger says a picture is a duplicate of: in its status, or beside it (``storage.DETAIL``)."""
    if status == DUPLICATE:
        return detail
    return status.removeprefix(duplicate_of("")) if status.startswith(duplicate_of("")) else None


def reason_kind(reason: str) -> str:
    """A reason without what is particular to one image: "too small: 20 px < 40" is of the kind "too small"."""
    return DUPLICATE if reason.startswith(duplicate_of("")) else reason.partition(":")[0]
