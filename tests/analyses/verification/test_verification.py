"""Verification against a naive count over all pairs."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from leam import storage
from leam.analyses.verification import measure as verification_measure
from leam.analyses.verification import table as verification_table
from shards import write_embeddings


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


@pytest.mark.parametrize("n", [1000, 1999, 5000, 9000])
def test_the_threshold_is_the_lowest_that_so_many_impostors_exceed(n):
    """Against every score tried as the threshold, one after the other."""
    impostor = np.random.default_rng(n).random(n)
    kept = [score for score in impostor if 1000 * sum(impostor > score) <= n]
    threshold, achieved = verification_measure.threshold_at(impostor, 1e-3)
    assert threshold == min(kept)
    assert achieved == sum(impostor > min(kept)) / n == n // 1000 / n


def test_the_achieved_rate_is_lower_where_scores_are_equal():
    impostor = np.repeat([0.1, 0.2, 0.7, 0.9], [1500, 1490, 8, 2])
    assert verification_measure.threshold_at(impostor, 1e-3) == (0.7, 2 / 3000)
    copies = np.repeat([0.1, 1.0], [2990, 10])  # the same picture under several people
    assert verification_measure.threshold_at(copies, 1e-3) == (1.0, 0)


@pytest.mark.parametrize("n", [0, 1, 999])
def test_of_too_few_impostors_there_is_no_threshold(n):
    assert np.isnan(verification_measure.threshold_at(np.random.default_rng(0).random(n), 1e-3)).all()


def people(count, seed=3):
    rng = np.random.default_rng(seed)
    embeddings = unit(rng, count)[:, None] + 0.05 * unit(rng, 3 * count).reshape(count, 3, -1)
    return embeddings / np.linalg.norm(embeddings, axis=2, keepdims=True)


def test_table_of_models(tmp_path):
    maps = [write_embeddings(tmp_path / "m.h5", dict(zip("abcd", people(4), strict=True)), untrained=True)]
    verification_table.tabulate_verification({"m": maps}, tmp_path / "out.csv")
    row = pd.read_csv(tmp_path / "out.csv").iloc[0]
    assert (row["genuine_pairs"], row["impostor_pairs"], row["images"]) == (12, 54, 12)
    assert row["auc"] == 1.0 and row[["threshold", "false_match_rate", "true_match_rate"]].isna().all()
    assert row["untrained"]


def test_the_table_says_which_rate_there_is(tmp_path):
    embeddings = people(20)
    maps = [write_embeddings(tmp_path / "m.h5", {f"p{k}": person for k, person in enumerate(embeddings)})]
    verification_table.tabulate_verification({"m": maps}, tmp_path / "out.csv")
    row = pd.read_csv(tmp_path / "out.csv").iloc[0]
    flat = embeddings.reshape(60, -1)
    cosines = {(i // 3 == j // 3, i, j): flat[i] @ flat[j] for i in range(60) for j in range(i)}
    impostor = sorted((cosine for (same, *_), cosine in cosines.items() if not same), reverse=True)
    genuine = [cosine for (same, *_), cosine in cosines.items() if same]
    assert row["impostor_pairs"] == len(impostor) == 1710
    assert row["threshold"] == pytest.approx(impostor[1], rel=1e-5) and row["false_match_rate"] == 1 / 1710
    assert row["true_match_rate"] == np.mean([cosine > impostor[1] for cosine in genuine])


def test_impostor_pairs_of_equal_embeddings_are_counted_and_left_out(tmp_path, caplog):
    """Three people, b03 among them, have one picture; another has one twice. The highest scores would be these."""
    embeddings = people(20)
    embeddings[3, 0] = embeddings[8, 1] = embeddings[15, 2]
    embeddings[5, 2] = embeddings[5, 0]
    maps = [write_embeddings(tmp_path / "m.h5", {f"b{k:02d}": person for k, person in enumerate(embeddings)})]
    verification_table.tabulate_verification({"m": maps}, tmp_path / "out.csv")
    row = pd.read_csv(tmp_path / "out.csv").iloc[0]
    flat, impostor, genuine = embeddings.reshape(60, -1), [], []
    for i in range(60):
        for j in range(i):
            same = np.array_equal(flat[i], flat[j])
            (genuine if i // 3 == j // 3 else impostor).append(None if same else float(flat[i] @ flat[j]))
    apart = sorted((cosine for cosine in impostor if cosine is not None), reverse=True)
    assert (row["impostor_pairs"], row["equal_pairs"], row["equal_genuine_pairs"]) == (1707, 3, 1)
    assert len(apart) == 1707 and apart[0] == pytest.approx(apart[1])  # that picture against another one, twice
    assert (
        row["false_match_rate"] == 0
        and row["threshold"] == pytest.approx(apart[1], rel=1e-5)
        and row["threshold"] < 1 - 1e-3
    )
    rate = np.mean([cosine is None or cosine > apart[1] for cosine in genuine])
    assert row["genuine_pairs"] == 60 and row["true_match_rate"] == pytest.approx(rate)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("m: 3 impostor pairs of equal embeddings are left out, the first of b03 and b")


def test_no_usable_identity_is_a_row_of_zeros(tmp_path):
    with storage.create_shard(tmp_path / "m.h5", "maps"):
        pass
    verification_table.tabulate_verification({"m": [str(tmp_path / "m.h5")]}, tmp_path / "out.csv")
    row = pd.read_csv(tmp_path / "out.csv").iloc[0]
    assert (row["identities"], row["genuine_pairs"], row["impostor_pairs"]) == (0, 0, 0)
    assert np.isnan(row["auc"])
