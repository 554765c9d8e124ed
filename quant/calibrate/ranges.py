"""From statistics to the parameters of codes: one range a group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from ...converter.errors import DataError
from ...converter.ir import Node, Tensor
from ...converter.numeric.qparams import QuantParam, choose_asymmetric, choose_symmetric, code_range
from ...converter.schema.op import evaluate
from ..ptq.groups import Group, Groups
from .histogram import Histogram
from .methods import mse
from .thresholds import Range, choose

ACTIVATION_BITS = 8
WIDE_BITS = 16
_WIDE_ROOM = 2.0  # over all that was seen: a bit of 16, and nothing is ever clipped
# What AUTO chooses from; more candidates are more chances to fit the few samples that judge them.
AUTO_METHODS = ("MSE", "MAX_MIN")


def candidates(methods: tuple[str, ...]) -> tuple[str, ...]:
    """The methods to choose from: those named, AUTO standing for several."""
    return tuple(dict.fromkeys(m for name in methods for m in (AUTO_METHODS if name == "AUTO" else (name,))))


WIDENED = "MAX_MIN+1%"


def expanded_range(bounds: Range) -> Range:
    """AUTO's further candidate for graph inputs: pixels lie on a grid, and when every one of them falls halfway between
    two codes, rounding costs three times the usual noise. A slightly wider range breaks the pattern."""
    return bounds[0] * 1.01, bounds[1] * 1.01


AS_READ = "MSE_AS_READ"


def read_range(reads: Mapping[Tensor, Node | None], stats: Mapping[Tensor, Histogram]) -> Range | None:
    """AUTO's further candidate where tensors are not read as they are made: MSE of what is read.

    What a pool leaves out needs no codes, nor what a function is flat for. reads: tensor → the unary node that reads
    it, or None. Returns None where its function is not finite.
    """
    low = high = 0.0
    for t, node in reads.items():
        h = stats[t]
        if h.fixed is not None or not len(h.counts):
            return None
        function = None if node is None else partial(_values, node)
        with np.errstate(all="ignore"):
            if function is not None and not np.isfinite(function(h.edges)).all():
                return None
            a, b = mse.method(h, ACTIVATION_BITS, function=function)
        low, high = min(low, a), max(high, b)
    return low, high


def _values(node: Node, x: np.ndarray) -> np.ndarray:
    return np.asarray(evaluate(node, [x])[0], np.float64)


def extent(t: Tensor) -> Range:
    """(min, max) of a constant."""
    return ends(t.value)


def ends(a: np.ndarray) -> Range:
    """(min, max), of nothing (0, 0)."""
    return (float(a.min()), float(a.max())) if a.size else (0.0, 0.0)


def by_hand(group: Group, stats: Mapping[Tensor, Histogram]) -> Range | None:
    """The range that a user put into the statistics of any of the group's tensors; it holds all such ranges.

    Raises DataError where the tensor's scale is not free.
    """
    given = [(t, h.fixed) for t in group.members if (h := stats.get(t)) is not None and h.fixed is not None]
    if not given:
        return None
    if group.fixed is not None:
        raise DataError(f"tensor {given[0][0].name!r} has a range by hand, and its scale is fixed: {group.fixed[0]:g}")
    return min(0.0, *(low for _, (low, _) in given)), max(0.0, *(high for _, (_, high) in given))


def group_range(group: Group, stats: Mapping[Tensor, Histogram], method: str) -> Range:
    """The range that holds what the method keeps of each of the group's sources, or the one set by hand."""
    if (given := by_hand(group, stats)) is not None:
        return given
    low = high = 0.0
    for t in group.sources:
        a, b = extent(t) if t.is_const else choose(method, stats[t], ACTIVATION_BITS)
        low, high = min(low, a), max(high, b)
    return low, high


def parameters(group: Group, bounds: Range) -> QuantParam:
    """The group's parameters for a range; the scale is one that float32 holds. Of 16 bits the zero point is 0, as
    LiteRT wants it."""
    if group.bits == WIDE_BITS:
        q = choose_symmetric(_WIDE_ROOM * max(-bounds[0], bounds[1]), WIDE_BITS)
        return QuantParam(q.scale.astype(np.float32).astype(np.float64), q.zero_point, None, WIDE_BITS)
    if group.fixed is not None:
        return QuantParam(np.array([group.fixed[0]]), np.array([group.fixed[1]], np.int32), None, ACTIVATION_BITS)
    q = choose_asymmetric(*bounds, ACTIVATION_BITS)
    return QuantParam(q.scale.astype(np.float32).astype(np.float64), q.zero_point, None, ACTIVATION_BITS)


def reach(quant: QuantParam) -> Range:
    """The least and the largest value that codes of one scale stand for."""
    low, high = code_range(quant.bits)
    scale, zero = float(quant.scale[0]), int(quant.zero_point[0])
    return (low - zero) * scale, (high - zero) * scale


def steady_means(nodes: Iterable[Node], groups: Groups, params: dict[Tensor, QuantParam]) -> None:
    """Widens the scale of means over height and width by less than 2 %, so that zx·sx/sy is a whole number.

    MindSpore Lite's kernel adds that number to sums of codes, cut to an integer: left as it comes, its means are up to
    one code away from any rounding, all in one direction.
    """
    for node in nodes:
        x, y = node.inputs[0], node.outputs[0]
        if node.op != "Reduce" or node.attrs["mode"] != "mean" or x is None or x.rank != 4 or x not in params:
            continue
        axes = sorted(a % 4 for a in node.attrs["axes"] or ())
        group = groups.of.get(y)
        if axes != [1, 2] or group is None or group.fixed is not None or group.sources != [y]:
            continue
        reach = abs(int(params[x].zero_point[0])) * float(params[x].scale[0])
        whole = int(reach / float(params[y].scale[0]))
        if whole >= 50:
            # A hair less, so that the quotient is cut at the whole number and not below.
            scale = np.nextafter(np.float32(reach / whole), np.float32(0))
            params.update(dict.fromkeys(group.members, replace(params[y], scale=np.array([scale], np.float64))))
