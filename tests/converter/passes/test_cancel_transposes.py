from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.passes import run_passes
from bitlite.converter.passes.cancel_transposes import cancel_transposes
from bitlite.converter.schema.builder import specialize


def nchw(net, x, function):
    """What a reader of an NC… container does around a spatial operator."""
    return net.first(function(net.last(x)))


def conv(net, x, out, **attrs):
    return nchw(net, x, lambda v: net.conv(v, out, **attrs))


def pool(net, x, op="MaxPool", k=2):
    window = {"kernel": [k, k], "stride": [k, k], "dilation": [1, 1], "pad": [0] * 4}
    return nchw(net, x, lambda v: net.emit(op, v, **window))


def count(graph):
    return sum(n.op == "Transpose" for n in graph.nodes)


def perms(graph):
    return [n.attrs["perm"] for n in graph.nodes if n.op == "Transpose"]


TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


def test_a_residual_network_keeps_one_transpose_at_its_input(net, rewrite):
    x = conv(net, net.input(2, 3, 8, 8), 4)
    for k in range(3):
        y = net.emit("Relu", conv(net, net.emit("Relu", x, name=f"a{k}"), 4), name=f"b{k}")
        x = net.emit("Add", conv(net, y, 4), x, name=f"sum{k}")
    x = net.emit("Reduce", x, mode="mean", axes=[2, 3], keep_dims=True)
    y = net.emit("FullyConnected", net.emit("Reshape", x, net.ints(-1, 4)), net.const(5, 4))
    got = rewrite(net.done(y), cancel_transposes)
    assert perms(got.graph) == [TO_LAST]
    assert got.graph.nodes[0].op == "Transpose"


def test_a_fire_module_concatenates_channels_last(net, rewrite):
    x = net.emit("Relu", conv(net, net.input(1, 3, 9, 9), 4))
    parts = [net.emit("Relu", conv(net, x, 6, k=1, pad=0)), net.emit("Relu", conv(net, x, 5))]
    y = pool(net, net.emit("Concat", *parts, axis=1))
    got = rewrite(net.done(conv(net, y, 2)), cancel_transposes)
    assert perms(got.graph) == [TO_LAST, TO_FIRST]
    assert got.node("Concat").attrs["axis"] == 3


def test_a_decoder_with_skips_keeps_the_transposes_at_its_ends(net, rewrite):
    x = net.input(1, 3, 8, 8)
    a = net.emit("Relu", conv(net, x, 4))
    b = net.emit("Relu", conv(net, pool(net, a), 6))
    window = {"stride": [2, 2], "dilation": [1, 1], "pad": [0] * 4, "output_padding": [0, 0]}
    up = nchw(net, b, lambda v: net.emit("ConvTranspose", v, net.const(6, 2, 2, 4), **window))
    y = net.emit("Sigmoid", conv(net, net.emit("Concat", up, a, axis=1), 2))
    z = net.emit("Softmax", conv(net, net.emit("Concat", up, a, x, axis=1), 2), axis=1)
    got = rewrite(net.done(y, z), cancel_transposes)
    assert perms(got.graph) == [TO_LAST, TO_FIRST, TO_FIRST]
    assert [n.attrs["axis"] for n in got.graph.nodes if n.op == "Softmax"] == [3]


def test_a_gate_from_a_vector_needs_no_transpose(net, rewrite):
    x = conv(net, net.input(2, 3, 6, 6), 4)
    v = net.emit("Reduce", x, mode="mean", axes=[2, 3], keep_dims=False)
    v = net.emit("Sigmoid", net.emit("FullyConnected", v, net.const(4, 4)))
    y = net.emit("Mul", x, net.emit("Reshape", v, net.ints(-1, 4, 1, 1)))
    got = rewrite(net.done(conv(net, y, 2)), cancel_transposes)
    assert perms(got.graph) == [TO_LAST, TO_FIRST]


def test_a_channel_shuffle_keeps_only_the_shuffle(net, rewrite):
    x = conv(net, net.input(2, 3, 6, 5), 8)
    y = net.emit("Reshape", x, net.ints(2, 2, 4, 6, 5))
    y = net.emit("Reshape", net.emit("Transpose", y, perm=[0, 2, 1, 3, 4]), net.ints(2, 8, 6, 5))
    got = rewrite(net.done(conv(net, y, 2)), cancel_transposes)
    assert sorted(perms(got.graph)) == [[0, 1, 2, 4, 3], TO_LAST, TO_FIRST]


@pytest.mark.parametrize("shape", [(4,), (4, 1, 1), (1, 4, 1, 1), (5,), (6, 5), (4, 6, 5), (2, 4, 6, 5), (1,), ()])
def test_broadcast_constants_follow(net, rewrite, shape):
    if shape == (4,):
        shape = (4, 1, 1)
    x = conv(net, net.input(2, 3, 6, 5), 4)
    y = net.emit("Sub", net.const(*shape), net.emit("Add", x, net.const(*shape)))
    got = rewrite(net.done(conv(net, y, 2)), cancel_transposes)
    assert perms(got.graph) == [TO_LAST, TO_FIRST]
    bases = [t.data for t in got.node("Sub").inputs if t.is_const]
    assert all(not b.flags.owndata for b in bases) or max(shape, default=1) == 1


def test_a_per_channel_slope_follows(net, rewrite):
    y = net.emit("PRelu", conv(net, net.input(1, 3, 6, 5), 4), net.const(4, 1, 1))
    got = rewrite(net.done(conv(net, y, 2)), cancel_transposes)
    assert perms(got.graph) == [TO_LAST, TO_FIRST]


def test_rows_with_axes_rename_them(net, rewrite):
    x = conv(net, net.input(2, 3, 6, 5), 4)
    y = net.emit("Pad", x, net.ints(0, 0, 1, 0, 2, 1, 0, 3))
    y = net.emit("Slice", y, net.ints(1, 0), net.ints(9, 5), net.ints(2, 3), net.ints(2, 1))
    a, b = net.many("Split", y, axis=1, sizes=[2, 3])
    c = net.emit("Reduce", b, mode="max", axes=[1], keep_dims=True)
    d = net.emit("Reduce", b, mode="sum", axes=[-1], keep_dims=False)
    got = rewrite(net.done(conv(net, a, 2), conv(net, c, 2), d), cancel_transposes)
    assert sorted(perms(got.graph)) == [[0, 2, 1], TO_LAST, TO_FIRST, TO_FIRST]


def test_one_and_three_spatial_axes(net, rewrite):
    x = net.input(2, 3, 7, name="x1")
    w, window = net.const(4, 3, 3), {"stride": [1], "dilation": [1], "pad": [1, 1]}
    y = net.emit("Relu", net.first(net.emit("Conv", net.last(x), w, **window)))
    y = net.first(net.emit("Conv", net.last(y), net.const(2, 3, 4), **window))
    v = net.input(1, 2, 3, 4, 5, name="x3")
    window = {"stride": [1] * 3, "dilation": [1] * 3, "pad": [1] * 6}
    z = net.emit("Relu", net.first(net.emit("Conv", net.last(v), net.const(3, 3, 3, 3, 2), **window)))
    z = net.first(net.emit("Conv", net.last(z), net.const(2, 3, 3, 3, 3), **window))
    assert count(rewrite(net.done(y, z), cancel_transposes).graph) == 4


def test_an_unknown_batch_is_no_obstacle(net, rewrite):
    x = net.emit("Relu", conv(net, net.input(None, 3, 4, 4), 4))
    y = net.emit("Reduce", x, mode="mean", axes=[2, 3], keep_dims=True)
    got = rewrite(net.done(net.emit("Reshape", y, net.ints(-1, 4)), conv(net, x, 2)), cancel_transposes)
    assert perms(got.graph) == [TO_LAST, TO_FIRST]


def test_moving_only_axes_of_size_one_is_a_reshape(net, rewrite):
    y = net.emit("Reduce", conv(net, net.input(1, 3, 4, 4), 4), mode="mean", axes=[2, 3], keep_dims=True)
    got = rewrite(net.done(y), cancel_transposes)
    assert got.ops == ["Transpose", "Conv", "Reduce", "Reshape"]


def test_a_transpose_rises_to_where_it_cancels(net, rewrite):
    x = net.first(net.conv(net.input(2, 6, 5, 3), 8))
    y = net.emit("Reshape", x, net.ints(2, 8, 30))
    end = net.emit("Transpose", net.emit("Exp", net.emit("Relu", y)), perm=[0, 2, 1])
    got = rewrite(net.done(net.emit("FullyConnected", end, net.const(4, 8))), cancel_transposes)
    assert count(got.graph) == 0


def test_transposes_of_an_attention_stay_apart(net, rewrite):
    x = net.input(2, 5, 12)
    heads = [
        net.emit("Reshape", net.emit("FullyConnected", x, net.const(12, 12)), net.ints(2, 5, 3, 4)) for _ in range(3)
    ]
    q, k, v = (net.emit("Transpose", h, perm=[0, 2, 1, 3]) for h in heads)
    scores = net.emit("Softmax", net.emit("Mul", net.emit("MatMul", q, k, transpose_b=True), net.const(1)), axis=-1)
    y = net.emit("Transpose", net.emit("MatMul", scores, v), perm=[0, 2, 1, 3])
    got = rewrite(net.done(net.emit("Reshape", y, net.ints(2, 5, 12))), cancel_transposes)
    assert count(got.graph) == 4


def test_an_operand_that_is_not_transposed_is_refused_when_it_costs_more(net, rewrite):
    x = conv(net, net.input(1, 3, 6, 5), 1)
    y = net.emit("Mul", x, net.input(1, 8, 6, 5, name="other"))
    got = rewrite(net.done(net.emit("Reshape", y, net.ints(-1))), cancel_transposes)
    assert got.node("Mul").inputs[1].name == "other"


def test_an_output_in_the_middle_keeps_its_name_and_order(net, rewrite):
    x = net.emit("Relu", conv(net, net.input(1, 3, 4, 5), 4), name="middle")
    got = rewrite(net.done(x, conv(net, x, 2)), cancel_transposes)
    assert perms(got.graph) == [TO_LAST, TO_FIRST, TO_FIRST]
    assert got.graph.outputs[0].shape == (1, 4, 4, 5)


def test_values_keep_the_names_of_the_source(net, rewrite):
    x = net.input(1, 3, 4, 5)
    y = net.emit(
        "Conv", net.last(x), net.const(4, 1, 1, 3), stride=[1, 1], dilation=[1, 1], pad=[0] * 4, name="conv:raw"
    )
    y = net.emit("Transpose", y, perm=TO_FIRST, name="conv_out")
    y = net.emit("Relu", y, name="relu_out")
    got = rewrite(net.done(conv(net, y, 2)), cancel_transposes)
    assert got.node("Relu").inputs[0].name == "conv_out"
    assert got.node("Relu").outputs[0].name == "relu_out"
    assert got.node("Relu").name == "relu_out"


def test_quantized_values_keep_their_parameters(net):
    from bitlite.converter.numeric.qparams import choose_asymmetric
    from bitlite.converter.passes import run_passes

    qp = choose_asymmetric(-1.0, 1.0)
    x = net.input(1, 4, 4, 3, dtype=np.int8)
    y = net.emit("Transpose", net.emit("Concat", net.emit("Transpose", x, perm=TO_FIRST), axis=1), perm=TO_LAST)
    z = net.emit("Reshape", y, net.ints(-1))
    for t in net.graph.tensors():
        if t.dtype == np.int8:
            t.quant = qp
    graph = net.done(z)
    run_passes(graph, (cancel_transposes,))
    assert [n.op for n in graph.nodes] == ["Concat", "Reshape"]
    assert all(t.quant == qp for n in graph.nodes for t in n.outputs)


def grown(net, rng, steps):
    """A random NC… graph of what readers emit."""
    rank = int(rng.choice([3, 4, 5]))
    sizes = [int(rng.integers(1, 4)), 4, *rng.integers(1, 5, rank - 2).tolist()]
    pool_of = [net.input(*sizes)]
    for _ in range(steps):
        x = pool_of[int(rng.integers(len(pool_of)))] if rng.random() < 0.4 else pool_of[-1]
        kind = int(rng.integers(15))
        if x.rank is None or x.rank < 2:
            continue
        axis = int(rng.integers(x.rank))
        if kind == 0 and 3 <= x.rank <= 5:
            window = {"stride": [1] * (x.rank - 2), "dilation": [1] * (x.rank - 2), "pad": [0] * (2 * x.rank - 4)}
            w = net.const(4, *[1] * (x.rank - 2), x.shape[1])
            y = net.first(net.emit("Conv", net.last(x), w, **window))
        elif kind == 1:
            same = [t for t in pool_of if t.shape == x.shape]
            y = net.emit("Add", x, same[int(rng.integers(len(same)))])
        elif kind == 2:
            shape = [n if rng.random() < 0.5 else 1 for n in x.shape][int(rng.integers(x.rank)) :]
            y = net.emit("Mul", *(net.const(*shape), x)[:: int(rng.choice([1, -1]))])
        elif kind == 3:
            y = net.emit("Concat", x, x, axis=axis) if max(x.shape) < 9 else x
        elif kind == 4:
            y = net.emit("Reduce", x, mode="mean", axes=[axis], keep_dims=bool(rng.random() < 0.5))
        elif kind == 5:
            y = net.emit("Transpose", x, perm=rng.permutation(x.rank).tolist())
        elif kind == 6:
            flat = [int(n) for n in x.shape]
            cut = int(rng.integers(x.rank - 1))
            y = net.emit("Reshape", x, net.ints(*flat[:cut], flat[cut] * flat[cut + 1], *flat[cut + 2 :]))
        elif kind == 7 and x.shape[axis] % 2 == 0 and x.rank < 5:
            y = net.emit("Reshape", x, net.ints(*x.shape[:axis], 2, x.shape[axis] // 2, *x.shape[axis + 1 :]))
        elif kind == 8:
            y = net.emit("Softmax", x, axis=axis)
        elif kind == 9 and x.shape[axis] > 1:
            y = net.many("Split", x, axis=axis, sizes=[1, x.shape[axis] - 1])[int(rng.integers(2))]
        elif kind == 10:
            pads = [0] * (2 * x.rank)
            pads[2 * axis] = 1
            y = net.emit("Pad", x, net.ints(*pads))
        elif kind == 11:
            y = net.first(x) if x.rank > 2 else x
        elif kind == 12:
            y = net.last(x) if x.rank > 2 else x
        elif kind == 13 and 1 in x.shape:
            y = net.emit("Squeeze", x, axes=[x.shape.index(1)])
        else:
            y = net.emit("Tanh", x)
        pool_of.append(y)
    ends = [t for t in pool_of[1:] if rng.random() < 0.2] + [pool_of[-1]]
    return net.done(*dict.fromkeys(t for t in ends if t is not pool_of[0])) if len(pool_of) > 1 else None


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs_keep_their_outputs(new_net, rewrite, seed):
    rng = np.random.default_rng(seed)
    graph = grown(new_net(seed), rng, int(rng.integers(3, 14)))
    if graph is not None and graph.outputs:
        rewrite(graph, cancel_transposes)


def test_a_batch_of_one_may_become_another(net, outputs_of):
    x = conv(net, net.input(1, 3, 4, 5), 6)
    head = net.emit("Reduce", x, mode="mean", axes=[2, 3], keep_dims=True)
    turned = net.emit("Transpose", net.emit("Reshape", head, net.ints(-1, 6), name="flat"), perm=[1, 0], name="turned")
    parts = net.emit("Reshape", x, net.ints(-1, 2, 3, 20), name="parts")
    folded = net.emit("Reshape", x, net.ints(-1, 20), name="folded")
    graph = net.done(head, turned, net.emit("Exp", parts), net.emit("Neg", folded))
    feeds = {"x": np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype(np.float32)}
    before = outputs_of(specialize(graph, {"x": (3, 3, 4, 5)}), feeds)
    run_passes(graph, (cancel_transposes,))
    after = outputs_of(specialize(graph, {"x": (3, 3, 4, 5)}), feeds)
    for name, value in before.items():
        assert np.allclose(after[name], value, atol=1e-6), name
