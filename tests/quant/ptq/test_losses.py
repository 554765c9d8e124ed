"""What single tensors and weights lose at the outputs: it adds up to what the whole form loses."""

import numpy as np
import pytest
from bitlite.quant.progress import no_progress
from bitlite.quant.ptq.calibration import calibration_statistics
from bitlite.quant.ptq.fidelity import Reference
from bitlite.quant.ptq.integer_forms import IntegerForms, placement
from bitlite.quant.ptq.losses import FormLosses
from bitlite.quant.ptq.prepare import prepare
from bitlite.quant.ptq.settings import Settings
from bitlite.quant.weights.weight_quant import WeightSettings


def opened(network, samples, settings):
    graph = network(softmax=False)
    prepare(graph)
    plan = placement(graph, settings)
    forms = IntegerForms(graph, samples, settings, calibration_statistics(graph, plan, samples, settings, no_progress))
    return forms, forms.form(plan), Reference(graph, list(samples.only(range(16))), 1)


def measured(network, samples, least, settings):
    forms, form, judge = opened(network, samples, settings)
    with FormLosses(forms, form, judge) as losses:
        return losses.codes(least), losses.runs, judge.noise(form.graph)


def test_losses_add_up(network, samples):
    codes, runs, whole = measured(network, samples, 0.0, Settings())
    assert runs > len(codes) and all(c.loss.shape == (1,) and c.nodes for c in codes)
    assert 0.5 < sum(c.loss for c in codes)[0] / whole[0] < 2


def test_what_loses_next_to_nothing_is_not_told_apart(network, samples):
    codes, runs, _ = measured(network, samples, 1.0, Settings())
    assert runs == 1 and len({c.loss[0] for c in codes}) == 1


def test_a_weight_has_a_size_where_float_layers_store_codes(network, samples):
    sizes = [c.size for c in measured(network, samples, 1.0, Settings())[0]]
    stored = [c.size for c in measured(network, samples, 1.0, Settings(float_weights=WeightSettings()))[0]]
    assert not any(sizes) and sum(map(bool, stored)) == 5
    assert len(sizes) == len(stored)


def test_a_tensor_is_free_once_its_readers_are_in_float(network, samples):
    codes, _, _ = measured(network, samples, 1.0, Settings())
    named = [{n.name for n in c.nodes} for c in codes]
    assert {"each"} in named and np.count_nonzero([len(n) > 1 for n in named])


def test_a_form_loses_what_its_graph_does(network, samples):
    forms, form, judge = opened(network, samples, Settings(bias_correction="off"))
    some = frozenset(n for n in forms.graph.nodes if n.name in ("each", "sum"))
    other = forms.form(forms.placement(some))
    assert other.plan.int8_nodes != form.plan.int8_nodes
    with FormLosses(forms, form, judge) as losses:
        for held in (form, other):
            assert 0.8 < losses.noise(held, frozenset())[0] / judge.noise(held.graph)[0] < 1.25


def test_weights_are_those_that_the_form_has(network, samples):
    forms, form, judge = opened(network, samples, Settings())
    layer = next(layer for node, layer in form.quantized.weighted_layers.items() if node.name == "classify")
    nearest = np.array(layer.weight.value)

    def lost(codes):
        layer.weight.data = codes
        with FormLosses(forms, form, judge) as losses:
            of = {next(iter(c.nodes)): c.loss[0] for c in losses.codes(0.0)[-len(form.quantized.weighted_layers) :]}
        return of[layer.source], sum(of.values()) - of[layer.source]

    (good, others), (bad, same) = lost(nearest), lost(nearest // 2)
    assert bad > 20 * good and others == pytest.approx(same)
