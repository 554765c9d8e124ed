"""IR nodes → native step specs: what the C++ side is told of a node, or why it cannot take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from ..converter.ir import Node, Tensor, is_quantized
from ..converter.numeric.qparams import ACT_BOUNDS, code_range, dequantize
from ..converter.ops import row
from ..converter.schema.op import Quant
from .packed import packed_step
from .step import Step


@dataclass
class Lowering:
    """Shared by the steps of one plan: constants are converted once, however many steps read them.

    Args:
        rounding: requantization profile, "rne_f32" or "gemmlowp".
        keep_packed: weight-only quantized matrices stay codes in memory.
        dequantized: node name → why its quantized weight does not.
    """

    rounding: str = "rne_f32"
    keep_packed: bool = False
    dequantized: dict[str, str] = field(default_factory=dict)
    _reals: dict[Tensor, Tensor] = field(default_factory=dict)

    def lower(self, node: Node, producers: dict[Tensor, Node]) -> Step | str:
        """The node's step, or the reason why it runs through its numpy reference."""
        definition = row(node.op)
        if any(not t.is_static for t in node.outputs):
            return "its output shape depends on values"
        weights = definition.quant.weights if definition.quant is not None else ()
        if is_quantized(node.outputs[0]) and not all(_in_pairs(node.input(i)) for i in weights):
            return "a weight has the code -32768: products of two of them pass 32 bits"
        fused = self._integer_layer(node, producers) or _sums_of_codes(node, producers)
        if fused is not None:
            return fused
        quantized = any(is_quantized(t) for t in (*node.inputs, *node.outputs))
        if definition.quant is not None and definition.quant.table and is_quantized(node.outputs[0]):
            return self._table(node)
        if definition.kernel is None:
            return "no native kernel"
        attrs = dict(node.attrs)
        if attrs.pop("dynamic", False) and self._is_dynamic(node):
            attrs["dynamic"] = True
        elif self.keep_packed:
            packed = packed_step(node)
            if isinstance(packed, Step):
                return packed
            if packed is not None:
                self.dequantized[node.name] = packed
        inputs: list[Tensor | None] = list(node.inputs)
        for index, key in definition.const_inputs.items():
            t = node.input(index)
            if t is None:
                continue
            if t.data is None:
                return f"input {index} ({key}) is computed at run time"
            attrs[key] = np.asarray(t.data).reshape(-1).tolist()
            inputs[index] = None
        while inputs and inputs[-1] is None:
            inputs.pop()
        cell, y = definition.quant or Quant(int8=False), node.outputs[0]
        if cell.rounds and self.rounding != "rne_f32" and is_quantized(y):
            attrs["rounding"] = self.rounding
        if quantized and node.op not in ("Quantize", "Dequantize") and "dynamic" not in attrs:
            if is_quantized(node.inputs[0]) and is_quantized(node.outputs[0]):
                if cell.weights:
                    attrs["rounding"] = self.rounding
            else:
                inputs = [self.real(t) for t in inputs]
        if cell.clamps and is_quantized(y) and y.dtype.itemsize == 1 and y.qparams.bits < 8:
            attrs["qmin"], attrs["qmax"] = code_range(y.qparams.bits, unsigned=y.dtype == np.uint8)
        inputs = [self._as_float32(t, y) for t in inputs]
        attrs = {k: _joined(v) for k, v in attrs.items() if _plain(v)}
        return Step(definition.kernel, node.name, inputs, node.outputs, attrs, (node,))

    def _integer_layer(self, node: Node, producers: dict[Tensor, Node]) -> Step | None:
        """Dequantize → float layer on an int8 weight ⇒ one step: int8 in, float out, exact int32 inside."""
        cell = row(node.op).quant
        if cell is None or len(cell.weights) != 1 or row(node.op).kernel is None or is_quantized(node.outputs[0]):
            return None
        if node.op == "Conv" and node.attrs["group"] > 1:
            return None  # sums of few products, which float kernels take faster than those of matrix products
        source = producers.get(node.inputs[0]) if node.inputs[0] is not None else None
        weight = node.input(cell.weights[0])
        if (
            source is None
            or source.op != "Dequantize"
            or weight is None
            or not weight.is_const
            or not is_quantized(weight)
        ):
            return None
        x, q = source.inputs[0], weight.quant
        if (
            x is None
            or q is None
            or not (x.dtype == np.int8 or (x.dtype == np.int16 and cell.int16))
            or not (weight.dtype == np.int8 or (weight.dtype == np.int16 == x.dtype and _in_pairs(weight)))
            or q.var_corr is not None
            or not is_quantized(x)
        ):
            return None
        inputs = [x, *(self._bias(t) if i + 1 == cell.bias else t for i, t in enumerate(node.inputs[1:]))]
        attrs = {k: v for k, v in node.attrs.items() if _plain(v) and k != "dynamic"}
        return Step(row(node.op).kernel or "", node.name, inputs, node.outputs, attrs, (source, node))

    @staticmethod
    def _is_dynamic(node: Node) -> bool:
        """Whether an int8 weight meets inputs that are quantized while running."""
        from ..converter.ops._support.integer import is_dynamic
        from ..converter.ops.recurrent.rnn import is_dynamic_recurrent

        cell = row(node.op).quant
        if cell is not None and len(cell.weights) > 1:
            return is_dynamic_recurrent(node)
        axis = cell.channel_axis(node) if cell is not None else None
        return axis is not None and is_dynamic(node, axis)

    def _bias(self, t: Tensor | None) -> Tensor | None:
        return self.real(t) if t is not None else None

    def _table(self, node: Node) -> Step | str:
        x = node.inputs[0]
        if (
            x is None
            or x.dtype != np.int8
            or node.outputs[0].dtype != np.int8
            or len([t for t in node.inputs if t]) != 1
        ):
            return "no integer table for its types"
        from ..converter.ops._support.tables import table_s8

        table = table_s8(node)
        return Step(
            "lut",
            node.name,
            [x, Tensor(f"{node.name}/table", table.dtype, table.shape, table)],
            node.outputs,
            {},
            (node,),
        )

    def real(self, t: Tensor | None) -> Tensor | None:
        """A weight-only quantized constant as the float32 it stands for; anything else as it is."""
        if t is None or t.data is None or not is_quantized(t):
            return t
        if t not in self._reals:
            data = dequantize(t.data, t.qparams)
            self._reals[t] = Tensor(t.name, data.dtype, data.shape, data)
        return self._reals[t]

    def _as_float32(self, t: Tensor | None, output: Tensor) -> Tensor | None:
        """float16 constants feeding float32 arithmetic are float32."""
        if t is None or t.data is None or t.dtype != np.float16 or output.dtype != np.float32:
            return t
        if t not in self._reals:
            self._reals[t] = Tensor(t.name, np.dtype("f4"), t.shape, t.data.astype(np.float32))
        return self._reals[t]


def _sums_of_codes(node: Node, producers: dict[Tensor, Node]) -> Step | None:
    """Dequantize → Reduce to a mean or a sum ⇒ one step: int8 in, float out, exact int32 inside."""
    x, y = node.input(0), node.outputs[0]
    source = producers.get(x) if x is not None else None
    if node.op != "Reduce" or node.attrs["mode"] not in ("mean", "sum") or source is None or source.op != "Dequantize":
        return None
    codes = source.required(0)
    if codes.dtype != np.int8 or not is_quantized(codes) or is_quantized(y) or y.dtype != np.float32:
        return None
    axes, attrs = node.input(1), dict(node.attrs)
    if axes is not None:
        if axes.data is None:
            return None
        attrs["axes"] = np.asarray(axes.data).reshape(-1).tolist()
    attrs = {k: v for k, v in attrs.items() if _plain(v)}
    step = Step(row(node.op).kernel or "", node.name, [codes], node.outputs, attrs, (source, node))
    return step if refusal(step) is None else None


def _in_pairs(t: Tensor | None) -> bool:
    """Whether 32 bits hold the products of any two neighbours of a constant with codes of 16 bits."""
    return t is None or t.data is None or t.dtype != np.int16 or not (t.data == -32768).any()


@cache
def _name(dtype: np.dtype) -> str:
    """numpy makes it anew each time, which takes as long as all else that is told of a tensor."""
    return dtype.name


def tensor_spec(t: Tensor) -> dict[str, Any]:
    """What the extension is told of a tensor."""
    spec: dict[str, Any] = {"name": t.name, "dtype": _name(t.dtype), "shape": list(t.shape or ()), "data": t.data}
    if is_quantized(t) and t.quant is not None:
        spec |= {"scale": t.quant.scale, "zero_point": t.quant.zero_point, "axis": t.quant.axis}
    return spec


def with_bounds(attrs: dict[str, Any]) -> dict[str, Any]:
    """A fused clamp as its bounds: the extension is not told what a relu6 is."""
    act = attrs.get("act", "none")
    if act == "none" or act not in ACT_BOUNDS:
        return attrs
    low, high = ACT_BOUNDS[act]
    return attrs | {"act": "clip", "act_min": low, "act_max": high}


class Numbering:
    """Gives tensors the numbers under which steps refer to them."""

    def __init__(self) -> None:
        self.specs: list[dict[str, Any]] = []
        self._index: dict[Tensor, int] = {}

    def __call__(self, t: Tensor | None) -> int:
        if t is None:
            return -1
        if t not in self._index:
            self._index[t] = len(self.specs)
            self.specs.append(tensor_spec(t))
        return self._index[t]

    def step(self, step: Step) -> dict[str, Any]:
        return {
            "op": step.op,
            "name": step.name,
            "inputs": [self(t) for t in step.inputs],
            "outputs": [self(t) for t in step.outputs],
            "attrs": with_bounds(step.attrs),
        }


def refusal(step: Step, isa: str = "") -> str | None:
    """Why the extension cannot take the step, or None when it can."""
    from .. import _native

    numbers = Numbering()
    spec = numbers.step(step)
    return _native.check_step(numbers.specs, spec, isa)


def _plain(value: Any) -> bool:
    if isinstance(value, (bool, int, float, str)):
        return True
    if not isinstance(value, (list, tuple)):
        return False
    return all(isinstance(v, (int, float)) for v in value) or all(isinstance(v, str) for v in value)


def _joined(value: Any) -> Any:
    """The extension takes lists of numbers; names come as one string."""
    names = isinstance(value, (list, tuple)) and len(value) > 0 and all(isinstance(v, str) for v in value)
    return ",".join(value) if names else value


def program(
    steps: Sequence[Step], inputs: Sequence[Tensor], outputs: Sequence[Tensor], threads: int, isa: str = ""
) -> Any:
    """Builds the extension's Program over the steps; isa as in `Session`."""
    from .. import _native

    numbers = Numbering()
    specs = [numbers.step(s) for s in steps]
    ports = [numbers(t) for t in inputs], [numbers(t) for t in outputs]
    return _native.Program(numbers.specs, specs, *ports, threads, isa)
