"""Pairs, measures, nulls and tables of similarity against plain computations on small shards."""

import json

import numpy as np
import ot
import pandas as pd
import pytest
import torch
from scipy.ndimage import map_coordinates
from scipy.optimize import linprog

from leam import config, files, paper, pixel_sets, storage
from leam.analyses import similarity
from leam.analyses.similarity import alignment
from leam.analyses.similarity import figure as similarity_figure
from leam.analyses.similarity import measure as similarity_measure
from leam.analyses.similarity import table as similarity_table
from leam.analyses.similarity.measure import Person, SimilaritySettings
from leam.regions import REGIONS
from naive_statistics import naive_interval, without_each

GRID, SIDE, LAYERS = 32, 64, ["first", "second/Conv"]


# --------------------------------------------------------------------------------------------------------- measures


def test_bc_of_equal_maps_is_one_and_of_disjoint_maps_zero():
    maps = torch.rand(3, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    maps[0, 25:], maps[1, :25] = 0, 0
    found = similarity.bhattacharyya(*[similarity_measure.to_distributions(maps)] * 2).numpy()
    np.testing.assert_allclose(np.diag(found), 1, rtol=1e-12)
    assert found[0, 1] == found[1, 0] == 0


def test_bc_against_the_sum_of_equation_6():
    rng = np.random.default_rng(0)
    p, q = rng.random((4, 30)), rng.random((5, 30))
    found = similarity.bhattacharyya(*(similarity_measure.to_distributions(torch.from_numpy(maps)) for maps in (p, q)))
    for i, one in enumerate(p):
        for j, other in enumerate(q):
            expected = sum((a / one.sum() * b / other.sum()) ** 0.5 for a, b in zip(one, other, strict=True))
            assert found[i, j] == pytest.approx(expected)


@pytest.mark.parametrize("levels", [3, 40, 10**6])
def test_the_top_is_that_of_a_full_stable_sort(levels):
    rng = np.random.default_rng(levels)
    maps = rng.integers(0, levels, (6, 1000)).astype(float)
    maps[0], maps[1, 7:] = 0, 0
    found = pixel_sets.keep_top(torch.from_numpy(maps), 5).numpy()
    for row, kept in zip(maps, found, strict=True):
        chosen = sorted(range(1000), key=lambda pixel: (-row[pixel], pixel))[:50]
        expected = np.zeros(1000)
        expected[chosen] = row[chosen]
        np.testing.assert_array_equal(kept, expected)


def test_pooling_keeps_mass_where_it_is():
    maps = torch.zeros(1, 8, 8, dtype=torch.float64)
    maps[0, 5, 2], maps[0, 6, 3], maps[0, 0, 7] = 1, 2, 3
    found = similarity_measure.pool(maps.flatten(1), 8, 4).reshape(2, 2)
    assert found.tolist() == [[0, 3], [3, 0]]


def test_the_emd_of_pooled_maps_is_within_its_bound():
    rng = np.random.default_rng(0)
    maps = rng.random((4, 16, 16)) ** 4
    settings = SimilaritySettings(grid=16, cell=4)
    pairs = np.array([(0, 1), (0, 2), (0, 3)])
    _, found = similarity_measure.Measure(settings).part(torch.from_numpy(maps), "full", pairs, True)
    points = np.indices((16, 16)).reshape(2, -1).T.astype(float)
    for (i, j), emd in zip(pairs, found, strict=True):
        exact = ot.emd2(
            maps[i].ravel() / maps[i].sum(), maps[j].ravel() / maps[j].sum(), ot.dist(points, metric="euclidean")
        )
        assert abs(emd - exact) <= 2**0.5 * 3


# ------------------------------------------------------------------------------------------------------------- pairs


def people(*counts):
    return [Person(0, f"p{number}", [f"{k}" for k in range(count)]) for number, count in enumerate(counts)]


def test_pairs_of_the_same_are_all_unordered_ones_and_as_many_different_ones():
    crowd = people(5, 3, 2, 6)
    same, different = similarity_measure.draw_pairs(crowd[0], crowd, None, seed=0)
    assert same.tolist() == [[i, j] for i in range(5) for j in range(i + 1, 5)]
    keys = {(image, person.identity, other) for image, person, other in different}
    assert len(keys) == len(different) == 10
    assert all(0 <= image < 5 and person is not crowd[0] for image, person, _ in different)
    assert all(0 <= other < len(person.images) for _, person, other in different)


def test_the_limit_draws_pairs_and_the_seed_decides_which():
    crowd = people(8, 8, 8)
    draws = [similarity_measure.draw_pairs(crowd[0], crowd, 6, seed) for seed in (0, 0, 1)]
    assert len(draws[0][0]) == len(draws[0][1]) == 6 == len({tuple(pair) for pair in draws[0][0].tolist()})
    assert draws[0][0].tolist() == draws[1][0].tolist() and draws[0][1] == draws[1][1]
    assert draws[0][0].tolist() != draws[2][0].tolist() and draws[0][1] != draws[2][1]


def test_different_pairs_come_from_every_image_alike():
    crowd = people(4, 2, 9)
    counts = np.zeros((4, 11))
    for seed in range(400):
        for image, person, other in similarity_measure.draw_pairs(crowd[0], crowd, None, seed)[1]:
            counts[image, other + (2 if person.identity == "p2" else 0)] += 1
    expected = 400 * 6 / 44
    assert ((counts - expected) ** 2 / expected).sum() < 90  # chi square, 43 degrees of freedom, far below 1e-4


def test_the_few_pairs_there_are_suffice():
    alone = people(3)
    assert similarity_measure.draw_pairs(alone[0], alone, None, 0)[1] == []
    few = people(4, 1)
    assert len(similarity_measure.draw_pairs(few[0], few, None, 0)[1]) == 4


# --------------------------------------------------------------------------------------------------------- the stage


def face_landmarks(rng, n):
    """Faces of 68 points, each at its own place, size and tilt, in a crop of SIDE pixels."""
    base = np.random.default_rng(99).normal(0, 9, (68, 2))
    base[36], base[45] = (-8, -6), (8, -6)
    angle, scale = rng.uniform(-0.3, 0.3, n), rng.uniform(0.8, 1.2, n)
    turn = scale[:, None, None] * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(
        2, 0, 1
    )
    return base @ turn.transpose(0, 2, 1) + rng.uniform(-4, 4, (n, 1, 2)) + 32 + rng.normal(0, 0.5, (n, 68, 2))


def write_shards(folder, number, counts, window=(0, 0, 112, 112), seed=0):
    """A faces file and a maps file; image 0 of p1 has no landmarks, image 1 of p0 an empty map in one layer."""
    rng = np.random.default_rng([seed, number])
    paths = folder / f"faces{number}.h5", folder / f"maps{number}.h5"
    attributes = {
        "model": "m",
        "layers": LAYERS,
        "recogniser": json.dumps({"window": window, "input_size": [64, 64]}),
        "grid": GRID,
    }
    with (
        storage.create_shard(paths[0], "faces") as faces,
        storage.create_shard(paths[1], "maps", **attributes) as shard,
    ):
        for identity, n in counts.items():
            names = [f"{k}" for k in range(n)]
            landmarks = face_landmarks(rng, n)
            if identity == "p1":
                landmarks[0] = np.nan
            regions = rng.integers(0, 19, (n, SIDE // 8, SIDE // 8), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
            crops = np.zeros((n, SIDE, SIDE, 3), np.uint8)
            storage.write_faces(faces, storage.Faces(identity, names, crops, regions, landmarks, landmarks[:, :5]))
            if n < 3:
                continue  # a person whose images could not be embedded has no maps
            maps = {
                polarity: {
                    layer: rng.random((n, size, size)).astype(np.float32) ** 3
                    for layer, size in zip(LAYERS, (32, 8), strict=True)
                }
                for polarity in ("loss", "similarity")
            }
            if identity == "p0":
                maps["loss"]["first"][1] = 0
            counted = {polarity: np.zeros((n * (n - 1), 2, 1, 19), np.uint16) for polarity in maps}
            pairs = np.array([(i, j) for i in range(n) for j in range(n) if i != j], np.int16)
            unit = np.eye(n, dtype=np.float32)
            storage.write_maps(
                shard,
                storage.IdentityMaps(identity, names, pairs, np.zeros(len(pairs), np.float32), unit, maps, counted),
            )
    return paths


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two shards of three and two people, everything measured of the first."""
    folder = tmp_path_factory.mktemp("similarity")
    faces, maps = zip(
        *(write_shards(folder, n, c) for n, c in enumerate(({"p0": 4, "p1": 3, "few": 2}, {"q0": 3, "q1": 5}))),
        strict=True,
    )
    settings = SimilaritySettings(grid=GRID, pairs=5)
    similarity_measure.average_population(maps, faces, folder / "population.h5", settings=settings)
    out = folder / "00000.parquet", folder / "00000.null.parquet"
    similarity_measure.measure_similarity(maps, faces, folder / "population.h5", *out, settings=settings)
    return {
        "folder": folder,
        "faces": faces,
        "maps": maps,
        "settings": settings,
        "files": out,
        "tables": [pd.read_parquet(path) for path in out],
    }


def image_of(run, identity, image):
    """Landmarks in grid pixels, maps and reference of an image, read plainly."""
    shard = 0 if identity.startswith("p") else 1
    with (
        storage.open_shard(run["maps"][shard], "maps") as maps,
        storage.open_shard(run["faces"][shard], "faces") as faces,
    ):
        found, seen = storage.read_maps(maps, identity), storage.read_faces(faces, identity)
    landmarks = (seen.landmarks.astype(float) + 0.5) * GRID / SIDE - 0.5
    return (
        landmarks[int(image)],
        {p: {k: v[int(image)] for k, v in m.items()} for p, m in found.maps.items()},
        alignment.draw_reference(identity, landmarks, 0),
    )


def fit(source, target):
    """The similarity transform of least squares, as a linear system for its four numbers."""
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [(x, -y, 1, 0), (y, x, 0, 1)]
        values += [u, v]
    a, b, c, d = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    return np.array([[a, -b, c], [b, a, d], [0, 0, 1]])


def placed(image_map, frame):
    """A native map in a frame, by scipy."""
    size = len(image_map)
    down, across = np.indices((GRID, GRID))
    x, y, _ = np.einsum("ij,jyx->iyx", np.linalg.inv(frame), np.stack((across, down, np.ones_like(across))))
    inside = (np.abs(x - (GRID - 1) / 2) < GRID / 2) & (np.abs(y - (GRID - 1) / 2) < GRID / 2)
    native = [(position + 0.5) * size / GRID - 0.5 for position in (y, x)]
    return np.where(inside, map_coordinates(image_map.astype(float), native, order=1, mode="nearest"), 0)


def naive(p, q, part):
    """BC and EMD of two maps on the grid."""
    both = []
    for image in (p, q):
        flat = image.ravel().copy()
        if part == "top1":
            flat[np.argsort(-flat, kind="stable")[round(0.01 * GRID * GRID) :]] = 0
        both.append(flat / flat.sum())
    points = np.indices((GRID, GRID)).reshape(2, -1).T.astype(float)
    kept = [flat > 0 for flat in both]
    emd = (
        ot.emd2(
            *(f[k] for f, k in zip(both, kept, strict=True)), ot.dist(*(points[k] for k in kept), metric="euclidean")
        )
        if part == "top1"
        else np.nan
    )
    return np.sqrt(both[0] * both[1]).sum(), emd


@pytest.mark.parametrize("frame", similarity.FRAMES)
@pytest.mark.parametrize("part", similarity.MAP_PARTS)
def test_every_value_against_a_plain_computation(run, frame, part):
    table, population = run["tables"][0], None
    with storage.open_shard(run["folder"] / "population.h5", "population") as shard:
        population, _ = storage.read_population(shard, LAYERS)
    chosen = table[(table["frame"] == frame) & (table["part"] == part) & (table["reason"] == "")]
    assert set(chosen["pairing"]) == {"same", "different"} and set(chosen["layer"]) == set(LAYERS)
    for row in chosen.itertuples():
        images = []
        for identity, image in ((row.identity, row.image), (row.other_identity, row.other_image)):
            landmarks, maps, reference = image_of(run, identity, image)
            target = {"identity": reference, "canonical": population, "none": None}[frame]
            transform = np.eye(3) if target is None else fit(landmarks, target)
            images.append(placed(maps[row.polarity][row.layer], transform))
        bc, emd = naive(*images, part)
        assert row.bc == pytest.approx(bc, abs=1e-6)
        assert row.emd_px == pytest.approx(emd, abs=1e-4, nan_ok=True)


def test_rows_are_the_contract_and_pairs_that_cannot_be_measured_say_why(run):
    table = run["tables"][0]
    assert tuple(table.columns) == similarity_measure.PAIR_COLUMNS
    people = table.groupby(["identity", "pairing"], observed=True).size() / (2 * 2 * 3 * 2)  # layers, polarities, ...
    assert people.to_dict() == {("p0", "same"): 5, ("p0", "different"): 5, ("p1", "same"): 3, ("p1", "different"): 3}
    assert not set(table["other_identity"][table["pairing"] == "same"]) - {"p0", "p1"}
    assert set(table["other_identity"]) == {"p0", "p1", "q0", "q1"}

    def involves(identity, image):
        ends = (("identity", "image"), ("other_identity", "other_image"))
        return np.any([(table[who] == identity) & (table[what] == image) for who, what in ends], axis=0)

    blind, empty = involves("p1", "0"), involves("p0", "1")
    empty &= (table["layer"] == "first") & (table["polarity"] == "loss")
    blind &= table["frame"] != "none"
    assert blind.any() and (table["reason"][blind] == "no landmarks").all()
    assert (empty & ~blind).any() and (table["reason"][empty & ~blind] == "empty map").all()
    assert (table["reason"][~empty & ~blind] == "").all()
    assert (table["bc"].isna() == (empty | blind)).all()
    assert (table["emd_px"].isna() == (empty | blind | (table["part"] == "full"))).all()


def test_in_the_canonical_frame_the_null_of_the_mean_map_is_one(run):
    null = run["tables"][1]
    mean = null[(null["kind"] == "population_mean") & (null["reason"] == "")]
    same_frame = mean[mean["frame"] == "canonical"]
    np.testing.assert_allclose(same_frame["bc"], 1, rtol=1e-9)
    np.testing.assert_allclose(same_frame.loc[same_frame["part"] == "top1", "emd_px"], 0, atol=1e-6)
    assert mean.loc[mean["frame"] == "none", "bc"].max() < 0.999


def test_the_population_is_the_mean_over_identities_of_their_mean_maps(run):
    with storage.open_shard(run["folder"] / "population.h5", "population") as shard:
        template, means = storage.read_population(shard, LAYERS)
    expected = []
    for identity, n in (("p0", 4), ("p1", 3), ("q0", 3), ("q1", 5)):
        found = [image_of(run, identity, image) for image in range(n)]
        own = [
            placed(m["similarity"]["second/Conv"], fit(points, template))
            for points, m, _ in found
            if np.isfinite(points).all()
        ]
        expected.append(np.mean(own, axis=0))
    np.testing.assert_allclose(means["second/Conv"][1], np.mean(expected, axis=0), atol=1e-6)


def test_masks_are_compared_by_region(run):
    null = run["tables"][1]
    masks = null[(null["kind"] == "region_mask") & (null["frame"] == "none")]
    assert set(masks["region"]) == {"facial", *similarity_measure.FACIAL} and set(masks["part"]) == {"full"}
    row = masks[(masks["region"] == "nose") & (masks["reason"] == "")].iloc[0]
    both = []
    for identity, image in ((row["identity"], row["image"]), (row["other_identity"], row["other_image"])):
        shard = 0 if identity.startswith("p") else 1
        with storage.open_shard(run["faces"][shard], "faces") as faces:
            both.append((storage.read_regions(faces, identity)[int(image)] == 10)[::2, ::2])
    expected = (both[0] & both[1]).sum() / np.sqrt(both[0].sum() * both[1].sum())
    assert row["bc"] == pytest.approx(expected, abs=1e-6)


def pooled(image, cell):
    """A distribution on the grid, summed cell by cell."""
    cells = np.zeros((GRID // cell, GRID // cell))
    for y, x in np.ndindex(GRID, GRID):
        cells[y // cell, x // cell] += image[y, x] / image.sum()
    return cells


def moved(p, q, cell):
    """EMD of two pooled maps in grid pixels, by scipy's linear programme: from every cell to every cell."""
    n, places = p.size, np.indices(p.shape).reshape(2, -1).T * cell
    costs = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    leaves, arrives = np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))
    masses = np.concatenate((p.ravel(), q.ravel()))
    return linprog(costs.ravel(), A_eq=np.vstack((leaves, arrives)), b_eq=masses, method="highs").fun


def test_the_nulls_of_region_masks_against_a_plain_computation(run):
    """BC and pooled EMD of uniform masks in every frame, by region and of all facial regions together."""
    cell, null = run["settings"].cell, run["tables"][1]
    with storage.open_shard(run["folder"] / "population.h5", "population") as shard:
        population, _ = storage.read_population(shard, LAYERS)
    chosen = null[(null["kind"] == "region_mask") & (null["reason"] == "")]
    chosen = chosen[chosen["region"].isin(["facial", "nose", "lb"])]
    assert set(chosen["frame"]) == set(similarity.FRAMES) and set(chosen["pairing"]) == {"same", "different"}
    for row in chosen.itertuples():
        masks = []
        for identity, image in ((row.identity, row.image), (row.other_identity, row.other_image)):
            landmarks, _, reference = image_of(run, identity, image)
            target = {"identity": reference, "canonical": population, "none": None}[row.frame]
            frame = np.eye(3) if target is None else fit(landmarks, target)
            with storage.open_shard(run["faces"][identity.startswith("q")], "faces") as faces:
                labels = storage.read_regions(faces, identity)[int(image)]
            names = similarity_measure.FACIAL if row.region == "facial" else [row.region]
            masks.append(placed(np.isin(labels, [REGIONS.index(name) for name in names]), frame))
        p, q = (mask / mask.sum() for mask in masks)
        assert row.bc == pytest.approx(np.sqrt(p * q).sum(), abs=1e-6)
        flat = [pooled(mask, cell) for mask in masks]
        points = np.indices(flat[0].shape).reshape(2, -1).T * float(cell)
        expected = ot.emd2(*(mask.ravel() / mask.sum() for mask in flat), ot.dist(points, metric="euclidean"))
        assert row.emd_px == pytest.approx(expected, abs=1e-4)


def test_the_same_bytes_however_many_processes(run, tmp_path):
    out = tmp_path / "pairs.parquet", tmp_path / "nulls.parquet"
    similarity_measure.measure_similarity(
        run["maps"], run["faces"], run["folder"] / "population.h5", *out, settings=run["settings"], processes=2
    )
    assert [files.sha256(path) for path in out] == [files.sha256(path) for path in run["files"]]


def test_a_shard_without_usable_people_gives_tables_without_rows(run, tmp_path):
    faces, maps = write_shards(tmp_path, 7, {"few": 2})
    out = tmp_path / "pairs.parquet", tmp_path / "nulls.parquet"
    files = [maps, *run["maps"]], [faces, *run["faces"]]
    similarity_measure.measure_similarity(*files, run["folder"] / "population.h5", *out, settings=run["settings"])
    assert [len(pd.read_parquet(path)) for path in out] == [0, 0]
    assert tuple(pd.read_parquet(out[0]).columns) == similarity_measure.PAIR_COLUMNS


def test_full_maps_are_moved_in_cells_when_asked_for(run, tmp_path):
    settings = SimilaritySettings(
        grid=GRID, pairs=1, first_layers=1, polarities=("similarity",), frames=("none",), emd=("full",), cell=8
    )
    similarity_measure.average_population(run["maps"], run["faces"], tmp_path / "population.h5", settings=settings)
    similarity_measure.measure_similarity(
        run["maps"], run["faces"], tmp_path / "population.h5", tmp_path / "a", tmp_path / "b", settings=settings
    )
    table = pd.read_parquet(tmp_path / "a")
    assert set(table["layer"]) == {"first"} and set(table["polarity"]) == {"similarity"}
    full, top = (table[table["part"] == part] for part in ("full", "top1"))
    assert len(full) and top["emd_px"].isna().all()
    for row in full.itertuples():
        ends = (row.identity, row.image), (row.other_identity, row.other_image)
        cells = [pooled(placed(image_of(run, *end)[1]["similarity"]["first"], np.eye(3)), 8) for end in ends]
        assert row.emd_px == pytest.approx(moved(*cells, 8), abs=1e-5)


# ------------------------------------------------------------------------------------------------- tables and figure


def pair_rows(values, layer="conv1", frame="identity", part="top1", reason=""):
    """Rows of a file of pairs: (identity, pairing, other identity, bc, emd_px)."""
    table = pd.DataFrame(values, columns=["identity", "pairing", "other_identity", "bc", "emd_px"])
    return table.assign(
        model="AF_R18", layer=layer, polarity="loss", frame=frame, part=part, reason=reason, untrained=False
    )


HAND = pair_rows(
    [
        ("a", "same", "a", 0.2, 4.0),
        ("a", "same", "a", 0.4, 6.0),
        ("b", "same", "b", 0.7, 8.0),
        ("a", "different", "b", 0.1, 10.0),
        ("a", "different", "b", 0.3, 12.0),
        ("b", "different", "a", 0.1, np.nan),
        ("b", "same", "b", np.nan, np.nan),
    ]
)
HAND.loc[6, "reason"] = "no landmarks"


def test_a_hand_worked_table():
    shards = [HAND[HAND["identity"] == identity] for identity in ("b", "a")]
    found = similarity_table.compare_pairings(shards).set_index("measure")
    bc, emd = found.loc["bc"], found.loc["emd_px"]
    assert bc["same"] == pytest.approx((0.3 + 0.7) / 2) and bc["different"] == pytest.approx((0.2 + 0.1) / 2)
    assert bc["ratio"] == pytest.approx(0.5 / 0.15)
    assert emd["same"] == pytest.approx((5 + 8) / 2) and emd["different"] == pytest.approx(11)
    assert (bc["pairs_same"], bc["pairs_different"], bc["no_landmarks"], bc["identities"]) == (3, 3, 1, 2)


@pytest.mark.parametrize("pairs", [1, 3, 49, 98, 103])
def test_two_people_have_no_interval_however_many_pairs(pairs):
    """Without either one no pair is left; 49 times 1/49 is not 1 in floating point."""
    rng = np.random.default_rng(pairs)
    rows = [(*two, rng.uniform(0.1, 0.9), 5.0) for two in (("a", "different", "b"), ("b", "different", "a")) * pairs]
    rows += [(name, "same", name, rng.uniform(0.1, 0.9), 4.0) for name in "ab" for _ in range(2)]
    bc = similarity_table.compare_pairings([pair_rows(rows)]).set_index("measure").loc["bc"]
    assert bc["different"] == pytest.approx(np.mean([row[3] for row in rows if row[1] == "different"]))
    ends = [f"{name}_{end}" for name in ("different", "ratio") for end in ("low", "high")]
    assert bc[ends].isna().all() and bc[["same_low", "same_high"]].notna().all()


def test_both_people_of_a_pair_are_left_out_in_turn():
    """Against the sums over all pairs; BC has no value for some, and people lie in two shards."""
    rng, names = np.random.default_rng(0), list("abcdefgh")
    rows = [(name, "same", name, rng.uniform(0.2, 0.6), rng.uniform(5, 9)) for name in names for _ in range(3)]
    for name in names:
        others = rng.choice([other for other in names if other != name], 3)
        rows += [(name, "different", other, rng.uniform(0.1, 0.2), rng.uniform(8, 20)) for other in others]
    table = pair_rows(rows)
    table.loc[rng.random(len(table)) < 0.15, "bc"] = np.nan
    halves = [table[table["identity"] >= "d"], table[table["identity"] < "d"]]
    found = similarity_table.compare_pairings(halves, confidence=0.9).set_index("measure")
    for measure in ("bc", "emd_px"):
        known = table.dropna(subset=measure)
        same, different = (known[known["pairing"] == pairing] for pairing in ("same", "different"))
        of_each = same.groupby("identity")[measure].mean()
        weight = 1 / different.groupby("identity")[measure].transform("size")

        def mean(pairs, weight=weight, measure=measure):
            return np.average(pairs[measure], weights=weight[pairs.index])

        without = [mean(different[~(different[["identity", "other_identity"]] == name).any(axis=1)]) for name in names]
        value = mean(different)
        shared = ((weight * (different[measure] - value)) ** 2).sum() / weight.sum() ** 2
        row = found.loc[measure]
        assert row["different"] == pytest.approx(value)
        expected = naive_interval(value, without, shared, 0.9)
        assert (row["different_low"], row["different_high"]) == pytest.approx(expected)
        expected = naive_interval(of_each.mean(), without_each(np.mean, of_each.to_numpy()), confidence=0.9)
        assert (row["same_low"], row["same_high"]) == pytest.approx(expected)
        assert row["ratio"] == pytest.approx(of_each.mean() / value)
        assert row["ratio_low"] < row["ratio"] < row["ratio_high"]


@pytest.fixture
def written(tmp_path):
    """The tables of two models, AF_R18 by hand and m with two frames, and their nulls."""
    frames = [HAND, HAND.assign(frame="none"), HAND.assign(layer="layer1.0.conv1")]
    null = pd.concat(frames).assign(kind="population_mean", region="")
    for name, table in (("pairs", pd.concat(frames)), ("nulls", null)):
        table.to_parquet(tmp_path / f"{name}.parquet")
    files = {name: str(tmp_path / f"{name}.csv") for name in ("similarity", *similarity_table.PAPER_SIMILARITY)}
    pairs, nulls = (
        {model: [str(tmp_path / f"{kind}.parquet")] for model in ("AF_R18", "m")} for kind in ("pairs", "nulls")
    )
    similarity_table.tabulate_similarity(pairs, nulls, files)
    return files


def test_the_papers_numbers_stand_beside_ours(written):
    for name, expected in (("table03", 0.5), ("table04", 0.15), ("table05", 6.5), ("table06", 11.0)):
        value = similarity_table.PAPER_SIMILARITY[name][2]
        table, theirs = pd.read_csv(written[name]), paper.read_table(name)
        row = table[(table["model"] == "AF_R18") & (table["layer"] == "conv1") & (table["frame"] == "none")].iloc[0]
        number = theirs[(theirs["model"] == "AF_R18") & (theirs["layer"] == "conv1")][value].iloc[0]
        assert row[value] == pytest.approx(expected) and row["paper"] == number
        assert row["difference"] == pytest.approx(expected - number, abs=1e-5)
        assert table[table["model"] == "m"]["paper"].isna().all() and len(table) == 6
        assert not table["untrained"].any()


def test_the_long_table_has_maps_and_nulls(written):
    table = pd.read_csv(written["similarity"])
    assert tuple(table.columns) == tuple(similarity_table.SIMILARITY_COLUMNS)
    assert table.groupby(["model", "kind"]).size().to_dict() == {
        (m, k): 6 for m in ("AF_R18", "m") for k in ("leam", "population_mean")
    }


def test_the_figure_is_drawn_and_marks_the_paper(written, tmp_path):
    out = tmp_path / "s.png", tmp_path / "s.pdf"
    similarity_figure.plot_similarity(written["similarity"], *out, polarity="loss", confidence=0.95)
    assert all(path.stat().st_size > 5000 for path in out)
    marked = similarity_figure._paper_similarity("AF_R18", ["conv1", "elsewhere"], "emd_px", "different")
    np.testing.assert_array_equal(marked, [13.89, np.nan])


# ------------------------------------------------------------------------------------------------------------ config


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"similarity": {"cell": 5}}, "similarity.cell is 5; allowed: a divisor of maps.grid, which is 112"),
        ({"similarity": {"polarities": ["loss"]}}, "similarity.polarities lacks 'similarity', which analysis.polarity"),
        ({"similarity": {"frames": ["mine"]}}, "similarity.frames"),
    ],
)
def test_wrong_settings_stop_before_the_first_job(given, message):
    with pytest.raises(config.ConfigError, match=message):
        config.complete(given)
