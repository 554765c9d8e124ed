"""A graph as bytes and back, for another process, here or elsewhere: a JSON head, then the arrays as they lie.

Nothing is executed when it is read, and constants are views of the bytes. It is no file format: both sides are of one
version.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import GraphError
from ..numeric.qparams import QuantParam
from .graph import Graph, Node, Tensor

_ALIGN = 64
_META = ("rounding", "operators")  # what runs ask of it, and selections


def pack(graph: Graph) -> bytes:
    """The graph with its constants; of `meta` what its runs and selections depend on. Raises GraphError for an
    attribute that is neither a number, text, array nor a list of these."""
    arrays: list[np.ndarray] = []
    tensors = list(graph.tensors())
    number = {t: k for k, t in enumerate(tensors)}

    def held(a: np.ndarray) -> dict[str, Any]:
        arrays.append(np.asarray(a, order="C"))
        return {"array": len(arrays) - 1}

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return held(value)
        if isinstance(value, np.dtype):
            return {"dtype": value.str}
        if isinstance(value, np.generic):
            return plain(value.item())
        if isinstance(value, tuple):
            return {"tuple": [plain(v) for v in value]}
        if isinstance(value, list):
            return [plain(v) for v in value]
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise GraphError(f"a {type(value).__name__} cannot be sent to another process")

    head = {
        "name": graph.name,
        "meta": {key: graph.meta[key] for key in _META if key in graph.meta},
        "tensors": [
            {
                "name": t.name,
                "dtype": t.dtype.str,
                "shape": t.shape,
                "data": None if t.data is None else held(t.data),
                "quant": None if t.quant is None else {k: plain(v) for k, v in fields_of(t.quant).items()},
                "layout": t.layout,
                "dims": t.dims,
            }
            for t in tensors
        ],
        "nodes": [
            {
                "op": n.op,
                "name": n.name,
                "inputs": [None if t is None else number[t] for t in n.inputs],
                "outputs": [number[t] for t in n.outputs],
                "attrs": {k: plain(v) for k, v in n.attrs.items()},
                "origin": n.origin,
            }
            for n in graph.nodes
        ],
        "inputs": [number[t] for t in graph.inputs],
        "outputs": [number[t] for t in graph.outputs],
    }
    places, at = [], 0
    for a in arrays:
        at = -(-at // _ALIGN) * _ALIGN
        places.append([at, a.dtype.str, a.shape])
        at += a.nbytes
    text = json.dumps(head | {"arrays": places}).encode()
    body = bytearray(-(-(8 + len(text)) // _ALIGN) * _ALIGN + at)
    body[:8], body[8 : 8 + len(text)] = len(text).to_bytes(8, "little"), text
    start = len(body) - at
    for a, (offset, _, _) in zip(arrays, places):
        body[start + offset : start + offset + a.nbytes] = a.reshape(-1).view(np.uint8).data
    return bytes(body)


def unpack(data: bytes | memoryview) -> Graph:
    """What `pack` was given; its arrays are views of `data`, which cannot be written to."""
    view = memoryview(data).toreadonly()
    size = int.from_bytes(view[:8], "little")
    head = json.loads(bytes(view[8 : 8 + size]))
    body = view[-(-(8 + size) // _ALIGN) * _ALIGN :]

    def array(index: int) -> np.ndarray:
        offset, dtype, shape = head["arrays"][index]
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(body, np.dtype(dtype), count, offset).reshape(shape) if count else np.empty(shape, dtype)

    kinds: dict[str, Callable[[Any], Any]] = {
        "array": array,
        "dtype": np.dtype,
        "tuple": lambda values: tuple(value(v) for v in values),
    }

    def value(stored: Any) -> Any:
        if isinstance(stored, dict):
            ((kind, content),) = stored.items()
            return kinds[kind](content)
        return [value(v) for v in stored] if isinstance(stored, list) else stored

    tensors = [
        Tensor(
            t["name"],
            np.dtype(t["dtype"]),
            None if t["shape"] is None else tuple(t["shape"]),
            value(t["data"]),
            None if t["quant"] is None else QuantParam(**{k: value(v) for k, v in t["quant"].items()}),
            t["layout"],
            tuple(t["dims"]),
        )
        for t in head["tensors"]
    ]
    nodes = [
        Node(
            n["op"],
            n["name"],
            [None if k is None else tensors[k] for k in n["inputs"]],
            [tensors[k] for k in n["outputs"]],
            {k: value(v) for k, v in n["attrs"].items()},
            tuple(n["origin"]),
        )
        for n in head["nodes"]
    ]
    ends = [tensors[k] for k in head["inputs"]], [tensors[k] for k in head["outputs"]]
    return Graph(head["name"], nodes, *ends, head["meta"])


def pack_all(graphs: Sequence[Graph]) -> bytes:
    """Several graphs, one behind the other."""
    return b"".join(_block(len(data)) + data + bytes(-len(data) % _ALIGN) for data in map(pack, graphs))


def unpack_all(data: bytes | memoryview) -> list[Graph]:
    """What `pack_all` was given."""
    graphs, view = list[Graph](), memoryview(data)
    while len(view):
        size = int.from_bytes(view[:8], "little")
        graphs.append(unpack(view[_ALIGN : _ALIGN + size]))
        view = view[_ALIGN + size + -size % _ALIGN :]
    return graphs


def _block(size: int) -> bytes:
    return size.to_bytes(8, "little") + bytes(_ALIGN - 8)


def fields_of(quant: QuantParam) -> dict[str, Any]:
    """The arguments that make such parameters again."""
    return {name: getattr(quant, name) for name in ("scale", "zero_point", "axis", "bits", "var_corr", "mean_corr")}
