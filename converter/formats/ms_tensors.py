"""Stored tensors of a .ms file ↔ IR tensors: dtypes, quantization parameters, packed and coded weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ModelError, UnsupportedError
from ..ir import Tensor
from ..ir.limits import FreeCodes, check_rank
from ..numeric import packing, sparse
from ..numeric.fse import decode_fse
from ..numeric.qparams import QuantParam
from . import ms_schema
from .flat import Record

DTYPES = {
    30: "?", 32: "i1", 33: "<i2", 34: "<i4", 35: "<i8", 37: "u1", 38: "<u2", 39: "<u4", 40: "<u8",
    42: "<f2", 43: "<f4", 44: "<f8",
}  # fmt: skip
"""MindSpore's TypeId → numpy."""
NUMBERS = {np.dtype(v): k for k, v in DTYPES.items()}
_COMPRESS = ms_schema.SCHEMA.enums["WeightQuantCompressType"]


def read_tensor(source: Record, name: str, file: str, free: FreeCodes) -> Tensor:
    """A decoded `Tensor` table → IR; `data` is set when the file holds its value."""
    if source.dataType not in DTYPES:
        raise UnsupportedError(f"tensor type {source.dataType} is not read", file=file, node=name)
    dtype = np.dtype(DTYPES[source.dataType])
    shape = tuple(int(d) for d in (source.dims if source.dims is not None else ()))
    check_rank(shape, file, name)
    stored = source.data is not None and len(source.data) > 0
    params = source.quantParams
    quant = None
    if params is not None and len(params) and dtype.kind in "iu":
        quant = _quant(params, shape, dtype, name, file)
    if any(d < 0 for d in shape):
        if stored:
            raise ModelError(f"shape {list(shape)} has a negative size", file=file, node=name)
        return Tensor(name, dtype, tuple(None if d < 0 else d for d in shape), quant=quant)
    data = _value(source, dtype, shape, quant, name, file, free) if stored else None
    if data is None and source.externalData:
        raise UnsupportedError("its value is in an external file, which is not read", file=file, node=name)
    return Tensor(name, dtype, shape, data, quant)


def _quant(params: np.ndarray, shape: tuple[int, ...], dtype: np.dtype, name: str, file: str) -> QuantParam:
    scale = params["scale"].astype(np.float64)
    bits = int(params["numBits"][0])
    if not np.isfinite(scale).all() or not 1 <= bits <= 32 or (params["numBits"] != bits).any():
        raise ModelError(f"quantization parameters: numBits={bits}, scales {scale[:3]}…", file=file, node=name)
    many = len(params) > 1
    axis = None
    if many:
        axis = next((k for k in (0, len(shape) - 1, *range(len(shape))) if shape and shape[k] == len(params)), None)
        if axis is None:
            raise ModelError(
                f"{len(params)} quantization parameters fit no axis of {list(shape)}", file=file, node=name
            )
    variance, mean = params["varCorr"].astype(np.float32), params["meanCorr"].astype(np.float32)
    # What the runtime does with a correction outside its range, and per tensor: it is not there.
    variance = np.where((variance > 0) & (variance < 10), variance, np.float32(1))
    if many and (scale == 1).all():  # see `_put_correction`
        scale, variance = variance.astype(np.float64), np.ones_like(variance)
    bits = dtype.itemsize * 8 if bits > dtype.itemsize * 8 else bits
    return QuantParam(
        scale,
        params["zeroPoint"].astype(np.int32),
        axis,
        bits,
        variance if many and (variance != 1).any() else None,
        mean if many and (mean != 0).any() else None,
    )


def _value(
    source: Record, dtype: np.dtype, shape: tuple[int, ...], quant: QuantParam | None, name: str, file: str,
    free: FreeCodes,
) -> np.ndarray:  # fmt: skip
    count = int(np.prod(shape, dtype=object)) if shape else 1
    kind = _COMPRESS.name(source.weightQuantCompressType)
    # A coded stream may expand; what it may grow to is bounded before anything is allocated.
    if kind != "NONE":
        free.check(name, len(source.data), shape, dtype.itemsize)
    bits = quant.bits if quant is not None else dtype.itemsize * 8
    try:
        if kind in ("INDEXING", "SPARSE"):
            points = quant.zero_point if quant is not None else np.zeros(1, np.int32)
            return sparse.decode(kind, source.data, count, bits, points).astype(dtype, copy=False).reshape(shape)
        if kind.startswith("FSE"):
            whole = decode_fse(source.data, count, integer=kind == "FSE_INT")
            return whole.astype(dtype, copy=False).reshape(shape)
        if kind not in ("NONE", "BITPACKING"):
            raise UnsupportedError(f"compression {kind} is not read", file=file, node=name)
        if quant is not None and bits not in (8, 16, 32) and len(source.data) == packing.packed_size(count, bits):
            return packing.unpack(source.data, count, bits).astype(dtype, copy=False).reshape(shape)
    except ModelError as error:
        raise ModelError(str(error), file=file, node=name) from error
    if len(source.data) != count * dtype.itemsize:
        raise ModelError(
            f"holds {len(source.data)} bytes where {dtype} {list(shape)} needs {count * dtype.itemsize}",
            file=file,
            node=name,
        )
    return np.frombuffer(source.data, dtype).reshape(shape)


def write_tensor(t: Tensor, layout: int, weight_only: bool, encode: bool) -> dict[str, Any]:
    """An IR tensor → the fields of a `Tensor` table.

    Args:
        layout: Format number. weight_only: the constant is de-quantized at load. encode: its codes, and those of less
            than 16 bits that an integer layer reads, take the smallest form, which is undone at load.
    """
    stored = t.data if t.data is not None else None
    if stored is not None and stored.dtype == np.int64:
        stored = _narrowed(stored, t.name)
    dtype = np.dtype(t.dtype if stored is None else stored.dtype)
    if dtype.newbyteorder("<") not in NUMBERS:
        raise UnsupportedError(f"{t.name}: type {dtype} is not in MindSpore Lite")
    fields: dict[str, Any] = {
        "name": t.name,
        "dataType": NUMBERS[dtype.newbyteorder("<")],
        "nodeType": 0 if stored is not None else 2,
        "format": layout,
    }
    if t.shape is not None and len(t.shape):
        fields["dims"] = np.array([-1 if d is None else d for d in t.shape], np.int32)
    q = t.quant
    # An int32 bias needs no parameters of its own: they are the product of its neighbours'.
    if q is not None and dtype.kind in "iu" and dtype.itemsize < 4:
        rows = ms_schema.SCHEMA.row_array(
            "QuantParam", len(q.scale), scale=q.scale, zeroPoint=q.zero_point, numBits=q.bits
        )
        _put_correction(rows, q, weight_only)
        fields["quantParams"] = rows
    if stored is None:
        return fields
    if q is not None and dtype.kind == "i" and encode and (weight_only or q.bits < 16):
        kind, data = sparse.smallest(np.ascontiguousarray(stored), q.bits, q.zero_point, q.axis)
        fields["weightQuantCompressType"], fields["data"] = _COMPRESS[kind], data
    elif q is not None and dtype.kind == "i" and q.bits < 8:
        kind, fields["data"] = "BITPACKING", packing.pack(np.ascontiguousarray(stored), q.bits)
        fields["weightQuantCompressType"] = _COMPRESS[kind]
    else:
        fields["data"] = stored
    return fields


def holds_correction(q: QuantParam) -> bool:
    """Whether `QuantParam` rows can say what `q` says: readers leave the mean of a single row alone."""
    return len(q.scale) > 1 or q.axis is None or q.mean_corr is None or not q.mean_corr.any()


def _put_correction(rows: np.ndarray, q: QuantParam, weight_only: bool) -> None:
    """The correction of a per-channel weight; a single row is read per tensor, without one, so its scale holds it.

    Without a var_corr of its own the scale is stored as varCorr, a float32: scale, a double, then keeps its default and
    takes no bytes (12 less a channel than the real converter's rows)."""
    if len(rows) == 1:
        if q.axis is not None and q.var_corr is not None:
            rows["scale"] *= q.var_corr
        return
    if q.mean_corr is not None:
        rows["meanCorr"] = q.mean_corr
    if q.var_corr is not None:
        rows["varCorr"] = q.var_corr
    elif weight_only and (q.scale > 0).all() and (q.scale < 10).all() and (q.scale.astype(np.float32) == q.scale).all():
        rows["scale"], rows["varCorr"] = 1.0, q.scale


def _narrowed(value: np.ndarray, name: str) -> np.ndarray:
    """int64 constants (shapes, indices) as the int32 that the runtime's kernels take; "to the end" values saturate."""
    limits = np.iinfo(np.int32)
    if value.size and (value.max() > 2 * limits.max or value.min() < 2 * limits.min) and abs(value).max() < 2**62:
        raise UnsupportedError(f"{name}: an int64 constant does not fit the int32 that MindSpore Lite computes with")
    return np.asarray(np.clip(value, limits.min, limits.max), np.int32)
