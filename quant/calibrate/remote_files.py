"""Sample files at URLs (s3://, gs://, https://, file:// …), by fsspec: listed here, read by whoever needs them."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...converter.errors import DataError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_TRIES = 3


def is_url(path: str) -> bool:
    return _URL.match(path) is not None


def is_folder(path: str) -> bool:
    """Whether a path is a folder of samples; what is at a URL is taken for one."""
    return is_url(path) or os.path.isdir(path)


def list_urls(url: str, where: str) -> list[str]:
    """The files of a folder by name, hidden ones left out, or the one file. Raises DataError."""
    try:
        store, path = _store(url)
        if store.isfile(path):
            return [url]
        found = sorted((e["name"] for e in store.ls(path, detail=True) if e["type"] == "file"), key=os.fsencode)
        files = [store.unstrip_protocol(name) for name in found if not os.path.basename(name).startswith(".")]
    except DataError:
        raise
    except Exception as error:  # a store's library raises errors of its own
        raise DataError(f"{where}: {url}: {_reason(error)}") from None
    if not files:
        raise DataError(f"{where}: {url} holds no files")
    return files


@contextmanager
def local_copy(file: str) -> Iterator[str]:
    """A path at which the file can be read meanwhile: its own, or that of a copy. Errors name the file itself."""
    if not is_url(file):
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="bitlite-") as folder:
        path = os.path.join(folder, os.path.basename(file.partition("?")[0]))
        _fetch(file, path)
        try:
            yield path
        except DataError as error:
            raise error.reworded(error.message.replace(path, file)) from None


def _fetch(url: str, path: str) -> None:
    for tries in range(1, _TRIES + 1):
        try:
            store, name = _store(url)
            store.get_file(name, path)
            return
        except DataError:
            raise
        except Exception as error:
            if tries == _TRIES or isinstance(error, (FileNotFoundError, PermissionError)):
                raise DataError(f"{url}: cannot be read: {_reason(error)}") from None


def _store(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise DataError(f"{url}: fsspec is not installed", hint="pip install 'bitlite[urls]'") from None
    try:
        return url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise DataError(f"{url}: {error}", hint="the package that reads such URLs (s3fs, gcsfs, aiohttp)") from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
