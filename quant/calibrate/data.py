"""Calibration data: directories, files, arrays or functions in; one dict of arrays per sample out, as the model has it.

A `Dataset` checks names, counts, sizes and types before any work, reads one sample at a time (memory does not grow with
their number), may be iterated as often as needed, and gives the same order on every file system.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from numbers import Number
from typing import Any

import numpy as np

from ...converter.errors import DataError
from ...converter.surgery.image_steps import ImageSpec, Pixels
from ...converter.text import nearest
from ..score import Scoring
from .data_files import Column, ColumnPart, FileColumn, ImageSteps, open_columns, read_part, unsaid
from .fit import InputSpec, fit, samples_in, split_stack
from .pixels import PixelArrays, joined_planes, pixel_arrays

__all__ = ["DataSpec", "Dataset", "InputSpec"]


@dataclass(frozen=True)
class DataSpec:
    """Where samples come from and what is done to them.

    paths: input name, or position, → directory, file, or files. source: arrays or a function, from Python, instead.
    count: samples to take; strict: fewer than that is an error rather than a warning. where, count_where: the flags or
    config lines, for error messages.
    """

    paths: Mapping[str | int, str | tuple[str, ...]] = field(default_factory=dict)
    source: Any = None
    count: int = 100
    strict: bool = False
    input_type: str = ""
    image: ImageSpec = field(default_factory=ImageSpec)
    stage: str = ""
    pixels: Pixels = field(default_factory=Pixels)
    where: str = "calibration data"
    count_where: str = "calibrate_size"

    @property
    def steps(self) -> ImageSteps:
        """What is done to images, and to arrays of pixels; see `ImageSteps`."""
        return ImageSteps(self.image, self.input_type, self.stage, self.pixels)


Shard = Mapping[str, ColumnPart] | Sequence[dict[str, np.ndarray]]
"""Some samples: by input where they are in files, or themselves, where they come from Python."""


def read_shard(shard: Shard) -> Iterator[dict[str, np.ndarray]]:
    """Yields the samples, in order. Raises DataError: the file and what is wrong with it."""
    if not isinstance(shard, Mapping):
        yield from shard
        return
    for row in zip(*map(read_part, shard.values())):
        yield dict(zip(shard, row))


class Dataset:
    """Samples for the inputs of a model.

    Iterating yields {input name: array in the model's shape and dtype}; a free batch dimension becomes 1. `notes` holds
    plain sentences a user should know (fewer samples than asked, files left out). `scoring` is what outputs on the
    samples are scored by, where there are labels or a metric.

    Raises:
        DataError: on construction and while iterating; file, what is wrong, what the model wants.
    """

    def __init__(self, spec: DataSpec, inputs: Sequence[InputSpec]) -> None:
        if not inputs:
            raise DataError(f"{spec.where}: the model has no inputs to calibrate")
        self.spec, self.inputs = spec, tuple(inputs)
        self.notes: list[str] = []
        self.scoring: Scoring | None = None
        self.available: int | None = None  # samples there are, where that is known without reading them
        self._length: int | None = None
        self._passes: Callable[[], Iterator[dict[str, np.ndarray]]]
        self._keep: Any = None
        self._columns: list[FileColumn] = []
        self._raw: dict[str, PixelArrays] = {}
        if spec.source is not None:
            self._find_raw()
            self._open_source(spec.source)
        else:
            self._open_paths()

    def __len__(self) -> int:
        """Number of samples; a function or an unsized iterable is run once to count them."""
        if self._length is None:
            self._length = sum(1 for _ in self)
        return self._length

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        number = 0
        for sample in self._passes():
            if number == self.spec.count:
                break
            number += 1
            yield sample
        if number == 0:
            raise DataError(f"{self.spec.where}: holds no samples")
        self._length = number

    def file_names(self) -> list[str]:
        """Of the samples of the first input, where each is a file; else none."""
        column = self._columns[0] if self._columns else None
        if column is None or len(column.files) != len(column):
            return []
        return [os.path.basename(file) for file in column.files[: len(self)]]

    def only(self, rows: Collection[int]) -> Iterator[dict[str, np.ndarray]]:
        """Yields the samples of these numbers, in order."""
        if self._columns:
            yield from read_shard(self._parts(rows))
            return
        wanted = set(rows)
        for number, sample in enumerate(self):
            if number in wanted:
                yield sample

    def shards(self, parts: Iterable[Sequence[int]]) -> Iterator[Shard]:
        """Yields the samples of each list of numbers, which rise from list to list, as another process takes them."""
        if self._columns:
            for rows in parts:
                yield {name: part.placed() for name, part in self._parts(rows).items()}
            return
        numbered = enumerate(self)
        for rows in parts:
            wanted, last = set(rows), rows[-1]
            held = []
            for number, sample in numbered:
                if number in wanted:
                    held.append(sample)
                if number == last:
                    break
            yield held

    def _parts(self, rows: Collection[int]) -> dict[str, ColumnPart]:
        return {item.name: column.part(rows) for item, column in zip(self.inputs, self._columns)}

    def batches(self, size: int) -> Iterator[dict[str, np.ndarray]]:
        """Yields samples joined along axis 0, `size` at a time, the last batch as small as it comes."""
        waiting: list[dict[str, np.ndarray]] = []
        for sample in self:
            waiting.append(sample)
            if len(waiting) == size:
                yield _join(waiting)
                waiting = []
        if waiting:
            yield _join(waiting)

    def _open_paths(self) -> None:
        spec = self.spec
        columns = self._columns = open_columns(self._paths_by_input(), spec.steps, spec.where)
        counts = [len(column) for column in columns]
        for column, other in zip(columns[1:], self.inputs[1:]):
            if len(column) != counts[0]:
                raise DataError(
                    f"{spec.where}: {counts[0]} samples for input {self.inputs[0].name!r} ({columns[0].path}) and "
                    f"{len(column)} for {other.name!r} ({column.path})",
                )
        _check_pairs(columns, spec.where)
        available = self.available = counts[0]
        if available < spec.count:
            text = f"{spec.count_where}: {spec.count} samples are asked for and {columns[0].path} holds {available}"
            if spec.strict:
                raise DataError(text, hint=f"calibrate_size={available}")
            self.notes.append(text)
        elif available > spec.count:
            self.notes.append(f"{columns[0].path}: the first {spec.count} of {available} samples are used")
        self._length = min(available, spec.count)
        names = [item.name for item in self.inputs]

        def passes() -> Iterator[dict[str, np.ndarray]]:
            for row in zip(*columns):
                yield dict(zip(names, row))

        self._passes = passes

    def _paths_by_input(self) -> list[tuple[InputSpec, str | tuple[str, ...]]]:
        """Returns the directory of each input, in the model's order."""
        spec, names = self.spec, [item.name for item in self.inputs]
        listed = ", ".join(map(repr, names))
        paths: dict[str, str | tuple[str, ...]] = {}
        for key, path in spec.paths.items():
            if isinstance(key, int):
                if key >= len(names):
                    raise DataError(f"{spec.where}: {len(spec.paths)} directories and {len(names)} input(s): {listed}")
                key = names[key]
            if key not in names:
                near = nearest(key, names)
                raise DataError(
                    f"{spec.where}: {key!r} is not an input of the model; its inputs are {listed}", hint=near
                )
            paths[key] = path
        only = next(iter(paths.values()), "")
        if len(paths) == 1 and len(names) > 1 and _holds_npz(only):
            return [(item, only) for item in self.inputs]
        missing = [name for name in names if name not in paths]
        if missing:
            hint = "one directory per input" + (", or one of .npz files that hold every input" if paths else "")
            raise DataError(
                f"{spec.where}: nothing is given for input {missing[0]!r}; the inputs are {listed}", hint=hint
            )
        return [(item, paths[item.name]) for item in self.inputs]

    def _find_raw(self) -> None:
        """Which inputs get pixels from Python."""
        steps = self.spec.steps
        raw = {item.name: pixel_arrays(item, steps.image, steps.pixels, steps.stage) for item in self.inputs}
        self._raw = {name: arrays for name, arrays in raw.items() if arrays is not None}
        if self._raw and steps.stage == "unsaid":
            raise unsaid(self.spec.where)

    def _taken(self) -> dict[str, InputSpec]:
        """What an array from Python holds for each input."""
        return {t.name: self._raw[t.name].stored if t.name in self._raw else t for t in self.inputs}

    def _ready(self, row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if not self._raw:
            return row
        return {n: self._raw[n].ready(a, f"{self.spec.where}, {n!r}") if n in self._raw else a for n, a in row.items()}

    def _open_source(self, source: Any) -> None:
        """Sets up Python data: a stacked array, a dict of them, an iterable, a one-shot iterator, a function."""
        names = [item.name for item in self.inputs]
        if isinstance(source, np.ndarray):
            source = {names[0]: source} if len(names) == 1 else [source]
        if isinstance(source, Mapping):
            stacks = self._by_name(source, "calibration_data")
            split = {n: split_stack(stacks[n], t, f"calibration_data[{n!r}]") for n, t in self._taken().items()}
            counts = {name: len(parts) for name, parts in split.items()}
            if len(set(counts.values())) > 1:
                raise DataError(f"calibration_data: the inputs have different numbers of samples: {counts}")
            self._size(next(iter(counts.values())))
            rows = lambda: (dict(zip(names, row)) for row in zip(*(split[name] for name in names)))  # noqa: E731
            self._passes = lambda: map(self._ready, rows())
            return
        if callable(getattr(source, "get_next", None)):  # onnxruntime's CalibrationDataReader
            source = iter(source.get_next, None)
        if not isinstance(source, Iterable) and isinstance(source, Sized) and hasattr(source, "__getitem__"):
            source = _Numbered(source)
        if not callable(source) and not isinstance(source, Iterable):
            raise DataError(f"calibration_data: a {type(source).__name__} is not an iterable, a function or a path")
        if isinstance(source, Iterator):
            self._keep = _Spool(self._fitted(source), self.spec.count)
            self._size(len(self._keep))
            self._passes = lambda: iter(self._keep)
            return
        if not callable(source) and isinstance(source, Sized) and self._alone(source):
            self._size(len(source))
        self._passes = lambda: self._fitted(source() if callable(source) else source)

    def _size(self, available: int) -> None:
        self.available = available
        if available > self.spec.count:
            self.notes.append(f"calibration_data: the first {self.spec.count} of {available} samples are used")
        elif (
            available < self.spec.count and "calibrate_size" in self.spec.count_where and "arg" in self.spec.count_where
        ):
            self.notes.append(f"calibration_data: {self.spec.count} samples are asked for and {available} are given")
        if not available:
            raise DataError("calibration_data: holds no samples")
        self._length = min(available, self.spec.count)

    def _alone(self, source: Iterable[Any]) -> bool:
        """Whether each item is one sample, rather than a batch of them; told from the first."""
        first = next(iter(source), None)
        return first is None or self._rows(self._by_name(first, "calibration_data, sample 0"), "") == 1

    def _rows(self, arrays: Mapping[str, Any], here: str) -> int:
        """How many samples the arrays hold along their first axes; 1 where they do not agree."""
        counts = set()
        for item in self.inputs:
            try:
                counts.add(samples_in(np.shape(arrays[item.name]), self._taken()[item.name], here))
            except (DataError, ValueError, TypeError):
                return 1
        return counts.pop() if len(counts) == 1 else 1

    def _fitted(self, source: Any) -> Iterator[dict[str, np.ndarray]]:
        if not isinstance(source, Iterable):
            raise DataError(f"calibration_data: the function returned a {type(source).__name__}, not an iterable")
        for number, sample in enumerate(source):
            here = f"calibration_data, sample {number}"
            arrays = self._by_name(sample, here)
            if self._rows(arrays, here) == 1:
                yield self._ready(
                    {n: fit(arrays[n], item, f"{here}, input {n!r}") for n, item in self._taken().items()}
                )
                continue
            stacks = [split_stack(arrays[n], item, f"{here}, input {n!r}") for n, item in self._taken().items()]
            for row in zip(*stacks):
                yield self._ready(dict(zip((item.name for item in self.inputs), row)))

    def _with_frames(self, sample: Mapping[str, Any], here: str) -> Mapping[str, Any]:
        """Frames of NV12 in the place of planes under the names that they have in the written model."""
        made = dict(sample)
        for name, arrays in self._raw.items():
            planes = (f"{name}_y", f"{name}_uv")
            if arrays.pixels is not None and arrays.pixels.format == "NV12" and all(p in made for p in planes):
                made[name] = joined_planes(made.pop(planes[0]), made.pop(planes[1]), here)
        return made

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _by_name(self, sample: Any, here: str) -> Mapping[str, Any]:
        """Returns input name → array of one sample given as a dict, a list in the model's order, or one array.

        What a training loop feeds along is left out: keys that are no input, and values behind those of the inputs.
        """
        names = [item.name for item in self.inputs]
        listed = ", ".join(map(repr, names))
        if isinstance(sample, Mapping):
            sample = self._with_frames(sample, here)
            missing = [name for name in names if name not in sample]
            other = [name for name in sample if name not in names]
            if missing:
                what = f"{other[0]!r} is not an input of the model" if other else f"input {missing[0]!r} is missing"
                raise DataError(f"{here}: {what}; the inputs are {listed}")
            if other:
                self._note(f"calibration_data: {', '.join(map(repr, other))} is no input and is not used")
            return sample
        if isinstance(sample, (list, tuple)) and len(sample) == 2 and isinstance(sample[0], (Mapping, list, tuple)):
            nested = isinstance(sample[0], Mapping) or (len(names) > 1 and len(sample[0]) == len(names))
            if nested and _is_label(sample[1]):
                self._note("calibration_data: the second value of each sample is no input and is not used")
                return self._by_name(sample[0], here)
        if isinstance(sample, (list, tuple)) and len(sample) == len(names) + 1 and _with_label(sample):
            self._note(f"calibration_data: the last of {len(sample)} values of each sample is no input and is not used")
            sample = sample[: len(names)]
        several = isinstance(sample, (list, tuple)) and len(sample) == len(names)
        if several and (len(names) > 1 or _is_array(sample[0])):
            return dict(zip(names, sample))
        if len(names) == 1:
            return {names[0]: sample}
        raise DataError(f"{here}: one array is given and the model has {len(names)} inputs: {listed}", hint="a dict")


class _Numbered:
    """The samples of what has them by number, as torch's Dataset."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[Any]:
        return (self._source[k] for k in range(len(self._source)))


def _is_array(value: Any) -> bool:
    """Whether the value is an array or tensor, rather than numbers in lists."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _is_label(value: Any) -> bool:
    return _is_array(value) or isinstance(value, (Number, str))


def _with_label(sample: Sequence[Any]) -> bool:
    """Whether the last value goes with those before, which are arrays."""
    return all(map(_is_array, sample[:-1])) and _is_label(sample[-1])


def _join(samples: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}


def _holds_npz(path: str | tuple[str, ...]) -> bool:
    if isinstance(path, tuple):
        return any(name.endswith(".npz") for name in path)
    if path.endswith(".npz"):
        return True
    try:
        return any(name.endswith(".npz") for name in os.listdir(path))
    except OSError:
        return False


def _check_pairs(columns: Sequence[Column], where: str) -> None:
    """Refuses files of two inputs that carry the same names in different places: a sample is missing somewhere."""
    first = columns[0]
    for other in columns[1:]:
        if not isinstance(first, FileColumn) or not isinstance(other, FileColumn) or first.path == other.path:
            continue
        mine, theirs = first.stems(), other.stems()
        if not set(mine) & set(theirs):
            continue
        for number, (a, b) in enumerate(zip(mine, theirs)):
            if a != b:
                raise DataError(f"{where}: sample {number} pairs {first.path}/{a} with {other.path}/{b}")


class _Spool:
    """Samples of a one-shot iterator, kept in a temporary file so that they can be read again."""

    def __init__(self, samples: Iterable[dict[str, np.ndarray]], count: int) -> None:
        import tempfile

        self._folder = tempfile.TemporaryDirectory(prefix="bitlite-")
        self._path, self._length = os.path.join(self._folder.name, "samples"), 0
        try:
            with open(self._path, "wb") as stream:
                for sample in samples:
                    self._names = list(sample)
                    for array in sample.values():
                        np.lib.format.write_array(stream, array, allow_pickle=False)
                    self._length += 1
                    if self._length == count:
                        break
        except OSError as error:
            raise DataError(f"calibration_data: cannot be kept in {self._folder.name}: {error.strerror}") from None

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        with open(self._path, "rb") as stream:
            for _ in range(self._length):
                yield {name: np.lib.format.read_array(stream, allow_pickle=False) for name in self._names}
