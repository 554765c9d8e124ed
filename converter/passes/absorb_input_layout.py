"""Declares NC… graph inputs and outputs as N…C, as a device wants them."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir import Graph, Tensor
from ..ops.layout import first_perm, last_perm, permuted_shape
from .edit import Edit
from .runner import Change, Record, Refusal


def absorb_input_layout(graph: Graph) -> Iterator[Record]:
    """input [N,C,H,W] ⇒ input [N,H,W,C] → Transpose, for each input that says NCHW.

    The Transpose meets its inverse in front of the first convolution and `cancel_transposes` removes both: run it
    afterwards. The input keeps its name and is tagged NHWC.

    Not for inputs of other ranks, nor for quantization along an axis.
    """
    edit = Edit(graph)
    for k, x in enumerate(list(graph.inputs)):
        if x.layout != "NCHW" or x.rank != 4:
            continue
        if x.quant is not None and x.quant.axis is not None:
            yield Refusal("absorb_input_layout", x.name, "it is quantized along an axis")
            continue
        name, readers, kept = x.name, edit.readers(x), x in graph.outputs
        if kept:
            yield Refusal("absorb_input_layout", x.name, "it is a graph output, too")
            continue
        x.name = edit.name(f"{name}/nchw")
        dims = tuple(x.dims[p] for p in last_perm(4)) if len(x.dims) == 4 else ()
        fresh = Tensor(name, x.dtype, permuted_shape(x.shape, last_perm(4)), None, x.quant, "NHWC", dims)
        x.layout, x.dims = "", ()
        graph.inputs[k] = fresh
        if readers:
            first = next(n for n in graph.nodes if n in readers)
            edit.emit("Transpose", [fresh], {"perm": first_perm(4)}, at=first, outputs=[x])
        yield Change("absorb_input_layout", name, f"is NHWC {list(fresh.shape or ())} now")
    edit.finish()


def absorb_output_layout(graph: Graph) -> Iterator[Record]:
    """Transpose → output [N,C,H,W] ⇒ output [N,H,W,C], for each output that says NCHW.

    Where another node makes the output, a Transpose to N…C comes behind it. The output keeps its name and is tagged
    NHWC.

    Not for outputs of other ranks, for constants and graph inputs, nor for quantization along an axis.
    """
    edit = Edit(graph)
    for k, y in enumerate(list(graph.outputs)):
        node = edit.producer(y)
        if y.layout != "NCHW" or y.rank != 4:
            continue
        if node is None or (y.quant is not None and y.quant.axis is not None):
            why = "nothing computes it" if node is None else "it is quantized along an axis"
            yield Refusal("absorb_output_layout", y.name, why)
            continue
        name = y.name
        y.name = edit.name(f"{name}/nchw")
        fresh = Tensor(name, y.dtype, permuted_shape(y.shape, last_perm(4)), None, y.quant, "NHWC")
        y.layout = ""
        graph.outputs[k] = fresh
        edit.emit("Transpose", [y], {"perm": last_perm(4)}, after=node, outputs=[fresh])
        yield Change("absorb_output_layout", name, f"is NHWC {list(fresh.shape or ())} now")
    edit.finish()
