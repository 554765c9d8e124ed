"""Images that change, and targets that change with them."""

from __future__ import annotations

import pytest
import torch
from bitlite.qat.augment import AUGMENT, augmented


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_a_flip_turns_some_images_and_no_others(generator):
    x = torch.randn(32, 2, 4, 5)
    y, _ = AUGMENT["flip"](x, None, generator)
    turned = [bool(torch.equal(a, b.flip(2))) for a, b in zip(y, x)]
    kept = [bool(torch.equal(a, b)) for a, b in zip(y, x)]
    assert any(turned) and any(kept) and all(a != b for a, b in zip(turned, kept))


def test_a_shift_moves_an_image_by_up_to_an_eighth(generator):
    x = torch.zeros(64, 1, 16, 16)
    x[:, 0, 8, 8] = 1
    y, _ = AUGMENT["shift"](x, None, generator)
    places = y.nonzero()[:, 2:] - 8
    assert len(places) == 64 and int(places.abs().max()) == 2 and len(places.unique(dim=0)) > 16


def test_a_mix_takes_targets_in_the_same_shares(generator):
    targets = torch.eye(8)
    x = targets.reshape(8, 8, 1, 1)
    y, mixed = AUGMENT["mix"](x, targets, generator)
    assert torch.allclose(y.reshape(8, 8), mixed)
    assert torch.allclose(mixed.sum(1), torch.ones(8))
    assert (mixed.diagonal() >= 0.5).all() and (mixed.diagonal() < 1).any()


def test_channels_may_lie_last(generator):
    x = torch.randn(4, 6, 5, 3)
    y, _ = augmented(["flip", "shift"], x, None, "NHWC", generator)
    again = torch.Generator().manual_seed(0)
    other, _ = augmented(["flip", "shift"], x.movedim(-1, 1), None, "NCHW", again)
    assert torch.equal(y, other.movedim(1, -1))
