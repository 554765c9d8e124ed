"""Why a PostTraining loses what it does: causes that are suspected, and what the cure of each gains when it is tried.

A cure is an option. It is applied and the model quantized anew, on fewer samples than the conversion takes unless all
is to be tried; what the worst output gains is measured on samples that nothing was fitted to, against the same without
the cure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from ..converter.errors import Setting, spelled
from ..converter.ir import Graph
from ..quant.calibrate.data import Dataset
from ..quant.calibrate.data_lint import Rescale
from ..quant.ptq.causes import suspects
from ..quant.ptq.fidelity import spread
from ..quant.ptq.islands import work_of
from ..quant.ptq.result import Result
from ..quant.ptq.trials import lacking
from .cure_trials import MOST, FormTrials, Trial
from .data_causes import data_trials
from .options.convert import ConvertOptions
from .options.settings import post_training_settings

_SECONDS = 4.0
_PATIENCE = 3  # times as long may the first trial take
_RUNS = 30  # of the model, roughly, that a trial takes for each of its samples
_LEAST = 4  # samples of a trial
_SEEN = 4  # samples on which causes are looked for
_WORTH = 1.0  # dB that a cure must gain
_FLOAT = 6.0  # dB that a cure must gain more, to be named before one that keeps all in integers


def diagnose(
    graph: Graph,
    samples: Dataset,
    options: ConvertOptions,
    result: Result,
    rescale: Mapping[str, Rescale],
    seconds: float,
) -> tuple[list[dict[str, Any]], list[str]]:
    """The causes of what outputs lose, each with its cure and what that gained, the best cure first; and notes.

    Nothing where the outputs are what they should be. What takes more than a few seconds is left out unless
    `options.diagnose` is "full".

    Args:
        graph: the float graph, as its layers are named to a user. seconds: of one run of it. rescale: inputs that seem
            to be fed on another scale.
    """
    every = options.spell(Setting("diagnose", "full"))
    limit = math.inf if options.diagnose == "full" else _SECONDS
    most = max(_LEAST, int(min(MOST if limit < math.inf else len(samples), limit / max(seconds * _RUNS, 1e-9))))
    start, cost, rows, left = time.perf_counter(), 0.0, list[tuple[float, dict[str, Any]]](), 0
    if seconds * _RUNS * _LEAST > _PATIENCE * limit:
        return [], [f"diagnosis: causes were not looked for, which takes long; {every} does"]
    for trial in _trials(graph, samples, options, result, rescale, most):
        begin = time.perf_counter()
        if begin - start + cost > limit:
            left += 1
            continue
        before, after = trial.measure()
        cost = time.perf_counter() - begin
        if after - before >= _WORTH:
            rows.append((after - before - (_FLOAT if trial.keeps_float else 0.0), _row(trial, before, after, options)))
    notes = [f"diagnosis: causes not tried: {left}; {every} tries them"] if left else []
    rows.sort(key=lambda found: -found[0])
    return [row for _, row in rows], notes


def _trials(
    graph: Graph,
    samples: Dataset,
    options: ConvertOptions,
    result: Result,
    rescale: Mapping[str, Rescale],
    most: int,
) -> Iterator[Trial]:
    """What is worth trying, the most suspect first."""
    fidelity = result.fidelity
    if fidelity is None:
        return
    lacks = lacking(fidelity, sum(map(work_of, result.source.nodes)))
    yield from data_trials(graph, samples, rescale, options, result.statistics, lacks, most)
    if not lacks:
        return
    forms = FormTrials(graph, samples, options, result, most)
    settings = post_training_settings(result.source, options, None)
    found = suspects(result, settings, list(samples.only(spread(len(samples), _SEEN))))
    tried = set[Hashable]()
    for suspect in found:
        trial = forms.trial(suspect.cause, suspect.layers, suspect.cure)
        if trial is not None and trial.applies not in tried:
            tried.add(trial.applies)
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
