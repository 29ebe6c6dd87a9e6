"""verification.csv: AUC and threshold of every recogniser on the run's own pairs."""

from pathlib import Path

import numpy as np
import pandas as pd

from leam import files, storage
from leam.analyses.verification.measure import FALSE_MATCH_RATE, area_under_curve, split_pairs, threshold_at


def tabulate_verification(maps: dict[str, list[str]], output: str | Path, seed: int = 0) -> None:
    """verification.csv: one row per model, from the embeddings in its maps files; NaN where there are no pairs.

    Columns: model, untrained, identities, images, genuine_pairs, impostor_pairs, auc, false_match_rate, threshold
    (cosine), true_match_rate.
    """
    rows = [verify(model, paths, seed) for model, paths in maps.items()]
    with files.whole_file(output) as part:
        pd.DataFrame(rows).to_csv(part, index=False)


def verify(model: str, paths: list[str], seed: int = 0) -> dict[str, object]:
    """The row of one model in verification.csv, from its maps files of all shards."""
    embeddings, identities, untrained = _embeddings(paths)
    genuine, impostor = split_pairs(embeddings, identities, seed)
    threshold = threshold_at(impostor)
    return {
        "model": model,
        "untrained": untrained,
        "identities": len(np.unique(identities)),
        "images": len(identities),
        "genuine_pairs": len(genuine),
        "impostor_pairs": len(impostor),
        "auc": area_under_curve(genuine, impostor),
        "false_match_rate": FALSE_MATCH_RATE,
        "threshold": threshold,
        "true_match_rate": float((genuine > threshold).mean()) if len(genuine) and len(impostor) else float("nan"),
    }


def _embeddings(paths: list[str]) -> tuple[np.ndarray, np.ndarray, bool]:
    embeddings, identities, untrained = [], [], False
    for path in paths:
        with storage.open_shard(path, "maps") as shard:
            untrained = storage.is_untrained(shard)
            for identity in storage.identities(shard):
                found = storage.read_embeddings(shard, identity)
                embeddings.append(found)
                identities += [identity] * len(found)
    return np.concatenate(embeddings or [np.empty((0, 1), np.float32)]), np.array(identities), untrained
