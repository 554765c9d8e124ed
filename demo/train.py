"""Trains the demo network and writes what `make demo` needs:  python demo/train.py [FOLDER]

A LeNet-class network (two convolutions with BatchNorm, a depthwise one, two dense layers; 60,000 multiply-adds) on the
1,797 handwritten digits (8×8, 0..16) that come with scikit-learn. Needs torch, onnx, scikit-learn; takes about a
minute.

    digits.onnx             the network, float32, NCHW, symbolic batch
    calibration/*.bin       100 training images, raw float32 [1,1,8,8]
    heldout.npz             x float32 [360,1,8,8] and y int64 [360]: images that training never saw
"""

from __future__ import annotations

import os
import sys

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from torch import nn

SEED, EPOCHS, HELD_OUT, CALIBRATION = 0, 60, 360, 100


def network() -> nn.Sequential:
    """Layers in the order in which `export` writes them."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False), nn.BatchNorm2d(32), nn.ReLU6(),
        nn.Conv2d(32, 48, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(48), nn.ReLU(),
        nn.Flatten(), nn.Linear(48 * 16, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def augment(x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Shifts each image by up to one pixel."""
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    dy, dx = (torch.randint(0, 3, (len(x),), generator=rng) for _ in range(2))
    return torch.stack([padded[i, :, dy[i] : dy[i] + 8, dx[i] : dx[i] + 8] for i in range(len(x))])


def train(x: np.ndarray, y: np.ndarray) -> nn.Sequential:
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    rng = torch.Generator().manual_seed(SEED)
    model, images, labels = network(), torch.from_numpy(x), torch.from_numpy(y)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=EPOCHS * -(-len(x) // 64))
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x), generator=rng).split(64):
            loss = nn.functional.cross_entropy(model(augment(images[rows], rng)), labels[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def export(model: nn.Sequential) -> onnx.ModelProto:
    nodes, constants, value = [], [], "image"

    def constant(name: str, tensor: torch.Tensor) -> str:
        constants.append(numpy_helper.from_array(tensor.detach().numpy().astype(np.float32), name))
        return name

    names = iter(
        ["conv1", "bn1", "relu1", "dw2", "bn2", "relu2", "conv3", "bn3", "relu3", "flatten", "fc4", "relu4", "logits"]
    )
    for layer in model:
        name = next(names)
        if isinstance(layer, nn.Conv2d):
            attrs = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": list(layer.stride), "group": layer.groups}
            made = helper.make_node("Conv", [value, constant(f"{name}.weight", layer.weight)], [name], name, **attrs)
        elif isinstance(layer, nn.BatchNorm2d):
            parts = {"scale": layer.weight, "bias": layer.bias, "mean": layer.running_mean, "var": layer.running_var}
            inputs = [value, *(constant(f"{name}.{k}", v) for k, v in parts.items())]
            made = helper.make_node("BatchNormalization", inputs, [name], name, epsilon=layer.eps)
        elif isinstance(layer, nn.ReLU6):
            limits = [constant(f"{name}.{k}", torch.tensor(v)) for k, v in (("min", 0.0), ("max", 6.0))]
            made = helper.make_node("Clip", [value, *limits], [name], name)
        elif isinstance(layer, nn.Linear):
            inputs = [value, constant(f"{name}.weight", layer.weight), constant(f"{name}.bias", layer.bias)]
            made = helper.make_node("Gemm", inputs, [name], name, transB=1)
        else:
            made = helper.make_node(
                {"ReLU": "Relu"}.get(type(layer).__name__, type(layer).__name__), [value], [name], name
            )
        nodes.append(made)
        value = name
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "digits", [image], [logits], constants)
    made = helper.make_model(graph, producer_name="bitlite demo", opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.checker.check_model(made, full_check=True)
    return made


def main(folder: str) -> None:
    digits = load_digits()
    x = (digits.images.astype(np.float32) / 16)[:, None]
    y = digits.target.astype(np.int64)
    order = np.random.default_rng(SEED).permutation(len(x))
    held, rest = order[:HELD_OUT], order[HELD_OUT:]
    model = train(x[rest], y[rest])
    with torch.no_grad():
        right = (model(torch.from_numpy(x[held])).argmax(1).numpy() == y[held]).mean()
    print(f"held-out accuracy {right:.4f} of {HELD_OUT}")
    os.makedirs(os.path.join(folder, "calibration"), exist_ok=True)
    onnx.save(export(model), os.path.join(folder, "digits.onnx"))
    np.savez_compressed(os.path.join(folder, "heldout.npz"), x=x[held], y=y[held])
    for k, i in enumerate(rest[:CALIBRATION]):
        x[i : i + 1].tofile(os.path.join(folder, "calibration", f"digit_{k:03d}.bin"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__)))
