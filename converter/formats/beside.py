"""Data files beside a model, which its tensors name."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ..errors import ModelError
from .files import map_file


class Beside:
    """The data files of one model, each mapped once.

    Attributes:
        files: path → map, of what was read.
    """

    def __init__(self, path: str) -> None:
        self.path, self.files = path, dict[str, Any]()

    def part(self, location: str | bytes, offset: int, length: int, node: str) -> np.ndarray:
        """Bytes of a file, as a view. Raises ModelError: it stands elsewhere, is missing or too short."""
        location = os.fsdecode(location)
        target = _beside(self.path, location)
        if target is None:
            raise ModelError(f"external data {location!r} is not a file beside the model", file=self.path, node=node)
        if target not in self.files:
            self.files[target] = map_file(target)
        whole = np.frombuffer(self.files[target], np.uint8)
        if offset < 0 or length < 0 or offset + length > len(whole):
            raise ModelError(
                f"external data {location!r} has {len(whole)} bytes, {offset}..{offset + length} is asked",
                file=self.path,
                node=node,
            )
        return whole[offset : offset + length]


def _beside(path: str, location: str) -> str | None:
    """The data file beside a model, links resolved; None where it is none or stands outside the model's folder.

    The folder is the one of the path that was given, or, where that is a link (as in a store of downloads), of the file
    that it leads to.
    """
    if not location or "\0" in location or os.path.isabs(location):
        return None
    folders = [os.path.dirname(os.path.abspath(path)), os.path.dirname(os.path.realpath(path))]
    there = [target for f in folders if os.path.lexists(target := os.path.join(f, location))]
    target = os.path.realpath(there[0] if there else os.path.join(folders[0], location))
    inside = any(os.path.commonpath([real, target]) == real for real in map(os.path.realpath, folders))
    return target if inside else None
