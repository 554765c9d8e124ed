"""Small networks around one operator, for `interop_int8`: two convolutions before it, a matrix product behind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
from bitlite.converter.ir import Graph, Tensor
from bitlite.converter.schema.builder import Builder

Made = Sequence[Tensor]
Make = Callable[[Builder, np.random.Generator, Tensor, Tensor], Made]
_SHAPE = (1, 8, 8, 3)
_WINDOW = {"stride": [1, 1], "dilation": [1, 1], "pad": [1, 1, 1, 1]}
_HALVES = {"kernel": [2, 2], "stride": [2, 2], "pad": [0] * 4, "dilation": [1, 1]}


class Inputs(list[dict[str, np.ndarray]]):
    """Seeded samples, usable as calibration data."""

    def __init__(self, count: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        super().__init__({"x": rng.standard_normal(_SHAPE).astype(np.float32)} for _ in range(count))

    def only(self, rows: Collection[int]) -> Iterator[dict[str, np.ndarray]]:
        return (self[k] for k in sorted(rows))


def network(name: str) -> Graph:
    """The network of NETWORKS; what is looked at is named "op"."""
    rng, graph = np.random.default_rng(3), Graph("net")
    build = Builder(graph)
    x = build.input("x", np.float32, _SHAPE)
    (a,) = build.emit("Conv", [x, _weight(build, rng, 8, 3, 3, 3), _bias(build, rng, 8)], _WINDOW, name="left")
    right = [x, _weight(build, rng, 8, 3, 3, 3), _bias(build, rng, 8)]
    (b,) = build.emit("Conv", right, {**_WINDOW, "act": "relu"}, name="right")
    for k, y in enumerate(NETWORKS[name](build, rng, a, b)):
        flat = _reshaped(build, y, [1, -1], f"flat{k}")
        size = int(np.prod([d or 1 for d in y.shape or ()]))
        graph.outputs += build.emit("FullyConnected", [flat, _weight(build, rng, 4, size)], {}, name=f"end{k}")
    return graph


def _weight(build: Builder, rng: np.random.Generator, *shape: int) -> Tensor:
    return build.constant((rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), "w")


def _bias(build: Builder, rng: np.random.Generator, n: int) -> Tensor:
    return build.constant((0.3 * rng.standard_normal(n)).astype(np.float32), "b")


def _ints(build: Builder, *values: int) -> Tensor:
    return build.constant(np.array(values, np.int64), "i")


def _reshaped(build: Builder, x: Tensor, shape: Sequence[int], name: str) -> Tensor:
    return build.emit("Reshape", [x, _ints(build, *shape)], name=name)[0]


def _sliced(build: Builder, x: Tensor, axis: int, begin: int, end: int, step: int, name: str) -> Tensor:
    ends = [_ints(build, v) for v in (begin, end, axis, step)]
    return build.emit("Slice", [x, *ends], {}, name=name)[0]


def _pooled(build: Builder, x: Tensor, *kernel: int) -> Tensor:
    window = {"kernel": list(kernel), "stride": [1, 1], "pad": [0] * 4, "dilation": [1, 1]}
    return build.emit("MaxPool", [x], window, name="pooled")[0]


def _conv(out: int, *kernel: int, **attrs: Any) -> Make:
    kh, kw = kernel if len(kernel) == 2 else kernel * 2
    pad = attrs.pop("pad", [kh // 2, kh // 2, kw // 2, kw // 2])

    def make(b: Builder, r: np.random.Generator, x: Tensor, y: Tensor) -> Made:
        w = _weight(b, r, out, kh, kw, 8 // attrs.get("group", 1))
        return b.emit("Conv", [x, w, _bias(b, r, out)], {**_WINDOW, "pad": pad, **attrs}, name="op")

    return make


def _deconv(out: int, kernel: int, **attrs: Any) -> Make:
    def make(b: Builder, r: np.random.Generator, x: Tensor, y: Tensor) -> Made:
        w = _weight(b, r, 8, kernel, kernel, out // attrs.get("group", 1))
        window = {"stride": [2, 2], "dilation": [1, 1], "pad": [1] * 4, "output_padding": [0, 0], **attrs}
        return b.emit("ConvTranspose", [x, w, _bias(b, r, out)], window, name="op")

    return make


def _dense(shape: Sequence[int], out: int, **attrs: Any) -> Make:
    def make(b: Builder, r: np.random.Generator, x: Tensor, y: Tensor) -> Made:
        flat = _reshaped(b, x, shape, "flat")
        return b.emit("FullyConnected", [flat, _weight(b, r, out, shape[-1]), _bias(b, r, out)], attrs, name="op")

    return make


def _matmul(left: Sequence[int], right: Sequence[int], **attrs: Any) -> Make:
    def make(b: Builder, r: np.random.Generator, x: Tensor, y: Tensor) -> Made:
        return b.emit("MatMul", [_reshaped(b, x, left, "l"), _reshaped(b, y, right, "r")], attrs, name="op")

    return make


def _two(op: str, **attrs: Any) -> Make:
    return lambda b, r, x, y: b.emit(op, [x, y], attrs, name="op")


def _one(op: str, **attrs: Any) -> Make:
    return lambda b, r, x, y: b.emit(op, [x], attrs, name="op")


def _constant(op: str, *shape: int) -> Make:
    def make(b: Builder, r: np.random.Generator, x: Tensor, y: Tensor) -> Made:
        return b.emit(op, [x, b.constant(r.uniform(0.5, 2, shape).astype(np.float32), "k")], {}, name="op")

    return make


def _broadcast(op: str, *kernel: int, turned: bool = False) -> Make:
    def make(b: Builder, r: np.random.Generator, x: Tensor, y: Tensor) -> Made:
        pair = [x, _pooled(b, y, *kernel)]
        return b.emit(op, pair[::-1] if turned else pair, {}, name="op")

    return make


NETWORKS: dict[str, Make] = {
    "conv 3x3": _conv(12, 3),
    "conv 3x3 stride 2 relu": _conv(16, 3, stride=[2, 2], act="relu"),
    "conv 3x3 40 channels relu6": _conv(40, 3, act="relu6"),
    "conv 3x3 dilated": _conv(6, 3, dilation=[2, 2], pad=[2] * 4),
    "conv 3x3 1 channel": _conv(1, 3),
    "conv 5x5": _conv(6, 5),
    "conv 7x1": _conv(5, 7, 1),
    "conv 1x1": _conv(13, 1),
    "conv 1x1 70 channels": _conv(70, 1),
    "conv 1x1 stride 2": _conv(8, 1, stride=[2, 2]),
    "conv in 2 groups": _conv(8, 3, group=2),
    "depthwise 3x3": _conv(8, 3, group=8),
    "depthwise 3x3 stride 2 relu6": _conv(8, 3, group=8, stride=[2, 2], act="relu6"),
    "depthwise 3x3 stride 3": _conv(8, 3, group=8, stride=[3, 3]),
    "depthwise 5x5": _conv(8, 5, group=8),
    "depthwise 7x7": _conv(8, 7, group=8),
    "depthwise dilated": _conv(8, 3, group=8, dilation=[2, 2], pad=[2] * 4),
    "depthwise multiplier 2": _conv(16, 3, group=8),
    "transposed conv": _deconv(6, 3),
    "transposed depthwise": _deconv(8, 3, group=8),
    "fully connected": _dense([1, 512], 10),
    "fully connected rows relu": _dense([8, 64], 33, act="relu"),
    "fully connected rank 3": _dense([2, 4, 64], 17, keep_dims=True),
    "matmul 2-D": _matmul([32, 16], [16, 32]),
    "matmul 3-D": _matmul([4, 16, 8], [4, 8, 16]),
    "matmul 3-D both turned": _matmul([4, 8, 16], [4, 16, 8], transpose_a=True, transpose_b=True),
    "matmul 4-D turned": _two("MatMul", transpose_b=True),
    "matmul 4-D turned relu": _two("MatMul", transpose_b=True, act="relu"),
    "matmul of itself": lambda b, r, x, y: b.emit("MatMul", [x, x], {"transpose_b": True}, name="op"),
    "matmul broadcast": _matmul([1, 8, 8, 8], [8, 8, 8]),
    "matmul odd sizes": lambda b, r, x, y: b.emit(
        "MatMul",
        [
            _reshaped(b, _sliced(b, x, 1, 0, 7, 1, "s"), [7, 64], "l"),
            _reshaped(b, _sliced(b, y, 1, 0, 5, 1, "t"), [64, 5], "r"),
        ],
        {},
        name="op",
    ),
    "add": _two("Add"),
    "add relu": _two("Add", act="relu"),
    "add per channel": _constant("Add", 8),
    "add one number": _constant("Add", 1),
    "add 1x1 map": _broadcast("Add", 8, 8),
    "add row": _broadcast("Add", 1, 8),
    "sub": _two("Sub"),
    "sub relu": _two("Sub", act="relu"),
    "sub per channel": _constant("Sub", 8),
    "sub row": _broadcast("Sub", 1, 8, turned=True),
    "mul": _two("Mul"),
    "mul relu": _two("Mul", act="relu"),
    "mul per channel": _constant("Mul", 8),
    "mul one number": _constant("Mul", 1),
    "mul 1x1 map": _broadcast("Mul", 8, 8),
    "mul row": _broadcast("Mul", 1, 8, turned=True),
    "max pool": _one("MaxPool", **_HALVES),
    "max pool relu": _one("MaxPool", **_HALVES, act="relu"),
    "average pool": _one("AveragePool", **_HALVES),
    "average pool padded": _one("AveragePool", kernel=[3, 3], stride=[2, 2], pad=[1] * 4, dilation=[1, 1]),
    "average pool 7x7": _one("AveragePool", kernel=[7, 7], stride=[1, 1], pad=[0] * 4, dilation=[1, 1]),
    "mean": _one("Reduce", mode="mean", axes=[1, 2], keep_dims=True),
    "concat": _two("Concat", axis=-1),
    "concat rows": _two("Concat", axis=1),
    "split": _one("Split", axis=-1, sizes=[3, 5]),
    "slice": lambda b, r, x, y: [_sliced(b, x, 3, 2, 7, 1, "op")],
    "slice with step": lambda b, r, x, y: [_sliced(b, x, 1, 1, 8, 2, "op")],
    "pad": lambda b, r, x, y: b.emit("Pad", [x, _ints(b, 0, 0, 1, 2, 2, 1, 0, 0)], {"value": 0.7}, name="op"),
    "pad reflected": lambda b, r, x, y: b.emit(
        "Pad", [x, _ints(b, 0, 0, 1, 2, 2, 1, 0, 0)], {"mode": "reflect"}, name="op"
    ),
    "reshape": lambda b, r, x, y: [_reshaped(b, x, [1, 64, 8], "op")],
    "squeeze": _one("Squeeze", axes=[0]),
    "expand dims": _one("ExpandDims", axes=[0]),
    "transpose": _one("Transpose", perm=[0, 2, 1, 3]),
    "gather": lambda b, r, x, y: b.emit("Gather", [x, _ints(b, 0, 3, 5)], {"axis": 1}, name="op"),
    "depth to space": _one("DepthToSpace", block=2),
    "relu": _one("Relu"),
    "leaky relu": _one("LeakyRelu", alpha=0.1),
    "sigmoid": _one("Sigmoid"),
    "tanh": _one("Tanh"),
    "hard swish": _one("HardSwish"),
    "softmax": _one("Softmax", axis=-1),
}
