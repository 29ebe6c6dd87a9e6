"""What a job with a time limit knows: how long it may work, what it has finished, and when to stop itself."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from leam.journal import Journal, journal_of

log = logging.getLogger(__name__)
SAFETY = 1.5  # an identity may take this many times the longest one so far
SHUTDOWN_S = 30  # kept free of a job's time at least, to start Python and to write the output
SHUTDOWN_SHARE = 0.05  # and this share of it: a long job is of a large shard


class OutOfTimeError(Exception):
    """The job stopped itself before its time limit; what is finished is kept and the next run goes on from there."""


def working_seconds(minutes: float | None) -> float:
    """How long a job with this time limit may work, seconds: the rest is for starting and for writing the output."""
    if not minutes:
        return math.inf
    return 60 * minutes - max(SHUTDOWN_S, SHUTDOWN_SHARE * 60 * minutes)


class Job:
    """One stage's work on one shard: how long it may take, and the journal of what it has finished.

    output : the file that it makes; minutes : its time limit, of which it keeps some (``working_seconds``)
    progress : wraps the names of the identities while they are computed
    """

    def __init__(self, output: str | Path, minutes: float | None = None, progress: Callable = iter):
        self.output, self.progress = Path(output), progress
        self.seconds = working_seconds(minutes)
        self.deadline = time.monotonic() + self.seconds

    @contextlib.contextmanager
    def journal(self, work: str, is_finished: Callable[[], bool]) -> Iterator[Journal | None]:
        """The journal beside the output, which goes when the block ends well and stays when it does not.

        While another process writes the same shard it is waited for, as long as the job may take, or not at all where
        it has no limit; None when that process has finished the output. work : digest of what the results depend on

        Raises BlockingIOError when the other process is still writing.
        """
        waits = 0 if math.isinf(self.seconds) else self.seconds
        journal = Journal(journal_of(self.output), work, waits)
        try:
            if journal.waited and is_finished():
                log.info("%s: another process has finished it", self.output)
                yield None
            else:
                yield journal
        except BaseException:
            journal.close()
            raise
        journal.remove()

    def unfinished(self, names: list[str], journal: Journal, what: str) -> Iterator[tuple[int, str]]:
        """The identities that the journal has not, one after the other, each with its number among all from 1 on.

        Raises OutOfTimeError when the next identity might not be done in time.
        """
        for number, (name,) in self.unfinished_groups([[name] for name in names], journal, what):
            yield number, name

    def unfinished_groups(
        self, groups: list[list[str]], journal: Journal, what: str
    ) -> Iterator[tuple[int, list[str]]]:
        """``unfinished`` of groups of identities that are computed together: those that are not all in the journal,
        each with the number of identities that are done with it. ``progress`` is given the first name of each.
        """
        longest, total = 0.0, sum(map(len, groups))
        lacking = {group[0]: sum(name not in journal for name in group) for group in groups}
        missing = [group for group in groups if lacking[group[0]]]
        done = total - sum(lacking.values())
        for first, group in zip(self.progress([group[0] for group in missing]), missing, strict=True):
            begun = time.monotonic()
            if begun + SAFETY * longest > self.deadline:
                raise OutOfTimeError(
                    f"stopped {what} before its time limit with {done} of {total} identities done; "
                    f"the next run goes on from there"
                )
            done += lacking[first]
            yield done, group
            longest = max(longest, time.monotonic() - begun)
