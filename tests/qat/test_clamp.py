"""Bounds of float training: what they hold back, and that integers keep them."""

from __future__ import annotations

import pytest
import torch
from bitlite import qat
from bitlite.converter.errors import UsageError
from torch import nn


class Wide(nn.Module):
    """A network whose weights and outputs are far beyond 1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.fc = nn.Linear(6, 4)
        with torch.no_grad():
            self.conv.weight.mul_(20)
            self.fc.bias[0] = 9.0

    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).mean((2, 3)))


@pytest.fixture
def images():
    return torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def wide():
    torch.manual_seed(2)
    return Wide()


def test_a_bounded_model_has_the_names_and_leaves_the_model_alone(wide, images):
    before = wide(images)
    bounded = qat.clamp(wide, 1.0)
    assert list(bounded.state_dict()) == list(wide.state_dict())
    assert bounded.conv.normalize_data == 1.0 and "normalize_weight=1.0" in repr(bounded)
    assert torch.equal(wide(images), before)


def test_weights_biases_and_outputs_are_within_their_bounds(wide, images):
    bounded = qat.clamp(wide, weight=0.5, bias=0.25, output=2.0)
    assert bounded.conv.weight.abs().max() == 0.5 and bounded.fc.bias.abs().max() == 0.25
    seen = []
    bounded.conv.register_forward_hook(lambda module, args, result: seen.append(result.abs().max()))
    assert bounded(images).abs().max() <= 2.0 and seen[0] == 2.0


def test_a_value_outside_moves_only_towards_the_bound(wide):
    bounded = qat.clamp(wide, weight=0.5)
    outside = bounded.conv._parameters["weight"] > 0.5
    bounded.conv.weight.sum().backward()
    assert (bounded.conv._parameters["weight"].grad[outside] == 1).all()
    bounded.zero_grad()
    (-bounded.conv.weight).sum().backward()
    assert (bounded.conv._parameters["weight"].grad[outside] == 0).all()


def test_recurrent_layers_multiply_by_bounded_weights():
    torch.manual_seed(0)
    bounded = qat.clamp(nn.LSTM(3, 5, batch_first=True, bidirectional=True), weight=0.1, bias=0.1)
    plain = nn.LSTM(3, 5, batch_first=True, bidirectional=True)
    plain.load_state_dict({name: value.clamp(-0.1, 0.1) for name, value in bounded.state_dict().items()})
    x = torch.randn(2, 4, 3)
    assert torch.equal(bounded(x)[0], plain(x)[0])
    bounded(x)[0].sum().backward()
    assert bounded._parameters["weight_hh_l0_reverse"].grad is not None


def test_integers_of_a_bounded_model_keep_its_bounds(wide, images):
    module = qat.prepare(wide, images[:1], data=images, clamp=1.0)
    real = module.graph()
    largest = {t.name: float((t.real() if t.dtype == "i1" else t.value).max()) for t in real.constants() if t.rank == 4}
    assert largest and all(value <= 1.0 + 1e-6 for value in largest.values())
    outputs = [t for node in real.nodes if node.op == "Conv2D" or node.op == "Conv" for t in node.outputs]
    assert outputs and all(float(t.qparams.scale[0]) * 255 <= 2.0 + 1e-5 for t in outputs)
    assert qat.verify(module, images).other == {}


def test_a_state_dict_of_bounded_training_fits_the_integers(wide, images, trained):
    bounded = qat.clamp(wide, 1.0)
    trained(bounded, images)
    module = qat.prepare(bounded, images[:1], data=images)
    fresh = qat.prepare(wide, images[:1], data=images, clamp=1.0)
    assert not fresh.load_state_dict(bounded.state_dict(), strict=False).unexpected_keys
    assert torch.equal(fresh.conv.weight, module.conv.weight)


@pytest.mark.parametrize("bound", [0, -1.0, float("nan"), float("inf"), "8", True])
def test_a_bound_is_a_positive_number(wide, bound):
    with pytest.raises(UsageError, match="allowed is a number above 0"):
        qat.clamp(wide, bound)
