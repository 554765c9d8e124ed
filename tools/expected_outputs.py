"""Outputs as text, in the format of MindSpore Lite's benchmarkDataFile."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping

import numpy as np

from ..converter.errors import DataError
from ..converter.formats.files import open_regular
from ..converter.formats.outputs import write_atomic

MAX_ELEMENTS = 1 << 31


def read_expected(path: str | os.PathLike[str], kind: str = "FLOAT") -> dict[str, np.ndarray]:
    """Reads a benchmarkDataFile: per tensor a line "name ndims d0 d1 ..." and a line with all values.

    kind is FLOAT, or INT32, INT8, UINT8 for values that must be whole and fit that type.

    Blank lines are skipped; of a name given twice the first counts, as in the real tool. Values are float64, so that
    integers keep their digits.

    Raises:
        DataError: file and line, and what is wrong.
    """
    shown = os.fspath(path)
    expected: dict[str, np.ndarray] = {}
    try:
        with io.TextIOWrapper(open_regular(path), encoding="utf-8") as stream:
            lines = enumerate(stream, 1)
            for number, line in lines:
                if not line.strip():
                    continue
                name, shape = _head(line, f"{shown}:{number}")
                number, values = next(lines, (number + 1, ""))
                array = _values(values, shape, f"{shown}:{number}", name)
                expected.setdefault(name, array)
    except UnicodeDecodeError:
        raise DataError(
            f"{shown}: is not text; a benchmarkDataFile is, e.g. 'out 2 1 10' and a line of values"
        ) from None
    except OSError as error:
        raise DataError(f"{shown}: {error.strerror or error}") from None
    if not expected:
        raise DataError(f"{shown}: holds no tensors")
    for name, array in expected.items():
        limits = None if kind == "FLOAT" else np.iinfo(kind.lower())
        if limits and array.size and ((array % 1).any() or array.min() < limits.min or array.max() > limits.max):
            raise DataError(f"{shown}: {name} holds values that are no {kind}", hint="--benchmarkDataType=FLOAT")
    return expected


def _head(line: str, here: str) -> tuple[str, tuple[int, ...]]:
    """Parses "name ndims d0 d1 ..."; the name may hold blanks as long as the numbers at the end add up."""
    words = line.split()
    for at in range(1, len(words)):
        if words[at].isascii() and words[at].isdigit() and len(words[at]) < 3 and int(words[at]) == len(words) - at - 1:
            sizes = words[at + 1 :]
            if all(size.isascii() and size.isdigit() and len(size) < 12 for size in sizes):
                return " ".join(words[:at]), tuple(int(size) for size in sizes)
    text = line.strip() if len(line) < 80 else line.strip()[:77] + "..."
    raise DataError(f"{here}: {text!r} is not 'name ndims d0 d1 ...' with as many sizes as ndims says")


def _values(line: str, shape: tuple[int, ...], here: str, name: str) -> np.ndarray:
    size = math.prod(shape)
    if size > MAX_ELEMENTS:
        raise DataError(f"{here}: {name} has {size} elements by its sizes")
    words = line.split()
    if len(words) != size:
        raise DataError(f"{here}: {name} has {len(words)} values, and its sizes {list(shape)} want {size}")
    try:
        return np.array(words, np.float64).reshape(shape)
    except ValueError as error:
        raise DataError(f"{here}: {name}: {error}") from None


def write_expected(path: str | os.PathLike[str], outputs: Mapping[str, np.ndarray]) -> None:
    """Writes outputs as a benchmarkDataFile; float32 values survive the round trip exactly.

    Raises:
        DataError: a name that the format cannot hold. OutputError: an unwritable path.
    """
    with write_atomic(path) as stream:
        for name, value in outputs.items():
            array = np.asarray(value)
            if not name.strip() or name != " ".join(name.split()):
                raise DataError(f"{name!r} cannot stand in a benchmarkDataFile: blanks at its ends or in a row")
            form = "{:.9g}" if array.dtype.kind == "f" else "{:d}"
            flat = array.ravel() if array.dtype.kind != "b" else array.ravel().astype(np.int8)
            head = " ".join([name, str(array.ndim), *map(str, array.shape)])
            stream.write(f"{head}\n{' '.join(map(form.format, flat.tolist()))}\n".encode())
