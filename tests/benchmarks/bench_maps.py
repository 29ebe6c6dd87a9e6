"""LEAM's engine against other implementations of LayerCAM and against the floor, all on the same work in one run.

    PYTHONPATH=workflow_scripts:tests python tests/benchmarks/bench_maps.py [--models AF_R18 ...] [--device cuda]

The work: one identity of 12 images, 132 ordered pairs, nine layers, one map per pair and layer. The others compute one
polarity, ours both. The floor is 132 bare image-backwards to the first layer, batched alike, without hooks on other
layers and without reductions; the folded floor is the same on the network that ours runs on (``folding``).
The others run in the process as PyTorch comes, ours with the settings that compute_maps makes
(``device.tune_cpu``); the figures named untuned and tuned compare on equal settings. The contestants take turns and
medians are taken, as machines are shared; only ratios count.

Needs requirements-dev.txt.
"""

import argparse
import copy
import dataclasses
import statistics
import time
import warnings

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from leam import device, embedding, maps, paper
from leam.grid import Grid
from leam.methods import cells_of
from leam.methods.leam import LEAM
from leam.recognisers import folding, networks, registry
from leam.recognisers.taps import Taps
from leam.regions import REGIONS

IMAGES = 12
# The paper's size: 1,000 people of 13.4 images; each architecture stands for one or two of its nine recognisers.
PAPER_PAIRS = paper.IMAGES_KEPT * 12.445
PAPER_MODELS = {"AF_R18": 2, "AF_R50": 2, "AF_R100": 2, "IR_CASIA": 2, "VGG_16": 1}


def build(name: str, device: str, seed: int = 0) -> tuple[nn.Module, registry.Recogniser]:
    """The architecture with random weights and BatchNorm statistics as they would be after seeing such images."""
    recogniser = dataclasses.replace(registry.REGISTRY[name], untrained=True)
    network = networks.build_network(recogniser, seed)
    norms = [module for module in network.modules() if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d))]
    for module in norms:
        module.train()
        module.momentum = None
    with torch.no_grad():
        network(inputs(recogniser, "cpu", seed + 1))
    return network.eval().to(device), recogniser


def inputs(recogniser: registry.Recogniser, device: str, seed: int = 0, images: int = IMAGES) -> torch.Tensor:
    """(images, 3, h, w): one smooth random face-like field with a variation per image."""
    random = torch.Generator().manual_seed(seed)
    shared = torch.randn(1, 3, 14, 14, generator=random)
    own = torch.randn(images, 3, 14, 14, generator=random)
    field = functional.interpolate(shared + 0.5 * own, size=recogniser.input_size, mode="bicubic")
    scale = 100.0 if recogniser.std[0] == 1.0 else 1.0
    return (scale * (field + 0.1 * torch.randn(field.shape, generator=random))).to(device)


# ------------------------------------------------------------------------------------------------------ contestants
#
# Each returns {(anchor, positive): [map per layer]} for the similarity, as tensors on the CPU, or None for the floor.


def collect(found: dict, positives: torch.Tensor, per_layer: list) -> None:
    per_layer = [torch.as_tensor(layer).detach().cpu() for layer in per_layer]
    for anchor, positive in enumerate(positives.tolist()):
        found[anchor, positive] = [layer[anchor] for layer in per_layer]


def shifts(n: int):
    return [(torch.arange(n) + shift) % n for shift in range(1, n)]


def run_ours(network, recogniser, x, found=None):
    cells = cells_of((LEAM,), recogniser.layers)
    with Taps(network, recogniser.layers) as taps:
        embeddings, activations = taps.run(x)
        unit = embedding.normalise(embeddings.detach())
        for batch in maps.pair_batches(activations, cells, embeddings, maps.Anchors([len(x)], x.device), unit):
            if found is not None:
                collect(found, batch.positives.cpu(), [layer[1] for layer in batch.maps])


def run_ours_with_counts(network, recogniser, x, found=None):
    regions = (np.arange(112 * 112) % len(REGIONS)).astype(np.uint8).reshape(1, 112, 112).repeat(len(x), axis=0)
    maps.explain(network, recogniser.layers, x, regions)


def run_floor(network, recogniser, x, found=None):
    with Taps(network, recogniser.layers[:1]) as taps:
        embeddings, activations = taps.run(x)
        unit = functional.normalize(embeddings.detach())
        own = functional.normalize(embeddings)
        for positives in shifts(len(x)):
            torch.autograd.grad(own, list(activations.values()), unit[positives], retain_graph=True)


def run_grad_cam(network, recogniser, x, found=None):
    """pytorch-grad-cam as its users run it: the parameters keep their gradients, a forward per call."""
    from pytorch_grad_cam import LayerCAM

    network.requires_grad_(True)
    layers = list(networks.find_layers(network, recogniser.layers).values())
    cam = LayerCAM(network, layers)
    try:
        with torch.no_grad():
            unit = functional.normalize(network(x))
        cam.activations_and_grads.clear()
        for positives in shifts(len(x)):
            outputs = functional.normalize(cam.activations_and_grads(x))
            network.zero_grad()
            (outputs * unit[positives]).sum().backward()
            recorded = zip(cam.activations_and_grads.activations, cam.activations_and_grads.gradients, strict=True)
            per_layer = [
                np.maximum(cam.get_cam_image(x, layer, None, a.numpy(), g.numpy(), False), 0)
                for layer, (a, g) in zip(layers, recorded, strict=True)
            ]
            if found is not None:
                collect(found, positives, per_layer)
    finally:
        cam.activations_and_grads.release()
        network.zero_grad(set_to_none=True)
        network.requires_grad_(False)


class Cosines(nn.Module):
    """Scores (N, N): each image's cosine with every image, the others constant; torch-cam explains columns of it."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        unit = functional.normalize(self.network(x))
        return unit @ unit.detach().T


def run_torch_cam(network, recogniser, x, found=None):
    """torch-cam at its best: one forward, frozen parameters, a list of layers, retained graph, rotating targets."""
    from torchcam.methods import LayerCAM

    modules = list(networks.find_layers(network, recogniser.layers).values())
    model = Cosines(network).eval()
    with LayerCAM(model, modules) as cam:
        scores = model(x.clone().requires_grad_())
        for positives in shifts(len(x)):
            per_layer = cam(class_idx=positives.tolist(), scores=scores, normalized=False, retain_graph=True)
            if found is not None:
                collect(found, positives, per_layer)


def run_captum(network, recogniser, x, found=None):
    """captum's own gradients of several layers at once, a forward per call."""
    from captum._utils.gradient import compute_layer_gradients_and_eval

    modules = list(networks.find_layers(network, recogniser.layers).values())
    with torch.no_grad():
        unit = functional.normalize(network(x))
    for positives in shifts(len(x)):

        def cosine(batch, positives=positives):
            return (functional.normalize(network(batch)) * unit[positives]).sum(1)

        gradients, activations = compute_layer_gradients_and_eval(cosine, modules, x.clone().requires_grad_())
        per_layer = [torch.relu((torch.relu(g[0]) * a[0]).sum(1)) for g, a in zip(gradients, activations, strict=True)]
        if found is not None:
            collect(found, positives, per_layer)


CONTESTANTS = {
    "ours": run_ours,
    "ours_with_counts": run_ours_with_counts,
    "folded_floor": run_floor,
    "floor": run_floor,
    "torch_cam": run_torch_cam,
    "grad_cam": run_grad_cam,
    "captum": run_captum,
}


# ------------------------------------------------------------------------------------------------------ measurement


def naive(network, recogniser, x, pairs):
    """The naive loop of the tests on some pairs, in double precision."""
    from naive import pair_map

    double = network.double()
    names = {id(module): name for name, module in double.named_modules()}
    layers = [names[id(module)] for module in networks.find_layers(double, recogniser.layers).values()]
    found = {
        (i, j): [pair_map(double, layer, x[i].double(), x[j].double(), "similarity").cpu() for layer in layers]
        for i, j in pairs
    }
    network.float()
    return found


def largest_relative_error(found, expected) -> float:
    """The largest difference of any pixel, relative to its map's maximum."""
    return max(
        float((a - b).abs().max() / b.abs().max())
        for pair in expected
        for a, b in zip(found[pair], expected[pair], strict=True)
    )


def share_off(found, expected, tolerance: float = 1e-4) -> float:
    """The share of pixels that differ by more than the tolerance of their map's maximum.

    In float32 any other order of sums may carry an activation across a PReLU's kink, which changes the gradient in that
    activation's surroundings; everything else agrees to rounding.
    """
    pairs = [(a, b) for pair in expected for a, b in zip(found[pair], expected[pair], strict=True)]
    off = sum(int(((a - b).abs() > tolerance * b.abs().max()).sum()) for a, b in pairs)
    return off / sum(b.numel() for _, b in pairs)


def measure(name: str, device: str, rounds: int, contestants: list[str], precisions: list[str]) -> float:
    """Prints the figures of one architecture; seconds of our maps with their counts."""
    network, recogniser = build(name, device)
    x = inputs(recogniser, device)
    expected = naive(network, recogniser, x, [(0, 1), (5, 2), (11, 10)])
    folded = folding.fold_network(
        copy.deepcopy(network), recogniser.layers, recogniser.input_size, torch.device(device)
    )
    networks = {"ours": folded, "ours_with_counts": folded, "folded_floor": folded}
    checked = {contestant: networks.get(contestant, network) for contestant in contestants}
    for contestant, each in ({"ours_unfolded": network} | checked).items():
        if "floor" in contestant or contestant == "ours_with_counts":
            continue
        found: dict = {}
        CONTESTANTS.get(contestant, run_ours)(each, recogniser, x, found)
        print(f"figure {name}_{contestant}_largest_relative_error {largest_relative_error(found, expected):.1e} -")
        print(f"figure {name}_{contestant}_pixels_off {100 * share_off(found, expected):.4f} percent")
    others = {contestant: network for contestant in contestants if contestant not in networks}
    plain = time_rounds(others | {"ours": network}, recogniser, x, rounds)
    if device == "cpu":
        device.tune_cpu()
    same = {contestant: network for contestant in ("floor", "torch_cam") if contestant in contestants}
    tuned = time_rounds(networks | same, recogniser, x, rounds)
    report(name, plain, tuned, device)
    compare_precisions(network, folded, recogniser, x, device, name, precisions)
    return tuned["ours_with_counts"]


def time_rounds(networks: dict[str, nn.Module], recogniser, x, rounds: int) -> dict[str, float]:
    """Median seconds of each contestant; the contestants take turns."""
    seconds = {contestant: [] for contestant in networks}
    for _ in range(rounds):
        for contestant, network in networks.items():
            started = time.perf_counter()
            CONTESTANTS[contestant](network, recogniser, x)
            if x.is_cuda:
                torch.cuda.synchronize()
            seconds[contestant].append(time.perf_counter() - started)
    return {contestant: statistics.median(found) for contestant, found in seconds.items()}


def top_pixels(network, recogniser, x) -> np.ndarray:
    """Which pixels are in the top 1 % of the common grid: (132, L, 112 * 112) bool."""
    grid, found = Grid(112, recogniser.window), {}
    run_ours(network, recogniser, x, found)
    placed = torch.stack([torch.stack([grid.place(m.double()) for m in found[pair]]) for pair in sorted(found)])
    pixels = placed.flatten(2)
    chosen = torch.zeros(pixels.shape, dtype=torch.bool)
    chosen.scatter_(2, torch.argsort(pixels, dim=2, descending=True, stable=True)[..., :125], True)
    return (chosen & (pixels > 0)).numpy()


def compare_precisions(network, folded, recogniser, x, device: str, name: str, precisions: list[str]) -> None:
    """Mean Jaccard index of the top-1 % sets with those in double precision, and the speed against float32."""
    expected = top_pixels(network.double(), recogniser, x.double())
    network.float()
    seconds = {}
    for precision in precisions:
        with device.arithmetic(precision, torch.device(device)):
            found = top_pixels(folded, recogniser, x)
            started = time.perf_counter()
            run_ours(folded, recogniser, x)
            if device == "cuda":
                torch.cuda.synchronize()
            seconds[precision] = time.perf_counter() - started
        jaccard = (found & expected).sum(2) / np.maximum((found | expected).sum(2), 1)
        print(f"figure {name}_{precision}_top1_jaccard {jaccard.mean():.4f} -")
        print(f"figure {name}_{precision}_speedup {seconds['float32'] / seconds[precision]:.2f} times", flush=True)


def report(name: str, plain: dict[str, float], tuned: dict[str, float], device: str) -> None:
    """plain : seconds in the process as PyTorch comes; tuned : with the settings that compute_maps makes."""
    for floor in ("floor", "folded_floor"):
        for key in ("ours", "ours_with_counts"):
            print(f"figure {name}_{key}_of_{floor} {100 * tuned[floor] / tuned[key]:.0f} percent")
    for other in ("grad_cam", "torch_cam", "captum"):
        if other in plain:
            print(f"figure {name}_ours_faster_than_{other} {plain[other] / tuned['ours']:.2f} times")
            print(f"figure {name}_ours_faster_than_{other}_untuned {plain[other] / plain['ours']:.2f} times")
    if "torch_cam" in tuned:
        print(f"figure {name}_ours_faster_than_torch_cam_tuned {tuned['torch_cam'] / tuned['ours']:.2f} times")
    print(f"figure {name}_floor_lowered_by_settings_and_folding {plain['floor'] / tuned['folded_floor']:.2f} times")
    if device == "cuda":  # a GPU is not shared while it is lent, so absolute times count there
        for contestant, found in tuned.items():
            print(f"figure {name}_{contestant}_seconds {found:.4f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["AF_R18", "AF_R50", "AF_R100", "IR_CASIA", "VGG_16"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contestants", nargs="+", default=list(CONTESTANTS))
    parser.add_argument("--precisions", nargs="+", help="float32 first; by default all that the device can")
    given = parser.parse_args()
    precisions = given.precisions or ["float32", *(["tf32"] if given.device == "cuda" else []), "bf16"]
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}")
    if given.device == "cuda":
        print(torch.cuda.get_device_name())
    seconds = {}
    for name in given.models:
        with device.arithmetic("float32", torch.device(given.device)):  # PyTorch's own default on a GPU is tf32
            seconds[name] = measure(name, given.device, given.rounds, given.contestants, precisions)
    if given.device == "cuda" and seconds.keys() >= PAPER_MODELS.keys():
        per_pair = sum(count * seconds[name] for name, count in PAPER_MODELS.items()) / (IMAGES * (IMAGES - 1))
        print(f"figure paper_size_float32 {PAPER_PAIRS * per_pair / 3600:.2f} hours")


if __name__ == "__main__":
    main()
