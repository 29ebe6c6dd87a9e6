"""Weights: each recogniser's file is fetched or found, verified and tried before the first GPU job starts."""

import dataclasses
import hashlib
import json
import logging
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from leam import files
from leam.grid import CENTRED
from leam.model_package import IN_PACKAGE
from leam.recognisers import networks, registry
from leam.recognisers.registry import ModelError, Recogniser

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)
MOST_BYTES = 4 * 2**30  # of a download whose size is not known before
MOST_SECONDS = 3600.0  # that a download may take,
SILENCE_SECONDS = 60.0  # and that its server may say nothing


def fetch_weights(output: str | Path, recogniser: Recogniser, seed: int = 0, placement: str = CENTRED) -> None:
    """Get, check and try a recogniser's weights; write what they are (JSON): path, sha256, bytes, origin, licence.

    A URL is downloaded to the output's folder. The network is built, and its layers are looked into as the maps' stage
    will (``try_layers``), so that a wrong file or layer stops the run here.

    Raises ModelError: no file (where to get it, under which licence), a failed download, another size or SHA-256, a
    file for another architecture, a layer that does not exist or gives no maps.
    """
    output = Path(output)
    facts = {"model": recogniser.name, "untrained": recogniser.untrained, "layers": list(recogniser.layers)}
    if not recogniser.untrained and recogniser.weights:
        if registry.is_url(recogniser.weights):
            recogniser = dataclasses.replace(recogniser, weights=str(download(recogniser, output.parent)))
        facts |= check_weights(recogniser)
    network = networks.build_network(recogniser, seed)
    try:
        try_layers(network, recogniser, placement)
    except ModelError as error:
        raise ModelError(f"recogniser {recogniser.name}: {error}") from None
    facts |= {"origin": recogniser.origin, "licence": recogniser.licence}
    with files.whole_file(output) as part:
        part.write_text(json.dumps(facts, indent=2) + "\n")
    log.info(
        "%s: %s", recogniser.name, facts.get("path", "untrained" if recogniser.untrained else "made by a function")
    )


def try_layers(network: "nn.Module", recogniser: Recogniser, placement: str) -> None:
    """Embed two pictures, lead the gradient of their cosine back to every layer, and place the layers' units.

    Raises ModelError for a layer that is not there, does not run, runs twice, gives no maps, has no part in the
    embedding, or (``placement`` centred) whose units have no place.
    """
    import torch

    from leam.embedding import made_up_pictures, normalise
    from leam.recognisers.lattice import find_lattices
    from leam.recognisers.taps import Taps, no_part

    with Taps(network, recogniser.layers) as taps:
        embeddings, maps = taps.run(made_up_pictures(2, recogniser.input_size))
        if not embeddings.requires_grad:
            raise ModelError(no_part(maps))
        anchor, positive = normalise(embeddings)
        gradients = torch.autograd.grad(anchor @ positive.detach(), list(maps.values()), allow_unused=True)
    of_layer = dict(zip(maps, gradients, strict=True))
    if lost := [layer for layer, gradient in of_layer.items() if gradient is None]:
        raise ModelError(no_part(lost))
    if wild := [layer for layer, gradient in of_layer.items() if not gradient.isfinite().all()]:
        raise ModelError(f"layer {wild[0]!r} has a gradient that is not finite")
    if placement == CENTRED:
        find_lattices(network, recogniser.layers, recogniser.input_size)


def fetched(ok: str | Path, recogniser: Recogniser) -> Recogniser:
    """The recogniser with the weights that ``fetch_weights`` found, wherever they came from.

    Raises ModelError when their file is another one by now; files.StorageError when ``ok`` is damaged.
    """
    facts = files.read_json(ok)
    path = facts.get("path")
    weights = str(registry.PACKAGE / path) if facts.get("shipped") else path
    if path == IN_PACKAGE:
        weights = str(registry.existing_weights(dataclasses.replace(recogniser, weights=IN_PACKAGE)))
    if weights and files.sha256(weights) != facts["sha256"]:
        raise ModelError(
            f"recogniser {recogniser.name}: {weights} is damaged or another file by now (its SHA-256 is "
            f"not that of {ok}): put the right one there, delete {ok} and run again"
        )
    return dataclasses.replace(recogniser, weights=weights)


def download(recogniser: Recogniser, folder: Path) -> Path:
    """Fetch the weights' URL (http or https) to ``folder``; a file that is there and verified is not fetched again."""
    address = recogniser.weights or ""
    url = urllib.parse.urlsplit(address)
    if url.scheme not in ("http", "https"):
        raise ModelError(
            f"recogniser {recogniser.name}: weights are {recogniser.weights}; expected http, https or a path"
        )
    path = folder / f"{recogniser.name}{Path(url.path).suffix}"
    if recogniser.sha256 and path.is_file() and files.sha256(path) == recogniser.sha256:
        return path
    if not recogniser.sha256:
        raise ModelError(f"recogniser {recogniser.name}: {registry.NO_SHA256.format(address)}")
    try:
        download_file(address, path, recogniser.sha256, recogniser.bytes or MOST_BYTES)
    except OSError as error:
        where = registry.where_to_get(recogniser)
        raise ModelError(f"recogniser {recogniser.name}: {recogniser.weights}: {error}; {where}") from error
    return path


def download_file(
    url: str, path: Path, sha256: str, most_bytes: int = MOST_BYTES, seconds: float = MOST_SECONDS
) -> None:
    """Fetch a URL to ``path``, which appears when it is whole and has this SHA-256.

    Raises OSError, also for more bytes or more time than that, whatever the server says of its length.
    """
    deadline, digest, size = time.monotonic() + seconds, hashlib.sha256(), 0
    with (
        files.whole_file(path, digest=None) as part,
        open(part, "wb") as file,
        urllib.request.urlopen(url, timeout=SILENCE_SECONDS) as answer,
    ):
        while chunk := answer.read1(2**20):
            size += len(chunk)
            if size > most_bytes:
                raise OSError(f"it sends more than the {most_bytes} bytes that are expected at most")
            if time.monotonic() > deadline:
                raise OSError(f"not whole after {seconds:g} s")
            digest.update(chunk)
            file.write(chunk)
        if digest.hexdigest() != sha256.lower():
            raise OSError(f"has SHA-256 {digest.hexdigest()}, expected {sha256.lower()}")


def check_weights(recogniser: Recogniser) -> dict[str, str | int]:
    """Path, SHA-256 and size of the weights' file; the path of one that ships is its place in this package, and that of
    the package of model files IN_PACKAGE, wherever it is installed.

    Raises ModelError when it is missing or another one.
    """
    path = registry.existing_weights(recogniser)
    found: dict[str, str | int] = {}
    for key, label in (("bytes", "bytes"), ("sha256", "SHA-256")):  # the size first: what is far too large is not read
        found[key] = path.stat().st_size if key == "bytes" else files.sha256(path)
        expected = getattr(recogniser, key)
        if expected and found[key] != expected:
            raise ModelError(
                f"recogniser {recogniser.name}: {path} has {label} {found[key]}, expected {expected}; "
                f"{registry.where_to_get(recogniser)}"
            )
    if recogniser.weights == IN_PACKAGE:
        return {"path": IN_PACKAGE, **found}
    if registry.is_shipped(path):
        return {"path": path.relative_to(registry.PACKAGE).as_posix(), "shipped": True, **found}
    return {"path": str(path), **found}
