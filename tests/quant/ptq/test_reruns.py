"""Runs again of what follows a change give what runs of the whole changed graph give."""

import numpy as np
import pytest
from bitlite.converter.ir import Tensor
from bitlite.converter.numeric.qparams import choose_asymmetric
from bitlite.native.session import Session
from bitlite.quant.ptq.placement import Placement, weight_index
from bitlite.quant.ptq.reruns import Reruns, kept_samples
from bitlite.quant.ptq.simulated import with_codes


@pytest.mark.parametrize(
    ("activations", "weights"),
    [
        pytest.param((), (), id="nothing changed"),
        pytest.param(("x",), (), id="an input"),
        pytest.param(("side", "sum"), ("each",), id="tensors and a weight"),
        pytest.param((), ("classify",), id="the last weight"),
    ],
)
def test_only_what_follows_runs_again(network, samples, activations, weights):
    graph = network(softmax=False)
    codes = {t: choose_asymmetric(-1.5, 1.5, 8) for t in graph.tensors() if t.name in activations}
    layers = {n: n.required(weight_index(n)).value * 1.25 for n in graph.nodes if n.name in weights}
    few = list(samples.only(range(3)))
    with Reruns(graph, few, 2, layers) as reruns:
        got = reruns.values(graph.outputs, codes, layers)
    for node, data in layers.items():
        w = node.required(weight_index(node))
        node.inputs[weight_index(node)] = Tensor(w.name, data.dtype, data.shape, data)
    session = Session(with_codes(graph, codes))
    for row, sample in zip(got, few):
        assert np.allclose(row[0], next(iter(session.run(dict(sample)).values())), rtol=1e-5, atol=1e-5)


def test_as_many_samples_as_fit_are_kept(network):
    graph = network()
    assert kept_samples(graph, 2, 16) == 16
    graph.nodes[0].outputs[0].shape = (1, 1 << 10, 1 << 10, 64)
    assert kept_samples(graph, 2, 16) == 2


def test_biases_keep_the_means_of_layers_with_other_weights(network, samples):
    graph = network(softmax=False)
    node = graph.nodes[-1]
    layers = {node: node.required(weight_index(node)).value + np.float32(0.1)}
    few, means = list(samples.only(range(6))), []
    for steady in (False, True):
        with Reruns(graph, few, 1, layers, steady=steady) as reruns:
            got, want = (reruns.values(graph.outputs, {}, nodes) for nodes in (layers, ()))
        means.append(np.abs(np.mean([g[0] - w[0] for g, w in zip(got, want)], axis=0)).max())
    assert means[0] > 0.05 and means[1] < 1e-5


def test_float_readers_of_a_float_tensor_read_no_codes(network, samples):
    graph = network(softmax=False)
    (node,) = [n for n in graph.nodes if n.name == "each"]
    codes, few = {node.required(0): choose_asymmetric(-0.1, 0.1, 8)}, list(samples.only(range(2)))
    with Reruns(graph, few, 1) as reruns:
        plain, every, none = (
            reruns.values(node.outputs, given, (), plan)
            for given, plan in (({}, None), (codes, Placement(integer=set(graph.nodes))), (codes, Placement()))
        )
    assert not np.allclose(plain[0][0], every[0][0]) and np.array_equal(plain[0][0], none[0][0])
