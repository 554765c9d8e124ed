"""Weight codes that keep a layer's output, not each weight: coordinate descent on ‖X (ŵ - w)‖² over calibration rows.

X are the codes that reach the layer through the already quantized prefix; of a layer in float whose weight is in codes,
its input in codes of its range. The mean is left out (the bias corrects it),
and a ridge keeps ŵ near w where the rows say nothing. Each step sets one input's weight, in all output channels at
once, to the best code given the others (as COMQ, Zhang et al. 2024). Below 8 bits it starts from codes of GPTQ, whose
inputs make up for each other's errors: descent alone ends above them where many inputs say nearly the same; with
`upstream`, where samples that codes are not fitted to say that this holds for them, too. X'X is a
sum of integers, exact in any order, and the rest elementwise float64 in a fixed order: the same codes on every
instruction set, for any number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ...converter.ir import Node, Tensor
from ...converter.numeric.pairs import MOST, saturate
from ...converter.numeric.qparams import (
    QuantParam,
    bias_safe_scale,
    choose_asymmetric,
    dequantize,
    quantize_bias,
    quantize_f32,
)
from ...converter.schema.op import quant_spec
from ..calibrate.ranges import ends
from .grid import Grid
from .paired_weights import addends, held_codes
from .prefix_part import PrefixPart
from .prefix_runner import QuantizedPrefixRunner
from .products import (
    ChannelProducts,
    add_products,
    by_columns,
    column_parts,
    damp,
    each_part,
    factored,
    gram_by_channel,
    products_by_channel,
)
from .products import gram as gram_of
from .quantized_graph import Layer
from .upstream import toward_float

WHOLE = 4608  # inputs (512 of a 3×3 kernel) of which all products are taken, 170 MB of them
BLOCK = 2048
ROUNDED_BITS = 8  # at more, rounding is not what is lost
ROWS = 2048  # at most 2^15, whose products of 9-bit numbers int32 holds
ROWS_OF_FEW_BITS = 8192, 24576  # below 8 bits, where what the rows leave out is felt: with many inputs, with few
_VALUES = 1 << 24  # of those rows, which the fewer inputs take less of
SWEEPS = 3
REFITS = 3
_FIRST_SWEEPS = 1  # at each of several scales
RIDGE = 0.01
_WORSE = 2.0  # times the error, from which on channels do not share grids
RIDGE_UPSTREAM = 0.1  # where weights move by more than their rounding


def refine(
    runner: QuantizedPrefixRunner,
    node: Node,
    *,
    pairs: bool = False,
    wider: tuple[float, ...] = (),
    ridge: float = RIDGE,
    sweeps: int = SWEEPS,
    refits: int = 0,
    upstream: bool = False,
    shared: bool = False,
) -> None:
    """Replaces the codes of the layer's weight, in place; what has no rows (transposed convolutions) stays, and so does
    what other layers read as well, whose inputs are not those of this one, what has more than ROUNDED_BITS, and what is
    mostly zero: weights that were pruned stay so, and take the few bytes that zeros do.

    A weight of more than WHOLE inputs is rounded BLOCK of them at a time, as if blocks had nothing to do with each
    other: memory does not grow with the square of the inputs. pairs: codes whose neighbours are within `pairs.MOST`
    stay so; wider: scales to try for these, of the weight's, of which each channel keeps the one at which its output
    comes nearest. refits: how often each channel's grid is fitted to its codes and the codes are rounded again; 0
    leaves the grids. upstream: below 8 bits, weights to round to make up for the layers before (`upstream`); the runner
    has the float values, too. shared: grids of convolutions, where these are fitted, are of those that channels share
    (`Grid.shared`); matrix products often have inputs far larger than the others, which want grids of their own.
    """
    layer = runner.layers[node]
    w, codes, quant = node.inputs[1], layer.weight.data, layer.weight.quant
    if not is_rounded(node, layer) or w is None or w.data is None or codes is None or quant is None:
        return
    few = quant.bits < 8 or upstream
    limit = _rows_of_few_bits(w.value[0].size) if few else ROWS
    if layer.weight in runner.quantized.shared or (rows := Rows.of(runner, node, limit)) is None:
        return
    channels = w.data.shape[0]
    batch = channels if rows.by_channel else 1
    sums = addends(node, codes) if pairs else None
    most = np.inf if sums is None or saturate(sums) else MOST
    shape = (batch, channels // batch, w.data.size // max(channels, 1))
    real, rounded = w.data.reshape(shape), np.array(codes).reshape(shape)
    parts = [slice(None)] if rows.by_channel else blocks(shape[2])
    free = len(parts) == 1 and quant.axis == 0
    refits, wider = refits if free else 0, wider if free and most < np.inf else ()
    fits = refits > 0 or bool(wider)
    grid = Grid.of(quant, (batch, 1, channels // batch), least_scale(layer) if fits else 0.0)
    if len(parts) > 1:
        runner.quantized.notes.append(
            f"{node.name}: its {shape[2]} inputs are rounded in {len(parts)} blocks, each on its own"
        )
    shared = shared and refits > 0 and quant_spec(node).conv_family
    rounder = _Rounder(sweeps, refits, most, runner.threads, wider, shared)
    for part in parts:
        q = np.ascontiguousarray(rounded[:, :, part].transpose(0, 2, 1), np.float64)
        weights = np.ascontiguousarray(real[:, :, part].transpose(0, 2, 1), np.float64)
        gram = rows.gram(part)
        if upstream and len(parts) == 1 and not rows.by_channel:
            seen, reals = rows.both()
            target = toward_float(seen, reals, weights, RIDGE_UPSTREAM, runner.threads)
            damp(gram, RIDGE_UPSTREAM)
            # Fewer rows than inputs can be met by codes that are of no use elsewhere: no row tells that of another.
            starts = (True, False) if sum(map(len, seen)) >= weights.shape[1] else (True,)
            found = [rounder.codes(gram, grid, target.weights, q.copy(), start) for start in starts]
            q, grid = min(found, key=lambda codes: target.error(codes[1].reals(codes[0])))
        else:
            damp(gram, ridge)
            q, grid = rounder.codes(gram, grid, weights, q, few)
        rounded[:, :, part] = q.transpose(0, 2, 1)
    layer.weight.data = rounded.reshape(codes.shape)
    if fits:
        rescale(layer, grid.stored(quant))


def _rows_of_few_bits(inputs: int) -> int:
    least, most = ROWS_OF_FEW_BITS
    return max(least, min(most, _VALUES // max(inputs, 1)))


def is_rounded(node: Node, layer: Layer) -> bool:
    """Whether `refine` looks for other codes of a layer's weight, where it has rows."""
    w, quant = node.inputs[1], layer.weight.quant
    if w is None or w.data is None or layer.weight.data is None or quant is None or quant.axis not in (0, None):
        return False
    return quant.bits <= ROUNDED_BITS and 2 * np.count_nonzero(w.data) >= w.data.size


def shares(node: Node, weight: Tensor) -> bool:
    """Whether `refine` with `shared` gives channels of these codes grids that they share, where the layer has rows."""
    w, q = node.inputs[1], weight.qparams
    if w is None or w.name != weight.name or not quant_spec(node).conv_family:
        return False
    if q.axis != 0 or quant_spec(node).mixes_channels is None or weight.value[0].size > WHOLE:
        return False
    group = node.attrs.get("group", 1)
    return group in (1, weight.value.shape[0]) and (group == 1 or weight.value.shape[-1] == 1)


def reads_float(node: Node, layer: Layer) -> bool:
    """Whether `refine` with `upstream` looks at what the float layer reads."""
    if not is_rounded(node, layer) or quant_spec(node).mixes_channels is None or node.attrs.get("group", 1) != 1:
        return False
    return node.required(1).value[0].size <= WHOLE


@dataclass(frozen=True)
class _Rounder:
    """How codes are found. most: of neighbours' sums. wider: as of `refine`. shared: on grids that channels share."""

    sweeps: int
    refits: int
    most: float
    threads: int
    wider: tuple[float, ...] = ()
    shared: bool = False

    def codes(
        self, gram: np.ndarray, grid: Grid, weights: np.ndarray, q: np.ndarray, start: bool
    ) -> tuple[np.ndarray, Grid]:
        """Codes for the weights, from those that elimination gives or from q, which is overwritten; and their grid."""
        if start:
            eliminate(gram, grid.wanted(weights), q, grid.limits, self.threads)
        if not self.wider:
            q, grid = self._descended(gram, grid, weights, q, self.refits)
            return self._shared(gram, grid, weights, q, start) if self.shared else (q, grid)
        found = [self._held(gram, grid, weights, q, wider) for wider in self.wider]
        best = np.stack([self._errors(gram, tried.reals(codes) - weights) for codes, tried in found]).argmin(axis=0)
        codes, scales = (np.stack(each) for each in zip(*((codes, tried.scale) for codes, tried in found), strict=True))
        q = np.take_along_axis(codes, best[None], axis=0)[0]
        grid = replace(grid, scale=np.take_along_axis(scales, best[None], axis=0)[0])
        return self._descended(gram, grid, weights, q, self.refits)

    def _descended(
        self, gram: np.ndarray, grid: Grid, weights: np.ndarray, q: np.ndarray, refits: int
    ) -> tuple[np.ndarray, Grid]:
        self._descend(gram, grid, weights, q, self.sweeps)
        for _ in range(refits):
            grid = grid.fitted(gram, weights, q, self.threads)
            self._descend(gram, grid, weights, q, self.sweeps)
        return q, grid

    def _shared(
        self, gram: np.ndarray, grid: Grid, weights: np.ndarray, q: np.ndarray, start: bool
    ) -> tuple[np.ndarray, Grid]:
        """Codes and grid as channels share them, from codes on a grid of their own."""
        common = grid.shared()
        if common is grid:
            return q, grid
        moved = common.moved(q, grid)
        if start:
            eliminate(gram, common.wanted(weights), moved, common.limits, self.threads)
        self._descend(gram, common, weights, moved, self.sweeps)
        # Where one input outweighs all others, a grid of a channel's own holds its weight exactly. Codes that are not
        # begun anew may lose as much for no such reason; those that are stand beside them.
        if not start:
            return moved, common
        own, new = (
            math.fsum(self._errors(gram, g.reals(codes) - weights).reshape(-1).tolist())
            for g, codes in ((grid, q), (common, moved))
        )
        return (moved, common) if new <= _WORSE * own else (q, grid)

    def _descend(self, gram: np.ndarray, grid: Grid, weights: np.ndarray, q: np.ndarray, sweeps: int) -> None:
        descend(gram, grid.wanted(weights), q, grid.limits, sweeps, self.threads, self.most)

    def _held(
        self, gram: np.ndarray, grid: Grid, weights: np.ndarray, q: np.ndarray, wider: float
    ) -> tuple[np.ndarray, Grid]:
        """Codes and grid from a scale `wider` times the grid's, neighbours held; q are those at the grid's own."""
        if wider != 1:
            grid = replace(grid, scale=(grid.scale * wider).astype(np.float32).astype(np.float64))
            q = held_codes(weights[0].T, grid.scale.reshape(-1), int(self.most)).T[None]
        q = np.array(q, np.float64, order="C")
        self._descend(gram, grid, weights, q, _FIRST_SWEEPS)
        return q, grid

    def _errors(self, gram: np.ndarray, apart: np.ndarray) -> np.ndarray:
        """‖X (ŵ - w)‖² of each channel, [batch, 1, channels]."""
        from ... import _native

        return (apart * by_columns(_native.multiply, gram, apart, self.threads)).sum(axis=1, keepdims=True)


def least_scale(layer: Layer) -> np.ndarray:
    """Of each channel of the weight, at which the bias is within its integers; 0 where that is float."""
    scale, bias = layer.weight.qparams.scale, layer.bias
    if bias.dtype.kind == "f":
        return np.zeros(scale.shape)
    return bias_safe_scale(bias.value * bias.qparams.scale, _input_scale(layer), np.zeros(scale.shape))


def rescale(layer: Layer, quant: QuantParam) -> None:
    """Gives the layer's weight these parameters, and an integer bias the same real value by the new scale."""
    bias = layer.bias
    if bias.dtype.kind != "f":
        real = bias.value * bias.qparams.scale
        bias.data, bias.quant = quantize_bias(real, _input_scale(layer), quant.scale)
    layer.weight.quant = quant


def _input_scale(layer: Layer) -> float:
    return float(layer.node.required(0).qparams.scale[0])


def blocks(inputs: int) -> list[slice]:
    """The parts of a layer's inputs that are rounded at once; none begins within a pair."""
    count = 1 if inputs <= WHOLE else -(-inputs // BLOCK)
    size = -(-inputs // count // 2) * 2
    return [slice(begin, min(begin + size, inputs)) for begin in range(0, inputs, size)]


def descend(
    gram: np.ndarray,
    real: np.ndarray,
    q: np.ndarray,
    limits: tuple[float, float],
    sweeps: int = SWEEPS,
    threads: int = 1,
    pair: float = np.inf,
) -> None:
    """Improves codes q [batch, K, O] for real ones, in place; gram [batch, K, K] has a diagonal above 0."""
    from ... import _native

    if (q == real).all():
        return
    low, high = limits
    each_part(
        column_parts(q.shape[2], threads),
        lambda part: _native.descend(gram, real, q, part[0], part[1], low, high, pair, sweeps),
    )


def eliminate(gram: np.ndarray, real: np.ndarray, q: np.ndarray, limits: tuple[float, float], threads: int = 1) -> None:
    """Codes q [batch, K, O] for real ones, in place, one input after the other from the one that says most, each of
    which leaves its error to those that follow (GPTQ, Frantar et al. 2022); gram [batch, K, K] positive definite."""
    from ... import _native

    order = np.argsort(np.einsum("bkk->bk", gram), axis=1, kind="stable")  # the last one is taken first
    factor = np.take_along_axis(np.take_along_axis(gram, order[:, :, None], axis=1), order[:, None, :], axis=2)
    factor = factored(factor)
    sorted_real, codes = np.take_along_axis(real, order[:, :, None], axis=1), np.empty_like(q)
    low, high = limits
    each_part(
        column_parts(q.shape[2], threads),
        lambda part: _native.eliminate(factor, sorted_real, codes, part[0], part[1], low, high),
    )
    np.put_along_axis(q, order[:, :, None], codes, axis=1)


@dataclass(frozen=True)
class Rows:
    """A layer's centred inputs in units of codes, from at most `limit` of its outputs.

    count: samples that they come from. of_layer, of_float: what `layer_rows` takes, behind the prefix and in float.
    by_channel: each channel by itself.
    """

    runner: QuantizedPrefixRunner
    count: int
    of_layer: tuple[str, str, str, QuantParam, int]
    of_float: tuple[str, str, str, QuantParam, int]
    by_channel: bool

    @classmethod
    def of(cls, runner: QuantizedPrefixRunner, node: Node, limit: int = ROWS) -> Rows | None:
        """None where there are none to be had."""
        w = node.inputs[1]
        if w is None or w.data is None or quant_spec(node).mixes_channels is None:
            return None
        group = node.attrs.get("group", 1)
        if group not in (1, w.data.shape[0]) or (group != 1 and w.data.shape[-1] != 1):
            return None
        count = min(runner.count, limit)
        x, quant = _read(runner, node, count)
        how = quant, limit // count
        of_layer = "codes", runner.layers[node].node.name, x.name, *how
        return cls(runner, count, of_layer, ("real", node.name, node.required(0).name, *how), group != 1)

    def gram(self, part: slice = slice(None)) -> np.ndarray:
        """X'X of some of the inputs, float64 [batch, K, K]."""
        if self.by_channel:
            found = self.runner.each(layer_products, *self.of_layer, count=self.count, fold=add_products)
            return gram_by_channel(found)
        return gram_of(np.concatenate(self._read(self.of_layer, (part.start, part.stop))), self.runner.threads)

    def both(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """By sample, the rows behind the prefix and those of the float graph, int16 [rows, K]."""
        every = (None, None)
        return self._read(self.of_layer, every), self._read(self.of_float, every)

    def _read(self, which: tuple[object, ...], columns: tuple[int | None, int | None]) -> list[np.ndarray]:
        return list(self.runner.each(layer_rows, *which, columns, count=self.count))


def layer_rows(
    part: PrefixPart,
    side: str,
    node: str,
    x: str,
    quant: QuantParam,
    limit: int,
    columns: tuple[int | None, int | None] | None = None,
) -> Callable[[int], np.ndarray]:
    """An operation: the inputs of at most `limit` of the layer's outputs, int16 [rows, taps, C]; with `columns`, first
    and end, those of each output side by side, int16 [rows, columns]. side: of the runner's graphs."""
    indices: dict[tuple[int, ...], Im2colIndices] = {}
    zero = int(quant.zero_point[0])

    def rows(sample: int) -> np.ndarray:
        a = _values(part, side, x, sample)
        if a.shape not in indices:
            indices[a.shape] = Im2colIndices.of(part.node(side, node), a.shape, limit)
        found = indices[a.shape].rows(quantize_f32(a, quant) if a.dtype.kind == "f" else a, zero)
        return found if columns is None else np.ascontiguousarray(found.reshape(len(found), -1)[:, slice(*columns)])

    return rows


def layer_products(
    part: PrefixPart, side: str, node: str, x: str, quant: QuantParam, limit: int
) -> Callable[[int], ChannelProducts]:
    """An operation: the products within each channel of what `layer_rows` gives."""
    rows = layer_rows(part, side, node, x, quant, limit)
    return lambda sample: products_by_channel(rows(sample))


def extremes(part: PrefixPart, x: str) -> Callable[[int], tuple[float, float]]:
    """An operation: the least and the largest value of a tensor."""
    return lambda sample: ends(_values(part, "codes", x, sample))


def _values(part: PrefixPart, side: str, x: str, sample: int) -> np.ndarray:
    """Codes of 8 bits as they are, all else as reals."""
    a = part.get(side, x, sample)
    return a if a.dtype.kind == "f" or a.dtype.itemsize == 1 else dequantize(a, part.tensor(side, x).qparams)


def _read(runner: QuantizedPrefixRunner, node: Node, count: int) -> tuple[Tensor, QuantParam]:
    """What the layer reads, and parameters of codes of 8 bits for it: where it reads others, those of their range."""
    x = runner.layers[node].node.required(0)
    if node in runner.quantized.weighted_layers:
        x = runner.quantized.quantized_of[node.required(0)]
        if x.qparams.bits <= 8:
            return x, x.qparams
    bounds = list(runner.each(extremes, x.name, count=count))
    return x, choose_asymmetric(min(low for low, _ in bounds), max(high for _, high in bounds))


@dataclass(frozen=True)
class Im2colIndices:
    """The elements of an input that some of a layer's outputs are made from.

    at: int64 [rows, taps], places in the input as [places, C]. inside: which of them are not padding, None for all.
    """

    at: np.ndarray
    inside: np.ndarray | None

    @classmethod
    def of(cls, node: Node, shape: tuple[int, ...], limit: int) -> Im2colIndices:
        """Those of at most `limit` outputs, evenly spread, for an input of this shape."""
        w = node.required(1)
        if not quant_spec(node).conv_family:
            return cls(_spread(int(np.prod(shape)) // w.value.shape[1], limit)[:, None], None)
        kernel, pad = w.value.shape[1:-1], node.attrs["pad"]
        stride, dilation = node.attrs["stride"], node.attrs["dilation"]
        sizes = [
            (n + pad[2 * d] + pad[2 * d + 1] - (kernel[d] - 1) * dilation[d] - 1) // stride[d] + 1
            for d, n in enumerate(shape[1:-1])
        ]
        where = np.unravel_index(_spread(int(np.prod([shape[0], *sizes])), limit), [shape[0], *sizes])
        at, inside = where[0][:, None], np.ones((len(where[0]), 1), bool)
        for d, n in enumerate(shape[1:-1]):
            place = where[d + 1][:, None] * stride[d] - pad[2 * d] + np.arange(kernel[d]) * dilation[d]
            fits = (place >= 0) & (place < n)
            at = (at[:, :, None] * n + np.where(fits, place, 0)[:, None, :]).reshape(len(at), -1)
            inside = (inside[:, :, None] & fits[:, None, :]).reshape(len(at), -1)
        return cls(at, None if inside.all() else inside)

    def rows(self, x: np.ndarray, zero: int) -> np.ndarray:
        """The codes less their zero point, int16 [rows, taps, C]; padding is 0."""
        places = x.reshape(-1, x.shape[-1])
        codes = places[self.at].astype(np.int16)
        codes -= np.int16(zero)
        if self.inside is not None:
            codes[~self.inside] = 0
        return codes


def _spread(n: int, limit: int) -> np.ndarray:
    """Indices of at most `limit` of n, evenly spread with a shift so that rows of an image differ in column."""
    if n <= limit:
        return np.arange(n)
    return (np.arange(limit, dtype=np.int64) * n + n // 2) // limit
