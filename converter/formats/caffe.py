"""Caffe networks: the reader of a .prototxt, in the form of `layer` or of the older `layers`, and of its .caffemodel.

A network is what the phase TEST runs, without the layers that compare it with labels.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError, Setting, UnsupportedError
from ..ir import Graph, Tensor
from ..ir.limits import check_rank
from ..ops import reader, unread
from ..schema.builder import Builder
from ..schema.reading import InputShapes, Reading, name_outputs, read_operator, undefined
from . import caffe_schema as schema
from .caffe_data import data_layer, size_of
from .ends import declare_ends
from .files import map_file
from .protobuf import cut

TEST = 1
_SETTINGS = ("th_strategy", "th_scale", "threshold", "forward_with_float")
MOST_TEXT = 16 << 20
_DATA = frozenset(("Data", "AnnotatedData", "ImageData", "MemoryData", "HDF5Data", "WindowData", "VideoData"))
"""Layers whose first output is the network's input; the others are labels."""
_TRAINING = (
    "Accuracy ContrastiveLoss DetectionEvaluate EuclideanLoss HDF5Output HingeLoss InfogainLoss MultiBoxLoss"
    " MultinomialLogisticLoss SigmoidCrossEntropyLoss Silence SmoothL1Loss SoftmaxWithLoss"
)
_OF_TRAINING = frozenset(_TRAINING.split())
"""Layers that compare with labels, write files or take what nothing reads."""


def read(path: str, shapes: Mapping[str | int, Sequence[int]] | None = None, weights: str | None = None) -> Graph:
    """Reads a .prototxt with its weights.

    Args:
        shapes: sizes to take for inputs by name or position, where the file leaves them open or others are wanted.
        weights: the .caffemodel; None for the one of the same name beside the .prototxt.
    Raises:
        ModelError: damaged or inconsistent. UnsupportedError: a layer or a form that is not read.
    """
    network = parsed(path)
    weights = weights or os.path.splitext(path)[0] + ".caffemodel"
    if not os.path.exists(weights):
        raise ModelError(f"its weights, {weights}, are not there", file=path, hint=Setting("weight_file", "FILE"))
    return _Reader(network, path, weights).read(InputShapes(shapes, path))


def parsed(path: str) -> Any:
    """The network that a .prototxt holds as text. Raises as `read`."""
    from google.protobuf import text_format

    data = bytes(map_file(path)[: MOST_TEXT + 1])
    try:
        text = data.decode("utf-8")
        if len(data) > MOST_TEXT:
            raise ModelError(f"is larger than {MOST_TEXT >> 20} MB: not a .prototxt", file=path)
        network = text_format.Parse(text, schema.text_message()(), allow_unknown_field=True)
    except (UnicodeDecodeError, text_format.ParseError, ValueError, RecursionError) as error:
        raise ModelError(f"is not a network in text: {error}", file=path) from error
    for layer in layers(network):
        type_of(layer, path)
        if reader("caffe", type_of(layer, path)) is None and not _own(type_of(layer, path)):
            raise _unread_layer(layer, path)
    try:
        return text_format.Parse(text, schema.text_message()())
    except text_format.ParseError as error:
        raise ModelError(f"holds a field that is not known: {error}", file=path) from error


def _unread_layer(layer: Any, path: str) -> UnsupportedError:
    return unread(f"layer type {type_of(layer, path)}", file=path, node=layer.name)


def _own(kind: str) -> bool:
    return kind == "Input" or kind in _DATA or kind in _OF_TRAINING


def type_of(layer: Any, path: str) -> str:
    """A layer's type under the name that `layer` has for it."""
    if isinstance(layer.type, str):
        return layer.type
    name = list(schema.V1_TYPES)[layer.type] if layer.HasField("type") else ""
    if not name:
        raise ModelError("a layer has no type", file=path, node=layer.name)
    return schema.V1_TYPES[name]


def layers(network: Any) -> Iterator[Any]:
    """The layers of the phase TEST."""
    stages = set(network.state.stage)
    for layer in (*network.layer, *network.layers):
        if layer.HasField("phase") and layer.phase != TEST:
            continue
        if layer.include and not any(_meets(rule, stages, network.state.level) for rule in layer.include):
            continue
        if not any(_meets(rule, stages, network.state.level) for rule in layer.exclude):
            yield layer


def _meets(rule: Any, stages: set[str], level: int) -> bool:
    """Whether a rule of include or exclude holds in the phase TEST."""
    if rule.HasField("phase") and rule.phase != TEST:
        return False
    if (rule.HasField("min_level") and level < rule.min_level) or (
        rule.HasField("max_level") and level > rule.max_level
    ):
        return False
    return stages.issuperset(rule.stage) and not stages.intersection(rule.not_stage)


def operator_names(path: str) -> Iterator[str]:
    """The types of the layers that a network runs. Raises as `read`."""
    from google.protobuf import text_format

    try:
        text = bytes(map_file(path)[:MOST_TEXT]).decode("utf-8")
        network = text_format.Parse(text, schema.text_message()(), allow_unknown_field=True)
    except (UnicodeDecodeError, text_format.ParseError, ValueError, RecursionError) as error:
        raise ModelError(f"is not a network in text: {error}", file=path) from error
    return (kind for layer in layers(network) if not _own(kind := type_of(layer, path)))


def _blobs(path: str) -> dict[str, list[np.ndarray]]:
    """Layer → its weights."""
    from google.protobuf.message import DecodeError

    buffer = map_file(path)
    apart: dict[int, dict[tuple[int, ...], tuple[int, int]]] = {}
    data = b""
    for number, *rest in schema.BLOBS:
        data, apart[number] = cut(buffer, (number, *rest))
        if apart[number]:
            break
    try:
        network = schema.weights_message().FromString(data)
    except (DecodeError, ValueError, RecursionError) as error:
        raise ModelError(f"truncated, damaged or not a .caffemodel: {error}", file=path) from error
    whole = np.frombuffer(buffer, np.uint8)
    values: dict[str, list[np.ndarray]] = {}
    for number, members in ((100, network.layer), (2, network.layers)):
        for i, layer in enumerate(members):
            if layer.blobs and isinstance(layer.name, str):
                spans = [apart.get(number, {}).get((i, k)) for k in range(len(layer.blobs))]
                values[layer.name] = [_array(b, s, whole, path, layer.name) for b, s in zip(layer.blobs, spans)]
    if not network.layer and not network.layers:
        raise ModelError("truncated, damaged or not a .caffemodel: it holds no layers", file=path)
    return values


def _array(blob: Any, span: tuple[int, int] | None, whole: np.ndarray, path: str, where: str) -> np.ndarray:
    """A blob's values; those that stand apart as a view."""
    legacy = [blob.num, blob.channels, blob.height, blob.width]
    dims = list(blob.shape.dim) if blob.HasField("shape") else legacy
    check_rank(tuple(dims), path, where)
    if span is not None:
        raw = whole[slice(*span)]
        values = raw[: len(raw) // 4 * 4].view("<f4")
        values = values if values.flags.aligned else values.copy()
    elif blob.data:
        values = np.array(blob.data, np.float32)
    else:
        values = np.array(blob.double_data, np.float32)
    if any(d < 0 for d in dims) or math.prod(dims) != values.size:
        raise ModelError(f"holds {values.size} values where {dims} needs {math.prod(dims)}", file=path, node=where)
    return values.reshape(dims)


def _settings(layer: Any) -> dict[str, Any]:
    """What a layer says of its quantization, with its name; {} where it says nothing."""
    given = {f.name: v for f, v in layer.ListFields() if f.name in _SETTINGS}
    if "th_strategy" in given:
        given["th_strategy"] = ("USE_DEFAULT", "USE_KL", "USE_MAX")[given["th_strategy"]]
    return {"name": layer.name, **given} if given else {}


class _Reader:
    """Reads one network.

    Attributes:
        blobs: layer → its weights.
    """

    def __init__(self, network: Any, path: str, weights: str) -> None:
        self.network, self.path, self.weights = network, path, weights
        self.blobs = _blobs(weights)
        self.layers = list(layers(network))
        self.graph = Graph(network.name or "main", meta={"source": "caffe"})
        self.build = Builder(self.graph)

    def read(self, shapes: InputShapes) -> Graph:
        scope: dict[str, Tensor] = {}
        for name, dims in self._inputs():
            check_rank(tuple(dims), self.path, name)
            scope[name] = self.build.input(name, np.float32, shapes.take(name, tuple(d or None for d in dims)))
        shapes.finish()
        unread: dict[str, None] = {}
        last = {top: k for k, layer in enumerate(self.layers) for top in layer.top}
        self.build.reserve(last)
        for k, layer in enumerate(self.layers):
            kind = type_of(layer, self.path)
            if _own(kind):
                continue
            inputs = [self._value(name, scope) for name in layer.bottom]
            for name in layer.bottom:
                unread.pop(name, None)
            # A blob that a later layer computes in place has that layer's name until then.
            tops = [top if last[top] == k else layer.name for top in layer.top]
            outputs = [Tensor(top, np.dtype("f4")) for top in tops]
            reading = Reading(kind, layer.name, inputs, outputs, self._options(layer), self.build, file=self.path)
            function = reader("caffe", kind)
            if function is None:
                raise _unread_layer(layer, self.path)
            for top, tensor in zip(layer.top, read_operator(reading, function)):
                scope[top] = tensor
                unread[top] = None
        ends = [(name, scope[name]) for name in unread]
        self.graph.outputs = name_outputs(self.build, ends)
        if not self.graph.outputs:
            raise ModelError("it computes nothing", file=self.path)
        declare_ends(self.graph)
        self.graph.prune()
        self.graph.meta["external"] = [self.weights]
        self.graph.meta["layer_settings"] = [_settings(layer) for layer in self.layers if _settings(layer)]
        self.graph.uniquify()
        return self.graph

    def _options(self, layer: Any) -> dict[str, Any]:
        """The layer's message, and its weights as constants."""
        arrays = self.blobs.get(layer.name, [])
        names = [self.build.name(f"{layer.name}/{k}") for k in range(len(arrays))]
        constants = [Tensor(n, a.dtype, a.shape, a) for n, a in zip(names, arrays)]
        return {"layer": layer, "blobs": constants}

    def _value(self, name: str, scope: dict[str, Tensor]) -> Tensor:
        if name not in scope:
            raise undefined(name, self.path)
        return scope[name]

    def _inputs(self) -> Iterator[tuple[str, list[int]]]:
        """Name and sizes of each input; a size of 0 is open."""
        network = self.network
        for k, name in enumerate(network.input):
            dims = list(network.input_shape[k].dim) if k < len(network.input_shape) else []
            yield name, dims or list(network.input_dim[4 * k : 4 * k + 4])
        for layer in self.layers:
            kind = type_of(layer, self.path)
            if kind == "Input":
                given = layer.input_param.shape
                for k, name in enumerate(layer.top):
                    if not given:
                        raise ModelError("it has no input_param with a shape", file=self.path, node=layer.name)
                    yield name, list(given[min(k, len(given) - 1)].dim)
            elif kind in _DATA and layer.top:
                self.graph.meta["data_layer"] = data_layer(layer, kind, self.path)
                yield layer.top[0], [1, *self._image(layer)]

    def _image(self, layer: Any) -> list[int]:
        """Channels, height and width of what a data layer gives, by its steps and the first layer's weights."""
        first = next((n for n in self.layers if layer.top[0] in n.bottom and n.name in self.blobs), None)
        channels = 0
        if first is not None and type_of(first, self.path) == "Convolution":
            channels = self.blobs[first.name][0].shape[1] * first.convolution_param.group
        return [channels, *size_of(layer)]
