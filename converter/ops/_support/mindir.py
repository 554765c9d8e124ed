"""How MINDIR's primitives say types, windows and operands."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir import Tensor
from ...schema.reading import Reading
from .spatial import per_axis
from .types import dtype_from, value_dtype

_EDGES = {0: "explicit", 1: "same_upper", 2: "valid", "pad": "explicit", "same": "same_upper", "valid": "valid"}


def mindir_dtype(r: Reading, value: Any) -> str:
    """The name of a type: a TypeId in new files, the type itself in old ones."""
    return value.name if isinstance(value, np.dtype) else dtype_from("ms", value if isinstance(value, int) else -1, r)


def operand(r: Reading, index: int, dtype: np.dtype) -> Tensor:
    """An input that may be a number: a constant of this type."""
    return r.optional(index) or r.constant(r.real(index, f"input {index}"), dtype)


def operands(r: Reading) -> tuple[Tensor, Tensor]:
    """Two inputs in one type, as the framework converts them; one may be a number, which takes the other's type."""
    pair: list[Tensor] = []
    for k in (0, 1):
        pair.append(operand(r, k, value_dtype(r.input(1 - k))) if k in r.numbers else r.input(k))
    kinds = [value_dtype(t) for t in pair]
    joint = kinds[0] if kinds[0] == kinds[1] else _joint(*kinds)
    a, b = (t if kind == joint else r.emit("Cast", t, dtype=joint.name) for t, kind in zip(pair, kinds))
    return a, b


def _joint(a: np.dtype, b: np.dtype) -> np.dtype:
    """The type of a result: the floating one, or the wider one."""
    if (a.kind == "f") != (b.kind == "f"):
        return a if a.kind == "f" else b
    return np.promote_types(a, b)


def numbers_or_tensor(r: Reading, index: int, key: str, name: str) -> Tensor:
    """Sizes as an int64 tensor, from a list or from what computes them."""
    given = r.optional(index)
    if given is not None:
        return given if given.dtype == np.int64 else r.emit("Cast", given, dtype="int64")
    return r.constant(r.wholes(index, key), np.int64, f"{r.name}/{name}")


def needs_nchw(r: Reading, index: int) -> None:
    """Refuses the layout NHWC, which the exporter writes for GPUs alone."""
    layout = r.arg(index, "format", r.attr("data_format", "NCHW"))
    if layout not in ("NCHW", "NCDHW", 0, 3):
        r.refuse(f"format {layout}, read is NCHW")


def pairs_of(r: Reading, index: int | None, key: str) -> list[int]:
    """Pads as pairs, or in a row, as one list."""
    given = r.attr(key) if index is None else r.arg(index, key)
    pads = (
        [v for pair in given for v in (pair if isinstance(pair, list) else [pair])] if isinstance(given, list) else []
    )
    if not pads or any(not isinstance(v, int) for v in pads):
        r.refuse(f"{key} {given!r} are no pairs of integers")
    return pads


def spatial(values: Any, rank: int) -> list[int]:
    """One size per spatial axis of one that may have batch and channels before them, or stand for all."""
    return per_axis(values, rank)[-rank:]


def edges(r: Reading, mode: Any) -> str:
    """The name of a PadMode, a text or a number."""
    name = _EDGES.get(mode.lower() if isinstance(mode, str) else mode) if isinstance(mode, (str, int)) else None
    if name is None:
        r.refuse(f"pad_mode {mode!r}, allowed are pad, same and valid")
    return name


def mindir_window(r: Reading, rank: int) -> dict[str, Any]:
    """Stride, dilation and padding of a convolution."""
    mode = edges(r, r.attr("pad_mode", "valid"))
    pad = r.wholes(None, "pad", r.attr("pad_list", 0)) if mode == "explicit" else 0
    return {
        "stride": spatial(r.wholes(None, "stride", 1), rank),
        "dilation": spatial(r.wholes(None, "dilation", 1), rank),
        "pad": per_axis(pad, 2 * rank),
        "pad_mode": mode,
    }
