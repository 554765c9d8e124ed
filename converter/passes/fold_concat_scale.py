"""Folds an affine map per channel behind a Concat into the linear layers in front of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..ir import Graph, Node
from .affine import Affine, affine_of, linear_producer, scaled_inputs
from .edit import Edit, trail
from .record import Change, Record, Refusal

_NAME = "fold_concat_scale"


def fold_concat_scale(graph: Graph) -> Iterator[Record]:
    """Conv, Conv, … → Concat → Mul ⇒ Conv, Conv, … → Concat.

    The Mul, or Div, BatchNorm, Add or Sub, is y = a·x + c by constants per channel; each layer that the Concat joins
    along channels takes in its channels' part: w' = a·w, b' = a·b + c. In float64, rounded once.

    Not when an input of the Concat is something else than a linear layer's output, when a value in between has other
    readers, is a graph output or carries an activation, or a weight is shared, quantized, float16 or computed.
    """
    edit = Edit(graph)
    for node in edit.nodes():
        affine = affine_of(node, ("BatchNorm", "Mul", "Div", "Add", "Sub"))
        concat = None if affine is None else edit.producer(affine.data)
        if affine is None or concat is None or concat.op != "Concat" or edit.only_reader(affine.data) is not node:
            continue
        plain = all(n.attrs.get("act", "none") == "none" for n in (node, concat))
        if not plain or concat.attrs["axis"] not in (-1, len(affine.data.known_shape) - 1):
            continue
        parts = _parts(concat, affine)
        linear = [linear_producer(edit, part) for part in parts]
        layers = [found[0] for found in linear if found is not None]
        if not parts or len(set(layers)) < len(parts):
            continue
        reason = next((found[1] for found in linear if found is not None and found[1]), "")
        made = [] if reason else [scaled_inputs(edit, layer, part) for layer, part in zip(layers, parts)]
        reason = reason or next((why for _, why in made if why), "")
        if reason:
            yield Refusal(_NAME, node.name, reason)
            continue
        for layer, (inputs, _) in zip(layers, made):
            layer.origin = trail(layer, node)
            edit.set_inputs(layer, inputs)
        outputs = node.outputs
        edit.take_outputs(concat, outputs)
        edit.drop(node)
        yield Change(_NAME, concat.name, f"the layers in front of it took in {node.op} {node.name!r}")
    edit.finish()


def _parts(concat: Node, affine: Affine) -> list[Affine]:
    """The map of each input's channels; none where a width is not known or the numbers are not finite."""
    widths = [t.shape[-1] if t is not None and t.shape else None for t in concat.inputs]
    if not np.isfinite(affine.scale).all() or not np.isfinite(affine.offset).all() or None in widths:
        return []
    ends = np.cumsum([width or 0 for width in widths])[:-1]
    scales, offsets = np.split(affine.scale, ends), np.split(affine.offset, ends)
    return [Affine(concat.required(k), *part) for k, part in enumerate(zip(scales, offsets))]
