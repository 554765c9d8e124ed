from __future__ import annotations

import numpy as np
import pytest
from bitlite.converter.numeric.qparams import choose_asymmetric, choose_symmetric, quantize
from bitlite.converter.passes import ALL, GENERAL, for_target, run_passes
from bitlite.converter.passes.pools import split_counted_pads
from bitlite.converter.schema.verify import verify


def grown(net, rng, steps):
    """A random convolutional graph in N…C and NC… pieces, with the leftovers that exporters leave."""
    x = net.input(2, 4, 6, 5)
    x.layout = "NCHW"
    values = [x]

    def pick(rank=4):
        fit = [t for t in values if t.rank == rank]
        return fit[int(rng.integers(len(fit)))] if rng.random() < 0.4 else fit[-1]

    def number(value):
        return net.build.constant(np.float32(value), "c")

    def vector(t, last=False):
        shape = [1] * t.rank
        axis = t.rank - 1 if last else min(1, t.rank - 1)
        shape[axis] = t.shape[axis]
        return net.const(*shape[axis:], low=0.5) if rng.random() < 0.8 else net.const(1)

    def conv(t):
        t = net.last(t)
        if rng.random() < 0.3:
            t = net.emit("Pad", t, net.ints(0, 0, 1, 0, 0, 1, 0, 0))
        k = 3 if min(t.shape[1:3]) >= 3 and rng.random() < 0.5 else 1
        group = 2 if t.shape[-1] % 2 == 0 and rng.random() < 0.3 else 1
        return net.first(net.conv(t, 4, k=k, pad=k // 2, group=group))

    def batch_norm(t):
        t = net.last(t)
        c = t.shape[-1]
        return net.first(net.emit("BatchNorm", t, net.const(c), net.const(c), net.const(c), net.const(c, low=0.2)))

    def pool(t):
        window = {"kernel": [2, 2], "stride": [1, 2], "dilation": [1, 1], "pad": [0, 1, 1, 0]}
        op = ["MaxPool", "AveragePool"][int(rng.integers(2))]
        extra = {"count_include_pad": bool(rng.integers(2))} if op == "AveragePool" else {}
        return net.first(net.emit(op, net.last(t), **window, **extra))

    def gate(t):
        r = net.emit("Relu6", net.emit("Add", t, number(3)))
        return net.emit("Div", net.emit("Mul", t, r), number(6))

    def add(t):
        same = [v for v in values if v.shape == t.shape]
        return net.emit("Add", t, same[int(rng.integers(len(same)))])

    def dense(t):
        y = net.emit("Reshape", t, net.ints(2, int(np.prod(t.shape[1:]))))
        y = net.emit("MatMul", net.emit("Relu", y) if rng.random() < 0.5 else y, net.const(y.shape[1], 6))
        return net.emit("Add", y, net.const(6))

    def head(t):
        return net.emit("Reduce", t, mode="mean", axes=[2, 3], keep_dims=bool(rng.integers(2)))

    def norm(t):
        d = net.emit("Sub", t, net.emit("Reduce", t, mode="mean", axes=[-1], keep_dims=True))
        v = net.emit("Reduce", net.emit("Mul", d, d), mode="mean", axes=[-1], keep_dims=True)
        return net.emit(
            "Mul", net.emit("Div", d, net.emit("Sqrt", net.emit("Add", v, number(1e-2)))), net.const(t.shape[-1])
        )

    kinds = [
        conv,
        conv,
        conv,
        batch_norm,
        batch_norm,
        pool,
        gate,
        add,
        head,
        dense,
        norm,
        lambda t: net.emit("Relu", t),
        lambda t: net.emit("Clip", t, min=0.0, max=float(rng.choice([6.0, 1.0, np.inf]))),
        lambda t: net.emit("Mul", t, vector(t)),
        lambda t: net.emit("Add", vector(t), t),
        lambda t: net.emit("Mul", t, net.emit("Sigmoid", t)),
        lambda t: (
            net.emit("Concat", t, t, axis=1)
            if t.shape[1] < 9
            else net.many("Split", t, axis=1, sizes=[3, t.shape[1] - 3])[1]
        ),
        lambda t: net.emit("Identity", net.emit("Cast", t, dtype="float32")),
        lambda t: net.emit("Softmax", t, axis=1),
        lambda t: net.emit("Tanh", t),
    ]
    for _ in range(steps):
        t = pick()
        values.append(kinds[int(rng.integers(len(kinds)))](t))
    ends = [t for t in values[1:] if rng.random() < 0.15] + [values[-1]]
    return net.done(*dict.fromkeys(ends))


@pytest.mark.parametrize("seed", range(60))
def test_random_networks_keep_their_outputs(new_net, rewrite, seed):
    rng = np.random.default_rng(seed)
    graph = grown(new_net(seed), rng, int(rng.integers(3, 16)))
    passes = (GENERAL, (*GENERAL, split_counted_pads))[seed % 2]
    got = rewrite(graph, *passes, tolerance=2e-5)
    again = run_passes(got.graph, passes)
    assert [r for r in again if r in got.changes and r not in got.refusals] == []


@pytest.mark.parametrize("seed", range(0, 60, 4))
def test_no_pass_depends_on_another(new_net, rewrite, seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(GENERAL))
    graph = grown(new_net(seed), rng, int(rng.integers(3, 16)))
    rewrite(graph, *(GENERAL[k] for k in order if rng.random() < 0.7), tolerance=2e-5)


def test_skipping_each_pass_leaves_a_sound_graph(new_net):
    for function in ALL:
        graph = grown(new_net(3), np.random.default_rng(3), 12)
        records = run_passes(graph, (*GENERAL, *for_target("ms")), skip=[function.__name__])
        assert function.__name__ not in {r.pass_name for r in records}
        verify(graph)


def test_every_type_is_what_the_rows_say(new_net):
    from bitlite.converter.ops import infer

    for seed in range(20):
        graph = grown(new_net(seed), np.random.default_rng(seed), 14)
        run_passes(graph, (*GENERAL, *for_target("ms")))
        for node in graph.nodes:
            for t, (dtype, shape) in zip(node.outputs, infer(node)):
                assert (t.dtype, t.shape) == (dtype, shape), node


def test_an_integer_network_keeps_every_code(new_net, rewrite):
    """Nothing but copies may move: every quantized value stays what it was."""
    net = new_net(0)
    qa, qb = choose_asymmetric(-1.0, 1.0), choose_asymmetric(-2.0, 2.0)
    x = net.input(1, 3, 6, 6, dtype=np.int8)
    w = net.const(4, 3, 3, 3)
    qw = choose_symmetric(np.abs(w.data).max((1, 2, 3)), 8, 0)
    w.data, w.dtype, w.quant = quantize(w.data, qw), np.dtype(np.int8), qw
    x.quant = qa

    def coded(t, q):
        t.dtype, t.quant = np.dtype(np.int8), q
        return t

    y = coded(net.last(x), qa)
    y = coded(net.emit("Conv", y, w, stride=[1, 1], dilation=[1, 1], pad=[1] * 4), qb)
    y = coded(net.first(y), qb)
    y = coded(net.emit("Relu", y), qb)
    z = coded(net.emit("Concat", y, y, axis=1), qb)
    real = net.emit("Dequantize", z)
    end = coded(net.emit("Quantize", net.emit("Relu", real)), qa)
    graph = net.done(end, coded(net.emit("Quantize", net.emit("Dequantize", y)), qa))
    got = rewrite(graph, *GENERAL)
    assert "Relu" in got.ops and "Quantize" in got.ops
    assert got.node("Conv").attrs["act"] == "none"
