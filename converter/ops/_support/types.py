"""What rank-generic rows share: dtypes of containers, result types, broadcasting, axes, constants among inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from ...errors import GraphError, UnsupportedError
from ...ir import Node, Shape, Tensor, is_quantized
from ...ir.limits import RANK
from ...schema.reading import Reading

# dtype → (ONNX TensorProto.DataType, TFLite TensorType, MindSpore Lite dataType)
_NUMBERS: dict[str, tuple[int, int | None, int]] = {
    "float32": (1, 0, 43),
    "uint8": (2, 3, 37),
    "int8": (3, 9, 32),
    "uint16": (4, 16, 38),
    "int16": (5, 7, 33),
    "int32": (6, 2, 34),
    "int64": (7, 4, 35),
    "bool": (9, 6, 30),
    "float16": (10, 1, 42),
    "float64": (11, 10, 44),
    "uint32": (12, 15, 39),
    "uint64": (13, 12, 40),
}
_COLUMN = {"onnx": 0, "tflite": 1, "ms": 2}


def dtype_from(container: str, number: int, where: Reading) -> str:
    """The dtype's name behind a container's number; refused when it is none of numpy's own."""
    for name, entry in _NUMBERS.items():
        if entry[_COLUMN[container]] == int(number):
            return name
    where.refuse(f"data type {number} is not read")


def dtype_number(container: str, dtype: Any) -> int:
    """The container's number of a dtype."""
    name = np.dtype(dtype).name
    number = _NUMBERS[name][_COLUMN[container]] if name in _NUMBERS else None
    if number is None:
        raise UnsupportedError(f"data type {name} is not in {container}")
    return number


def fail(node: Node, message: str) -> NoReturn:
    """Raises the GraphError of a node that does not fit together."""
    raise GraphError(f"{node.name} ({node.op}): {message}")


def value_dtype(t: Tensor) -> np.dtype:
    """What a node sees: a constant stored quantized is float32 (a weight-only weight), all else its own dtype."""
    return np.dtype(np.float32) if is_quantized(t) and t.is_const else t.dtype


def joint_dtype(node: Node, *tensors: Tensor | None) -> np.dtype:
    """The one dtype of inputs that must agree; quantized activations decide over constants, and float32 over constants
    that are stored as float16."""
    present = [t for t in tensors if t is not None]
    codes = [t.dtype for t in present if is_quantized(t) and not t.is_const]
    if codes:
        return codes[0]
    dtypes = {value_dtype(t) for t in present}
    if np.dtype(np.float32) in dtypes and all(t.is_const for t in present if t.dtype == np.float16):
        dtypes.discard(np.dtype(np.float16))
    if len(dtypes) != 1:
        fail(node, f"inputs of different types {', '.join(sorted(str(d) for d in dtypes))}")
    return dtypes.pop()


def need(node: Node, t: Tensor | None, kinds: str, what: str) -> None:
    """Raises GraphError unless the value's dtype kind ("b", "i", "u", "f") is among `kinds`; codes count as real."""
    if t is None:
        return
    kind = "f" if is_quantized(t) else t.dtype.kind
    if kind not in kinds:
        fail(node, f"{what} cannot be {t.dtype}")


def broadcast(node: Node, *shapes: Shape | None) -> Shape | None:
    """The shape that numpy broadcasting gives; an unknown size meets a known one above 1 as that size."""
    if any(s is None for s in shapes):
        return None
    known = [s for s in shapes if s is not None]
    rank = max((len(s) for s in known), default=0)
    out: list[int | None] = []
    for i in range(rank):
        sizes = [s[i - rank + len(s)] for s in known if i >= rank - len(s)]
        fixed = {n for n in sizes if n is not None and n != 1}
        if len(fixed) > 1:
            fail(node, f"shapes {', '.join(str(s) for s in known)} do not broadcast")
        out.append(fixed.pop() if fixed else None if None in sizes else 1)
    return tuple(out)


def broadcasts_to(source: Shape, target: Shape) -> bool:
    """Whether `source` can broadcast to exactly `target`, as far as both are known."""
    if len(source) > len(target):
        return False
    return all(n in (1, None) or m is None or n == m for n, m in zip(source[::-1], target[::-1]))


def normal_axis(node: Node, axis: int, rank: int) -> int:
    """`axis` from the front. Raises GraphError when there is no such axis."""
    if not -rank <= axis < rank:
        fail(node, f"axis {axis} is not an axis of a rank {rank} tensor")
    return axis % rank


def normal_axes(node: Node, axes: Sequence[int], rank: int) -> list[int]:
    """Axes from the front, sorted. Raises GraphError when one is missing or named twice."""
    normal = sorted(normal_axis(node, int(a), rank) for a in axes)
    if len(set(normal)) != len(normal):
        fail(node, f"axes {list(axes)} name one twice")
    return normal


def const_ints(t: Tensor | None) -> list[int] | None:
    """A constant parameter input as a flat list; None when it is absent or computed at run time."""
    return None if t is None or t.data is None else [int(v) for v in t.data.reshape(-1)]


def length(node: Node, t: Tensor | None, what: str, limit: int | None = 2 * RANK) -> int | None:
    """Entries of an integer parameter input of rank 0 or 1, where known.

    Raises GraphError for more than `limit`: what names axes or sizes has at most two entries for each axis.
    """
    if t is None:
        return None
    if t.dtype.kind not in "iu":
        fail(node, f"{what} must be integers, not {t.dtype}")
    if t.shape is None:
        return None
    if len(t.shape) > 1:
        fail(node, f"{what} must be a list, not of shape {t.shape}")
    count = 1 if not t.shape else t.shape[0]
    if count is not None and limit is not None and count > limit:
        fail(node, f"{what} has {count} entries, and a tensor has at most {RANK} axes")
    return count


def known_size(shape: Shape | None) -> int | None:
    """The number of elements, None where a size is unknown."""
    sizes = [n for n in shape or () if n is not None]
    return None if shape is None or len(sizes) != len(shape) else math.prod(int(n) for n in sizes)


def one_number(t: Tensor | None) -> bool:
    """Whether the value can be one number, a scalar or a list of one."""
    return t is None or t.shape is None or t.shape == () or (len(t.shape) == 1 and t.shape[0] in (1, None))


def sum_type(a: np.ndarray) -> np.ndarray:
    """float16 sums are taken in float32."""
    return a.astype(np.float32) if a.dtype == np.float16 else a
