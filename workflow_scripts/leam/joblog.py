"""Where a job's messages go: its log file, and the terminal too when someone is watching.

Imports nothing heavy, so that a job can start it before the imports which may fail.
"""

import contextlib
import faulthandler
import functools
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TextIO

from leam.names import printable

OWN_PARTS = ("  ", "\n", "Traceback (")  # of a traceback: frames, and what stands between two; the rest are messages
_URL = re.compile(r"""(?<=(['"]))\w{1,9}://(?:\\.|(?!\1).)*(?=\1)|\w{1,9}://\S*""")
_AFTER_URL = ")]}>'\",.:;"  # where a sentence goes on


def without_urls(text: str) -> str:
    """The text with every URL cut after its host: links lead to people, and what follows the host may be a key."""
    return _URL.sub(_host_of_url, text)


def _host_of_url(found: re.Match[str]) -> str:
    url = found[0].rstrip(_AFTER_URL)
    scheme, _, rest = url.partition("://")
    host = re.split("[/?#]", rest, maxsplit=1)[0]
    cut = "" if rest.rstrip("/") == host else "/..."
    return f"{scheme}://{host.rpartition('@')[2]}{cut}{found[0][len(url) :]}"


class _Plain(logging.Formatter):
    """The bare message, without URLs; the level is named only from warnings upwards."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own
        return printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        text = without_urls(super().format(record))
        return f"{record.levelname}: {text}" if record.levelno >= logging.WARNING else text


def _report(
    streams: list[TextIO], kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """What Python calls for an unhandled exception: the traceback goes to every stream that takes it."""
    parts = traceback.format_exception(kind, error, trace)
    text = without_urls("".join(part if part.startswith(OWN_PARTS) else _message(part) for part in parts))
    for stream in streams:
        with contextlib.suppress(OSError):  # a log on a full disk must not silence the terminal
            stream.write(text)
            stream.flush()


def _message(part: str) -> str:
    """A message in a traceback, which may hold names: only its first line begins where lines of a log begin."""
    return "\n    ".join(map(printable, part.rstrip("\n").split("\n"))) + "\n"


def start(log_path: str | Path) -> None:
    """Send stdout, stderr, logging, crashes of native code and unhandled exceptions to ``log_path``.

    Log records also reach the stderr that was there before if it is a terminal; unhandled exceptions reach it always,
    because there Snakemake's user looks first.
    """
    Path(log_path).parent.mkdir(parents=True, exist_ok=True)
    terminal = sys.stderr
    log = open(log_path, "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 (until the end)
    sys.stdout = sys.stderr = log
    faulthandler.enable(log)
    handlers = [logging.StreamHandler(stream) for stream in ((log, terminal) if terminal.isatty() else (log,))]
    for handler in handlers:
        handler.setFormatter(_Plain())
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells every step of writing a PDF
    sys.excepthook = functools.partial(_report, [log, terminal])


def progress(items: Sequence) -> Iterable:
    """The items, with a bar where a terminal watches (a log has one line per item instead)."""
    terminal = sys.__stderr__
    if terminal is None or not terminal.isatty():
        return items
    from tqdm import tqdm

    return tqdm(items, file=terminal, unit="identity", leave=False)


def failures(log_paths: Iterable[str | Path]) -> str:
    """Which jobs failed for good, from the logs of a Snakemake run: each with its output, its own log and last words.

    Jobs that a retry brought to their end are not named: their outputs are there. "" when there is none.
    """
    text = "".join(Path(path).read_text(encoding="utf-8", errors="replace") for path in log_paths)
    found = {}
    for rule, block in re.findall(r"^Error in rule (\w+):\n((?:    .*\n)+)", text, re.M):
        listed = dict(re.findall(r"^    (output|log): (.+?)(?: \(check log file\(s\) .*)?$", block, re.M))
        named = {key: _first_file(paths) for key, paths in listed.items()}
        if "output" in named and not Path(named["output"]).exists():
            found[named["output"]] = f"  {rule}: {named['output']}{_last_words(named.get('log'))}"
    if not found:
        return ""
    return "\n".join([f"Failed for good: {len(found)}. All else that can be made without is made.", *found.values()])


def _first_file(paths: str) -> str:
    """The first of some paths of files, which commas set apart and may hold: up to the first part with a suffix."""
    parts = paths.split(", ")
    upto = (", ".join(parts[:count]) for count in range(1, len(parts) + 1))
    return next((path for path in upto if Path(path).suffix), paths)


def _last_words(log_path: str | None) -> str:
    if not log_path or not Path(log_path).is_file():
        return ""
    lines = Path(log_path).read_text(encoding="utf-8", errors="replace").split("\n")
    return f"\n    {log_path}: " + next((line for line in reversed(lines) if line.strip()), "(empty)")
