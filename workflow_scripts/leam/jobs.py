"""What a job with a time limit knows: how long it may work, what it has finished, and when to stop itself."""

import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from leam.journal import Journal, journal_of

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Read = TypeVar("Read")
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

    def unfinished(
        self, names: list[str], journal: Journal, what: str, read: Callable[[str], Read]
    ) -> Iterator[tuple[int, Read]]:
        """What is read of each identity that the journal has not, one after the other, each with its number among all
        from 1 on. The next one is read on another thread while one is computed.

        Raises OutOfTimeError when the next identity might not be done in time.
        """
        yield from self.unfinished_groups([[name] for name in names], journal, what, lambda group: read(group[0]))

    def unfinished_groups(
        self, groups: list[list[str]], journal: Journal, what: str, read: Callable[[list[str]], Read]
    ) -> Iterator[tuple[int, Read]]:
        """``unfinished`` of groups of identities that are computed together: what is read of those that are not all
        in the journal, each with the number of identities that are done with it. ``progress`` is given the first name
        of each. The next group is read on another thread while one is computed.
        """
        longest, total = 0.0, sum(map(len, groups))
        lacking = {group[0]: sum(name not in journal for name in group) for group in groups}
        missing = [group for group in groups if lacking[group[0]]]
        done = total - sum(lacking.values())
        with contextlib.closing(read_ahead(missing, read)) as coming:
            for first, found in zip(self.progress([group[0] for group in missing]), coming, strict=True):
                begun = time.monotonic()
                if begun + SAFETY * longest > self.deadline:
                    raise OutOfTimeError(
                        f"stopped {what} before its time limit with {done} of {total} identities done; "
                        f"the next run goes on from there"
                    )
                done += lacking[first]
                yield done, found
                longest = max(longest, time.monotonic() - begun)


def read_ahead(items: list[Item], read: Callable[[Item], Read]) -> Generator[Read, None, None]:
    """What is read of each item, the next one on another thread while the caller works on this one."""
    with ThreadPoolExecutor(1, "read") as thread:
        coming = deque(thread.submit(read, item) for item in items[:1])
        for number in range(1, len(items) + 1):
            found = coming.popleft().result()
            coming.extend(thread.submit(read, item) for item in items[number : number + 1])
            yield found


class Behind:
    """Calls made on a thread of their own, one after the other, while the caller goes on.

    Leaving the block waits for all of them; when the block ends in an error, those that wait are still made. What one
    raises is raised by the next ``call``, or on leaving, and after it no further call is made.
    room : calls that may wait; ``call`` waits when there are more
    """

    def __init__(self, name: str, room: int = 4):
        self._thread, self._room = ThreadPoolExecutor(1, name), room
        self._calls: deque[Future] = deque()
        self._failed = False

    def __enter__(self) -> "Behind":
        return self

    def call(self, work: Callable[..., object], *arguments: object) -> None:
        while self._calls and (len(self._calls) > self._room or self._calls[0].done()):
            self._calls.popleft().result()
        self._calls.append(self._thread.submit(self._make, work, *arguments))

    def _make(self, work: Callable[..., object], *arguments: object) -> None:
        if self._failed:
            return
        try:
            work(*arguments)
        except BaseException:
            self._failed = True
            raise

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown(wait=True)
        if kind is None:
            for call in self._calls:
                call.result()
