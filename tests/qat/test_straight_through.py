"""Gradients that are written by hand, against those of what they stand for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from bitlite.qat.straight_through import Batch, norm_requantize, requantize


@pytest.fixture
def values():
    torch.manual_seed(4)
    acc = (torch.randn(6, 5, 4) * 40).requires_grad_()
    scale = torch.tensor([0.02, 0.3, -0.01, 0.004]).requires_grad_()
    gamma = torch.tensor([1.0, 0.5, -0.7, 1.5]).requires_grad_()
    beta = torch.tensor([0.1, -0.2, 0.0, 0.3]).requires_grad_()
    multiplier = torch.tensor([40.0]).requires_grad_()
    return acc, scale, gamma, beta, multiplier


def composed(acc, scale, gamma, beta, multiplier, mean, variance):
    u = (acc * scale).movedim(-1, 1)
    return requantize(F.batch_norm(u, mean, variance, gamma, beta, True, 0.1, 1e-3).movedim(1, -1), multiplier, -60, 50)


def test_a_norm_of_the_batch_is_rounded_as_its_parts_are_and_has_their_gradients(values):
    acc, scale, gamma, beta, multiplier = values
    mean, variance, weights = torch.zeros(4), torch.ones(4), torch.randn(6, 5, 4)
    batch = Batch(1e-3, -60, 50)
    codes = norm_requantize(acc, scale, batch, gamma, beta, multiplier)
    (codes * weights).sum().backward()
    mine = [t.grad.clone() for t in values]
    for t in values:
        t.grad = None
    expected = composed(*values, mean, variance)
    (expected * weights).sum().backward()
    assert (codes != expected).float().mean() < 0.02 and (codes - expected).abs().max() <= 1
    assert codes.min() == -60 and codes.max() == 50
    for got, t in zip(mine, values):
        assert torch.allclose(got, t.grad, rtol=1e-3, atol=1e-3 * float(t.grad.abs().max()) + 1e-6)
    assert torch.allclose(0.1 * batch.mean, mean, atol=1e-6)
    assert torch.allclose(0.9 + 0.1 * batch.variance, variance, rtol=1e-5)


def test_it_keeps_the_sums_alone(values):
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        norm_requantize(values[0], values[1], Batch(1e-3, -60, 50), *values[2:])
    assert sum(n >= values[0].numel() for n in kept) == 1
