"""Numbers as C text, each exactly what it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_LINE = 118


def is_single(value: Any) -> bool:
    return isinstance(value, np.floating) and value.dtype == np.float32


def number(value: Any) -> str:
    """An int, float32, float64 or name as a constant expression."""
    if isinstance(value, str):
        return value
    if isinstance(value, (np.floating, float)):
        suffix = "f" if is_single(value) else ""
        if math.isinf(value):
            return "INFINITY" if value > 0 else "-INFINITY"
        if math.isnan(value):
            return "NAN"
        text = f"{float(value):.{9 if suffix else 17}g}"
        return text + ("" if any(c in text for c in ".e") else ".0") + suffix
    whole = int(value)
    # The type of -2147483648 would be that of a wider literal.
    return "(-2147483647 - 1)" if whole == -(2**31) else str(whole)


def initializer(value: Any, indent: str = "") -> str:
    """A struct's fields, a list or a number."""
    if isinstance(value, dict):
        return "{" + ", ".join(f".{key} = {initializer(part)}" for key, part in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "{" + ", ".join(initializer(part) for part in value) + "}"
    return number(value)


def elements(array: np.ndarray) -> str:
    """The elements of an array in order, in lines; rows of a matrix of multipliers in braces of their own."""
    if array.dtype == np.float32:
        words = [number(v) for v in array.reshape(-1)]
    elif array.dtype.itemsize == 1:
        table = [str(v) for v in range(-128, 256)]
        words = [table[v + 128] for v in array.reshape(-1).tolist()]
    else:
        words = [number(v) for v in array.reshape(-1).tolist()]
    if array.ndim == 2 and array.dtype == np.int32:
        words = [f"{{{a}, {b}}}" for a, b in zip(words[::2], words[1::2])]
    return _wrapped(words)


def _wrapped(words: list[str]) -> str:
    widest = max(map(len, words), default=0) + 2
    per_line = max(1, _LINE // widest)
    return ",\n".join("  " + ", ".join(words[i : i + per_line]) for i in range(0, len(words), per_line))


TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t", "float32": "float"}
"""dtype → C type of what generated code holds."""


def array_type(array: np.ndarray) -> str:
    """The type of a constant's elements."""
    if array.dtype == np.int32 and array.ndim == 2:
        return "bitlite_scale"
    return TYPES[array.dtype.name]
