"""Constants of a graph as functions of a module's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

Values = Mapping[str, Tensor]
"""Parameters and buffers by name."""


class Source(Protocol):
    """Where a constant's values come from."""

    def value(self, given: Values) -> Tensor: ...


@dataclass(frozen=True)
class Given:
    """A parameter as it is."""

    name: str

    def value(self, given: Values) -> Tensor:
        return given[self.name]


@dataclass(frozen=True)
class Fixed:
    """What no parameter decides."""

    data: np.ndarray

    def value(self, given: Values) -> Tensor:
        # Beside the parameters that it may be joined with.
        first = next(iter(given.values()), None)
        return torch.from_numpy(np.array(self.data)).to("cpu" if first is None else first.device)


@dataclass(frozen=True)
class Norm:
    """A BatchNorm: its scale, offset, running mean and variance [C], each a source; `name` is that of its module."""

    name: str
    scale: Source
    offset: Source
    mean: Source
    variance: Source
    epsilon: float

    def factor(self, given: Values) -> Tensor:
        """gamma / sqrt(running variance + epsilon) [C]."""
        return self.scale.value(given) / (self.variance.value(given) + self.epsilon).sqrt()


@dataclass(frozen=True)
class NormedWeight:
    """A layer's weight times its BatchNorm's factor; the output channels lie on `axis`, or, of a transposed
    convolution in `groups`, on axes 0 and 1."""

    weight: Source
    norm: Norm
    axis: int = 0
    groups: int = 1

    def value(self, given: Values) -> Tensor:
        w, factor = self.weight.value(given), self.norm.factor(given)
        if self.groups > 1 and self.axis == 1:
            parts = w.reshape(self.groups, -1, *w.shape[1:])
            by_group = factor.reshape(self.groups, 1, w.shape[1], *[1] * (w.ndim - 2))
            return (parts * by_group).reshape(w.shape)
        shape = [1] * w.ndim
        shape[self.axis] = -1
        return w * factor.reshape(shape)


@dataclass(frozen=True)
class NormedBias:
    """offset + (bias - running mean) · factor [C]."""

    bias: Source | None
    norm: Norm

    def value(self, given: Values) -> Tensor:
        centre = -self.norm.mean.value(given)
        if self.bias is not None:
            centre = centre + self.bias.value(given)
        return self.norm.offset.value(given) + centre * self.norm.factor(given)


@dataclass(frozen=True)
class Moved:
    """Elements of other sources, joined and flattened, in the places of `index`; `axes` says it as a permutation of
    the one source's axes, where it is one."""

    parts: tuple[Source, ...]
    index: np.ndarray
    axes: tuple[int, ...] | None

    def value(self, given: Values) -> Tensor:
        if self.axes is not None:
            return self.parts[0].value(given).permute(self.axes).reshape(self.index.shape)
        flat = [part.value(given).reshape(-1) for part in self.parts]
        joined = flat[0] if len(flat) == 1 else torch.cat(flat)
        index = torch.from_numpy(self.index).to(joined.device)
        if self.index.size == len(joined):
            return _Permuted.apply(joined, index)  # pyright: ignore[reportReturnType]
        return joined[index]


class _Permuted(torch.autograd.Function):
    """x[index] where every element appears once, so that the gradient is a gathering, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return x[index]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (index,) = ctx.saved_tensors
        back = torch.empty(index.numel(), dtype=grads[0].dtype, device=grads[0].device)
        back[index.reshape(-1)] = grads[0].reshape(-1)
        return back, None


def norm_of(source: Source) -> Norm | None:
    """The BatchNorm that a weight or bias has taken in."""
    if isinstance(source, (NormedWeight, NormedBias)):
        return source.norm
    if isinstance(source, Moved) and len(source.parts) == 1:
        return norm_of(source.parts[0])
    return None
