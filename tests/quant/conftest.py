"""Small float networks, and their calibration samples, for the tests of quantization."""

import numpy as np
import pytest
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.converter.schema.verify import verify

CONV = {"stride": [1, 1], "dilation": [1, 1], "pad": [1, 1, 1, 1]}
POINT = {"stride": [1, 1], "dilation": [1, 1], "pad": [0, 0, 0, 0]}


class Samples:
    """A list of samples with `only`, as `Dataset` has it."""

    def __init__(self, arrays, name="x"):
        self.rows = [{name: a} for a in arrays]

    def __len__(self):
        return len(self.rows)

    def __iter__(self):
        return iter(self.rows)

    def only(self, rows):
        return (self.rows[k] for k in sorted(rows))


def small_network(seed=0, softmax=True):
    """Conv relu → depthwise relu6 → conv, added to a shortcut, pooled, joined with itself, averaged, classified."""
    rng = np.random.default_rng(seed)

    def weight(*shape):
        return build.constant((rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), "w")

    def bias(n):
        return build.constant(rng.standard_normal(n).astype(np.float32) * 0.3, "b")

    graph = Graph("net")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 8, 8, 3))
    wide = build.constant(
        (rng.standard_normal((16, 3, 3, 3)) * rng.uniform(0.05, 1.5, (16, 1, 1, 1))).astype(np.float32), "w"
    )
    (a,) = build.emit("Conv", [x, wide, bias(16)], {**CONV, "act": "relu"}, name="first")
    (b,) = build.emit("Conv", [a, weight(16, 3, 3, 1), bias(16)], {**CONV, "group": 16, "act": "relu6"}, name="each")
    (c,) = build.emit("Conv", [b, weight(16, 1, 1, 16), bias(16)], POINT, name="mix")
    (d,) = build.emit("Add", [a, c], {"act": "relu"}, name="sum")
    pool = {"kernel": [2, 2], "stride": [2, 2], "pad": [0, 0, 0, 0], "dilation": [1, 1]}
    (e,) = build.emit("MaxPool", [d], pool, name="pool")
    (f,) = build.emit("Conv", [e, weight(8, 1, 1, 16), bias(8)], {**POINT, "act": "relu"}, name="side")
    (g,) = build.emit("Concat", [e, f], {"axis": 3}, name="join")
    (h,) = build.emit("Reduce", [g], {"mode": "mean", "axes": [1, 2], "keep_dims": False}, name="mean")
    (y,) = build.emit("FullyConnected", [h, weight(5, 24), bias(5)], {}, name="classify")
    if softmax:
        (y,) = build.emit("Softmax", [y], {"axis": -1}, name="soft")
    graph.outputs = [y]
    verify(graph)
    return graph


@pytest.fixture
def network():
    return small_network


@pytest.fixture
def samples():
    rng = np.random.default_rng(5)
    return Samples([rng.standard_normal((1, 8, 8, 3)).astype(np.float32) for _ in range(24)])


@pytest.fixture
def sqnr():
    def measure(want, got):
        return 10 * np.log10(np.square(want).sum() / np.square(want - got).sum())

    return measure


@pytest.fixture
def outputs():
    """Outputs of a graph on fresh samples, stacked."""
    from bitlite.native.session import Session

    def run(graph, count=40):
        rng = np.random.default_rng(77)
        session = Session(graph)
        name = graph.inputs[0].name
        arrays = [rng.standard_normal((1, 8, 8, 3)).astype(np.float32) for _ in range(count)]
        return np.concatenate([next(iter(session.run({name: a}).values())) for a in arrays]).astype(np.float64)

    return run
