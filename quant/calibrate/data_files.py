"""Calibration samples in files: raw .bin, .npy, .npz and images, found in a directory in the order of their names."""

from __future__ import annotations

import math
import os
import zipfile
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import Any, Protocol

import numpy as np

from ...converter.errors import DataError, Setting
from ...converter.formats.files import open_regular
from ...converter.surgery.image_steps import ImageSpec, Pixels
from . import images, lmdb_files
from .fit import InputSpec, convert, fit, samples_in, show_shape
from .pixels import PixelArrays, is_planar, pixel_arrays
from .remote_files import is_url, list_urls, local_copy


class Column(Protocol):
    """The samples of one input: sized, iterable again and again."""

    path: str

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[np.ndarray]: ...


def open_columns(
    paths: Sequence[tuple[InputSpec, str | tuple[str, ...]]], steps: ImageSteps, where: str
) -> list[FileColumn]:
    """Finds and checks the files of every input without reading their data.

    Raises:
        DataError: missing or empty directory, wrong size, shape or type of any file.
    """
    return [FileColumn(item, path, steps, where) for item, path in paths]


@dataclass(frozen=True)
class ImageSteps:
    """What is done to the samples, and to which.

    input_type: "IMAGE", "BIN", or "" where the files tell. stage: "raw" where arrays are pixels to which the steps are
    still done, "unnormalized" where only mean and deviation are, "preprocessed" where everything is ready, "" where
    images and records of Caffe are raw and arrays ready, "unsaid" where arrays may be any. pixels: how raw arrays hold
    them.
    """

    image: ImageSpec = field(default_factory=ImageSpec)
    input_type: str = ""
    stage: str = ""
    pixels: Pixels = field(default_factory=Pixels)


_TEXT = (".txt", ".md", ".json", ".csv", ".yaml", ".yml", ".xml", ".log", ".py", ".cfg", ".ini")  # beside samples


@dataclass(frozen=True)
class FileFormat:
    """How the files of one input are read. form: "IMAGE" or "BIN".

    raw: where arrays hold pixels of another form than the network's. or_bytes: raw files may hold the values as uint8.
    """

    item: InputSpec
    form: str
    image: ImageSpec
    raw: PixelArrays | None = None
    or_bytes: bool = False

    @property
    def stored(self) -> InputSpec:
        """What one array of a file holds."""
        return self.raw.stored if self.raw is not None else self.item

    def probe(self, file: str) -> int:
        """Returns how many samples a file holds, from its header or size alone; of one at a URL, from a copy."""
        with local_copy(file) as path:
            return self._count(path)

    def _count(self, file: str) -> int:
        if self.form == "IMAGE":
            _image_shape(images.probe(file, self.image), self.item.own(), file)
            return 1
        if os.path.basename(file) == lmdb_files.NAME:
            return lmdb_files.count(file)
        if file.endswith(".npy"):
            with _opened(file) as stream:
                shape, _, dtype = _npy_header(stream, file)
                missing = math.prod(shape) * dtype.itemsize - (os.path.getsize(file) - stream.tell())
                if missing > 0:
                    raise DataError(f"{file}: is cut off: {missing} bytes of {dtype} {show_shape(shape)} are missing")
                return samples_in(shape, self.stored, file)
        if file.endswith(".npz"):
            with _npz_stream(file, self.item) as stream:
                return samples_in(_npy_header(stream, file)[0], self.stored, file)
        self._check_size(file)
        return 1

    def _check_size(self, file: str) -> None:
        shape, item = self._raw_shape(file), self.stored
        size, wanted = os.path.getsize(file), int(np.prod(shape)) * item.dtype.itemsize
        if size == wanted or (self.or_bytes and size * item.dtype.itemsize == wanted):
            return
        hint = ""
        elements = int(np.prod(shape))
        if size == elements and item.dtype.itemsize > 1:
            hint = f"writing the values as {item.dtype}: the file looks like 8-bit integers"
        elif size == 2 * wanted and item.dtype == np.float32:
            hint = "one file per sample, in float32: it looks like 2 samples in one, or like float64"
        elif wanted and size % wanted == 0 and size:
            hint = f"one file per sample: it looks like {size // wanted} samples in one"
        elif file.lower().endswith(_TEXT):
            hint = "a folder that holds samples alone"
        shown = f"input {item.name!r} tensor size: {wanted} bytes ({item.dtype} {show_shape(shape)})"
        raise DataError(f"{file}: file_size: {size} {shown}", hint=hint)

    def _raw_shape(self, file: str) -> tuple[int, ...]:
        item = self.stored
        if item.fixed_shape is None:
            size = Setting("image_size", "H,W") if self.raw else Setting("input_shape", f"{item.name}:...")
            raise DataError(
                f"{file}: raw data have no shape, and input {item.name!r} is {item}", hint=(size, " or .npy files")
            )
        return item.fixed_shape

    def read(self, file: str) -> Iterator[np.ndarray]:
        with local_copy(file) as path:
            yield from self._samples(path)

    def read_rows(self, file: str, rows: Sequence[int]) -> Iterator[np.ndarray]:
        """Yields the samples of these rising numbers; of a stack in an .npy nothing else is touched."""
        with local_copy(file) as path:
            if self.form != "IMAGE" and path.endswith(".npy"):
                yield from self._ready(_read_npy(path, self.stored, rows), path)
                return
            wanted = set(rows)
            samples = islice(self._samples(path), rows[-1] + 1)
            yield from (x for number, x in enumerate(samples) if number in wanted)

    def _samples(self, file: str) -> Iterator[np.ndarray]:
        item = self.item
        if self.form == "IMAGE":
            pixels = images.load(file, self.image)
            pixels = np.rint(pixels) if item.dtype.kind in "iu" else pixels
            yield _shaped_image(convert(pixels, item.dtype, file), item.own(), file)
        elif os.path.basename(file) == lmdb_files.NAME:
            for here, value in lmdb_files.records(file):
                array = lmdb_files.sample(value, item, self.image, here, ready=self.raw is None)
                if len(item.shape) == 4:
                    yield fit(_shaped_image(array, item.own(), here), item.own(), here)
                else:
                    yield fit(array, item, here)
        else:
            yield from self._ready(self._arrays(file), file)

    def _ready(self, arrays: Iterator[np.ndarray], file: str) -> Iterator[np.ndarray]:
        return arrays if self.raw is None else (self.raw.ready(array, file) for array in arrays)

    def _arrays(self, file: str) -> Iterator[np.ndarray]:
        item = self.stored
        if file.endswith(".npy"):
            yield from _read_npy(file, item)
        elif file.endswith(".npz"):
            yield from _read_npz(file, item)
        else:
            self._check_size(file)
            with _opened(file) as stream:
                shape = self._raw_shape(file)
                whole = os.fstat(stream.fileno()).st_size == math.prod(shape) * item.dtype.itemsize
                raw = np.fromfile(stream, item.dtype if whole else np.uint8).astype(item.dtype, copy=False)
            yield fit(raw.reshape(shape), item, file)


@dataclass(frozen=True)
class ColumnPart:
    """Some samples of one input: of each file, its path and the numbers of samples in it."""

    format: FileFormat
    rows: list[tuple[str, list[int]]]

    def placed(self) -> ColumnPart:
        """The same for a process that works in another folder."""
        rows = [(file if is_url(file) else os.path.abspath(file), numbers) for file, numbers in self.rows]
        return ColumnPart(self.format, rows)


def read_part(part: ColumnPart) -> Iterator[np.ndarray]:
    """Yields the samples, in order. Raises DataError: the file and what is wrong with it."""
    for file, rows in part.rows:
        yield from part.format.read_rows(file, rows)


class FileColumn:
    """The files of one directory (or one file, or those listed) as samples of one input."""

    def __init__(self, item: InputSpec, path: str | tuple[str, ...], steps: ImageSteps, where: str) -> None:
        self.path = path if isinstance(path, str) else f"{len(path)} files"
        given = (path,) if isinstance(path, str) else path
        self.files = [file for part in given for file in list_files(part, where)]
        form = _form_of(self.files, steps.input_type, where)
        self._format = FileFormat(item, form, *_stage_of(item, form, steps, where), steps.stage == "unnormalized")
        self._ends = list(accumulate(map(self._format.probe, self.files)))

    def __len__(self) -> int:
        return self._ends[-1]

    def __iter__(self) -> Iterator[np.ndarray]:
        for file in self.files:
            yield from self._format.read(file)

    def only(self, wanted: Collection[int]) -> Iterator[np.ndarray]:
        """Yields the samples of these numbers, in order, reading only their files."""
        return read_part(self.part(wanted))

    def part(self, wanted: Collection[int]) -> ColumnPart:
        """Where the samples of these numbers are, in order."""
        rows: dict[int, list[int]] = {}
        for number in sorted(wanted):
            at = bisect_right(self._ends, number)
            rows.setdefault(at, []).append(number - (self._ends[at - 1] if at else 0))
        return ColumnPart(self._format, [(self.files[at], numbers) for at, numbers in rows.items()])

    def stems(self) -> list[str]:
        """Returns the file names without their endings."""
        return [os.path.splitext(os.path.basename(file))[0] for file in self.files]


def list_files(path: str, where: str) -> list[str]:
    """Returns the files of a directory by name (bytewise order, hidden files left out), or the one file."""
    if is_url(path):
        return list_urls(path, where)
    try:
        if os.path.isfile(path):
            return [path]
        entries = sorted(os.scandir(path), key=lambda entry: os.fsencode(entry.name))
        visible = [entry for entry in entries if not entry.name.startswith(".")]
        files = [entry.path for entry in visible if entry.is_file()]
        # The other file of a database holds its locks.
        files = [f for f in files if os.path.basename(f) == lmdb_files.NAME] or files
    except (OSError, ValueError) as error:
        lost = isinstance(error, FileNotFoundError) and not os.path.isabs(path)
        hint = "a path from the folder where the command runs" if lost else ""
        place = getattr(error, "filename", None) or path
        raise DataError(f"{where}: {place}: {getattr(error, 'strerror', None) or error}", hint=hint) from None
    if not files:
        folders = len([entry for entry in visible if entry.is_dir()])
        more = f" (but {folders} folders; the samples must lie in one)" if folders else ""
        raise DataError(f"{where}: {path} holds no files{more}")
    return files


def _form_of(files: Sequence[str], input_type: str, where: str) -> str:
    """Returns "IMAGE" or "BIN" for a directory, as asked or as the endings say."""
    pictures = [file for file in files if file.lower().endswith(images.ENDINGS)]
    if input_type == "BIN" and pictures:
        raise DataError(f"{where}: {pictures[0]} is an image and input_type is BIN", hint="input_type=IMAGE")
    if input_type == "BIN" or not (pictures or input_type):
        return "BIN"
    others = [file for file in files if not file.lower().endswith(images.ENDINGS)]
    if others and (pictures or input_type):
        raise DataError(f"{where}: {others[0]} is not an image ({', '.join(images.ENDINGS)}) among images")
    return "IMAGE"


def _stage_of(item: InputSpec, form: str, steps: ImageSteps, where: str) -> tuple[ImageSpec, PixelArrays | None]:
    """What is done to the files of an input, and how its arrays hold pixels."""
    if form == "IMAGE":
        if steps.stage == "preprocessed":
            raise DataError(f"{where}: images are pixels, not preprocessed", hint=Setting("sample_stage", "raw"))
        return steps.image, None
    raw = pixel_arrays(item, steps.image, steps.pixels, steps.stage)
    if raw is not None and steps.stage == "unsaid":
        raise unsaid(where)
    done = {
        "preprocessed": ImageSpec(),
        "unnormalized": ImageSpec(mean=steps.image.mean, std=steps.image.std),
    }
    return done.get(steps.stage, steps.image), raw


def unsaid(where: str) -> DataError:
    return DataError(
        f"{where}: the samples may come before or after the preprocessing that goes into the model",
        hint=(Setting("sample_stage", "raw"), " for pixels, ", Setting("sample_stage", "preprocessed")),
    )


def _image_shape(shape: tuple[int, int, int], item: InputSpec, file: str) -> None:
    """Checks that an image [H, W, C] fits the input in its layout."""
    height, width, channels = shape
    wanted = item.shape
    planar = is_planar(item)
    fits = {
        4: (channels, height, width) if planar else (height, width, channels),
        3: (height, width),
    }.get(len(wanted))
    if len(wanted) == 3 and channels != 1:
        fits = None
    if fits is None or item.batch != 1 or any(w is not None and w != s for w, s in zip(wanted[1:], fits)):
        raise DataError(
            f"{file}: an image of {width}x{height} with {channels} channel(s) after preprocessing does not fit the "
            f"input {item.name!r} {item}{' (' + item.layout + ')' if item.layout else ''}",
            hint=_image_hint(shape, item),
        )


def _image_hint(shape: tuple[int, int, int], item: InputSpec) -> str:
    if len(item.shape) != 4:
        return ""
    _, *rest = item.shape
    channels, height, width = rest if is_planar(item) else (rest[2], rest[0], rest[1])
    if channels not in (None, shape[2]):
        return "image_to_format=GRAY" if channels == 1 else "image_to_format=RGB" if channels == 3 else ""
    if (height, width) != shape[:2] and height and width:
        return f"resize_width={width} and resize_height={height}"
    return ""


def _shaped_image(pixels: np.ndarray, item: InputSpec, file: str) -> np.ndarray:
    _image_shape((pixels.shape[0], pixels.shape[1], pixels.shape[2]), item, file)
    if len(item.shape) == 3:
        return np.ascontiguousarray(pixels[None, :, :, 0])
    return np.ascontiguousarray((pixels.transpose(2, 0, 1) if is_planar(item) else pixels)[None])


def _opened(file: str) -> Any:
    try:
        return open_regular(file)
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or error}") from None


@contextmanager
def _npz_stream(file: str, item: InputSpec) -> Iterator[Any]:
    """Opens the member of an .npz that belongs to an input."""
    with _opened(file) as whole:
        try:
            archive = zipfile.ZipFile(whole)
        except Exception as error:
            raise DataError(f"{file}: is not an .npz file: {error}") from None
        name = _member(archive, item, file)
        try:
            stream = archive.open(name)
        except Exception as error:  # a damaged directory, encryption, an unknown compression
            raise DataError(f"{file}: {name} cannot be opened: {error}") from None
        with stream:
            yield stream


def _member(archive: zipfile.ZipFile, item: InputSpec, file: str) -> str:
    """Returns the member of an .npz that belongs to an input: by name, or the only one."""
    names = [name for name in archive.namelist() if name.endswith(".npy")]
    if f"{item.name}.npy" in names:
        return f"{item.name}.npy"
    if len(names) == 1:
        return names[0]
    held = ", ".join(repr(name[:-4]) for name in names) or "nothing"
    raise DataError(f"{file}: holds {held}, and the input is {item.name!r}")


def _npy_header(stream: Any, file: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads the header of an .npy stream and leaves the stream at its data."""
    try:
        version = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(stream)
    except Exception as error:  # numpy parses the header as Python text: any of its errors may come
        raise DataError(f"{file}: is not a numpy array: {error}") from None
    if dtype.kind not in "biuf":
        raise DataError(f"{file}: holds {dtype}, not numbers")
    if any(size < 0 for size in shape):
        raise DataError(f"{file}: is not a numpy array: shape {show_shape(shape)}")
    return shape, fortran, dtype


def _read_npy(file: str, item: InputSpec, rows: Sequence[int] | None = None) -> Iterator[np.ndarray]:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        raise DataError(f"{file}: is not a numpy array: {error}") from None
    count = samples_in(array.shape, item, file)
    if count == 1:
        yield fit(np.array(array), item, file)
        return
    step = len(array) // count
    for number in range(count) if rows is None else rows:
        yield fit(np.array(array[number * step : (number + 1) * step]), item, f"{file}, sample {number}")


def _read_npz(file: str, item: InputSpec) -> Iterator[np.ndarray]:
    """Streams the samples of a member: a stack is read piece by piece, never whole."""
    with _npz_stream(file, item) as stream:
        shape, fortran, dtype = _npy_header(stream, file)
        count = samples_in(shape, item, file)
        if fortran and count > 1:
            raise DataError(f"{file}: is stored in Fortran order", hint="np.ascontiguousarray before saving")
        part = shape if count == 1 else (shape[0] // count, *shape[1:])
        size = int(np.prod(part)) * dtype.itemsize
        for number in range(count):
            try:
                data = stream.read(size)
            except Exception as error:
                raise DataError(f"{file}: is damaged: {error}") from None
            if len(data) != size:
                raise DataError(f"{file}: ends after {number} of {count} samples")
            flat = np.frombuffer(data, dtype)
            array = flat.reshape(part[::-1]).T if fortran else flat.reshape(part)
            yield fit(array, item, file if count == 1 else f"{file}, sample {number}")
