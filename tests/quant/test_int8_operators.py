"""Operators beyond convolutions in a quantized network: each computes on codes and stays close to float."""

import numpy as np
import pytest
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.native.session import Session
from bitlite.quant.ptq.post_training import quantize_graph
from bitlite.quant.ptq.settings import Settings


def weight(build, rng, *shape):
    return build.constant((rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), "w")


def head(build, rng, x, n=4):
    """Mean and classifier, so that what is tested is inside the network."""
    (m,) = build.emit("Reduce", [x], {"mode": "mean", "axes": [1, 2], "keep_dims": False}, name="mean")
    (y,) = build.emit("FullyConnected", [m, weight(build, rng, n, x.shape[-1])], {}, name="head")
    return y


def ints(build, values):
    return build.constant(np.array(values, np.int64), "ints")


CASES = {
    "Sub": lambda b, r, x, y: b.emit("Sub", [x, y], {"act": "relu"}, name="op"),
    "Mul": lambda b, r, x, y: b.emit("Mul", [x, y], {}, name="op"),
    "Maximum": lambda b, r, x, y: b.emit("Maximum", [x, y], {}, name="op"),
    "Minimum": lambda b, r, x, y: b.emit("Minimum", [x, y], {}, name="op"),
    "MatMul": lambda b, r, x, y: b.emit("MatMul", [x, y], {"transpose_b": True}, name="op"),
    "Sigmoid": lambda b, r, x, y: b.emit("Sigmoid", [x], {}, name="op"),
    "Tanh": lambda b, r, x, y: b.emit("Tanh", [x], {}, name="op"),
    "HardSwish": lambda b, r, x, y: b.emit("HardSwish", [x], {}, name="op"),
    "LeakyRelu": lambda b, r, x, y: b.emit("LeakyRelu", [x], {"alpha": 0.1}, name="op"),
    "Gelu": lambda b, r, x, y: b.emit("Gelu", [x], {}, name="op"),
    "Softmax": lambda b, r, x, y: b.emit("Softmax", [x], {"axis": -1}, name="op"),
    "AveragePool": lambda b, r, x, y: b.emit(
        "AveragePool", [x], {"kernel": [2, 2], "stride": [2, 2], "pad": [0] * 4, "dilation": [1, 1]}, name="op"
    ),
    "Transpose": lambda b, r, x, y: b.emit("Transpose", [x], {"perm": [0, 2, 1, 3]}, name="op"),
    "Concat": lambda b, r, x, y: b.emit("Concat", [x, y], {"axis": -1}, name="op"),
    "ConcatFixed": lambda b, r, x, y: b.emit(
        "Concat", [b.emit("Sigmoid", [x], {}, name="gate")[0], y], {"axis": -1}, name="op"
    ),
    "ConvTranspose": lambda b, r, x, y: b.emit(
        "ConvTranspose",
        [x, weight(b, r, 8, 3, 3, 6)],
        {"stride": [2, 2], "dilation": [1, 1], "pad": [1, 1, 1, 1], "output_padding": [0, 0]},
        name="op",
    ),
    "PRelu": lambda b, r, x, y: b.emit(
        "PRelu", [x, b.constant(r.uniform(-0.2, 0.5, 8).astype(np.float32), "slope")], {}, name="op"
    ),
    "BatchNorm": lambda b, r, x, y: b.emit(
        "BatchNorm", [x, *(b.constant(r.uniform(0.3, 2, 8).astype(np.float32), k) for k in "abcd")], {}, name="op"
    ),
    "Quotient": lambda b, r, x, y: b.emit("Div", [x, b.constant(np.float32(1.7), "k")], {}, name="op"),
    "Scalar": lambda b, r, x, y: b.emit("Add", [x, b.constant(np.float32(0.7), "k")], {}, name="op"),
    "Sum": lambda b, r, x, y: b.emit("Reduce", [x], {"mode": "sum", "axes": [2], "keep_dims": True}, name="op"),
    "Max": lambda b, r, x, y: b.emit("Reduce", [x], {"mode": "max", "axes": [1], "keep_dims": True}, name="op"),
    "Split": lambda b, r, x, y: b.emit("Split", [x], {"axis": 3, "sizes": [3, 5]}, name="op")[1:],
    "Slice": lambda b, r, x, y: b.emit(
        "Slice", [x, *(ints(b, v) for v in ([1, 0], [5, 4], [1, 2], [2, 1]))], {}, name="op"
    ),
    "Pad": lambda b, r, x, y: b.emit("Pad", [x, ints(b, [0, 0, 1, 2, 0, 1, 0, 0])], {}, name="op"),
    "Gather": lambda b, r, x, y: b.emit("Gather", [x, ints(b, [3, 0, 2])], {"axis": 2}, name="op"),
    "Resize": lambda b, r, x, y: b.emit("Resize", [x, ints(b, [9, 7])], {"method": "linear"}, name="op"),
    "Reshape": lambda b, r, x, y: b.emit("Reshape", [x, ints(b, [1, 12, 3, 8])], {}, name="op"),
    "Swish": lambda b, r, x, y: b.emit("Swish", [x], {}, name="op"),
    "HardSigmoid": lambda b, r, x, y: b.emit("HardSigmoid", [x], {}, name="op"),
    "Constant": lambda b, r, x, y: b.emit(
        "Mul", [x, b.constant(r.uniform(0.5, 2, 8).astype(np.float32), "k")], {}, name="op"
    ),
    "Attention": lambda b, r, x, y: b.emit(
        "Mul",
        [x, b.emit("Reduce", [y], {"mode": "mean", "axes": [1, 2], "keep_dims": True}, name="squeeze")[0]],
        {},
        name="op",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_operator_computes_on_codes(case, samples, sqnr):
    def network():
        rng = np.random.default_rng(3)
        graph = Graph("net")
        build = Builder(graph)
        x = build.input("x", np.float32, (1, 8, 8, 3))
        conv = {"stride": [1, 1], "dilation": [1, 1], "pad": [0, 0, 0, 0]}
        (a,) = build.emit("Conv", [x, weight(build, rng, 8, 3, 3, 3)], conv, name="left")
        (b,) = build.emit("Conv", [x, weight(build, rng, 8, 3, 3, 3)], {**conv, "act": "relu"}, name="right")
        (y,) = CASES[case](build, rng, a, b)
        graph.outputs = [head(build, rng, y)]
        return graph

    def outputs(graph):
        session = Session(graph)
        rng = np.random.default_rng(9)
        return np.concatenate(
            [
                next(iter(session.run({"x": rng.standard_normal((1, 8, 8, 3)).astype(np.float32)}).values()))
                for _ in range(20)
            ]
        ).astype(np.float64)

    want = outputs(network())
    result = quantize_graph(network(), samples, Settings(methods=("MAX_MIN",)))  # AUTO leaves in float what loses much
    assert not result.plan.why
    node = next(n for n in result.graph.nodes if n.name == "op")
    assert node.outputs[0].dtype == np.int8
    # The mean of products of random signs leaves little but noise.
    assert sqnr(want, outputs(result.graph)) > (12 if case in ("Attention", "MatMul") else 22)
