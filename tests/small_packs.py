"""A pack as InsightFace's are, small: files of the same inputs and outputs. Its detector finds drawn faces."""

import warnings
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from drawn import COLOURS

STRIDES = (8, 16, 32)
ANCHORS = 2  # at each place
NARROW = 4  # channels of the recogniser


class DiscDetector(nn.Module):
    """SCRFD's outputs (scores, boxes and points at three strides) of a picture of five discs: where each colour is."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        pixels = x * 128 + 127.5  # (1, 3, H, W)
        height, width = x.shape[2], x.shape[3]
        across, down = torch.arange(width).float(), torch.arange(height).float()
        discs = torch.stack([self.like(pixels, colour) for colour in torch.tensor(COLOURS).float()])  # (5, H, W)
        amount = discs.sum((1, 2)) + 1e-6
        points = torch.stack([(discs.sum(1) * across).sum(1) / amount, (discs.sum(2) * down).sum(1) / amount], dim=1)
        low, high = points.amin(0), points.amax(0)
        there = (amount.amin() > 1).float()
        outputs = []
        for stride in STRIDES:
            places = torch.stack(
                [
                    (torch.arange(width // stride) * stride).float().repeat(height // stride, 1),
                    (torch.arange(height // stride) * stride).float().repeat(width // stride, 1).T,
                ],
                dim=-1,
            )
            places = places.reshape(-1, 1, 2).repeat(1, ANCHORS, 1).reshape(-1, 2)
            distance = (places - (low + high) / 2).abs().amax(1, keepdim=True)
            outputs.append(
                (
                    there * torch.exp(-distance / 40),
                    torch.cat([places - low, high - places], dim=1) / stride,
                    ((points.reshape(1, 10) - places.repeat(1, 5)) / stride),
                )
            )
        return tuple(output for kind in zip(*outputs, strict=True) for output in kind)

    @staticmethod
    def like(pixels: Tensor, colour: Tensor) -> Tensor:
        return (1 - (pixels[0] - colour.view(3, 1, 1)).abs().sum(0) / 120).clamp(0)


class NarrowArcFace(nn.Module):
    """Ten convolutions, BatchNorm and PReLU between them, and 512 numbers in the end."""

    def __init__(self) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for number in range(10):
            inputs, stride = (3, 2) if number == 0 else (NARROW, 2 if number in (3, 6) else 1)
            steps += [nn.Conv2d(inputs, NARROW, 3, stride, 1), nn.BatchNorm2d(NARROW), nn.PReLU(NARROW)]
        self.body, self.fc = nn.Sequential(*steps), nn.Linear(NARROW * 14 * 14, 512)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).flatten(1))


def _export(
    network: nn.Module, path: Path, shape: tuple[int, ...], open_axes: dict[int, str], outputs: list[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (torch.zeros(shape),),
            path,
            opset_version=11,
            dynamo=False,
            input_names=["input.1"],
            output_names=outputs,
            dynamic_axes={"input.1": open_axes} | ({outputs[0]: open_axes} if len(outputs) == 1 else {}),
        )


def write_detector(path: Path, points: bool = True) -> Path:
    """SCRFD's file: nine outputs, or six without the points."""
    names = [f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in STRIDES]
    _export(DiscDetector(), path, (1, 3, 64, 96), {2: "height", 3: "width"}, names)
    model = onnx.load(path)
    for output, size in zip(model.graph.output, (1,) * 3 + (4,) * 3 + (10,) * 3, strict=True):
        output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, [None, size]))
    if not points:
        del model.graph.output[6:]
    onnx.save(model, path)
    return path


def write_recogniser(path: Path, seed: int = 0, normalises: bool = False) -> Path:
    """A recogniser's file; ``normalises``: as MXNet wrote them, the graph itself takes pixels of 0 to 255."""
    torch.manual_seed(seed)
    network = NarrowArcFace()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)  # else ten layers leave nothing of the picture
    _export(network, path, (1, 3, 112, 112), {0: "None"}, ["embedding"])
    model = onnx.load(path)
    graph = model.graph
    graph.output[0].name = graph.node[-1].output[0] = "683"  # a number, as in theirs
    if normalises:
        graph.initializer.extend(
            helper.make_tensor(name, TensorProto.FLOAT, (), [value])
            for name, value in (("grey", 127.5), ("unit", 1 / 128))
        )
        steps = [
            helper.make_node("Sub", ["input.1", "grey"], ["shifted"], "_minusscalar0"),
            helper.make_node("Mul", ["shifted", "unit"], ["scaled"], "_mulscalar0"),
        ]
        for node in graph.node:
            node.input[:] = ["scaled" if name == "input.1" else name for name in node.input]
        nodes = [*steps, *graph.node]
        del graph.node[:]
        graph.node.extend(nodes)
    onnx.save(model, path)
    return path


def write_other(path: Path, side: int, outputs: int = 1) -> Path:
    """A file of another kind: a picture's mean, for an input of this side."""
    nodes = [helper.make_node("GlobalAveragePool", ["data"], ["mean"], "pool")]
    nodes += [helper.make_node("Flatten", ["mean"], [f"fc{number}"]) for number in range(outputs)]
    graph = helper.make_graph(
        nodes,
        "other",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["None", 3, side, side])],
        [helper.make_tensor_value_info(f"fc{number}", TensorProto.FLOAT, ["None", 3]) for number in range(outputs)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7), path)
    return path


def write_pack(folder: Path) -> Path:
    """The five files of buffalo_l."""
    folder.mkdir(parents=True)
    write_detector(folder / "det_10g.onnx")
    write_recogniser(folder / "w600k_r50.onnx")
    for name, side in (("1k3d68", 192), ("2d106det", 192), ("genderage", 96)):
        write_other(folder / f"{name}.onnx", side)
    return folder
