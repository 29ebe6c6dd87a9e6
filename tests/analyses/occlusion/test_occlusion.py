"""Drops against a naive loop over one image and one mask at a time; controls by hand; a planted recogniser."""

import dataclasses

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import naive
from leam import files, grid, maps, pixel_sets, storage
from leam.analyses import occlusion
from leam.analyses.occlusion import averages
from leam.analyses.occlusion import measure as occlusion_measure
from leam.grid import input_pixels
from leam.recognisers import networks, registry
from shards import make_faces, write_faces

GRID = 28
LIGHT = occlusion_measure.OcclusionSettings(
    percents=(0.2, 1.0, 10.0), fills=("black",), masks="all", others=2, repeats=2, batch_images=7
)
THRESHOLD = 0.65  # planted, of the cosine: about half of the pairs of the small recogniser lie above


class Patch(nn.Module):
    """Looks at one patch of its 112 x 112 input only, and embeds what it sees there."""

    def __init__(self, top, left, side, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.top, self.left, self.side = top, left, side
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.fc = nn.Linear(6 * 16, 24)

    def forward(self, x):
        seen = torch.relu(self.conv(x))[
            ..., self.top : self.top + self.side, self.left : self.left + self.side
        ].contiguous()
        return self.fc(nn.functional.adaptive_avg_pool2d(seen, 4).flatten(1))


def patch(top=20, left=64, side=28, seed=0):
    return Patch(top, left, side, seed)


class Small(nn.Module):
    """Two convolutions; sees all of its 28 x 24 input."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, 2, 1)
        self.fc = nn.Linear(6 * 14 * 12, 16)

    def forward(self, x):
        return self.fc(torch.relu(self.conv2(torch.relu(self.conv1(x)))).flatten(1))


def small():
    return Small()


def patch_recogniser(name="patch", **changes):
    entry = {"architecture": f"{__name__}:patch", "input_size": [112, 112], "layers": ["conv"]}
    return registry.recogniser(name, entry | {"mean": [127.5] * 3, "std": [127.5] * 3} | changes)


def computed(folder, faces, *recognisers, grid=GRID):
    """{model: maps file} of one shard of faces, and the averages of the first model."""
    paths = {recogniser.name: folder / recogniser.name / "00000.h5" for recogniser in recognisers}
    for recogniser in recognisers:
        maps.compute_maps(faces, paths[recogniser.name], recogniser, maps.MapSettings(grid=grid))
    totals = folder / "averages.h5"
    averages.average_maps([paths[recognisers[0].name]], totals)
    return paths, totals


def run(folder, faces, recognisers, settings=LIGHT, name="drops.parquet", **options):
    paths, totals = computed(folder, faces, *recognisers) if "paths" not in options else options.pop("paths")
    occlusion_measure.occlude_faces(faces, paths, totals, folder / name, recognisers[0], settings, **options)
    return pd.read_parquet(folder / name)


# -------------------------------------------------------------------------------------------------------- against naive


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The drops of a small recogniser that sees the columns 8 to 103 of the crop, guided by itself and by a patch,
    under every fill. Its threshold is planted, as of so few impostor pairs there is none.
    """
    folder = tmp_path_factory.mktemp("occlusion")
    people = (make_faces(*person) for person in zip("abcd", (3, 2, 4, 3), strict=True))
    faces = write_faces(folder / "faces.h5", people)
    entry = {"architecture": f"{__name__}:small", "input_size": [28, 24], "window": [0, 8, 112, 104]}
    tested = patch_recogniser("small", layers=["conv1", "conv2"], untrained=True, **entry)
    guide = patch_recogniser()
    settings = dataclasses.replace(LIGHT, fills=occlusion.FILLS)
    paths, totals = computed(folder, faces, tested, guide)
    with storage.open_shard(faces, "faces") as parsed, storage.create_shard(folder / "twins.h5", "twins") as shard:
        for name in storage.identities(parsed):
            of_person = storage.read_faces(parsed, name)
            storage.write_twins(shard, name, of_person.images, 255 - of_person.crops)
    files.digest_path(totals).unlink()
    with h5py.File(totals, "r+") as shard:
        shard.attrs["threshold"] = THRESHOLD
    table = run(folder, faces, (tested, guide), settings, paths=(paths, totals), twins=folder / "twins.h5")
    return folder, faces, (tested, guide), table


def largest_first(scores):
    """Pixels (G*G,) by value, then by lowest index: a full stable sort."""
    return np.argsort(-scores.ravel(), kind="stable")


def naive_scores(row, found, circle, grids, number):
    """(G, G) each, what a row's pixels are the largest of, from the maps files alone; drops of several are averaged."""
    if row["kind"] == "centre":
        y, x = np.mgrid[:GRID, :GRID] - 13.5
        return [100 - (y**2 + x**2)]
    cell = found[row["guide"]]
    layers = {name: maps_[row["polarity"]][row["layer"]] for name, maps_ in cell.items()}
    identity = row["identity"]
    own = layers[identity]
    if row["kind"] == "image":
        natives = [own[number]]
    elif row["kind"] == "own_mean":
        natives = [np.mean([m for j, m in enumerate(own) if j != number], axis=0, dtype=float)]
    elif row["kind"] == "population_mean":
        natives = [np.mean([m.mean(0, dtype=float) for name, m in layers.items() if name != identity], axis=0)]
    else:
        natives = []
        for other in circle[identity]:
            rng = np.random.default_rng([0, *f"{identity}/{other}".encode()])
            few = rng.permutation(len(layers[other]))[: len(own) - 1]
            natives.append(layers[other][few].mean(0, dtype=float))
    grid = grids[row["guide"]]
    return [grid.place(torch.from_numpy(native).float()[None], row["layer"])[0].numpy() for native in natives]


def naive_fills(x, number):
    """{fill: (3, h, w)} what takes the place of the pixels of x[number], whose recogniser sees (pixel - 127.5) / 127.5.

    Noise is uniform from 0 to 255, drawn for all images of a person after one another.
    """
    image = x[number].numpy().astype(float)
    mean = [sum(channel.ravel()) / channel.size for channel in image]
    noise = torch.rand(x.numel(), generator=torch.Generator().manual_seed(0)).numpy().astype(float).reshape(x.shape)
    found = {
        "black": np.full(image.shape, (0 - 127.5) / 127.5),
        "mean": np.array(mean)[:, None, None] * np.ones(image.shape),
        "blur": naive_blur(image, sigma=image.shape[1] / 10),
        "noise": (255 * noise[number] - 127.5) / 127.5,
        "twin": -image,
    }
    return {fill: torch.from_numpy(instead).float() for fill, instead in found.items()}


def naive_blur(image, sigma):
    """Every pixel the weighted mean of those within two sigma, the picture mirrored at its outermost pixels."""
    _, height, width = image.shape
    reach = round(2 * sigma)
    bell = np.array([np.exp(-(step**2) / (2 * sigma**2)) for step in range(-reach, reach + 1)])
    weights = np.outer(bell, bell) / bell.sum() ** 2
    blurred = np.zeros_like(image)
    for y, column in np.ndindex(height, width):
        rows = mirrored(np.arange(y - reach, y + reach + 1), height)
        columns = mirrored(np.arange(column - reach, column + reach + 1), width)
        blurred[:, y, column] = (image[:, rows][:, :, columns] * weights).sum((1, 2))
    return blurred


def mirrored(places, size):
    return np.minimum(np.abs(places), 2 * (size - 1) - np.abs(places))


def naive_drop(network, x, number, pixels, threshold, instead):
    """Drop and losses of one image with ``instead`` (3, h, w) at these grid pixels: every pixel of the input, every
    partner by itself.
    """
    hidden = np.zeros((GRID, GRID), bool)
    hidden.flat[pixels] = True
    image = x[number].clone()
    for y, column in np.argwhere(hidden[:, 2:26]):  # columns 8 to 103 of 112 are 2 to 25 of 28
        image[:, y, column] = instead[:, y, column]
    with torch.no_grad():
        before, after = network(x[number][None])[0], network(image[None])[0]
        partners = [network(x[j][None])[0] for j in range(len(x)) if j != number]
    was = [float(torch.cosine_similarity(before, other, dim=0)) for other in partners]
    now = [float(torch.cosine_similarity(after, other, dim=0)) for other in partners]
    lost = sum(a > threshold >= b for a, b in zip(was, now, strict=True))
    accepted = sum(a > threshold for a in was)
    return np.mean(was) - np.mean(now), lost, accepted, np.mean(was)


def test_drops_equal_a_naive_loop(finished):
    folder, faces, recognisers, table = finished
    found, grids, order = {}, {}, {}
    for recogniser in recognisers:
        with storage.open_shard(folder / recogniser.name / "00000.h5", "maps") as shard:
            found[recogniser.name] = {name: storage.read_maps(shard, name).maps for name in "abcd"}
            grids[recogniser.name] = storage.read_grid(shard)
    circle = averages.other_identities(list("abcd"), 0, 2)
    network = networks.build_network(recognisers[0], 0)
    sizes = {0.2: 2, 1.0: 8, 10.0: 78}  # of 784
    checked = 0
    with storage.open_shard(faces, "faces") as shard:
        inputs = {name: networks.to_input(storage.read_faces(shard, name).crops, recognisers[0]) for name in "ac"}
    instead = {"a": naive_fills(inputs["a"], 0), "c": naive_fills(inputs["c"], 2)}
    for row in table.to_dict("records"):
        cell = (row["identity"], row["image"], row["fill"])
        chosen = cell[:2] == ("a", "00") or cell == ("c", "02", "black")
        if not chosen or row["kind"] in ("shuffled", "random"):
            continue
        number = int(row["image"])
        key = (row["kind"], row["guide"], row["layer"], row["polarity"], row["identity"], number)
        if key not in order:
            order[key] = naive_scores(row, found, circle, grids, number)
        each = []
        for scores in order[key]:
            pixels = [pixel for pixel in largest_first(scores)[: sizes[row["percent"]]] if scores.flat[pixel] > 0]
            assert row["pixels"] == len(pixels), key
            x = inputs[row["identity"]]
            each.append(naive_drop(network, x, number, pixels, THRESHOLD, instead[row["identity"]][row["fill"]]))
        drop, lost, accepted, cosine = np.mean(each, axis=0)
        assert row["drop"] == pytest.approx(drop, abs=2e-5), (row["fill"], key)
        assert (row["lost"], row["accepted"], row["pairs"]) == (lost, accepted, len(inputs[row["identity"]]) - 1)
        assert row["cosine"] == pytest.approx(cosine, abs=1e-5)
        checked += 1
    assert table["accepted"].dtype == int
    # 5 + 1 fills x (own: 4 map kinds x 2 polarities x (3 percents + 1 deeper layer); guide: 2 x 3; centre: 3)
    assert (table["lost"] > 0).any() and (table["lost"] < table["accepted"]).any()
    assert checked == (5 + 1) * (4 * 2 * 4 + 2 * 3 + 3)


def test_random_drops_are_the_mean_over_naive_draws(finished):
    _, faces, recognisers, table = finished
    network = networks.build_network(recognisers[0], 0)
    with storage.open_shard(faces, "faces") as shard:
        x = networks.to_input(storage.read_faces(shard, "c").crops, recognisers[0])
    fills, drops = naive_fills(x, 1), []
    for repeat in range(2):
        scores = 1 - np.random.default_rng([0, repeat, *b"c/01"]).random((GRID, GRID))
        scores[:, [0, 1, 26, 27]] = 0
        pixels = largest_first(scores)[:8]
        drops.append([naive_drop(network, x, 1, pixels, 0.5, fills[fill])[0] for fill in occlusion.FILLS])
    rows = table[(table["kind"] == "random") & (table["identity"] == "c") & (table["image"] == "01")]
    rows = rows[rows["percent"] == 1].set_index("fill").loc[list(occlusion.FILLS)]
    np.testing.assert_allclose(rows["drop"], np.mean(drops, axis=0), atol=2e-5)
    assert list(rows["pixels"]) == [8] * len(occlusion.FILLS)


def test_shuffled_drops_are_those_of_naive_maps_of_the_network_with_permuted_weights(finished):
    """The weights of each convolution in the order in which they are drawn, one at a time; the rest stays."""
    folder, faces, recognisers, table = finished
    network, permuted = (networks.build_network(recognisers[0], 0) for _ in range(2))
    drawn = torch.Generator().manual_seed(0)
    for convolution, ours in zip((network.conv1, network.conv2), (permuted.conv1, permuted.conv2), strict=True):
        weights = convolution.weight.flatten().tolist()
        order = torch.randperm(len(weights), generator=drawn).tolist()
        ours.weight.data = torch.tensor([weights[place] for place in order]).view_as(convolution.weight)
        assert not torch.equal(ours.weight, convolution.weight)
    with storage.open_shard(faces, "faces") as shard:
        x = networks.to_input(storage.read_faces(shard, "a").crops, recognisers[0])
    with storage.open_shard(folder / "small" / "00000.h5", "maps") as shard:
        grid = storage.read_grid(shard)
    permuted, twice = permuted.double(), x.double()
    rows = table[(table["kind"] == "shuffled") & (table["identity"] == "a") & (table["percent"] == 1)]
    assert len(rows) == 3 * 2 * 2 * len(occlusion.FILLS)  # images, polarities, layers, fills
    orders, fills = {}, [naive_fills(x, number) for number in range(3)]
    for row in rows.to_dict("records"):
        i = int(row["image"])
        key = i, row["layer"], row["polarity"]
        if key not in orders:
            pairs = [naive.pair_map(permuted, row["layer"], twice[i], twice[j], key[2]) for j in range(3) if j != i]
            native = sum(pair / pair.sum() for pair in pairs) / 2
            orders[key] = largest_first(grid.place(native.float()[None], row["layer"])[0].numpy())
        drop = naive_drop(network, x, i, orders[key][:8], 0.5, fills[i][row["fill"]])[0]
        assert row["drop"] == pytest.approx(drop, abs=2e-5), key


def test_under_permuted_weights_no_places_are_looked_for(finished, monkeypatch):
    """Once per person, on the network as it was made quicker, it would cost more than the maps and may be refused."""
    folder, faces, recognisers, _ = finished
    monkeypatch.setattr(maps, "find_lattices", lambda *_: pytest.fail("looked for"))
    with storage.open_shard(folder / "small" / "00000.h5", "maps") as own, storage.open_shard(faces, "faces") as shard:
        sources = occlusion_measure.Sources(recognisers[0], {"small": own}, storage.Averages([], [], {}))
        x = networks.to_input(storage.read_faces(shard, "b").crops, recognisers[0])
        rankings = [occlusion_measure.Ranking("shuffled", "small", "conv2", "loss", (1.0,))]
        occlusion_measure.ready_networks(sources, rankings, recognisers[0], torch.device("cpu"))
        assert len(sources._shuffled_maps(rankings, "b", x)["loss", "conv2"]) == 2


def test_one_row_per_image_and_mask_of_the_plan(finished):
    *_, table = finished
    assert list(table.columns) == occlusion.DROP_COLUMNS
    keys = [*occlusion.RANKING_KEYS, "identity", "image"]
    assert not table.duplicated(keys).any()
    per_image = table.groupby(["identity", "image"], observed=True).size()
    assert (len(per_image), set(per_image)) == (12, {5 * (5 * 2 * 4 + 2 * 3 + 3 + 3)})
    assert set(table.loc[table["guide"] == "patch", "kind"]) == {"image"}
    assert set(table.loc[table["layer"] == "conv2", "percent"]) == {1.0}
    sizes = table[table["kind"].isin(["centre", "random"])].groupby("percent")["pixels"].unique()
    assert {percent: list(size) for percent, size in sizes.items()} == {0.2: [2], 1.0: [8], 10.0: [78]}


def test_shown_masks_are_those_that_tables_and_figures_show():
    """Of a recogniser of three layers under its own maps, those of the headline's guide and those of a third."""
    layers = {guide: ["conv1", "conv2", "conv3"] for guide in ("own", "headline", "third")}
    settings = occlusion_measure.OcclusionSettings(
        percents=(0.5, 1.0), fills=("mean", "black", "noise"), headline_guide="headline", others=2, repeats=4
    )
    planned = occlusion_measure.plan_rankings(settings, "own", layers)
    found = {row for ranking in planned for row in ranking.rows()}
    shown = set()
    for polarity in ("loss", "similarity"):
        maps_of = ["image", "own_mean", "other_mean", "population_mean", "shuffled"]
        shown |= {(kind, "own", "conv1", polarity, fill, 1.0) for kind in maps_of for fill in settings.fills}
        shown |= {(kind, "own", layer, polarity, "mean", 1.0) for kind in maps_of for layer in ("conv2", "conv3")}
        shown |= {("image", guide, "conv1", polarity, "mean", 1.0) for guide in ("headline", "third")}
        shown |= {("image", guide, "conv1", polarity, "black", p) for guide in ("own", "headline") for p in (0.5, 1.0)}
    for kind in ("centre", "random"):
        shown |= {(kind, "", "", "", fill, percent) for fill, percent in (("black", 0.5), ("black", 1.0))}
        shown |= {(kind, "", "", "", fill, 1.0) for fill in ("mean", "noise")}
    assert found == shown
    times = {
        kind: [r.repeat for r in planned if r.kind == kind and r.layer in ("", "conv1") and r.polarity != "loss"]
        for kind in ("image", "other_mean", "random")
    }
    assert times == {"image": [0, 0, 0], "other_mean": [0, 1], "random": [0, 1, 2, 3]}


def test_all_masks_are_every_percent_and_guide_under_every_fill():
    layers = {guide: ["conv1", "conv2"] for guide in ("own", "other")}
    settings = occlusion_measure.OcclusionSettings(percents=(0.5, 1.0), masks="all", others=1, repeats=3)
    planned = occlusion_measure.plan_rankings(settings, "own", layers)
    # fills x (own: 5 kinds x 2 polarities x (2 percents + 1 deeper layer); the other: 2 x 2; centre: 2; random: 3 x 2)
    assert sum(len(ranking.masks) for ranking in planned) == 2 * (5 * 2 * 3 + 2 * 2 + 2 + 3 * 2)


def test_an_other_person_without_a_map_does_not_take_the_others_with_it(tmp_path):
    """Of two other people one has maps of zeros: what is left is the drop under the first."""
    faces = write_faces(tmp_path / "faces.h5", [make_faces(name, 2) for name in "abc"])
    tested = patch_recogniser()
    paths, totals = computed(tmp_path, faces, tested)
    light = dataclasses.replace(LIGHT, percents=(1.0,), kinds=("image", "other_mean"), polarities=("loss",))
    drops = {}
    for others in (1, 2):
        settings = dataclasses.replace(light, others=others)
        drops[others] = run(tmp_path, faces, (tested,), settings, f"{others}.parquet", paths=(paths, totals))
    second = averages.other_identities(list("abc"), 0, 2)["a"][1]
    files.digest_path(paths["patch"]).unlink()
    with h5py.File(paths["patch"], "r+") as shard:
        shard[second]["maps/loss/conv"][:] = 0
    settings = dataclasses.replace(light, others=2)
    zeroed = run(tmp_path, faces, (tested,), settings, "zeroed.parquet", paths=(paths, totals))
    one, both, left = (
        table.loc[(table["kind"] == "other_mean") & (table["identity"] == "a"), "drop"]
        for table in (drops[1], drops[2], zeroed)
    )
    np.testing.assert_allclose(left, one, atol=1e-6)
    assert not np.allclose(both, one, atol=1e-6)


def test_untrained_recognisers_and_guides_stay_marked(finished, tmp_path):
    folder, faces, (small, trained), table = finished
    assert table["untrained"].all()  # the tested one is
    paths = {name: folder / name / "00000.h5" for name in ("patch", "small")}
    averages.average_maps([paths["patch"]], tmp_path / "averages.h5")
    settings = dataclasses.replace(LIGHT, percents=(1.0,), kinds=("image", "random"))
    other = run(tmp_path, faces, (trained, small), settings, paths=(paths, tmp_path / "averages.h5"))
    marked = other.groupby("guide", observed=True)["untrained"].unique()
    found = {guide: list(values) for guide, values in marked.items()}
    assert found == {"small": [True], "patch": [False], "": [False]}


# -------------------------------------------------------------------------------------------------- what must come out


def test_a_recogniser_that_looks_at_one_patch_is_hurt_there_and_nowhere_else(tmp_path, faces_shard):
    settings = dataclasses.replace(LIGHT, percents=(1.0, 5.0))
    table = run(tmp_path, faces_shard, (patch_recogniser(),), settings)
    drops = table[table["polarity"] != "similarity"].groupby(["kind", "percent"], observed=True)["drop"].mean()
    assert drops["image", 5] > 10 * abs(drops["random", 5])  # 39 of the patch's 49 pixels
    assert abs(drops["centre", 1]) < 1e-6  # the disc ends before the patch: rows 20 to 47, columns 64 to 91
    with storage.open_shard(tmp_path / "patch" / "00000.h5", "maps") as shard:
        found = torch.from_numpy(storage.read_layer_maps(shard, "a", "loss", "conv"))
        pixels = pixel_sets.order_pixels(storage.read_grid(shard).place(found, "conv"), 39)
    rows, columns = pixels // GRID, pixels % GRID
    assert ((rows >= 4) & (rows <= 12) & (columns >= 15) & (columns <= 23)).all()


def test_a_guide_that_looks_elsewhere_does_no_harm(tmp_path, faces_shard):
    elsewhere = patch_recogniser("elsewhere", arguments={"top": 76, "left": 8, "seed": 1})
    settings = dataclasses.replace(LIGHT, percents=(5.0,), headline_percent=5.0, kinds=("image",))
    table = run(tmp_path, faces_shard, (patch_recogniser(), elsewhere), settings)
    drops = table[table["polarity"] == "loss"].groupby("guide", observed=True)["drop"].mean()
    assert drops["patch"] > 0.01
    assert abs(drops["elsewhere"]) < 1e-6


def test_occluding_everything_gives_the_similarity_of_the_black_image(finished, tmp_path):
    folder, faces, (small, _), _ = finished
    settings = dataclasses.replace(LIGHT, percents=(100.0,), headline_percent=100.0, kinds=("centre", "image"))
    paths = {"small": folder / "small" / "00000.h5"}, folder / "averages.h5"
    table = run(tmp_path, faces, (small,), settings, paths=paths)
    table = table[table["kind"] == "centre"]
    network = networks.build_network(small, 0)
    with storage.open_shard(faces, "faces") as shard, torch.no_grad():
        for identity, images in zip("abcd", (3, 2, 4, 3), strict=True):
            unit = nn.functional.normalize(network(networks.to_input(storage.read_faces(shard, identity).crops, small)))
            black = nn.functional.normalize(network(-torch.ones(1, 3, 28, 24)))[0]
            for number in range(images):
                partners = [j for j in range(images) if j != number]
                expected = np.mean([float(unit[number] @ unit[j] - black @ unit[j]) for j in partners])
                rows = table[(table["identity"] == identity) & (table["image"] == f"{number:02d}")]
                np.testing.assert_allclose(rows["drop"], expected, atol=2e-5)
                assert list(rows["pixels"]) == [GRID * GRID]


# ----------------------------------------------------------------------------------------------- masks and their parts


def test_the_centre_disc_is_the_nearest_pixels():
    scores = torch.from_numpy(grid.centre_scores(112))[None]
    pixels = pixel_sets.order_pixels(scores, 125)[0]
    y, x = (pixels // 112 - 55.5).numpy(), (pixels % 112 - 55.5).numpy()
    everywhere = np.sort(np.hypot(*(np.mgrid[:112, :112] - 55.5)).ravel())
    np.testing.assert_allclose(np.sort(np.hypot(y, x)), everywhere[:125])


@pytest.mark.parametrize(
    ("size", "window", "grid"),
    [((112, 96), (0, 8, 112, 104), 112), ((160, 160), (0, 0, 112, 112), 112), ((56, 56), (0, 0, 112, 112), 112)],
)
def test_masks_are_nearest_resized_onto_what_the_recogniser_sees(size, window, grid):
    recogniser = patch_recogniser(input_size=list(size), window=list(window))
    rows, columns = input_pixels(recogniser.input_size, recogniser.window, grid)
    top, left, bottom, right = window
    assert (len(rows), len(columns)) == size
    for index in range(size[0]):
        assert rows[index] == int(grid * (top + (index + 0.5) * (bottom - top) / size[0]) / 112)
    for index in range(size[1]):
        assert columns[index] == int(grid * (left + (index + 0.5) * (right - left) / size[1]) / 112)
    order = torch.arange(0, grid * grid, 7)[None]
    mask = occlusion_measure.draw_masks(
        order, torch.tensor([5]), grid, torch.from_numpy(rows), torch.from_numpy(columns)
    )
    plain = np.zeros((grid, grid), bool)
    plain.flat[[0, 7, 14, 21, 28]] = True
    np.testing.assert_array_equal(mask[0, 0].numpy(), plain[np.ix_(rows, columns)])


def test_random_pixels_lie_where_the_recogniser_sees_and_differ_between_images_and_draws():
    seen = occlusion_measure.seen_pixels(patch_recogniser(input_size=[112, 96], window=[0, 8, 112, 104]), 112)
    assert seen.sum() == 112 * 96 and seen[:, 8:104].all()
    keys = ((0, "1"), (1, "1"), (0, "2"), (0, "1"))
    draws = [occlusion_measure.random_scores(seen, 0, repeat, "a", image) for repeat, image in keys]
    assert all((draw[~seen] == 0).all() and (draw[seen] > 0).all() for draw in draws)
    np.testing.assert_array_equal(draws[0], draws[3])
    assert not np.array_equal(draws[0], draws[1]) and not np.array_equal(draws[0], draws[2])


class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        self.faces = []

    def forward(self, x):
        self.faces += list(x)
        return x.flatten(1)[:, ::7] + 0.1


def test_equal_masks_are_embedded_once_and_those_that_hide_nothing_not_at_all():
    """The recogniser sees the columns 8 to 103: pixel 0 is outside, 50 and 51 are inside."""
    recogniser = patch_recogniser(input_size=[112, 96], window=[0, 8, 112, 104])
    x = torch.rand(3, 3, 112, 96) + 0.2
    network = Counted()
    unit = nn.functional.normalize(network(x))
    network.faces.clear()
    fills = {"black": torch.zeros_like(x), "mean": torch.full_like(x, 0.1)}
    occluder = occlusion_measure.Occluder(network, recogniser, x, fills, unit, threshold=0.5, batch=4)
    nothing = 112 * 112
    orders = [torch.tensor([each] * 3) for each in ([50, 51], [51, 50], [0, 50], [0, 1], [nothing, nothing])]
    black = [("black", 1), ("black", 2)]
    found = occluder.measure(torch.arange(3), orders, [black] * 5)
    # per image {50}, {50, 51}, {51}; again {50, 51}; {} and {50} again; {} twice; no map twice
    assert found.forwards == len(network.faces) == 9
    np.testing.assert_array_equal(found.pixels[0], [1, 2, 1, 2, 1, 2, 1, 2, 0, 0])
    np.testing.assert_array_equal(found.drop[:, 1], found.drop[:, 3])
    np.testing.assert_array_equal(found.drop[:, 0], found.drop[:, 5])
    assert (found.drop[:, [4, 6, 7]] == 0).all() and np.isnan(found.drop[:, 8:]).all()
    for image, face in enumerate(network.faces[:3]):
        assert (face == 0).any(0).sum() in (1, 2), image

    network.faces.clear()
    both = occluder.measure(torch.arange(3), orders, [[*black, ("mean", 2)], black, black, black, black])
    assert both.forwards == len(network.faces) == 12  # {50, 51} under the other fill, of three images
    np.testing.assert_allclose(np.delete(both.drop, 2, axis=1), found.drop, atol=1e-6)
    assert (both.drop[:, 2] != both.drop[:, 1]).all()


def test_an_occluded_face_without_an_embedding_has_no_drop(tmp_path):
    class Dark(nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    x = torch.rand(2, 3, 112, 112)
    fill = torch.zeros_like(x)
    unit = nn.functional.normalize(Dark()(x))
    occluder = occlusion_measure.Occluder(Dark(), patch_recogniser(), x, {"black": fill}, unit, threshold=0.5)
    masks = [[("black", 125), ("black", 112 * 112)]]
    found = occluder.measure(torch.arange(2), [torch.arange(112 * 112).expand(2, -1)], masks)
    assert np.isfinite(found.drop[:, 0]).all() and np.isnan(found.drop[:, 1]).all() and np.isnan(found.lost[:, 1]).all()


def test_an_image_that_the_guide_could_not_embed_has_an_empty_map(finished):
    folder, _, recognisers, _ = finished
    with storage.open_shard(folder / "small" / "00000.h5", "maps") as own:
        sources = occlusion_measure.Sources(recognisers[0], {"small": own}, storage.Averages([], [], {}))
        found = sources._image_maps("small", "b", ["absent", "01"], ("loss", "conv1"))
        expected = storage.read_layer_maps(own, "b", "loss", "conv1")
        assert found[0].max() == 0
        np.testing.assert_array_equal(found[1], expected[1])
        assert sources._image_maps("small", "nobody", ["01"], ("loss", "conv1")).max() == 0


def test_fills():
    recogniser = patch_recogniser(mean=[100, 50, 0], std=[10, 20, 30])
    x = torch.rand(2, 3, 112, 112)
    black = occlusion_measure.filling("black", x, recogniser)
    np.testing.assert_allclose(black[1, :, 0, 0], [-10, -2.5, 0])
    np.testing.assert_allclose(occlusion_measure.filling("mean", x, recogniser)[1, 2, 0, 0], x[1, 2].mean(), rtol=1e-5)
    noise = occlusion_measure.filling("noise", x, recogniser, seed=3)
    assert torch.equal(noise, occlusion_measure.filling("noise", x, recogniser, seed=3))
    assert noise[:, 0].min() >= -10 and noise[:, 0].max() <= 15.5 and noise[:, 0].std() > 5
    blurred = occlusion_measure.filling("blur", x, recogniser)
    assert blurred.shape == x.shape and blurred.std() < 0.1 * x.std()
    with pytest.raises(ValueError, match="fill is 'pink'"):
        occlusion_measure.filling("pink", x, recogniser)


def test_without_a_second_identity_its_controls_are_left_out(tmp_path):
    faces = write_faces(tmp_path / "faces.h5", [make_faces("a", 3)])
    table = run(tmp_path, faces, (patch_recogniser(),), dataclasses.replace(LIGHT, percents=(1.0,)))
    assert set(table["kind"]) == set(occlusion.OCCLUSION_KINDS) - set(occlusion.OTHERS_MEANS)
    assert table[["accepted", "lost"]].isna().all(axis=None)  # without impostors there is no threshold
    assert table["drop"].notna().all()


# --------------------------------------------------------------------------------------------------------- resuming


def test_stopped_half_way_and_started_again_gives_the_undisturbed_file(finished, tmp_path):
    folder, faces, (small, _), _ = finished
    settings = dataclasses.replace(LIGHT, percents=(1.0,))
    paths = {"small": folder / "small" / "00000.h5"}, folder / "averages.h5"
    run(tmp_path, faces, (small,), settings, "undisturbed.parquet", paths=paths)

    def stop(names):
        yield from names[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, faces, (small,), settings, paths=paths, progress=stop)
    assert not (tmp_path / "drops.parquet").exists()
    seen = []
    run(tmp_path, faces, (small,), settings, paths=paths, progress=lambda names: seen.extend(names) or names)
    assert seen == ["c", "d"]
    assert files.sha256(tmp_path / "drops.parquet") == files.sha256(tmp_path / "undisturbed.parquet")
    assert not list(tmp_path.glob("*.journal"))


def test_maps_of_another_recogniser_or_of_other_faces_are_refused(tmp_path, faces_shard):
    paths = computed(tmp_path, faces_shard, patch_recogniser())
    other = patch_recogniser(arguments={"seed": 5})
    with pytest.raises(
        occlusion_measure.OcclusionError, match="made with another recogniser than now; run compute_maps again"
    ):
        run(tmp_path, faces_shard, (other,), paths=paths)
    others = write_faces(tmp_path / "others.h5", [make_faces("a", 3, seed=1)])
    with pytest.raises(occlusion_measure.OcclusionError, match="made from other faces than now"):
        run(tmp_path, others, (patch_recogniser(),), paths=paths)
