"""Learned scales: each is the calibrated one times a ratio that is trained (LSQ, one per tensor or output channel).

A ratio takes relative steps under Adam, whatever its tensor's range; its gradient is such that plain SGD moves the
scale as LSQ does, with the gradient scaled by 1/sqrt(N · Qmax).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .straight_through import with_gradient_scaled

_LEAST = 1.0 / 64
"""A scale never becomes smaller than this part of the calibrated one, nor negative."""


class Scales(nn.Module):
    """A vector of learned scales.

    Args:
        initial: float32 [n], positive. elements: how many values each scale rounds; qmax: the largest code of each.
        fixed: which of them are given by their operator and not learned.
    """

    base: Tensor
    factor: Tensor

    def __init__(
        self, initial: Tensor, elements: Sequence[int], qmax: Sequence[int], fixed: Sequence[bool] | None = None
    ) -> None:
        super().__init__()
        self.ratio = nn.Parameter(torch.ones_like(initial))
        self.register_buffer("base", initial.clone())
        lsq = torch.tensor([max(n, 1) * most for n, most in zip(elements, qmax)], dtype=torch.float64).rsqrt()
        factor = lsq / initial.double().square()
        if fixed is not None:
            factor = factor * torch.tensor([not f for f in fixed], dtype=torch.float64)
        self.register_buffer("factor", factor.float().clamp(max=1e30), persistent=False)

    @torch.no_grad()
    def take(self, other: Scales) -> None:
        """Begins anew where `other` begins."""
        for mine, value in ((self.base, other.base), (self.ratio, other.ratio), (self.factor, other.factor)):
            mine.copy_(value)

    def forward(self) -> Tensor:
        """The scales, float32 [n]."""
        return self.base * with_gradient_scaled(self.ratio, self.factor).clamp(min=_LEAST)
