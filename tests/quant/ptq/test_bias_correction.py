"""Bias correction and the runner behind it."""

import numpy as np
import pytest
from bitlite.converter.ir import Tensor
from bitlite.converter.numeric.qparams import INT32_MAX, QuantParam, dequantize
from bitlite.native.session import Session
from bitlite.quant.calibrate.statistics import Statistics
from bitlite.quant.cluster.pool import Workforce
from bitlite.quant.ptq import prefix_part
from bitlite.quant.ptq.bias_correction import add_to_bias, correct
from bitlite.quant.ptq.integer_forms import IntegerForms
from bitlite.quant.ptq.post_training import quantize_graph
from bitlite.quant.ptq.prefix_part import Store
from bitlite.quant.ptq.prefix_runner import QuantizedPrefixRunner
from bitlite.quant.ptq.quantized_graph import Layer, note_stored
from bitlite.quant.ptq.rounding import refine
from bitlite.quant.ptq.settings import Settings
from bitlite.quant.weights.weight_quant import WeightSettings, quantize_graph_weights


def layer(values, scale=0.5, last=False):
    data = np.asarray(values, np.float32 if last else np.int32)
    quant = None if last else QuantParam(np.full(len(data), scale), np.zeros(len(data), np.int32), 0, 32)
    return Layer(None, None, None, Tensor("b", data.dtype, data.shape, data, quant), last)


def test_shifts_are_rounded_to_whole_steps():
    one = layer([10, -3, 0])
    done = add_to_bias(one, np.array([1.2, -0.6, 0.1]))
    assert one.bias.data.tolist() == [12, -4, 0] and done.tolist() == [1.0, -0.5, 0.0]


def test_a_bias_near_the_limit_is_left_alone():
    big = int(0.59 * INT32_MAX)
    one = layer([big, 5])
    add_to_bias(one, np.array([0.1 * INT32_MAX, 0.5]))
    assert one.bias.data.tolist() == [big, 6]


def test_a_float_bias_takes_the_shift_as_it_is():
    one = layer([1.0, 2.0], last=True)
    add_to_bias(one, np.array([0.25, -0.5]))
    assert one.bias.data.tolist() == [1.25, 1.5] and one.bias.data.dtype == np.float32


def test_layers_in_float_with_weights_in_codes_are_rounded_and_corrected_too(network, samples, outputs, sqnr):
    def form(fit):
        graph = network(softmax=False)
        forms = IntegerForms(graph, samples, Settings(), Statistics({}, {}))
        result = forms.form(forms.placement(frozenset(graph.nodes)))
        quantize_graph_weights(result.graph, WeightSettings(4, min_channels=0, gain_gate=False, container="tflite"), {})
        note_stored(result.quantized)
        assert not result.quantized.weighted_layers and len(result.quantized.stored) == 5
        QuantizedPrefixRunner(graph, result.quantized, list(samples), Workforce(1)).run(fit)
        return result.graph

    def both(runner, node):
        refine(runner, node)
        correct(runner, node)

    want = outputs(network(softmax=False))
    plain, shifted, rounded = (sqnr(want, outputs(form(fit))) for fit in (lambda w, n: None, correct, both))
    assert plain + 10 < shifted < rounded


@pytest.mark.parametrize("how", ["sequential", "lockstep", "off"])
def test_means_of_the_layers_outputs(network, samples, how):
    """After sequential correction every layer's mean over the samples is that of the float network."""
    graph = network(softmax=False)
    result = quantize_graph(graph, samples, Settings(bias_correction=how, methods=("MAX_MIN",)))
    worst = 0.0
    for node, layer in result.quantized.weighted_layers.items():
        twin = layer.node.outputs[0]
        both = []
        for g, t in ((result.source, node.outputs[0]), (result.graph, twin)):
            view = g.copy()
            view.outputs = [next(u for n in view.nodes for u in n.outputs if u.name == t.name)]
            view.prune()
            session = Session(view)
            values = [next(iter(session.run(dict(s)).values())) for s in samples]
            if t.quant is not None and t.dtype == np.int8:
                values = [dequantize(v, t.quant) for v in values]
            both.append(np.concatenate([v.reshape(-1, v.shape[-1]) for v in values]))
        real, got = both
        worst = max(worst, float((np.abs(real.mean(0) - got.mean(0)) / real.std()).max()))
    assert worst < 0.004 if how == "sequential" else worst < 0.2


def test_a_store_gives_back_what_it_took_and_spills_what_is_too_much():
    store = Store(budget=1 << 20)
    big, small = Tensor("big", np.dtype("f4"), None), Tensor("small", np.dtype("i1"), None)
    arrays = [np.random.default_rng(k).standard_normal((200, 300)).astype(np.float32) for k in range(8)]
    for a in arrays:
        store.add(big, a)
        store.add(small, a[:2].astype(np.int8))
    assert store.used <= (1 << 20) + 8 * 600
    assert all(np.array_equal(store.get(big, k), a) for k, a in enumerate(arrays))
    assert np.array_equal(store.get(small, 3), arrays[3][:2].astype(np.int8))
    store.drop(big)
    store.drop(small)
    assert store.used == 0


def test_a_spilled_walk_computes_the_same(network, samples, monkeypatch):
    results = [quantize_graph(network(), samples, Settings())]
    monkeypatch.setattr(prefix_part, "_SMALL", 0)
    monkeypatch.setitem(QuantizedPrefixRunner.__init__.__kwdefaults__, "budget", 0)
    results.append(quantize_graph(network(), samples, Settings(measure=True)))
    for a, b in zip(*(m.graph.constants() for m in results)):
        assert np.array_equal(a.data, b.data)
