"""What a benchmark feeds: random values, files, a directory of samples; and the same values for a second model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..converter.errors import DataError, UsageError
from ..converter.numeric.qparams import dequantize, quantize
from ..native.session import Port, Session
from ..quant.calibrate.remote_files import is_folder

if TYPE_CHECKING:
    from ..quant.calibrate.data import Dataset
    from ..quant.calibrate.fit import InputSpec
    from .options.benchmark import BenchOptions

Feed = dict[str, np.ndarray]


def load_model(path: str, options: BenchOptions, weights: str | None = None) -> Session:
    """A session on a model file with the sizes that the options ask for; an open first size becomes 1. weights: of a
    .prototxt, where they are not beside it."""
    from ..native.load import load

    packed = options.keep_packed
    session = load(path, options.num_threads, shapes=options.input_shapes, keep_packed=packed, weights=weights)
    open_inputs = {p.name: shape_of(p) for p in session.inputs if p.shape is None or None in p.shape}
    if not open_inputs:
        return session
    shapes = {**options.input_shapes, **open_inputs}
    return load(path, options.num_threads, shapes=shapes, keep_packed=packed, weights=weights)


def shape_of(port: Port) -> tuple[int, ...]:
    """The sizes to feed: those declared, 1 for an open first one. Raises DataError when others are open."""
    if port.shape is None or None in port.shape[1:]:
        known = "of unknown rank" if port.shape is None else [d if d is not None else "?" for d in port.shape]
        raise DataError(f"input {port.name!r} is {known}", hint=f'--inputShapes="{port.name}:1,..." with all its sizes')
    return tuple(1 if d is None else d for d in port.shape)


def random_feed(ports: Sequence[Port], seed: int) -> Feed:
    """Floats in [0.1, 1) as the real tool makes them, 8-bit integers over their range, wider ones 0 or 1."""
    rng = np.random.default_rng(seed)
    return {port.name: _random(rng, port) for port in ports}


def _random(rng: np.random.Generator, port: Port) -> np.ndarray:
    shape = shape_of(port)
    if port.dtype.kind == "f":
        return rng.uniform(0.1, 1, shape).astype(port.dtype)
    if port.dtype.kind in "iu" and port.dtype.itemsize == 1:
        limits = np.iinfo(port.dtype)
        return rng.integers(limits.min, limits.max, shape, port.dtype, endpoint=True)
    return rng.integers(0, 2, shape).astype(port.dtype)


def sample_files(options: BenchOptions) -> list[str]:
    """Names of the files of the first inDataFile, in the order in which they are fed."""
    from ..quant.calibrate.data_files import list_files

    return [os.path.basename(path) for path in list_files(options.in_data_file[0], "--inDataFile")]


def file_feeds(options: BenchOptions, ports: Sequence[Port]) -> Iterator[Feed]:
    """One feed per sample of the files or directories given.

    Raises:
        DataError: a file is missing, or does not fit its input; names the file, its size and what is wanted.
    """
    return iter(file_samples(options, ports))


def file_samples(options: BenchOptions, ports: Sequence[Port]) -> Dataset:
    """The samples of the files or directories given; images may be in either layout where their sizes tell.

    Raises:
        DataError: a file is missing, or does not fit its input; names the file, its size and what is wanted.
    """
    from ..quant.calibrate.data import Dataset, DataSpec

    paths = options.in_data_file
    whole = len(paths) == 1 and is_folder(paths[0])  # perhaps of .npz files that hold every input
    if len(paths) > len(ports) or (len(paths) < len(ports) and not whole):
        names = ", ".join(repr(port.name) for port in ports)
        given = f"{len(paths)} file{'s' * (len(paths) != 1)}"
        raise UsageError(
            f"--inDataFile names {given}, the model has {len(ports)} input(s): {names}",
            hint="one file for each, in this order",
        )
    spec = DataSpec(dict(enumerate(paths)), count=10**9, where="--inDataFile")
    return Dataset(spec, input_specs(ports))


def input_specs(ports: Sequence[Port]) -> list[InputSpec]:
    """What calibration knows of inputs."""
    from ..quant.calibrate.fit import InputSpec

    return [InputSpec(port.name, port.shape or (), port.dtype, port.layout) for port in ports]


def layout_warnings(feed: Mapping[str, np.ndarray], ports: Sequence[Port]) -> list[str]:
    """What is said of images whose values lie as the other layout has them."""
    from ..quant.calibrate.data_lint import looks_turned

    items = [item for item in input_specs(ports) if np.dtype(item.dtype).kind == "f"]
    return list(filter(None, (looks_turned(item, feed[item.name]) for item in items)))


def typed_feed(feed: Mapping[str, np.ndarray], ports: Sequence[Port]) -> Feed:
    """Values in the layout of the ports as their types: codes where a port takes them."""
    return {p.name: _typed(feed[p.name], p) for p in ports}


def feed_for(feed: Mapping[str, np.ndarray], given: Sequence[Port], wanted: Sequence[Port]) -> Feed:
    """The values of one model's inputs as another model takes them: layout, type and name.

    Raises:
        UsageError: the models' inputs do not correspond.
    """
    partner = partners(given, wanted, "inputs")
    return {port.name: _typed(_turned(real(feed[p.name], p), p, port), port) for p, port in zip(partner, wanted)}


def outputs_like(outputs: Mapping[str, np.ndarray], given: Sequence[Port], wanted: Sequence[Port]) -> Feed:
    """One model's outputs as reals under the names and in the layout of another's."""
    partner = partners(given, wanted, "outputs")
    return {port.name: _turned(real(outputs[p.name], p), p, port) for p, port in zip(partner, wanted)}


def real_outputs(outputs: Mapping[str, np.ndarray], ports: Sequence[Port]) -> Feed:
    """Outputs as the reals that they stand for."""
    return {p.name: real(outputs[p.name], p) for p in ports}


def partners(given: Sequence[Port], wanted: Sequence[Port], what: str) -> list[Port]:
    """For each wanted port the given one of its name, or, where names differ, of its position."""
    names = {p.name: p for p in given}
    if all(p.name in names for p in wanted):
        return [names[p.name] for p in wanted]
    if len(given) != len(wanted):
        mine, theirs = [p.name for p in given], [p.name for p in wanted]
        raise UsageError(f"the models' {what} do not correspond: {mine} and {theirs}")
    return list(given)


def real(array: np.ndarray, port: Port) -> np.ndarray:
    return dequantize(array, port.quant) if port.quant is not None and array.dtype.kind in "iu" else array


def _typed(array: np.ndarray, port: Port) -> np.ndarray:
    if port.quant is not None and port.dtype.kind in "iu" and array.dtype.kind == "f":
        return quantize(array, port.quant, port.dtype)
    return np.asarray(array, port.dtype, order="C")


def _turned(array: np.ndarray, have: Port, want: Port) -> np.ndarray:
    if array.ndim != 4 or not have.layout or not want.layout or have.layout == want.layout:
        return array
    return array.transpose(0, 3, 1, 2) if want.layout == "NCHW" else array.transpose(0, 2, 3, 1)
