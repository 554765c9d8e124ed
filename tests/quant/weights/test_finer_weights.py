"""Where bits above those that are asked for go."""

import numpy as np
import pytest
from bitlite.quant.parallel import Workers
from bitlite.quant.weights.finer_weights import spend
from bitlite.quant.weights.weight_trials import WeightTrials, codes_by_layer

from .test_output_rounding import SETTINGS, network, samples

WIDTHS = (5, 6, 7, 8)


def test_bits_go_where_an_output_lacks_most_for_their_bytes():
    losses = np.array([[1e-3, 0.0], [1e-3, 0.0], [0.0, 1e-5]])
    bits = spend(losses, np.array([100, 1000, 1000]), 4, 6, WIDTHS, 1e-2)
    assert bits[0] > bits[1] > bits[2] == 4  # the second output has what it should


def test_no_more_than_a_third_is_spent():
    sizes = np.array([10, 300, 500, 7])
    bits = spend(np.ones((4, 1)), sizes, 4, 6, WIDTHS, 1e-4)
    assert (bits > 4).any() and (bits * sizes).sum() <= 4 * sizes.sum() * 4 / 3


def test_only_widths_of_the_file_are_given():
    assert spend(np.array([[1e-3], [1.0]]), np.array([300, 100]), 4, 8, (8,), 1e-4).tolist() == [4, 8]


def test_nothing_is_spent_where_nothing_lacks():
    assert spend(np.full((2, 1), 1e-6), np.array([5, 5]), 4, 6, WIDTHS, 1e-2).tolist() == [4, 4]


def test_noise_is_the_share_of_the_outputs_energy_without_what_biases_take_up():
    graph, rows = network(), list(samples(12))
    trials = WeightTrials(graph, rows, 1, [graph.nodes[1].outputs[0]])
    dense = next(n for n in graph.nodes if n.name == "dense")
    with Workers(1) as workers:
        trials.begin(workers, graph.nodes.index(dense))
        assert trials.noise(workers).tolist() == [0, 0]
        codes = codes_by_layer(graph, SETTINGS)["dense"]
        trials.put(codes)
        noise = trials.noise(workers)
    means = np.stack([trials_input(graph, row) for row in rows])
    want, got = means @ dense.inputs[1].value.T, means @ codes[0].real().T
    apart = got - want
    expected = np.square(apart - apart.mean(axis=0)).sum() / np.square(want).sum()
    assert noise[0] == pytest.approx(expected, rel=1e-3) and noise[1] == 0


def trials_input(graph, row):
    """What the last layer reads."""
    import bitlite

    part = graph.copy()
    part.outputs = [next(n for n in part.nodes if n.name == "mean").outputs[0]]
    part.prune()
    return bitlite.Session(part).run(row)[part.outputs[0].name].reshape(-1).copy()
