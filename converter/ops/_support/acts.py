"""Activations that fuse into the operator before them: one table of names, functions and container numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import Setting, UnsupportedError
from ...ir import Node, Tensor
from ...numeric.qparams import ACT_BOUNDS, foldable
from ...schema.reading import Reading
from ...schema.writing import Writing


def _clamp(act: str) -> Callable[[np.ndarray], np.ndarray]:
    low, high = ACT_BOUNDS[act]

    def clamp(y: np.ndarray) -> np.ndarray:
        least = y.dtype.type(low)
        return np.maximum(y, least) if high is None else np.clip(y, least, y.dtype.type(high))

    return clamp


# name → (function of a float array, TFLite ActivationFunctionType, MindSpore Lite ActivationType)
_TABLE: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int | None, int | None]] = {
    "none": (lambda y: y, 0, 0),
    "relu": (_clamp("relu"), 1, 1),
    "relu6": (_clamp("relu6"), 3, 3),
    "relu_n1_to_1": (_clamp("relu_n1_to_1"), 2, None),
    "tanh": (np.tanh, 4, 10),
    "sigmoid": (lambda y: (1 / (1 + np.exp(-y))).astype(y.dtype), None, 2),
    "hard_swish": (lambda y: (y * np.clip(y + 3, 0, 6) / 6).astype(y.dtype), None, 12),
}
CLAMPS = tuple(act for act in _TABLE if act != "none" and foldable(act))
"""The acts that operators can fuse and that only clamp; `ACT_BOUNDS` has their bounds."""


def clip_attrs(act: str, low: str = "min", high: str = "max") -> dict[str, float | None]:
    """An act that only clamps as the attributes of a Clip."""
    return dict(zip((low, high), ACT_BOUNDS[act]))


def apply_act(y: np.ndarray, act: str) -> np.ndarray:
    """The fused activation of a float (or plain integer) result."""
    return _TABLE[act][0](y)


def no_act_in_mslite(node: Node) -> str:
    """Cell `Quant.mslite` of operators whose int8 kernels there do not look at their fused activation."""
    return "" if node.attrs["act"] == "none" else "the real kernel ignores a fused activation"


def act_from(container: str, number: int, where: Reading) -> str:
    """The act behind a container's enum number ("tflite" or "ms")."""
    column = 1 if container == "tflite" else 2
    for name, entry in _TABLE.items():
        if entry[column] == int(number):
            return name
    where.refuse(f"fused activation {number} is not read")


def act_number(container: str, act: str) -> int:
    """The container's enum number of an act; UnsupportedError when it has none."""
    _, tflite, ms = _TABLE[act]
    number = tflite if container == "tflite" else ms
    if number is None:
        raise UnsupportedError(
            f"a fused {act} cannot be written to {container}", hint=Setting("skip_pass", "fuse_activation")
        )
    return number


def read_act(r: Reading, container: str, key: str) -> dict[str, Any]:
    """`{"act": …}` from the container's attribute `key`."""
    act = act_from(container, r.attr(key, 0), r)
    if container == "tflite" and act == "tanh":
        r.refuse("a fused TANH is not read: TFLite's own kernels leave it out")
    return {"act": act}


def with_act(r: Reading, y: Tensor, act: str) -> Tensor:
    """`act` as a node of its own, for operators without a fused one."""
    names = {"relu": "Relu", "relu6": "Relu6", "tanh": "Tanh", "sigmoid": "Sigmoid", "hard_swish": "HardSwish"}
    if act == "none":
        return y
    return r.emit("Clip", y, **clip_attrs(act)) if act == "relu_n1_to_1" else r.emit(names[act], y)


# What a container's operators take as a fused activation; anything else becomes an operator of its own.
_FUSED = {"tflite": ("none", "relu", "relu_n1_to_1", "relu6"), "ms": ("none", "relu", "relu6")}
_ALONE: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("onnx", "relu"): ("Relu", {}),
    ("onnx", "tanh"): ("Tanh", {}),
    ("onnx", "sigmoid"): ("Sigmoid", {}),
    ("onnx", "hard_swish"): ("HardSwish", {}),
    ("tflite", "relu"): ("RELU", {}),
    ("tflite", "relu6"): ("RELU6", {}),
    ("tflite", "relu_n1_to_1"): ("RELU_N1_TO_1", {}),
    ("tflite", "tanh"): ("TANH", {}),
    ("tflite", "sigmoid"): ("LOGISTIC", {}),
    ("tflite", "hard_swish"): ("HARD_SWISH", {}),
    ("ms", "relu"): ("Activation", {"activation_type": 1}),
    ("ms", "relu6"): ("Activation", {"activation_type": 3}),
    ("ms", "tanh"): ("Activation", {"activation_type": 10}),
    ("ms", "sigmoid"): ("Activation", {"activation_type": 2}),
    ("ms", "hard_swish"): ("Activation", {"activation_type": 12}),
    ("ms", "relu_n1_to_1"): ("Activation", {"activation_type": 16, **clip_attrs("relu_n1_to_1", "min_val", "max_val")}),
}


def fused_number(container: str, act: str) -> int | None:
    """The container's number of an act that its operators fuse; None where it must stand alone."""
    return act_number(container, act) if act in _FUSED[container] else None


def write_act(w: Writing, node: Node, x: Tensor, y: Tensor, act: str) -> None:
    """`act` as an operator of its own from x to y."""
    bounds = ACT_BOUNDS.get(act)
    if w.container == "onnx" and bounds is not None and bounds[1] is not None:
        low, high = (w.constant(b, x.dtype, f"{y.name}/bound") for b in bounds)
        w.node("Clip", node, [x, low, high], [y])
        return
    operator = _ALONE.get((w.container, act))
    if operator is None:
        w.refuse(node, f"its fused {act} has no form there", hint=Setting("skip_pass", "fuse_activation"))
    w.node(operator[0], node, [x], [y], fields=operator[1])


def fused_activation(r: Reading, y: Tensor) -> Tensor:
    """The `activation` and `activation_params` of onnxruntime's fused operators, as a node."""
    act, params = r.attr("activation", ""), [float(v) for v in r.attr("activation_params", None) or []]
    simple = {"": "none", "Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid"}
    if act in simple:
        return with_act(r, y, simple[act])
    if act == "LeakyRelu":
        return r.emit("LeakyRelu", y, alpha=params[0] if params else 0.01)
    if act == "Clip" and len(params) == 2:
        return r.emit("Clip", y, min=params[0], max=params[1])
    if act == "HardSigmoid" and len(params) == 2:
        return r.emit("HardSigmoid", y, alpha=params[0], beta=params[1])
    r.refuse(f"the fused activation {act!r} with parameters {params} is not read")
