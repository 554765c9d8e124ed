"""Ranges kept small in float training, so that what is rounded later loses little.

A layer is given bounds by giving it a class of its own: its parameters keep their names, and reading one gives its
value within the bound. So a state dict is that of the plain layer, and whatever computes on it sees bounded values.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..converter.errors import UsageError

LAYERS: tuple[type[nn.Module], ...] = (
    nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d,
    nn.LSTM, nn.GRU,
)  # fmt: skip

BOUNDS = ("normalize_data", "normalize_weight", "normalize_bias")
_classes: dict[type[nn.Module], type[nn.Module]] = {}


class _Within(torch.autograd.Function):
    """x within ±bound. Of a value outside the gradient passes where descent leads it back, else it would stay there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(-bound, bound)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,), (gradient,) = ctx.saved_tensors, gradients
        away = ((x > ctx.bound) & (gradient < 0)) | ((x < -ctx.bound) & (gradient > 0))
        return gradient.masked_fill(away, 0.0), None


def within(x: Tensor, bound: float | None) -> Tensor:
    return x if bound is None else _Within.apply(x, bound)


def clamp(
    model: nn.Module,
    value: float | None = None,
    *,
    weight: float | None = None,
    bias: float | None = None,
    output: float | None = None,
    layers: Iterable[type[nn.Module]] = LAYERS,
) -> nn.Module:
    """A copy of a float model whose layers keep weights, biases and outputs within bounds, to be trained as it is.

    Args:
        value: the bound ±value of all three. weight, bias, output: of one, instead. None sets none.
        layers: classes of layers that are bounded.
    Raises:
        UsageError: a bound is no positive number.
    """
    bounds = {name: value if own is None else own for name, own in zip(BOUNDS, (output, weight, bias))}
    for name, bound in bounds.items():
        check_bound(name, bound)
    twin = copy.deepcopy(model)
    for module in list(twin.modules()):
        if isinstance(module, tuple(layers)):
            bound_layer(module, **bounds)
    return twin


def check_bound(name: str, bound: float | None) -> None:
    if bound is None:
        return
    if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not 0 < bound < math.inf:
        raise UsageError(f"{name}={bound!r}, allowed is a number above 0")


def bound_layer(
    module: nn.Module,
    normalize_data: float | None = None,
    normalize_weight: float | None = None,
    normalize_bias: float | None = None,
) -> nn.Module:
    """Gives the layer bounds, in place."""
    if not is_bounded(module):
        module.__class__ = _bounded(type(module))
    for name, bound in zip(BOUNDS, (normalize_data, normalize_weight, normalize_bias)):
        setattr(module, name, bound)
    return module


def is_bounded(module: nn.Module) -> bool:
    return type(module) in _classes.values()


def unclamped(model: nn.Module) -> nn.Module:
    """A copy of plain layers whose parameters are within their bounds; outputs have none."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for module in list(twin.modules()):
            if is_bounded(module):
                for name, parameter in module.named_parameters(recurse=False):
                    parameter.copy_(getattr(module, name))
                module.__class__ = type(module).__bases__[0]
            for name in BOUNDS:
                if hasattr(module, name):
                    setattr(module, name, None)
    return twin


def output_bounds(model: nn.Module) -> dict[str, float]:
    """The names of submodules whose outputs are bounded, with the bound."""
    named = {name: getattr(module, BOUNDS[0], None) for name, module in model.named_modules() if name}
    return {name: float(bound) for name, bound in named.items() if isinstance(bound, (int, float))}


def _bounded(plain: type[nn.Module]) -> type[nn.Module]:
    """The class of a bounded layer: `plain` but for what its parameters and its output are."""
    if plain not in _classes:
        recurrent = issubclass(plain, nn.RNNBase)

        def forward(self: Any, *inputs: Any, **named: Any) -> Any:
            if recurrent:  # which multiplies by a list of its own
                self._flat_weights = [getattr(self, name) for name in self._flat_weights_names]
            result = plain.forward(self, *inputs, **named)
            if isinstance(result, tuple):
                return within(result[0], self.normalize_data), *result[1:]
            return within(result, self.normalize_data)

        def extra_repr(self: Any) -> str:
            said = [f"{name}={getattr(self, name)}" for name in BOUNDS]
            return ", ".join([*filter(None, [plain.extra_repr(self)]), *said])

        members: dict[str, Any] = {"forward": forward, "extra_repr": extra_repr, "__doc__": plain.__doc__}
        if recurrent:
            kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ends = [f"_l{k}{side}" for k in range(16) for side in ("", "_reverse")]
            members |= {kind + end: _parameter(kind + end) for kind in kinds for end in ends}
        else:
            members |= {name: _parameter(name) for name in ("weight", "bias")}
        _classes[plain] = type(f"Normalize{plain.__name__}", (plain,), members)
    return _classes[plain]


def _parameter(name: str) -> property:
    bound = BOUNDS[2 if name.startswith("bias") else 1]

    def read(self: Any) -> Tensor | None:
        own = self._parameters.get(name)
        return None if own is None else within(own, getattr(self, bound, None))

    def write(self: Any, value: Any) -> None:
        self._parameters[name] = value

    return property(read, write)
