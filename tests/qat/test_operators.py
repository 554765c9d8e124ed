"""Layers beyond 2-D convolutions: gradients reach every parameter, and the codes are those of a Session."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from bitlite import qat
from torch import nn


class Recurrent(nn.Module):
    def __init__(self, kind) -> None:
        super().__init__()
        self.inner, self.rnn, self.fc = nn.Linear(8, 16), kind(16, 16, batch_first=True), nn.Linear(16, 5)

    def forward(self, x):
        return self.fc(self.rnn(F.relu(self.inner(x)))[0][:, -1])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv1d(4, 8, 3, padding=1), nn.ConvTranspose1d(8, 8, 4, 2, 1)
        self.norm, self.query, self.out = nn.LayerNorm(16), nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        y = self.norm(F.gelu(self.up(F.relu(self.conv(x)))))
        return self.out(torch.softmax(self.query(y) @ y.transpose(1, 2), -1) @ y)


@pytest.mark.parametrize(
    "make, shape, tensors",
    [
        (lambda: Recurrent(nn.LSTM), (8, 6, 8), 3),
        (lambda: Recurrent(nn.GRU), (8, 6, 8), 3),
        (Attention, (8, 4, 8), 9),
    ],
    ids=["lstm", "gru", "attention"],
)
def test_a_network_trains_and_its_codes_are_those_of_a_session(make, shape, tensors):
    torch.manual_seed(0)
    net, x = make(), torch.randn(shape)
    module = qat.prepare(net, x, data=x, weights=8).train()
    module(x).square().mean().backward()
    given = dict(module.named_parameters())
    assert all(given[name].grad is not None and given[name].grad.any() for name, _ in net.named_parameters())
    found = qat.verify(module.eval(), x)
    assert found.other == {} and len(found.tensors) == tensors
    assert (module(x) - net(x)).abs().max() < 0.1


@pytest.mark.parametrize(
    "make, shape",
    [(lambda: Recurrent(nn.LSTM), (64, 6, 8)), (lambda: Recurrent(nn.GRU), (64, 6, 8)), (Attention, (64, 4, 8))],
    ids=["lstm", "gru", "attention"],
)
def test_float_parts_between_codes_of_16_bits_differ_by_ties_alone(make, shape):
    torch.manual_seed(0)
    net, x = make(), torch.randn(shape)
    module = qat.prepare(net, x[:8], data=x, activations=16).eval()
    found = qat.verify(module, x)
    assert found.other == {} and sum(found.ties.values()) < 0.002 * found.codes
    assert ("rounds either way" in str(found)) == bool(found.ties)
    assert (module(x) - net(x)).abs().max() < 0.05
