"""Fitting one array to one model input: shape (batch dimension, stacks of samples), dtype, finite values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...converter.errors import DataError

Dim = int | str | None
_TO_OTHER = {"NHWC": ("NCHW", (0, 3, 1, 2)), "NCHW": ("NHWC", (0, 2, 3, 1))}


@dataclass(frozen=True)
class InputSpec:
    """An input of a model: its shape (a str, None or -1 is a free size), dtype, and layout "NHWC", "NCHW" or "".

    `delivers` is the layout in which the graph wants its arrays when samples come in another one (shape and layout say
    how they come): an ONNX model that becomes a `.ms` is calibrated with NHWC files, and runs NCHW inside.
    """

    name: str
    shape: tuple[Dim, ...]
    dtype: np.dtype
    layout: str = ""
    delivers: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(dim if is_fixed(dim) else None for dim in self.shape))
        object.__setattr__(self, "dtype", np.dtype(self.dtype))

    @property
    def turn(self) -> tuple[int, ...] | None:
        """The permutation from the samples' layout to the graph's; None when they are the same."""
        if len(self.shape) != 4 or not self.delivers or self.delivers == self.layout:
            return None
        return (0, 3, 1, 2) if self.delivers == "NCHW" else (0, 2, 3, 1)

    def other(self) -> InputSpec | None:
        """Returns the input as samples in the other layout have it; None where the graph's is not known."""
        wanted = self.delivers or self.layout
        if len(self.shape) != 4 or self.layout not in _TO_OTHER:
            return None
        layout, axes = _TO_OTHER[self.layout]
        return InputSpec(self.name, tuple(self.shape[i] for i in axes), self.dtype, layout, wanted)

    def own(self) -> InputSpec:
        """Returns the input as the graph has it."""
        if self.turn is None:
            return self
        return InputSpec(self.name, tuple(self.shape[i] for i in self.turn), self.dtype, self.delivers)

    @property
    def fixed_shape(self) -> tuple[int, ...] | None:
        """The shape of one sample, a free first dimension taken as 1; None when another one is free."""
        sizes = [1 if i == 0 and dim is None else dim for i, dim in enumerate(self.shape)]
        known = tuple(n for n in sizes if n is not None and not isinstance(n, str))
        return known if len(known) == len(sizes) else None

    @property
    def batch(self) -> int:
        """Samples that one run of the model takes."""
        return self.shape[0] if self.shape and isinstance(self.shape[0], int) else 1

    def __str__(self) -> str:
        return f"{self.dtype} {show_shape(self.shape)}"


def is_fixed(dim: Any) -> bool:
    return isinstance(dim, (int, np.integer)) and not isinstance(dim, bool) and int(dim) >= 0


def show_shape(shape: Sequence[Dim]) -> str:
    return "[" + ",".join("?" if dim is None else str(dim) for dim in shape) + "]"


def samples_in(shape: Sequence[int], item: InputSpec, here: str) -> int:
    """Returns how many samples an array of this shape holds for the input.

    The shape may be the model's, the model's without its batch dimension, a stack of samples along the first axis, or
    the same number of values in one dimension; in the layout of samples, or the other where only that has these sizes.

    Raises:
        DataError: it is none of these.
    """
    return _form(shape, item, here)[0]


def _form(shape: Sequence[int], item: InputSpec, here: str) -> tuple[int, InputSpec]:
    """Returns the number of samples, and the input in the layout that the shape has."""
    for known in (item, item.other()):
        if known is not None and (count := _count(shape, known)):
            return count, known
    got = show_shape(list(shape))
    raise DataError(f"{here}: shape {got} does not fit the input {item.name!r} {item}", hint=_reason(shape, item))


def _count(shape: Sequence[int], item: InputSpec) -> int:
    """Returns the number of samples in one layout, 0 when the shape does not fit."""
    wanted, rank = item.shape, len(item.shape)
    if len(shape) == rank and _same(shape[1:], wanted[1:]):
        if rank == 0 or (rank == 1 and wanted[0] is None):
            return 1
        if item.batch and shape[0] and shape[0] % item.batch == 0:
            return shape[0] // item.batch
    if rank and len(shape) == rank - 1 and item.batch == 1 and _same(shape, wanted[1:]):
        return 1
    if len(shape) == rank + 1 and rank and _same(shape[1:], wanted):
        return shape[0]
    fixed = item.fixed_shape
    return int(len(shape) == 1 and fixed is not None and shape[0] == int(np.prod(fixed)))


def _same(shape: Sequence[int], wanted: Sequence[Dim]) -> bool:
    return len(shape) == len(wanted) and all(want is None or size == want for size, want in zip(shape, wanted))


def _reason(shape: Sequence[int], item: InputSpec) -> str:
    """Returns a hint when the array has the other layout."""
    inner, wanted = tuple(shape)[-3:], item.shape[-3:]
    if len(inner) == 3 and len(item.shape) == 4:
        if _same((inner[1], inner[2], inner[0]), wanted):
            return "a transpose to NHWC: the array looks like NCHW"
        if _same((inner[2], inner[0], inner[1]), wanted):
            return "a transpose to NCHW: the array looks like NHWC"
    return ""


def split_stack(array: Any, item: InputSpec, here: str) -> _Stack:
    """Returns the samples of a stacked array as a lazy sequence. Raises as `samples_in` and `fit`."""
    stacked = as_array(array, here)
    return _Stack(stacked, samples_in(stacked.shape, item, here), item, here)


class _Stack:
    """Samples along the first axis of an array (possibly memory-mapped), fitted one by one."""

    def __init__(self, array: np.ndarray, count: int, item: InputSpec, here: str) -> None:
        self.array, self.count, self.item, self.here = array, count, item, here

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Any:
        if self.count == 1:
            yield fit(self.array, self.item, self.here)
            return
        step = len(self.array) // self.count
        for number in range(self.count):
            part = self.array[number * step : (number + 1) * step]
            yield fit(part, self.item, f"{self.here}, sample {number}")


def as_array(value: Any, here: str) -> np.ndarray:
    """Returns `value` as a numeric array. Raises DataError for text, objects and ragged lists."""
    if callable(getattr(value, "detach", None)) and callable(getattr(value, "cpu", None)):
        value = value.detach().cpu()  # torch's, with a gradient or on another device
    elif callable(getattr(value, "asnumpy", None)):
        value = value.asnumpy()  # MindSpore's
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(f"{here}: is not an array: {error}") from None
    if array.dtype.kind not in "biuf":
        raise DataError(f"{here}: holds {array.dtype}, not numbers")
    return array


def fit(value: Any, item: InputSpec, here: str) -> np.ndarray:
    """Returns one sample in the input's shape and dtype, C-contiguous.

    Raises:
        DataError: shape, values that the dtype cannot hold, NaN or infinity.
    """
    array = as_array(value, here)
    count, known = _form(array.shape, item, here)
    if count != 1:
        raise DataError(f"{here}: shape {show_shape(list(array.shape))} holds several samples of {item}")
    array = _shaped(convert(array, item.dtype, here), known)
    if known.turn is not None:
        array = array.transpose(known.turn)
    return np.asarray(array, order="C")  # unlike ascontiguousarray, keeps a scalar one


def _shaped(array: np.ndarray, item: InputSpec) -> np.ndarray:
    """Returns one sample with the input's rank."""
    rank = len(item.shape)
    if array.ndim == rank and _same(array.shape[1:], item.shape[1:]):
        return array
    if array.ndim == rank - 1 and _same(array.shape, item.shape[1:]):
        return array[None]
    if array.ndim == rank + 1:
        return array[0]
    return array.reshape(item.fixed_shape or array.shape)


def convert(array: np.ndarray, dtype: np.dtype, here: str) -> np.ndarray:
    """Returns the values in `dtype`, checked: finite for floats, in range and whole for integers."""
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array)
        if bad.any():
            first = np.unravel_index(int(np.argmax(bad)), array.shape)
            value = array[first]
            raise DataError(
                f"{here}: {int(bad.sum())} value(s) are NaN or infinite, the first ({value}) at {_index(first)}"
            )
    if array.dtype == dtype:
        return array
    if dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        if array.dtype.kind == "f" and (array != np.rint(array)).any():
            raise DataError(f"{here}: the model wants {dtype}, and the values are not whole numbers")
        low, high = array.min(), array.max()
        if low < limits.min or high > limits.max:
            raise DataError(f"{here}: values {low}..{high} do not fit {dtype} ({limits.min}..{limits.max})")
    with np.errstate(over="ignore"):
        converted = array.astype(dtype)
    if dtype.kind == "f" and array.dtype.kind == "f" and not np.isfinite(converted).all():
        raise DataError(f"{here}: values up to {np.abs(array).max():g} are too large for {dtype}")
    return converted


def _index(position: Sequence[Any]) -> str:
    return "[" + ",".join(str(int(i)) for i in position) + "]"
