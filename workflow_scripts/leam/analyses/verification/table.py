"""verification.csv: AUC and threshold of every recogniser on the run's own pairs."""

from pathlib import Path

import pandas as pd

from leam.analyses.verification.measure import score_verification
from leam.tables import write_table


def tabulate_verification(maps: dict[str, list[str]], output: str | Path, seed: int = 0) -> None:
    """verification.csv: one row per model, from the embeddings in its maps files; NaN where there are no pairs.

    Columns: model, untrained, identities, images, genuine_pairs, impostor_pairs (without those of
    equal embeddings), equal_pairs (how many these are), equal_genuine_pairs (of the genuine ones, kept), auc,
    false_match_rate, threshold (cosine), true_match_rate.
    """
    rows = [score_verification(model, paths, seed) for model, paths in maps.items()]
    write_table(pd.DataFrame(rows), output, float_format=None)
