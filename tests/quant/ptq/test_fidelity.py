"""What a conversion says of its own loss: on which samples, of which outputs, and that it is what a run shows."""

import json
import math

import numpy as np
import pytest
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.quant.calibrate.observe import Histograms, Kept, observe
from bitlite.quant.ptq import post_training, prefix_runner
from bitlite.quant.ptq.fidelity import Reference, compared, float_outputs, hold_back, judge_of, scores_of, spread
from bitlite.quant.ptq.post_training import quantize_graph
from bitlite.quant.ptq.prefix_runner import bytes_foreseen, bytes_given
from bitlite.quant.ptq.settings import Settings
from bitlite.quant.score import Scoring


@pytest.mark.parametrize("total, fitted", [(100, 64), (64, 64), (40, 64), (20, 64), (1000, 64)])
def test_samples_that_judge_are_none_that_codes_are_fitted_to(total, fitted):
    chosen, held = hold_back(total, fitted)
    assert len(held) == min(total - len(chosen), max(32, total // 10)) and not set(held) & set(chosen)
    assert len(chosen) == min(fitted, total - max(4, total // 10)) and held == sorted(held)


def test_of_a_hundred_samples_holding_back_takes_none_from_the_fit():
    assert hold_back(100, 64)[0] == spread(100, 64)


def test_of_few_samples_none_is_spared():
    chosen, held = hold_back(19, 64)
    assert chosen == held == list(range(19))


def test_the_figures_are_those_of_a_run(network, samples, sqnr):
    from bitlite.native.session import Session

    result = quantize_graph(network(), samples, Settings())
    _, held = hold_back(len(samples), Settings().subset)
    rows = list(samples.only(held))
    want, got = (
        np.concatenate([next(iter(Session(g).run(row).values())) for row in rows]).astype(np.float64)
        for g in (network(), result.graph)
    )
    (output,) = result.fidelity.outputs
    assert output.sqnr == pytest.approx(sqnr(want, got), abs=0.2)
    assert output.same_class == np.mean(want.argmax(1) == got.argmax(1))
    assert result.fidelity.held_back and result.fidelity.samples == len(held)


@pytest.mark.parametrize("heavy", [False, True])
def test_the_margin_holds_what_other_samples_give(heavy):
    rng = np.random.default_rng(5)
    scale = np.exp(rng.standard_normal(4000)) if heavy else np.full(4000, 1.0)
    wanted = rng.standard_normal((4000, 40)).astype(np.float32)
    actual = wanted + 0.1 * scale[:, None] * rng.standard_normal((4000, 40))
    every = compared("y", wanted, actual).sqnr
    few = [compared("y", wanted[k : k + 32], actual[k : k + 32]) for k in range(0, 4000, 32)]
    inside = np.mean([abs(part.sqnr - every) <= part.margin for part in few])
    assert 0.6 <= inside <= 0.98 if heavy else 0.82 <= inside <= 0.97
    assert all((" ± " in part.text()) == (part.margin >= 1) for part in few)
    assert compared("y", wanted[:1], actual[:1]).margin == 0 and np.mean([part.margin for part in few]) < 5


def test_codes_as_outputs_are_judged_by_what_they_stand_for(network, samples):
    kinds = Settings(input_type="UINT8", output_type="INT8")
    result = quantize_graph(network(softmax=False), samples, kinds)
    assert result.graph.outputs[0].dtype == np.int8
    assert result.fidelity.worst.sqnr > 25


def two_outputs(factor=1.0, shift=0.0):
    graph = Graph("two")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 4))
    for name, k, b in (("a", 1.0, 0.0), ("b", factor, shift)):
        (y,) = build.emit("Mul", [x, build.constant(np.float32([k]), "k")], {}, name=name)
        (y,) = build.emit("Add", [y, build.constant(np.float32([b]), "s")], {}, name=f"{name}/shifted")
        graph.outputs.append(y)
    return graph


def rows(count=5):
    rng = np.random.default_rng(2)
    return [{"x": rng.standard_normal((1, 4)).astype(np.float32)} for _ in range(count)]


def test_the_worst_output_is_named():
    fidelity = Reference(two_outputs(), rows(), 1).fidelity(two_outputs(1.1), held_back=True)
    assert fidelity.worst is fidelity.outputs[1] and fidelity.worst.sqnr == pytest.approx(20, abs=1e-3)
    assert math.isinf(fidelity.outputs[0].sqnr)
    assert "worst of 2 outputs 'b/shifted' 20.0 dB" in fidelity.text() and "not fitted to" in fidelity.text()
    shown = json.loads(json.dumps(fidelity.as_dict()))
    assert shown["outputs"][0]["sqnr"] is None and shown["outputs"][1]["sqnr"] == pytest.approx(20, abs=1e-3)


def test_too_few_samples_are_told():
    fidelity = Reference(two_outputs(), rows(), 1).fidelity(two_outputs(1.1), held_back=False)
    assert "too few to hold some back" in fidelity.text()


def test_infinite_outputs_are_as_bad_as_can_be():
    fidelity = Reference(two_outputs(), rows(), 1).fidelity(two_outputs(1.0, np.inf), held_back=True)
    assert fidelity.worst.name == "b/shifted" and fidelity.worst.sqnr == -100


def test_scores_tell_what_an_output_at_the_end_of_its_range_does_not():
    def classes(factor):
        graph = Graph("classes")
        build = Builder(graph)
        x = build.input("x", np.float32, (1, 2))
        w = build.constant(np.eye(2, dtype=np.float32) * factor, "w")
        graph.outputs = build.emit("Softmax", build.emit("FullyConnected", [x, w], {}, name="scores"), {}, name="y")
        return graph

    graph = classes(1.0)
    judge = Reference(graph, [{"x": np.float32([[90 + i, -90]])} for i in range(4)], 1, scores_of(graph))
    assert judge.outputs_of(classes(1.1))[0].sqnr > 100
    assert judge.outputs_by_scores(classes(1.1))[0].sqnr == pytest.approx(20, abs=0.1)


def test_a_row_of_length_1_is_a_direction_and_not_of_classes():
    def vectors(unit):
        graph = Graph("vectors")
        build = Builder(graph)
        y = build.emit("Tanh", [build.input("x", np.float32, (1, 6))])[0]
        if unit:
            length = build.emit(
                "Reduce", [build.emit("Mul", [y, y])[0]], {"axes": [1], "mode": "sum", "keep_dims": True}
            )[0]
            y = build.emit("Div", [y, build.emit("Sqrt", [length])[0]])[0]
        graph.outputs = [y]
        return graph

    rows = [{"x": np.random.default_rng(k).normal(0, 1, (1, 6)).astype(np.float32)} for k in range(6)]
    assert [Reference(vectors(unit), rows, 1).classes for unit in (True, False)] == [[False], [True]]


def test_outputs_that_calibration_has_seen_are_those_of_a_judges_own_runs(network, samples, monkeypatch):
    """Kept beside the statistics of the same runs, the judgement is the same as without."""
    ran = []
    run = Reference._run
    monkeypatch.setattr(Reference, "_run", lambda self, graph, *rest: ran.append(graph) or run(self, graph, *rest))
    kept = quantize_graph(network(), samples, Settings())
    seen = len(ran)
    monkeypatch.setattr(post_training, "_KEPT", 0)
    fresh = quantize_graph(network(), samples, Settings())
    assert len(ran) - seen == seen + 1
    assert kept.fidelity == fresh.fidelity and kept.fidelity is not None


def test_means_that_calibration_has_taken_are_those_of_runs_of_their_own(network, samples, monkeypatch):
    ran = []
    take = prefix_runner.means_of
    monkeypatch.setattr(prefix_runner, "means_of", lambda *given: ran.append(1) or take(*given))
    known = quantize_graph(network(), samples, Settings())
    assert not ran
    monkeypatch.setattr(post_training, "_means", lambda *_: None)
    fresh = quantize_graph(network(), samples, Settings())
    assert ran
    for a, b in zip(known.graph.tensors(), fresh.graph.tensors(), strict=True):
        assert a.data is None or np.array_equal(a.data, b.data)


def test_the_bytes_of_an_integer_graphs_activations_are_foreseen(network, samples):
    """So that calibration takes means of the samples that layers are fitted to: all but casts from scale to scale."""
    result = quantize_graph(network(), samples, Settings())
    foreseen, given = bytes_foreseen(result.source, result.plan), bytes_given(result.graph)
    assert 0.95 * given < foreseen <= given


def test_values_are_kept_of_so_many_samples_as_there_is_room_for(network, samples):
    graph = network()
    (y,) = float_outputs(graph)
    for room, count in ((10**6, len(samples)), (3 * y.nbytes, 3), (0, 0)):
        kept = Kept([y], room)
        observe(graph, samples, [graph.nodes[0].outputs[0]], Histograms(), 2, (kept,))
        assert list(kept.values) == list(range(count))
    judge = Reference(graph, samples.rows, 2)
    full = Kept([y], 10**6)
    observe(graph, samples, [graph.nodes[0].outputs[0]], Histograms(), 2, (full,))
    for k, row in enumerate(judge.values):
        assert np.array_equal(row[0], full.values[k][0])
    known = {k: [np.full((1, 5), k, np.float32)] for k in (1, 4)}
    assert [row[0][0, 0] for row in judge_of(graph, samples, [1, 4], None, 2, known).values] == [1, 4]


def best_of_rows(factor=1.0, *, both=False):
    graph = Graph("best")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 6, 4))
    (scores,) = build.emit("Mul", [x, build.constant(np.float32([1, factor, 1, 1]), "k")], {}, name="scores")
    (moved,) = build.emit("ArgMax", [scores], {"axis": -1, "keep_dims": True, "dtype": "int64"}, name="best")
    graph.outputs = build.emit("Reshape", [moved, build.constant(np.int64([1, 6]), "shape")], {}, name="y")
    graph.outputs += [scores] if both else []
    return graph


def class_rows(count=8):
    rng = np.random.default_rng(2)
    return [{"x": rng.standard_normal((1, 6, 4)).astype(np.float32)} for _ in range(count)]


def test_integers_that_are_chosen_are_judged_by_what_they_are_chosen_from():
    judge = Reference(best_of_rows(), class_rows(), 1)
    (output,) = judge.fidelity(best_of_rows(3.0), held_back=True).outputs
    right = [row["x"].argmax(-1) == (row["x"] * np.float32([1, 3, 1, 1])).argmax(-1) for row in class_rows()]
    assert output.name == best_of_rows().outputs[0].name
    assert 0.5 < output.same_class == pytest.approx(np.mean(right), abs=1e-6) and output.sqnr < 5
    assert len(Reference(best_of_rows(both=True), class_rows(), 1).outputs) == 1


def test_a_mask_is_judged_by_what_it_compares():
    graph = Graph("mask")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, 6, 4))
    (scores,) = build.emit("Mul", [x, build.constant(np.float32([1, 2, 1, 1]), "k")], {}, name="scores")
    graph.outputs = build.emit("Greater", [scores, build.constant(np.float32([0.5]), "least")], {}, name="mask")
    judge = Reference(graph, class_rows(), 1)
    assert judge.outputs == [scores] and judge.names == [graph.outputs[0].name]
    constant = Graph("constant")
    build = Builder(constant)
    x = build.input("x", np.float32, (1, 4))
    constant.outputs = build.emit("Greater", [x, build.constant(np.float32([0.5]), "least")], {}, name="mask")
    assert float_outputs(constant) == []  # an input is not computed


def test_a_metric_is_given_no_scores_in_place_of_classes():
    def metric(outputs, labels):
        raise AssertionError(outputs)

    judge = Reference(best_of_rows(), class_rows(), 1, scoring=Scoring(metric=metric))
    assert judge.fidelity(best_of_rows(), held_back=True).score is None
    labels = tuple(row["x"].argmax(-1)[0].tolist() for row in class_rows())
    judge = Reference(best_of_rows(), class_rows(), 1, scoring=Scoring(labels))
    assert judge.fidelity(best_of_rows(), held_back=True).score.before == 1


def test_a_network_of_classes_alone_is_judged(network, samples):
    graph = network(softmax=False)
    (y,) = graph.outputs
    graph.outputs = Builder(graph).emit("ArgMax", [y], {"axis": -1, "keep_dims": False, "dtype": "int64"}, name="best")
    fidelity = quantize_graph(graph, samples, Settings()).fidelity
    assert fidelity.worst.sqnr > 25 and fidelity.worst.same_class > 0.9
