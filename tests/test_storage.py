"""Files that appear only when whole, names that cannot break them, and a journal that survives being cut."""

import errno
import fcntl
import hashlib
import io
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from leam import files, journal, storage
from leam.journal import Journal
from shards import make_faces, write_faces


def test_a_file_appears_only_when_whole(tmp_path):
    path = tmp_path / "x.h5"
    with pytest.raises(KeyError), storage.create_shard(path, "faces") as shard:
        shard.attrs["half"] = True
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with storage.create_shard(path, "faces", note="n") as shard:
        assert not path.exists()
    with storage.open_shard(path, "faces") as shard:
        assert shard.attrs["note"] == "n"


def test_a_shard_of_another_kind_or_a_damaged_one_is_named(tmp_path):
    path = write_faces(tmp_path / "x.h5", [make_faces("a", 3)])
    with (
        pytest.raises(files.StorageError, match=r"x\.h5: expected a file of kind 'maps'"),
        storage.open_shard(path, "maps"),
    ):
        pass
    whole = path.read_bytes()
    for reason in ("it and its digest x.h5.sha256 do not agree", ".*truncated"):  # with a digest, and without
        path.write_bytes(whole[: len(whole) // 2])
        sentence = rf"x\.h5 is damaged \({reason}.*set aside as x\.h5\.damaged: run again"
        with pytest.raises(files.StorageError, match=sentence), storage.open_shard(path, "faces"):
            pass
    with pytest.raises(files.StorageError, match="was damaged and set aside"), storage.open_shard(path, "faces"):
        pass
    assert [left.name for left in tmp_path.iterdir()] == ["x.h5.damaged"]
    assert (tmp_path / "x.h5.damaged").stat().st_size == len(whole) // 2


def test_a_fault_of_the_file_system_is_not_taken_for_damage(tmp_path):
    (tmp_path / "x.h5").mkdir()
    with pytest.raises(OSError, match=r"x\.h5"), storage.open_shard(tmp_path / "x.h5", "faces"):
        pass
    assert (tmp_path / "x.h5").is_dir()


def test_two_processes_at_one_file_do_not_mix(tmp_path, monkeypatch):
    path = tmp_path / "x.csv"
    with files.whole_file(path) as slow:
        slow.write_text("slow")
        monkeypatch.setattr(files.os, "getpid", lambda: 1)
        with files.whole_file(path) as quick:
            assert quick != slow
            quick.write_text("quick")
        assert path.read_text() == "quick" and not slow.exists()
    assert path.read_text() == "quick"
    assert set(tmp_path.iterdir()) == {path, files.digest_path(path)} and files.verify(path)


def test_pieces_that_killed_jobs_left_go_when_the_file_is_whole(tmp_path):
    (tmp_path / "x[1].h5.otherhost.7.part").touch()
    (tmp_path / "y.h5.otherhost.7.part").touch()
    with storage.create_shard(tmp_path / "x[1].h5", "faces"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"x[1].h5", "x[1].h5.sha256", "y.h5.otherhost.7.part"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_in_one_sentence(tmp_path):
    """/dev/full takes no byte: what a text output, an HDF5 file and a journal say then."""

    def refuse(path):
        path.unlink(missing_ok=True)
        path.symlink_to("/dev/full")

    with (
        pytest.raises(files.StorageError, match=r"x\.csv: no space left on device; make room and run again"),
        files.whole_file(tmp_path / "x.csv") as part,
    ):
        refuse(part)
        part.write_text("text")
    journal = Journal(tmp_path / "j", "work")
    journal._file, journal._end = open("/dev/full", "wb"), 0  # noqa: SIM115
    with pytest.raises(files.StorageError, match="j: no space left on device"):
        journal.add("a", values=np.arange(10))
    hidden = "Disable slist on flush dest failure failed (file write failed: errno = 28, error message = 'No space')"
    with pytest.raises(files.StorageError, match=r"x\.h5: no space left"), files.whole_file(tmp_path / "x.h5"):
        raise RuntimeError(hidden)


@pytest.mark.parametrize(
    "identity", ["a", "discarded", "ledger", "a/b", "50%", ".", "..", "../../x", "/", "Å 漢", "%discarded"]
)
def test_any_identity_name_comes_back(tmp_path, identity):
    with storage.create_shard(tmp_path / "x.h5", "faces") as shard:
        storage.write_faces(shard, make_faces(identity, 2))
        storage.write_discarded(shard, [storage.Discarded(identity, "1", "no face")])
    with storage.open_shard(tmp_path / "x.h5", "faces") as shard:
        assert storage.identities(shard) == [identity]
        found = storage.read_faces(shard, identity)
        assert storage.read_discarded(shard) == [storage.Discarded(identity, "1", "no face")]
    np.testing.assert_array_equal(found.crops, make_faces(identity, 2).crops)


def test_pictures_come_back_as_they_were(tmp_path):
    landmarks, rect = np.full((2, 68, 2), 1.5, np.float32), np.array([[1, 2, 3.5, 4], [np.nan] * 4], np.float32)
    pictures = storage.Pictures("a", ["1", "2"], [b"first", b""], [b"x", b"yz"], landmarks, rect)
    with storage.create_shard(tmp_path / "x.h5", "images") as shard:
        storage.write_pictures(shard, pictures)
        storage.write_ledger(shard, [{"identity": "a", "image": "1", "url": "u", "status": "ok", "sha256": "s"}])
    with storage.open_shard(tmp_path / "x.h5", "images") as shard:
        found = storage.read_pictures(shard, "a")
        assert storage.read_ledger(shard)[0]["status"] == "ok"
    assert (found.images, found.encoded, found.labels) == (pictures.images, pictures.encoded, pictures.labels)
    np.testing.assert_array_equal(found.landmarks, pictures.landmarks)
    np.testing.assert_array_equal(found.rect, pictures.rect)


FULL_DISK = """
import resource, sys
import numpy as np
from leam import storage
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
noise = np.random.default_rng(0)
with storage.create_shard(sys.argv[1], "images") as shard:
    for k in range(20):
        storage.write_pictures(shard, storage.Pictures(str(k), ["1"], [noise.bytes(20_000)]))
"""


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path):
    command = [sys.executable, "-c", FULL_DISK, tmp_path / "x.h5"]
    found = subprocess.run(command, env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True)
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1] == "OSError: [Errno 27] File too large"
    assert list(tmp_path.iterdir()) == []


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "x.h5"
    with storage.create_shard(path, "faces") as shard:
        storage.write_faces(shard, make_faces("a", 3))
        offset = shard["a/crops"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 100] ^= 1
    path.write_bytes(content)
    with (
        pytest.raises(files.StorageError, match=r"x\.h5 is damaged .*read data.*set aside"),
        storage.open_shard(path, "faces") as shard,
    ):
        storage.read_faces(shard, "a")
    assert not path.exists()


@pytest.mark.parametrize("way", ["external link", "soft link", "external storage", "virtual"])
def test_a_file_that_leads_to_another_one_is_refused(tmp_path, way):
    """HDF5 would read whatever file this process may."""
    (tmp_path / "secret").write_bytes(np.arange(6, dtype=np.float32).tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["embeddings"] = np.arange(6, dtype=np.float32)
    with storage.create_shard(tmp_path / "m.h5", "maps") as shard:
        group = shard.create_group("a")
        if way == "external link":
            group["embeddings"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/embeddings")
        elif way == "soft link":
            group["embeddings"] = h5py.SoftLink("/b")
        elif way == "external storage":
            place = [(str(tmp_path / "secret"), 0, 24)]
            group.create_dataset("embeddings", (6,), np.float32, external=place)
        else:
            layout = h5py.VirtualLayout((6,), np.float32)
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "embeddings", (6,))
            group.create_virtual_dataset("embeddings", layout)
    for _ in range(2):  # the verdict is not forgotten
        reason = r"m\.h5: b?'a/embeddings' leads to another place"
        with pytest.raises(files.StorageError, match=reason), storage.open_shard(tmp_path / "m.h5", "maps"):
            pass


# ---------------------------------------------------------------------------------------------------------- journal


def test_a_journal_goes_on_after_the_last_whole_record(tmp_path):
    path = tmp_path / "j"
    journal = Journal(path, "work")
    for name in "abc":
        journal.add(name, values=np.arange(1000) + ord(name))
    journal.close()
    whole = path.read_bytes()
    for cut in (len(whole) - 1, len(whole) - 4000, len(whole) - 8500):
        path.write_bytes(whole[:cut])
        journal = Journal(path, "work")
        assert "a" in journal and "c" not in journal
        np.testing.assert_array_equal(journal.get("a")["values"], np.arange(1000) + ord("a"))
        for name in "bc":
            if name not in journal:
                journal.add(name, values=np.arange(1000) + ord(name))
        journal.close()
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "array",
    [
        np.array(["ä/b", ""]),
        np.array([], np.str_),
        np.array(7),
        np.float32([[1.5, np.nan]])[:, ::-1],
        np.zeros((3, 0, 2), np.float16),
        np.array([True, False]),
        np.arange(6, dtype=np.uint16).reshape(2, 3).T,
    ],
)
def test_a_record_keeps_kinds_shapes_and_values(tmp_path, array):
    journal = Journal(tmp_path / "j", "work")
    journal.add("ü\n0", first=np.arange(3), array=array)
    journal.close()
    found = Journal(tmp_path / "j", "work").get("ü\n0")
    np.testing.assert_array_equal(found["first"], np.arange(3))
    np.testing.assert_array_equal(found["array"], array, strict=True)
    with pytest.raises(TypeError, match="other of Python objects"):
        Journal(tmp_path / "k", "work").add("a", other=np.array([None]))


def test_records_of_an_earlier_version_are_read_and_more_are_added(tmp_path):
    """Downloads are kept in journals for years; then a record was an .npz file with its name in it."""

    def frame(payload):
        return Journal.FRAME.pack(len(payload), hashlib.sha256(payload).digest()) + payload

    packed = io.BytesIO()
    np.savez(packed, name=np.array("http://a/1.jpg"), facts=np.array('{"status": "ok"}'), encoded=np.arange(5))
    (tmp_path / "j").write_bytes(frame(b"work") + frame(packed.getvalue()))
    journal = Journal(tmp_path / "j", "work")
    journal.add("http://a/2.jpg", encoded=np.arange(3))
    journal.close()
    journal = Journal(tmp_path / "j", "work")
    assert list(journal.offsets) == ["http://a/1.jpg", "http://a/2.jpg"]
    found = journal.get("http://a/1.jpg")
    assert str(found["facts"]) == '{"status": "ok"}' and set(found) == {"facts", "encoded"}
    np.testing.assert_array_equal(journal.get("http://a/2.jpg")["encoded"], np.arange(3))


def test_records_added_together_are_read_one_by_one_and_the_last_counts(tmp_path):
    journal = Journal(tmp_path / "j", "work")
    journal.add_all([(name, {"values": np.array([number])}) for number, name in enumerate("abca")])
    journal.add("b", values=np.array([9]))
    journal.close()
    journal = Journal(tmp_path / "j", "work")
    assert {name: journal.get(name)["values"][0] for name in "abc"} == {"a": 3, "b": 9, "c": 2}


def test_a_damaged_record_ends_what_is_trusted(tmp_path):
    path = tmp_path / "j"
    journal = Journal(path, "work")
    journal.add("a", values=np.arange(10))
    end = path.stat().st_size
    journal.add("b", values=np.arange(10))
    journal.close()
    content = bytearray(path.read_bytes())
    content[end + 60] ^= 1
    path.write_bytes(content)
    journal = Journal(path, "work")
    assert "a" in journal and "b" not in journal
    journal.remove()
    assert not path.exists()


def some_records(seed=0):
    """Names and arrays of many sizes; some look like lengths of records."""
    rng = np.random.default_rng(seed)
    found = {f"p{number:02d}": rng.integers(0, 300, int(rng.integers(1, 400))) for number in range(30)}
    return found | {
        "bytes": rng.integers(0, 256, 5000).astype(np.uint8),
        "zeros": np.zeros(900),
        "text": np.array(["[1,"]),
    }


@pytest.fixture(scope="module")
def whole_journal(tmp_path_factory):
    path = tmp_path_factory.mktemp("journal") / "j"
    journal = Journal(path, "work")
    for name, values in some_records().items():
        journal.add(name, values=values)
    journal.close()
    return path.read_bytes()


def found_in(path):
    """The records of a journal that is opened, each compared with what was written; another is added and found."""
    journal = Journal(path, "work")
    expected, found = some_records(), set(journal.offsets)
    for name in found:
        np.testing.assert_array_equal(journal.get(name)["values"], expected[name], strict=True)
    journal.add("another", values=np.arange(3))
    journal.close()
    journal = Journal(path, "work")
    assert set(journal.offsets) == {*found, "another"}
    journal.close()
    return found


def test_a_flipped_bit_loses_the_record_it_lies_in_and_no_other(tmp_path, whole_journal, caplog):
    rng, first = np.random.default_rng(1), Journal.FRAME.size + len("work")
    for place in [*rng.integers(first, len(whole_journal), 150), len(whole_journal) - 20]:
        content = bytearray(whole_journal)
        content[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "j").write_bytes(content)
        caplog.clear()
        (tmp_path / "j.damaged").unlink(missing_ok=True)
        lost = set(some_records()) - found_in(tmp_path / "j")
        assert len(lost) == 1
        if lost != {"text"}:  # the last one, which is like an append that was cut in half
            assert "damaged in 1 places" in caplog.text and (tmp_path / "j.damaged").read_bytes() == content


def test_bytes_that_are_missing_or_too_many_lose_no_more_than_they_touch(tmp_path, whole_journal):
    rng = np.random.default_rng(2)
    for place in rng.integers(Journal.FRAME.size + len("work"), len(whole_journal) - 2000, 40):
        extra = rng.bytes(int(rng.integers(1, 300)))
        for content in (
            whole_journal[:place] + extra + whole_journal[place:],
            whole_journal[:place] + whole_journal[place + len(extra) :],
        ):
            (tmp_path / "j").write_bytes(content)
            assert len(set(some_records()) - found_in(tmp_path / "j")) <= 2 + len(extra) // 100


def test_a_journal_whose_beginning_is_damaged_is_set_aside_and_said(tmp_path, whole_journal, caplog):
    content = bytearray(whole_journal)
    content[20] ^= 1
    (tmp_path / "j").write_bytes(content)
    assert found_in(tmp_path / "j") == set()
    assert "its beginning is damaged" in caplog.text and (tmp_path / "j.damaged").read_bytes() == content


def test_a_record_under_another_name_is_refused(tmp_path):
    journal = Journal(tmp_path / "j", "work")
    journal.add_all([("a", {"values": np.arange(3)}), ("b", {"values": np.arange(3)})])
    journal.offsets["a"] = journal.offsets["b"]
    with pytest.raises(files.StorageError, match="the record of 'a' is that of 'b'"):
        journal.get("a")


def test_whole_files_are_read_where_locks_are_of_no_use(tmp_path):
    """As on file systems that have none, where each asking for a lock fails: somebody else holds it for good."""
    with storage.create_shard(tmp_path / "a.h5", "faces") as shard:
        shard["x"] = 7
    with open(tmp_path / "a.h5", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert not storage.is_damaged(tmp_path / "a.h5")
        with storage.open_shard(tmp_path / "a.h5", "faces") as shard:
            assert shard["x"][()] == 7


def test_without_locks_a_second_writer_is_noticed(tmp_path, monkeypatch):
    """Of two processes on a file system without locks, whoever finds the other's record stops; nothing is mixed up."""

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    one = Journal(tmp_path / "j", "work")
    one.add("a", values=np.arange(3))
    two = Journal(tmp_path / "j", "work")
    two.add("b", values=np.arange(4))
    with pytest.raises(files.StorageError, match="another process writes here too"):
        one.add("c", values=np.arange(5))
    two.add("d", values=np.arange(6))
    assert [len(two.get(name)["values"]) for name in "abd"] == [3, 4, 6]


def test_a_record_damaged_behind_the_journals_back_is_an_error_and_not_an_empty_one(tmp_path):
    path = tmp_path / "j"
    journal = Journal(path, "work")
    journal.add("a", values=np.arange(10))
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 1)
    with pytest.raises(files.StorageError, match="damaged: the record of 'a'"):
        journal.get("a")


def test_a_journal_of_other_work_is_emptied(tmp_path):
    journal = Journal(tmp_path / "j", "one")
    journal.add("a", values=np.arange(10))
    journal.close()
    assert len(Journal(tmp_path / "j", "two")) == 0


def test_a_journal_has_one_writer(tmp_path):
    journal = Journal(tmp_path / "j", "work")
    with pytest.raises(BlockingIOError, match="another process is writing this shard"):
        Journal(tmp_path / "j", "work")
    journal.close()
    Journal(tmp_path / "j", "work").close()


def test_a_journal_waits_for_the_one_that_holds_it(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "WAIT_S", 0.01)
    first = Journal(tmp_path / "j", "work")
    first.add("a", values=np.arange(3))
    threading.Timer(0.2, first.close).start()
    second = Journal(tmp_path / "j", "work", wait_s=60)
    assert second.waited and "a" in second
    second.close()


def test_a_journal_deleted_by_the_one_that_held_it_is_not_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "WAIT_S", 0.01)
    first = Journal(tmp_path / "j", "work")
    first.add("a", values=np.arange(3))
    threading.Timer(0.2, first.remove).start()
    second = Journal(tmp_path / "j", "work", wait_s=60)
    second.add("b", values=np.arange(3))
    second.close()
    third = Journal(tmp_path / "j", "work")
    assert "b" in third and "a" not in third
