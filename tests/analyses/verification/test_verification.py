"""Verification against a naive count over all pairs."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from leam import storage
from leam.analyses.verification import measure as verification_measure
from leam.analyses.verification import table as verification_table


def unit(rng, n, d=8):
    x = rng.normal(size=(n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_pairs_against_a_double_loop():
    rng = np.random.default_rng(0)
    embeddings, identities = unit(rng, 12), np.repeat(list("abcd"), 3)
    genuine, impostor = [], []
    for i in range(12):
        for j in range(i + 1, 12):
            (genuine if identities[i] == identities[j] else impostor).append(float(embeddings[i] @ embeddings[j]))
    found = verification_measure.split_pairs(embeddings, identities)
    np.testing.assert_allclose(np.sort(found[0]), np.sort(genuine), rtol=1e-5)
    np.testing.assert_allclose(np.sort(found[1]), np.sort(impostor), rtol=1e-5)


def test_impostor_pairs_are_sampled_when_there_are_too_many():
    rng = np.random.default_rng(0)
    embeddings, identities = unit(rng, 60), np.repeat(np.arange(20), 3)
    one, two = (verification_measure.split_pairs(embeddings, identities, seed=4, limit=500)[1] for _ in range(2))
    assert 400 < len(one) <= 500
    np.testing.assert_array_equal(one, two)


def test_area_under_curve_against_a_count_with_ties():
    rng = np.random.default_rng(1)
    genuine, impostor = rng.integers(2, 9, 40) / 10, rng.integers(0, 7, 70) / 10
    wins = sum((g > i) + 0.5 * (g == i) for g in genuine for i in impostor)
    assert verification_measure.area_under_curve(genuine, impostor) == pytest.approx(wins / (40 * 70))
    truth = np.repeat([1, 0], [40, 70])
    expected = roc_auc_score(truth, np.concatenate((genuine, impostor)))
    assert verification_measure.area_under_curve(genuine, impostor) == pytest.approx(expected)
    assert np.isnan(verification_measure.area_under_curve(genuine, impostor[:0]))


def test_area_under_curve_at_its_limits():
    assert verification_measure.area_under_curve(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1
    assert verification_measure.area_under_curve(np.array([0.0]), np.array([1.0, 2.0])) == 0
    assert verification_measure.area_under_curve(np.ones(3), np.ones(4)) == 0.5


def test_threshold_lets_through_at_most_the_false_match_rate():
    impostor = np.random.default_rng(2).random(5000)
    threshold = verification_measure.threshold_at(impostor, 1e-3)
    assert (impostor > threshold).mean() <= 1e-3
    assert (impostor >= threshold).mean() > 1e-3


def test_table_of_models(tmp_path):
    rng = np.random.default_rng(3)
    centres = unit(rng, 4)
    with storage.create_shard(tmp_path / "m.h5", "maps", untrained=True) as shard:
        for identity, centre in zip("abcd", centres, strict=True):
            embeddings = centre + 0.05 * unit(rng, 3)
            embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
            nothing = np.zeros((6, 0, 0, 19), np.uint16)
            pairs = np.zeros((6, 2), np.int16)
            storage.write_maps(
                shard,
                storage.IdentityMaps(identity, list("123"), pairs, pairs[:, 0], embeddings, {}, {"loss": nothing}),
            )
    verification_table.tabulate_verification({"m": [str(tmp_path / "m.h5")]}, tmp_path / "out.csv")
    row = pd.read_csv(tmp_path / "out.csv").iloc[0]
    assert (row["genuine_pairs"], row["impostor_pairs"], row["images"]) == (12, 54, 12)
    assert row["auc"] == 1.0 and row["true_match_rate"] == 1.0
    assert row["untrained"]


def test_no_usable_identity_is_a_row_of_zeros(tmp_path):
    with storage.create_shard(tmp_path / "m.h5", "maps"):
        pass
    verification_table.tabulate_verification({"m": [str(tmp_path / "m.h5")]}, tmp_path / "out.csv")
    row = pd.read_csv(tmp_path / "out.csv").iloc[0]
    assert (row["identities"], row["genuine_pairs"], row["impostor_pairs"]) == (0, 0, 0)
    assert np.isnan(row["auc"])
