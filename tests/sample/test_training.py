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
from leam.recognisers.architectures import IResNet
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


@pytest.mark.slow
def test_stage_puts_the_last_layer_of_signatures_in_closed_form(tmp_path):
    weights, report = tmp_path / "w.safetensors", tmp_path / "w.json"
    threads = torch.get_num_threads()
    found = training.train_recogniser("sample_signature", weights, report, people=6, pictures=6, epochs=1, held_out=6)
    torch.set_num_threads(threads)
    network = networks.build_network(registry.recogniser("sample_signature", {"weights": str(weights)}))
    assert network.fc.out_features == sum(len(people.TRAITS[region]) for region in people.SIGNATURE_REGIONS) + 2
    facts = json.loads(report.read_text())
    assert (
        facts["solved"]
        and facts["auc_within"] == found.auc_within
        and set(found.auc_within) == {"hair", "nose", "llip"}
    )


def narrow_network() -> IResNet:
    torch.manual_seed(0)
    return IResNet(widths=(2, 2, 2, 2), embedding_size=4).eval()


def solved_and_seen(few, traits: np.ndarray) -> tuple[IResNet, np.ndarray, np.ndarray]:
    """A narrow network whose last layer is solved, its embeddings of the pictures and what its convolutions see."""
    crops, labels = few
    network, edge = narrow_network(), (training.SPARE_PX - training.INPUT_PX) // 2
    training.solve_last_layer(network, crops, labels, traits)
    inner = crops[:, edge:-edge, edge:-edge]
    x = networks.to_input(inner, registry.recogniser("sample_arcface"))
    with torch.no_grad():
        embeddings = network(x).numpy().astype(float)
        network.fc = network.features = torch.nn.Identity()
        return network, embeddings, network(x).numpy().astype(float)


def test_the_last_layer_is_fishers_discriminant(few):
    """Of one trait: no direction that was drawn separates what it explains better, beside the shrunken scatter."""
    labels, trait = few[1], np.array([-1.0, 0.5, 1.5, -1.0])
    _, embeddings, seen = solved_and_seen(few, trait[:, None])
    assert embeddings.shape == (len(labels), 1) and abs(embeddings.mean()) < 1e-4
    means = np.stack([seen[labels == person].mean(0) for person in range(4)])
    scatter = sum(np.outer(row, row) for row in seen - means[labels]) / (len(seen) - 4)
    scatter += np.diag(np.full(len(scatter), np.diag(scatter).mean()))
    slope = (trait - trait.mean()) @ means
    best = np.linalg.solve(scatter, slope)  # of one explained direction, Fisher's is this one
    assert abs(np.corrcoef(seen @ best, embeddings[:, 0])[0, 1]) > 0.999


def test_the_last_layer_has_a_direction_for_each_trait_and_for_each_further_group(few):
    traits = np.array([[1.0, np.nan], [-1.0, np.nan], [np.nan, 1.0], [np.nan, -1.0]])
    network, embeddings, _ = solved_and_seen(few, traits)
    assert embeddings.shape[1] == 3 and np.isfinite(embeddings).all() and not network.training


FLOOR_WITHIN = 0.85  # AUC of the recogniser of signatures among people of one signature


@functools.cache
def held_out(region: str | None) -> tuple[np.ndarray, np.ndarray]:
    return training.render_crops(training.HELD_OUT_SEED, 24, 4, region=region)


@pytest.mark.parametrize("model", training.RECIPES)
def test_weights_that_ship_tell_people_apart(model):
    weights, region = Path(registry.REGISTRY[model].weights), training.RECIPES[model].region
    assert weights.stat().st_size <= 2_000_000
    found = training.verify_file(model, weights, *held_out(region))
    assert found.auc >= (0.85 if region else 0.95)
    assert set(found.auc_within) == (set(people.SIGNATURE_REGIONS) if region == people.SIGNATURE else set())
    assert all(auc >= FLOOR_WITHIN for auc in found.auc_within.values()), found.auc_within
    network = networks.build_network(registry.recogniser(model))
    assert all(value.dtype == torch.float32 for value in network.parameters())


@pytest.mark.parametrize("model", training.RECIPES)
def test_reports_that_ship_are_of_the_weights_and_of_the_recipe(model):
    weights = Path(registry.REGISTRY[model].weights)
    facts, recipe = json.loads(weights.with_suffix(".json").read_text()), dataclasses.asdict(training.RECIPES[model])
    assert {key: facts[key] for key in recipe} == recipe | {"start": list(recipe["start"])}
    assert facts["sha256"] == files.sha256(weights) and facts["auc"] >= (0.9 if recipe["region"] else 0.99)


@pytest.mark.slow
def test_the_recogniser_of_signatures_tells_people_apart_as_its_report_says():
    weights, world = registry.shipped_weights("sample_signature"), people.SIGNATURE
    facts = json.loads(weights.with_suffix(".json").read_text())
    crops, labels = training.render_crops(training.HELD_OUT_SEED, 60, 8, region=world)
    found = training.verify_file("sample_signature", weights, crops, labels)
    assert (found.genuine, found.impostor) == (facts["genuine"], facts["impostor"])
    assert found.auc == pytest.approx(facts["auc"], abs=1e-3)
    assert found.auc_within == pytest.approx(facts["auc_within"], abs=1e-3)


def test_every_world_has_a_recipe():
    assert {recipe.region for recipe in training.RECIPES.values()} == {None, *registry.WORLDS, people.SIGNATURE}
    named = {registry.world_model(region) for region in (*registry.WORLDS, people.SIGNATURE)}
    assert named | set(registry.GENERAL_MODELS) == set(training.RECIPES)
    assert set(people.SIGNATURE_REGIONS) <= set(registry.WORLDS)  # it starts from the recognisers of these worlds


def test_within_signatures_nothing_is_gained_by_telling_signatures_apart():
    """Embeddings that say which region is a person's own, and of hair alone who it is."""
    labels = np.repeat(np.arange(12), 4)
    own = labels % 3
    embeddings = np.eye(3)[own] + 0.1 * np.random.default_rng(0).normal(size=(len(labels), 3))
    who = np.where((own == 0)[:, None], np.eye(12)[labels], 0)
    embeddings = np.hstack([embeddings, who])
    within = training.measure_signatures(embeddings, labels)
    assert training.measure_verification(embeddings, labels).auc > 0.9
    assert within["hair"] == 1 and abs(within["nose"] - 0.5) < 0.25 and abs(within["llip"] - 0.5) < 0.25


def test_within_signatures_pairs_are_those_of_one_signature():
    labels, embeddings = np.repeat(np.arange(6), 2), np.random.default_rng(0).normal(size=(12, 4))
    within = training.measure_signatures(embeddings, labels)
    for place, region in enumerate(people.SIGNATURE_REGIONS):
        chosen = labels % 3 == place
        assert within[region] == training.measure_verification(embeddings[chosen], labels[chosen]).auc


def test_training_may_start_from_the_mean_of_several():
    of_one, of_other = (training.mean_state((model,)) for model in registry.GENERAL_MODELS)
    both = training.mean_state(registry.GENERAL_MODELS)
    for name, value in both.items():
        torch.testing.assert_close(value, (of_one[name] + of_other[name]) / 2)
    shipped = networks.read_state(registry.shipped_weights("sample_arcface"))
    assert all(torch.equal(of_one[name], value.float()) for name, value in shipped.items())
    assert any((both[name] != value).any() for name, value in of_one.items())


def test_traits_of_a_world_are_its_regions_own_and_standardised():
    traits = training.region_traits(7, 30, "nose")
    assert traits.shape == (30, 7)
    np.testing.assert_allclose((traits.mean(0), traits.std(0)), ([0] * 7, [1] * 7), atol=1e-12)
    widths = [people.draw_identity(7, index, "nose")["nose.width"] for index in range(30)]
    assert np.corrcoef(widths, traits.T)[0, 1:].max() == pytest.approx(1)


def test_traits_of_signatures_are_known_of_each_persons_own_region():
    traits = training.region_traits(7, 30, people.SIGNATURE)
    place = 0
    for group, region in enumerate(people.SIGNATURE_REGIONS):
        count = len(people.TRAITS[region])
        of_region, place = traits[:, place : place + count], place + count
        own = np.arange(30) % 3 == group
        assert np.isfinite(of_region[own]).all() and np.isnan(of_region[~own]).all()
        np.testing.assert_allclose(
            (of_region[own].mean(0), of_region[own].std(0)), ([0] * count, [1] * count), atol=1e-9
        )
    assert place == traits.shape[1]


def test_telling_traits_counts_each_picture_alike_and_what_is_unknown_not_at_all():
    known = torch.tensor([[1.0, 2.0, torch.nan], [torch.nan, torch.nan, 3.0]])
    told = torch.tensor([[2.0, 2.0, 50.0], [7.0, -9.0, 1.0]], requires_grad=True)
    loss = training.trait_loss(told, known)
    assert loss.item() == pytest.approx((0.5 + 4) / 2)
    loss.backward()
    assert told.grad.isfinite().all() and (told.grad[known.isnan()] == 0).all()
    whole, found = torch.randn(4, 5), torch.randn(4, 5)
    torch.testing.assert_close(training.trait_loss(found, whole), torch.nn.functional.mse_loss(found, whole))


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
