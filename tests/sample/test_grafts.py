"""leam.sample.grafts: twins and grafts, pictures of which the truth is known."""

import cv2
import numpy as np
import pandas as pd
import pytest

from leam import storage
from leam.faces import stage
from leam.regions import REGIONS
from leam.sample import grafts, rendering
from leam.sample.people import draw_identity, draw_picture

SETTINGS = stage.FaceSettings()
SEED, SIZE = 31, 96


def crop(shown, person=0, number=0):
    return grafts.crop_as(draw_identity(SEED, person), shown, draw_picture(SEED, person, number), SIZE, SETTINGS)


def test_a_person_is_their_own_twin_to_the_bit_as_the_workflow_crops_them(tmp_path):
    rows = [("s002", image, "00000") for image in ("00", "03")]
    pd.DataFrame(rows, columns=["identity", "image", "shard"]).to_parquet(tmp_path / "links.parquet")
    rendering.render_sample(
        tmp_path / "links.parquet", tmp_path / "images.h5", shard="00000", seed=SEED, size=SIZE, region="nose"
    )
    stage.parse_faces(tmp_path / "images.h5", tmp_path / "faces.h5", SETTINGS)
    with storage.open_shard(tmp_path / "faces.h5", "faces") as shard:
        expected = storage.read_faces(shard, "s002").crops
    found = grafts.crop_twins(SEED, 2, [0, 3], [2, 2], SIZE, SETTINGS, region="nose")
    assert np.array_equal(found, expected)


def test_a_twin_is_the_other_person_in_the_very_same_picture():
    twins = grafts.crop_twins(SEED, 0, [1, 2], [5, 6], SIZE, SETTINGS)
    for twin, number, other in zip(twins, (1, 2), (5, 6), strict=True):
        shown = draw_identity(SEED, other)
        assert np.array_equal(twin, crop(shown, number=number))
        picture = rendering.render(shown, draw_picture(SEED, 0, number), SIZE)
        backdrop = picture.regions == REGIONS.index("background")
        own = rendering.render(draw_identity(SEED, 0), draw_picture(SEED, 0, number), SIZE)
        both = backdrop & (own.regions == REGIONS.index("background"))
        inside = cv2.erode(both.astype(np.uint8), np.ones((3, 3))) > 0  # the image has finer samples than the regions
        assert inside.sum() > 500 and np.array_equal(picture.image[inside], own.image[inside])


@pytest.mark.parametrize("group", grafts.GRAFTS)
def test_a_graft_of_oneself_changes_no_pixel(group):
    person = draw_identity(SEED, 0)
    assert grafts.graft(person, person, group) == person
    assert np.array_equal(crop(grafts.graft(person, person, group)), crop(person))


@pytest.mark.parametrize("group", ["nose", "eyes", "brows", "lips", "ears"])
def test_a_graft_changes_pixels_near_its_regions_only(group):
    """Features rise smoothly from the face, so the shading changes a little around them: within 10 px."""
    person, donor, picture = draw_identity(SEED, 0), draw_identity(SEED, 7), draw_picture(SEED, 0, 0)
    before, after = (rendering.render(who, picture, SIZE) for who in (person, grafts.graft(person, donor, group)))
    change = np.abs(before.image.astype(int) - after.image).max(-1)
    own = grafts.shaped(group, before.regions) | grafts.shaped(group, after.regions)
    distance = cv2.distanceTransform((~own).astype(np.uint8), cv2.DIST_L2, 5)
    assert (change > 8).sum() >= 10
    assert distance[change > 0].max() < 10 and distance[change > 8].max() <= 4


def test_every_group_moves_the_picture_and_all_of_them_make_another_person():
    person, donor = draw_identity(SEED, 0), draw_identity(SEED, 7)
    moved, mixed = {}, person
    for group in grafts.GRAFTS:
        moved[group] = (crop(grafts.graft(person, donor, group)) != crop(person)).any(-1).sum()
        mixed = grafts.graft(mixed, donor, group)
    assert min(moved.values()) > 10 and moved["hair"] > moved["eyes"]
    left = {name for name in person.traits if mixed[name] != donor[name]}
    assert left <= {"neck.width"}


def test_groups_share_no_trait():
    names = list(draw_identity(SEED, 0).traits)
    of_groups = [grafts.traits_of(group, names) for group in grafts.GRAFTS]
    assert sum(map(len, of_groups)) == len(set().union(*of_groups)) == len(names) - 1
    with pytest.raises(ValueError, match=r"graft 'chin': expected one of skin, face, nose"):
        grafts.traits_of("chin", names)


def test_twins_of_a_shard_are_those_of_each_picture(tmp_path):
    rows = [(name, image, "00000") for name in ("s001", "s004") for image in ("00", "02")]
    pd.DataFrame(rows, columns=["identity", "image", "shard"]).to_parquet(tmp_path / "links.parquet")
    images, faces, twins = (tmp_path / name for name in ("images.h5", "faces.h5", "twins.h5"))
    rendering.render_sample(tmp_path / "links.parquet", images, shard="00000", seed=SEED, size=SIZE)
    stage.parse_faces(images, faces, SETTINGS)
    grafts.render_twins(faces, twins, seed=SEED, size=SIZE, settings=SETTINGS)
    others = {(index, number): grafts.draw_other(SEED, index, number) for index in (1, 4) for number in (0, 2)}
    assert len(set(others.values())) == 4 and all(other != index for (index, _), other in others.items())
    with storage.open_shard(twins, "twins") as shard:
        found = storage.read_twins(shard, "s004", ["02", "00"])
    for twin, number in zip(found, (2, 0), strict=True):
        assert np.array_equal(twin, crop(draw_identity(SEED, others[4, number]), person=4, number=number))


def test_nobody_is_their_own_other():
    assert all(grafts.draw_other(0, index, 0) != index for index in range(2 * grafts.DONORS))
