"""The sample's recognisers: how they are measured, that training works, and that the weights that ship are good."""

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss

from leam import files
from leam.analyses import localisation
from leam.faces import detection, frames
from leam.faces import stage as faces_stage
from leam.recognisers import networks, registry
from leam.sample import people, rendering, training


def test_verification_is_over_all_unordered_pairs():
    embeddings = np.array([[2.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 3.0], [1.0, 1.0]])
    found = training.measure_verification(embeddings, np.array([0, 0, 1, 1, 2]))
    assert (found.genuine, found.impostor, found.auc) == (2, 8, 1.0)


def test_verification_needs_both_kinds_of_pairs():
    with pytest.raises(ValueError, match="expected genuine and impostor pairs; found 3 and 0"):
        training.measure_verification(np.eye(3), np.zeros(3, int))


def test_recipes_state_their_margins_in_the_units_of_the_losses():
    arcface, cosface = (training.RECIPES[name].build_loss(5, 8) for name in ("sample_arcface", "sample_cosface"))
    assert type(arcface) is ArcFaceLoss and arcface.margin == pytest.approx(np.radians(20))
    assert type(cosface) is CosFaceLoss and cosface.margin == 0.25


def test_crop_is_the_square_around_the_landmarks():
    """A picture whose pixel (x, y) has the colours x and y tells where each pixel of its crop came from."""
    y, x = np.mgrid[:200, :200].astype(np.uint8)
    image = np.stack([x, y, 0 * x], -1)
    landmarks = np.array([[60.0, 80.0], [140.0, 120.0]])  # 80 wide, 40 high, around (100, 100)
    crop = training.crop_face(image, landmarks, margin=0.25, size=120).astype(int)
    # the side is 80 * 1.5 = 120 px, from 40 to 160 in pixel-index coordinates, so pixels have their own size
    assert np.abs(crop[60, :, 0] - (np.arange(120) + 40.5)).max() <= 1
    assert np.abs(crop[:, 60, 1] - (np.arange(120) + 40.5)).max() <= 1


def test_crop_is_black_outside_the_picture():
    crop = training.crop_face(np.full((50, 50, 3), 200, np.uint8), np.array([[0.0, 0.0], [20.0, 20.0]]), 0.5, 40)
    assert (crop[:8] == 0).all() and (crop[:, :8] == 0).all() and (crop[12:, 12:] == 200).all()


def test_crops_are_those_of_the_workflow():
    found = rendering.render_person(7, 1, [0], 160)[0]
    settings = faces_stage.FaceSettings(crop_mode="box", crop_margin=training.CROP_MARGIN, crop_size=112)
    (face,) = detection.face_of_landmarks(found.landmarks, found.image.shape)
    frame = faces_stage.crop_frame(face, found.image.shape, settings)
    expected = frames.warp(found.image, frame, 112).astype(int)
    crop = training.crop_face(found.image, found.landmarks, training.CROP_MARGIN, 112)
    assert np.abs(crop - expected).mean() < 1.5
    moved = np.abs(np.roll(crop, 1, axis=1) - expected)  # half of such a shift would be noticed
    assert np.abs(crop - expected).mean() < 0.3 * moved.mean()


def test_wide_and_plain_crops_have_one_scale():
    """The middle of a wide crop is the plain crop, so training sees what the workflow will give."""
    wide, _ = training.render_crops(7, 1, 1, margin=training.SPARE_MARGIN, size=training.SPARE_PX)
    plain, _ = training.render_crops(7, 1, 1)
    edge = (training.SPARE_PX - training.INPUT_PX) // 2
    inner = wide[:, edge : edge + training.INPUT_PX, edge : edge + training.INPUT_PX].astype(int)
    assert np.abs(inner - plain).mean() < 3


def test_rendering_does_not_depend_on_the_number_of_workers():
    (one, labels), (two, _) = (training.render_crops(7, 3, 2, workers=workers) for workers in (1, 2))
    assert (one == two).all() and labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_people_may_differ_in_one_region_only():
    crops, _ = training.render_crops(7, 2, 1, region="hair")
    who = people.draw_identity(7, 1, "hair")
    found = rendering.render(who, people.draw_picture(7, 1, 0), training.RENDER_PX)
    assert (crops[1] == training.crop_face(found.image, found.landmarks, training.CROP_MARGIN, 112)).all()


@pytest.fixture(scope="module")
def few() -> tuple[np.ndarray, np.ndarray]:
    return training.render_crops(7, 4, 6, margin=training.SPARE_MARGIN, size=training.SPARE_PX)


@pytest.mark.parametrize("model", training.RECIPES)
def test_training_lowers_the_loss(few, model):
    recipe = dataclasses.replace(training.RECIPES[model], margin=0.0)  # a margin that grows would raise the loss
    _, losses = training.fit(*few, recipe, epochs=3, seed=0, batch=8)
    assert len(losses) == 3 and losses[-1] < 0.8 * losses[0]


def test_training_is_determined_by_its_seed(few):
    recipe = training.RECIPES["sample_cosface"]
    states = [training.fit(*few, recipe, epochs=1, seed=seed, batch=16)[0].state_dict() for seed in (3, 3, 4)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["conv1.weight"], states[2]["conv1.weight"])


def test_stage_writes_weights_that_load_and_a_report(tmp_path):
    weights, report = tmp_path / "training" / "w.safetensors", tmp_path / "training" / "w.json"
    threads = torch.get_num_threads()
    found = training.train_recogniser("sample_arcface", weights, report, people=2, pictures=16, epochs=1, held_out=2)
    torch.set_num_threads(threads)
    facts = json.loads(report.read_text())
    assert facts["auc"] == found.auc and len(facts["losses"]) == 1 and facts["people"] == 2


@functools.cache
def held_out(region: str | None) -> tuple[np.ndarray, np.ndarray]:
    return training.render_crops(training.HELD_OUT_SEED, 24, 4, region=region)


@pytest.mark.parametrize("model", training.RECIPES)
def test_weights_that_ship_tell_people_apart(model):
    weights, region = Path(registry.REGISTRY[model].weights), training.RECIPES[model].region
    assert weights.stat().st_size <= 2_000_000
    assert training.verify_file(model, weights, *held_out(region)).auc >= (0.85 if region else 0.95)
    network = networks.build_network(registry.recogniser(model))
    assert all(value.dtype == torch.float32 for value in network.parameters())


@pytest.mark.parametrize("model", training.RECIPES)
def test_reports_that_ship_are_of_the_weights_and_of_the_recipe(model):
    weights = Path(registry.REGISTRY[model].weights)
    facts, recipe = json.loads(weights.with_suffix(".json").read_text()), dataclasses.asdict(training.RECIPES[model])
    assert {key: facts[key] for key in recipe} == recipe
    assert facts["sha256"] == files.sha256(weights) and facts["auc"] >= (0.9 if recipe["region"] else 0.99)


def test_every_world_has_a_recipe():
    assert {recipe.region for recipe in training.RECIPES.values()} == {None, *registry.WORLDS}
    assert {registry.world_model(region) for region in registry.WORLDS} < set(training.RECIPES)


def test_traits_of_a_world_are_its_regions_own_and_standardised():
    traits = training.region_traits(7, 30, "nose")
    assert traits.shape == (30, 7)
    np.testing.assert_allclose((traits.mean(0), traits.std(0)), ([0] * 7, [1] * 7), atol=1e-12)
    widths = [people.draw_identity(7, index, "nose")["nose.width"] for index in range(30)]
    assert np.corrcoef(widths, traits.T)[0, 1:].max() == pytest.approx(1)


def test_traits_are_learned_beside_the_margin_loss(few):
    """With nothing but the traits to lower (a scale of nearly zero), the loss falls below that of guessing the mean."""
    recipe = dataclasses.replace(training.RECIPES["sample_cosface"], margin=0.0, scale=1e-6, trait_weight=1.0)
    traits = np.array([[-1.5], [-0.5], [0.5], [1.5]])
    _, losses = training.fit(*few, recipe, epochs=4, seed=0, batch=8, traits=traits / traits.std())
    assert losses[-1] < 0.9 + np.log(4)  # the margin loss of four people, none of whom is preferred, is log 4


def test_seeds_are_apart():
    """Nobody is trained on, measured and shown: two recognisers may share a seed only in different worlds."""
    drawn = {(recipe.seed, recipe.region) for recipe in training.RECIPES.values()}
    assert len(drawn) == len(training.RECIPES)
    seeds = [seed for seed, _ in drawn]
    assert not {training.DEMO_SEED, training.HELD_OUT_SEED} & set(seeds)
    assert max(*seeds, training.HELD_OUT_SEED) < localisation.SEED_OFFSET
