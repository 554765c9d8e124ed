"""Faults planted in small networks: AUTO leaves in float what int8 destroys, and nothing where all is well."""

from dataclasses import replace

import numpy as np
import pytest
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.converter.schema.verify import verify
from bitlite.quant.ptq.fidelity import POOR
from bitlite.quant.ptq.islands import Codes, Limits, Search, find_islands, free_islands
from bitlite.quant.ptq.placement import LOSSY
from bitlite.quant.ptq.post_training import quantize_graph
from bitlite.quant.ptq.settings import Settings

LIMITS = Limits(goal=0.002, floor=0.01, share=0.1, most=0.5, share_of_weights=0.1, most_of_weights=0.5)


def chain(count=32, width=8):
    graph = Graph("chain")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, width))
    for k in range(count):
        (x,) = build.emit("Relu", [x], {}, name=f"n{k}")
    graph.outputs = [x]
    return graph.nodes


def codes_of(costs):
    return [Codes(frozenset([node]), np.array([min(cost, 2.0)])) for node, cost in costs.items()]


def found(costs, real=1.0, limits=LIMITS):
    """Islands where a run loses `real` times what is foreseen."""

    def noise(islands):
        return real * sum(cost for node, cost in costs.items() if node not in islands.kept)

    return find_islands(list(costs), codes_of(costs), noise, limits, real * sum(costs.values()))


def test_what_destroys_an_output_is_found_among_many():
    nodes = chain()
    islands = found(dict.fromkeys(nodes, 0.00001) | {nodes[5]: 3.0, nodes[20]: 2.0})
    assert islands.kept == {nodes[5], nodes[20]} and islands.after < LIMITS.goal and islands.trials == 1


def test_what_costs_most_goes_first_within_the_share():
    nodes = chain()
    islands = found(dict.fromkeys(nodes, 0.0001) | {nodes[9]: 0.02, nodes[30]: 0.03})
    assert {nodes[9], nodes[30]} <= islands.kept and islands.share <= LIMITS.share


def test_where_the_goal_is_too_dear_the_floor_is_had_for_more():
    nodes = chain()
    islands = found(dict.fromkeys(nodes, 0.0005))
    assert LIMITS.share < islands.share <= LIMITS.most and islands.after <= LIMITS.floor


def test_what_takes_next_to_nothing_is_chosen_without_a_run():
    nodes = chain()
    costs = dict.fromkeys(nodes, 0.0001) | {nodes[9]: 0.02, nodes[30]: 0.03}
    limits = replace(LIMITS, share=2.5 / len(nodes), most=0.0)
    islands = free_islands(nodes, codes_of(costs), limits, 0.4)
    assert islands.kept == {nodes[9], nodes[30]} and islands.share <= limits.share
    assert islands.after == pytest.approx(0.4 * 30 * 0.0001 / sum(costs.values()))
    even = free_islands(nodes, codes_of(dict.fromkeys(nodes, 0.02)), limits, 0.4)
    assert not even.kept and even.after == even.before == 0.4


def test_what_costs_the_same_everywhere_stays_on_codes():
    nodes = chain()
    assert found(dict.fromkeys(nodes, 0.0002)).share <= LIMITS.share


def test_a_run_that_loses_more_than_foreseen_asks_for_more_in_float():
    nodes = chain()
    costs = {node: 0.00002 * (k + 1) for k, node in enumerate(nodes)}
    cheap, dear = found(costs), found(costs, real=2.0)
    assert len(dear.kept) > len(cheap.kept) and dear.after <= LIMITS.floor and dear.trials <= 4


def test_where_float_brings_nothing_nothing_is_in_float():
    nodes = chain()
    codes = codes_of(dict.fromkeys(nodes, 0.01))
    islands = find_islands(nodes, codes, lambda islands: 0.3, LIMITS, 0.32)
    assert not islands.kept and islands.after == islands.before == 0.32


def test_what_only_goes_together_is_paid_for_together():
    """A tensor that two operators read is free of codes when both are in float."""
    nodes = chain()
    both = frozenset(nodes[3:5])
    codes = [Codes(both, np.array([0.5])), Codes(frozenset([nodes[9]]), np.array([0.003]))]
    islands = find_islands(nodes, codes, lambda islands: 0.0 if both <= islands.kept else 0.5, LIMITS, 0.5)
    assert both <= islands.kept


def test_where_more_is_lost_than_foreseen_more_is_in_float_within_the_most():
    nodes = chain()
    codes = codes_of({node: 0.00002 * (k + 1) for k, node in enumerate(nodes)})
    islands = find_islands(nodes, codes, lambda islands: 0.001, LIMITS, 0.02)
    further = Search(nodes, codes, LIMITS, islands).further(2 * LIMITS.floor)
    assert islands.kept < further.kept and islands.share < further.share <= LIMITS.most


def test_a_weight_leaves_its_codes_only_where_it_is_chosen_within_its_share():
    nodes = chain()
    codes = [Codes(frozenset([nodes[k]]), np.array([0.05]), size) for k, size in ((1, 10), (2, 1000), (3, 50))]
    islands = find_islands(nodes, codes, lambda islands: 0.05, LIMITS, 0.15)
    assert islands.weights == islands.kept == {nodes[1], nodes[3]}
    assert islands.share_of_weights <= LIMITS.share_of_weights


class Net:
    """Appends operators with random weights."""

    def __init__(self, shape, seed=0):
        self.rng, self.graph = np.random.default_rng(seed), Graph("net")
        self.build = Builder(self.graph)
        self.x = self.build.input("x", np.float32, shape)

    def const(self, value):
        return self.build.constant(np.asarray(value, np.float32), "c")

    def op(self, name, kind, inputs, **attrs):
        return self.build.emit(kind, inputs, attrs, name=name)[0]

    def dense(self, name, x, outputs, scale=1.0):
        w = self.rng.standard_normal((outputs, x.shape[-1])) / np.sqrt(x.shape[-1]) * scale
        return self.op(name, "FullyConnected", [x, self.const(w), self.const(self.rng.standard_normal(outputs) * 0.1)])

    def ends(self, *tensors):
        self.graph.outputs = list(tensors)
        verify(self.graph)
        return self.graph


def layer_norm_in_parts():
    """A residual stream with two channels far beyond the others, normalized by Mean, Sub, Square, Mean, Sqrt, Div."""
    net = Net((1, 12, 32))
    far = np.ones((32, 1))
    far[[3, 17]] = 60
    a = net.dense("stream", net.x, 32, far)
    mean = net.op("mean", "Reduce", [a], mode="mean", axes=[-1], keep_dims=True)
    centred = net.op("centred", "Sub", [a, mean])
    variance = net.op("variance", "Reduce", [net.op("square", "Square", [centred])], mode="mean", axes=[-1],
                      keep_dims=True)  # fmt: skip
    deviation = net.op("deviation", "Sqrt", [net.op("epsilon", "Add", [variance, net.const([1e-5])])])
    normal = net.op("normal", "Mul", [centred, net.op("inverse", "Reciprocal", [deviation])])
    gain = np.full(32, 1.0)
    gain[[3, 17]] = 0.02
    scaled = net.op("gain", "Mul", [normal, net.const(gain)])
    hidden = net.op("act", "Relu", [net.dense("hidden", scaled, 64)])
    return net.ends(net.dense("end", hidden, 8))


def regressor():
    """The answer is a small difference of large means."""
    net = Net((1, 8, 8, 3))
    w = net.const(net.rng.standard_normal((24, 3, 3, 3)) * 0.2)
    window = {"stride": [1, 1], "dilation": [1, 1], "pad": [1, 1, 1, 1], "group": 1, "act": "relu"}
    a = net.op("features", "Conv", [net.x, w, net.const(np.full(24, 4.0))], **window)
    b = net.op("mean", "Reduce", [a], mode="mean", axes=[1, 2], keep_dims=False)
    head = net.rng.standard_normal((4, 24))
    head -= head.mean(axis=1, keepdims=True)
    return net.ends(net.op("head", "FullyConnected", [b, net.const(head), net.const(-4 * head.sum(axis=1))]))


def boxes_and_scores():
    """A detector's end: boxes in pixels beside scores below 1, joined and turned."""
    net = Net((1, 20, 16))
    boxes = net.dense("boxes", net.x, 4, 80.0)
    scores = net.op("scores", "Sigmoid", [net.dense("logits", net.x, 3)])
    joined = net.op("joined", "Concat", [boxes, scores], axis=-1)
    return net.ends(net.op("turned", "Transpose", [joined], perm=[0, 2, 1]))


class Rows(list):
    def only(self, rows):
        return (self[k] for k in sorted(rows))


def rows(shape, count=40, seed=3):
    rng = np.random.default_rng(seed)
    return Rows({"x": rng.standard_normal(shape).astype(np.float32)} for _ in range(count))


def coarse_weight():
    """A small weight of which one column, that of a constant, is far beyond those that carry the answer."""
    net = Net((1, 12, 32))
    x = net.op("act", "Relu", [net.dense("wide", net.x, 128)])
    w = net.rng.standard_normal((16, 128)) / np.sqrt(128)
    w[0] *= 0.01
    x = net.op("narrow", "FullyConnected", [x, net.const(w), net.const(np.eye(16)[0])])
    head = net.rng.standard_normal((4, 16))
    head[:, 0] = 100
    y = net.op("head", "FullyConnected", [x, net.const(head), net.const(np.full(4, -100.0))])
    return net.ends(net.dense("end", y, 4))


def residual_stream(blocks=6):
    """Blocks that each normalize a stream, in which two channels are far beyond the others, and add to it."""
    net = Net((1, 12, 32))
    far = np.ones((32, 1))
    far[[3, 17]] = 60
    x = net.dense("stream", net.x, 32, far)
    for k in range(blocks):
        gain, shift = np.full(32, 1.0), np.zeros(32)
        gain[[3, 17]] = 0.02
        (y,) = net.build.emit("LayerNorm", [x, net.const(gain), net.const(shift)], {"axis": -1}, name=f"norm{k}")
        y = net.op(f"act{k}", "Relu", [net.dense(f"up{k}", y, 64)])
        x = net.op(f"add{k}", "Add", [x, net.dense(f"down{k}", y, 32)])
    (y,) = net.build.emit("LayerNorm", [x, net.const(gain), net.const(shift)], {"axis": -1}, name="norm")
    return net.ends(net.dense("end", y, 8))


def run(graph, data):
    from bitlite.native.session import Session

    session = Session(graph)
    return np.stack([next(iter(session.run(row).values())) for row in data]).astype(np.float64)


FAULTS = {layer_norm_in_parts: (1, 12, 32), regressor: (1, 8, 8, 3)}


@pytest.mark.parametrize("make", FAULTS, ids=lambda make: make.__name__)
def test_a_planted_fault_is_kept_out_of_int8(make, sqnr):
    shape = FAULTS[make]
    result = quantize_graph(make(), rows(shape), Settings())
    assert result.without_islands.worst.sqnr < result.fidelity.worst.sqnr - 3
    named = {node.name for node in result.islands.kept}
    assert named and {n.name for n, why in result.plan.why.items() if why == LOSSY} <= named
    fresh = rows(shape, seed=8)
    assert sqnr(run(make(), fresh), run(result.graph, fresh)) > 25
    assert any(n.name not in named and n.outputs[0].dtype == np.int8 for n in result.graph.nodes)


def test_a_residual_stream_is_float_and_its_products_are_on_codes(sqnr):
    result = quantize_graph(residual_stream(), rows((1, 12, 32)), Settings())
    types = {n.name: n.outputs[0].dtype for n in result.graph.nodes}
    assert all(types[f"add{k}"] == np.float32 for k in range(6))
    layers = {n.name for n in result.quantized.weighted_layers}
    assert {f"up{k}" for k in range(6)} <= layers and {f"down{k}" for k in range(6)} <= layers
    fresh = rows((1, 12, 32), seed=8)
    assert sqnr(run(residual_stream(), fresh), run(result.graph, fresh)) > max(
        22, result.without_islands.worst.sqnr + 6
    )


def test_scores_do_not_share_the_scale_of_boxes(sqnr):
    result = quantize_graph(boxes_and_scores(), rows((1, 20, 16)), Settings())
    fresh = rows((1, 20, 16), seed=8)
    want, got = run(boxes_and_scores(), fresh), run(result.graph, fresh)
    assert sqnr(want[:, :, 4:], got[:, :, 4:]) > 30 and sqnr(want[:, :, :4], got[:, :, :4]) > 30


def test_a_healthy_network_stays_whole(network, samples):
    result = quantize_graph(network(), samples, Settings())
    assert result.without_islands is None and LOSSY not in result.plan.why.values()


def test_methods_that_were_asked_for_are_left_alone():
    result = quantize_graph(layer_norm_in_parts(), rows((1, 12, 32)), Settings(methods=("MAX_MIN",)))
    assert result.islands is None and LOSSY not in result.plan.why.values()


def test_where_int8_stays_poor_weights_alone_are_tried(network, samples):
    result = quantize_graph(network(softmax=False), samples, Settings(bits=1))
    assert result.fidelity.worst.sqnr < POOR < result.weights_only.worst.sqnr


def test_a_weight_that_codes_are_too_coarse_for_keeps_16_bits_and_is_written(tmp_path, sqnr):
    from bitlite.converter.formats import onnx_write, read_model, tflite_write
    from bitlite.converter.passes import for_target, run_passes
    from bitlite.quant.weights.weight_quant import WeightSettings

    settings = Settings(float_weights=WeightSettings(min_channels=0, gain_gate=False, correction=False))
    data = rows((1, 12, 32))
    result = quantize_graph(coarse_weight(), data, settings)
    wide = [t.name for n in result.graph.nodes for t in n.inputs if t is not None and t.is_const and t.dtype == "f2"]
    assert {n.name for n in result.islands.weights} == {"head"} and len(wide) == 1
    (head,) = [row for row in result.weight_rows() if row.layer == "head"]
    assert (head.bits, head.reason) == (16, "in float for the outputs' sake")
    want = run(result.graph, data)
    for ending, write in (("tflite", tflite_write.write), ("onnx", onnx_write.write)):
        path = str(tmp_path / f"m.{ending}")
        copy = result.graph.copy()
        run_passes(copy, for_target(ending, "NHWC"))
        write(copy, path)
        got = run(read_model(path), data)
        assert sqnr(want, got) > 35  # a code that tips is all that may differ
