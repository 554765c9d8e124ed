"""Why a PostTraining loses what it does: causes that are suspected, and what the cure of each gains when it is tried.

A cure is an option. It is applied and the model quantized anew, on fewer samples than the conversion takes unless all
is to be tried; what the worst output gains is measured on samples that nothing was fitted to, against the same without
the cure.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ..converter.errors import Setting, spelled
from ..converter.ir import Graph
from ..quant.calibrate.data import Dataset
from ..quant.ptq.causes import suspects
from ..quant.ptq.fidelity import spread
from ..quant.ptq.islands import work_of
from ..quant.ptq.result import Result
from ..quant.ptq.trials import lacking
from .cure_trials import MOST, FormTrials, Trial
from .options.convert import ConvertOptions
from .options.settings import post_training_settings

_SECONDS = 4.0
_RUNS = 100  # of the model, roughly, that a trial takes for each of its samples
_LEAST = 4  # samples of a trial
_SEEN = 4  # samples on which causes are looked for
_WORTH = 1.0  # dB that a cure must gain


def diagnose(
    graph: Graph, samples: Dataset, options: ConvertOptions, result: Result, seconds: float
) -> tuple[list[dict[str, Any]], list[str]]:
    """The causes of what outputs lose, each with its cure and what that gained, the best cure first; and notes.

    Nothing where the outputs are what they should be. What takes more than a few seconds is left out unless
    `options.diagnose` is "full".

    Args:
        graph: the float graph, as its layers are named to a user. seconds: of one run of it.
    """
    full = options.diagnose == "full"
    most = len(samples) if full else max(_LEAST, min(MOST, int(_SECONDS / max(seconds * _RUNS, 1e-9))))
    start, limit, cost = time.perf_counter(), float("inf") if full else _SECONDS, seconds * _RUNS * most
    rows, left = list[dict[str, Any]](), 0
    for trial in _trials(graph, samples, options, result, most):
        begin = time.perf_counter()
        if begin - start + cost > limit:
            left += 1
            continue
        before, after = trial.measure()
        cost = time.perf_counter() - begin
        if after - before >= _WORTH:
            rows.append(_row(trial, before, after, options))
    every = options.spell(Setting("diagnose", "full"))
    notes = [f"diagnosis: {left} more causes were not tried; {every} tries them"] if left else []
    return sorted(rows, key=lambda row: -row["gain"]), notes


def _trials(graph: Graph, samples: Dataset, options: ConvertOptions, result: Result, most: int) -> Iterator[Trial]:
    """What is worth trying, the most suspect first."""
    fidelity = result.fidelity
    if fidelity is None or not lacking(fidelity, sum(map(work_of, result.source.nodes))):
        return
    forms = FormTrials(graph, samples, options, result, most)
    settings = post_training_settings(result.source, options, None)
    found = suspects(result, settings, list(samples.only(spread(len(samples), _SEEN))))
    tried = set[str]()
    for suspect in found:
        trial = forms.trial(suspect.cause, suspect.layers, suspect.cure)
        if trial is not None and str(trial.cure) not in tried:
            tried.add(str(trial.cure))
            yield trial
    if options.bias_correction == "off":
        yield forms.changed("means are not corrected", (), Setting("bias_correction", "sequential"))


def _row(trial: Trial, before: float, after: float, options: ConvertOptions) -> dict[str, Any]:
    """JSON's form: `layer` is the worst of `layers`, "" where the cause is in none; dB."""
    return {
        "layer": trial.layers[0] if trial.layers else "",
        "layers": list(trial.layers),
        "cause": trial.cause,
        "cure": spelled(trial.cure, options.spell),
        "before": round(before, 2),
        "after": round(after, 2),
        "gain": round(after - before, 2),
    }
