"""Forms of PostTraining: operators in float, methods of ranges, the bits of each layer's weight."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ...converter.ir import Graph, Node, Tensor
from ...converter.numeric.packing import packed_size
from ...converter.schema.op import quant_spec
from ..calibrate.observe import Sample
from ..calibrate.statistics import Statistics
from ..progress import Progress, no_progress
from ..ptq.integer_forms import IntegerForms
from ..ptq.islands import NONE, Islands, Limits
from ..ptq.placement import weight_index
from ..ptq.post_training import best_form, corrected_form, open_forms
from ..ptq.result import Result
from ..ptq.settings import Samples, Settings
from ..ptq.trials import islands_within, methods_of
from ..ptq.weight_codes import WeightCodes
from ..weights.bit_budget import BITS, BitBudget, measure_layers
from ..weights.weight_quant import WIDTHS
from .goal import Goal
from .journal import Journal
from .trials import Form, Trial

_LESS = (4.0, 16.0, 64.0, 256.0)  # times less noise that is looked for by what is in float, one after the other
_WEIGHTS = 0.2  # of the elements of weights that islands may keep in float
_OTHER = "MAX_MIN"  # tried where AUTO chooses ranges: it clips nothing


class IntegerFamily:
    """Forms of `graph`, which is used up.

    picked: samples that layers are measured on. bytes_of: of the file, a `container`, that holds a graph. journal:
    remembers what was measured.
    """

    def __init__(
        self,
        graph: Graph,
        settings: Settings,
        samples: Samples,
        picked: Sequence[Sample],
        progress: Progress,
        bytes_of: Callable[[Graph], int],
        container: str,
        journal: Journal,
    ) -> None:
        self.samples, self.picked, self.progress = samples, picked, progress
        self.bytes_of, self.container, self.journal = bytes_of, container, journal
        self.forms, self.prepared = open_forms(graph, samples, settings, progress)

    @cached_property
    def initial(self) -> Result:
        """What PostTraining gives by itself."""
        result = best_form(self.forms, self.samples, self.progress)
        result.prepared = self.prepared
        return result

    def first(self) -> Form | None:
        return Form()

    def settled(self, form: Form) -> Form:
        islands = self.initial.islands or NONE
        return self._with(form, islands) if form.floats is None else form

    def make(self, form: Form) -> Result:
        if form == Form():
            return self.initial
        result = _made(self.forms, self.samples, self.settled(form), methods_of(self.initial), self.progress)
        result.prepared = self.prepared
        return result

    def recipe(self) -> IntegerRecipe:
        """By which other processes make settled forms of `forms.graph`."""
        settings = self.forms.settings
        bare = replace(
            settings, layer_bits={}, kept=frozenset(), float16_weights=frozenset(), threads=1, pool=None, scoring=None,
            statistics=None, shares=None, measure=False,
        )  # fmt: skip
        return IntegerRecipe(
            bare,
            {node.name: bits for node, bits in settings.layer_bits.items()},
            frozenset(node.name for node in settings.kept),
            frozenset(node.name for node in settings.float16_weights),
            self.forms.statistics,
            methods_of(self.initial),
        )

    def repairs(self, trial: Trial, goal: Goal) -> Iterator[Form]:
        base = self.settled(trial.form)
        if not trial.fits(goal):  # only fewer operators in float are faster
            if base.floats:
                yield replace(base, floats=(), wide=())
            return
        if "AUTO" in self.forms.settings.methods:
            yield replace(base, method=_OTHER)
        codes = self.forms.form(self.forms.placement(), methods_of(self.initial))
        noise, tried = 10 ** (-trial.loss.sqnr / 10), {base.key}
        for factor in _LESS:
            goals = {"goal": noise / factor, "floor": noise / factor}
            limits = Limits(**goals, share=1.0, most=1.0, share_of_weights=_WEIGHTS, most_of_weights=_WEIGHTS)
            form = self._with(base, islands_within(self.forms, self.samples, codes, limits).islands)
            if form.key not in tried:
                tried.add(form.key)
                yield form
        every = frozenset(self.forms.placement().int8_nodes)
        yield self._with(base, replace(NONE, kept=every))
        yield self._with(base, replace(NONE, kept=every, weights=every))

    def budget(self, form: Form) -> BitBudget | None:
        islands, known = _islands(self.forms.graph, self.settled(form)), methods_of(self.initial)
        methods = (form.method,) if form.method else ()
        plan = self.forms.placement(islands.kept)
        fixed = self.forms.settings.layer_bits
        layers = [n for n in self.forms.graph.nodes if n in plan.int8_nodes and n not in fixed]
        codes = {b: self._codes(layers, b) for b in WIDTHS.get(self.container, BITS) if b in BITS and b <= 8}

        def sized(bits: Mapping[str, int]) -> int:
            return self.bytes_of(
                corrected_form(self.forms.varied(bits, methods), None, self.progress, islands, known).graph
            )

        names = list(dict.fromkeys(name for form in codes.values() for name in form))
        least = {name: min(codes) for name in names}
        most = {name: max(codes) for name in names}
        if not names or sized(least) >= sized(most):
            return None
        threads = self.forms.settings.threads
        widths = self.journal.widths(
            lambda: measure_layers(self.forms.graph, self.picked, codes, _packed, threads, self.progress)
        )
        return BitBudget(widths, sized)

    def _codes(self, layers: Sequence[Node], bits: int) -> dict[str, list[Tensor]]:
        weights = WeightCodes(replace(self.forms.settings, layer_bits=dict.fromkeys(layers, bits), pairs=""), ())
        found: dict[str, list[Tensor]] = {}
        for node in layers:
            index = weight_index(node)
            if index is None:
                continue
            w = node.required(index)
            quant = weights.params(node, w.value, quant_spec(node).channel_axis(node))
            codes = weights.codes(node, w.value, quant)
            found[node.name] = [Tensor(w.name, codes.dtype, codes.shape, codes, quant)]
        return found

    def _with(self, form: Form, islands: Islands) -> Form:
        """The form with these islands, by names in the order of the graph."""
        floats, wide = (
            tuple(n.name for n in self.forms.graph.nodes if n in nodes) for nodes in (islands.kept, islands.weights)
        )
        return replace(form, floats=floats, wide=wide)


@dataclass(frozen=True)
class IntegerRecipe:
    """What forms of a graph are made by. settings: without what is of nodes, which are named beside it."""

    settings: Settings
    layer_bits: Mapping[str, int]
    kept: frozenset[str]
    float16_weights: frozenset[str]
    statistics: Statistics
    methods: Mapping[str, str]

    def opened(self, graph: Graph, samples: Samples) -> Callable[[Form], Graph]:
        """samples: that forms are fitted to."""
        settings = replace(
            self.settings,
            layer_bits={n: self.layer_bits[n.name] for n in graph.nodes if n.name in self.layer_bits},
            kept=_named(graph, self.kept),
            float16_weights=_named(graph, self.float16_weights),
            shares=(range(len(samples)), ()),
        )
        forms = IntegerForms(graph, samples, settings, self.statistics)
        return lambda form: _made(forms, samples, form, self.methods, no_progress).graph


def _made(forms: IntegerForms, samples: Samples, form: Form, methods: Mapping[str, str], progress: Progress) -> Result:
    """A settled form. methods: tensor → that of its range, where the form has none."""
    varied = forms.varied(form.bits, (form.method,) if form.method else ())
    islands = _islands(forms.graph, form)
    return corrected_form(varied, samples, progress, islands, None if form.method else methods)


def _islands(graph: Graph, form: Form) -> Islands:
    """Of a settled form."""
    return replace(NONE, kept=_named(graph, form.floats or ()), weights=_named(graph, form.wide))


def _named(graph: Graph, names: Collection[str]) -> frozenset[Node]:
    wanted = frozenset(names)
    return frozenset(n for n in graph.nodes if n.name in wanted)


def _packed(t: Tensor) -> float:
    return packed_size(t.value.size, t.qparams.bits)
