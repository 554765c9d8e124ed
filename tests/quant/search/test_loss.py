"""What a form loses, in each unit of a goal, and what margins say of few samples."""

import math

import numpy as np
import pytest
from bitlite.converter import ops  # noqa: F401  (declares the operators that the builder emits)
from bitlite.converter.errors import UsageError
from bitlite.converter.ir import Graph
from bitlite.converter.schema.builder import Builder
from bitlite.quant.ptq.fidelity import Reference
from bitlite.quant.score import Scoring
from bitlite.quant.search.goal import COSINE, DECIBEL, ERROR, PERCENT, POINTS, MaxDrop
from bitlite.quant.search.loss import Loss, LossJudge


def linear(weight, softmax=False):
    graph = Graph("linear")
    build = Builder(graph)
    x = build.input("x", np.float32, (1, weight.shape[1]))
    (y,) = build.emit("FullyConnected", [x, build.constant(weight.astype(np.float32), "w"), None], {}, name="dense")
    if softmax:
        (y,) = build.emit("Softmax", [y], {"axis": -1}, name="soft")
    graph.outputs = [y]
    return graph


@pytest.fixture(scope="module")
def data():
    """Weights, weights with noise, samples, and labels that the model gets wrong now and then."""
    rng = np.random.default_rng(1)
    weight = rng.normal(0, 1, (6, 12))
    samples = [{"x": rng.normal(0, 1, (1, 12)).astype(np.float32)} for _ in range(3000)]
    scores = np.stack([weight @ s["x"][0] for s in samples])
    labels = (scores + rng.normal(0, 1.5, scores.shape)).argmax(1)
    return weight, weight + rng.normal(0, 0.15, weight.shape), samples, labels


def judged(data, unit, count=3000, begin=0, softmax=False, more=0):
    """more: samples behind those that judge of which margins are known, too."""
    weight, noisy, samples, labels = data

    def reference(begin, count):
        rows = [k % len(samples) for k in range(begin, begin + count)]
        scoring = Scoring(tuple(int(labels[k]) for k in rows))
        return Reference(linear(weight, softmax), [samples[k] for k in rows], 1, scoring=scoring)

    others = reference(begin + count, more) if more else None
    judge = LossJudge(reference(begin, count), unit, held_back=True, others=others)
    return judge.judge(linear(noisy, softmax))[0]


def test_units_are_what_they_say(data):
    weight, noisy, samples, labels = data
    x = np.concatenate([s["x"] for s in samples]).astype(np.float64)
    a, b = x @ weight.T, x @ noisy.T
    right = [(y.argmax(1) == labels).mean() for y in (a, b)]
    assert judged(data, POINTS).value == pytest.approx(100 * (right[0] - right[1]), abs=0.05)
    assert judged(data, PERCENT).value == pytest.approx(100 * (a.argmax(1) != b.argmax(1)).mean(), abs=0.05)
    assert judged(data, DECIBEL).value == pytest.approx(10 * np.log10((a**2).sum() / ((a - b) ** 2).sum()), abs=0.01)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert judged(data, COSINE).value == pytest.approx(cosines.mean(), abs=1e-5)
    assert judged(data, ERROR).value == pytest.approx(np.abs(a - b).sum() / np.abs(a).sum(), abs=1e-4)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("unit", [POINTS, PERCENT])
def test_margins_of_few_samples_tell_what_many_lose_better_than_counting_does(data, unit, softmax):
    true = judged(data, unit, softmax=softmax).value
    parts = [judged(data, unit, 100, begin, softmax) for begin in range(0, 3000, 100)]
    counted, expected = (np.array([getattr(part, name) for part in parts]) for name in ("value", "expected"))
    assert np.sqrt(np.mean((expected - true) ** 2)) < 0.8 * np.sqrt(np.mean((counted - true) ** 2))
    doubts = np.array([part.doubt for part in parts])
    assert 0.6 * expected.std() < doubts.mean() < 2 * expected.std()
    if unit == PERCENT:  # of points 3000 samples have too few for this
        assert expected.mean() == pytest.approx(true, rel=0.15)


@pytest.mark.parametrize("unit", [POINTS, PERCENT])
def test_margins_of_more_samples_leave_less_open(data, unit):
    true = judged(data, unit).value
    few, many = ([judged(data, unit, 100, begin, more=more) for begin in range(0, 3000, 100)] for more in (0, 300))
    for parts in (few, many):
        expected, doubts = (np.array([getattr(p, name) for p in parts]) for name in ("expected", "doubt"))
        assert 0.6 * expected.std() < doubts.mean() < 2 * expected.std()
    apart = [np.sqrt(np.mean([(p.expected - true) ** 2 for p in parts])) for parts in (few, many)]
    assert apart[1] < 0.9 * apart[0]
    assert np.mean([p.doubt for p in many]) < 0.85 * np.mean([p.doubt for p in few])


def test_the_same_model_loses_nothing(data):
    weight, _, samples, labels = data
    reference = Reference(linear(weight), samples[:50], 1, scoring=Scoring(tuple(map(int, labels[:50]))))
    for unit, limit in ((POINTS, 0), (PERCENT, 0), (DECIBEL, 100), (COSINE, 0.9999), (ERROR, 0)):
        loss, _ = LossJudge(reference, unit, held_back=True).judge(linear(weight))
        assert loss.meets(MaxDrop(limit, unit)) and loss.cost > 0


def test_an_output_that_is_not_finite_meets_nothing(data):
    weight, _, samples, labels = data
    reference = Reference(linear(weight), samples[:50], 1, scoring=Scoring(tuple(map(int, labels[:50]))))
    for unit, limit in ((POINTS, 5), (PERCENT, 5), (DECIBEL, 10), (COSINE, 0.9), (ERROR, 0.5)):
        loss, _ = LossJudge(reference, unit, held_back=True).judge(linear(weight * np.nan))
        assert not loss.meets(MaxDrop(limit, unit))


def test_what_is_counted_may_be_worse_by_its_standard_error_only():
    limit = MaxDrop(0.5)
    assert Loss(1.0, 0.6, 0.4, 20.0, POINTS).meets(limit)
    assert not Loss(1.0, 0.4, 0.4, 20.0, POINTS).meets(limit)
    assert not Loss(-1.0, 0.6, 0.6, 20.0, POINTS).meets(limit)
    assert not Loss(0.6, 0.6, math.nan, 20.0, POINTS).meets(limit)
    assert not Loss(0.4, 0.6, 0.4, 20.0, POINTS, doubt=0.2).meets(limit)


def test_points_without_labels_are_refused(data):
    reference = Reference(linear(data[0]), data[2][:20], 1)
    with pytest.raises(UsageError, match="neither labels nor a metric"):
        LossJudge(reference, POINTS, held_back=True)


@pytest.mark.parametrize(
    "loss, more",
    [
        (Loss(-1.16, 1.2, 0.88, 25.0, POINTS, doubt=0.68), (0.68 / 0.12) ** 2),
        (Loss(0.0, 1.0, 0.5, 25.0, POINTS, doubt=0.4), None),  # met
        (Loss(0.0, 1.0, 1.1, 25.0, POINTS, doubt=0.4), None),  # more is expected than is allowed
        (Loss(3.0, 1.0, 0.9, 25.0, POINTS, doubt=0.4), None),  # what is counted is worse by more than its error
        (Loss(1.2, 0.1, math.nan, 25.0, POINTS), None),
    ],
)
def test_more_samples_are_asked_for_where_they_are_what_the_goal_lacks(loss, more):
    assert loss.more_samples(MaxDrop(1.0)) == (None if more is None else pytest.approx(more))
