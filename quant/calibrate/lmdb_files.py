"""Calibration samples in an LMDB: records of Caffe (Datum, AnnotatedDatum), or the raw values of an input.

A Datum holds pixels or floats as C x H x W, colours as BGR, or an encoded image; what is done to images is done to it.
A raw record is one sample in the input's own type and shape, channels before sizes where the input has four axes.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import numpy as np

from ...converter.errors import DataError
from ...converter.formats.protobuf import messages
from ...converter.surgery.image_steps import ImageSpec
from . import images
from .fit import InputSpec, convert, show_shape

NAME = "data.mdb"
"""The file of a database; its folder is the database."""
_DATUM = "channels@1:int32 height@2:int32 width@3:int32 data@4:bytes label@5:int32 float_data@6:float* encoded@7:bool"
_MOST = 1 << 28
_LARGEST = 1 << 40  # of a database that is written: room in the address space, not on disk


@cache
def _messages() -> dict[str, Any]:
    return messages("bitlite_datum", {"Datum": _DATUM, "AnnotatedDatum": "datum@1:Datum type@2:int32"})


def count(file: str) -> int:
    """How many records a database holds."""
    with _opened(file) as base:
        return int(base.stat()["entries"])


def first_sizes(file: str) -> tuple[int, int, int] | None:
    """Channels, height and width of the first record, where it is a Datum that is not encoded."""
    for here, value in records(file):
        image = _pixels(value, ImageSpec(), here, decode=False)
        return None if image is None else (image.shape[2], image.shape[0], image.shape[1])
    return None


def create_lmdb(path: str | os.PathLike[str], samples: Iterable[Any]) -> int:
    """Writes a database of Caffe's Datum: its folder, made anew. Returns the number of records.

    Args:
        samples: arrays [C, H, W]: uint8 for pixels, colours as BGR; others become float32, as the network takes them.
    Raises:
        DataError: a sample of another rank, or not of numbers; the folder is there already; lmdb is not installed.
    """
    lmdb = _package(str(path))
    if os.path.exists(path):
        raise DataError(f"{path}: is there already")
    count = 0
    with lmdb.open(str(path), map_size=_LARGEST) as base:
        for count, sample in enumerate(samples, 1):
            array = np.asarray(sample)
            if array.ndim != 3 or array.dtype.kind not in "fiu" or not array.size:
                raise DataError(
                    f"{path}, sample {count - 1}: is {array.dtype} {list(array.shape)}, not [C, H, W] numbers"
                )
            sizes = dict(zip(("channels", "height", "width"), array.shape))
            values: dict[str, Any] = {"data": array.tobytes()}
            if array.dtype != np.uint8:
                values = {"float_data": array.astype(np.float32).ravel()}
            with base.begin(write=True) as transaction:
                transaction.put(f"{count - 1:08}".encode(), _messages()["Datum"](**sizes, **values).SerializeToString())
    return count


def records(file: str) -> Iterator[tuple[str, bytes]]:
    """Key and value of each record, in the order of keys."""
    with _opened(file) as base, base.begin(buffers=False) as transaction:
        for key, value in transaction.cursor():
            yield f"{file}, record {key.decode('utf-8', 'replace')!r}", bytes(value)


def _package(file: str) -> Any:
    try:
        import lmdb
    except ImportError:
        raise DataError(f"{file}: an LMDB needs the package lmdb", hint="pip install 'bitlite[lmdb]'") from None
    return lmdb


def _opened(file: str) -> Any:
    lmdb = _package(file)
    try:
        return lmdb.open(file, subdir=False, readonly=True, lock=False, readahead=False)
    except (lmdb.Error, OSError) as error:
        raise DataError(f"{file}: is no LMDB: {error}") from None


def sample(value: bytes, item: InputSpec, image: ImageSpec, here: str, ready: bool = True) -> np.ndarray:
    """A record as an image [H, W, C] that is ready, or as the input itself where that has not four axes.

    ready: whether raw values of the input, to which nothing is done, are among the records.

    Raises:
        DataError: it is none of the kinds of records, or its sizes do not fit.
    """
    shape = item.own().fixed_shape
    own = int(np.prod(shape)) * item.dtype.itemsize if shape is not None else -1
    if len(value) == own and shape is not None and ready:
        raw = np.frombuffer(value, item.dtype)
        planar = _planar(item, shape)
        return raw.reshape(shape) if planar is None else raw.reshape(planar).transpose(1, 2, 0)
    pixels = _pixels(value, image, here)
    if pixels is None:
        expected = "no shape that is known" if shape is None else f"{own} bytes of {item.dtype} {show_shape(shape)}"
        raise DataError(
            f"{here}: {len(value)} bytes are neither a Datum nor raw values of the input ({expected})",
            hint="bitlite.create_lmdb, whose records hold their sizes" if shape is None else "",
        )
    return pixels if image == ImageSpec() and len(item.shape) != 4 else convert(pixels, item.dtype, here)


def _planar(item: InputSpec, shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """C, H and W of an input that is one image."""
    if len(shape) != 4 or shape[0] != 1:
        return None
    return (shape[1], shape[2], shape[3]) if item.own().layout != "NHWC" else (shape[3], shape[1], shape[2])


def _pixels(value: bytes, image: ImageSpec, here: str, decode: bool = True) -> np.ndarray | None:
    """The image of a Datum, ready; None where the record is none, or is encoded and not to be decoded."""
    from google.protobuf.message import DecodeError

    for kind in ("Datum", "AnnotatedDatum"):
        try:
            datum = _messages()[kind].FromString(value)
        except (DecodeError, ValueError):
            continue
        datum = datum.datum if kind == "AnnotatedDatum" else datum
        if datum.encoded:
            if not decode:
                return None
            return images.load(here, image, io.BytesIO(datum.data))
        sizes = (datum.channels, datum.height, datum.width)
        if min(sizes) < 1 or np.prod(sizes, dtype=object) > _MOST:
            continue
        values = np.frombuffer(datum.data, np.uint8) if datum.data else np.array(datum.float_data, np.float32)
        if values.size == np.prod(sizes):
            return images.prepared(_ordered(values.reshape(sizes).transpose(1, 2, 0), image, here), image)
    return None


def _ordered(pixels: np.ndarray, image: ImageSpec, here: str) -> np.ndarray:
    """Colours in the order that is asked for; other numbers of channels are no colours and stay."""
    if pixels.shape[2] != 3 or image.to_format == "BGR":
        return pixels
    if image.to_format == "RGB":
        return pixels[..., ::-1]
    grey = pixels.astype(np.float32) @ np.array([0.114, 0.587, 0.299], np.float32)
    return (np.rint(grey).astype(np.uint8) if pixels.dtype == np.uint8 else grey)[..., None]
