"""The grid of a layer's weight codes, w ≈ scale · (q - zero_point) + mean, and its fit to the codes that a layer has.

The fit is the least squares of ‖X (w - scale·q - mean)‖² over a channel's scale (and its mean, where the weight keeps
one), as ‖X·‖² = ·'H·. H is taken in whole numbers, so that its products with codes and with weights in fixed point are
exact in any order: the same bits on every instruction set, for any number of threads.

A channel's scale and mean take 16 bytes of a `.ms`, as much as 32 codes of 4 bits, and none where another channel of
any weight has the same. So grids of few bits can be shared: the scale has few binary digits and the mean is a multiple
of it (or of a part of it where there are less than 16 codes), which codes that are found behind that hardly feel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...converter.numeric.qparams import QuantParam, code_range
from .products import by_columns

_GRAM_BITS = 24
_FRACTION_BITS = 10
_MOST_ZERO = 127  # that codes hold: SPARSE leaves zero points out
_EXACT_BITS = 52  # whole numbers that float64 holds, with a sign to spare
SHARED_BITS = 6  # at more, codes would feel it and channels would still differ
_DIGITS = {5: 6, 6: 6}  # of a shared scale, by bits
_FEWEST_DIGITS = 5
_MEANS = 16  # places that a mean may have within the range of codes, at least
_LEAST, _MOST = 0.5, 2.0  # of the scale before: what is beyond was fitted to rows that say nothing


@dataclass(frozen=True)
class Grid:
    """scale, zero_point, mean: float64 [batch, 1, channels]; mean None for a weight without a correction.

    limits: the least and largest code; those of a symmetric grid are of one size. least: of a scale.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    mean: np.ndarray | None
    bits: int
    least: np.ndarray | float = 0.0

    @classmethod
    def of(cls, quant: QuantParam, shape: tuple[int, int, int], least: np.ndarray | float = 0.0) -> Grid:
        def laid_out(values: np.ndarray | float) -> np.ndarray:
            return np.broadcast_to(np.asarray(values, np.float64), shape[0] * shape[2]).reshape(shape)

        mean = None if quant.mean_corr is None else laid_out(quant.mean_corr)
        return cls(laid_out(quant.scale), laid_out(quant.zero_point), mean, quant.bits, laid_out(least))

    @property
    def limits(self) -> tuple[float, float]:
        symmetric = self.mean is None and not self.zero_point.any()
        low, high = code_range(self.bits, narrow=symmetric)
        return float(low), float(high)

    def wanted(self, weights: np.ndarray) -> np.ndarray:
        """The codes, not yet whole, of float64 weights [batch, K, channels]."""
        shifted = weights if self.mean is None else weights - self.mean
        return shifted / self.scale + self.zero_point

    def reals(self, q: np.ndarray) -> np.ndarray:
        """What codes q [batch, K, channels] stand for."""
        real = (q - self.zero_point) * self.scale
        return real if self.mean is None else real + self.mean

    def fitted(self, gram: np.ndarray, weights: np.ndarray, q: np.ndarray, threads: int = 1) -> Grid:
        """The grid that codes q [batch, K, channels] stand for these weights by, gram [batch, K, K] their inputs'."""
        from ... import _native

        whole = np.rint(gram * (2.0**_GRAM_BITS / np.abs(gram).max()))
        taps = int(q.shape[1]).bit_length()
        fraction = min(_FRACTION_BITS, _EXACT_BITS - _GRAM_BITS - self.bits - 1 - taps)
        codes = q - self.zero_point
        real = np.rint(weights / self.scale * 2.0**fraction)
        # Not BLAS: its threads are as many as there are cores, whoever else works on these.
        of_codes, of_real = (by_columns(_native.multiply, whole, x, threads) for x in (codes, real))
        # Sums over the second axis add row to row: one order everywhere.
        qq, qw = (codes * of_codes).sum(axis=1, keepdims=True), (codes * of_real).sum(axis=1, keepdims=True)
        qw = qw / 2.0**fraction
        factor, mean = qw / np.where(qq > 0, qq, 1.0), self.mean
        free, offset = np.ones(qq.shape, bool), np.zeros(qq.shape)
        if mean is not None:
            row = whole.sum(axis=2)[:, :, None]
            ones, q1 = row.sum(axis=1, keepdims=True), (codes * row).sum(axis=1, keepdims=True)
            w1 = (real * row).sum(axis=1, keepdims=True) / 2.0**fraction
            det = qq * ones - q1 * q1
            free = det > 1e-9 * qq * ones
            factor = np.where(free, (qw * ones - w1 * q1) / np.where(free, det, 1.0), factor)
            offset = np.where(free, (w1 * qq - qw * q1) / np.where(free, det, 1.0), 0.0)
        good = (factor > _LEAST) & (factor < _MOST) & (qq > 0) & free
        good &= self.scale * factor >= self.least * (1 + 1e-6)
        scale = np.where(good, (self.scale * factor).astype(np.float32), self.scale)
        if mean is not None:
            mean = np.where(good, (offset * self.scale).astype(np.float32), mean)
        return replace(self, scale=scale, mean=mean)

    def shared(self) -> Grid:
        """The nearest grid of those that channels share, as far as bits are few; a mean in whole scales becomes a part
        of the zero point."""
        if self.bits > SHARED_BITS:
            return self
        part, exponent = np.frexp(self.scale)
        digits = _DIGITS.get(self.bits, _FEWEST_DIGITS)
        scale = np.ldexp(np.rint(np.ldexp(part, digits)), exponent - digits)
        scale = np.where(scale >= self.least, scale, self.scale)
        if self.mean is None:
            return replace(self, scale=scale)
        parts = max(1, _MEANS >> self.bits)
        places = np.rint(self.mean / scale * parts)
        if parts > 1 or (np.abs(self.zero_point - places) > _MOST_ZERO).any():
            return replace(self, scale=scale, mean=(places / parts * scale).astype(np.float32).astype(np.float64))
        return replace(self, scale=scale, zero_point=self.zero_point - places, mean=np.zeros(scale.shape))

    def moved(self, q: np.ndarray, before: Grid) -> np.ndarray:
        """The codes nearest to what q [batch, K, channels] stand for on the grid before."""
        return np.clip(np.rint(self.wanted(before.reals(q))), *self.limits)

    def stored(self, quant: QuantParam) -> QuantParam:
        """`quant` with this grid's scales, zero points and means."""
        mean = None if self.mean is None else self.mean.reshape(-1).astype(np.float32)
        zero = quant.zero_point if self.mean is None else self.zero_point.reshape(-1).astype(np.int32)
        return replace(quant, scale=self.scale.reshape(-1).astype(np.float64), zero_point=zero, mean_corr=mean)


def shared_form(quant: QuantParam) -> QuantParam:
    """Parameters of a weight as they are where channels share them."""
    return Grid.of(quant, (1, 1, len(quant.scale))).shared().stored(quant)
