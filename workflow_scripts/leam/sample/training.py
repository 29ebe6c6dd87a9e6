"""The recognisers of the embedded sample: narrow IResNets, trained on rendered people with margin losses.

They exist so that the whole workflow runs on a fresh machine, two for people who differ everywhere, one for each
world of people who differ in one region only, and one for the world in which each person has a region of their own;
they know nothing about real faces. The people they are trained on,
those they are measured on and those of the demonstration come from different seeds, so no person is in two of them.

    PYTHONPATH=workflow_scripts python -m leam.sample.training verify     the AUC of the weights that ship
    PYTHONPATH=workflow_scripts python -m leam.sample.training train      make all anew, one after the other

Shape letters: N images, D embedding size, C classes (people), E epochs.
"""

import argparse
import dataclasses
import json
import logging
import multiprocessing
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pytorch_metric_learning.losses import ArcFaceLoss, CosFaceLoss
from safetensors.torch import save_file
from scipy.linalg import eigh
from torch import Tensor, nn

from leam import files
from leam.analyses.verification.measure import area_under_curve, split_pairs
from leam.embedding import embed
from leam.recognisers import networks, registry
from leam.recognisers.architectures import IResNet
from leam.sample import rendering
from leam.sample.people import SIGNATURE, SIGNATURE_REGIONS, TRAITS, draw_identity, signature_of

log = logging.getLogger(__name__)
DEMO_SEED, HELD_OUT_SEED = 0, 2002
CROP_MARGIN = 0.35  # of the crop around the landmarks' box, on each side, as a share of the box; the workflow's default
SPARE_MARGIN = 0.50  # training crops are cut wider, so that they can be shifted and scaled within what was rendered
INPUT_PX = 112
SPARE_PX = round(INPUT_PX * (1 + 2 * SPARE_MARGIN) / (1 + 2 * CROP_MARGIN))
RENDER_PX = 160


@dataclass(frozen=True)
class Recipe:
    """A margin loss of pytorch-metric-learning; its ArcFace takes the margin in DEGREES, its CosFace as a cosine.

    seed : of the people, the first weights and the order; two recognisers that share it would be near twins
    people, pictures : how many people, and pictures of each; epochs : over all of them
    region : as in ``draw_identity``: where the people differ, None for everywhere. One small region moves an embedding
        far less than pose and light do, and a margin loss alone is slow to notice it; hence the next two
    start : the recognisers the mean of whose weights training begins with, none for random ones
    trait_weight : of the second task, to tell the values of the region's traits, which are known of rendered people,
        from the embedding by a linear map that is then thrown away; 0 for none
    solved : whether the last layer is then put in closed form, see ``solve_last_layer``
    """

    loss: str
    margin: float
    seed: int
    scale: float = 24.0
    people: int = 260
    pictures: int = 20
    epochs: int = 7
    learning_rate: float = 5e-3
    region: str | None = None
    start: tuple[str, ...] = ()
    trait_weight: float = 0.0
    solved: bool = False

    def build_loss(self, people: int, embedding_size: int) -> ArcFaceLoss | CosFaceLoss:
        make = {"arcface": ArcFaceLoss, "cosface": CosFaceLoss}[self.loss]
        return make(people, embedding_size, margin=self.margin, scale=self.scale)


WORLD_RECIPE = Recipe(
    "cosface", margin=0.25, seed=1005, pictures=6, learning_rate=3e-3, start=("sample_cosface",), trait_weight=5.0
)
RECIPES = {
    "sample_arcface": Recipe("arcface", margin=20.0, seed=1001),
    "sample_cosface": Recipe("cosface", margin=0.25, seed=1003),
    "sample_hair": dataclasses.replace(WORLD_RECIPE, region="hair", people=400, epochs=8),
    "sample_nose": dataclasses.replace(WORLD_RECIPE, region="nose", people=800, epochs=6),
    "sample_llip": dataclasses.replace(WORLD_RECIPE, region="llip", people=700, epochs=6, seed=1007),
    "sample_signature": dataclasses.replace(
        WORLD_RECIPE,
        region=SIGNATURE,
        people=720,
        epochs=8,
        seed=1009,
        start=tuple(map(registry.world_model, SIGNATURE_REGIONS)),
        solved=True,
    ),
}


@dataclass(frozen=True)
class Verification:
    """How well genuine pairs are told from impostor pairs: area under the ROC curve, and how many pairs there were.

    auc_within : in the world of signatures, the area among the people of each region alone
    """

    auc: float
    genuine: int
    impostor: int
    auc_within: dict[str, float] = field(default_factory=dict)


def crop_face(image: np.ndarray, landmarks: np.ndarray, margin: float, size: int) -> np.ndarray:
    """The square around the landmarks: (size, size, 3) uint8, black where it leaves the picture.

    image : (H, W, 3) uint8; landmarks : (68, 2) px, the centre of the top left pixel is (0, 0)
    margin : added on each side, as a share of the longer side of the landmarks' bounding box

    The same square as the workflow's crop_mode "box" (a test compares them), at a fraction of its cost.
    """
    low, high = landmarks.min(0) + 0.5, landmarks.max(0) + 0.5  # Pillow counts from the pixel's corner
    half = 0.5 * (high - low).max() * (1 + 2 * margin)
    centre = 0.5 * (low + high)
    pad = max(image.shape)
    padded = Image.fromarray(np.pad(image, ((pad, pad), (pad, pad), (0, 0))))
    left, top, right, bottom = (float(edge) for edge in (*(centre - half + pad), *(centre + half + pad)))
    return np.asarray(padded.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom)))


def _crops_of(index: int, seed: int, pictures: int, margin: float, size: int, region: str | None) -> np.ndarray:
    rendered = rendering.render_person(seed, index, range(pictures), RENDER_PX, region)
    return np.stack([crop_face(found.image, found.landmarks, margin, size) for found in rendered])


def render_crops(
    seed: int,
    people: int,
    pictures: int,
    *,
    margin: float = CROP_MARGIN,
    size: int = INPUT_PX,
    region: str | None = None,
    workers: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Crops (N, size, size, 3) uint8 of rendered people and who is on them (N,); N = people * pictures.

    region : where they differ, see ``draw_identity``
    """
    work = partial(_crops_of, seed=seed, pictures=pictures, margin=margin, size=size, region=region)
    if workers > 1:  # forked: a spawned worker would import the caller's main script again
        with multiprocessing.get_context("fork").Pool(workers) as pool:
            crops = pool.map(work, range(people), chunksize=4)
    else:
        crops = [work(index) for index in range(people)]
    return np.concatenate(crops), np.repeat(np.arange(people), pictures)


def _augment(crops: Tensor, random: torch.Generator) -> Tensor:
    """Network inputs (N, 3, 112, 112) from wide uint8 crops (N, 3, s, s): shifted, scaled, lit differently.

    No mirroring: a person's left and right half differ, and the maps of the demonstration are about where.
    """
    n = len(crops)

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=random)

    window = draw(0.90, 1.14, 1) * INPUT_PX / SPARE_PX  # of the wide crop's side
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = window[:, 0]
    theta[:, :, 2] = draw(-0.07, 0.07, 2)
    grid = nn.functional.affine_grid(theta, [n, 3, INPUT_PX, INPUT_PX], align_corners=False)
    x = nn.functional.grid_sample(crops.float(), grid, align_corners=False)
    x = (x - 127.5) / 127.5 * draw(0.8, 1.2, 1, 1, 1) + draw(-0.12, 0.12, 1, 1, 1)
    return (x + draw(-0.04, 0.04, 3, 1, 1)).clamp(-1, 1)


def region_traits(seed: int, people: int, region: str) -> np.ndarray:
    """Values (C, K) of the traits that differ in a world, each of mean 0 and variance 1 over those in whom it does.

    NaN in the others: in the world of signatures, the traits of regions that are not the person's own.
    """
    regions = SIGNATURE_REGIONS if region == SIGNATURE else (region,)
    names = [f"{part}.{trait}" for part in regions for trait in TRAITS[part]]
    values = np.full((people, len(names)), np.nan)
    for index, row in enumerate(values):
        who = draw_identity(seed, index, region)
        own = signature_of(index) if region == SIGNATURE else region
        for place, name in enumerate(names):
            if name.startswith(f"{own}."):
                row[place] = who[name]
    return (values - np.nanmean(values, 0)) / np.nanstd(values, 0)


def trait_loss(told: Tensor, known: Tensor) -> Tensor:
    """The mean squared error of each picture's traits (N, K), those that are known, and its mean over pictures."""
    missed = torch.where(known.isnan(), 0, told - known.nan_to_num())
    return (missed.square().sum(1) / known.isfinite().sum(1)).mean()


def mean_state(models: tuple[str, ...]) -> dict[str, Tensor]:
    """The mean of the weights of recognisers of one architecture that ship."""
    states = [networks.read_state(registry.shipped_weights(model)) for model in models]
    return {name: torch.stack([state[name].float() for state in states]).mean(0) for name in states[0]}


def fit(
    crops: np.ndarray,
    labels: np.ndarray,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    batch: int = 32,
    traits: np.ndarray | None = None,
) -> tuple[IResNet, list[float]]:
    """Train a narrow IResNet-18.

    crops : (N, s, s, 3) uint8 cut with SPARE_MARGIN; labels : (N,) person numbers from 0
    traits : (C, K) values to regress from the embedding beside the margin loss, by person, where not NaN
    Returns the network in eval mode and the mean loss of each epoch (E,). The same seed gives the same weights on
    the same machine and number of threads; elsewhere sums are taken in another order.
    """
    torch.manual_seed(seed)
    network = IResNet(**registry.REGISTRY["sample_arcface"].arguments)
    if recipe.start:
        network.load_state_dict(mean_state(recipe.start))
    loss_of = recipe.build_loss(int(labels.max()) + 1, network.fc.out_features)
    parameters = [*network.parameters(), *loss_of.parameters()]
    if traits is not None:
        known, head = torch.from_numpy(traits).float(), nn.Linear(network.fc.out_features, traits.shape[1])
        parameters += head.parameters()
    optimiser = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=5e-3)
    steps = epochs * (len(crops) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=recipe.learning_rate, total_steps=steps, pct_start=0.2
    )
    random = torch.Generator().manual_seed(seed)
    pixels, who = torch.from_numpy(crops).permute(0, 3, 1, 2), torch.from_numpy(labels)
    losses, margin = [], loss_of.margin
    for epoch in range(epochs):
        of_epoch = []
        loss_of.margin = margin * min(1, 2 * epoch / epochs)  # from none to all of it by half time: it learns sooner
        for chosen in torch.randperm(len(pixels), generator=random)[: len(pixels) // batch * batch].split(batch):
            embeddings = network(_augment(pixels[chosen], random))
            loss = loss_of(embeddings, who[chosen])
            if traits is not None:
                loss = loss + recipe.trait_weight * trait_loss(head(embeddings), known[who[chosen]])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            of_epoch.append(loss.item())
        losses.append(float(np.mean(of_epoch)))
        log.info("epoch %d of %d: loss %.3f", epoch + 1, epochs, losses[-1])
    return network.eval(), losses


def solve_last_layer(
    network: IResNet, crops: np.ndarray, labels: np.ndarray, traits: np.ndarray, shrinkage: float = 1.0
) -> None:
    """Put linear discriminants (Fisher) in the place of the layers after the convolutions.

    Of what the convolutions see, they are the directions in which a person's pictures scatter least beside what traits
    explain of the differences between people: one for each trait, and for each group of people with other traits but
    the first. They ask for no epochs, and training is far from them after a few.

    crops, labels, traits : as in ``fit``; shrinkage : added to the variance within people, as a share of its mean
    """
    for part in ("fc", "features"):
        setattr(network, part, nn.Identity())
    edge = (SPARE_PX - INPUT_PX) // 2
    inner = crops[:, edge : edge + INPUT_PX, edge : edge + INPUT_PX]
    inputs = networks.to_input(inner, registry.recogniser("sample_arcface"))
    seen = embed(network, inputs, batch=128).numpy().astype(float)  # (N, F)
    middle, size = seen.mean(0), seen.shape[1]
    people = np.stack([seen[labels == person].mean(0) for person in range(len(traits))])
    scatter = seen - people[labels]
    within = scatter.T @ scatter / (len(seen) - len(people))
    within += shrinkage * within.trace() / size * np.eye(size)
    groups, group = np.unique(np.isfinite(traits), axis=0, return_inverse=True)
    known = np.hstack([np.eye(len(groups))[group], np.nan_to_num(traits)])
    explained = known @ np.linalg.lstsq(known, people - middle)[0]
    directions = traits.shape[1] + len(groups) - 1
    _, found = eigh(explained.T @ explained, within, subset_by_index=[size - directions, size - 1])
    network.fc, network.features = nn.Linear(size, directions), nn.BatchNorm1d(directions, eps=1e-5)
    network.load_state_dict(
        {"fc.weight": torch.from_numpy(found.T), "fc.bias": torch.from_numpy(-middle @ found)}, strict=False
    )
    network.eval()


def save_weights(network: nn.Module, path: str | Path) -> None:
    """Write a state dict; kernels in half precision, which halves the file, BatchNorm and biases as they are."""
    state = {
        name: (value.half() if value.is_floating_point() and value.ndim > 1 else value).contiguous()
        for name, value in network.state_dict().items()
    }
    with files.whole_file(path, digest=None) as part:
        save_file(state, part)
        part.chmod(0o644)  # safetensors makes files that only their owner can read


def measure_verification(embeddings: np.ndarray, labels: np.ndarray) -> Verification:
    """Verification by cosine over all unordered pairs of images.

    embeddings : (N, D); labels : (N,) who is on each. Raises ValueError without a genuine or an impostor pair.
    """
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    genuine, impostor = split_pairs(unit, labels)
    if not len(genuine) or not len(impostor):
        raise ValueError(f"expected genuine and impostor pairs; found {len(genuine)} and {len(impostor)}")
    return Verification(area_under_curve(genuine, impostor), len(genuine), len(impostor))


def measure_signatures(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The area under the ROC curve among the people of each signature alone, by its region; arrays as above.

    It is the harder question: to tell people of two signatures apart, it is enough to see which region is not as
    everybody's. Raises ValueError when a signature has fewer than two people, or one picture of each.
    """
    own = np.array([signature_of(person) for person in labels])
    return {
        region: measure_verification(embeddings[own == region], labels[own == region]).auc
        for region in SIGNATURE_REGIONS
    }


def verify_file(model: str, weights: str | Path, crops: np.ndarray, labels: np.ndarray) -> Verification:
    """Measure a weights file of the sample, loaded as the workflow loads it."""
    recogniser = registry.recogniser(model, {"weights": str(weights)})
    embeddings = embed(networks.build_network(recogniser), networks.to_input(crops, recogniser), batch=128).numpy()
    within = measure_signatures(embeddings, labels) if RECIPES[model].region == SIGNATURE else {}
    return dataclasses.replace(measure_verification(embeddings, labels), auc_within=within)


def train_recogniser(
    model: str,
    weights: str | Path,
    report: str | Path,
    *,
    held_out: int = 60,
    threads: int = 1,
    **changes: Any,
) -> Verification:
    """Render people, train one recogniser of the sample on them and measure it on people it has not seen.

    model : a key of RECIPES
    weights, report : files to write: a state dict (safetensors, at most 2 MB) and how it came to be (JSON)
    held_out : people to measure on, 8 pictures of each
    threads : processes that render. The network is trained on one, so that its weights do not depend on their
        number; it is too narrow to gain much from more
    changes : fields of the recipe to change, such as ``people=100`` or ``region="le"``
    """
    torch.set_num_threads(1)
    recipe = dataclasses.replace(RECIPES[model], **changes)
    seed, render = recipe.seed, partial(render_crops, region=recipe.region, workers=threads)
    crops, labels = render(seed, recipe.people, recipe.pictures, margin=SPARE_MARGIN, size=SPARE_PX)
    log.info("rendered %d pictures of %d people", len(crops), recipe.people)
    traits = region_traits(seed, recipe.people, recipe.region) if recipe.region and recipe.trait_weight else None
    network, losses = fit(crops, labels, recipe, epochs=recipe.epochs, seed=seed, traits=traits)
    if recipe.solved and traits is not None:
        solve_last_layer(network, crops, labels, traits)
    save_weights(network, weights)
    found = verify_file(model, weights, *render(HELD_OUT_SEED, held_out, 8))
    facts = {"model": model} | dataclasses.asdict(recipe) | {"losses": losses}
    facts |= {"held_out_seed": HELD_OUT_SEED, **vars(found), "sha256": files.sha256(weights)}
    with files.whole_file(report, digest=None) as part:
        part.write_text(json.dumps(facts, indent=2) + "\n")
    log.info("%s: verification AUC %.4f", model, found.auc)
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train the sample's recognisers, or verify the weights that ship.")
    parser.add_argument("action", choices=("train", "verify"))
    parser.add_argument("--model", choices=tuple(RECIPES), action="append", help="default: all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--people", type=int, default=60, help="held-out people, for verify")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = given.model or tuple(RECIPES)
    weights = {model: registry.shipped_weights(model) for model in chosen}
    if given.action == "train":
        for model, path in weights.items():
            train_recogniser(model, path, path.with_suffix(".json"), threads=given.threads)
        return
    held_out = cache(partial(render_crops, HELD_OUT_SEED, given.people, 8, workers=given.threads))
    for model, path in weights.items():
        found = verify_file(model, path, *held_out(region=RECIPES[model].region))
        print(f"{model}: AUC {found.auc:.4f} ({found.genuine} genuine, {found.impostor} impostor pairs)")
        for region, auc in found.auc_within.items():
            print(f"    among people whose own region is {region}: AUC {auc:.4f}")


if __name__ == "__main__":
    main()
