"""Forms of WeightQuant: the bits of each layer, rounded by what layers give or each weight by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ...converter.ir import Graph
from ..calibrate.observe import Sample
from ..calibrate.spread import Chosen
from ..cluster.pool import Workforce
from ..progress import Progress, no_progress
from ..ptq.settings import Samples
from ..weights.bit_budget import BitBudget, measure
from ..weights.output_rounding import RoundingByOutput
from ..weights.spare_bits import shares_grids
from ..weights.weight_quant import WeightRow, WeightSettings, quantize_graph_weights
from .goal import Goal
from .journal import Journal
from .trials import Form, Trial


@dataclass(frozen=True)
class QuantizedWeights:
    """rows: one per weight."""

    graph: Graph
    rows: list[WeightRow]


@dataclass(frozen=True)
class WeightFamily:
    """Forms of `graph`, which stays as it is.

    fitted: the numbers of the samples that codes are fitted to; picked: samples that layers are measured on. bytes_of:
    of the file that holds a graph. float_bytes: of an element in float; floats: whether a layer may stay so by choice.
    nearest: each weight by itself. journal: remembers what was measured.
    """

    graph: Graph
    settings: WeightSettings
    samples: Samples
    fitted: Sequence[int]
    picked: Sequence[Sample]
    workers: Workforce
    progress: Progress
    bytes_of: Callable[[Graph], int]
    journal: Journal
    float_bytes: int = 4
    nearest: bool = False
    correct_biases: bool = True
    floats: bool = True

    def first(self) -> Form | None:
        """None: bits are chosen from the outset."""
        return None

    def settled(self, form: Form) -> Form:
        return form

    def repairs(self, trial: Trial, goal: Goal) -> Iterator[Form]:
        """None: the knapsack goes up to float."""
        return iter(())

    def budget(self, form: Form) -> BitBudget:
        return measure(
            self.graph,
            self.picked,
            self.settings,
            self.bytes_of,
            self.workers.threads,
            float_bytes=self.float_bytes,
            floats=self.floats,
            shared=not self.nearest and shares_grids(self.settings),
            track=self.progress,
            remember=self.journal.widths,
        )

    def make(self, form: Form) -> QuantizedWeights:
        return self._make(form)

    @cached_property
    def _make(self) -> Callable[[Form], QuantizedWeights]:
        return self.recipe().maker(self.graph, Chosen(self.samples, self.fitted), self.workers, self.progress)

    def recipe(self) -> WeightRecipe:
        """By which forms of `graph` are made, by other processes, too."""
        return WeightRecipe(self.settings, self.nearest, self.correct_biases)


@dataclass(frozen=True)
class WeightRecipe:
    """What forms of a graph are made by: as in WeightFamily."""

    settings: WeightSettings
    nearest: bool
    correct_biases: bool

    def opened(self, graph: Graph, samples: Samples) -> Callable[[Form], Graph]:
        """samples: that codes are fitted to."""
        one = replace(self, settings=replace(self.settings, threads=1))
        make = one.maker(graph, Chosen(samples, range(len(samples))), Workforce(1), no_progress)
        return lambda form: make(form).graph

    def maker(
        self, graph: Graph, samples: Chosen, workers: Workforce, progress: Progress
    ) -> Callable[[Form], QuantizedWeights]:
        """What makes forms of the graph, which stays as it is."""
        rounding = None
        if not self.nearest:
            rounding = RoundingByOutput(graph, samples, workers, progress, correct_biases=self.correct_biases)

        def make(form: Form) -> QuantizedWeights:
            settings = replace(self.settings, chosen=form.bits, alone=True)
            if rounding is not None:
                return QuantizedWeights(*rounding(settings))
            copy = graph.copy()
            return QuantizedWeights(copy, quantize_graph_weights(copy, settings))

        return make
