"""The maps file of a shard, written from its job's journal while the job computes.

Where a GPU computes, a process beside it writes: on threads of one process, writing and starting the GPU's kernels wait
for one another, for Python's lock, and on an H200 both took half as long again.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import h5py
import numpy as np

from leam import storage
from leam.files import StorageError
from leam.journal import Records
from leam.methods import POLARITIES

NO_EMBEDDING = "embedding is zero or not finite"
Tell = Callable[[dict[str, int]], None]  # of new records, {name: where it begins}


@dataclass(frozen=True)
class Planned:
    """A maps file to be written.

    attributes : what it says of itself; images : by identity those that should get maps, in the order in which they
    are written, so that the file's bytes do not depend on stops; layers : of the maps; dtype : of the stored image maps
    """

    output: Path
    attributes: dict[str, object]
    images: dict[str, list[str]]
    layers: tuple[str, ...]
    dtype: str


class MapsFile:
    """The file while it is written; ``go_on`` writes the identities that the records have by now."""

    def __init__(self, shard: h5py.File, planned: Planned, records: Records):
        self._shard, self._planned, self._records = shard, planned, records
        self._coming = deque(planned.images)
        self._discarded: list[storage.Discarded] = []

    def go_on(self) -> None:
        while self._coming and self._coming[0] in self._records:
            self._write(self._coming.popleft())

    def _write(self, name: str) -> None:
        facts = self._records.get(name)
        reasons = {str(image): NO_EMBEDDING for image in facts["dropped"]}
        if len(facts["images"]):
            self._write_maps(name, facts)
        else:
            reasons = dict.fromkeys(["", *self._planned.images[name]], storage.TOO_FEW) | reasons
        self._discarded += [storage.Discarded(name, image, reason) for image, reason in reasons.items()]

    def _write_maps(self, name: str, facts: dict[str, np.ndarray]) -> None:
        images, unit = [str(image) for image in facts["images"]], facts["embeddings"]
        pairs = ordered_pairs(len(images))
        cosine = (unit @ unit.T)[tuple(pairs.T)]
        group = storage.start_maps(self._shard, name, images, pairs, cosine, unit, int(facts["nonfinite"]))
        for number in range(int(facts["blocks"])):
            block = self._records.get(block_name(name, number))
            counts = dict(zip(POLARITIES, block["counts"], strict=True))
            maps, pair_maps = (self._by_polarity(block, kind) for kind in ("maps", "pair_maps"))
            storage.add_maps(group, int(block["anchors"][0]), counts, maps, pair_maps, self._planned.dtype)

    def _by_polarity(self, block: dict[str, np.ndarray], kind: str) -> dict[str, dict[str, np.ndarray]]:
        """{polarity: {layer: maps}} of a block; {} where this kind of map is not kept."""
        if f"{kind}.0" not in block:
            return {}
        return {
            polarity: {layer: block[f"{kind}.{number}"][sign] for number, layer in enumerate(self._planned.layers)}
            for sign, polarity in enumerate(POLARITIES)
        }

    def finish(self) -> None:
        """When all identities are written. What was left out stands in their order."""
        storage.write_discarded(self._shard, sorted(self._discarded, key=lambda each: each.identity))
        self._shard.attrs["complete"] = True


def ordered_pairs(n: int) -> np.ndarray:
    """(P, 2) int16: every anchor with every other image, sorted."""
    return np.array([(i, j) for i in range(n) for j in range(n) if i != j], np.int16)


def block_name(identity: str, number: int) -> str:
    """The record of some of an identity's anchors."""
    return f"\ud800{number} {identity}"  # half a character, which no name of a person can begin with


@contextlib.contextmanager
def write_here(planned: Planned, records: Records) -> Iterator[Tell]:
    """Writes in this process, whenever it is told of new records; the file appears when the block ends well."""
    with storage.create_shard(planned.output, "maps", **planned.attributes) as shard:
        file = MapsFile(shard, planned, records)
        file.go_on()  # with what an earlier job has finished
        yield lambda _new: file.go_on()
        file.finish()


@contextlib.contextmanager
def write_beside(planned: Planned, records: Records) -> Iterator[Tell]:
    """``write_here`` in a process of its own, which follows the records; it goes when this one does.

    Raises StorageError with what the other process met.
    """
    ours, theirs = Pipe()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-P", "-m", __spec__.name, str(theirs.fileno())]
    writer = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
    theirs.close()

    def tell(message: object) -> None:
        try:
            ours.send(message)
        except OSError:  # it is no longer there
            raise StorageError(_said(ours, planned.output)) from None

    try:
        tell((planned, records.path))
        tell(dict(records.offsets))
        yield tell
        tell(None)
        if fault := _said(ours, planned.output):
            raise StorageError(fault)
    finally:
        ours.close()
        writer.wait()


def _said(connection: Connection, output: Path) -> str:
    """What the writing process says at its end: "" when all is well."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        return f"{output}: the process that writes it was killed, perhaps for want of memory; run again"


def _follow(connection: Connection) -> None:
    """The other process: writes what it is told of, and is told None at the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the one that computes says when to stop
    planned, path = connection.recv()
    records = Records(path)
    try:
        with write_here(planned, records) as go_on:
            while (new := connection.recv()) is not None:
                records.offsets.update(new)
                go_on(new)
    except EOFError:  # the one that computes was stopped: nothing appears, and the journal has all
        return
    except StorageError as error:
        connection.send(f"{error}")
    except Exception as error:
        connection.send(f"{planned.output}: {type(error).__name__}: {error}")
        raise  # with where it was, for the log
    else:
        connection.send("")


if __name__ == "__main__":
    _follow(Connection(int(sys.argv[1])))
