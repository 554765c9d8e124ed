"""What only renames axes: Reshape (and Flatten, which reads as one), Squeeze, ExpandDims."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import Setting
from ..ir import Node, Shape, Tensor, is_quantized
from ..schema.op import Case, Inferred, Quant, op, reads, writes
from ..schema.reading import Reading
from ..schema.writing import Writing
from ._support.caffe import axis_of, param, sizes_of
from ._support.channels import with_same_last_axis
from ._support.integer import same_codes
from ._support.params import int64_param, write_ints, write_param
from ._support.types import const_ints, fail, known_size, length, normal_axes, value_dtype


def infer_reshape(node: Node) -> Inferred:
    x, shape = node.required(0), node.required(1)
    count = length(node, shape, "the shape")
    wanted = const_ints(shape)
    if wanted is None:
        return [(value_dtype(x), None if count is None else (None,) * count)]
    return [(value_dtype(x), _target(node, x.shape, wanted))]


def _target(node: Node, shape: Shape | None, wanted: list[int]) -> Shape:
    if min(wanted, default=0) < -1 or wanted.count(-1) > 1:
        fail(node, f"cannot reshape to {wanted}: at most one size may be -1")
    out: list[int | None] = [None if n == -1 else n for n in wanted]
    rest: list[int | None] | None = None if shape is None else list(shape)
    if node.attrs["zero_copies"]:
        for i, n in enumerate(wanted):
            if n == 0:
                if shape is not None and i >= len(shape):
                    fail(node, f"cannot reshape {shape} to {wanted}: there is no size {i} to copy")
                out[i] = None if shape is None else shape[i]
        if rest is not None and None in rest:
            # An unknown size that is copied takes no part in the count.
            for i in (i for i, n in enumerate(wanted) if n == 0 and rest[i] is None):
                rest[i] = 1
    copied = [1 if n == 0 and node.attrs["zero_copies"] and m is None else m for n, m in zip(wanted, out)]
    total = None if rest is None else known_size(tuple(rest))
    if -1 in wanted:
        others = known_size(tuple(n for n, m in zip(copied, wanted) if m != -1))
        if total is not None and others is not None:
            if (others == 0 and total != 0) or (others and total % others):
                fail(node, f"cannot reshape {shape} to {wanted}")
            out[wanted.index(-1)] = total // others if others else 0
    elif total is not None and known_size(tuple(copied)) not in (None, total):
        fail(node, f"cannot reshape {shape} to {wanted}")
    return tuple(out)


def _reshape(x: np.ndarray, shape: np.ndarray, *, zero_copies: bool) -> np.ndarray:
    wanted = [int(n) for n in np.asarray(shape).reshape(-1)]
    if zero_copies:
        if any(n == 0 and i >= x.ndim for i, n in enumerate(wanted)):
            raise ValueError(f"shape {wanted} copies a size that {x.shape} does not have")
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    return x.reshape(wanted) if x.size or -1 not in wanted else x.reshape([0 if n == -1 else n for n in wanted])


@op(
    "Reshape",
    attrs={"zero_copies": False},
    infer=infer_reshape,
    arity=2,
    kernel="reshape",
    quant=Quant(output="same", mslite="", passes_channels=with_same_last_axis),
    const_inputs={1: "shape"},
    integer=same_codes(_reshape),
    cases=[
        Case(((2, 3, 4), np.array([4, -1]))),
        Case(
            (
                (1, 5, 3),
                np.array([0, 15]),
            ),
            {"zero_copies": True},
        ),
        Case(((6,), np.array([1, 2, 3, 1]))),
        Case(((1, 1), np.array([], np.int64))),
    ],
)
def reshape(x: np.ndarray, shape: np.ndarray, *, zero_copies: bool) -> np.ndarray:
    """x in row-major order as `shape` (int64[n], one -1 allowed; 0 is the input's size there when `zero_copies`)."""
    return _reshape(x, shape, zero_copies=zero_copies)


def infer_squeeze(node: Node) -> Inferred:
    x = node.required(0)
    axes = _axes(node)
    if x.shape is None or (axes is None and (node.input(1) is not None or None in x.shape)):
        return [(value_dtype(x), None)]
    if axes is None:
        return [(value_dtype(x), tuple(n for n in x.shape if n != 1))]
    axes = normal_axes(node, axes, len(x.shape))
    wrong = next((a for a in axes if x.shape[a] not in (1, None)), None)
    if wrong is not None:
        fail(node, f"axis {wrong} of {x.shape} is not of size 1")
    return [(value_dtype(x), tuple(n for i, n in enumerate(x.shape) if i not in axes))]


def _axes(node: Node) -> list[int] | None:
    """The axes of an attribute or of a constant input; None where all, or where they are known at run time only."""
    length(node, node.input(1), "the axes")
    return const_ints(node.input(1)) if node.input(1) is not None else node.attrs["axes"]


def _squeeze(x: np.ndarray, at: np.ndarray | None = None, *, axes: list[int] | None) -> np.ndarray:
    if at is not None:
        axes = [int(a) for a in np.asarray(at).reshape(-1)]
    return np.squeeze(x) if axes is None else np.squeeze(x, tuple(axes))


@op(
    "Squeeze",
    attrs={"axes": None},
    infer=infer_squeeze,
    arity=(1, 2),
    kernel="squeeze",
    quant=Quant(output="same", mslite="", passes_channels=with_same_last_axis),
    const_inputs={1: "axes"},
    integer=same_codes(_squeeze),
    cases=[Case(((1, 3, 1, 2),)), Case(((1, 3, 1, 2),), {"axes": [-2]}), Case(((1, 1),), {"axes": [0, 1]})],
)
def squeeze(x: np.ndarray, at: np.ndarray | None = None, *, axes: list[int] | None) -> np.ndarray:
    """x without the axes of size 1 named by `axes` (None: all); input 1 names them where they are not constant."""
    return _squeeze(x, at, axes=axes)


def infer_expand_dims(node: Node) -> Inferred:
    x = node.required(0)
    axes = _axes(node)
    if axes is None:
        count = length(node, node.input(1), "the axes")
        if node.input(1) is None:
            fail(node, "it has no axes")
        return [(value_dtype(x), None if x.rank is None or count is None else (None,) * (x.rank + count))]
    if x.shape is None:
        return [(value_dtype(x), None)]
    axes = normal_axes(node, axes, len(x.shape) + len(axes))
    sizes = iter(x.shape)
    rank = len(x.shape) + len(axes)
    return [(value_dtype(x), tuple(1 if i in axes else next(sizes) for i in range(rank)))]


def _expand_dims(x: np.ndarray, at: np.ndarray | None = None, *, axes: list[int] | None) -> np.ndarray:
    if at is not None:
        axes = [int(a) for a in np.asarray(at).reshape(-1)]
    return np.expand_dims(x, tuple(axes or ()))


@op(
    "ExpandDims",
    attrs={"axes": None},
    infer=infer_expand_dims,
    arity=(1, 2),
    kernel="expand_dims",
    quant=Quant(output="same", mslite="", passes_channels=with_same_last_axis),
    const_inputs={1: "axes"},
    integer=same_codes(_expand_dims),
    cases=[Case(((3, 2),), {"axes": [0]}), Case(((3, 2),), {"axes": [-1, 1]}), Case(((),), {"axes": [0]})],
)
def expand_dims(x: np.ndarray, at: np.ndarray | None = None, *, axes: list[int] | None) -> np.ndarray:
    """x with axes of size 1 at `axes` of the result; input 1 names them where they are not constant."""
    return _expand_dims(x, at, axes=axes)


def reshaped(r: Reading, x: Tensor, shape: Sequence[int], *, zero_copies: bool = False) -> Tensor:
    """x reshaped; a constant with quantized values per tensor stays a constant."""
    if x.is_const and is_quantized(x) and x.qparams.axis is None:
        data = _reshape(x.value, np.asarray(shape), zero_copies=zero_copies)
        constant = r.constant(data, name=x.name)
        constant.quant = x.quant
        return constant
    return r.emit("Reshape", x, r.constant(list(shape), np.int64, f"{r.name}/shape"), zero_copies=zero_copies)


@reads("tflite", "RESHAPE")
def read_tflite_reshape(r: Reading) -> Tensor:
    """The shape is input 1, or an option in older files, where [0] stands for a scalar."""
    x, shape = r.input(0), r.optional(1)
    if shape is not None and shape.data is None:
        return r.emit("Reshape", x, shape)
    if shape is not None:
        return reshaped(r, x, r.ints(1))
    wanted = [int(n) for n in r.attr("new_shape", [])]
    return reshaped(r, x, [] if wanted == [0] else wanted)


@reads("onnx", "Reshape")
def read_onnx_reshape(r: Reading) -> Tensor:
    zero_copies = not r.attr("allowzero", 0)
    x, shape = r.input(0), r.input(1)
    if shape.data is None:
        return r.emit("Reshape", x, shape, zero_copies=zero_copies)
    wanted = r.ints(1)
    # With every size known a copied 0 is that size, which other containers can say too.
    if zero_copies and x.shape is not None and 0 in wanted:
        if any(n == 0 and i >= len(x.shape) for i, n in enumerate(wanted)):
            r.refuse(f"shape {wanted} copies a size that {x.shape} does not have")
        wanted = [(x.shape[i] or 0) if n == 0 else n for i, n in enumerate(wanted)]
        zero_copies = any(n == 0 and x.shape[i] is None for i, n in enumerate(wanted))
    return reshaped(r, x, wanted, zero_copies=zero_copies)


@reads("onnx", "Flatten")
def read_onnx_flatten(r: Reading) -> Tensor:
    x, axis = r.input(0), r.attr("axis", 1)
    return _flatten(r, x, axis)


def _flatten(r: Reading, x: Tensor, axis: int) -> Tensor:
    rank = r.rank(x)
    if not -rank <= axis <= rank:
        r.refuse(f"axis {axis} is outside {-rank}..{rank}")
    return flattened(r, x, axis + rank if axis < 0 else axis)


def flattened(r: Reading, x: Tensor, axis: int) -> Tensor:
    """x as a matrix: the axes before `axis` (from the front) are its rows, the others its columns."""
    head, tail = known_size(x.known_shape[:axis]), known_size(x.known_shape[axis:])
    # A side of size 0 would leave the other one open.
    if (head, tail) != (None, None) and (None not in (head, tail) or 0 not in (head, tail)):
        return reshaped(r, x, [-1 if head is None else head, -1 if tail is None else tail])
    sides = [r.emit("Shape", x, end=axis), r.emit("Shape", x, start=axis)]
    sizes = [r.emit("Reduce", t, mode="prod", axes=[0], keep_dims=True) for t in sides]
    return r.emit("Reshape", x, r.emit("Concat", *sizes, axis=0))


@reads("ms", "Flatten")
def read_ms_flatten(r: Reading) -> Tensor:
    return _flatten(r, r.input(0), r.attr("axis", 1))


@reads("ms", "Reshape")
def read_ms_reshape(r: Reading) -> Tensor:
    shape = r.input(1)
    if shape.data is None:
        return r.emit("Reshape", r.input(0), shape, zero_copies=True)
    return reshaped(r, r.input(0), r.ints(1), zero_copies=0 in r.ints(1))


@reads("mindir", "Reshape", "View")
def read_mindir_reshape(r: Reading) -> Tensor:
    if r.optional(1) is not None and r.input(1).data is None:
        return r.emit("Reshape", r.input(0), int64_param(r, r.input(1)))
    return reshaped(r, r.input(0), r.wholes(1, "shape"))


@reads("mindir", "Flatten")
def read_mindir_flatten(r: Reading) -> Tensor:
    return _flatten(r, r.input(0), 1)


@reads("mindir", "FlattenExt")
def read_mindir_flatten_span(r: Reading) -> Tensor:
    x = r.input(0)
    rank = r.rank(x)
    first, last = (r.whole(k, key, d) % max(rank, 1) for k, key, d in ((1, "start_dim", 0), (2, "end_dim", -1)))
    head = [n if n is not None else 0 for n in x.known_shape[:first]]
    tail = x.known_shape[last + 1 :]
    if None in tail or first > last:
        r.refuse(f"axes {first} to {last} of shape {x.shape}")
    return reshaped(r, x, [*head, -1, *(int(n or 0) for n in tail)], zero_copies=0 in head)


@reads("mindir", "Squeeze")
def read_mindir_squeeze(r: Reading) -> Tensor:
    return r.emit("Squeeze", r.input(0), axes=r.wholes(1, "axis", []) or None)


@reads("mindir", "ExpandDims", "Unsqueeze")
def read_mindir_expand_dims(r: Reading) -> Tensor:
    return r.emit("ExpandDims", r.input(0), axes=r.wholes(1, "axis"))


@reads("caffe", "Flatten")
def read_caffe_flatten(r: Reading) -> Tensor:
    """The axes from `axis` to `end_axis` become one."""
    p, x = param(r, "flatten_param"), r.input(0)
    first, last = axis_of(r, x, p.axis), axis_of(r, x, p.end_axis)
    if (first, last) == (1, r.rank(x) - 1):
        return _flatten(r, x, 1)
    sizes = sizes_of(r, x)
    return reshaped(r, x, [*sizes[:first], -1, *sizes[last + 1 :]])


@reads("caffe", "Reshape")
def read_caffe_reshape(r: Reading) -> Tensor:
    """`num_axes` axes from `axis` on become those of `shape`, where 0 copies a size and -1 is what is left."""
    p, x = param(r, "reshape_param"), r.input(0)
    rank = r.rank(x)
    first = axis_of(r, x, p.axis, extra=1)
    end = rank if p.num_axes == -1 else first + p.num_axes
    if not first <= end <= rank:
        r.refuse(f"{p.num_axes} axes from {first} on of a tensor of rank {rank}")
    wanted = [int(d) for d in p.shape.dim]
    if any(d == 0 and first + k >= rank for k, d in enumerate(wanted)):
        r.refuse(f"shape {wanted} copies a size that {x.shape} does not have")
    whole = [*x.known_shape[:first], *(x.known_shape[first + k] if d == 0 else d for k, d in enumerate(wanted))]
    whole += x.known_shape[end:]
    if whole.count(None) + whole.count(-1) > 1:
        r.refuse(f"the shape of {x.name!r} is not known", hint=Setting("input_shape"))
    return reshaped(r, x, [-1 if d is None else d for d in whole])


@writes("ms", "Reshape")
def write_ms_reshape(w: Writing, node: Node) -> None:
    """The runtime hangs on a Reshape to a single number."""
    x, y = node.inputs[0], node.outputs[0]
    if y.shape == ():
        if x is None or not x.shape or any(n != 1 for n in x.shape):
            w.refuse(
                node, f"a single number is made of shape {None if x is None else x.shape}", hint=Setting("input_shape")
            )
        w.node("Squeeze", node, [x], fields={"axis": list(range(len(x.shape)))})
        return
    w.node("Reshape", node, [node.inputs[0], write_param(w, node, _shape(w, node), "shape")])


@writes("tflite", "Reshape")
def write_tflite_reshape(w: Writing, node: Node) -> None:
    shape = _shape(w, node)
    known = const_ints(shape)
    fields = {} if known is None else {"new_shape": known}
    w.node("RESHAPE", node, [node.inputs[0], write_param(w, node, shape, "shape")], fields=fields)


def _shape(w: Writing, node: Node) -> Tensor:
    """The shape input for containers in which 0 does not copy a size."""
    shape, y = node.required(1), node.outputs[0]
    if not node.attrs["zero_copies"]:
        return shape
    known = const_ints(shape)
    if known is None:
        w.refuse(node, "its shape is computed at run time and may copy sizes", hint=Setting("input_shape"))
    if 0 not in known:
        return shape
    if y.shape is None or sum(n is None for n in y.shape) > 1:
        w.refuse(node, f"shape {known} copies sizes that are not known", hint=Setting("input_shape"))
    return write_ints(w, node, [-1 if n is None else n for n in y.shape], "shape")


@writes("onnx", "Reshape")
def write_onnx_reshape(w: Writing, node: Node) -> None:
    known = const_ints(node.inputs[1])
    zeros = not node.attrs["zero_copies"] and (known is None or 0 in known)
    fields = {"allowzero": 1} if zeros else {}
    w.node("Reshape", node, [node.inputs[0], write_param(w, node, node.inputs[1], "shape")], fields=fields)


@reads("tflite", "SQUEEZE")
def read_tflite_squeeze(r: Reading) -> Tensor:
    axes = [int(a) for a in r.attr("squeeze_dims", [])]
    return r.emit("Squeeze", r.input(0), axes=axes or None)


@reads("tflite", "EXPAND_DIMS")
def read_tflite_expand_dims(r: Reading) -> Tensor:
    axis = r.input(1)
    return r.emit("ExpandDims", r.input(0), axes=r.ints(1)) if axis.is_const else r.emit("ExpandDims", r.input(0), axis)


def _onnx_axes(r: Reading, op_name: str) -> Tensor:
    """Axes: an attribute before opset 13, an input since."""
    axes = r.optional(1)
    if axes is not None and not axes.is_const:
        return r.emit(op_name, r.input(0), int64_param(r, axes))
    given = r.ints(1) if axes is not None else r.attr("axes", None)
    return r.emit(op_name, r.input(0), axes=None if given is None else [int(a) for a in given])


@reads("onnx", "Squeeze")
def read_onnx_squeeze(r: Reading) -> Tensor:
    return _onnx_axes(r, "Squeeze")


@reads("onnx", "Unsqueeze")
def read_onnx_unsqueeze(r: Reading) -> Tensor:
    return _onnx_axes(r, "ExpandDims")


@reads("ms", "Squeeze")
def read_ms_squeeze(r: Reading) -> Tensor:
    axes = r.ints(1) if r.optional(1) is not None else [int(a) for a in r.attr("axis", [])]
    return r.emit("Squeeze", r.input(0), axes=axes or None)


@reads("ms", "Unsqueeze", "ExpandDims")
def read_ms_unsqueeze(r: Reading) -> Tensor:
    axes = r.ints(1) if r.optional(1) is not None else [int(a) for a in r.attr("axis", [])]
    return r.emit("ExpandDims", r.input(0), axes=axes)


def _written_axes(w: Writing, node: Node) -> list[int] | None:
    if node.input(1) is not None:
        computed = const_ints(node.input(1))
        if computed is None:
            w.refuse(node, "its axes are computed at run time")
        return computed
    return node.attrs["axes"]


@writes("ms", "Squeeze", "ExpandDims")
def write_ms_axes(w: Writing, node: Node) -> None:
    axes, x = _written_axes(w, node) or [], node.inputs[0]
    if node.op == "ExpandDims" and len(axes) > 1 and x is not None and x.shape is not None:
        # The runtime inserts one after another, so the axes must come in the order of the result.
        axes = sorted(a % (len(x.shape) + len(axes)) for a in axes)
    w.node("Squeeze" if node.op == "Squeeze" else "Unsqueeze", node, [node.inputs[0]], fields={"axis": axes})


@writes("tflite", "Squeeze", "ExpandDims")
def write_tflite_axes(w: Writing, node: Node) -> None:
    """EXPAND_DIMS takes one axis; several are a RESHAPE."""
    axes, y = _written_axes(w, node), node.outputs[0]
    if node.op == "Squeeze":
        w.node("SQUEEZE", node, [node.inputs[0]], fields={"squeeze_dims": axes or []})
    elif axes is not None and len(axes) == 1:
        w.node("EXPAND_DIMS", node, [node.inputs[0], write_ints(w, node, axes, "axis")])
    else:
        if y.shape is None or sum(n is None for n in y.shape) > 1:
            w.refuse(node, f"several axes at once of unknown sizes {y.shape}", hint=Setting("input_shape"))
        shape = [-1 if n is None else n for n in y.shape]
        w.node("RESHAPE", node, [node.inputs[0], write_ints(w, node, shape, "shape")], fields={"new_shape": shape})


@writes("onnx", "Squeeze", "ExpandDims")
def write_onnx_axes(w: Writing, node: Node) -> None:
    kind = "Squeeze" if node.op == "Squeeze" else "Unsqueeze"
    axes = node.input(1)
    if axes is None and node.attrs["axes"] is not None:
        axes = write_ints(w, node, node.attrs["axes"], "axes")
    w.node(kind, node, [node.inputs[0], write_param(w, node, axes, "axes")] if axes is not None else [node.inputs[0]])


@writes("c", "Reshape", "Squeeze", "ExpandDims")
def write_c_reshape(w: Writing, node: Node) -> None:
    """The same memory."""
    x, y = node.required(0), node.outputs[0]
    if x.quant != y.quant:
        w.refuse(node, "its output has other quantization parameters than its input")
    w.node("view", node, [x])
