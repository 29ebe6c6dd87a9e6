"""The embedded sample world: deterministic, exact at every size, left where left is, identity where it was placed."""

from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from leam import storage
from leam.regions import REGIONS
from leam.sample import people, rendering

SEED = 11
LABEL = {name: number for number, name in enumerate(REGIONS)}


def plain_picture(identity: int = 0, number: int = 0, **changes) -> people.Picture:
    """A frontal, neutral picture with nothing worn."""
    neutral = {"yaw": 0.0, "pitch": 0.0, "roll": 0.0, "smile": 0.0, "opening": 0.0, "blink": 0.0, "brow_raise": 0.0}
    picture = people.draw_picture(SEED, identity, number)
    return replace(picture, **(neutral | {"wearing": frozenset()} | changes))


def middle(regions: np.ndarray, name: str) -> np.ndarray:
    """Mean x and y of a region's pixels."""
    y, x = np.nonzero(regions == LABEL[name])
    return np.array([x.mean(), y.mean()])


@pytest.fixture(scope="module")
def crowd() -> list[rendering.Rendering]:
    return [rendering.render_person(SEED, i, [0], 96)[0] for i in range(40)]


def test_same_seed_gives_the_same_bytes_in_any_order():
    def one(index: int, number: int) -> rendering.Rendering:
        return rendering.render(people.draw_identity(SEED, index), people.draw_picture(SEED, index, number), 64)

    forwards = {key: one(*key) for key in ((0, 0), (0, 1), (3, 1))}
    backwards = {key: one(*key) for key in ((3, 1), (0, 1), (0, 0))}
    for key, found in forwards.items():
        for field in ("image", "regions", "landmarks"):
            assert getattr(found, field).tobytes() == getattr(backwards[key], field).tobytes()


def test_shapes_and_types():
    found = rendering.render(people.draw_identity(SEED, 0), plain_picture(), 70)
    assert (found.image.shape, found.image.dtype) == ((70, 70, 3), np.uint8)
    assert (found.regions.shape, found.regions.dtype) == ((70, 70), np.uint8)
    assert (found.landmarks.shape, found.landmarks.dtype) == ((68, 2), np.float32)


def test_seed_person_and_picture_each_matter():
    base = rendering.render(people.draw_identity(SEED, 0), people.draw_picture(SEED, 0, 0), 48).image
    others = [
        (people.draw_identity(SEED + 1, 0), people.draw_picture(SEED, 0, 0)),
        (people.draw_identity(SEED, 1), people.draw_picture(SEED, 0, 0)),
        (people.draw_identity(SEED, 0), people.draw_picture(SEED, 0, 1)),
        (people.draw_identity(SEED, 0), people.draw_picture(SEED + 1, 0, 0)),
    ]
    for who, picture in others:
        assert np.abs(rendering.render(who, picture, 48).image.astype(int) - base).mean() > 3


@pytest.mark.parametrize("index", [0, 4, 9])
def test_two_sizes_show_the_same_scene(index):
    who, picture = people.draw_identity(SEED, index), people.draw_picture(SEED, index, 2)
    small, big = rendering.render(who, picture, 80), rendering.render(who, picture, 240)
    at_centre = big.regions[1::3, 1::3]  # the centre of a small pixel is the centre of the middle one of nine
    assert (at_centre == small.regions).all()
    assert np.allclose(big.landmarks, (small.landmarks + 0.5) * 3 - 0.5, atol=1e-3)
    shrunk = cv2.resize(big.image, (80, 80), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(shrunk - small.image).mean() < 3


def test_left_and_right_are_the_subjects_own():
    who = people.Identity(people.draw_identity(SEED, 0).traits | {"hair.length": 0.1})
    regions = rendering.render(who, plain_picture(), 160).regions
    for right, left in (("re", "le"), ("rb", "lb"), ("rr", "lr")):
        assert middle(regions, right)[0] < middle(regions, "nose")[0] < middle(regions, left)[0]
    assert middle(regions, "rb")[1] < middle(regions, "re")[1] < middle(regions, "nose")[1]
    assert middle(regions, "nose")[1] < middle(regions, "ulip")[1] < middle(regions, "llip")[1]


@pytest.mark.parametrize("yaw_degrees", [-20, 0, 20])
def test_landmarks_lie_on_what_they_name(yaw_degrees):
    picture = plain_picture(opening=0.1, yaw=np.radians(yaw_degrees), pitch=0.1, roll=-0.05)
    traits = people.draw_identity(SEED, 2).traits | {"hair.fringe": 0.0, "hair.length": 0.1, "hair.hairline": 0.75}
    found = rendering.render(people.Identity(traits), picture, 256)
    named = {"rb": range(17, 22), "lb": range(22, 27), "nose": range(27, 36), "re": range(36, 42), "le": range(42, 48)}
    named |= {"ulip": range(49, 54), "llip": range(55, 60), "imouth": range(60, 68)}
    for region, points in named.items():
        away = ndimage.distance_transform_edt(found.regions != LABEL[region])
        x, y = np.rint(found.landmarks[list(points)]).astype(int).T
        assert away[y, x].max() <= 3.5, region


def test_jaw_runs_from_the_pictures_left_to_its_right_below_everything():
    found = rendering.render(people.draw_identity(SEED, 2), plain_picture(), 256)
    jaw = found.landmarks[:17]
    assert (np.diff(jaw[:, 0])[1:-1] > 0).all()  # beside the ears the line is vertical
    assert jaw[0, 0] < jaw[2, 0] and jaw[14, 0] < jaw[16, 0]
    assert jaw[:, 1].argmax() == 8
    assert jaw[8, 1] > found.landmarks[17:, 1].max()
    eyes, tip = found.landmarks[[36, 45]], found.landmarks[30]
    assert eyes[0, 0] < tip[0] < eyes[1, 0]


def test_every_region_occurs(crowd):
    seen = np.bincount(np.concatenate([found.regions.ravel() for found in crowd]), minlength=len(REGIONS))
    assert len(seen) == len(REGIONS)
    assert not [name for name, pixels in zip(REGIONS, seen, strict=True) if pixels < 20]


def test_the_face_is_in_the_picture(crowd):
    for found in crowd:
        assert found.landmarks.min() > 3 and found.landmarks.max() < 92
        assert 0.08 < (found.regions == LABEL["face"]).mean() < 0.4


def test_accessories_are_worn_only_when_drawn():
    who = people.draw_identity(SEED, 0)
    for thing, region in (("glasses", "eyeg"), ("beanie", "hat"), ("brim", "hat"), ("necklace", "neck_l")):
        worn = rendering.render(who, plain_picture(wearing=frozenset({thing})), 96).regions
        assert (worn == LABEL[region]).sum() > 10, thing
        assert not (rendering.render(who, plain_picture(), 96).regions == LABEL[region]).any()


def test_open_mouth_shows_its_inside():
    who = people.draw_identity(SEED, 0)
    inside = [
        (rendering.render(who, plain_picture(opening=o), 96).regions == LABEL["imouth"]).sum() for o in (0.0, 0.12)
    ]
    assert inside[0] == 0 and inside[1] > 20


@pytest.mark.parametrize("region", people.supported_regions())
def test_identity_in_one_region_only(region):
    picture = plain_picture(3, opening=0.05, yaw=0.2 if region == "rr" else -0.2)  # towards the ear in question
    drawn = [rendering.render(people.draw_identity(SEED, index, region), picture, 128) for index in range(6)]
    spread = np.stack([found.image for found in drawn]).astype(float).std(0).sum(-1)
    within = np.any([found.regions == LABEL[region] for found in drawn], axis=0)
    near = ndimage.binary_dilation(within, iterations=4)
    assert spread[near].sum() > 0.85 * spread.sum()  # relief also moves the shading of what is next to it
    assert spread[within].mean() > 10 * spread[~near].mean()
    assert spread[within].mean() > 3


@pytest.mark.parametrize("region", people.supported_regions())
def test_traits_elsewhere_are_shared(region):
    one, other = people.draw_identity(1, 0, region).traits, people.draw_identity(2, 5, region).traits
    differing = {name.split(".")[0] for name in one if one[name] != other[name]}
    assert differing == {region}


def test_unsupported_region_lists_the_supported_ones():
    with pytest.raises(ValueError, match=r"'cloth'.*face, hair, nose.*, signature"):
        people.draw_identity(SEED, 0, "cloth")


@pytest.mark.parametrize(
    ("region", "length", "width", "thickness"),
    [
        (None, -0.20645455891217918, 1.2975813162094687, 0.10584348315292572),
        ("hair", -0.20645455891217918, 1.075, 0.0775),
        ("nose", 0.15, 1.2975813162094687, 0.0775),
        ("llip", 0.15, 1.075, 0.10584348315292572),
    ],
)
def test_people_are_those_of_earlier_versions(region, length, width, thickness):
    who = people.draw_identity(11, 4, region)
    found = who["hair.length"], who["nose.width"], who["llip.thickness"]
    assert found == pytest.approx((length, width, thickness), rel=1e-14)


def test_signatures_take_turns():
    assert [people.signature_of(index) for index in range(5)] == ["hair", "nose", "llip", "hair", "nose"]
    assert set(people.SIGNATURE_REGIONS) < set(people.supported_regions())
    assert people.SIGNATURE not in people.supported_regions()


@pytest.mark.parametrize("index", range(6))
def test_a_person_with_a_signature_is_that_person_of_its_regions_world(index):
    who, region = people.draw_identity(SEED, index, people.SIGNATURE), people.signature_of(index)
    assert who == people.draw_identity(SEED, index, region)
    shared = people.draw_identity(
        SEED + 1, index, people.SIGNATURE_REGIONS[index % 3 - 1]
    )  # of a world that varies elsewhere
    varying = people.SIGNATURE_REGIONS[index % 3 - 1], region
    assert {name.split(".")[0] for name in who.traits if who[name] != shared[name]} == set(varying)


@pytest.mark.parametrize("group", range(3))
def test_people_of_one_signature_share_everything_but_its_region_to_the_bit(group):
    of_group = [people.draw_identity(SEED, index, people.SIGNATURE) for index in range(group, 18, 3)]
    region = people.SIGNATURE_REGIONS[group]
    for name in of_group[0].traits:
        different = len({who[name] for who in of_group})
        assert different == (len(of_group) if name.startswith(f"{region}.") else 1), name


def test_pictures_of_two_people_with_signatures_differ_near_their_two_regions_only():
    picture = plain_picture(3, opening=0.05, yaw=-0.2)
    for one, other in ((0, 3), (1, 4), (2, 5), (0, 1), (1, 2), (2, 3)):
        regions = {people.signature_of(one), people.signature_of(other)}
        who = (people.draw_identity(SEED, index, people.SIGNATURE) for index in (one, other))
        a, b = (rendering.render(identity, picture, 128) for identity in who)
        apart = np.abs(a.image.astype(int) - b.image).sum(-1)
        within = np.any([found.regions == LABEL[name] for found in (a, b) for name in regions], axis=0)
        away = ndimage.distance_transform_edt(~within)
        assert apart[away <= 4].sum() > 0.85 * apart.sum()  # relief also moves the shading of what is next to it
        assert not apart[away > 15].any()


def links_of(folder, *rows: tuple[str, str]):
    """A links.parquet of these pictures in shard 00000, and of one that is in another shard."""
    table = pd.DataFrame([(*row, "00000") for row in rows] + [("s099", "00", "00001")])
    table.set_axis(["identity", "image", "shard"], axis=1).to_parquet(folder / "links.parquet")
    return folder / "links.parquet"


def test_stage_writes_what_render_gives(tmp_path):
    output = tmp_path / "0000.h5"
    links = links_of(tmp_path, ("s012", "03"), ("s012", "00"), ("s001", "05"))
    options = {"seed": SEED, "size": 64, "attributes": {"config": "abc"}}
    rendering.render_sample(links, output, shard="00000", **options)
    expected = rendering.render(people.draw_identity(SEED, 12), people.draw_picture(SEED, 12, 3), 64)
    with storage.open_shard(output, kind="images") as shard:
        assert storage.identities(shard) == ["s001", "s012"]
        assert shard.attrs["config"] == "abc"
        pictures, ledger = storage.read_pictures(shard, "s012"), storage.read_ledger(shard)
    assert pictures.images == ["00", "03"]
    image = cv2.imdecode(np.frombuffer(pictures.encoded[1], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    labels = cv2.imdecode(np.frombuffer(pictures.labels[1], np.uint8), cv2.IMREAD_UNCHANGED)
    assert (image == expected.image).all() and (labels == expected.regions).all()
    assert (pictures.landmarks[1] == expected.landmarks).all()
    assert [(row["identity"], row["image"], row["status"], row["url"]) for row in ledger] == [
        ("s001", "05", "ok", ""),
        ("s012", "00", "ok", ""),
        ("s012", "03", "ok", ""),
    ]
    assert all(len(row["sha256"]) == 64 for row in ledger)


def test_stage_renders_people_with_signatures(tmp_path):
    output, person = tmp_path / "signatures.h5", 4
    links = links_of(tmp_path, (f"s{person:03d}", "02"))
    rendering.render_sample(links, output, shard="00000", seed=SEED, size=48, region=people.SIGNATURE)
    (expected,) = rendering.render_person(SEED, person, [2], 48, people.signature_of(person))
    with storage.open_shard(output, kind="images") as shard:
        (encoded,) = storage.read_pictures(shard, f"s{person:03d}").encoded
        assert shard.attrs["region"] == people.SIGNATURE
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert (image == expected.image).all()


def test_stage_is_the_same_however_people_are_split_over_shards(tmp_path):
    rows = [("s000", "00"), ("s002", "01")]
    for name, of_shard in (("both.h5", rows), ("one.h5", rows[1:])):
        rendering.render_sample(links_of(tmp_path, *of_shard), tmp_path / name, shard="00000", seed=SEED, size=48)
    found = []
    for name in ("both.h5", "one.h5"):
        with storage.open_shard(tmp_path / name, kind="images") as shard:
            found.append(storage.read_pictures(shard, "s002").encoded)
    assert found[0] == found[1]
