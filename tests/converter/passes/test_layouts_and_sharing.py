from __future__ import annotations

import numpy as np
from bitlite.converter.passes import GENERAL, for_target, run_passes
from bitlite.converter.passes.cancel_transposes import cancel_transposes
from bitlite.converter.passes.declare_layout import absorb_input_layout, absorb_output_layout
from bitlite.converter.passes.eliminate_common_subexpressions import eliminate_common_subexpressions


def nchw_net(net):
    x = net.input(2, 3, 6, 5)
    x.layout = "NCHW"
    y = net.emit("Relu", net.first(net.conv(net.last(net.emit("Mul", x, net.const(3, 1, 1))), 4)), name="end")
    y.layout = "NCHW"
    return net.done(y)


def test_the_input_is_declared_channels_last(net):
    graph = nchw_net(net)
    run_passes(graph, (*GENERAL, *for_target("ms")))
    x, y = graph.inputs[0], graph.outputs[0]
    assert (x.name, x.shape, x.layout) == ("x", (2, 6, 5, 3), "NHWC")
    assert (y.name, y.shape, y.layout) == ("end", (2, 4, 6, 5), "NCHW")
    assert [n.op for n in graph.nodes] == ["Conv", "Transpose"]


def test_the_output_can_be_too(net):
    graph = nchw_net(net)
    run_passes(graph, (absorb_input_layout, absorb_output_layout, cancel_transposes))
    y = graph.outputs[0]
    assert (y.name, y.shape, y.layout) == ("end", (2, 6, 5, 4), "NHWC")
    assert "Transpose" not in [n.op for n in graph.nodes]


def test_other_inputs_keep_their_layout(net):
    net.input(2, 3, name="flat").layout = "NCHW"
    plain = net.input(2, 3, 4, 5, name="plain")
    graph = net.done(net.emit("Exp", plain))
    assert run_passes(graph, (absorb_input_layout,)) == []
    assert plain.shape == (2, 3, 4, 5)


def test_an_unread_input_changes_its_declaration_too(net):
    net.input(1, 3, 4, 5, name="unread").layout = "NCHW"
    graph = net.done(net.emit("Exp", net.input(2)))
    run_passes(graph, (absorb_input_layout,))
    assert graph.inputs[0].shape == (1, 4, 5, 3)
    assert graph.inputs[0].layout == "NHWC"


def test_equal_nodes_become_one(net, rewrite):
    x = net.input(2, 3)
    a, b = net.emit("Exp", x, name="a"), net.emit("Exp", x, name="b")
    got = rewrite(net.done(net.emit("Add", net.emit("Neg", a), net.emit("Neg", b))), eliminate_common_subexpressions)
    assert got.ops == ["Exp", "Neg", "Add"]
    assert got.graph.nodes[0].origin == ("a", "b")


def test_attributes_inputs_and_types_keep_nodes_apart(net, rewrite):
    x, z = net.input(2, 3), net.input(2, 3, name="z")
    nodes = [net.emit("Softmax", x, axis=0), net.emit("Softmax", x, axis=1), net.emit("Softmax", z, axis=0)]
    casts = [net.emit("Cast", x, dtype="int32"), net.emit("Cast", x, dtype="int64")]
    got = rewrite(net.done(*nodes, *casts), eliminate_common_subexpressions)
    assert len(got.ops) == 5


def test_of_two_equal_outputs_both_names_stay(net, rewrite):
    x = net.input(2, 3)
    got = rewrite(net.done(net.emit("Exp", x, name="a"), net.emit("Exp", x, name="b")), eliminate_common_subexpressions)
    assert got.ops == ["Exp", "Exp"]


def test_an_output_keeps_its_name_when_its_equal_goes(net, rewrite):
    x = net.input(2, 3)
    a, b = net.emit("Exp", x, name="a"), net.emit("Exp", x, name="b")
    got = rewrite(net.done(b, net.emit("Neg", a)), eliminate_common_subexpressions)
    assert got.ops == ["Exp", "Neg"]
    assert [t.name for t in got.graph.outputs] == ["b", "neg"]


def test_constants_with_the_same_bytes_become_one(net, rewrite):
    x = net.input(2, 40)
    values = net.rng.normal(size=(3, 40)).astype(np.float32)
    other = values.copy()
    other[1, 17] += 1
    constants = [net.build.constant(v) for v in (values, values.copy(), other, values.T.copy().T)]
    ys = [net.emit("FullyConnected", x, c) for c in constants]
    got = rewrite(net.done(net.emit("Concat", *ys, axis=1)), eliminate_common_subexpressions)
    assert got.ops == ["FullyConnected", "FullyConnected", "Concat"]


def test_signed_zero_and_quantization_keep_constants_apart(net, rewrite):
    from bitlite.converter.numeric.qparams import choose_symmetric

    x = net.input(2, 4)
    zero, minus = net.build.constant(np.zeros(4, np.float32)), net.build.constant(-np.zeros(4, np.float32))
    coded = [net.build.constant(np.ones((2, 4), np.int8)) for _ in range(2)]
    for c, top in zip(coded, (1.0, 2.0)):
        c.quant = choose_symmetric(top)
    ys = [net.emit("Add", x, c) for c in (zero, minus)] + [net.emit("FullyConnected", x, c) for c in coded]
    got = rewrite(net.done(*ys), eliminate_common_subexpressions)
    assert len({id(n.inputs[1]) for n in got.graph.nodes}) == 4


def test_each_container_gets_the_layout_its_readers_expect(new_net):
    wanted = {
        ("ms", "NHWC"): ("NHWC", "NCHW"),
        ("ms", "NCHW"): ("NCHW", "NCHW"),
        ("ms", "NHWC", "NHWC"): ("NHWC", "NHWC"),
        ("tflite",): ("NHWC", "NHWC"),
        ("onnx",): ("NCHW", "NCHW"),
    }
    for target, (at_input, at_output) in wanted.items():
        graph = nchw_net(new_net(0))
        run_passes(graph, GENERAL)
        run_passes(graph, for_target(*target))
        assert (graph.inputs[0].layout, graph.outputs[0].layout) == (at_input, at_output), target


def test_there_and_back_is_the_same_network(new_net, rewrite):
    graph = nchw_net(new_net(0))
    run_passes(graph, (*GENERAL, *for_target("tflite")))
    assert "Transpose" not in [n.op for n in graph.nodes]
    run_passes(graph, for_target("onnx"))
    assert graph.inputs[0].shape == (2, 3, 6, 5)
    rewrite(graph, *GENERAL)
