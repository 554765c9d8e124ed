"""The integer semantics: scale, zero point, quantize, dequantize, requantize. Nowhere else is this arithmetic written.

real = (q - zero_point) * scale, and for a per-channel weight optionally * var_corr + mean_corr, as the MindSpore Lite
runtime applies it when it loads a file. Parameters are float64, data float32; no BLAS, so the same bits everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

INT32_MAX = 2**31 - 1
_INT32_MIN = -(2**31)


@dataclass(frozen=True, slots=True, eq=False)
class QuantParam:
    """How the integers of one tensor are to be read.

    scale float64[n] and zero_point int32[n], n = 1 (axis None: per tensor) or the size of dimension `axis`.
    var_corr, mean_corr float32[n] or None: statistical correction, which holds only per channel.
    bits: the width of the codes, 1..16 (32 for a bias); the storage dtype may be wider.
    """

    scale: NDArray[np.float64]
    zero_point: NDArray[np.int32]
    axis: int | None = None
    bits: int = 8
    var_corr: NDArray[np.float32] | None = None
    mean_corr: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        scale = np.atleast_1d(np.asarray(self.scale, np.float64))
        zero_point = np.atleast_1d(np.asarray(self.zero_point, np.int32))
        if scale.ndim != 1 or zero_point.ndim != 1:
            raise ValueError(f"scale and zero_point are vectors, not of shapes {scale.shape} and {zero_point.shape}")
        if len(zero_point) == 1 != len(scale):
            zero_point = np.repeat(zero_point, len(scale))
        if len(zero_point) != len(scale):
            raise ValueError(f"{len(scale)} scales but {len(zero_point)} zero points")
        if self.axis is None and len(scale) != 1:
            raise ValueError(f"{len(scale)} scales need an axis")
        put(self, "scale", scale)
        put(self, "zero_point", zero_point)
        for name in ("var_corr", "mean_corr"):
            value = getattr(self, name)
            if value is not None:
                value = np.atleast_1d(np.asarray(value, np.float32))
                if value.shape != scale.shape:
                    raise ValueError(f"{name} has {len(value)} entries for {len(scale)} scales")
                put(self, name, value)

    def __eq__(self, other: object) -> bool:
        """Bitwise the same parameters (a tensor with them needs no requantization)."""
        if not isinstance(other, QuantParam):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        arrays = (self.scale, self.zero_point, self.var_corr, self.mean_corr)
        return (self.axis, self.bits, *(None if a is None else a.tobytes() for a in arrays))

    @property
    def per_channel(self) -> bool:
        return self.axis is not None

    @property
    def symmetric(self) -> bool:
        return not self.zero_point.any()


def code_range(bits: int, *, narrow: bool = False, unsigned: bool = False) -> tuple[int, int]:
    """(qmin, qmax) of a width: [-2^(b-1), 2^(b-1)-1]; narrow drops the lowest code; unsigned starts at 0.

    One bit holds -1 and 0: it keeps its lowest code, narrow or not, as no code is above zero.
    """
    if unsigned:
        return int(narrow), 2**bits - 1
    low = -(2 ** (bits - 1))
    return low + int(narrow and bits > 1), -low - 1


def along(values: NDArray, axis: int | None, ndim: int) -> NDArray:
    """Shapes a vector of per-channel values so that it broadcasts along `axis` of an array of rank `ndim`."""
    if axis is None or len(values) == 1:
        return values.reshape((1,) * ndim)
    shape = [1] * ndim
    shape[axis] = len(values)
    return values.reshape(shape)


def round_half_away(x: NDArray) -> NDArray:
    """C's round(): halves go away from zero. The addend is the double below 0.5, which makes this exact."""
    return np.trunc(x + np.copysign(np.nextafter(0.5, 0.0), x))


def choose_asymmetric(
    low: ArrayLike, high: ArrayLike, bits: int = 8, axis: int | None = None, *, unsigned: bool = False
) -> QuantParam:
    """The parameters for ranges [low, high] (scalars or [n]), each widened to hold 0, which gets a code of its own.

    An empty range gets scale 1, so that every scale is positive.
    """
    qmin, qmax = code_range(bits, unsigned=unsigned)
    low = np.minimum(np.atleast_1d(np.asarray(low, np.float64)), 0.0)
    high = np.maximum(np.atleast_1d(np.asarray(high, np.float64)), 0.0)
    scale = (high - low) / (qmax - qmin)
    scale = np.where(scale < np.finfo(np.float32).tiny, 1.0, scale)
    zero_point = np.clip(round_half_away(qmin - low / scale), qmin, qmax)
    return QuantParam(scale, zero_point.astype(np.int32), axis, bits)


def choose_symmetric(absmax: ArrayLike, bits: int = 8, axis: int | None = None, *, narrow: bool = True) -> QuantParam:
    """The parameters with zero point 0 for values in [-absmax, absmax]; a range of 0 gets scale 1.

    At one bit there is no code above zero: the scale is then absmax and the codes are -1 and 0.
    """
    _, qmax = code_range(bits, narrow=narrow)
    absmax = np.atleast_1d(np.asarray(absmax, np.float64))
    scale = absmax / max(qmax, 1)
    scale = np.where(scale < np.finfo(np.float32).tiny, 1.0, scale)
    return QuantParam(scale, np.zeros(scale.shape, np.int32), axis, bits)


def quantize(
    x: NDArray, qp: QuantParam, dtype: DTypeLike = np.int8, *, narrow: bool = False, half_away: bool = False
) -> NDArray:
    """Constants to codes, in float64: round(x / scale) + zero_point, clamped to the width's range.

    half_away rounds as the MindSpore Lite converter does, otherwise halves go to even. NaN is not expected here.
    """
    dtype = np.dtype(dtype)
    qmin, qmax = code_range(min(qp.bits, 8 * dtype.itemsize), narrow=narrow, unsigned=dtype.kind == "u")
    y = np.asarray(np.divide(x, along(qp.scale, qp.axis, x.ndim), dtype=np.float64))
    y = round_half_away(y) if half_away else np.rint(y, out=y)
    y += along(qp.zero_point, qp.axis, y.ndim)
    return np.clip(y, qmin, qmax, out=y).astype(dtype)


def quantize_f32(x: NDArray, qp: QuantParam, dtype: DTypeLike = np.int8) -> NDArray:
    """What the Quantize kernel computes: clamp(rne(float32(x * float32(1/s))) + z); NaN becomes the zero point."""
    zero_point = along(qp.zero_point, qp.axis, np.ndim(x)).astype(np.float32)
    return (_rounded_f32(x, qp, np.dtype(dtype)) + zero_point).astype(dtype)


def fake_quantize(x: NDArray, qp: QuantParam, dtype: DTypeLike = np.int8) -> NDArray[np.float32]:
    """The reals that a layer reads where x is stored in codes: the bits of `dequantize(quantize_f32(x, qp), qp)`.

    Of parameters without a correction.
    """
    y = _rounded_f32(x, qp, np.dtype(dtype))
    y += np.float32(0)  # codes have no zero of negative sign
    y *= along(qp.scale.astype(np.float32), qp.axis, y.ndim)
    return y


def _rounded_f32(x: NDArray, qp: QuantParam, dtype: np.dtype) -> NDArray[np.float32]:
    """Codes less their zero point, as whole float32 numbers."""
    qmin, qmax = code_range(min(qp.bits, 8 * dtype.itemsize), unsigned=dtype.kind == "u")
    zero_point = along(qp.zero_point, qp.axis, np.ndim(x)).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        y = np.asarray(np.asarray(x, np.float32) * along((1.0 / qp.scale).astype(np.float32), qp.axis, np.ndim(x)))
    np.rint(y, out=y)
    np.copyto(y, np.float32(0), where=np.isnan(y))
    return np.clip(y, qmin - zero_point, qmax - zero_point, out=y)


def dequantize(q: NDArray, qp: QuantParam) -> NDArray[np.float32]:
    """Codes to float32: float32(q - z) * float32(s), and per channel * var_corr + mean_corr.

    As in the real runtime the correction of a per-tensor entry is ignored, and a var_corr outside [0, 10] reads as 1.
    """
    scale, ndim = qp.scale, q.ndim
    if qp.axis is not None and qp.var_corr is not None:
        factor = qp.var_corr.astype(np.float64)
        scale = scale * np.where((factor >= 0) & (factor <= 10), factor, 1.0)
    if q.dtype.itemsize <= 2:
        x = q.astype(np.float32)
        if qp.zero_point.any():
            x -= along(qp.zero_point, qp.axis, ndim).astype(np.float32)
    else:
        x = (q.astype(np.int64) - along(qp.zero_point, qp.axis, ndim)).astype(np.float32)
    x *= along(scale.astype(np.float32), qp.axis, ndim)
    if qp.axis is not None and qp.mean_corr is not None:
        x += along(qp.mean_corr, qp.axis, ndim)
    return x


def requantize_rne_f32(
    acc: NDArray, multiplier: ArrayLike, zero_point: int, qmin: int, qmax: int, dtype: DTypeLike = np.int8
) -> NDArray:
    """The default profile: clamp(rne(float32(acc) * float32(multiplier)) + zero_point), as XNNPACK does.

    acc int32 [..., n]; multiplier a scalar or [n], along the last axis.
    """
    m = np.asarray(multiplier).astype(np.float32)
    # One multiplier for all leaves the shape alone, also that of a scalar.
    y = np.rint(acc.astype(np.float32) * (m.reshape(()) if m.size == 1 else m))
    return (np.clip(y, np.float32(qmin - zero_point), np.float32(qmax - zero_point)) + zero_point).astype(dtype)


def quantized_multiplier(multiplier: ArrayLike) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """A positive real as (Q31 mantissa, exponent): m ≈ mantissa * 2^(exponent - 31), mantissa 0 or in [2^30, 2^31).

    As QuantizeMultiplier of TFLite and MindSpore Lite; below 2^-32 it is 0.
    """
    fraction, exponent = np.frexp(np.asarray(multiplier, np.float64))
    mantissa = round_half_away(fraction * 2.0**31).astype(np.int64)
    over = mantissa == 2**31
    mantissa = np.where(over, mantissa // 2, mantissa)
    exponent = np.where(over, exponent + 1, exponent)
    vanished = exponent < -31
    return np.where(vanished, 0, mantissa).astype(np.int32), np.where(vanished, 0, exponent).astype(np.int32)


def saturating_rounding_doubling_high_mul(a: ArrayLike, b: ArrayLike) -> NDArray[np.int32]:
    """gemmlowp's function of that name: (a * b + 2^30) / 2^31, halves away from zero; one case saturates."""
    a, b = np.asarray(a, np.int64), np.asarray(b, np.int64)
    product = a * b
    # Division truncates towards zero in C, hence by magnitude; the nudge of a negative product is 1 - 2^30.
    high = np.where(product >= 0, (product + (1 << 30)) >> 31, -((-product + (1 << 30) - 1) >> 31))
    return np.where((a == _INT32_MIN) & (b == _INT32_MIN), INT32_MAX, high).astype(np.int32)


def rounding_divide_by_pot(x: ArrayLike, exponent: ArrayLike) -> NDArray[np.int32]:
    """gemmlowp's RoundingDivideByPOT: x / 2^exponent, exponent 0..31, halves away from zero."""
    x, exponent = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    mask = (np.int64(1) << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    return ((x >> exponent) + ((x & mask) > threshold)).astype(np.int32)


def requantize_gemmlowp(
    acc: NDArray,
    mantissa: ArrayLike,
    exponent: ArrayLike,
    zero_point: int,
    qmin: int,
    qmax: int,
    dtype: DTypeLike = np.int8,
) -> NDArray:
    """The profile of the MindSpore Lite and TFLite reference kernels: double rounding, bit-exact with both.

    acc int32 [..., n]; mantissa and exponent from `quantized_multiplier`, scalars or [n]. A left shift wraps in int32.
    """
    mantissa, exponent = np.asarray(mantissa, np.int64), np.asarray(exponent, np.int64)
    left, right = np.maximum(exponent, 0), np.maximum(-exponent, 0)
    shifted = (acc.astype(np.int64) << left).astype(np.int32)
    y = rounding_divide_by_pot(saturating_rounding_doubling_high_mul(shifted, mantissa), right)
    return np.clip(y.astype(np.int64) + zero_point, qmin, qmax).astype(dtype)


def bias_safe_scale(bias: NDArray, input_scale: float, weight_scale: NDArray) -> NDArray[np.float64]:
    """Weight scales [n], enlarged where |bias / (s_in * s_w)| would take more than half of int32.

    The other half is left to the sum of products. (MindSpore Lite's rule.)
    """
    needed = np.abs(np.asarray(bias, np.float64)) / (float(input_scale) * 0.5 * INT32_MAX)
    return np.maximum(np.asarray(weight_scale, np.float64), needed)


def quantize_bias(bias: NDArray, input_scale: float, weight_scale: NDArray) -> tuple[NDArray[np.int32], QuantParam]:
    """The int32 bias at scale s_in * s_w with its QuantParam. bias [n], weight_scale [n] or [1].

    Call `bias_safe_scale` before quantizing the weight; here the value is only kept inside ±INT32_MAX / 2.
    """
    bias = np.asarray(bias, np.float64).reshape(-1)
    scale = np.asarray(input_scale, np.float64) * np.asarray(weight_scale, np.float64)
    limit = INT32_MAX // 2
    q = np.clip(np.rint(bias / scale), -limit, limit).astype(np.int32)
    axis = 0 if len(np.atleast_1d(scale)) > 1 else None
    return q, QuantParam(scale, np.zeros(1, np.int32), axis, 32)


Bounds = tuple[float | None, float | None]
"""The least and the largest real value; None where that side is open."""

ACT_BOUNDS: dict[str, Bounds] = {
    "none": (None, None),
    "relu": (0.0, None),
    "relu6": (0.0, 6.0),
    "relu_n1_to_1": (-1.0, 1.0),
    "relu_0_to_1": (0.0, 1.0),
}
"""Activations that only clamp, which the range of the output's codes can express, with their bounds."""


def foldable(act: str) -> bool:
    """Whether `act` is a clamp, so that the codes' range expresses it."""
    return act in ACT_BOUNDS


def activation_range(
    act: str,
    qp: QuantParam,
    dtype: DTypeLike = np.int8,
    *,
    low: float | None = None,
    high: float | None = None,
    narrow: bool = False,
) -> tuple[int, int]:
    """(qmin, qmax) of an output with parameters `qp` after the fused `act` and a clip to [low, high].

    Raises ValueError for an activation that is not a clamp.
    """
    if act not in ACT_BOUNDS:
        raise ValueError(f"activation {act} is not a clamp; allowed: {', '.join(ACT_BOUNDS)}")
    dtype = np.dtype(dtype)
    qmin, qmax = code_range(min(qp.bits, 8 * dtype.itemsize), narrow=narrow, unsigned=dtype.kind == "u")
    scale, zero_point = float(qp.scale[0]), int(qp.zero_point[0])
    bounds = ACT_BOUNDS[act]
    lows = [v for v in (bounds[0], low) if v is not None]
    highs = [v for v in (bounds[1], high) if v is not None]
    bottom, top = qmin, qmax
    if lows and np.isfinite(max(lows)):
        bottom = int(np.clip(np.rint(max(lows) / scale) + zero_point, qmin, qmax))
    if highs and np.isfinite(min(highs)):
        top = int(np.clip(np.rint(min(highs) / scale) + zero_point, qmin, qmax))
    return bottom, max(bottom, top)
