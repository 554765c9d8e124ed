"""Rounding with gradients straight through it, and gradients of learned scales (LSQ: Esser et al., 2019)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


class _Requantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, acc: Tensor, multiplier: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(acc, multiplier)
        ctx.bounds = low, high
        return (acc * multiplier).round_().clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        acc, multiplier = ctx.saved_tensors
        low, high = ctx.bounds
        real = acc * multiplier
        inside = torch.ops.aten.hardtanh_backward(grads[0], real, low, high)
        to_acc = inside * multiplier if ctx.needs_input_grad[0] else None
        to_multiplier = _summed_to(inside * acc, multiplier.shape) if ctx.needs_input_grad[1] else None
        return to_acc, to_multiplier, None, None


class _NormRequantize(torch.autograd.Function):
    """Saves the sums alone: what follows of them is an affine function of each channel, computed again going back."""

    @staticmethod
    def forward(
        ctx: Any, acc: Tensor, scale: Tensor, batch: Batch, gamma: Tensor, beta: Tensor, multiplier: Tensor
    ) -> Tensor:
        # torch's own loops over the batch are several times faster than its reductions.
        mean, variance = torch.batch_norm_update_stats(acc.movedim(-1, 1), None, None, 0.0)
        inverse = (variance * scale.square() + batch.epsilon).rsqrt()
        ctx.save_for_backward(acc, scale, gamma, beta, multiplier, mean, inverse)
        ctx.bounds = batch.low, batch.high
        count = acc.numel() // acc.shape[-1]
        batch.mean, batch.variance = mean * scale, variance * scale.square() * (count / max(count - 1, 1))
        factor = scale * inverse * gamma * multiplier
        return torch.addcmul(beta * multiplier - mean * factor, acc, factor).round_().clamp_(batch.low, batch.high)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        acc, scale, gamma, beta, multiplier, mean, inverse = ctx.saved_tensors
        unit = scale * inverse
        factor = unit * gamma * multiplier
        real = torch.addcmul(beta * multiplier - mean * factor, acc, factor)
        inside = torch.ops.aten.hardtanh_backward(grads[0], real, *ctx.bounds)
        # (acc - mean) · unit · (gamma · multiplier) + beta · multiplier: a BatchNorm of deviation 1 / unit.
        to_acc, along, total = torch.ops.aten.native_batch_norm_backward(
            inside.movedim(-1, 1), acc.movedim(-1, 1), gamma * multiplier, None, None, mean, unit, True, 0.0, [True] * 3
        )
        to_acc = to_acc.movedim(1, -1)
        to_scale = (to_acc * acc).sum(list(range(acc.ndim - 1))) / scale if ctx.needs_input_grad[1] else None
        to_multiplier = _summed_to(gamma * along + beta * total, multiplier.shape)
        return to_acc, to_scale, None, along * multiplier, total * multiplier, to_multiplier


@dataclass
class Batch:
    """A BatchNorm on a batch whose result is rounded: bounds of the codes, and what it found, mean and unbiased
    variance of the batch, [n]."""

    epsilon: float
    low: float
    high: float
    mean: Tensor = field(default_factory=lambda: torch.empty(0))
    variance: Tensor = field(default_factory=lambda: torch.empty(0))


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward((x >= low) & (x <= high))
        return x.round().clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside, None, None


class _As(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, smooth: Tensor, exact: Tensor) -> Tensor:
        return exact

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0], None


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (factor,) = ctx.saved_tensors
        return grads[0] * factor, None


def requantize(acc: Tensor, multiplier: Tensor, low: float, high: float) -> Tensor:
    """clamp(rne(acc · multiplier), low, high) in float32, as the kernels round; acc [..., n], multiplier [n] or [1].

    Inside the bounds the gradient of the rounding is 1, outside it is 0.
    """
    return _Requantize.apply(acc, multiplier, low, high)  # pyright: ignore[reportReturnType]


def norm_requantize(
    acc: Tensor, scale: Tensor, batch: Batch, gamma: Tensor, beta: Tensor, multiplier: Tensor
) -> Tensor:
    """clamp(rne(BatchNorm(acc · scale) · multiplier), low, high) with the statistics of the batch; gradients as in
    `requantize`. acc: [..., n]; scale, gamma, beta: [n]; multiplier: [1]."""
    return _NormRequantize.apply(acc, scale, batch, gamma, beta, multiplier)  # pyright: ignore[reportReturnType]


def round_within(x: Tensor, low: float, high: float) -> Tensor:
    """clamp(rne(x), low, high); gradients as in `requantize`."""
    return _Round.apply(x, low, high)  # pyright: ignore[reportReturnType]


def valued(smooth: Tensor, exact: Tensor) -> Tensor:
    """`exact` going forward, the gradient of `smooth` going back."""
    return _As.apply(smooth, exact)  # pyright: ignore[reportReturnType]


def with_gradient_scaled(x: Tensor, factor: Tensor) -> Tensor:
    """x, bit for bit, with a gradient `factor` times as large."""
    return _Scaled.apply(x, factor)  # pyright: ignore[reportReturnType]


def _summed_to(x: Tensor, shape: torch.Size) -> Tensor:
    """x summed over the axes that broadcasting has added to `shape`."""
    extra = x.ndim - len(shape)
    axes = [*range(extra), *(extra + i for i, n in enumerate(shape) if n == 1 and x.shape[extra + i] != 1)]
    return x.sum(axes, keepdim=True).reshape(shape) if axes else x
