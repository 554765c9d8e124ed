"""What may be at fault where an integer graph loses too much: a table of causes, a row a cause.

Each operator runs in float on a few samples, with one of its inputs, or its weight, in the codes that it has, and in
those that it would have without the cause. A cause is suspected where its absence would spare most of what is lost.
Rows stand in the order in which they are asked: a narrow cause before one that is true of anything. Suspects are
cures to try: what one gains is measured by whoever applies it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...converter.errors import Setting
from ...converter.ir import Node, Tensor
from ...converter.numeric.qparams import QuantParam, choose_asymmetric, dequantize, fake_quantize
from ...converter.schema.op import quant_spec
from ..calibrate.observe import Sample
from ..calibrate.ranges import extent, group_range, parameters
from ..weights.symmetric_weights import symmetric
from .float_walk import Change, Stop, in_codes, walk
from .masks import mask_carriers
from .placement import data_inputs, preserves_qparams, weight_index
from .result import Result
from .settings import Settings

_FELT = 5e-4  # of an operator's output, 33 dB: healthy codes of 8 bits lose less
_EXPLAINED = 0.7  # of what is lost, for which the cause must account
_CLEARLY = 1.5  # as wide, at least, is a range that is no other's by chance
_MASK = 8.0  # added to scores, e^-8 leaves nothing
_BESIDE = 0.25  # of what the worst layer of a cause loses, for another to need its cure
_MOST_LAYERS = 8


@dataclass(frozen=True)
class Suspect:
    """A cause that may hold. layers: where, the worst first. cure: the setting that ends it; a list, or a mapping, adds
    to what is given. lost: the share of the worst layer's output that it takes."""

    cause: str
    layers: tuple[str, ...]
    cure: Setting
    lost: float


@dataclass(frozen=True)
class _Scene:
    """What rules look at."""

    result: Result
    settings: Settings
    masked: frozenset[Node]
    producers: Mapping[Tensor, Node]

    def codes(self, t: Tensor) -> QuantParam | None:
        held = self.result.quantized.quantized_of.get(t)
        return None if held is None else held.quant

    def range_by(self, t: Tensor, method: str) -> QuantParam | None:
        """The tensor's codes, had the method chosen the range of its group."""
        group = self.result.groups.of.get(t)
        if group is None or group.fixed is not None:
            return None
        seen = {s: self.result.statistics.histograms[s.name] for s in group.members if not s.is_const}
        if any(h.fixed is not None for h in seen.values()):
            return None
        return parameters(group, group_range(group, seen, method))

    def extent(self, t: Tensor) -> tuple[float, float]:
        """What calibration saw."""
        histogram = None if t.is_const else self.result.statistics.histograms[t.name]
        return extent(t) if histogram is None else (histogram.low, histogram.high)

    def is_codes(self, t: Tensor | None) -> bool:
        """Whether an operator gives the tensor as codes, whoever reads it."""
        return t is not None and self.producers.get(t) in self.result.plan.integer

    def weight(self, stop: Stop) -> QuantParam | None:
        """Of a layer on codes."""
        layer = self.result.quantized.weighted_layers.get(stop.node)
        return None if layer is None else layer.weight.qparams


Rule = Callable[[_Scene, Stop, Tensor], Change | None]
Cure = Callable[[_Scene, Stop, Tensor], Setting]


def _in(codes: QuantParam | None) -> Change | None:
    return None if codes is None else in_codes(codes)


def _unmasked(scene: _Scene, stop: Stop, t: Tensor) -> Change | None:
    """Codes of the scores alone, beside masked ones as they are."""
    if stop.node not in scene.masked:
        return None
    scores = np.concatenate([np.ravel(v) for v in stop.values[t]])
    far = scores < scores.max() - _MASK
    if not far.any() or far.all():
        return None
    bound = float(scores.max()) - _MASK
    codes = choose_asymmetric(scores[~far].min(), scores.max())
    return lambda x: np.where(x < bound, x, fake_quantize(x, codes))


def _unclipped(scene: _Scene, stop: Stop, t: Tensor) -> Change | None:
    return _in(_other_width(scene, t, "MAX_MIN", wider=True))


def _clipped(scene: _Scene, stop: Stop, t: Tensor) -> Change | None:
    return _in(_other_width(scene, t, "MSE", wider=False))


def _other_width(scene: _Scene, t: Tensor, method: str, *, wider: bool) -> QuantParam | None:
    held, other = scene.codes(t), scene.range_by(t, method)
    if held is None or other is None:
        return None
    ratio = float(other.scale[0] / held.scale[0])
    return other if (ratio if wider else 1 / ratio) > _CLEARLY else None


def _alone(scene: _Scene, stop: Stop, t: Tensor) -> Change | None:
    """Codes of the tensor's own range, where it has that of others; of what is joined, each part in its own."""
    held, producer = scene.codes(t), scene.producers.get(t)
    joined = producer is not None and producer in scene.result.plan.integer and producer.op == "Concat"
    parts = [p for p in producer.inputs if p is not None] if joined and producer is not None else [t]
    own = [choose_asymmetric(*scene.extent(p)) for p in parts]
    if held is None or all(float(held.scale[0] / q.scale[0]) <= _CLEARLY for q in own):
        return None
    if len(parts) == 1 or producer is None:
        return _in(own[0])
    axis = producer.attrs["axis"]
    cuts = list(np.cumsum([p.size(axis) for p in parts])[:-1])

    def apart(x: np.ndarray) -> np.ndarray:
        return np.concatenate([fake_quantize(v, q) for v, q in zip(np.split(x, cuts, axis), own)], axis)

    return apart


def _uncast(scene: _Scene, stop: Stop, t: Tensor) -> Change | None:
    """The value itself, where codes stand between it and an operator in float."""
    plan, producer = scene.result.plan, scene.producers.get(t)
    return _itself if stop.node in plan.why or (producer is not None and producer in plan.why) else None


def _by_channel(scene: _Scene, stop: Stop, t: Tensor) -> Change | None:
    """Codes with a range of each channel."""
    values = [np.reshape(v, (-1, v.shape[-1])) for v in stop.values[t] if v.ndim > 1]
    if not values or values[0].shape[-1] < 2:
        return None
    low, high = np.min([v.min(0) for v in values], axis=0), np.max([v.max(0) for v in values], axis=0)
    return _in(choose_asymmetric(low, high, axis=stop.values[t][0].ndim - 1))


def _real(scene: _Scene, stop: Stop, t: Tensor) -> Change | None:
    return _itself


def _itself(x: np.ndarray) -> np.ndarray:
    return x


def _keep(scene: _Scene, stop: Stop, t: Tensor) -> Setting:
    """The operator in float and what gives it codes, up to what rounds to them; of a weight the operator alone."""
    nodes, tensors = [stop.node], [t]
    while tensors:
        producer = scene.producers.get(tensors.pop())
        if producer is None or producer not in scene.result.plan.integer or producer in nodes:
            continue
        nodes.append(producer)
        if preserves_qparams(producer):
            tensors += [producer.required(i) for i in data_inputs(producer)]
    return Setting("keep_float", tuple(n.name for n in nodes if n in scene.result.plan.int8_nodes))


def _keep_masked(scene: _Scene, stop: Stop, t: Tensor) -> Setting:
    return Setting("keep_float", tuple(n.name for n in scene.result.source.nodes if n in scene.masked))


def _auto(scene: _Scene, stop: Stop, t: Tensor) -> Setting:
    return Setting("activation_quant_method", ("AUTO",))


@dataclass(frozen=True)
class Cause:
    """name: as a user reads it. without: what the operator would read without it, None where it cannot be the cause."""

    name: str
    without: Rule
    cure: Cure


OF_ACTIVATIONS = (
    Cause("a mask takes the range of the scores", _unmasked, _keep_masked),
    Cause("the method clips", _unclipped, _auto),
    Cause("the method keeps rare values in range", _clipped, _auto),
    Cause("a scale shared with larger tensors", _alone, _keep),
    Cause("casts of a float island", _uncast, _keep),
    Cause("outlier channels", _by_channel, _keep),
    Cause("values of many magnitudes", _real, _keep),
)


def _of_more_bits(scene: _Scene, stop: Stop, t: Tensor) -> Change | None:
    held = scene.weight(stop)
    return None if held is None or held.bits >= 8 else _rounded(t, held.axis, 8)


def _of_own_scales(scene: _Scene, stop: Stop, t: Tensor) -> Change | None:
    held, axis = scene.weight(stop), quant_spec(stop.node).channel_axis(stop.node)
    return None if held is None or axis is None or held.axis is not None else _rounded(t, axis, held.bits)


def _rounded(t: Tensor, axis: int | None, bits: int) -> Change:
    return in_codes(symmetric(t.value, axis, bits))


def _more_bits(scene: _Scene, stop: Stop, t: Tensor) -> Setting:
    alone = any(n.name == stop.node.name for n in scene.settings.layer_bits)
    return Setting("layer_bits", {stop.node.name: 8}) if alone else Setting("bit_num", 8)


def _per_channel(scene: _Scene, stop: Stop, t: Tensor) -> Setting:
    return Setting("per_channel", True)


OF_WEIGHTS = (
    Cause("one scale for all channels of the weight", _of_own_scales, _per_channel),
    Cause("few bits", _of_more_bits, _more_bits),
    Cause("weights of a wide channel", _real, _keep),
)


def suspects(result: Result, settings: Settings, samples: Sequence[Sample]) -> list[Suspect]:
    """The causes that may hold, what loses most first; layers that share a cause and the option that cures it are one.

    settings: those that gave `result`. samples: a few.
    """
    graph = result.source
    masked = frozenset(mask_carriers(graph, lambda n: bool(quant_spec(n).weights), _MASK)) & result.plan.int8_nodes
    scene = _Scene(result, settings, masked, graph.producers())
    found: dict[tuple[str, str], list[tuple[float, str, Setting]]] = {}
    for stop in walk(graph, samples, _readers_of_codes(result, scene), settings.threads):
        for cause, lost, cure in _causes_at(scene, stop):
            found.setdefault((cause, cure.name), []).append((lost, stop.node.name, cure))
    return sorted((_merged(cause, rows) for (cause, _), rows in found.items()), key=lambda s: -s.lost)


def _readers_of_codes(result: Result, scene: _Scene) -> set[Node]:
    """Operators that read codes, but for those that only move them."""
    plan = result.plan
    return {
        n for n in result.source.nodes
        if (n in plan.int8_nodes or any(scene.is_codes(t) for t in n.inputs)) and not preserves_qparams(n)
    }  # fmt: skip


def _causes_at(scene: _Scene, stop: Stop) -> Iterator[tuple[str, float, Setting]]:
    """(cause, share lost, cure) of what the operator loses most by, each input and the weight asked for itself."""
    node, index = stop.node, weight_index(stop.node)
    on_codes = node in scene.result.plan.int8_nodes
    for t in dict.fromkeys(node.required(i) for i in data_inputs(node)):
        held = scene.codes(t)
        if not t.is_const and held is not None and (on_codes or scene.is_codes(t)):
            yield from _first(OF_ACTIVATIONS, scene, stop, t, in_codes(held))
    held = scene.result.quantized.weighted_layers.get(node)
    if index is not None and held is not None:
        now = dequantize(held.weight.value, held.weight.qparams)
        yield from _first(OF_WEIGHTS, scene, stop, node.required(index), lambda _: now)


def _first(
    causes: Sequence[Cause], scene: _Scene, stop: Stop, t: Tensor, now: Change
) -> Iterator[tuple[str, float, Setting]]:
    """The first cause whose absence spares most of what is lost, if that is felt."""
    (lost,) = stop.lost(t, [now])
    if lost < _FELT:
        return
    for cause in causes:
        change = cause.without(scene, stop, t)
        if change is not None and stop.lost(t, [change])[0] <= (1 - _EXPLAINED) * lost:
            yield cause.name, lost, cause.cure(scene, stop, t)
            return


def _merged(cause: str, rows: list[tuple[float, str, Setting]]) -> Suspect:
    """One suspect of all layers that lose nearly as much as the worst."""
    rows = sorted(rows, key=lambda row: -row[0])
    worst, _, cure = rows[0]
    alike = [row for row in rows if row[0] >= _BESIDE * worst][:_MOST_LAYERS]
    values: list[Any] = [setting.value for _, _, setting in alike]
    value = values[0]
    if isinstance(value, tuple):
        value = tuple(dict.fromkeys(part for parts in values for part in parts))
    elif isinstance(value, dict):
        value = {name: bits for named in values for name, bits in named.items()}
    return Suspect(cause, tuple(dict.fromkeys(name for _, name, _ in alike)), Setting(cure.name, value), worst)
