"""Masks of attention survive quantization: what carries them computes in float, everything else does not."""

import numpy as np
import pytest
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.converter.schema.verify import verify
from bitlite.native.session import Session
from bitlite.quant.ptq.placement import place
from bitlite.quant.ptq.post_training import quantize_graph
from bitlite.quant.ptq.settings import Settings

SIZE, WIDTH = 9, 16


def attention(value, how="Add"):
    """One head of causal attention; with how="input" the mask is an input of ones and zeros."""
    rng = np.random.default_rng(0)
    graph = Graph("net")
    build = Builder(graph)

    def emit(op, *inputs, name="", **attrs):
        return build.emit(op, list(inputs), attrs, name=name)[0]

    def const(x):
        return build.constant(np.asarray(x, np.float32), "c")

    def layer(x, name):
        w = rng.standard_normal((WIDTH, WIDTH)) * 2 / np.sqrt(WIDTH)
        return emit("FullyConnected", x, const(w), name=name)

    x = build.input("x", np.float32, (1, SIZE, WIDTH))
    q, k, v = layer(x, "q"), layer(x, "k"), layer(x, "v")
    scores = emit("Mul", emit("MatMul", q, k, name="dot", transpose_b=True), const(0.25), name="scale")
    later = np.triu(np.ones((SIZE, SIZE), bool), 1)
    if how == "Add":
        scores = emit("Add", scores, const(np.where(later, value, 0)), name="mask")
    elif how == "Where":
        scores = emit("Where", build.constant(later, "later"), const(value), scores, name="mask")
    elif how == "input":
        seen = build.input("seen", np.float32, (1, SIZE, SIZE))
        scores = emit("Add", scores, emit("Mul", emit("Sub", const(1), seen), const(value), name="hide"), name="mask")
    soft = emit("Softmax", scores, axis=-1, name="soft")
    graph.outputs = [layer(emit("MatMul", soft, v, name="mix"), "out")]
    verify(graph)
    return graph


class Data(list):
    def only(self, rows):
        return (self[k] for k in sorted(rows))


def data(seen=None, count=24, seed=1):
    rng = np.random.default_rng(seed)
    rows = [{"x": rng.standard_normal((1, SIZE, WIDTH)).astype(np.float32)} for _ in range(count)]
    return Data(rows if seen is None else [row | {"seen": np.full((1, SIZE, SIZE), 1, np.float32)} for row in rows])


def sqnr(graph, other, rows):
    a, b = (np.stack([next(iter(Session(g).run(row).values())) for row in rows]) for g in (graph, other))
    return 10 * np.log10(np.square(a).sum() / np.square(a - b).sum())


@pytest.mark.parametrize("how", ["Add", "Where"])
@pytest.mark.parametrize("value", [-np.inf, np.finfo(np.float32).min, -1e9, -1e4, -100])
def test_scores_beside_a_mask_keep_their_codes(value, how):
    result = quantize_graph(attention(value, how), data(), Settings())
    assert sqnr(attention(value, how), result.graph, data(seed=2)) > 25
    assert {"mask", "soft"} <= {n.name for n in result.plan.why}
    assert {"q", "k", "v", "dot", "scale", "mix", "out"} <= {n.name for n in result.plan.int8_nodes}


def test_a_mask_that_calibration_never_saw_still_hides():
    result = quantize_graph(attention(-1e4, "input"), data(seen=True), Settings())
    rows = data(seen=True, seed=2)
    for row in rows:
        row["seen"][..., SIZE // 2 :] = 0
    assert sqnr(attention(-1e4, "input"), result.graph, rows) > 25


@pytest.mark.parametrize("how", ["none", "Add"])
def test_softmax_without_a_mask_computes_on_codes(how):
    plan = place(attention(-5.0, how))
    assert "soft" in {n.name for n in plan.integer}


def test_a_large_constant_before_a_layer_is_no_mask():
    graph = Graph("net")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, WIDTH))
    (a,) = build.emit("Mul", [x, build.constant(np.float32(4096), "c")], {}, name="scale")
    (b,) = build.emit("FullyConnected", [a, build.constant(np.eye(WIDTH, dtype=np.float32), "w")], {}, name="fc")
    (c,) = build.emit("Softmax", [b], {"axis": -1}, name="soft")
    graph.outputs = build.emit("FullyConnected", [c, build.constant(np.eye(WIDTH, dtype=np.float32), "w")], {})
    assert {"scale", "fc", "soft"} <= {n.name for n in place(graph).integer}
