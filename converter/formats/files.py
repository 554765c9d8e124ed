"""Model files: one mapped into memory, and which format it holds."""

from __future__ import annotations

import errno
import mmap
import os
import re
import stat
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, BinaryIO, TypeVar

from ..errors import ModelError

T = TypeVar("T")
# Top-level fields of an ONNX ModelProto: number → wire type (0 varint, 2 bytes). MindIR's has a string as field 1.
_ONNX_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
_MINDIR_FIELDS = {**dict.fromkeys((*range(1, 10), 11, 12, 14), 2), 10: 0, 13: 0}
_ENCRYPTED_MINDIR = {bytes((n, 0x5E, 0x3A, 0x7F)) for n in (0xD8, 0xD9, 0xDA)}
_NETWORK = re.compile(rb"(name|state|layers?|input|input_shape|input_dim|force_backward|debug_info)\s*[:{]")
_SWEPT = 64 << 20
_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
_FLATBUFFERS = {b"TFL3": "tflite", b"MSL2": "ms", b"MSL1": "ms", b"MSL0": "ms"}


def map_file(path: str | os.PathLike[str]) -> mmap.mmap:
    """Read-only map of a whole file; pages are read when touched. It must not be cut short while it is mapped.

    Raises:
        ModelError: missing, a directory or device, empty, not readable.
    """
    name = os.fspath(path)
    try:
        with open_regular(name) as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ModelError("is empty", file=name)
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            _maps.add(mapping)
            return mapping
    except FileNotFoundError:
        folder = os.path.dirname(name) or "."
        why = "no such file" if os.path.isdir(folder) else f"no such file (the folder {folder} does not exist)"
        raise ModelError(why, file=name) from None
    except IsADirectoryError:
        raise ModelError("is a directory, not a model file", file=name) from None
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror or error}", file=name) from None
    except ValueError as error:  # a NUL in the name
        raise ModelError(f"cannot be read: {error}", file=repr(name)) from None


def let_go() -> None:
    """Takes the pages of all maps out of memory, as they were before they were touched."""
    for mapping in list(_maps):
        if hasattr(mapping, "madvise") and not mapping.closed:
            mapping.madvise(mmap.MADV_DONTNEED)


def sweep(items: Iterable[T], nbytes: Callable[[T], int]) -> Iterator[T]:
    """Yields items whose values are looked at once, and lets go of the maps behind every 64 MB of them."""
    seen = 0
    for item in items:
        yield item
        seen += nbytes(item)
        if seen > _SWEPT:
            let_go()
            seen = 0


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A file opened for reading, bytes; opening a pipe does not wait for its writer.

    Raises:
        OSError: as `open`, and for what is no regular file: a pipe, a socket, a device.
    """
    file = open(path, "rb", opener=_nonblocking)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return file


def bytes_of(path: str, meta: Mapping[str, Any]) -> int:
    """Of a file and those beside it that belong to it. meta: of the graph that was read."""
    return sum(map(os.path.getsize, (path, *meta.get("external", ()))))


def sniff(path: str | os.PathLike[str]) -> str | None:
    """The format by contents: "tflite", "ms", "onnx", "mindir", "caffe", or None. A cut file still has its own.

    Raises:
        ModelError: as `map_file`.
    """
    with map_file(path) as view:
        known = _FLATBUFFERS.get(view[4:8])
        if known:
            return known
        if _is_protobuf(view, _ONNX_FIELDS):
            return "onnx"
        if _is_network(view):
            return "caffe"
        return "mindir" if view[:4] in _ENCRYPTED_MINDIR or _is_protobuf(view, _MINDIR_FIELDS) else None


def _is_network(view: mmap.mmap) -> bool:
    """Whether the file is a Caffe network in text: behind comments it begins with a field of one."""
    lines = (line.strip() for line in view[:65536].split(b"\n"))
    first = next((line for line in lines if line and not line.startswith(b"#")), b"")
    return _NETWORK.match(first.removeprefix(b"\xef\xbb\xbf")) is not None


def _is_protobuf(view: mmap.mmap, fields: dict[int, int]) -> bool:
    """Whether the file begins as this message: known fields of the right wire type, its version and its graph (7)."""
    at, seen = 0, set()
    for _ in range(1000):
        key, at = _varint(view, at)
        if fields.get(key >> 3) != key & 7:
            break
        seen.add(key >> 3)
        if seen >= {1, 7}:
            return True
        size, at = _varint(view, at)
        at += size if key & 7 == 2 else 0
    return False


def _varint(view: mmap.mmap, at: int) -> tuple[int, int]:
    """The varint at `at` and the byte behind it; (0, at) at the end of the file, no known field's key."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(view):
            return 0, at
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
    return value, at


def _nonblocking(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
