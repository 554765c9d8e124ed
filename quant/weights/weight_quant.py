"""WeightQuant: decides which weights are stored as integers of 1 to 16 bits, and gives them their codes.

The arithmetic and the gates are in `weight_math`; a quantized weight is an integer constant with a `QuantParam`, and
the operator that reads it computes with the reals it stands for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from ...converter.errors import Setting, UnsupportedError, UsageError
from ...converter.formats.files import sweep
from ...converter.ir import Graph, Node, Tensor
from ...converter.ops import row
from ..selection import REQUESTED, select
from ..selectors import Selector, parse_selector
from .block_weights import store_in_blocks
from .symmetric_weights import quantize_symmetric
from .weight_math import Weight, gate, on_each, quantize_weight, quantize_weights

PROBED_BITS = (2, 3)  # so few may leave a network that computes nothing
NOISE_BITS = (4, 5)  # with more there is little to correct, with fewer little that noise knows of


@dataclass(frozen=True)
class WeightSettings:
    """What `quantize_graph_weights` is asked for; the fields are those of `ConvertOptions`.

    container: what the weights are written to, when that is no .ms: then zero points are 0, without
    a correction, and a width that it cannot hold is refused. chosen: node name → bits, where layer_bits says nothing.
    gates_yield: the gates hold few bits back, but not those of `chosen` that cost no accuracy to speak of: from
    `OPEN_BITS` on the channel gate lets a weight through, and what a gate leaves at `HALF` is stored as float16.
    alone: a weight's codes do not depend on what other weights have the same width. block_size: inputs of a block of
    matrix products, 0 for one scale per output; block_zero_points: blocks have zero points. threads: no code depends
    on how many there are.
    """

    bits: int = 8
    min_size: int = 0
    min_channels: int = 16
    gain_gate: bool = True
    correction: bool = True
    per_channel: bool = True
    keep_float: Sequence[Selector] = ()
    layer_bits: tuple[tuple[str, int], ...] = ()
    container: str = ""
    chosen: Mapping[str, int] = field(default_factory=dict)
    gates_yield: bool = False
    alone: bool = False
    block_size: int = 0
    block_zero_points: bool = False
    threads: int = 1


OPEN_BITS = 8  # with so many, weights of few channels need no gate
HALF = 16  # bits of a weight of float16, where a gate leaves it
FLOAT = 32  # bits of a weight that is left as it is, where bits are chosen
CHOSEN = "in float for the outputs' sake"  # why it is

# The widths of constants that other formats hold.
WIDTHS = {"tflite": (4, 8), "onnx": (4, 8, 16)}


@dataclass
class WeightRow:
    """One weight of the model, as the report shows it.

    Args:
        layer: the node that reads it (the first, when several do). bits: 32 (or 16) when it stays float.
        before: bytes in the source. reason: why it stays float, "" when it is quantized.
        gate: why it would stay float with the bits that were asked for, where it has more.
    """

    layer: str
    op: str
    tensor: str
    shape: tuple[int, ...]
    bits: int
    before: int
    reason: str = ""
    gate: str = ""


def quantize_graph_weights(
    graph: Graph, settings: WeightSettings, kept: Mapping[Node, str] | None = None
) -> list[WeightRow]:
    """Replaces weights by their codes, in place. Returns one row per weight, in graph order.

    kept: the nodes that keep theirs, and why, instead of those that settings.keep_float names.

    Raises:
        UsageError: keep_float or layer_bits names nothing in the graph.
    """
    kept = dict.fromkeys(select(graph, settings.keep_float), REQUESTED) if kept is None else kept
    widths = named_widths(graph, settings)
    rows: list[WeightRow] = []
    blocked: dict[Node, Tensor] = {}
    if settings.block_size:
        bits_of = {n: widths.get(n, settings.chosen.get(n.name, settings.bits)) for n in graph.nodes}
        form = settings.block_size, settings.block_zero_points
        blocked = store_in_blocks(graph, *form, bits_of, kept, settings.container)
    chosen: dict[int, list[tuple[Tensor, Weight]]] = {}
    halves: list[Tensor] = []
    users: dict[Tensor, tuple[Node, int | None]] = {}
    for node in sweep(graph.nodes, _stored_floats):
        if node in blocked:
            w = blocked[node]
            rows.append(WeightRow(node.name, "FullyConnected", w.name, w.static_shape, node.attrs["bits"], w.nbytes))
        cell = row(node.op).quant
        for index in cell.weights if cell is not None else ():
            w = node.input(index)
            if cell is None or w is None or w.data is None or w.dtype.kind != "f" or w.data.ndim < 2:
                continue
            axis = cell.channel_axis(node) if settings.per_channel else None
            if w in users:
                first, known = users[w]
                if known != axis:
                    _drop(chosen, w, rows, f"tied between {first.name} and {node.name}, whose channels differ")
                continue
            users[w] = (node, axis)
            bits = widths.get(node, settings.chosen.get(node.name, settings.bits))
            yields = settings.gates_yield and node not in widths and node.name in settings.chosen
            held, opened = "", False
            if bits != FLOAT:
                limits = {"conv": cell.conv_family, "min_size": settings.min_size, "gain": settings.gain_gate}
                held = gate(w.data.shape, axis, bits, min_channels=settings.min_channels, **limits) or ""
                opened = bool(held) and yields and OPEN_BITS <= bits < HALF
                opened = opened and gate(w.data.shape, axis, bits, min_channels=0, **limits) is None
            reason = kept.get(node, CHOSEN if bits == FLOAT else "" if opened else held)
            if reason and yields and bits == HALF and node not in kept:
                halves.append(w)
            if not reason and not np.isfinite(w.data).all():
                reason = "holds NaN or infinity"
            rows.append(
                WeightRow(
                    node.name,
                    node.op,
                    w.name,
                    w.data.shape,
                    w.dtype.itemsize * 8 if reason else bits,
                    w.data.nbytes,
                    reason,
                    held if opened and not reason else "",
                )
            )
            if not reason:
                _check_width(node, bits, settings.container)
                weight = Weight(w.data.astype(np.float32, copy=False), axis, kernel=cell.conv_family)
                chosen.setdefault(bits, []).append((w, weight))
    for bits, group in chosen.items():
        weights = [weight for _, weight in group]
        if settings.container in WIDTHS:
            quantized = on_each(partial(quantize_symmetric, bits=bits), weights, settings.threads)
        elif settings.alone:
            quantized = on_each(
                partial(quantize_weight, bits=bits, correction=settings.correction), weights, settings.threads
            )
        else:
            quantized = quantize_weights(weights, bits, correction=settings.correction, threads=settings.threads)
            if bits in PROBED_BITS and settings.correction:
                from ..ptq.probe import keep_usable

                quantized = keep_usable(graph, [tensor for tensor, _ in group], weights, quantized, bits)
        for (tensor, _), (codes, params) in zip(group, quantized):
            tensor.data, tensor.dtype, tensor.quant = codes, codes.dtype, params
    if halves:
        store_float16(graph, halves, rows)
    return rows


def _stored_floats(node: Node) -> int:
    """Bytes of the constants that are looked at."""
    return sum(t.nbytes for t in node.inputs if t is not None and t.is_const and t.dtype.kind == "f")


def _check_width(node: Node, bits: int, container: str) -> None:
    widths = WIDTHS.get(container)
    if widths is not None and bits not in widths:
        nearest = min(widths, key=lambda width: (abs(width - bits), -width))
        raise UnsupportedError(
            f"{node.name} ({node.op}): weights of {bits} bits have no form in {container}, the nearest is {nearest}",
            hint=(Setting("bit_num", nearest), " or ", Setting("output_format", "MS")),
        )


def _drop(chosen: dict[int, list[tuple[Tensor, Weight]]], w: Tensor, rows: list[WeightRow], reason: str) -> None:
    for group in chosen.values():
        group[:] = [(t, weight) for t, weight in group if t is not w]
    for entry in rows:
        if entry.tensor == w.name and not entry.reason:
            entry.reason, entry.bits = reason, w.dtype.itemsize * 8


def named_widths(graph: Graph, settings: WeightSettings) -> dict[Node, int]:
    """The bits of the nodes that layer_bits names. Raises UsageError where it names nothing."""
    widths: dict[Node, int] = {}
    for text, bits in settings.layer_bits:
        meant = select(graph, (parse_selector(text),))
        if not meant:
            raise UsageError(f"layerBits: {text!r} names no node of the model")
        widths |= dict.fromkeys(meant, bits)
    return widths


def store_float16(
    graph: Graph, chosen: Collection[Tensor | None] | None = None, rows: Iterable[WeightRow] = ()
) -> list[str]:
    """Turns the remaining float32 weights and biases, or the chosen ones, into float16, in place, and the bits of their
    rows into 16. Returns why some stay."""
    notes, row_of = list[str](), {row.tensor: row for row in rows}
    limit = float(np.finfo(np.float16).max)
    layers, others = of_layers(graph)
    if others:
        ops = ", ".join(sorted(set(others.values())))
        notes.append(f"{len(others)} constants stay float32: operands of {ops} are no weights, and have one type")
    for tensor in graph.constants():
        if tensor not in layers or tensor.data is None or tensor.dtype != np.float32 or tensor.quant is not None:
            continue
        if chosen is not None and tensor not in chosen:
            continue
        if tensor.data.size and not (np.abs(tensor.data) <= limit).all():
            notes.append(f"{tensor.name} stays float32: it holds values beyond float16's {limit:g}")
            continue
        tensor.data = tensor.data.astype(np.float16)
        tensor.dtype = tensor.data.dtype
        if tensor.name in row_of:
            row_of[tensor.name].bits = 16
    return notes


def of_layers(graph: Graph) -> tuple[set[Tensor], dict[Tensor, str]]:
    """Constants that layers alone read, as weight or bias, which all formats take as float16; and the float32 rest,
    each with the operator that reads it."""
    layers: set[Tensor] = set()
    others: dict[Tensor, str] = {}
    for node in graph.nodes:
        cell = row(node.op).quant
        places = (*cell.weights, cell.bias) if cell is not None else ()
        for k, t in enumerate(node.inputs):
            if t is None or not t.is_const or t.dtype != np.float32:
                continue
            if k in places:
                layers.add(t)
            else:
                others[t] = node.op
    return layers - set(others) - set(graph.outputs), others


def keep_float16(graph: Graph) -> None:
    """Stores as float16, in place, what layers alone read and float16 holds exactly.

    Of a source that stores its weights so: what its passes have left of them is as small as it was.
    """
    for t in of_layers(graph)[0]:
        if t.data is None or t.quant is not None:
            continue
        with np.errstate(over="ignore"):
            half = t.data.astype(np.float16)
        if np.array_equal(half.astype(np.float32), t.data):
            t.data, t.dtype = half, half.dtype
