"""A training step makes nothing beside the device that the module was moved to.

torch's "meta" device stands for a GPU: it refuses tensors of two devices as a GPU does, and has no values.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from bitlite import qat
from bitlite.qat import distillation
from bitlite.qat.sources import Fixed, Given, Moved, Norm, NormedWeight
from torch import nn


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.depthwise, self.plain = (
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
            nn.BatchNorm2d(8, affine=False),
        )
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        y = F.relu(self.bn(self.conv(x)))
        z = torch.cat([F.relu(self.plain(self.depthwise(y))) + y, torch.sigmoid(y) * y], 1)
        return self.fc(F.avg_pool2d(F.max_pool2d(z, 2), 2).mean((2, 3)))


class Sequences(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.rnn, self.norm = nn.Linear(8, 16), nn.LSTM(16, 16, batch_first=True), nn.LayerNorm(16)
        self.query, self.fc = nn.Linear(16, 16), nn.Linear(16, 5)

    def forward(self, x, h, c):
        y = self.norm(self.rnn(F.relu(self.inner(x)), (h[None], c[None]))[0])
        return self.fc(torch.softmax(self.query(y) @ y.transpose(1, 2), -1) @ y)


def _statistics(x, *_):
    """Of `torch.batch_norm_update_stats`, which has no form for "meta"."""
    variance, mean = torch.var_mean(x, [0, *range(2, x.ndim)], correction=0)
    return mean, variance


@pytest.mark.parametrize(
    "make, shapes, frozen, activations",
    [
        (Images, [(4, 3, 8, 8)], False, 8),
        (Images, [(4, 3, 8, 8)], True, 16),
        (Sequences, [(4, 6, 8), (4, 16), (4, 16)], True, 8),
    ],
    ids=["norms of the batch", "norms frozen", "sequences"],
)
def test_a_step_stays_on_the_device(make, shapes, frozen, activations, monkeypatch):
    monkeypatch.setattr(torch, "batch_norm_update_stats", _statistics)
    monkeypatch.setattr(distillation, "distributions", lambda values: False)
    torch.manual_seed(0)
    x = tuple(torch.randn(shape) for shape in shapes)
    net = make()
    module = qat.prepare(net, x, activations=activations, teacher=net).train()
    if frozen:
        module.freeze_norms()
    read_on_the_host = module.bitlite.zero_points
    module.to("meta")
    module.bitlite.zero_points = read_on_the_host
    y = module(*(a.to("meta") for a in x))
    (y.square().mean() + module.distillation_loss).backward()
    assert y.device.type == "meta" and next(net.parameters()).device.type == "cpu"
    given = dict(module.named_parameters())
    assert all(given[name].grad is not None for name, _ in net.named_parameters())
    assert {p.grad.device.type for p in given.values() if p.grad is not None} == {"meta"}
    torch.optim.Adam(module.parameters()).step()


def test_constants_that_no_parameter_decides_are_beside_those_of_parameters():
    given = {name: torch.ones(4, device="meta") for name in ("weight", "mean", "variance")}
    ones = Fixed(torch.ones(4).numpy())
    norm = Norm("bn", ones, ones, Given("mean"), Given("variance"), 1e-5)
    joined = Moved((Given("weight"), ones), torch.arange(8).numpy(), None)
    assert joined.value(given).device.type == NormedWeight(Given("weight"), norm).value(given).device.type == "meta"
