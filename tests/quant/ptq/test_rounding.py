"""Codes chosen for the layer's output: never worse on the rows they were chosen on, within their limits."""

from types import SimpleNamespace

import numpy as np
import pytest
from bitlite.converter.ir import Node, Tensor
from bitlite.converter.numeric.pairs import saturate
from bitlite.converter.numeric.qparams import QuantParam, dequantize
from bitlite.converter.ops._support.spatial import pad_spatial, windows
from bitlite.quant.ptq import layer_correction, rounding
from bitlite.quant.ptq.post_training import quantize_graph
from bitlite.quant.ptq.prefix_part import folded
from bitlite.quant.ptq.products import damp
from bitlite.quant.ptq.rounding import Rows, descend, eliminate
from bitlite.quant.ptq.settings import Settings


def problem(seed, batch=1, k=24, columns=11, rows=200):
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((batch, k, k))
    x = np.rint(rng.standard_normal((batch, rows, k)) @ mix * 9)
    gram = x.transpose(0, 2, 1) @ x
    real = rng.uniform(-7.4, 7.4, (batch, k, columns))
    return gram, real, np.clip(np.rint(real), -7, 7)


def cost(gram, real, q):
    e = q - real
    return np.einsum("bko,bkl,blo->bo", e, gram, e)


@pytest.mark.parametrize("batch", [1, 5])
def test_every_column_gets_better(batch):
    gram, real, q = problem(1, batch)
    before, exact = cost(gram, real, q), gram.copy()
    descend(gram, real, q, (-7.0, 7.0))
    after = cost(exact, real, q)
    assert (after <= before * (1 + 1e-9)).all() and after.sum() < 0.6 * before.sum()
    assert np.abs(q).max() <= 7 and (q == np.rint(q)).all()


@pytest.mark.parametrize("batch", [1, 3])
def test_elimination_is_gptq_with_the_largest_input_first(batch):
    gram, real, _ = problem(8, batch, columns=35)
    q = np.empty_like(real)
    eliminate(gram, real, q, (-7.0, 7.0), threads=2)
    for g, w, codes in zip(gram, real.copy(), q):
        order = np.argsort(np.diag(g), kind="stable")[::-1]
        upper = np.linalg.cholesky(np.linalg.inv(g[np.ix_(order, order)])).T
        rest, want = w[order], np.empty_like(w)
        for k, row in enumerate(upper):
            want[order[k]] = np.clip(np.rint(rest[k]), -7, 7)
            rest[k:] -= np.outer(row[k:], (rest[k] - want[order[k]]) / row[k])
        assert np.array_equal(codes, want)


def test_descent_ends_lower_from_elimination_than_from_nearest_codes():
    gram, real, nearest = problem(9, columns=200)
    exact, started = gram.copy(), np.empty_like(real)
    eliminate(gram, real, started, (-7.0, 7.0))
    for q in (nearest, started):
        descend(gram.copy(), real, q, (-7.0, 7.0))
    assert cost(exact, real, started).sum() < 0.9 * cost(exact, real, nearest).sum()


def test_neighbours_stay_within_their_sum_and_every_column_gets_better():
    gram, real, q = problem(5, k=25)
    q = rounded_pairs(q, 9)
    before, exact = cost(gram, real, q), gram.copy()
    descend(gram, real, q, (-7.0, 7.0), pair=9.0)
    after = cost(exact, real, q)
    assert (after <= before * (1 + 1e-9)).all() and after.sum() < 0.8 * before.sum()
    assert np.abs(q).max() <= 7 and np.array_equal(q, rounded_pairs(q, 9))


def rounded_pairs(q, most):
    """The second of two neighbours of one sign gives way."""
    q = q.copy()
    for first, second in zip(q.transpose(1, 0, 2)[0:-1:2], q.transpose(1, 0, 2)[1::2]):
        same = first * second > 0
        second[same] = (np.sign(second) * np.minimum(np.abs(second), most - np.abs(first)))[same]
    return q


def test_threads_do_not_matter():
    results = []
    for threads in (1, 2, 3):
        gram, real, q = problem(2, columns=29)
        descend(gram, real, q, (-7.0, 7.0), threads=threads)
        results.append(q)
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


def test_a_strong_ridge_keeps_plain_rounding():
    gram, real, q = problem(3)
    plain = q.copy()
    damp(gram, 1e6)
    descend(gram, real, q, (-7.0, 7.0))
    assert np.array_equal(q, plain)


def test_shapes_must_fit():
    from bitlite import _native

    gram, real, q = problem(4)
    with pytest.raises(ValueError):
        _native.descend(gram[:, :-1], real, q, 0, 3, -7.0, 7.0, 14.0, 1)
    with pytest.raises(ValueError):
        _native.descend(gram, real, q, 0, 99, -7.0, 7.0, 14.0, 1)
    with pytest.raises(ValueError):
        _native.eliminate(gram, real[:, :-1], q, 0, 3, -7.0, 7.0)
    with pytest.raises(ValueError):
        _native.factor(gram[:, :-1])


ZERO = -7
LAYERS = {
    "1x1": ((9, 1, 1, 5), 1, (1, 1), (1, 1), (0, 0, 0, 0)),
    "3x3": ((9, 3, 3, 5), 1, (1, 1), (1, 1), (1, 1, 1, 1)),
    "strided": ((9, 3, 2, 5), 1, (2, 1), (1, 2), (0, 1, 2, 0)),
    "depthwise": ((5, 3, 3, 1), 5, (2, 2), (1, 1), (0, 1, 0, 1)),
    "one dimension": ((9, 3, 5), 1, (2,), (1,), (1, 0)),
    "fully connected": ((9, 10), 1, None, None, None),
}


def layer_on(codes, name):
    """The layer with this input, and a runner that gives each sample's codes."""
    shape, group, stride, dilation, pad = LAYERS[name]
    x = Tensor("x", np.dtype(np.float32), codes[0].shape)
    w = Tensor("w", np.dtype(np.float32), shape, np.zeros(shape, np.float32))
    attrs = {} if stride is None else {"stride": list(stride), "dilation": list(dilation), "pad": list(pad)}
    node = Node("FullyConnected" if stride is None else "Conv", "n", [x, w], [], attrs | {"group": group})
    twin = Tensor("q", np.dtype(np.int8), x.shape, None, QuantParam(np.ones(1), np.array([ZERO], np.int32), None, 8))
    part = SimpleNamespace(get=lambda side, name, k: codes[k], node=lambda side, name: node)
    runner = SimpleNamespace(
        quantized=SimpleNamespace(quantized_of={x: twin}, weighted_layers={node}),
        layers={node: SimpleNamespace(node=node)},
        count=len(codes),
        threads=2,
        each=lambda operation, *arguments, count, fold=list.append: folded(
            map(operation(part, *arguments), range(count)), fold
        ),
    )
    return runner, node


@pytest.mark.parametrize("limit", [10**4, 24])
@pytest.mark.parametrize("name", LAYERS)
def test_products_are_those_of_the_rows_that_the_layer_reads(name, limit):
    shape, group, stride, dilation, pad = LAYERS[name]
    spatial = (1, 11, 5) if name == "one dimension" else (1, 10) if stride is None else (1, 8, 11, 5)
    codes = list(np.random.default_rng(5).integers(-128, 128, (3, *spatial)).astype(np.int8))
    gram = Rows.of(*layer_on(codes, name), limit).gram()
    rows = []
    for q in codes:
        x = (q.astype(np.float64) - ZERO).reshape(q.shape)
        if stride is not None:
            x = windows(pad_spatial(x, list(pad)), shape[1:-1], list(stride), list(dilation))
            x = x.reshape(-1, x.shape[len(shape) - 1], int(np.prod(shape[1:-1])))  # [rows, C, taps]
            x = x.transpose(1, 0, 2) if group > 1 else x.transpose(0, 2, 1).reshape(1, len(x), -1)
        else:
            x = x[None]
        share = min(x.shape[1], limit // 3)
        rows.append(
            x[:, [(i * x.shape[1] + x.shape[1] // 2) // share if share < x.shape[1] else i for i in range(share)]]
        )
    x = np.concatenate(rows, axis=1)
    x -= x.mean(axis=1, keepdims=True)
    assert gram.shape == (len(x), x.shape[2], x.shape[2])
    assert np.allclose(gram, x.transpose(0, 2, 1) @ x, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("isa", ["scalar", "avx2", ""])
def test_products_and_codes_are_the_same_bits_on_every_instruction_set(monkeypatch, isa):
    codes = list(np.random.default_rng(6).integers(-128, 128, (3, 1, 8, 11, 5)).astype(np.int8))

    def results():
        grams = [Rows.of(*layer_on(codes, name), 24).gram() for name in ("3x3", "depthwise")]
        gram, real, q = problem(7, columns=37)
        descend(gram, real, q, (-7.0, 7.0))
        eliminate(gram, real, started := np.empty_like(q), (-7.0, 7.0))
        return [*grams, q, started]

    monkeypatch.setenv("BITLITE_ISA", "scalar")
    expected = results()
    monkeypatch.setenv("BITLITE_ISA", isa)
    assert all(np.array_equal(a, b) for a, b in zip(results(), expected))


@pytest.mark.parametrize("name", ["3x3", "fully connected"])
def test_products_of_a_part_are_a_part_of_the_products(name):
    spatial = (1, 10) if name == "fully connected" else (1, 8, 11, 5)
    codes = list(np.random.default_rng(5).integers(-128, 128, (3, *spatial)).astype(np.int8))
    rows = Rows.of(*layer_on(codes, name))
    np.testing.assert_array_equal(rows.gram(slice(2, 7)), rows.gram()[:, 2:7, 2:7])


def test_many_inputs_are_rounded_in_blocks_which_is_said(network, samples, outputs, sqnr, monkeypatch):
    want = outputs(network())
    whole = quantize_graph(network(), samples, Settings())
    assert not [note for note in whole.quantized.notes if "blocks" in note]
    monkeypatch.setattr(rounding, "WHOLE", 16)
    monkeypatch.setattr(rounding, "BLOCK", 8)
    gains = []

    def judged(gram, real, q, *args):
        products, nearest = gram.copy(), q.copy()
        descend(gram, real, q, *args)
        gains.append((gram.shape[-1], cost(products, real, nearest).sum(), cost(products, real, q).sum()))

    monkeypatch.setattr(rounding, "descend", judged)
    blockwise = quantize_graph(network(), samples, Settings())
    assert max(size for size, _, _ in gains) <= 16
    assert all(after <= before * 1.001 for _, before, after in gains)
    assert sum(after for *_, after in gains) < sum(before for _, before, _ in gains)
    assert any("blocks, each on its own" in note for note in blockwise.quantized.notes)
    assert sqnr(want, outputs(blockwise.graph)) > 60


@pytest.mark.parametrize("inputs", [1, 4608, 4609, 9216, 25088, 100_000])
def test_blocks_cover_the_inputs_once(inputs):
    parts = rounding.blocks(inputs)
    assert [k for part in parts for k in range(part.start, part.stop)] == list(range(inputs))
    assert len(parts) == 1 or max(part.stop - part.start for part in parts) <= 2048


def test_rows_must_fit():
    from bitlite import _native

    x, gram = np.ones((4, 6), np.int16), np.empty((6, 6))
    with pytest.raises(ValueError):
        _native.gram(x, gram[:5, :5].copy(), 0, 1)
    with pytest.raises(ValueError):
        _native.gram(x, gram, 1, 1)
    with pytest.raises(ValueError):
        _native.gram(np.ones((1 << 15 | 1, 1), np.int16), np.empty((1, 1)), 0, 1)
    with pytest.raises(ValueError):
        _native.gram_by_channel(x[:, :, None], np.zeros((1, 6, 5), np.int32), np.zeros((1, 6), np.int32))


@pytest.mark.parametrize(("zeros", "filled"), [(0.75, False), (0.25, True)])
def test_what_is_pruned_stays_pruned(zeros, filled):
    from bitlite.converter.ir import Graph
    from bitlite.converter.schema.builder import Builder

    rng = np.random.default_rng(4)
    w = rng.standard_normal((32, 64)).astype(np.float32)
    w[rng.random(w.shape) < zeros] = 0
    graph = Graph("net")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 64))
    (y,) = build.emit("FullyConnected", [x, build.constant(w, "w")], {}, name="pruned")
    (y,) = build.emit("Relu", [y], {}, name="act")
    end = build.constant(rng.standard_normal((8, 32)).astype(np.float32), "end")
    graph.outputs = build.emit("FullyConnected", [y, end], {}, name="end")
    mix = rng.standard_normal((64, 64))

    class Data(list):
        def only(self, rows):
            return (self[k] for k in sorted(rows))

    data = Data({"x": (rng.standard_normal((1, 64)) @ mix).astype(np.float32)} for _ in range(100))
    result = quantize_graph(graph, data, Settings())
    codes = next(layer.weight.data for node, layer in result.quantized.weighted_layers.items() if node.name == "pruned")
    assert codes[w == 0].any() is np.bool_(filled)


def paired(wider, monkeypatch, **settings):
    """Squared error of a layer whose pairs are held, on its samples, and its codes and their parameters."""
    from bitlite.converter.ir import Graph
    from bitlite.converter.schema.builder import Builder

    rng = np.random.default_rng(11)
    w, other = (rng.standard_normal(shape).astype(np.float32) for shape in ((24, 64), (9, 64)))
    graph = Graph("net")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 64))
    graph.outputs = [
        *build.emit("FullyConnected", [x, build.constant(w, "w")], {}, name="layer"),
        *build.emit("FullyConnected", [x, build.constant(other, "other")], {}, name="other"),
    ]
    rows = (rng.standard_normal((300, 64)) @ rng.standard_normal((64, 64))).astype(np.float32)

    class Data(list):
        def only(self, rows):
            return (self[k] for k in sorted(rows))

    monkeypatch.setattr(layer_correction, "WIDER", wider)
    monkeypatch.setattr("bitlite.quant.ptq.paired_weights._SLOWER", 0.0)
    result = quantize_graph(graph, Data({"x": row[None]} for row in rows), Settings(pairs="onnx", **settings))
    found = next(layer.weight for node, layer in result.quantized.weighted_layers.items() if node.name == "layer")
    apart = (rows - rows.mean(axis=0)) @ (dequantize(found.value, found.qparams) - w).T
    return float(np.square(apart).sum()), found.value, found.qparams


def test_pairs_are_held_at_the_scales_at_which_outputs_come_nearest(monkeypatch):
    wider = layer_correction.WIDER
    (plain, _, before), (best, codes, after) = (paired(scales, monkeypatch) for scales in ((), wider))
    assert best < 0.97 * plain
    assert not saturate(codes) and len(np.unique(np.round(after.scale / before.scale, 2))) > 3
    monkeypatch.setenv("BITLITE_ISA", "scalar")
    assert np.array_equal(paired(wider, monkeypatch)[1], codes)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_scale_of_all_channels_stays(bits, monkeypatch):
    *_, quant = paired(layer_correction.WIDER, monkeypatch, per_channel=False, bits=bits)
    assert quant.axis is None and quant.scale.shape == (1,)


def test_a_layer_of_few_inputs_is_rounded_on_more_rows_which_take_no_more_memory():
    taken = {k: rounding._rows_of_few_bits(k) for k in (0, 16, 576, 1280, 4608)}
    assert sorted(taken.values(), reverse=True) == list(taken.values()) and taken[16] > 2 * taken[4608]
    assert max(taken.values()) <= 1 << 15  # whose products int32 holds
    assert all(k * rows <= max(rounding._VALUES, k * taken[4608]) for k, rows in taken.items())
