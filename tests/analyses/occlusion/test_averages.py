"""Averages over the identities of all shards, worked by hand."""

import dataclasses

import numpy as np
import pytest

from leam import maps, storage
from leam.analyses.occlusion import averages
from shards import make_faces, write_embeddings, write_faces


def test_leave_one_out_by_hand():
    found = averages.leave_one_out(np.array([[[1.0, 0]], [[3, 0]], [[8, 6]]], np.float32))
    np.testing.assert_allclose(found, [[[5.5, 3]], [[4.5, 3]], [[2, 0]]])


def test_where_no_other_map_has_anything_the_mean_is_exactly_zero():
    found = averages.leave_one_out(np.array([[[0.1]], [[0]], [[0]], [[0]]], np.float32))
    assert found[0, 0, 0] == 0


def test_everyone_is_the_other_of_exactly_one():
    people = [f"p{number}" for number in range(30)]
    others = averages.other_identities(people, seed=3, count=4)
    assert sorted(others) == sorted(people)
    for place in range(4):
        assert sorted(other[place] for other in others.values()) == sorted(people)
    assert all(len({person, *other}) == 5 for person, other in others.items())
    assert others == averages.other_identities(people[::-1], 3, 4) != averages.other_identities(people, 4, 4)
    assert averages.other_identities(people, 3) == {person: other[:1] for person, other in others.items()}


def test_the_only_identity_has_no_other():
    assert averages.other_identities(["p0"], 0, 0) == {"p0": []}
    assert averages.other_identities([], 0, 0) == {}


def test_totals_over_two_shards_give_the_mean_of_all_others(tmp_path, narrow):
    """Identities of 3, 2 and 4 images weigh the same."""
    everyone, means = [], {}
    narrow = dataclasses.replace(narrow, layers=("layer1.0.conv2",))
    for number, people in enumerate(({"a": 3}, {"b": 2, "c": 4})):
        faces, path = tmp_path / f"faces{number}.h5", tmp_path / f"{number}.h5"
        write_faces(faces, (make_faces(*person) for person in people.items()))
        maps.compute_maps(faces, path, narrow, maps.MapSettings(grid=28))
        with storage.open_shard(path, "maps") as shard:
            for identity in people:
                found = storage.read_maps(shard, identity).maps["similarity"]["layer1.0.conv2"]
                means[identity] = found.astype(float).mean(0)
        everyone.append(path)
    averages.average_maps(everyone, tmp_path / "averages.h5")
    found = storage.read_averages(tmp_path / "averages.h5")
    assert (found.identities, found.shards) == (["a", "b", "c"], ["0.h5", "1.h5", "1.h5"])
    assert np.isnan(found.threshold)  # of 26 impostor pairs
    total = found.totals["similarity", "layer1.0.conv2"]
    others = averages.mean_of_others(total, means["b"], 3)
    np.testing.assert_allclose(others, (means["a"] + means["c"]) / 2, rtol=1e-9, atol=1e-15)
    assert len(found.totals) == 2


def test_the_threshold_is_that_of_the_impostors_of_all_shards(tmp_path):
    rng, paths, people = np.random.default_rng(0), [], {}
    for number in range(2):
        drawn = {f"p{number}{k}": rng.normal(size=(2, 4)) for k in range(12)}
        of_shard = {name: each / np.linalg.norm(each, axis=1, keepdims=True) for name, each in drawn.items()}
        people |= of_shard
        paths.append(
            write_embeddings(tmp_path / f"{number}.h5", of_shard, model="m", grid=8, recogniser="", untrained=False)
        )
    averages.average_maps(paths, tmp_path / "averages.h5")
    impostor = [x @ y for a in people for b in people if a < b for x in people[a] for y in people[b]]
    assert len(impostor) == 1104
    assert storage.read_averages(tmp_path / "averages.h5").threshold == pytest.approx(sorted(impostor)[-2], rel=1e-6)
