"""Weights to integers of 1..16 bits, per output channel, and the gates that say which weights.

The codes are those of the MindSpore Lite converter or better, by three means that need no data:
    kernel sums   After rounding, codes are moved by one so that the errors of each k×k kernel add up to less than half
                  a step (SQuant, Guo et al. 2022, arXiv 2202.07471): neighbouring inputs are alike, so an output feels
                  the sum. Worth 1..3 dB at the output of a network with k×k kernels, at every width up to 8.
    channel sums  Where there are no kernels (1×1, matrices), codes are moved so that the errors weighted by how large
                  each input's weights are on the whole cancel: inputs with large weights are large themselves (log-log
                  correlation 0.3..0.4 in every network looked at). Worth 0.1..1 dB on MobileNetV2 at 6 to 8 bits.
    fitted grids  Up to 4 bits, each channel's grid w ≈ a * q + b is fitted (clip search, then Lloyd steps: round,
                  regress) instead of spanning min..max, which leaves most codes to the tails.
Both keep the channel's mean and variance, as the runtime's statistical correction would: the corrected scale is stored
as the scale, the mean as mean_corr. Sums and elementwise float only, no BLAS: the same bits everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...converter.formats.files import sweep
from ...converter.numeric.packing import storage_dtype
from ...converter.numeric.qparams import QuantParam, choose_asymmetric, code_range, quantize, round_half_away
from ...converter.numeric.sparse import encoded_size
from ..parallel import Workers

T = TypeVar("T")
Codes = tuple[NDArray, QuantParam]
FITTED_BITS = 4  # widths up to this one get fitted grids
_KERNEL_SUM_BITS = range(3, 9)  # on min..max grids; at fewer bits moved codes would only spoil the zeros
_CHANNEL_SUM_BITS = range(6, 9)  # at fewer bits the moves cost what they gain
_BLOCK = 1 << 18  # elements worked on at once
_FLAT = 1e-10  # a channel of a smaller range is a constant
# Clip factors from which the fit starts: the fewer the levels, the narrower the best range.
_STARTS = {1: (0.6, 0.4, 0.25), 2: (0.75, 0.55, 0.4, 0.3), 3: (0.95, 0.75, 0.6, 0.45), 4: (1.0, 0.85, 0.7, 0.55)}
# What a QuantParam of the real converter's file takes beyond one without scale, as the .ms writer stores these.
_SAVED_PER_CHANNEL = 12


def gate(
    shape: Sequence[int],
    axis: int | None,
    bits: int,
    *,
    conv: bool,
    min_size: int = 0,
    min_channels: int = 16,
    gain: bool = True,
) -> str | None:
    """Why a weight stays as it is, or None when it is to be quantized.

    shape and channel axis of the weight; conv: it belongs to a (transposed) convolution, the only ones that the channel
    gate concerns. The gain gate is the real tool's: parameters per channel must not outweigh what the bits save.
    """
    size = int(np.prod(shape))
    channels = 1 if axis is None else shape[axis]
    if size <= min_size:
        return f"size gate: {size} elements, more than {min_size} wanted"
    if conv and channels <= min_channels:
        return f"channel gate: {channels} output channels, more than {min_channels} wanted"
    need = 256 // (32 - bits)
    if gain and axis is not None and size // channels <= need:
        return f"gain gate: {size // channels} elements per channel, more than {need} wanted at {bits} bits"
    return None


@dataclass(frozen=True)
class Weight:
    """A weight to quantize: float32 values, output-channel axis (None: per tensor), and whether dimensions 1..rank-2
    are positions of a kernel ([O, *K, I] or [I, *K, O])."""

    values: NDArray[np.float32]
    axis: int | None = 0
    kernel: bool = False


def quantize_weight(
    weight: Weight, bits: int, *, fitted: bool | None = None, correction: bool = True
) -> tuple[NDArray, QuantParam]:
    """Codes int8 (up to 8 bits) or int16 of the weight's shape, and how they are to be read.

    fitted: fit the grids instead of taking min..max; by default up to 4 bits. correction: keep each channel's mean and
    variance; without it there is no mean_corr, and no grid is fitted, for that needs one. A weight of one channel is
    quantized per tensor, as the runtime reads it.
    """
    fitted = bits <= FITTED_BITS if fitted is None else fitted
    if weight.axis is None or weight.values.shape[weight.axis] == 1:
        return _per_tensor(weight.values, bits, fitted)
    q = np.empty(weight.values.shape, storage_dtype(bits))
    channels = q.shape[weight.axis]
    if not q.size:
        return q, QuantParam(np.ones(channels), np.zeros(channels, np.int32), weight.axis, bits)
    scale, zero_point, mean = np.empty(channels), np.zeros(channels, np.int32), np.empty(channels, np.float32)
    size = _input_sizes(weight) if bits in _CHANNEL_SUM_BITS and correction and not fitted else None
    for rows, w, out in _blocks(weight, q, fill=True):
        if fitted and correction:
            codes, step = _fit(w, bits)
            zero = np.zeros(len(step))
        else:
            codes, step, zero = _min_max(w, bits, size)
        out[...] = codes
        if correction:
            step, mean[rows] = _corrected(w, out, zero, step)
        # As files hold it.
        scale[rows], zero_point[rows] = step.astype(np.float32), zero
    return q, QuantParam(scale, zero_point, weight.axis, bits, mean_corr=mean if correction else None)


def on_each(one: Callable[[Weight], T], weights: Sequence[Weight], threads: int) -> list[T]:
    """one(weight) of each, in their order; the largest are begun first, so that no thread is left with one at the
    end."""
    order = sorted(range(len(weights)), key=lambda k: -weights[k].values.size)
    with Workers(threads) as workers:
        swept = sweep((weights[k] for k in order), lambda weight: weight.values.nbytes)
        found = dict(zip(order, workers.each(one, swept)))
    return [found[k] for k in range(len(weights))]


def quantize_weights(
    weights: Sequence[Weight], bits: int, *, correction: bool = True, threads: int = 1
) -> list[tuple[NDArray, QuantParam]]:
    """Every weight of a model at one width, with fitted grids where their bytes are affordable.

    A min..max grid of 1 or 2 bits gives almost only zeros, which SPARSE stores in next to nothing, and almost nothing
    of the network is left; a fitted grid uses its codes. The budget is what the real converter's file takes: weights
    are fitted in the order of the error they lose per byte until it is spent.
    """
    if bits > FITTED_BITS or not correction:
        return on_each(partial(quantize_weight, bits=bits, correction=correction), weights, threads)
    both = on_each(partial(_plain_and_fitted, bits=bits), weights, threads)
    plain, fine = [before for before, *_ in both], [after for _, after, *_ in both]
    options, budget = [], 0
    for i, (_, after, gain, small, large) in enumerate(both):
        budget += len(after[1].scale) * _SAVED_PER_CHANNEL if after[1].per_channel else 0
        if gain > 0:
            options.append((gain / max(large - small, 1e-3), i, large - small))
    if bits == 1 and sum(cost for _, _, cost in options) > budget:
        return plain  # one bit, half of the weights fitted: computes as little as none, for more bytes
    chosen = list(plain)
    for _, i, cost in sorted(options, key=lambda option: (-option[0], option[1])):
        if cost <= budget:
            budget -= cost
            chosen[i] = fine[i]
    return chosen


def _plain_and_fitted(weight: Weight, bits: int) -> tuple[Codes, Codes, float, int, int]:
    """The weight on a min..max grid and on fitted ones, what of its error that takes off, and the bytes of both."""
    before, after = (quantize_weight(weight, bits, fitted=fitted) for fitted in (False, True))
    small, large = (encoded_size(q, bits, p.zero_point, p.axis) for q, p in (before, after))
    return before, after, relative_error(weight, *before) - relative_error(weight, *after), small, large


def relative_error(weight: Weight, q: NDArray, qp: QuantParam) -> float:
    """‖w - ŵ‖² / ‖w‖², 0 for an empty or zero weight."""
    error = energy = 0.0
    scale, zero_point = qp.scale.astype(np.float64), qp.zero_point.astype(np.float64)
    mean = np.zeros_like(scale) if qp.mean_corr is None else qp.mean_corr.astype(np.float64)
    for rows, w, codes in _blocks(weight, q):
        at = slice(None) if weight.axis is None else rows
        some = np.ascontiguousarray(w, np.float32)
        found = _native().code_error(_rows(some), _rows(codes), scale[at], zero_point[at], mean[at])
        error, energy = error + found[0], energy + found[1]
    return error / energy if energy else 0.0


def _blocks(weight: Weight, q: NDArray, *, fill: bool = False) -> Iterator[tuple[slice, NDArray, NDArray]]:
    """(channels, values, codes) in blocks, both [channels, kernel positions, the rest]; fill: codes are written to."""
    axis = weight.axis
    values = weight.values
    if axis is None:
        flat, codes = values.reshape(1, 1, -1), q.reshape(1, 1, -1)
        for begin in range(0, flat.shape[2], _BLOCK):
            yield slice(0, 1), flat[:, :, begin : begin + _BLOCK], codes[:, :, begin : begin + _BLOCK]
        return
    values, codes = np.moveaxis(values, axis, 0), np.moveaxis(q, axis, 0)
    step = max(1, _BLOCK // max(1, values[0].size))
    for begin in range(0, len(values), step):
        w, out = values[begin : begin + step], codes[begin : begin + step]
        if not weight.kernel or w.ndim < 3:
            shape = (len(w), 1, -1)
        elif axis == 0:
            shape = (len(w), int(np.prod(w.shape[1:-1])), -1)
        else:  # [O, I, *K] after moving the channel to the front
            w, out = np.moveaxis(w, 1, -1), np.moveaxis(out, 1, -1)
            shape = (len(w), int(np.prod(w.shape[1:-1])), -1)
        part = out.reshape(shape)
        yield slice(begin, begin + step), w.reshape(shape), part
        if fill and not np.may_share_memory(part, out):
            out[...] = part.reshape(out.shape)


_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)  # of the range, tried in this order


def _per_tensor(w: NDArray, bits: int, fitted: bool) -> tuple[NDArray, QuantParam]:
    """One scale and zero point for all; the runtime takes no correction here, so only the range can be chosen."""
    low, high = (float(w.min()), float(w.max())) if w.size else (0.0, 0.0)

    def codes(factor: float) -> tuple[NDArray, QuantParam]:
        qp = choose_asymmetric(low * factor, high * factor, bits)
        return quantize(w, qp, storage_dtype(bits), half_away=True), qp

    if not fitted:
        return codes(1.0)
    return min(map(codes, _SHARES), key=lambda stored: relative_error(Weight(w, None), *stored))


def _input_sizes(weight: Weight) -> NDArray[np.float64] | None:
    """The root mean square of the weights of each input [n], over all channels; None for a weight of k×k kernels."""
    total = None
    for _, w, _ in _blocks(weight, weight.values):
        if w.shape[1] > 1:
            return None
        part = np.square(w[:, 0], dtype=np.float64).sum(axis=0)
        total = part if total is None else total + part
    return None if total is None else np.sqrt(total / weight.values.shape[weight.axis or 0])


def _min_max(w: NDArray, bits: int, size: NDArray | None) -> tuple[NDArray, NDArray, NDArray]:
    """Codes [c, k, n], scale and zero point [c] on the real converter's grid, which spans min..max and 0.

    size [n]: the inputs' sizes, for channel sums.
    """
    qmin, qmax = code_range(bits)
    zero = np.float32(0)
    low, high = np.minimum(w.min(axis=(1, 2)), zero), np.maximum(w.max(axis=(1, 2)), zero)
    # In float32, as there, so that the codes agree.
    step = (np.maximum(high, low + np.float32(_FLAT)) - low) / np.float32(qmax - qmin)
    scale = step.astype(np.float64)
    zero_point = round_half_away(qmin - low / scale)
    even_kernels = bits in _KERNEL_SUM_BITS and w.shape[1] > 1
    if not even_kernels and size is None:
        codes = np.empty((len(w), w[0].size), storage_dtype(bits))
        _native().nearest_codes(_rows(w), scale, zero_point, qmin, qmax, codes)
        return codes.reshape(w.shape), scale, zero_point
    t = w / scale[:, None, None]
    t += zero_point[:, None, None]
    q = np.clip(round_half_away(t), qmin, qmax)
    if even_kernels:
        _even_kernel_sums(q, t, qmin, qmax)
    if size is not None:
        _even_channel_sums(q[:, 0], t[:, 0], size, qmin, qmax)
    return q, scale, zero_point


def _fit(w: NDArray, bits: int) -> tuple[NDArray, NDArray]:
    """Codes int8 [c, k, n] and scale float64 [c] on the grid that fits each channel best; their zero point is 0."""
    qmin, qmax = code_range(bits)
    levels = qmax - qmin
    rows = _rows(w)
    factors = np.asarray(_STARTS.get(bits, _STARTS[4]), np.float32)
    q, scale, low, middle = _native().fit_grids(rows, factors, levels, -qmin, _FLAT)
    q = q.reshape(w.shape)
    if w.shape[1] > 1:
        t = ((rows - middle[:, None] - low[:, None]) / scale[:, None]).reshape(w.shape)
        u = q.astype(np.float32) - np.float32(qmin)
        # Once for the rounding, once for what the clipping took away.
        _even_kernel_sums(u, np.clip(t, 0, levels), 0, float(levels))
        _even_kernel_sums(u, t, 0, float(levels))
        flat = (np.ptp(rows, axis=1) < _FLAT)[:, None, None]
        q = np.where(flat, 0, u + np.float32(qmin)).astype(np.int8)  # code 0, the zero point: SPARSE leaves it out
    return q, scale.astype(np.float64)


def _rows(x: NDArray) -> NDArray:
    """[c, k, n] as contiguous [c, k * n]."""
    return np.ascontiguousarray(x).reshape(len(x), -1)


def _native() -> Any:
    from ... import _native

    return _native


def _corrected(w: NDArray, q: NDArray, zero: NDArray, scale: NDArray) -> tuple[NDArray, NDArray]:
    """Scale and mean [c] that give codes q the mean and variance of w, as far as that is allowed.

    The factor on the scale is kept if in (0, 10), the real tool's rule. The scale comes back as a float32, as files
    hold it, so that the mean fits it.
    """
    count = w[0].size
    mean, squares = _native().row_moments(_rows(w))
    total, total_squares = (x.astype(np.float64) for x in _native().code_sums(_rows(q)))
    centre = total / count
    have = np.sqrt(np.maximum(total_squares - total * centre, 0.0) / count) * scale
    want = np.sqrt(squares / count)
    factor = np.divide(want, have, out=np.ones_like(want), where=have > 0)
    factor = np.where((factor > 0) & (factor < 10), factor, 1.0)
    scale = (scale * factor).astype(np.float32).astype(np.float64)
    return scale, (mean - (centre - zero) * scale).astype(np.float32)


def _even_kernel_sums(q: NDArray, t: NDArray, qmin: float, qmax: float) -> None:
    """Moves codes q [c, k, n] by one where that brings the sum over k of q - t to within a half. In place.

    In each kernel those move whose rounding error shrinks least unfavourably: the largest of the sum's sign. A channel
    that is one kernel (k×k depthwise) is left alone, for its mean is corrected anyway.
    """
    _, positions, kernels = q.shape
    if positions == 1 or kernels == 1:
        return
    error = q - t
    total = error.sum(axis=1)
    moves = np.rint(np.abs(total)).astype(np.int32)
    where = np.flatnonzero(moves)
    if not len(where):
        return
    c, n = np.divmod(where, kernels)
    sign = np.sign(total[c, n])
    left = moves[c, n]
    now = q[c, :, n]
    after = now - sign[:, None]
    key = np.where((after >= qmin) & (after <= qmax), error[c, :, n] * sign[:, None], -1.0)
    row = np.arange(len(where))
    while len(row):
        pick = key[row, :].argmax(axis=1)
        good = key[row, pick] > 0
        row, pick = row[good], pick[good]
        now[row, pick] -= sign[row]
        key[row, pick] = -1.0
        left[row] -= 1
        row = row[left[row] > 0]
    q[c, :, n] = now


def _even_channel_sums(q: NDArray, t: NDArray, size: NDArray, qmin: int, qmax: int) -> None:
    """Moves codes q [c, n] by one where that brings Σ size * (q - t) nearer to zero in each channel. In place.

    Of size only what departs from its mean counts, for the mean of a channel's error is corrected anyway. Codes whose
    rounding was a close call go first, in the order of what a move costs for what it does to the sum.
    """
    weight = size - size.mean()
    spread = np.sqrt(np.sum(weight * weight) / 12)  # what the sum is like, over random errors
    if not spread > 0:
        return
    error = q - t
    total = (error * weight).sum(axis=1)
    # A move reduces the sum where the error times the weight is of its sign. It costs 1 - 2 |error| and does |weight|:
    # those below the ratio that makes up for a sum of three times the spread are all that will be wanted.
    near = 0.5 - np.minimum(0.5, np.abs(weight) / (4 * spread))
    row, column = np.nonzero((np.abs(error) > near) & (np.signbit(error) ^ np.signbit(weight) == (total < 0)[:, None]))
    by = np.sign(error[row, column])
    moved = q[row, column] - by
    does = np.abs(weight[column])
    good = (moved >= qmin) & (moved <= qmax) & (does > 0)
    row, column, moved, does = row[good], column[good], moved[good], does[good]
    cost = ((1 - 2 * np.abs(error[row, column])) / does).astype(np.float32)
    # By row, then cost: the bits of positive floats are in their order.
    order = np.argsort(row << 32 | np.maximum(cost, np.float32(0)).view(np.uint32).astype(np.int64), kind="stable")
    row, column, moved, does = row[order], column[order], moved[order], does[order]
    reached = np.cumsum(does)
    first = np.searchsorted(row, row)
    reached -= reached[first] - does[first]
    good = reached - does / 2 <= np.abs(total)[row]
    q[row[good], column[good]] = moved[good]
