"""A float network and samples in, an int8 network out: what it computes, how it is written, always the same bytes."""

import dataclasses

import numpy as np
import pytest
from bitlite.converter.errors import DataError
from bitlite.converter.formats import ms, read_model
from bitlite.converter.ir import Graph
from bitlite.converter.passes import for_target, run_passes
from bitlite.converter.schema.builder import Builder
from bitlite.quant.calibrate import methods
from bitlite.quant.ptq.placement import foreign_to_mslite
from bitlite.quant.ptq.post_training import quantize_graph
from bitlite.quant.ptq.settings import Settings
from bitlite.quant.weights.symmetric_weights import symmetric


def settings(**changes):
    return dataclasses.replace(Settings(), **changes)


def written(graph, path):
    copy = graph.copy()
    run_passes(copy, for_target("ms", "NHWC"))
    ms.write(copy, str(path))
    return path.read_bytes()


def test_logits_stay_close_to_float(network, samples, outputs, sqnr):
    want = outputs(network(softmax=False))
    result = quantize_graph(network(softmax=False), samples, Settings())
    assert sqnr(want, outputs(result.graph)) > 30


def test_every_operator_but_the_end_computes_on_codes(network, samples):
    result = quantize_graph(network(), samples, Settings())
    assert {n.name for n in result.plan.why} == {"soft"}
    assert {n.name for n in result.plan.last} == {"classify"}
    kinds = {n.name: n.outputs[0].dtype for n in result.graph.nodes}
    assert kinds["first"] == kinds["sum"] == kinds["join"] == kinds["mean"] == np.int8
    assert kinds["classify"] == kinds["soft"] == np.float32


def test_correction_on_the_quantized_prefix_helps(network, samples, outputs, sqnr):
    want = outputs(network(softmax=False))
    quality = {
        how: sqnr(want, outputs(quantize_graph(network(softmax=False), samples, settings(bias_correction=how)).graph))
        for how in ("off", "lockstep", "sequential")
    }
    assert quality["sequential"] > quality["off"]
    assert quality["lockstep"] > quality["off"] - 1


@pytest.mark.parametrize("method", sorted(set(methods.names()) - {"REMOVAL_OUTLIER_R1"}))
def test_every_method_gives_a_network_that_works(network, samples, outputs, sqnr, method):
    want = outputs(network(softmax=False))
    result = quantize_graph(network(softmax=False), samples, settings(methods=(method,)))
    assert sqnr(want, outputs(result.graph)) > 12


def test_auto_is_as_good_as_any_single_method(network, samples, outputs, sqnr):
    want = outputs(network(softmax=False))

    def quality(method):
        return sqnr(want, outputs(quantize_graph(network(softmax=False), samples, settings(methods=(method,))).graph))

    assert quality("AUTO") > max(quality("MAX_MIN"), quality("KL"), quality("REMOVAL_OUTLIER")) - 1.0


def test_fewer_bits_lose_more(network, samples, outputs, sqnr):
    want = outputs(network(softmax=False))
    quality = [
        sqnr(want, outputs(quantize_graph(network(softmax=False), samples, settings(bits=b)).graph))
        for b in (8, 6, 4, 2)
    ]
    assert quality == sorted(quality, reverse=True)


def test_fewer_bits_take_fewer_bytes(network, samples, tmp_path):
    def stored(bits):
        graph = quantize_graph(network(), samples, settings(bits=bits)).graph
        return sum(size for _, size in ms.write(graph, str(tmp_path / "a.ms")).tensors.values())

    sizes = [stored(bits) for bits in range(8, 0, -1)]
    assert sizes == sorted(set(sizes), reverse=True)


def test_bits_of_one_layer(network, samples):
    graph = network()
    node = next(n for n in graph.nodes if n.name == "mix")
    result = quantize_graph(graph, samples, settings(layer_bits={node: 3}))
    codes = {n.name: layer.weight for n, layer in result.quantized.weighted_layers.items()}
    assert np.abs(codes["mix"].data).max() <= 3 and codes["mix"].quant.bits == 3
    assert np.abs(codes["side"].data).max() > 3


def test_kept_nodes_stay_float(network, samples, outputs, sqnr):
    graph = network(softmax=False)
    want = outputs(graph)
    kept = frozenset(n for n in graph.nodes if n.name in ("each", "sum"))
    result = quantize_graph(graph, samples, settings(kept=kept))
    types = {n.name: n.outputs[0].dtype for n in result.graph.nodes}
    assert types["each"] == types["sum"] == np.float32
    assert types["mix"] == np.float32 and "mix" in {n.name for n in result.quantized.weighted_layers}
    assert result.plan.why[next(iter(kept))] == "kept in float on request"
    assert sqnr(want, outputs(result.graph)) > 28


def test_a_last_layer_reads_codes_of_what_is_an_output_in_float_too(samples, outputs, sqnr):
    def network():
        rng = np.random.default_rng(0)
        graph = Graph("net")
        build = Builder(graph)
        x = build.input("x", np.float32, (1, 8, 8, 3))
        w = build.constant(rng.standard_normal((16, 3, 3, 3)).astype(np.float32), "w")
        (a,) = build.emit("Conv", [x, w], {"stride": [1, 1], "dilation": [1, 1], "pad": [1] * 4}, name="first")
        (z,) = build.emit("Reduce", [a], {"mode": "max", "axes": [1, 2], "keep_dims": False}, name="features")
        v = build.constant(rng.standard_normal((2, 16)).astype(np.float32), "v")
        (y,) = build.emit("FullyConnected", [z, v], {}, name="classify")
        graph.outputs = [y, z]
        return graph

    graph = network()
    kept = frozenset(n for n in graph.nodes if n.name == "features")
    result = quantize_graph(graph, samples, settings(kept=kept))
    assert {n.name for n in result.plan.last} >= {"classify"}
    layer = next(n for n in result.graph.nodes if n.name == "classify")
    producers = result.graph.producers()
    assert layer.required(1).dtype == np.int8 and producers[layer.required(0)].op == "Dequantize"
    assert result.graph.outputs[1].name == graph.outputs[1].name
    assert sqnr(outputs(network()), outputs(result.graph)) > 28


def test_what_depends_on_constants_alone_stays_float(samples, outputs, sqnr):
    """As tables do that are computed while running, since a file would be large with them."""

    def network():
        rng = np.random.default_rng(0)
        graph = Graph("net")
        build = Builder(graph, fold_limit=0)
        x = build.input("x", np.float32, (1, 8, 8, 3))
        a, b = (build.constant(rng.standard_normal(s).astype(np.float32), "c") for s in ((16, 4), (3, 4)))
        (table,) = build.emit("FullyConnected", [a, b], {}, name="table")
        (table,) = build.emit("Sin", [table], {}, name="sin")
        graph.outputs = build.emit("MatMul", [x, table], {"transpose_b": True}, name="product")
        return graph

    result = quantize_graph(network(), samples, Settings())
    assert {n.name for n in result.plan.why} >= {"table", "sin"}
    assert "product" in {n.name for n in result.plan.int8_nodes}
    assert sqnr(outputs(network()), outputs(result.graph)) > 30


def test_same_bytes_for_any_number_of_threads_and_instruction_set(network, samples, tmp_path, monkeypatch):
    files = [written(quantize_graph(network(), samples, settings(threads=n)).graph, tmp_path / "a.ms") for n in (1, 2)]
    monkeypatch.setenv("BITLITE_ISA", "scalar")
    files.append(written(quantize_graph(network(), samples, Settings()).graph, tmp_path / "a.ms"))
    assert files[0] == files[1] == files[2]


def test_a_written_file_computes_the_same(network, samples, outputs, tmp_path):
    result = quantize_graph(network(), samples, Settings())
    written(result.graph, tmp_path / "a.ms")
    assert np.array_equal(outputs(result.graph), outputs(read_model(str(tmp_path / "a.ms"))))


def test_input_and_output_types(network, samples, outputs, sqnr):
    want = outputs(network(softmax=False))
    for kind, dtype in (("INT8", np.int8), ("UINT8", np.uint8)):
        graph = quantize_graph(network(softmax=False), samples, settings(input_type=kind, output_type=kind)).graph
        (x,), (y,) = graph.inputs, graph.outputs
        assert x.dtype == y.dtype == dtype and x.name == "x"
        from bitlite.converter.numeric.qparams import dequantize, quantize_f32
        from bitlite.native.session import Session

        session, rng, got = Session(graph), np.random.default_rng(77), []
        for _ in range(40):
            a = quantize_f32(rng.standard_normal((1, 8, 8, 3)).astype(np.float32), x.quant, x.dtype)
            got.append(dequantize(session.run({"x": a})[y.name], y.quant))
        assert sqnr(want, np.concatenate(got)) > 25


def test_saved_statistics_give_the_same_network(network, samples, tmp_path):
    from bitlite.quant.calibrate.statistics import load_statistics, save_statistics

    first = quantize_graph(network(), samples, Settings())
    save_statistics(tmp_path / "d.json", first.statistics)
    loaded = load_statistics(tmp_path / "d.json")
    second = quantize_graph(network(), samples, settings(statistics=loaded))
    assert written(first.graph, tmp_path / "a.ms") == written(second.graph, tmp_path / "b.ms")


def test_statistics_of_another_model_are_refused(network, samples):

    result = quantize_graph(network(softmax=False), samples, settings(bias_correction="off"))
    del result.statistics.histograms["mean"]
    with pytest.raises(DataError, match="'mean'"):
        quantize_graph(network(softmax=False), samples, settings(statistics=result.statistics))


def test_a_range_set_by_hand_is_taken(network, samples):
    first = quantize_graph(network(), samples, settings(bias_correction="off", methods=("MAX_MIN",)))
    first.statistics.histograms["mean"].fixed = (0.0, 51.0)
    again = quantize_graph(
        network(), samples, settings(bias_correction="off", methods=("MAX_MIN",), statistics=first.statistics)
    )
    scale = next(n.outputs[0].quant.scale[0] for n in again.graph.nodes if n.name == "mean")
    assert scale == pytest.approx(51 / 255, rel=1e-6)


@pytest.mark.parametrize("member", ["each", "pool", "x"])
def test_a_range_set_by_hand_holds_for_all_that_share_a_scale(network, samples, member):
    """Whether the tensor is the one that decides (pool shares the scale of sum, side and join) or one that follows."""
    stats = quantize_graph(network(), samples, settings(bias_correction="off")).statistics
    stats.histograms[member].fixed = (-1.0, 50.0)
    result = quantize_graph(network(), samples, settings(statistics=stats))
    group = next(g for g in result.groups.groups if member in {t.name for t in g.members})
    assert {result.quantized.quantized_of[t].quant.scale[0] for t in group.members} == {np.float32(51 / 255)}
    assert result.methods[group.name] == "by hand"


def test_a_range_by_hand_where_the_scale_is_fixed_is_refused(samples):
    build = Builder(Graph("net"))
    x = build.input("x", np.float32, (1, 8, 8, 3))
    (y,) = build.emit("Sigmoid", [x], {})
    (z,) = build.emit("Add", [y, x], {}, name="z")
    build.graph.outputs = build.emit("Relu", [z], {})
    stats = quantize_graph(build.graph.copy(), samples, settings(output_type="INT8")).statistics
    stats.histograms[y.name].fixed = (0.0, 2.0)
    with pytest.raises(DataError, match="scale is fixed"):
        quantize_graph(build.graph, samples, settings(output_type="INT8", statistics=stats))


def test_each_layer_is_measured(network, samples):
    rows = quantize_graph(network(), samples, settings(measure=True)).rows
    assert [r["layer"] for r in rows] == ["first", "each", "mix", "side", "classify"]
    for r in rows:
        assert r["sqnr_both"] <= min(v for v in (r["sqnr_weights"], r["sqnr_activations"]) if v is not None) + 1
        assert 0 <= r["clip_rate"] < 0.2 and 0.9 < r["cosine"] <= 1


def test_weights_below_eight_bits_clip_for_the_least_error():
    w = np.concatenate([np.random.default_rng(0).standard_normal(500), [9.0]]).astype(np.float32).reshape(1, -1)
    q = symmetric(w, 0, 4)
    assert float(q.scale[0]) < 9 / 7


def test_real_runtime_profile_leaves_its_faulty_kernels_in_float(network, samples):
    result = quantize_graph(network(), samples, settings(target="mslite"))
    types = {n.name: n.outputs[0].dtype for n in result.graph.nodes}
    assert result.graph.meta["rounding"] == "gemmlowp"
    assert types["mean"] == np.float32 and types["sum"] == np.int8
    assert any("real kernel" in why for why in result.plan.why.values())


def test_heads_joined_at_the_end_are_never_rounded(samples, sqnr, outputs):
    def network():
        rng = np.random.default_rng(0)
        graph = Graph("net")
        build = Builder(graph)
        x = build.input("x", np.float32, (1, 8, 8, 3))
        w = build.constant(rng.standard_normal((6, 1, 1, 3)).astype(np.float32), "w")
        window = {"stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4}
        (a,) = build.emit("Conv", [x, w], window, name="boxes")
        (b,) = build.emit("Mul", [a, build.constant(np.float32(50), "k")], {}, name="scaled")
        (c,) = build.emit("Conv", [x, w], window, name="classes")
        (d,) = build.emit("Sigmoid", [c], {}, name="gate")
        graph.outputs = build.emit("Concat", [b, d], {"axis": -1}, name="join")
        return graph

    result = quantize_graph(network(), samples, Settings())
    assert {n.name for n in result.plan.last} == {"boxes", "classes"}
    want, got = outputs(network()), outputs(result.graph)
    # One scale for both would leave the classes 2 bits.
    assert sqnr(want[..., 6:], got[..., 6:]) > 30


@pytest.mark.parametrize(
    "op,inputs,attrs",
    [
        ("ConvTranspose", [(8, 2, 2, 8)], {"stride": [2, 2], "output_padding": [0, 0]}),
        ("Conv", [(8, 1, 1, 4)], {"stride": [1, 1], "group": 2}),
        ("Add", [(8, 1, 8)], {}),
    ],
)
def test_what_the_real_kernels_do_wrong_is_left_in_float_for_them(op, inputs, attrs, samples):
    def network():
        rng = np.random.default_rng(0)
        graph = Graph("net")
        build = Builder(graph)
        x = build.input("x", np.float32, (1, 8, 8, 3))
        window = {"stride": [1, 1], "dilation": [1, 1], "pad": [0] * 4}
        w, v = (build.constant(rng.standard_normal((8, 1, 1, n)).astype(np.float32), "w") for n in (3, 8))
        (a,) = build.emit("Conv", [x, w], window, name="first")
        more = {"dilation": [1, 1], "pad": [0] * 4, **attrs} if attrs else {}
        operand = build.constant(rng.standard_normal(inputs[0]).astype(np.float32), "k")
        (b,) = build.emit(op, [a, operand], more, name="op")
        graph.outputs = build.emit("Conv", [b, v], window, name="end")
        return graph

    ours, real = (quantize_graph(network(), samples, settings(target=t)) for t in ("bitlite", "mslite"))
    assert not ours.plan.why and foreign_to_mslite(ours.plan) == [op]
    assert [n.name for n in real.plan.why] == ["op"] and not foreign_to_mslite(real.plan)


def test_few_bits_are_kept_by_layers_of_more_than_nine_weights_a_channel(network, samples):
    graph = network()
    named = {next(n for n in graph.nodes if n.name == "side"): 8}
    result = quantize_graph(graph, samples, Settings(bits=4, layer_bits=named))
    bits = {layer.node.name: layer.weight.quant.bits for layer in result.quantized.weighted_layers.values()}
    assert bits == {"first": 4, "each": 8, "mix": 4, "side": 8, "classify": 4}


def test_the_smallest_layers_keep_eight_bits_as_long_as_they_hold_few_of_all_weights(network, samples, monkeypatch):
    from bitlite.quant.ptq import fine_weights, weight_codes

    monkeypatch.setattr(fine_weights, "GOOD", -100.0)  # nothing is looked for

    def bits_of(share):
        monkeypatch.setattr(weight_codes, "SMALL", share)
        result = quantize_graph(network(), samples, Settings(bits=4))
        layers = result.quantized.weighted_layers.values()
        return {layer.node.name: (layer.weight.quant.bits, layer.weight.value.size) for layer in layers}

    sizes = {name: size for name, (_, size) in bits_of(0.0).items()}
    total, ascending = sum(sizes.values()), sorted(sizes, key=sizes.__getitem__)
    share = (sizes[ascending[0]] + sizes[ascending[1]]) / total
    found = {name: bits for name, (bits, _) in bits_of(share).items()}
    assert found == {name: 8 if name in (*ascending[:2], "each") else 4 for name in sizes}


def test_eight_bits_are_for_the_weights_that_cost_the_outputs_most(network, samples, monkeypatch):
    from bitlite.quant.ptq import fine_weights, weight_codes

    graph = network()
    cost = {"first": 1e-4, "mix": 5e-2, "side": 1e-3, "classify": 1e-4}
    sizes = {n.name: n.inputs[1].value.size for n in graph.nodes if n.name in cost}
    asked = []

    def losses(graph, weights, judge, least):
        asked.extend(n.name for n in weights)
        return {n: np.array([cost[n.name]]) for n in weights}

    monkeypatch.setattr(fine_weights, "weight_losses", losses)
    monkeypatch.setattr(weight_codes, "SMALL", (sizes["mix"] + 1) / sum(sizes.values()))
    result = quantize_graph(
        graph, samples, Settings(bits=4, layer_bits={n: 5 for n in graph.nodes if n.name == "side"})
    )
    bits = {layer.node.name: layer.weight.quant.bits for layer in result.quantized.weighted_layers.values()}
    assert set(asked) == {"first", "mix", "classify"}  # neither what is named nor what has 8 bits anyway
    assert (bits["mix"], bits["side"], bits["classify"]) == (8, 5, 4)


def test_biases_stand_by_the_scales_that_few_bits_were_given(network, samples):
    result = quantize_graph(network(), samples, Settings(bits=4))
    plain = quantize_graph(network(), samples, Settings(bits=4, round_by_output=False))
    moved = 0
    for layer, before in zip(result.quantized.weighted_layers.values(), plain.quantized.weighted_layers.values()):
        moved += not np.array_equal(layer.weight.quant.scale, before.weight.quant.scale)
        if not layer.last:
            x = layer.node.required(0).qparams
            np.testing.assert_array_equal(layer.bias.quant.scale, x.scale[0] * layer.weight.quant.scale)
    assert moved >= 3


def test_a_depthwise_layer_that_is_named_gets_its_bits(network, samples):
    graph = network()
    named = {next(n for n in graph.nodes if n.name == "each"): 4}
    result = quantize_graph(graph, samples, Settings(bits=4, layer_bits=named))
    assert {layer.weight.quant.bits for layer in result.quantized.weighted_layers.values()} == {4}


def test_weights_of_four_bits_make_up_for_the_layers_before(network, samples, outputs, sqnr, monkeypatch):
    from bitlite.quant.ptq import layer_correction

    want = outputs(network(softmax=False))
    found = outputs(quantize_graph(network(softmax=False), samples, Settings(bits=4)).graph)
    plain = layer_correction.refine
    monkeypatch.setattr(layer_correction, "refine", lambda *args, **kw: plain(*args, **{**kw, "upstream": False}))
    alone = outputs(quantize_graph(network(softmax=False), samples, Settings(bits=4)).graph)
    assert sqnr(want, found) > sqnr(want, alone)
