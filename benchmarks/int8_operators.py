"""Operators on int8 codes beside the same operators in float, each alone, at sizes of real networks.

    python benchmarks/int8_operators.py [NAME…] [--isa avx2] [--repeats 40] [--all]

Every operator is a graph of one node, built twice: on float32, and on int8 with scales and zero points of their own
where the operator has a say in them. One thread runs both graphs in turns; printed are the least times in µs that a
profile gives the step, and int8 / float. NAME… chooses operators. What takes less than 5 µs in float is left out unless
--all is given. Matrix products and convolutions are there, too; dynamic layers and casts of types are not.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
from bitlite.converter.ir import Graph, Tensor
from bitlite.converter.numeric.qparams import QuantParam
from bitlite.converter.ops import row
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session

Shape = tuple[int, ...]

LEAST_US = 5.0
# Of no simple ratio, as calibrated scales are: with 5 to 6 every sixth result would be a tie.
FIRST, SECOND, CONSTANT, OUTPUT = 0.0493, 0.0307, 0.0113, 0.0598
IMAGES = [(1, 112, 112, 32), (1, 56, 56, 96), (1, 28, 28, 192), (1, 14, 14, 576), (1, 7, 7, 1280)]
VECTORS = [(1, 1001), (1, 128, 768)]
# Three channels, a row of features as narrow as networks have them, and an odd width.
NARROW = [(1, 224, 224, 3), (1, 96, 96, 16), (1, 64, 64, 21)]
EVERY = IMAGES + VECTORS + NARROW
TABLES = ["HardSwish", "Sigmoid", "Tanh", "HardSigmoid", "LeakyRelu", "Gelu", "Elu", "Swish", "Exp", "Sqrt", "Relu6"]


class Case:
    """One node: computed inputs and constants (a shape behind "const"), attributes."""

    def __init__(self, op: str, inputs: list[Any], attrs: dict[str, Any] | None = None, note: str = "") -> None:
        self.op, self.inputs, self.attrs, self.note = op, inputs, attrs or {}, note

    def __str__(self) -> str:
        first = "x".join(map(str, self.inputs[0]))
        return f"{self.op} {first}{' ' + self.note if self.note else ''}"


def _channels(shape: Shape) -> Shape:
    return (shape[-1],)


def _gate(shape: Shape) -> Shape:
    return (shape[0], *(1,) * (len(shape) - 2), shape[-1])


def _window(kernel: int, stride: int, pad: int) -> dict[str, Any]:
    return {"kernel": [kernel] * 2, "stride": [stride] * 2, "dilation": [1, 1], "pad": [pad] * 4}


def cases() -> Iterator[Case]:
    """All operators with an int8 kernel."""
    for shape in EVERY:
        for op in TABLES:
            yield Case(op, [shape])
        for op in ("Add", "Sub", "Mul", "Maximum"):
            yield Case(op, [shape, shape])
        for op in ("Add", "Mul", "Minimum"):
            yield Case(op, [shape, ("const", _channels(shape))], note="by a channel's constant")
        yield Case("Add", [shape, ("const", (1,))], note="by one constant")
        yield Case("PRelu", [shape, ("const", _channels(shape))])
        yield Case("Quantize", [shape])
        yield Case("Dequantize", [shape])
        yield Case("Quantize", [shape], note="from other codes")
    for shape in IMAGES + NARROW:
        yield from _spatial(shape)
    for shape in [(1, 1001), (32, 10), (12, 32, 32), (8, 128, 128), (1, 64, 64, 21), (1, 8732, 21), (1, 1917, 91)]:
        yield Case("Softmax", [shape], {"axis": -1})
    yield Case("Softmax", [(1, 21, 4096)], {"axis": 1})
    for a, b in [((12, 32, 64), (12, 64, 32)), ((12, 32, 32), (12, 32, 64)), ((8, 128, 64), (8, 64, 128))]:
        yield Case("MatMul", [a, b])
    yield Case("MatMul", [(8, 128, 64), (8, 128, 64)], {"transpose_b": True}, "by a transposed")
    yield Case("Reduce", [(1, 128, 768)], {"mode": "mean", "axes": [2], "keep_dims": True}, "mean of rows")
    yield Case("Reduce", [(1, 128, 768)], {"mode": "max", "axes": [2], "keep_dims": True}, "max of rows")
    yield Case("Reduce", [(1, 56, 56, 96)], {"mode": "mean", "axes": [3], "keep_dims": True}, "mean of channels")
    yield Case("Reduce", [(1, 56, 56, 96)], {"mode": "max", "axes": [3], "keep_dims": True}, "max of channels")
    yield Case("Transpose", [(1, 128, 12, 64)], {"perm": [0, 2, 1, 3]}, "0213")
    yield Case("Transpose", [(1, 128, 12, 64)], {"perm": [0, 2, 3, 1]}, "0231")
    yield Case("Concat", [(1, 128, 384), (1, 128, 384)], {"axis": 2})
    yield Case("Gather", [(1, 1024, 256), np.arange(0, 1024, 2)], {"axis": 1})
    yield Case("Conv", [(1, 56, 56, 24), ("const", (96, 1, 1, 24))], _conv(1, 0), "1x1")
    yield Case("Conv", [(1, 28, 28, 64), ("const", (64, 3, 3, 64))], _conv(3, 1), "3x3")
    yield Case("Conv", [(1, 56, 56, 96), ("const", (96, 3, 3, 1))], _conv(3, 1) | {"group": 96}, "depthwise 3x3")
    yield Case("Conv", [(1, 28, 28, 192), ("const", (192, 5, 5, 1))], _conv(5, 2) | {"group": 192}, "depthwise 5x5")
    yield Case("FullyConnected", [(1, 1280), ("const", (1001, 1280))])
    yield Case(
        "ConvTranspose",
        [(1, 28, 28, 32), ("const", (32, 2, 2, 16))],
        {"stride": [2, 2], "dilation": [1, 1], "pad": [0] * 4, "output_padding": [0, 0]},
        "2x2",
    )


def _conv(kernel: int, pad: int) -> dict[str, Any]:
    attrs = _window(kernel, 1, pad)
    del attrs["kernel"]
    return attrs


def _spatial(shape: Shape) -> Iterator[Case]:
    n, h, w, c = shape
    yield Case("Mul", [shape, _gate(shape)], note="by a gate")
    yield Case("Mul", [shape, (n, h, w, 1)], note="by a mask")
    yield Case("MaxPool", [shape], _window(2, 2, 0), "2x2/2")
    yield Case("MaxPool", [shape], _window(3, 2, 1), "3x3/2")
    yield Case("AveragePool", [shape], _window(2, 2, 0), "2x2/2")
    yield Case("AveragePool", [shape], _window(3, 1, 1), "3x3/1")
    yield Case("AveragePool", [shape], _window(h, 1, 0), "global")
    for mode in ("mean", "max", "sum"):
        yield Case("Reduce", [shape], {"mode": mode, "axes": [1, 2], "keep_dims": True}, f"{mode} of an image")
    size = np.array([2 * h, 2 * w])
    yield Case("Resize", [shape, size], {"method": "nearest"}, "nearest x2")
    yield Case("Resize", [shape, size], {"method": "linear"}, "linear x2")
    yield Case("Resize", [shape, np.array([h * 3 // 4, w * 3 // 4])], {"method": "linear"}, "linear x3/4")
    yield Case("Concat", [shape, shape], {"axis": 3}, "of channels")
    yield Case("Concat", [shape, shape], {"axis": 1}, "of rows")
    yield Case("Pad", [shape, np.array([0, 0, 1, 1, 1, 1, 0, 0])])
    yield Case("Slice", [shape, np.array([0, 1, 1, 0]), np.array([n, h - 1, w - 1, c])], note="crop")
    yield Case("Slice", _strided(shape), note="every other")
    yield Case("Slice", [shape, np.array([0] * 4), np.array([n, h, w, c // 2])], note="of channels")
    yield Case("Split", [shape], {"axis": 3, "sizes": [c // 2, c - c // 2]})
    yield Case("Transpose", [shape], {"perm": [0, 3, 1, 2]}, "0312")
    if c % 4 == 0:
        yield Case("DepthToSpace", [shape], {"block": 2})
    yield Case("SpaceToDepth", [(n, h - h % 2, w - w % 2, c)], {"block": 2})


def _strided(shape: Shape) -> list[Any]:
    axes = np.arange(4)
    return [shape, np.zeros(4, np.int64), np.array(shape), axes, np.array([1, 2, 2, 1])]


def _coded(t: Tensor, scale: float, zero: int) -> Tensor:
    t.dtype, t.quant = np.dtype(np.int8), QuantParam(np.float64(scale), np.int32(zero))
    return t


def graph_of(case: Case, integer: bool) -> Graph:
    """The graph of the one node."""
    rng, graph = np.random.default_rng(0), Graph("operator")
    build = Builder(graph)
    moves = (row(case.op).quant is not None and row(case.op).quant.output == "same") or case.op == "AveragePool"  # pyright: ignore
    tensors: list[Tensor | None] = []
    for i, given in enumerate(case.inputs):
        if isinstance(given, np.ndarray):
            tensors.append(build.constant(given.astype(np.int64), f"c{i}"))
            continue
        const = given[0] == "const"
        shape = given[1] if const else given
        codes = integer and not (case.op == "Quantize" and not case.note)
        # A moving operator's operands share their scale, except a Concat's, which has one to adapt.
        zero = (-3, 5)[i % 2] if not moves else -3
        scale = FIRST if moves or i == 0 else SECOND
        if case.op == "Concat" and i == 1:
            scale, zero = SECOND, 5
        if const and codes:
            weights = build.constant(rng.integers(-127, 128, shape).astype(np.int8), f"w{i}")
            kept = 0 if row(case.op).quant.weights else 5  # pyright: ignore
            tensors.append(_coded(weights, *((scale, zero) if moves else (CONSTANT, kept))))
        elif const:
            tensors.append(build.constant(rng.standard_normal(shape).astype(np.float32), f"w{i}"))
        else:
            t = build.input(f"x{i}", np.float32, shape)
            tensors.append(_coded(t, scale, zero) if codes else t)
    graph.outputs = build.emit(case.op, tensors, case.attrs, name="node", fold=False)
    for t in graph.outputs:
        if integer and case.op != "Dequantize" and t.dtype.kind in "if" and t.dtype.itemsize in (1, 4):
            _coded(t, FIRST if moves else OUTPUT, -3 if moves else 7)
    return graph


def float_twin(case: Case) -> Graph:
    """What a float graph does in its place: a cast has none, so a copy of the values stands for it."""
    if case.op in ("Quantize", "Dequantize"):
        case = Case("Relu", case.inputs)
    return graph_of(case, False)


class Timed:
    """A session and the least time of its steps."""

    def __init__(self, graph: Graph, isa: str) -> None:
        rng = np.random.default_rng(1)
        self.session = Session(graph, threads=1, isa=isa)
        self.refusals = "; ".join(self.session.refusals.values())
        self.least = np.inf
        self.feeds = {
            t.name: rng.integers(-128, 128, t.shape).astype(t.dtype)  # pyright: ignore
            if t.dtype.kind == "i"
            else rng.standard_normal(t.shape).astype(t.dtype)  # pyright: ignore
            for t in graph.inputs
        }

    def turn(self) -> None:
        self.least = min(self.least, sum(ns for _, _, ns in self.session.profile(self.feeds)) / 1000)


def measure(case: Case, isa: str, repeats: int) -> tuple[float, float, str]:
    """Least float and int8 times in µs, and why either ran in numpy."""
    pair = [Timed(float_twin(case), isa), Timed(graph_of(case, True), isa)]
    for _ in range(repeats):
        for timed in pair:
            timed.turn()
    return pair[0].least, pair[1].least, " | ".join(t.refusals for t in pair if t.refusals)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--isa", default="")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--all", action="store_true")
    args = parser.parse_args()
    print(f"{'operator':58s} {'float µs':>9s} {'int8 µs':>9s} {'ratio':>6s}")
    for case in cases():
        if args.names and case.op not in args.names:
            continue
        plain, codes, refused = measure(case, args.isa, args.repeats)
        if plain >= LEAST_US or args.all:
            print(f"{case!s:58s} {plain:9.1f} {codes:9.1f} {codes / plain:6.2f}  {refused}", flush=True)


if __name__ == "__main__":
    main()
