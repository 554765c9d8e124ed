"""What a quantized graph's outputs have in common with the float graph's, on samples: SQNR, cosine, equal classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...converter.ir import Graph, Tensor
from ...converter.numeric.qparams import dequantize, quantize_f32
from ...converter.schema.op import quant_spec
from ..score import Outputs, Score, Scoring

if TYPE_CHECKING:  # a conversion without data compares outputs, too, and needs nothing of what runs samples
    from ..calibrate.observe import Sample
    from .settings import Samples

POOR = 20.0  # dB: below it a note says so, and what was tried
GOOD = 30.0  # dB that outputs of values should have
_FLOOR = -100.0  # dB: of outputs that are NaN or infinite where the float ones are not
_WIDE = 1.0  # dB: what the samples leave open is said
_DEVIATIONS = 1.645  # of a normal distribution, to either side, hold 90 %
_LEAST_HELD, _MOST_HELD = 4, 32
_SUM = 1e-3
_ENDS = ("Softmax", "LogSoftmax", "Sigmoid")
_MOVES = ("Reshape", "Squeeze", "ExpandDims", "Transpose")


@dataclass(frozen=True)
class Output:
    """One output. sqnr: dB, inf when nothing differs. same_class: the share of rows with the largest value in the same
    place, None where the output does not look like classes. margin: dB, to either side of sqnr, within which it lies
    for 90 % of choices of so many samples; of one sample 0."""

    name: str
    sqnr: float
    cosine: float
    same_class: float | None
    margin: float = 0.0

    def text(self) -> str:
        margin = f" ± {self.margin:.1f}" if self.margin >= _WIDE else ""
        parts = ["exact" if math.isinf(self.sqnr) else f"{self.sqnr:.1f}{margin} dB", f"cosine {self.cosine:.4f}"]
        if self.same_class is not None:
            parts.append(f"same class {self.same_class:.1%}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Fidelity:
    """All float outputs. held_back: neither codes nor biases were fitted to these samples. random: one random input.
    score: by labels or a metric, where there are any."""

    outputs: tuple[Output, ...]
    samples: int
    held_back: bool
    random: bool = False
    score: Score | None = None

    @property
    def worst(self) -> Output:
        return min(self.outputs, key=lambda o: o.sqnr)

    def text(self) -> str:
        """The line that ends a conversion."""
        where = "that it was not fitted to" if self.held_back else "that it was fitted to, too few to hold some back"
        samples = "a random input, there are no data" if self.random else f"{self.samples} samples {where}"
        worst = self.worst
        which = f"worst of {len(self.outputs)} outputs {worst.name!r}" if len(self.outputs) > 1 else "output"
        return f"against float: {which} {worst.text()}; on {samples}"

    @property
    def verdict(self) -> str:
        """A word on the worst output, by the bounds that the notes go by."""
        sqnr = self.worst.sqnr
        return "exact" if math.isinf(sqnr) else "faithful" if sqnr >= GOOD else "usable" if sqnr >= POOR else "poor"

    def as_dict(self) -> dict[str, Any]:
        """JSON's form; sqnr null when nothing differs."""
        rows = [
            {"output": o.name, "sqnr": None if math.isinf(o.sqnr) else o.sqnr, "cosine": o.cosine,
             "same_class": o.same_class, "margin": o.margin}
            for o in self.outputs
        ]  # fmt: skip
        score = self.score.as_dict() if self.score else None
        return {
            "samples": self.samples, "held_back": self.held_back, "random": self.random, "outputs": rows, "score": score
        }  # fmt: skip


def spread(total: int, count: int) -> list[int]:
    """At most `count` of range(total), evenly."""
    return [(2 * i + 1) * total // (2 * count) for i in range(count)] if count < total else list(range(total))


def hold_back(total: int, fitted: int, *, scored: bool = False) -> tuple[list[int], list[int]]:
    """(samples to fit to, samples to judge by): at most `fitted` of `total`, so that a tenth of all, at least four, is
    left; of the others as many as there are up to 32, or a tenth of all, or all where they are `scored`, which takes
    many to tell something. Of fewer than 20 none is spared: then both are the same."""
    held = max(_LEAST_HELD, total // 10)
    if total < 5 * _LEAST_HELD:
        chosen = spread(total, fitted)
        return chosen, chosen
    chosen = spread(total, min(fitted, total - held))
    rest = sorted(set(range(total)) - set(chosen))
    return chosen, [rest[k] for k in spread(len(rest), len(rest) if scored else max(held, _MOST_HELD))]


def scores_of(graph: Graph) -> dict[Tensor, Tensor]:
    """Output → what a Softmax or Sigmoid makes it of, through nothing but moves: where outputs are at the end of their
    range, it shows what they do not."""
    producers, scores = graph.producers(), dict[Tensor, Tensor]()
    for t in graph.outputs:
        node = producers.get(t)
        while node is not None and node.op in (*_ENDS, *_MOVES):
            x = node.inputs[0]
            if x is None or x not in producers:
                break
            if node.op in _ENDS:
                scores[t] = x
            node = producers[x]
    return scores


class Reference:
    """A float graph's outputs on samples, to compare other forms of the graph with.

    scores: output → what it is made of (`scores_of`), to be judged, too. scoring: of these samples. values: of the
    outputs, by sample, where they are known. Nothing here depends on `threads`.

    Attributes:
        tensors: the float outputs, then the scores.
    """

    def __init__(
        self,
        graph: Graph,
        samples: Sequence[Sample],
        threads: int,
        scores: Mapping[Tensor, Tensor] | None = None,
        scoring: Scoring | None = None,
        values: list[list[np.ndarray]] | None = None,
    ) -> None:
        self.samples, self.threads, self.inputs, self.scoring = samples, threads, list(graph.inputs), scoring
        judged = _judged(graph)
        self.outputs, self.places = list(judged), list(judged.values())
        self.scores = scores or {}
        self.tensors = list(dict.fromkeys([*self.outputs, *self.scores.values()]))
        self.values = self._run(graph, self.tensors) if values is None else values
        self.names = [graph.outputs[k].name for k in self.places]
        chosen = _chosen_from(graph)
        self.classes = [t in chosen or self._scores(k) for k, t in enumerate(self.outputs)]
        self._own = [k for k, t in enumerate(self.outputs) if t is graph.outputs[self.places[k]]]

    def values_of(self, graph: Graph) -> list[list[np.ndarray]]:
        """By sample, the outputs of `graph`, another form of the same."""
        return self._run(graph, outputs_at(graph, self.places))

    def named(self, values: Sequence[Sequence[np.ndarray]]) -> list[Outputs]:
        """Values by sample and output, as a metric takes them: labels are compared with what an output is chosen from,
        too."""
        metric = self.scoring is not None and self.scoring.metric is not None
        shown = self._own if metric else range(len(self.outputs))
        return [{self.names[k]: row[k] for k in shown} for row in values]

    def compare(self, values: Sequence[Sequence[np.ndarray]]) -> list[Output]:
        """How outputs of another form, by sample, do."""
        return [
            compared(name, [row[k] for row in self.values], [row[k] for row in values], self.classes[k])
            for k, name in enumerate(self.names)
        ]

    def worst_of(self, values: Sequence[Sequence[np.ndarray]], part: slice) -> float:
        """The SQNR in dB of the worst output of another form, by sample, on some of the samples; 0 without outputs."""
        wanted, actual = self.values[part], values[part]
        pairs = [([row[k] for row in wanted], [row[k] for row in actual]) for k in range(len(self.outputs))]
        return min((compared("", *pair).sqnr for pair in pairs), default=0.0)

    def outputs_of(self, graph: Graph) -> list[Output]:
        """How `graph`, another form of the same, does."""
        return self.compare(self.values_of(graph))

    def noise(self, graph: Graph) -> np.ndarray:
        """`noise_of` another form of the graph. Nothing is lost of scores of which it has no tensor of that name."""
        found = self._found(graph)
        there = [k for k, t in enumerate(found) if t is not None]
        runs = self._run(graph, [t for t in found if t is not None])
        lost = np.zeros(len(self.tensors))
        lost[there] = self.noise_of(runs, there)
        return lost

    def noise_of(self, runs: Sequence[Sequence[np.ndarray]], places: Sequence[int] | None = None) -> np.ndarray:
        """The share of the energy of each of `tensors`, or of those at the places, that is lost in values by sample,
        aside from what the mean of each channel is off: correcting biases mends that."""
        places = range(len(self.tensors)) if places is None else places
        return np.array(
            [_scatter([row[k] for row in self.values], [row[at] for row in runs]) for at, k in enumerate(places)]
        )

    def outputs_by_scores(self, graph: Graph) -> list[Output]:
        """As `outputs_of`, but the SQNR of an output that is made of scores is theirs, where `graph` has them: of an
        output at the end of its range a few undecided samples carry the error, and tell little of others."""
        found = self._found(graph)
        there = [k for k, t in enumerate(found) if t is not None]
        runs = self._run(graph, [t for t in found if t is not None])
        named = {self.tensors[k]: (k, at) for at, k in enumerate(there)}
        outputs = self.compare(runs)
        for i, t in enumerate(self.outputs):
            if (place := named.get(self.scores.get(t, t))) is not None:
                k, at = place
                scores = compared(t.name, [row[k] for row in self.values], [row[at] for row in runs])
                outputs[i] = replace(outputs[i], sqnr=scores.sqnr)
        return outputs

    def _found(self, graph: Graph) -> list[Tensor | None]:
        """What stands for each of `tensors` in another form of the graph."""
        named = {t.name: t for n in graph.nodes for t in n.outputs}
        outputs = outputs_at(graph, self.places)
        return [*outputs, *(named.get(t.name) for t in self.tensors[len(outputs) :])]

    def fidelity(self, graph: Graph, held_back: bool) -> Fidelity | None:
        """None: no output is float. Raises DataError: labels or the metric do not fit the outputs."""
        return self.judged(self.values_of(graph), held_back) if self.outputs and self.samples else None

    def judged(self, values: Sequence[Sequence[np.ndarray]], held_back: bool) -> Fidelity:
        """The same of outputs that another form gave, where there are outputs and samples."""
        scored = self.scoring is not None and (self.scoring.metric is None or self._own)
        score = self.scoring.compare(self.named(self.values), self.named(values)) if self.scoring and scored else None
        return Fidelity(tuple(self.compare(values)), len(self.samples), held_back, score=score)

    def _run(self, graph: Graph, tensors: Sequence[Tensor]) -> list[list[np.ndarray]]:
        return outputs_on(graph, tensors, [t.name for t in self.inputs], self.samples, self.threads)

    def _scores(self, k: int) -> bool:
        """Whether the output looks like classes: rows of probabilities, or one row of which the best varies. A row of
        length 1 is a direction, as of an embedding."""
        values = [row[k] for row in self.values]
        if any(v.ndim < 1 or v.shape[-1] < 2 for v in values):
            return False
        if all((v >= 0).all() and (np.abs(v.sum(axis=-1) - 1) < _SUM).all() for v in values):
            return True
        if all(abs(float(np.linalg.norm(v.reshape(-1))) - 1) < _SUM for v in values):
            return False
        return all(v.size == v.shape[-1] for v in values) and len({int(v.argmax()) for v in values}) > 1


def outputs_on(
    graph: Graph, tensors: Sequence[Tensor], names: Sequence[str], samples: Sequence[Sample], threads: int
) -> list[list[np.ndarray]]:
    """By sample, the reals of tensors of the graph. names: of what the graph's inputs are in a sample."""
    from ..calibrate.observe import Runner
    from ..parallel import Workers

    run = Runner(graph, tensors, max(1, threads // max(len(samples), 1)))

    def one(sample: Sample) -> list[np.ndarray]:
        fed = {t.name: _fed(t, np.asarray(sample[name])) for t, name in zip(graph.inputs, names)}
        return run(fed, lambda values: [_real(t, values) for t in tensors])

    with Workers(min(threads, max(len(samples), 1))) as workers:
        return list(workers.each(one, samples))


def judge_of(
    graph: Graph,
    samples: Samples,
    rows: Sequence[int],
    scoring: Scoring | None,
    threads: int,
    known: Mapping[int, list[np.ndarray]] | None = None,
) -> Reference:
    """The float graph's outputs on the samples of these numbers; scoring: of all samples. known: its `float_outputs`
    by the number of the sample, which need not be run again where all are there."""
    values = [known[k] for k in rows] if known and all(k in known for k in rows) else None
    picked = scoring.only(rows) if scoring else None
    return Reference(graph, list(samples.only(rows)), threads, scoring=picked, values=values)


def float_outputs(graph: Graph) -> list[Tensor]:
    """The outputs that a form of the graph is judged by, in place of integers the floats that they are chosen from."""
    return list(_judged(graph))


def _judged(graph: Graph) -> dict[Tensor, int]:
    """`float_outputs` with the first place that each is for."""
    found: dict[Tensor, int] = {}
    for k in range(len(graph.outputs)):
        if (t := judged_at(graph, k)) is not None and t.dtype.kind == "f":
            found.setdefault(t, k)
    return found


def outputs_at(graph: Graph, places: Sequence[int]) -> list[Tensor]:
    """What stands in another form of a graph for its `float_outputs` that are judged at these places."""
    return [t for k in places if (t := judged_at(graph, k)) is not None]


def judged_at(graph: Graph, place: int) -> Tensor | None:
    """What the output at this place is judged by: itself, where it is float or codes, or the values that its integers
    are chosen by (as of ArgMax, TopK, Greater), the first inputs on the way; None where those are not computed."""
    producers, t = graph.producers(), graph.outputs[place]
    while t.dtype.kind != "f" and t.quant is None:
        node = producers.get(t)
        if node is None or not node.inputs or node.inputs[0] is None:
            return None
        t = node.inputs[0]
    return t if t in producers else None


def _chosen_from(graph: Graph) -> set[Tensor]:
    """What the largest of each row is taken from, for an output."""
    rows = (n for n in graph.nodes if quant_spec(n).finds_largest and n.required(0).rank)
    return {n.required(0) for n in rows if n.attrs["axis"] in (-1, (n.required(0).rank or 0) - 1)}


def compared(name: str, wanted: Sequence[np.ndarray], actual: Sequence[np.ndarray], classes: bool = False) -> Output:
    """What an output's values, one array a sample, have in common with those that are wanted.

    classes: the last axis is one of scores; rows with the largest in the same place are counted.
    """
    signals, noises = list[float](), list[float]()
    other = product = 0.0
    same = rows = 0
    for want, got in zip(wanted, actual):
        want, got = want.astype(np.float64), got.astype(np.float64)
        if not np.isfinite(got).all():
            return Output(name, _FLOOR, 0.0, None)
        signals.append(float(np.square(want).sum()))
        noises.append(float(np.square(want - got).sum()))
        other, product = other + float(np.square(got).sum()), product + float((want * got).sum())
        if classes:
            equal = want.argmax(axis=-1) == got.argmax(axis=-1)
            same, rows = same + int(equal.sum()), rows + equal.size
    signal, noise = sum(signals), sum(noises)
    norm = math.sqrt(signal * other)
    cosine = round(product / norm, 6) if norm else float(noise == 0)
    share = round(same / rows, 6) if rows else None
    return Output(name, _decibels(signal, noise), cosine, share, _margin(signals, noises))


def _margin(signals: Sequence[float], noises: Sequence[float]) -> float:
    """What the ratio of the sums leaves open, in dB: by how much each sample draws it to its side."""
    signal, noise, count = sum(signals), sum(noises), len(signals)
    if count < 2 or not signal or not noise:
        return 0.0
    drawn = sum((s / signal - e / noise) ** 2 for s, e in zip(signals, noises))
    return round(_DEVIATIONS * 10 / math.log(10) * math.sqrt(drawn * count / (count - 1)), 3)


def _scatter(wanted: Sequence[np.ndarray], actual: Sequence[np.ndarray]) -> float:
    if not all(np.isfinite(got).all() for got in actual):
        return math.inf
    signal = sum(float(np.square(want, dtype=np.float64).sum()) for want in wanted)
    errors = [want.astype(np.float64) - got for want, got in zip(wanted, actual)]
    rows = [e.reshape(-1, e.shape[-1]) if e.ndim else e.reshape(1, 1) for e in errors]
    count = sum(map(len, rows))
    mean = sum(r.sum(axis=0) for r in rows) / count
    noise = float(sum(np.square(r - mean).sum() for r in rows)) * count / max(count - 1, 1)
    return noise / signal if signal > 0 else math.inf if noise > 0 else 0.0


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return max(_FLOOR, round(10 * math.log10(signal / noise), 3)) if signal > 0 else _FLOOR


def _fed(t: Tensor, a: np.ndarray) -> np.ndarray:
    """What the graph's input gets: codes, when it takes codes."""
    return a if t.quant is None or t.dtype.kind == "f" else quantize_f32(a, t.quant, t.dtype)


def _real(t: Tensor, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """A copy of the tensor's real value."""
    a = values[t.name]
    return np.array(a) if t.quant is None or t.dtype.kind == "f" else dequantize(a, t.quant)
