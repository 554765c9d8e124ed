"""Activations that fuse into the operator before them: one table of names, functions and container numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import UnsupportedError
from ..formats.reading import Reading
from ..ir import Tensor

# name → (function of a float array, TFLite ActivationFunctionType, MindSpore Lite ActivationType)
_TABLE: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int | None, int | None]] = {
    "none": (lambda y: y, 0, 0),
    "relu": (lambda y: np.maximum(y, y.dtype.type(0)), 1, 1),
    "relu6": (lambda y: np.clip(y, y.dtype.type(0), y.dtype.type(6)), 3, 3),
    "relu_n1_to_1": (lambda y: np.clip(y, y.dtype.type(-1), y.dtype.type(1)), 2, None),
    "tanh": (np.tanh, 4, 10),
    "sigmoid": (lambda y: (1 / (1 + np.exp(-y))).astype(y.dtype), None, 2),
}
ACTS = tuple(_TABLE)
RANGES = {"relu": (0.0, None), "relu6": (0.0, 6.0), "relu_n1_to_1": (-1.0, 1.0)}
"""Acts that only bound the output: what an int8 kernel folds into its clamp."""


def apply_act(y: np.ndarray, act: str) -> np.ndarray:
    """The fused activation of a float (or plain integer) result."""
    return _TABLE[act][0](y)


def act_from(container: str, number: int, where: Reading) -> str:
    """The act behind a container's enum number ("tflite" or "ms")."""
    column = 1 if container == "tflite" else 2
    for name, entry in _TABLE.items():
        if entry[column] == int(number):
            return name
    where.refuse(f"fused activation {number} is not read")


def act_number(container: str, act: str) -> int:
    """The container's enum number of an act; UnsupportedError when it has none."""
    number = _TABLE[act][1 if container == "tflite" else 2]
    if number is None:
        raise UnsupportedError(f"a fused {act} cannot be written to {container}", hint="--skipPass=fuse_activation")
    return number


def read_act(r: Reading, container: str, key: str) -> dict[str, Any]:
    """`{"act": …}` from the container's attribute `key`."""
    return {"act": act_from(container, r.attr(key, 0), r)}


def with_act(r: Reading, y: Tensor, act: str) -> Tensor:
    """`act` as a node of its own, for operators without a fused one."""
    names = {"relu": "Relu", "relu6": "Relu6", "tanh": "Tanh", "sigmoid": "Sigmoid"}
    if act == "none":
        return y
    return r.emit("Clip", y, min=-1.0, max=1.0) if act == "relu_n1_to_1" else r.emit(names[act], y)
