"""The names of linger's workflows over `bitlite.qat`: bounded float training, then training on integers.

    from bitlite.qat import linger
    linger.trace_layers(net, net, example)
    net = linger.normalize_layers(net)           # stage 1: bounded floats
    net = linger.init(net)                       # stage 2: a QatModule, after the same calls
    net.load_state_dict(torch.load("stage1.pt"))

Nothing of torch is patched. `init` makes integers of the whole network but for layers that are not asked for; scales
are learned, not powers of two, and `bitlite.qat.export` writes the file.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from torch import Tensor, nn

from ..converter.errors import UsageError
from .clamp import BOUNDS, LAYERS, bound_layer, check_bound, within
from .conv_norms import JOINED, EmptyBatchNorm, NormalizeConvBN1d, NormalizeConvBN2d, join, take_plain_names
from .module import QatModule
from .prepare import skeleton_of_model

Layers = type[nn.Module] | Iterable[type[nn.Module]]

QUANTIZED: tuple[type[nn.Module], ...] = (*LAYERS, *JOINED)
_UNBOUNDED, _IN_FLOAT = "_bitlite_unbounded", "_bitlite_in_float"
_EXAMPLE, _JOINED = "_bitlite_example", "_bitlite_joined"


class QuantMode(Enum):
    """linger's arithmetics; all are taken for the one there is, learned scales."""

    QValue = "QValue"


def trace_layers(root: nn.Module, model: nn.Module, example: Any, *, fuse_bn: bool = True) -> None:
    """Joins each convolution and the BatchNorm that alone reads it, in place: the convolution's name then holds a
    NormalizeConvBN2d (`conv.conv…`, `conv.bn…` in state dicts), the BatchNorm's an EmptyBatchNorm. A state dict of the
    network as it was loads, too.

    Args:
        root: what runs. model: the part of it that is changed. example: the inputs of root, kept for `init`.
    """
    inputs = tuple(example) if isinstance(example, (tuple, list)) else (example,)
    if fuse_bn:
        moved = join(root, model, inputs)
        take_plain_names(model, moved)
        object.__setattr__(model, _JOINED, moved)
    for module in {id(m): m for m in (root, model)}.values():
        object.__setattr__(module, _EXAMPLE, inputs)


def normalize_layers(
    model: nn.Module,
    *,
    normalize_modules: Layers = QUANTIZED,
    normalize_weight_value: float | None = 8,
    normalize_bias_value: float | None = 8,
    normalize_output_value: float | None = 8,
) -> nn.Module:
    """The model, whose layers keep weights, biases and outputs within these bounds; see `bitlite.qat.clamp`."""
    for module in list(model.modules()):
        inside = any(isinstance(m, JOINED) and module in (m.conv, m.bn) for m in model.modules())
        if isinstance(module, _classes(normalize_modules)) and not inside:
            normalize_module(module, normalize_weight_value, normalize_bias_value, normalize_output_value)
    return model


def normalize_module(
    module: nn.Module,
    normalize_weight_value: float | None = 8,
    normalize_bias_value: float | None = 8,
    normalize_output_value: float | None = 8,
) -> nn.Module:
    """The layer with these bounds, unless `disable_normalize` has named it."""
    if getattr(module, _UNBOUNDED, False):
        return module
    bounds = dict(zip(BOUNDS, (normalize_output_value, normalize_weight_value, normalize_bias_value)))
    for name, bound in bounds.items():
        check_bound(name, bound)
    if isinstance(module, JOINED):
        for name, bound in bounds.items():
            setattr(module, name, bound)
        return module
    return bound_layer(module, **bounds)


def disable_normalize(module: nn.Module) -> nn.Module:
    """Leaves the module and what it holds without bounds."""
    return _mark(module, _UNBOUNDED, True)


def disable_quant(module: nn.Module) -> nn.Module:
    """Leaves the module and what it holds in float."""
    return _mark(module, _IN_FLOAT, True)


def quant_module(module: nn.Module, **_: Any) -> nn.Module:
    """Takes `disable_quant` back for the module and what it holds."""
    return _mark(module, _IN_FLOAT, False)


def quant_module_by_type(model: nn.Module, module_type: Layers = QUANTIZED, **_: Any) -> nn.Module:
    """`quant_module` of all layers of these classes."""
    for module in model.modules():
        if isinstance(module, _classes(module_type)):
            quant_module(module)
    return model


def quant_tensor(module: nn.Module, x: Tensor, name: str = "", bits: int = 8, **_: Any) -> Tensor:
    """x: every tensor between quantized layers is in codes already."""
    if bits != 8:
        raise UsageError(f"quant_tensor: bits={bits!r}, allowed is 8")
    return within(x, getattr(module, BOUNDS[0], None))


def init(
    model: nn.Module,
    *,
    quant_modules: Layers = QUANTIZED,
    parameter_bits: int = 8,
    mode: Any = QuantMode.QValue,
    example: Any = None,
) -> IntegerNet:
    """The network on integers, whose state dict takes that of the float one: scales are chosen at the first run after.

    Args:
        quant_modules: classes of layers that become integers; others with parameters stay in float.
        parameter_bits: of weights, 2 to 8. mode: linger's; `QuantMode`.
        example: the inputs; those of `trace_layers` where none are given.
    Raises:
        UsageError: there is no example.
    """
    inputs = getattr(model, _EXAMPLE, None) if example is None else example
    if inputs is None:
        raise UsageError("init: no inputs are known", hint="trace_layers(net, net, example) before, or example=")
    return IntegerNet(model, inputs, parameter_bits, _kept(model, _classes(quant_modules)))


class IntegerNet(QatModule):
    """A QatModule that chooses its scales at the first run after float weights were loaded, on what it is fed."""

    def __init__(self, model: nn.Module, example: Any, bits: int, kept: list[str]) -> None:
        model = copy.deepcopy(model)
        super().__init__(model, skeleton_of_model(model, example, None, bits, kept))
        self._model = [model]  # shares its parameters; no submodule
        take_plain_names(self, getattr(model, _JOINED, {}))
        self._bits, self._kept, self.calibrated = bits, kept, False

    def __deepcopy__(self, memo: dict[int, Any]) -> QatModule:
        twin = super().__deepcopy__(memo)
        twin._model = copy.deepcopy(self._model, memo)
        return twin

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        own = {name: value for name, value in self.state_dict().items() if name.startswith("bitlite.")}
        self.calibrated = any(name in state_dict for name in own)
        return super().load_state_dict(state_dict if self.calibrated else {**own, **state_dict}, strict, assign)

    def forward(self, *inputs: Tensor) -> Any:
        if not self.calibrated:
            fed = tuple(x.detach().cpu() for x in inputs)
            self.take_scales(skeleton_of_model(self._model[0], fed, None, self._bits, self._kept))
            self.calibrated = True
        return super().forward(*inputs)


def _classes(layers: Layers) -> tuple[type[nn.Module], ...]:
    return (layers,) if isinstance(layers, type) else tuple(layers)


def _mark(module: nn.Module, mark: str, value: bool) -> nn.Module:
    for part in module.modules():
        object.__setattr__(part, mark, value)
    return module


def _kept(model: nn.Module, quantized: tuple[type[nn.Module], ...]) -> list[str]:
    """The layers with parameters that stay in float."""
    joined = [m for m in model.modules() if isinstance(m, JOINED)]
    inside = {part for m in joined if isinstance(m, quantized) for part in (m.conv, m.bn)}
    kept = []
    for name, module in model.named_modules():
        own = any(True for _ in module.parameters(recurse=False))
        asked = isinstance(module, quantized) or module in inside
        if name and own and (not asked or getattr(module, _IN_FLOAT, False)):
            kept.append(name)
    return kept


__all__ = [
    "EmptyBatchNorm", "IntegerNet", "NormalizeConvBN1d", "NormalizeConvBN2d", "QuantMode", "disable_normalize",
    "disable_quant", "init", "normalize_layers", "normalize_module", "quant_module", "quant_module_by_type",
    "quant_tensor", "trace_layers",
]  # fmt: skip
