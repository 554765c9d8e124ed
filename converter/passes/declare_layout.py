"""Declares 4-D graph inputs and outputs in the layout that a container's readers expect."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph, Tensor
from ..ops._support.layout import first_perm, last_perm, permuted_shape
from .edit import Edit
from .record import Change, Record, Refusal

_ORDER = {"NHWC": last_perm(4), "NCHW": first_perm(4)}
_OTHER = {"NHWC": "NCHW", "NCHW": "NHWC"}


def absorb_input_layout(graph: Graph) -> Iterator[Record]:
    """input [N,C,H,W] ⇒ input [N,H,W,C] → Transpose, for each input that says NCHW.

    The Transpose meets its inverse in front of the first convolution and `cancel_transposes` removes both: run it
    afterwards. The input keeps its name and is tagged NHWC.

    Not for inputs that are graph outputs, too, nor for quantization along an axis.
    """
    return _inputs(graph, "absorb_input_layout", "NHWC")


def absorb_output_layout(graph: Graph) -> Iterator[Record]:
    """output [N,C,H,W] ⇒ Transpose → output [N,H,W,C], for each output that says NCHW.

    As `absorb_input_layout`. Not for outputs that nothing computes, nor for quantization along an axis.
    """
    return _outputs(graph, "absorb_output_layout", "NHWC")


def restore_input_layout(graph: Graph) -> Iterator[Record]:
    """input [N,H,W,C] ⇒ input [N,C,H,W] → Transpose, for each input that says NHWC.

    The way back from `absorb_input_layout`, for containers whose convolutions are NC…; not where that one refuses.
    """
    return _inputs(graph, "restore_input_layout", "NCHW")


def restore_output_layout(graph: Graph) -> Iterator[Record]:
    """output [N,H,W,C] ⇒ Transpose → output [N,C,H,W], for each output that says NHWC.

    The way back from `absorb_output_layout`; not where that one refuses.
    """
    return _outputs(graph, "restore_output_layout", "NCHW")


def _inputs(graph: Graph, pass_name: str, layout: str) -> Iterator[Record]:
    edit = Edit(graph)
    for k, x in enumerate(list(graph.inputs)):
        if x.layout != _OTHER[layout] or x.rank != 4:
            continue
        if edit.is_output(x) or (x.quant is not None and x.quant.axis is not None):
            why = "it is a graph output, too" if edit.is_output(x) else "it is quantized along an axis"
            yield Refusal(pass_name, x.name, why)
            continue
        name, readers, perm = x.name, set(edit.readers(x)), _ORDER[layout]
        x.name = edit.name(f"{name}/{x.layout.lower()}")
        dims = tuple(x.dims[p] for p in perm) if len(x.dims) == 4 else ()
        fresh = Tensor(name, x.dtype, permuted_shape(x.shape, perm), None, x.quant, layout, dims)
        graph.inputs[k] = fresh
        if readers:
            first = next(n for n in graph.nodes if n in readers)
            edit.emit("Transpose", [fresh], {"perm": _ORDER[x.layout]}, at=first, outputs=[x])
        x.layout, x.dims = "", ()
        yield Change(pass_name, name, f"is {layout} {list(fresh.shape or ())} now")
    edit.finish()


def _outputs(graph: Graph, pass_name: str, layout: str) -> Iterator[Record]:
    edit = Edit(graph)
    for k, y in enumerate(list(graph.outputs)):
        node = edit.producer(y)
        if y.layout != _OTHER[layout] or y.rank != 4:
            continue
        if node is None or (y.quant is not None and y.quant.axis is not None):
            why = "nothing computes it" if node is None else "it is quantized along an axis"
            yield Refusal(pass_name, y.name, why)
            continue
        name, perm = y.name, _ORDER[layout]
        y.name = edit.name(f"{name}/{y.layout.lower()}")
        fresh = Tensor(name, y.dtype, permuted_shape(y.shape, perm), None, y.quant, layout)
        y.layout = ""
        graph.outputs[k] = fresh
        edit.emit("Transpose", [y], {"perm": perm}, after=node, outputs=[fresh])
        yield Change(pass_name, name, f"is {layout} {list(fresh.shape or ())} now")
    edit.finish()
