"""Examples are chosen by their rules: against plain computations, with ties drawn by the seed."""

import numpy as np
import pandas as pd
import pytest

from leam import maps, pixel_sets, plotting, storage
from leam.analyses.examples import figure as examples_figure
from leam.files import sha256
from leam.grid import FULL_ACTIVATION
from shards import make_faces, write_faces
from small_recognisers import make_narrow

IDENTITIES = {"a": 3, "b": 2, "c": 4, "d": 3}


def with_mouths(identity, images, openings):
    """Faces whose inner lips are so far apart, in widths of the mouth."""
    faces = make_faces(identity, images)
    faces.landmarks[:, 60], faces.landmarks[:, 64] = (40, 80), (60, 80)
    for image, opening in enumerate(openings):
        for (upper, lower), x in zip(examples_figure.INNER_LIPS, (45, 50, 55), strict=True):
            faces.landmarks[image, upper], faces.landmarks[image, lower] = (x, 80), (x, 80 + 20 * opening)
    return faces


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """Maps of two small recognisers, in two shards; c's third image has no landmarks."""
    folder = tmp_path_factory.mktemp("examples")
    openings = {"a": [0.1, 0.3, 0.2], "b": [0.5, 0.4], "c": [0.0, 0.6, np.nan, 0.2], "d": [0.2, 0.2, 0.2]}
    layers = ["conv1", "layer1.0.conv1", "layer2.0.conv1", "layer2.0.conv2"]
    faces, found = [], {"one": [], "two": []}
    for shard, names in enumerate(("ab", "cd")):
        faces.append(str(folder / f"{shard}.h5"))
        write_faces(faces[-1], (with_mouths(name, IDENTITIES[name], openings[name]) for name in names))
        for model, paths in found.items():
            paths.append(str(folder / f"{model}{shard}.h5"))
            recogniser = make_narrow(model, layers=layers)
            maps.compute_maps(faces[-1], paths[-1], recogniser, maps.MapSettings(grid=56), seed=len(model + paths[0]))
    return found, faces


def mean_cosines(paths):
    """{(identity, image): mean cosine with the person's other images}, from the embeddings alone."""
    found = {}
    for path in paths:
        with storage.open_shard(path, "maps") as shard:
            for identity in storage.identities(shard):
                unit, names = storage.read_embeddings(shard, identity), storage.read_images(shard, identity)
                for i, name in enumerate(names):
                    found[identity, name] = np.mean([unit[i] @ unit[j] for j in range(len(names)) if j != i])
    return found


def test_the_ordinary_image_has_the_median_cosine(computed):
    maps_of, _ = computed
    plain = mean_cosines(maps_of["one"])
    table = examples_figure.list_images(maps_of["one"])
    assert len(table) == sum(IDENTITIES.values())
    for row in table.itertuples():
        assert row.cosine == pytest.approx(plain[row.identity, row.image], abs=1e-5)
        assert row.shard == (row.identity in "cd")
    median = np.median(list(plain.values()))
    nearest = min(abs(value - median) for value in plain.values())
    chosen = examples_figure.choose_image(table, seed=0)
    assert abs(plain[chosen["identity"], chosen["image"]] - median) == pytest.approx(nearest, abs=1e-5)


def test_the_ordinary_person_under_all_recognisers(computed):
    maps_of, _ = computed
    both = [mean_cosines(paths) for paths in maps_of.values()]
    people = {n: np.mean([np.mean([p[k] for p in both]) for k in both[0] if k[0] == n]) for n in IDENTITIES}
    median = np.median(list(people.values()))
    nearest = min(abs(value - median) for value in people.values())
    chosen = examples_figure.choose_person(examples_figure.list_shared_images(maps_of), seed=0)
    assert abs(people[chosen["identity"]] - median) == pytest.approx(nearest, abs=1e-5)


def test_an_image_that_one_recogniser_lacks_is_no_example(computed, tmp_path):
    maps_of, _ = computed
    with storage.open_shard(maps_of["two"][0], "maps") as shard, storage.create_shard(tmp_path / "x", "maps") as fewer:
        fewer.attrs.update({key: value for key, value in shard.attrs.items() if key not in ("kind", "schema")})
        storage.write_maps(fewer, storage.read_maps(shard, "a"))
    shared = examples_figure.list_shared_images({"one": maps_of["one"][:1], "two": [str(tmp_path / "x")]})
    assert set(shared["identity"]) == {"a"}


def test_ties_are_drawn_with_the_seed():
    values = np.array([1.0, 2, 2, 2, 3])
    drawn = {seed: examples_figure.nearest_the_median(values, seed) for seed in range(30)}
    assert set(drawn.values()) == {1, 2, 3}
    assert drawn[4] == examples_figure.nearest_the_median(values, 4)
    assert examples_figure.nearest_the_median(np.array([5.0, 1, 3]), 0) == 2


def test_an_open_mouth_is_measured_in_its_own_width():
    landmarks = with_mouths("a", 3, [0.0, 0.5, np.nan]).landmarks
    np.testing.assert_allclose(examples_figure.open_mouth(landmarks), [0, 0.5, np.nan], atol=1e-6)
    turned = landmarks[..., ::-1] * 3 + 7  # turned by 90 degrees, three times as large, elsewhere
    np.testing.assert_allclose(examples_figure.open_mouth(turned), [0, 0.5, np.nan], atol=1e-6)
    assert np.isnan(examples_figure.open_mouth(np.zeros((1, 68, 2)))).all()


def test_expressions_are_those_that_differ_most(computed):
    maps_of, faces = computed
    chosen = examples_figure.choose_expressions(examples_figure.list_mouths(maps_of["one"], faces), 2, seed=0)
    assert chosen[["identity", "closed", "open"]].to_numpy().tolist() == [["c", "00", "01"], ["a", "00", "01"]]
    np.testing.assert_allclose(chosen["widest"] - chosen["narrowest"], [0.6, 0.2], atol=1e-5)
    everyone = examples_figure.choose_expressions(examples_figure.list_mouths(maps_of["one"], faces), 9, seed=0)
    assert len(everyone) == 4  # all who have two images with landmarks
    alike = pd.DataFrame({"identity": list("xxyy"), "image": list("1212"), "shard": 0, "mouth": [0.0, 1, 0, 1]})
    first = {examples_figure.choose_expressions(alike, 1, seed)["identity"][0] for seed in range(20)}
    assert first == {"x", "y"}


def test_first_middle_and_last_layer():
    assert examples_figure.spread_over(list("abcdefghi")) == ["a", "e", "i"]
    assert examples_figure.spread_over(list("ab")) == ["a", "b"]
    assert examples_figure.spread_over(["a"]) == ["a"]


def test_sets_are_those_that_are_counted():
    """The same sets as ``pixel_sets.RegionCounter`` counts, which the tests of maps hold against a naive loop."""
    rng = np.random.default_rng(0)
    grid_map = rng.integers(0, 40, (56, 56)).astype(np.float32)  # with many ties, and zeros
    regions = np.arange(56 * 56).reshape(1, 56, 56) % 19
    percents = (0.1, 1.0, 10.0)
    counter = pixel_sets.RegionCounter(maps.torch.from_numpy(regions.astype(np.uint8)), percents)
    counted = counter.count(maps.torch.from_numpy(grid_map)[None, None])[0, 0].numpy()
    chosen = [examples_figure.top_set(grid_map, percent) for percent in percents]
    chosen.append(examples_figure.fraction_set(grid_map, examples_figure.FRACTIONS[-1]))
    for pixels, count in zip(chosen, counted, strict=True):
        np.testing.assert_array_equal(np.bincount(regions[0][pixels], minlength=19), count)
    assert examples_figure.FRACTIONS[-1] == FULL_ACTIVATION
    assert (
        not examples_figure.top_set(np.zeros((4, 4)), 50).any()
        and not examples_figure.fraction_set(np.zeros((4, 4)), 0.1).any()
    )


def test_overlap_of_equal_maps_is_1_and_of_disjoint_ones_0():
    p = np.array([[1.0, 3], [0, 0]])
    assert examples_figure.overlap(p, 5 * p) == pytest.approx(1)
    assert examples_figure.overlap(p, p[::-1]) == 0
    assert examples_figure.overlap(p, np.array([[4.0, 0], [0, 0]])) == pytest.approx(0.5)  # sqrt(1/4)
    assert examples_figure.overlap(p, np.zeros((2, 2))) == 0


@pytest.mark.parametrize("kind", ["layers", "sensitivity", "expressions", "person", "recognisers"])
def test_the_same_data_give_the_same_bytes(kind, computed, tmp_path):
    maps_of, faces = computed
    several = kind in ("person", "recognisers")
    options = {} if kind == "layers" else {"polarity": "loss"}
    digests = []
    for attempt in ("one", "two"):
        drawn = [tmp_path / f"{attempt}.{suffix}" for suffix in ("png", "pdf")]
        plot = getattr(examples_figure, f"plot_{kind}")
        plot(maps_of if several else maps_of["one"], faces, *drawn, **options)
        digests.append([sha256(file) for file in drawn])
    assert digests[0] == digests[1]


def test_without_landmarks_expressions_are_a_note(computed, tmp_path):
    maps_of, _ = computed
    blank = str(tmp_path / "faces.h5")
    write_faces(blank, (with_mouths(name, IDENTITIES[name], [np.nan] * IDENTITIES[name]) for name in "ab"))
    files, note = ([str(tmp_path / f"{name}.{kind}") for kind in ("png", "pdf")] for name in ("drawn", "note"))
    examples_figure.plot_expressions(maps_of["one"][:1], [blank], *files, polarity="loss")
    plotting.save_note("nobody has landmarks in two images, so there are no expressions to show", *note)
    assert [sha256(path) for path in files] == [sha256(path) for path in note]


@pytest.mark.parametrize("kind", ["person", "recognisers"])
@pytest.mark.parametrize("second", ["other people", "nobody"])
def test_recognisers_that_share_no_image_are_a_note(kind, second, computed, tmp_path):
    maps_of, faces = computed
    write_faces(tmp_path / "nobody.h5", [])
    maps.compute_maps(tmp_path / "nobody.h5", tmp_path / "nobody", make_narrow("two"), maps.MapSettings(grid=56))
    other = {"other people": maps_of["one"][1], "nobody": str(tmp_path / "nobody")}[second]
    halves = {"one": maps_of["one"][:1], "two": [other]}
    files, note = ([str(tmp_path / f"{name}.{kind}") for kind in ("png", "pdf")] for name in ("drawn", "note"))
    getattr(examples_figure, f"plot_{kind}")(halves, faces, *files, polarity="loss")
    plotting.save_note("no image has maps of every recogniser: tables/discarded.csv says why", *note)
    assert [sha256(path) for path in files] == [sha256(path) for path in note]
