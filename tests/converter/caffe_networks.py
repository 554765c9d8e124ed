"""Caffe networks written by the tests: text, and weights in either form."""

from __future__ import annotations

import numpy as np
from bitlite.converter.formats.caffe_schema import weights_message


def write(folder, text, blobs=None, older=False, legacy=False):
    """Writes net.prototxt and net.caffemodel; returns the former's path.

    blobs: layer → its arrays. older: as `layers`. legacy: shapes as num, channels, height and width.
    """
    network = weights_message()()
    for name, arrays in (blobs or {"unused": []}).items():
        layer = (network.layers if older else network.layer).add(name=name)
        for array in arrays:
            array = np.asarray(array, np.float32)
            blob = layer.blobs.add(data=array.ravel())
            if legacy:
                blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - array.ndim) + array.shape
            else:
                blob.shape.dim.extend(array.shape)
    path = folder / "net.prototxt"
    path.write_text(text)
    (folder / "net.caffemodel").write_bytes(network.SerializeToString())
    return path


def inputs(*shapes):
    """The text of an Input layer for blobs x, y, …"""
    dims = " ".join("shape { " + " ".join(f"dim: {d}" for d in s) + " }" for s in shapes)
    tops = " ".join(f'top: "{name}"' for name in "xyz"[: len(shapes)])
    return f'layer {{ name: "in" type: "Input" {tops} input_param {{ {dims} }} }}\n'


def layer(kind, more="", bottoms="x", tops="out", name="l"):
    bottom = " ".join(f'bottom: "{b}"' for b in bottoms.split())
    top = " ".join(f'top: "{t}"' for t in tops.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottom} {top} {more} }}\n'
