"""Whether what is trained is what is written, for each kind of layer: codes of the module beside those of a Session.

    python benchmarks/qat_codes.py [--inputs 100] [--steps 5]

Each small network is trained for some steps with weights of 4 bits and activations of 8 and of 16, then run on 100
inputs. Prints one markdown table: the codes of all tensors, how many differ, and how many rest on a value that float32
rounds either way, with the tensors that have them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
from bitlite import qat
from torch import Tensor, nn


class Net(nn.Module):
    """Layers, and what is computed with them."""

    def __init__(self, run: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._run = run

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, **dict(self.named_children()))


def _classes(y: Tensor, fc: nn.Module) -> Tensor:
    return fc(y.mean(tuple(range(2, y.ndim))))


def _attention(x: Tensor, norm: nn.Module, query: nn.Module, fc: nn.Module) -> Tensor:
    y = norm(x)
    return fc((torch.softmax(query(y) @ y.transpose(1, 2), -1) @ y).mean(1))


_IMAGE, _LINE, _STEPS = (3, 12, 12), (3, 24), (6, 8)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Conv1d": (
        lambda: Net(
            lambda x, conv, bn, fc: _classes(F.relu(bn(conv(x))), fc),
            conv=nn.Conv1d(3, 8, 3, padding=1), bn=nn.BatchNorm1d(8), fc=nn.Linear(8, 4),
        ),
        _LINE,
    ),
    "Conv2d": (
        lambda: Net(
            lambda x, conv, bn, fc: _classes(F.relu(bn(conv(x))), fc),
            conv=nn.Conv2d(3, 8, 3, 2, 1), bn=nn.BatchNorm2d(8), fc=nn.Linear(8, 4),
        ),
        _IMAGE,
    ),
    "depthwise": (
        lambda: Net(
            lambda x, conv, deep, bn, fc: _classes(F.relu6(bn(deep(F.relu(conv(x))))), fc),
            conv=nn.Conv2d(3, 8, 1), deep=nn.Conv2d(8, 8, 3, padding=1, groups=8), bn=nn.BatchNorm2d(8),
            fc=nn.Linear(8, 4),
        ),
        _IMAGE,
    ),
    "ConvTranspose1d": (
        lambda: Net(
            lambda x, up, fc: _classes(F.relu(up(x)), fc), up=nn.ConvTranspose1d(3, 8, 4, 2, 1), fc=nn.Linear(8, 4)
        ),
        _LINE,
    ),
    "ConvTranspose2d": (
        lambda: Net(
            lambda x, up, bn, fc: _classes(F.relu(bn(up(x))), fc),
            up=nn.ConvTranspose2d(3, 8, 4, 2, 1), bn=nn.BatchNorm2d(8), fc=nn.Linear(8, 4),
        ),
        _IMAGE,
    ),
    "Linear": (
        lambda: nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16), nn.Sigmoid(), nn.Linear(16, 4)),
        (16,),
    ),
    "LSTM": (
        lambda: Net(
            lambda x, inner, rnn, fc: fc(rnn(F.relu(inner(x)))[0][:, -1]),
            inner=nn.Linear(8, 16), rnn=nn.LSTM(16, 16, batch_first=True), fc=nn.Linear(16, 4),
        ),
        _STEPS,
    ),
    "GRU": (
        lambda: Net(
            lambda x, inner, rnn, fc: fc(rnn(F.relu(inner(x)))[0][:, -1]),
            inner=nn.Linear(8, 16), rnn=nn.GRU(16, 16, batch_first=True), fc=nn.Linear(16, 4),
        ),
        _STEPS,
    ),
    "Add": (
        lambda: Net(
            lambda x, a, b, fc: _classes(F.relu(a(x) + b(F.relu(a(x)))), fc),
            a=nn.Conv2d(3, 8, 3, padding=1), b=nn.Conv2d(8, 8, 3, padding=1), fc=nn.Linear(8, 4),
        ),
        _IMAGE,
    ),
    "Cat": (
        lambda: Net(
            lambda x, a, b, fc: _classes(torch.cat([F.relu(a(x)), torch.sigmoid(b(x))], 1), fc),
            a=nn.Conv2d(3, 8, 3, padding=1), b=nn.Conv2d(3, 8, 1), fc=nn.Linear(16, 4),
        ),
        _IMAGE,
    ),
    "pools": (
        lambda: Net(
            lambda x, a, fc: _classes(F.avg_pool2d(F.max_pool2d(F.relu(a(x)), 2), 3, 2, 1), fc),
            a=nn.Conv2d(3, 8, 3, padding=1), fc=nn.Linear(8, 4),
        ),
        _IMAGE,
    ),
    "LayerNorm": (
        lambda: nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 4)),
        (16,),
    ),
    "matmul": (
        lambda: Net(_attention, norm=nn.LayerNorm(8), query=nn.Linear(8, 8), fc=nn.Linear(8, 4)),
        _STEPS,
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100)
    parser.add_argument("--steps", type=int, default=5)
    args = parser.parse_args()
    print("| | activations | tensors | codes | other | rounded either way |\n|---|---|---|---|---|---|")
    for name, (make, shape) in NETWORKS.items():
        for activations in (8, 16):
            torch.manual_seed(0)
            net, x = make(), torch.randn(args.inputs, *shape)
            module = qat.prepare(net, x[:2], data=x, weights=4, activations=activations).train()
            optimizer = torch.optim.Adam(module.parameters(), 1e-3)
            for _ in range(args.steps):
                optimizer.zero_grad()
                F.cross_entropy(module(x), torch.arange(len(x)) % 4).backward()
                optimizer.step()
            found = qat.verify(module.eval(), x)
            ties = ", ".join(f"{count} of {tensor}" for tensor, count in found.ties.items())
            other = sum(found.other.values())
            print(
                f"| {name} | {activations} bits | {len(found.tensors)} | {found.codes} | {other} | {ties or 0} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
