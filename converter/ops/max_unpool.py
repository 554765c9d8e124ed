"""MaxUnpool: the inverse of a pool by its indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DataError
from ..ir import Node, Tensor
from ..schema.op import REQUIRED, Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.spatial import begin_end, check_pixels, onnx_pads, per_axis
from ._support.types import const_ints, fail, need


def _unpooled(shape: Sequence[int | None], a: dict[str, Any]) -> list[int | None]:
    return [
        None if n is None else (n - 1) * s - a["pad"][2 * i] - a["pad"][2 * i + 1] + k
        for i, (n, s, k) in enumerate(zip(shape, a["stride"], a["kernel"]))
    ]


def _infer_unpool(node: Node) -> Inferred:
    x, places, size, a = node.required(0), node.required(1), node.input(2), node.attrs
    need(node, places, "iu", "the places")
    if x.shape is None or len(x.shape) < 3:
        fail(node, f"an input of shape {x.shape}")
    if places.shape is not None and places.is_static and None not in x.shape and places.shape != x.shape:
        fail(node, f"places of shape {places.shape} for values of shape {x.shape}")
    rank = len(x.shape) - 2
    if any(len(a[key]) != many * rank for key, many in (("kernel", 1), ("stride", 1), ("pad", 2))):
        fail(node, f"a window {a} for {rank} spatial axes")
    if min(*a["kernel"], *a["stride"]) < 1:
        fail(node, f"kernel {a['kernel']} and stride {a['stride']} must be at least 1")
    natural = _unpooled(x.shape[2:], a)
    if any(n is not None and n < 0 for n in natural):
        fail(node, f"pads {a['pad']} leave nothing")
    check_pixels(natural, f"{node.name} (MaxUnpool)")
    if size is None:
        return [(x.dtype, (*x.shape[:2], *natural))]
    given = const_ints(size)
    if given is not None and (
        len(given) != len(x.shape) or any(m is not None and n < m for n, m in zip(given, (*x.shape[:2], *natural)))
    ):
        fail(node, f"output shape {given} for an input of shape {x.shape}")
    return [(x.dtype, (None,) * len(x.shape) if given is None else tuple(given))]


@op(
    "MaxUnpool",
    attrs={"kernel": REQUIRED, "stride": REQUIRED, "pad": REQUIRED},
    infer=_infer_unpool,
    arity=(2, 3),
    quant=Quant(int8=False),
    foldable=False,
    cases=[
        Case(
            ((1, 1, 2, 2), np.array([[[[5, 7], [13, 15]]]], np.int64)),
            {"kernel": [2, 2], "stride": [2, 2], "pad": [0] * 4},
        ),
        Case(
            ((1, 1, 2, 2), np.array([[[[5, 7], [13, 15]]]], np.int64), np.array([1, 1, 5, 5], np.int64)),
            {"kernel": [2, 2], "stride": [2, 2], "pad": [0] * 4},
        ),
    ],
)
def max_unpool(
    x: np.ndarray, places: np.ndarray, size: np.ndarray | None = None, *, kernel: list[int], stride: list[int],
    pad: list[int],
) -> np.ndarray:  # fmt: skip
    """x [N,C,*S] put at flat `places` of zeros of the window's natural shape, then zeros behind up to shape `size`."""
    natural = _unpooled(x.shape[2:], {"kernel": kernel, "stride": stride, "pad": pad})
    shape = (*x.shape[:2], *(int(n or 0) for n in natural))
    y = np.zeros(int(np.prod(shape)), x.dtype)
    at = places.reshape(-1)
    if at.size != x.size:
        raise DataError(f"{at.size} places for {x.size} values")
    if at.size and (at.min() < 0 or at.max() >= y.size):
        raise DataError(f"place {int(at.max())} of {y.size} elements")
    y[at] = x.reshape(-1)
    y = y.reshape(shape)
    if size is None:
        return y
    out = [int(v) for v in size]
    if len(out) != y.ndim or any(n < m for n, m in zip(out, shape)):
        raise DataError(f"output shape {out} does not hold {list(shape)}")
    return np.pad(y, [(0, n - m) for n, m in zip(out, shape)])


@reads("onnx", "MaxUnpool")
def read_onnx_max_unpool(r: Reading) -> Tensor:
    rank = r.rank(r.input(0)) - 2
    attrs = {
        "kernel": per_axis(r.attr("kernel_shape"), rank),
        "stride": per_axis(r.attr("strides", None), rank),
        "pad": begin_end(per_axis(r.attr("pads", None), 2 * rank, 0)),
    }
    return r.emit("MaxUnpool", r.input(0), r.input(1), r.optional(2), **attrs)


@writes("onnx", "MaxUnpool")
def write_onnx_max_unpool(w: Writing, node: Node) -> None:
    a = node.attrs
    fields = {"kernel_shape": a["kernel"], "strides": a["stride"], "pads": onnx_pads(a["pad"])}
    w.node("MaxUnpool", node, node.inputs, fields=fields)
