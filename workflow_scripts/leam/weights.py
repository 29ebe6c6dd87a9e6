"""Weights: each recogniser's file is found, verified and tried before the first GPU job starts."""

import json
import logging
from pathlib import Path

from leam import models, storage
from leam.models import ModelError, Recogniser

log = logging.getLogger(__name__)


def fetch_weights(output: str | Path, recogniser: Recogniser, seed: int = 0) -> None:
    """Check a recogniser's weights and write what they are: path, sha256, bytes, origin, licence, layers (JSON).

    The network is built and its layers looked up, so that a wrong file or layer name stops the run here.

    Raises ModelError: no file (where to get it, under which licence), another SHA-256, a file for another
    architecture, a layer that does not exist.
    """
    facts = {"model": recogniser.name, "untrained": recogniser.untrained, "layers": list(recogniser.layers)}
    if not recogniser.untrained and recogniser.weights:
        facts |= verify(recogniser)
    network = models.build(recogniser, seed)
    models.find_layers(network, recogniser.layers)
    facts |= {"origin": recogniser.origin, "licence": recogniser.licence}
    with storage.whole_file(output) as part:
        part.write_text(json.dumps(facts, indent=2) + "\n")
    log.info(
        "%s: %s", recogniser.name, facts.get("path", "untrained" if recogniser.untrained else "made by a function")
    )


def verify(recogniser: Recogniser) -> dict[str, str | int]:
    """Path, SHA-256 and size of the weights' file. Raises ModelError when it is missing or another one."""
    path = models.existing_weights(recogniser)
    found = storage.sha256(path)
    if recogniser.sha256 and found != recogniser.sha256:
        raise ModelError(
            f"recogniser {recogniser.name}: {path} has SHA-256 {found}, expected {recogniser.sha256}; "
            f"{models.where_to_get(recogniser)}"
        )
    return {"path": str(path), "sha256": found, "bytes": path.stat().st_size}
