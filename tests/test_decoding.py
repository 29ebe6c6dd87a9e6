"""leam.decoding: whatever is decoded has so many seconds and bytes, and the pixels are those of Pillow."""

import contextlib
import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from hostile import LABEL_MAPS, LANDMARK_FILES, PICTURES, encode, noise, plain_webp
from hostile import png_of_chunks as slow
from leam import decoding, files, images, storage
from leam.journal import Journal
from leam.reasons import UnusablePictureError
from listed import imported, people_of
from shards import write_images

SOURCES = Path(decoding.__file__).parents[1]
ORDINARY = encode(noise(90, 120), "JPEG")


def child() -> int:
    """The process that decodes, which is there when something was decoded."""
    images.decode(ORDINARY)
    return decoding._decoder._process._popen.pid


def outcome(decode, *given) -> str:
    try:
        decode(*given)
    except UnusablePictureError as error:
        assert len(str(error).splitlines()) == 1
        return str(error)
    return "fine"


def peak_mb(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


# ------------------------------------------------------------------------------------------------------ the same pixels


def naive(encoded):
    """What Pillow makes of a picture, whole and in this process."""
    with Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG", "WEBP")) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            return np.repeat((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8)[..., None], 3, axis=2)
        if image.has_transparency_data:
            black = Image.new("RGBA", image.size, (0, 0, 0, 255))
            image = Image.alpha_composite(black, image.convert("RGBA"))
        return np.array(image.convert("RGB"))


def photo(height, width):
    """As smooth as a photograph, so that decoders have something to round."""
    return np.asarray(Image.fromarray(noise(9, 12)).resize((width, height), Image.Resampling.BICUBIC))


def turned(pixels, orientation, kind, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(pixels, kind, exif=exif, **options)


def transparent(pixels):
    return np.dstack([pixels, pixels[..., 0]])


def palette(pixels):
    return Image.fromarray(pixels).convert("P")


LARGE = (700, 901)  # several bands
ORDINARY_PICTURES = {
    **{f"{kind} {size}": (lambda kind=kind, size=size: encode(photo(*size), kind)) for kind in ("JPEG", "PNG", "WEBP")
       for size in ((1, 1), (7, 5), (90, 120), LARGE, (1, 3000), (3000, 1))},
    **{f"{kind} turned {o}": (lambda kind=kind, o=o: turned(photo(*LARGE), o, kind)) for kind in ("JPEG", "PNG", "WEBP")
       for o in range(1, 9)},
    **{f"PNG {mode}": (lambda mode=mode: encode(Image.fromarray(photo(*LARGE)).convert(mode)))
       for mode in ("1", "L", "LA", "P", "RGBA")},
    "PNG of 16 bits": lambda: encode(np.random.default_rng(0).integers(0, 2**16, LARGE).astype(np.uint16)),
    "PNG of 16 bits turned": lambda: turned(np.arange(700 * 901, dtype=np.uint16).reshape(LARGE), 6, "PNG"),
    "PNG RGBA turned": lambda: turned(transparent(photo(*LARGE)), 8, "PNG"),
    "PNG of a transparent colour": lambda: encode(photo(*LARGE), transparency=tuple(map(int, photo(*LARGE)[0, 0]))),
    "PNG of a transparent palette": lambda: encode(palette(photo(*LARGE)), transparency=bytes(range(256))),
    "PNG of a transparent grey": lambda: encode(photo(*LARGE)[..., 0], transparency=90),
    "PNG of frames": lambda: encode(photo(*LARGE), save_all=True, append_images=[Image.fromarray(noise(*LARGE))]),
    "JPEG L": lambda: encode(photo(*LARGE)[..., 0], "JPEG"),
    "JPEG CMYK": lambda: encode(Image.fromarray(photo(*LARGE)).convert("CMYK"), "JPEG"),
    "JPEG progressive": lambda: encode(photo(*LARGE), "JPEG", progressive=True, quality=95, subsampling=0),
    "JPEG with a profile": lambda: encode(photo(*LARGE), "JPEG", icc_profile=bytes(3000)),
    "WEBP lossless": lambda: encode(photo(*LARGE), "WEBP", lossless=True),
    "WEBP RGBA": lambda: encode(transparent(photo(*LARGE)), "WEBP"),
    "WEBP of frames": lambda: encode(photo(*LARGE), "WEBP", save_all=True, append_images=[palette(noise(*LARGE))]),
}  # fmt: skip


@pytest.mark.parametrize("name", ORDINARY_PICTURES)
def test_pixels_are_those_of_pillow(name):
    encoded = ORDINARY_PICTURES[name]()
    found = images.decode(encoded)
    assert found.dtype == np.uint8 and found.flags.writeable and found.flags.c_contiguous
    assert np.array_equal(found, naive(encoded))
    assert decoding.measure("picture", encoded, max_megapixels=64).shape() == found.shape


def test_there_is_no_shared_memory_where_files_are_limited():
    """And so bytes go through the connection, whatever their number."""
    code = """
import hashlib, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))
from leam import decoding, images
with open(sys.argv[1], "rb") as file:
    encoded = file.read()
asked = [decoding.unpack("picture", encoded, max_megapixels=64) for _ in range(5)]
print(*{hashlib.sha256(coming.array()).hexdigest() for coming in asked}, decoding._decoder._process.most_questions)
"""
    encoded = encode(photo(1500, 2000), "PNG")
    assert naive(encoded).nbytes > 10**6
    assert run_beside(code, encoded) == f"{hashlib.sha256(naive(encoded)).hexdigest()} 1\n"


def run_beside(code, encoded, **environment):
    """What a process prints that is given a file of these bytes."""
    read, write = os.pipe()
    threading.Thread(target=lambda: _pour(write, encoded)).start()
    command = [sys.executable, "-c", code, f"/dev/fd/{read}"]
    environment = os.environ | {"PYTHONPATH": str(SOURCES)} | environment
    found = subprocess.run(command, env=environment, pass_fds=[read], capture_output=True, text=True, timeout=120)
    os.close(read)
    assert found.returncode == 0, found.stderr
    return found.stdout


def _pour(write, encoded):
    with open(write, "wb") as pipe:
        pipe.write(encoded)


# -------------------------------------------------------------------------------------------------------- the attackers


@pytest.mark.parametrize("name", PICTURES)
def test_a_hostile_picture_is_a_reason_and_the_next_one_is_decoded(name):
    make, expected = PICTURES[name]
    encoded = make()
    before = child()
    assert re.match(expected, outcome(images.decode, encoded))
    with contextlib.suppress(FileNotFoundError):  # it took too long, and is gone
        assert peak_mb(before) < 64 + decoding.MEGABYTES + 64 * decoding.BYTES_PER_PX
    assert np.array_equal(images.decode(ORDINARY), naive(ORDINARY))


@pytest.mark.parametrize("name", LABEL_MAPS)
def test_a_hostile_label_map_is_a_reason(tmp_path, name):
    make, expected = LABEL_MAPS[name]
    (tmp_path / "map.png").write_bytes(make())
    found = outcome(images.read_label_map, tmp_path / "map.png", (24, 32), "farl")
    assert re.match(expected, found)
    masks = outcome(lambda: list(images.read_masks([tmp_path / "map.png"] * 2, (24, 32))))
    assert masks == "fine" or masks.startswith(
        ("label map unreadable: map.png: ", "label map of another size: map.png")
    )
    assert np.array_equal(images.decode(ORDINARY), naive(ORDINARY))


@pytest.mark.parametrize("name", LANDMARK_FILES)
def test_a_hostile_landmark_file_is_a_reason(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(LANDMARK_FILES[name])
    assert outcome(images.read_landmark_file, tmp_path / name).startswith("landmarks unreadable: ")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("kind", ["pipe", "loop", "folder", "device", "nothing", "large"])
def test_what_is_no_file_of_its_kind_is_a_reason(tmp_path, monkeypatch, kind):
    path = tmp_path / "a.npy"
    {
        "pipe": lambda: os.mkfifo(path),
        "loop": lambda: path.symlink_to(path),
        "folder": lambda: path.mkdir(),
        "device": lambda: path.symlink_to("/dev/zero"),
        "nothing": lambda: None,
        "large": lambda: path.write_bytes(bytes(images.MOST_LANDMARK_BYTES + 1)),
    }[kind]()
    assert outcome(images.read_landmark_file, path).startswith("landmarks unreadable: ")
    assert outcome(images.read_label_map, path, (24, 32), "farl").startswith("label map unreadable: ")
    assert outcome(lambda: list(images.read_masks([path], (24, 32)))).startswith("label map unreadable: ")


def test_memory_is_for_the_pixels_that_a_picture_has():
    """One that may have 64 megapixels gets it; what has none and takes more than nothing does not."""
    assert images.decode(plain_webp(8000)).shape == (8000, 8000, 3)
    assert peak_mb(child()) > decoding.MEGABYTES
    assert outcome(ask_too_much) == f"landmarks unreadable: {decoding.TOO_MUCH}"


def ask_too_much():
    """A header of a little more than what is given beside the pixels, which is refused at once."""
    content = io.BytesIO()
    shape = (decoding.MEGABYTES * 2**20 // 8, 2)
    np.lib.format.write_array_header_2_0(content, {"descr": "<f8", "fortran_order": False, "shape": shape})
    decoding.unpack("landmarks", content.getvalue(), suffix=".npy").array()


# ------------------------------------------------------------------------------------ whatever happens to the processes


def test_pictures_around_one_that_takes_too_long_are_as_ever():
    others = [encode(noise(seed=k)) for k in range(5)]
    asked = (decoding.unpack("picture", each, max_megapixels=64) for each in (*others[:2], slow(), *others[2:]))
    kept = list(decoding.one_ahead(asked))
    found = [outcome(coming.array) for coming in kept]
    assert found == [*["fine"] * 2, f"too large: {decoding.TOO_LONG}", *["fine"] * 3]
    for coming, encoded in zip(kept[:2] + kept[3:], others, strict=True):
        assert np.array_equal(coming.array(), naive(encoded))


def test_one_is_decoded_while_the_one_before_is_worked_on():
    begun = []

    def asked():
        for k in range(4):
            begun.append(k)
            yield k

    ahead = decoding.one_ahead(asked())
    assert next(ahead) == 0 and begun == [0, 1]
    assert list(ahead) == [1, 2, 3]
    assert list(decoding.one_ahead(iter([5]))) == [5] and list(decoding.one_ahead(iter([]))) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGSTOP])
def test_a_process_that_was_killed_from_outside_is_not_the_pictures_fault(monkeypatch, number):
    decoding._decoder.end()
    decoding._decoder = decoding._Decoder()
    monkeypatch.setattr(decoding, "SILENCE_S", 2 if number == signal.SIGSTOP else 600)
    before = child()
    os.kill(before, number)
    assert np.array_equal(images.decode(ORDINARY), naive(ORDINARY))
    assert child() != before and not Path(f"/proc/{before}").exists()


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGKILL, "was killed, perhaps for want of memory"), (signal.SIGSEGV, "signal 11")]
)
def test_what_kills_two_processes_is_a_reason(number, reason):
    """As a decoder with a fault would die: whatever is at the picture dies."""
    killed, over = [child()], threading.Event()

    def kill():
        while not over.wait(0.05):
            process = decoding._decoder._process
            if process is not None and process._popen.pid not in killed[1:]:
                killed.append(process._popen.pid)
                os.kill(killed[-1], number)

    killer = threading.Thread(target=kill)
    coming = decoding.unpack("picture", slow(), max_megapixels=63)  # of which nothing is known yet
    killer.start()
    try:
        assert outcome(coming.array).startswith("unreadable: the decoder ") and len(killed) == 3
    finally:
        over.set()
        killer.join()
    assert outcome(coming.array).endswith(reason)
    assert np.array_equal(images.decode(ORDINARY), naive(ORDINARY))


def test_many_threads_ask_at_once():
    pictures = [ORDINARY_PICTURES[name]() for name in list(ORDINARY_PICTURES)[:12]]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(images.decode, pictures * 10))
    for pixels, encoded in zip(found, pictures * 10, strict=True):
        assert np.array_equal(pixels, naive(encoded))


def test_a_process_that_was_forked_off_has_a_decoder_of_its_own():
    before = child()
    forked = os.fork()
    if not forked:
        with contextlib.suppress(BaseException):
            right = np.array_equal(images.decode(ORDINARY), naive(ORDINARY)) and child() != before
            decoding._decoder.end()
            os._exit(7 if right else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 7
    assert child() == before
    assert np.array_equal(images.decode(ORDINARY), naive(ORDINARY))


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_the_process_goes_with_the_job(how):
    code = """
import sys, time
from leam import decoding, images
with open(sys.argv[1], "rb") as file:
    images.decode(file.read())
print(decoding._decoder._process._popen.pid, flush=True)
time.sleep(60 * (sys.argv[2] == "killed"))
"""
    environment = os.environ | {"PYTHONPATH": str(SOURCES)}
    read, write = os.pipe()
    os.write(write, ORDINARY)
    os.close(write)
    command = [sys.executable, "-c", code, f"/dev/fd/{read}", how]
    job = subprocess.Popen(command, env=environment, pass_fds=[read], stdout=subprocess.PIPE, text=True)
    os.close(read)
    process = Path(f"/proc/{int(job.stdout.readline())}")
    if how == "killed":
        assert process.exists()
        job.kill()
    assert job.wait(60) == (-signal.SIGKILL if how == "killed" else 0)
    for _ in range(600):
        if not process.exists() or ") Z " in (process / "stat").read_text():
            return
        time.sleep(0.05)
    pytest.fail("the decoder's process is still there")


def test_the_process_has_no_secrets_and_no_files_of_the_job(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", "abc")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    decoding._decoder.end()
    monkeypatch.setattr(decoding, "_decoder", decoding._Decoder())
    with open(tmp_path / "secret", "w") as file:
        os.set_inheritable(file.fileno(), True)
        pid = child()
        names = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    assert not [name for name in names if str(tmp_path) in name]
    assert b"TOKEN" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert "Max core file size        0                    0" in Path(f"/proc/{pid}/limits").read_text()
    decoding._decoder.end()


def test_a_process_that_does_not_start_is_one_sentence(monkeypatch):
    monkeypatch.setattr(decoding, "_decoder", decoding._Decoder())
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match=r"^the process that decodes pictures does not start: .*status 1$"):
        images.decode(ORDINARY)


# --------------------------------------------------------------------------------------------------- what is remembered


@pytest.fixture
def afresh(monkeypatch):
    """A decoder that knows nothing yet."""
    decoder = decoding._Decoder()
    monkeypatch.setattr(decoding, "_decoder", decoder)
    yield decoder
    decoder.end()


def test_what_took_too_long_is_not_tried_again(tmp_path, monkeypatch, afresh):
    path = tmp_path / "kept.verdicts"
    with decoding.remember(path):
        assert outcome(images.decode, ORDINARY) == "fine" and not path.exists()
        first = outcome(images.decode, slow())
        assert outcome(images.decode, slow()) == first == f"too large: {decoding.TOO_LONG}"
        assert afresh._process is None  # the second was answered without one
    with decoding.remember(path):
        assert outcome(images.decode, slow()) == first
        assert outcome(images.decode, ORDINARY) == "fine"
        assert outcome(ask_too_much) == f"landmarks unreadable: {decoding.TOO_MUCH}"
    journal = Journal(path, decoding.VERDICTS)
    assert len(journal) == 2
    journal.close()


@pytest.mark.parametrize("damage", ["damaged", "of other limits", "a folder", "in use"])
def test_a_file_of_verdicts_that_cannot_be_used_stops_nothing(tmp_path, afresh, damage):
    path = tmp_path / "kept.verdicts"
    if damage == "damaged":
        path.write_bytes(bytes(range(256)) * 9)
    elif damage == "of other limits":
        Journal(path, "verdicts of old").close()
    elif damage == "a folder":
        path.mkdir()
    with contextlib.ExitStack() as stack:
        if damage == "in use":
            stack.callback(Journal(path, decoding.VERDICTS).close)
        with decoding.remember(path):
            assert outcome(images.decode, ORDINARY) == "fine"
            assert outcome(ask_too_much) == outcome(ask_too_much) == f"landmarks unreadable: {decoding.TOO_MUCH}"
            assert outcome(images.decode, ORDINARY) == "fine"


def folder_of(root):
    """Two people with a picture each that takes too long, among others."""
    for name in ("ann", "bob"):
        (root / name).mkdir(parents=True)
        for k in range(3):
            (root / name / f"{k}.png").write_bytes(encode(noise(60, 60, seed=k)))
        (root / name / "1 slow.png").write_bytes(slow())
        (root / name / "2.regions.png").write_bytes(slow())
    return root


def test_an_import_remembers_and_keeps_the_rest(tmp_path, afresh):
    source = people_of(folder_of(tmp_path / "people"))
    reason = f"too large: {decoding.TOO_LONG}"
    expected = {"0.png": "ok", "1 slow.png": reason, "1.png": "ok", "2.png": "ok"}
    ledger, pictures = imported(tmp_path, source)
    assert ledger == expected
    assert [pictures[name].images for name in ("ann", "bob")] == [["0.png", "1.png", "2.png"]] * 2
    first = files.sha256(tmp_path / "images.h5")
    pid = child()
    (tmp_path / "images.h5").unlink()
    assert imported(tmp_path, source)[0] == expected
    assert child() == pid  # nothing took so long that its process was ended
    assert files.sha256(tmp_path / "images.h5") == first


def test_faces_are_found_in_the_rest_and_the_reason_is_kept(tmp_path, afresh):
    """What the import let pass, on a quicker machine perhaps, is bounded here too."""
    from leam.faces import stage

    names = ["a", "b", "c"]
    encoded = [encode(noise(60, 60, seed=1)), slow(), encode(noise(60, 60, seed=2))]
    labels = [encode(np.zeros((60, 60), np.uint8))] * 3
    person = storage.Pictures("ann", names, encoded, labels=labels)
    shard = write_images(tmp_path / "images.h5", [person])
    settings = {"detector": "none", "crop_mode": "whole", "landmarks": "none"}
    digests = set()
    for _ in range(2):
        stage.parse_faces(shard, tmp_path / "faces.h5", settings)
        with storage.open_shard(tmp_path / "faces.h5", "faces") as found:
            assert [(row.image, row.reason) for row in storage.read_discarded(found)] == [
                ("b", f"too large: {decoding.TOO_LONG}")
            ]
            assert storage.read_faces(found, "ann").images == ["a", "c"]
        digests.add((files.sha256(tmp_path / "faces.h5"), child()))
    assert len(digests) == 1  # the same bytes, and the same process: the second run did not try
