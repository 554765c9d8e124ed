"""Records → bytes: the flatbuffer writer. See `flat`."""

from __future__ import annotations


def encode(*args, **kwargs):
    raise NotImplementedError


write = encode
