"""ResNet-8 of MLPerf Tiny as a torch module with the weights of its .onnx, whose BatchNorms are folded."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import nn


class ResNet8(nn.Module):
    """Images [N, 3, 32, 32] to logits [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.first = nn.ModuleList([nn.Conv2d(16, 16, 3, padding=1), *_widening(16, 32), *_widening(32, 64)])
        self.second = nn.ModuleList(nn.Conv2d(n, n, 3, padding=1) for n in (16, 32, 64))
        self.dense = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        plain, skip2, first2, skip3, first3 = self.first
        x = F.relu(self.stem(x))
        x = F.relu(x + self.second[0](F.relu(plain(x))))
        for k, skip, first in ((1, skip2, first2), (2, skip3, first3)):
            x = F.relu(skip(x) + self.second[k](F.relu(first(F.pad(x, (0, 1, 0, 1))))))
        return self.dense(x.mean((2, 3)))


def _widening(narrow: int, wide: int) -> list[nn.Module]:
    return [nn.Conv2d(narrow, wide, 1, stride=2), nn.Conv2d(narrow, wide, 3, stride=2)]


def resnet8(file: Path) -> ResNet8:
    """The module, in evaluation; layers of the .onnx are taken in order."""
    model, net = onnx.load(file), ResNet8()
    held = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
    layers = [[held[i] for i in n.input if i in held] for n in model.graph.node if n.op_type in ("Conv", "MatMul")]
    last = next(n for n in reversed(model.graph.node) if n.op_type == "Add")
    layers[-1] = [layers[-1][0].T, *(held[i] for i in last.input if i in held)]
    plain, *widening = net.first
    order = [net.stem, plain, net.second[0], *widening[:2], net.second[1], *widening[2:], net.second[2], net.dense]
    for layer, (weight, bias) in zip(order, layers, strict=True):
        layer.load_state_dict({"weight": weight, "bias": bias})
    return net.eval()
