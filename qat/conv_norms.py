"""A convolution and its BatchNorm as one module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .clamp import BOUNDS, within


class EmptyBatchNorm(nn.Module):
    """What is left where a BatchNorm was joined to its convolution."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class _ConvNorm(nn.Module):
    """Bounds are of what is rounded later: the weight and bias that have taken the BatchNorm in, and the output.

    ahead_relu: a ReLU reads the output.
    """

    def __init__(self, conv: nn.Module, bn: nn.Module, ahead_relu: bool = False) -> None:
        super().__init__()
        self.conv, self.bn, self.ahead_relu = conv, bn, ahead_relu
        self.normalize_data: float | None = None
        self.normalize_weight: float | None = None
        self.normalize_bias: float | None = None

    def extra_repr(self) -> str:
        names = (*BOUNDS, "ahead_relu")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)

    def forward(self, x: Tensor) -> Tensor:
        plain = self.conv(x)
        normed = self.bn(plain)
        if self.normalize_weight is None and self.normalize_bias is None:
            return within(normed, self.normalize_data)
        conv: Any = self.conv
        bn: Any = self.bn
        mean, variance = bn.running_mean, bn.running_var
        if self.training or mean is None:
            axes = [0, *range(2, plain.ndim)]
            mean, variance = plain.mean(axes), plain.var(axes, unbiased=False)
        factor = (variance + bn.eps).rsqrt() if bn.weight is None else bn.weight * (variance + bn.eps).rsqrt()
        bias = -mean if conv.bias is None else conv.bias - mean
        bias = bias * factor if bn.bias is None else bias * factor + bn.bias
        weight = conv.weight * factor.reshape(-1, *[1] * (conv.weight.ndim - 1))
        y = conv._conv_forward(x, within(weight, self.normalize_weight), within(bias, self.normalize_bias))
        return within(y, self.normalize_data)


class NormalizeConvBN1d(_ConvNorm):
    pass


class NormalizeConvBN2d(_ConvNorm):
    pass


JOINED = (NormalizeConvBN1d, NormalizeConvBN2d)
_PAIRS: dict[type[nn.Module], tuple[type[nn.Module], type[_ConvNorm]]] = {
    nn.Conv1d: (nn.BatchNorm1d, NormalizeConvBN1d),
    nn.Conv2d: (nn.BatchNorm2d, NormalizeConvBN2d),
}
_RELUS = (torch.relu, torch.relu_, torch.nn.functional.relu, torch.Tensor.relu, torch.Tensor.relu_)


class _Reads(TorchFunctionMode):
    """Which functions read each tensor, by its identity; the tensors are kept, so that no identity comes twice."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[int, list[Any]] = {}
        self.kept: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in _tensors((args, kwargs or {})):
            self.of.setdefault(id(value), []).append(func)
            self.kept.append(value)
        return func(*args, **(kwargs or {}))


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [t for part in parts for t in _tensors(part)]


def join(root: nn.Module, model: nn.Module, inputs: tuple[Any, ...]) -> dict[str, str]:
    """Joins convolutions of `model` with the BatchNorms that alone read them, as a run of root on the inputs shows.

    Returns:
        The name of each joined layer → its name in the model since.
    """
    runs: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}
    hooks = [
        part.register_forward_hook(lambda module, args, result: runs.setdefault(module, []).append((args[0], result)))
        for part in model.modules()
        if type(part) in _PAIRS or isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d))
    ]
    modes = [(part, part.training) for part in root.modules()]
    try:
        root.eval()
        with torch.no_grad(), _Reads() as reads:
            root(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for part, training in modes:
            part.training = training
    names = {module: name for name, module in model.named_modules()}
    moved = dict[str, str]()
    norms = {id(runs[m][0][0]): m for m in runs if type(m) not in _PAIRS and len(runs[m]) == 1}
    for conv in [m for m in runs if type(m) in _PAIRS and len(runs[m]) == 1]:
        kind, joined = _PAIRS[type(conv)]
        out = runs[conv][0][1]
        bn = norms.get(id(out))
        if not isinstance(bn, kind) or _calls(reads.of.get(id(out), [])) != 1:
            continue
        ahead_relu = any(f in _RELUS for f in reads.of.get(id(runs[bn][0][1]), []))
        _replace(model, names[conv], joined(conv, bn, ahead_relu))
        _replace(model, names[bn], EmptyBatchNorm())
        moved |= {names[conv]: f"{names[conv]}.conv", names[bn]: f"{names[conv]}.bn"}
    return moved


def take_plain_names(model: nn.Module, moved: Mapping[str, str]) -> None:
    """Lets the model load a state dict of the network before `join`, too."""

    def rename(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        for name in [name for name in state if name.startswith(prefix)]:
            owner, key = name[len(prefix) :].rpartition(".")[::2]
            if owner in moved:
                state[f"{prefix}{moved[owner]}.{key}"] = state.pop(name)

    model.register_load_state_dict_pre_hook(rename)


def _calls(functions: list[Any]) -> int:
    """How many functions read a tensor's values: questions after its shape are none."""
    return sum(1 for f in functions if getattr(f, "__name__", "") not in ("__get__", "dim", "size"))


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    path, _, key = name.rpartition(".")
    setattr(model.get_submodule(path), key, module)
