"""Rounding with gradients straight through it, and gradients of learned scales (LSQ: Esser et al., 2019)."""

from __future__ import annotations

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
        inside = grads[0] * ((real >= low) & (real <= high))
        to_acc = inside * multiplier if ctx.needs_input_grad[0] else None
        to_multiplier = _summed_to(inside * acc, multiplier.shape) if ctx.needs_input_grad[1] else None
        return to_acc, to_multiplier, None, None


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
