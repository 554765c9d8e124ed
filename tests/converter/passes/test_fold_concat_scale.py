from __future__ import annotations

import pytest
from bitlite.converter.passes import run_passes
from bitlite.converter.passes.fold_concat_scale import fold_concat_scale


def branches(net, *, act="none"):
    """Two convolutions and a transposed one, of 6, 3 and 4 channels, joined."""
    x = net.input(1, 5, 5, 4)
    window = {"stride": [1, 1], "dilation": [1, 1], "pad": [1] * 4, "output_padding": [0, 0]}
    last = net.emit("ConvTranspose", x, net.const(4, 3, 3, 4), net.const(4), group=1, name="up", **window)
    return [net.conv(x, 6, act=act), net.conv(x, 3, k=1, pad=0), last]


def behind(net, y, op):
    if op == "BatchNorm":
        values = [net.const(13), net.const(13), net.const(13), net.const(13, low=0.1)]
        return net.emit(op, y, *values, epsilon=1e-3, name="last")
    return net.emit(op, y, net.const(1, 1, 1, 13, low=0.5), name="last")


@pytest.mark.parametrize("op", ["Mul", "Div", "Add", "Sub", "BatchNorm"])
def test_each_layer_takes_its_part(net, rewrite, op):
    got = rewrite(net.done(behind(net, net.emit("Concat", *branches(net), axis=-1), op)), fold_concat_scale)
    assert sorted(got.ops) == ["Concat", "Conv", "Conv", "ConvTranspose"]
    assert got.node("Concat").outputs[0].name == "last"
    assert got.node("ConvTranspose").origin[-1] == "last"


@pytest.mark.parametrize(
    ("case", "reason"),
    [("activation", "has the activation relu"), ("output", "is a graph output"), ("overflow", "not be finite")],
)
def test_refusals_say_why(net, case, reason):
    parts = branches(net, act="relu" if case == "activation" else "none")
    y = behind(net, net.emit("Concat", *parts, axis=-1), "Mul")
    graph = net.done(y, *([parts[1]] if case == "output" else []))
    if case == "overflow":
        graph.nodes[1].inputs[1].data[:] = 3e38
        graph.nodes[-1].inputs[1].data[:] = 1e3
    records = run_passes(graph, (fold_concat_scale,))
    assert [r for r in records if reason in r.reason], records
    assert graph.nodes[-1].op == "Mul"


@pytest.mark.parametrize("case", ["pool", "twice", "rows"])
def test_what_is_no_layer_of_its_own_stays(net, rewrite, case):
    a, b, c = branches(net)
    if case == "pool":
        b = net.emit("Relu", b)
    joined = net.emit("Concat", *((a, a, a) if case == "twice" else (a, b, c)), axis=-1)
    if case == "rows":
        joined = net.emit("Concat", a, a, axis=1)
    scaled = net.emit("Mul", joined, net.const(joined.shape[-1], low=0.5))
    assert rewrite(net.done(scaled, c), fold_concat_scale).ops[-1] == "Mul"
