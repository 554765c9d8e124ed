"""Trials of cures: an option applied, the model quantized anew, and its worst output judged on held-back samples."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import cast

from ..converter.errors import Hint, Setting
from ..converter.ir import Graph
from ..quant.calibrate.data import Dataset
from ..quant.calibrate.spread import Chosen
from ..quant.ptq.fidelity import Reference, hold_back, spread
from ..quant.ptq.post_training import requantized
from ..quant.ptq.result import Result
from ..quant.selection import select
from ..quant.selectors import parse_selector
from .options.convert import ConvertOptions
from .options.settings import post_training_settings

MOST = 16  # samples of a trial, where not all are taken


@dataclass(frozen=True)
class Trial:
    """A cause that may hold. layers: where, the worst first. cure: what ends it. measure: runs without and with the
    cure, and gives the SQNR in dB of the worst output of both. applies: the same for cures that do the same."""

    cause: str
    layers: tuple[str, ...]
    cure: Hint
    measure: Callable[[], tuple[float, float]]
    applies: Hashable = None

    @property
    def keeps_float(self) -> bool:
        """Whether the cure costs time: operators in float."""
        return isinstance(self.cure, Setting) and self.cure.name == "keep_float"


class FormTrials:
    """Trials of other forms of what `result` was made of, with the statistics that it was made by.

    graph: the float graph, as its layers are named to a user. most: samples to fit layers to, and to judge by.
    """

    def __init__(self, graph: Graph, samples: Dataset, options: ConvertOptions, result: Result, most: int) -> None:
        self.options, self.result = options, result
        self.names = {name for n in graph.nodes for name in (n.name, *n.origin)}
        fitted, held = hold_back(len(samples), result.samples or MOST)
        self.fitted = Chosen(samples, [fitted[k] for k in spread(len(fitted), most)])
        judges = list(samples.only([held[k] for k in spread(len(held), most)]))
        self.judge = Reference(result.source, judges, options.threads or os.cpu_count() or 1)
        self._before: float | None = None

    def trial(self, cause: str, layers: tuple[str, ...], cure: Setting) -> Trial | None:
        """Of a cure that adds to what is given; None where it speaks of layers that the model has not."""
        given, value = getattr(self.options, cure.name), cure.value
        if cure.name == "keep_float":
            named = [name.partition(";")[0] for name in cast(Sequence[str], value) if name in self.names]
            if not named:
                return None
            kept = tuple(dict.fromkeys((*map(str, given), *named)))
            meant = tuple(map(parse_selector, kept))
            nodes = frozenset(n.name for n in select(self.result.source, meant))
            return self.changed(cause, layers, Setting(cure.name, kept), meant, nodes)
        if isinstance(value, dict):
            known = {key: {n.name for n in select(self.result.source, (parse_selector(key),))} for key in given}
            value = {next((k for k in known if name in known[k]), name): bits for name, bits in value.items()}
            return self.changed(cause, layers, Setting(cure.name, {**given, **value}), same=frozenset(value.items()))
        return self.changed(cause, layers, cure)

    def changed(
        self, cause: str, layers: tuple[str, ...], cure: Setting, applied: object = None, same: Hashable = None
    ) -> Trial:
        """A trial of a setting as it stands. applied: what the option holds then, where that is not what it shows.
        same: what it comes to, where several values come to one."""
        cured = replace(self.options, **{cure.name: cure.value if applied is None else applied})
        applies = cure.name, cure.value if same is None else same
        return Trial(cause, layers, cure, lambda: (self._without(), self._sqnr(cured)), applies)

    def _without(self) -> float:
        if self._before is None:
            self._before = self._sqnr(self.options)
        return self._before

    def _sqnr(self, options: ConvertOptions) -> float:
        settings = replace(post_training_settings(self.result.source, options, None), measure=False)
        same = options.activation_quant_method == self.options.activation_quant_method
        form = requantized(self.result, self.fitted, settings, same_methods=same)
        return min(o.sqnr for o in self.judge.outputs_of(form.graph))
