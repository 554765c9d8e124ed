import dataclasses

import numpy as np
import pytest
from bitlite.converter.numeric.qparams import choose_symmetric, quantize
from bitlite.converter.ops.recurrent.unroll_limits import MOST_STEPS
from bitlite.converter.passes.unroll_recurrent import unroll_recurrent, unroll_recurrent_for_ms
from bitlite.converter.schema.verify import verify

GATES = {"Lstm": 4, "Gru": 3, "Rnn": 1}
STATES = {"Lstm": 2, "Gru": 1, "Rnn": 1}
T, N, F, H = 4, 3, 2, 5


def layer(net, op, steps=T, batch=N, directions=1, lengths=None, start=False, peep=False, bias=True, **attrs):
    many = GATES[op]
    x = net.input(steps, batch, F)
    inputs = [x, net.const(directions, many * H, F), net.const(directions, many * H, H)]
    inputs.append(net.const(directions, 2 * many * H) if bias else None)
    inputs.append(lengths)
    states = [net.const(directions, N, H) if start else None for _ in range(STATES[op])]
    inputs += [*states, net.const(1, 3 * H) if peep else None] if op == "Lstm" else states
    if directions == 2:
        attrs["direction"] = "bidirectional"
    net.done(*net.many(op, *inputs, hidden_size=H, **attrs))
    return net.graph


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize(
    "form",
    [
        {},
        {"directions": 2, "start": True},
        {"direction": "reverse", "bias": False},
        {"steps": 1, "start": True},
        {"batch": None},
    ],
)
def test_the_steps_give_what_the_layer_gives(net, rewrite, op, form):
    done = rewrite(layer(net, op, **form), unroll_recurrent)
    assert op not in done.ops
    assert len(done.changes) == 1


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("constant", [True, False])
def test_sequences_end_where_their_lengths_say(net, op, direction, constant, outputs_of):
    ends = np.array([2, 4, 3], np.int32)
    lengths = net.build.constant(ends) if constant else net.build.input("lengths", np.int32, (N,))
    graph = layer(net, op, lengths=lengths, start=True, direction=direction)
    feeds = {"x": np.random.default_rng(1).normal(size=(T, N, F)).astype(np.float32)}
    if not constant:
        feeds["lengths"] = ends
    want = outputs_of(graph, feeds)
    assert [r.node for r in unroll_recurrent(graph)] == [op.lower()]
    verify(graph)
    for name, y in outputs_of(graph, feeds).items():
        np.testing.assert_allclose(y, want[name], atol=1e-6)


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("Lstm", {"clip": 0.3, "peep": True, "start": True}),
        ("Lstm", {"input_forget": True, "cell_clip": 0.2}),
        ("Lstm", {"activations": ["HardSigmoid", "ScaledTanh", "Softsign"], "alpha": [0.3, 1.2], "beta": [0.4, 0.7]}),
        ("Gru", {"linear_before_reset": True, "clip": 0.4, "start": True, "directions": 2}),
        ("Gru", {"linear_before_reset": True}),
        ("Gru", {"linear_before_reset": True, "bias": False}),
        ("Gru", {"activations": ["Sigmoid", "LeakyRelu", "Softplus", "Elu"], "directions": 2, "alpha": [0.1, 0.8]}),
        ("Rnn", {"activations": ["Affine"], "alpha": [0.5], "beta": [0.1]}),
        ("Rnn", {"activations": ["ThresholdedRelu"], "alpha": [0.2]}),
    ],
)
def test_every_gate_has_its_function(net, rewrite, op, attrs):
    assert op not in rewrite(layer(net, op, **attrs), unroll_recurrent).ops


def test_only_the_outputs_that_are_read_are_made(net, rewrite):
    x, w, r = net.input(T, N, F), net.const(1, H, F), net.const(1, H, H)
    done = rewrite(net.done(net.many("Rnn", x, w, r, hidden_size=H)[1]), unroll_recurrent)
    assert "ExpandDims" not in done.ops
    done = rewrite(done.graph, unroll_recurrent)
    assert not done.changes


def test_weights_and_states_of_a_run_are_taken_apart_there(net, rewrite):
    x, w, r = net.input(T, N, F), net.input(2, 3 * H, F, name="w"), net.input(2, 3 * H, H, name="r")
    b, h = net.input(2, 6 * H, name="b"), net.input(2, N, H, name="h")
    for after in (True, False):
        attrs = {"hidden_size": H, "direction": "bidirectional", "linear_before_reset": after}
        done = rewrite(net.done(*net.many("Gru", x, w, r, b, None, h, **attrs)), unroll_recurrent)
        assert "MatMul" in done.ops
        net.graph.nodes = []


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("dynamic", [False, True])
def test_quantized_weights_keep_their_codes(net, rewrite, op, dynamic):
    graph = layer(net, op, directions=2, dynamic=dynamic)
    codes = set()
    for w in graph.nodes[0].inputs[1:3]:
        q = choose_symmetric(np.abs(w.data).max((0, 2)), 8, 1)
        w.data, w.dtype, w.quant = quantize(w.data, q), np.dtype(np.int8), q
        codes |= {bytes(row) for row in w.data.reshape(-1, w.data.shape[2])}
    done = rewrite(graph, unroll_recurrent)
    products = [n for n in done.graph.nodes if n.op == "FullyConnected"]
    for w in {n.inputs[1] for n in products}:
        assert (w.dtype, w.quant.axis) == (np.int8, 0)
        codes -= {bytes(row) for row in w.data}
    assert not codes
    assert {n.attrs["dynamic"] for n in products} == {dynamic}


def test_unknown_or_too_many_steps_are_left_and_named(net, rewrite):
    done = rewrite(layer(net, "Gru", steps=None), unroll_recurrent)
    assert done.ops == ["Gru"] and "not known" in done.reasons()


def test_a_limit_of_steps_and_of_bytes_is_named(new_net):
    net = new_net()
    lengths = net.build.constant(np.full(N, 2, np.int32))
    (refusal,) = unroll_recurrent_for_ms(layer(net, "Gru", steps=MOST_STEPS + 1, lengths=lengths))
    assert f"{MOST_STEPS + 1} steps" in refusal.reason
    net = new_net()
    graph = layer(net, "Rnn", steps=MOST_STEPS, lengths=net.build.constant(np.full(N, 2, np.int32)))
    w, r = (net.build.constant(np.broadcast_to(np.float32(0), (1, 600, n))) for n in (F, 600))
    node = graph.nodes[0]
    node.inputs[:4], node.attrs["hidden_size"] = [graph.inputs[0], w, r, None], 600
    (refusal,) = unroll_recurrent_for_ms(graph)
    assert "MB" in refusal.reason


@pytest.mark.parametrize(("form", "steps"), [({}, 129), ({"direction": "reverse"}, 200), ({"directions": 2}, 600)])
def test_a_long_layer_stays_for_tflite_which_gets_it_as_a_loop(net, rewrite, form, steps):
    done = rewrite(layer(net, "Gru", steps=steps, start=True, **form), unroll_recurrent)
    assert done.ops.count("Gru") == form.get("directions", 1)
    assert all(n.attrs["direction"] == "forward" for n in done.graph.nodes if n.op == "Gru")


def test_what_mindspore_lite_has_is_kept(new_net, rewrite):
    kept = [("Lstm", {}), ("Lstm", {"directions": 2}), ("Gru", {"batch": 1}), ("Gru", {"batch": 1, "directions": 2})]
    for op, form in kept:
        assert rewrite(layer(new_net(), op, **form), unroll_recurrent_for_ms).ops == [op]
    for op, form in (("Lstm", {"clip": 1.0}), ("Gru", {"batch": 1, "linear_before_reset": True}), ("Rnn", {})):
        assert op not in rewrite(layer(new_net(), op, **form), unroll_recurrent_for_ms).ops


def test_the_second_direction_may_have_other_functions(net, rewrite):
    names = ["Sigmoid", "Tanh", "Tanh", "Sigmoid", "Relu", "Tanh"]
    assert "Lstm" not in rewrite(layer(net, "Lstm", directions=2, activations=names), unroll_recurrent_for_ms).ops


@pytest.mark.parametrize("form", [{}, {"start": True, "directions": 2}, {"steps": MOST_STEPS + 1}])
def test_a_batch_of_a_plain_gru_is_a_gru_for_each_sequence(net, rewrite, form):
    done = rewrite(layer(net, "Gru", **form), unroll_recurrent_for_ms)
    assert done.ops.count("Gru") == N


def test_a_gru_quantized_by_rows_is_unrolled_for_ms(net, rewrite):
    graph = layer(net, "Gru", batch=1)
    w = graph.nodes[0].inputs[1]
    q = choose_symmetric(np.abs(w.data).max((0, 2)), 8, 1)
    w.data, w.dtype, w.quant = quantize(w.data, q), np.dtype(np.int8), q
    assert "Gru" not in rewrite(graph, unroll_recurrent_for_ms).ops
    one = dataclasses.replace(q, scale=q.scale[:1], zero_point=q.zero_point[:1], axis=None)
    graph = layer(type(net)(), "Gru", batch=1)
    w = graph.nodes[0].inputs[1]
    w.data, w.dtype, w.quant = quantize(w.data, one), np.dtype(np.int8), one
    assert rewrite(graph, unroll_recurrent_for_ms).ops == ["Gru"]
