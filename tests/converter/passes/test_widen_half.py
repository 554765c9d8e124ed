from __future__ import annotations

import numpy as np
from bitlite.converter.passes import GENERAL, run_passes
from bitlite.converter.passes.widen_half import widen_half


def half(net, *shape):
    return net.build.constant(net.rng.uniform(-1, 1, shape).astype(np.float16), "w")


def half_net(net):
    x = net.input(2, 6, dtype=np.float16)
    y = net.emit("FullyConnected", x, half(net, 4, 6), half(net, 4), name="dense")
    z = net.emit("Cast", net.emit("Cast", y, dtype="float32"), dtype="float16")
    return net.done(net.emit("Relu", net.emit("Add", z, half(net, 4))), y)


def test_the_inside_is_float32_and_the_ends_stay(net, outputs_of):
    graph = half_net(net)
    feeds = {"x": np.random.default_rng(0).normal(size=(2, 6)).astype(np.float16)}
    before = outputs_of(graph, feeds)
    run_passes(graph, GENERAL)
    after = outputs_of(graph, feeds)
    assert graph.inputs[0].dtype == np.float16
    for name, value in before.items():
        assert after[name].dtype == np.float16
        assert np.allclose(after[name], value, atol=1e-2)
    inner = [n for n in graph.nodes if n.op != "Cast"]
    assert all(t.dtype == np.float32 for n in inner for t in (*n.inputs, *n.outputs))
    assert [n.op for n in graph.nodes].count("Cast") == 3


def test_a_second_run_finds_nothing(net):
    graph = half_net(net)
    run_passes(graph, (widen_half,))
    assert run_passes(graph, (widen_half,)) == []


def test_half_weights_of_a_float32_network_stay_stored_so(net):
    x = net.input(2, 6)
    y = net.emit("FullyConnected", x, net.emit("Cast", half(net, 4, 6), dtype="float32"))
    z = net.emit(
        "Conv", net.input(1, 4, 4, 3, name="z"), half(net, 2, 1, 1, 3), stride=[1, 1], dilation=[1, 1], pad=[0] * 4
    )
    assert run_passes(net.done(y, z), (widen_half,)) == []
