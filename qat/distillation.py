"""Distillation: how far outputs are from those of a teacher."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_LEAST = 1e-7


def distance(mine: Tensor, wanted: Tensor) -> Tensor:
    """Of one output: the divergence KL(wanted ‖ mine) where rows are distributions, else the mean squared error in
    units of the teacher's variance. A scalar with gradients for `mine`."""
    if _distributions(wanted):
        return (wanted * ((wanted + _LEAST).log() - (mine + _LEAST).log())).sum(-1).mean()
    return (mine - wanted).square().mean() / wanted.var().clamp(min=1e-12)


def _distributions(t: Tensor) -> bool:
    if t.ndim < 2 or t.shape[-1] < 2 or bool((t < 0).any()):
        return False
    total = t.sum(-1)
    return bool(torch.allclose(total, torch.ones_like(total), atol=1e-3))


class Teacher:
    """A float model, in evaluation mode, that is no part of the module that it teaches."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model.eval()

    def loss(self, inputs: tuple[Tensor, ...], outputs: Any) -> Tensor:
        """The sum of the distances of all outputs."""
        with torch.no_grad():
            wanted = self._model(*inputs)
        mine = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        theirs = wanted if isinstance(wanted, (tuple, list)) else (wanted,)
        return torch.stack([distance(a, b) for a, b in zip(mine, theirs)]).sum()
