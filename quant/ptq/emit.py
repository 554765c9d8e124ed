"""The float graph rewritten as an integer one: casts, int8 tensors, int8 weights, int32 biases.

The rewritten graph is complete and runs; what corrects it (`rounding.py`, `bias_correction.py`) only replaces the data
of its constants.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike

from ...converter.ir import Graph, NameScope, Node, Tensor
from ...converter.numeric.packing import storage_dtype
from ...converter.numeric.qparams import QuantParam, bias_safe_scale, quantize, quantize_bias
from ...converter.schema.node import make_node
from ...converter.schema.op import quant_spec
from ...converter.schema.verify import verify
from .groups import Groups
from .placement import Placement, data_inputs, preserves_qparams, weight_index
from .quantized_graph import Layer, QuantizedGraph
from .weight_codes import WeightCodes


def emit(
    graph: Graph,
    plan: Placement,
    groups: Groups,
    params: Mapping[Tensor, QuantParam],
    weights: WeightCodes,
    *,
    crossings: Mapping[Tensor, QuantParam] | None = None,
    input_type: str = "DEFAULT",
    output_type: str = "DEFAULT",
) -> QuantizedGraph:
    """Rewrites `graph` (left as it is; constants that stay float are shared).

    Args:
        params: float tensor → parameters of its codes. crossings: of tensors that nodes of the other width read.
        input_type, output_type: "INT8" and "UINT8" make graph inputs and outputs codes, where they exist as such.
    """
    return _Emitter(graph, plan, groups, params, crossings or {}, weights, input_type, output_type).run()


class _Emitter:
    def __init__(self, graph: Graph, plan: Placement, groups: Groups, params: Mapping[Tensor, QuantParam],
                 crossings: Mapping[Tensor, QuantParam], weights: WeightCodes, input_type: str,
                 output_type: str) -> None:  # fmt: skip
        self.source, self.plan, self.groups, self.params = graph, plan, groups, params
        self.crossings = crossings
        self.weights = weights
        self.input_type, self.output_type = input_type, output_type
        self.graph = Graph(graph.name, [], [], [], dict(graph.meta))
        self.quantized = QuantizedGraph(self.graph)
        self.real: dict[Tensor, Tensor] = {}  # float tensor → its float form in the new graph
        self.names = NameScope(item.name for group in (graph.tensors(), graph.nodes) for item in group)
        self.kept_names = {t.name for t in (*graph.inputs, *graph.outputs)}
        self.decoded: dict[Tensor, Tensor] = {}  # float tensor → the codes that the source has it decoded from
        self.rounded: dict[Tensor, Tensor] = {}  # float tensor → what its codes stand for
        self.requantized: dict[tuple[Tensor, QuantParam], Tensor] = {}
        self.stored: dict[tuple[str, Tensor, QuantParam], Tensor] = {}  # by operator and real weight

    def run(self) -> QuantizedGraph:
        for t in self.source.inputs:
            self._input(t)
        for node in self.source.nodes:
            if node in self.plan.integer:
                self._integer(node)
            elif node.op == "Quantize" and node.inputs[0] in self.quantized.quantized_of:
                self._encoded(node)
            else:
                self._float(node)
        self.graph.outputs = [self._output(t) for t in self.source.outputs]
        self.graph.prune()
        left = set(self.graph.nodes)
        self.quantized.node = {source: node for source, node in self.quantized.node.items() if node in left}
        verify(self.graph)
        return self.quantized

    def _input(self, t: Tensor) -> None:
        wanted = self.input_type in ("INT8", "UINT8") and t in self.params and self.params[t].bits == 8
        if self.input_type in ("INT8", "UINT8") and not wanted:
            self.quantized.notes.append(f"input {t.name!r} stays {t.dtype}: no int8 operator reads it")
        if not wanted:
            fresh = self.real[t] = Tensor(t.name, t.dtype, t.shape, None, t.quant, t.layout, t.dims)
        elif self.input_type == "INT8":
            fresh = Tensor(t.name, np.dtype(np.int8), t.shape, None, self.params[t], t.layout, t.dims)
            self.quantized.quantized_of[t] = fresh
        else:
            q = self.params[t]
            unsigned = QuantParam(q.scale, q.zero_point + 128, None, q.bits)
            fresh = Tensor(t.name, np.dtype(np.uint8), t.shape, None, unsigned, t.layout, t.dims)
            self.quantized.quantized_of[t] = self._cast("Quantize", fresh, np.int8, q, f"{t.name}/int8", (t.name,))
        self.graph.inputs.append(fresh)

    def _output(self, t: Tensor) -> Tensor:
        if self.output_type not in ("INT8", "UINT8"):
            return self.as_real(t)
        if t not in self.params and t not in self.quantized.quantized_of:
            self.quantized.notes.append(f"output {t.name!r} stays {t.dtype}: it is computed in float")
            return self.as_real(t)
        codes = self.as_codes(t)
        if self.output_type == "UINT8" and codes.quant is not None:
            q = codes.quant
            unsigned = QuantParam(q.scale, q.zero_point + 128, None, q.bits)
            inner, codes = codes, self._cast("Quantize", codes, np.uint8, unsigned, f"{t.name}/uint8", (t.name,))
            if inner.name == t.name:
                inner.name, codes.name = self.names.take(f"{t.name}/int8"), t.name
        codes.layout = t.layout
        return codes

    def _cast(
        self, op: str, x: Tensor, dtype: DTypeLike, quant: QuantParam | None, name: str, origin: tuple[str, ...]
    ) -> Tensor:
        attrs = {"dtype": np.dtype(dtype).name} if op == "Quantize" else {}
        y = Tensor(self.names.take(name), np.dtype(dtype), x.shape, None, quant, x.layout)
        node = make_node(op, [x], attrs, name=self.names.take(f"{name}/{op}"), outputs=[y], origin=origin)
        self.graph.nodes.append(node)
        return y

    def as_real(self, t: Tensor) -> Tensor:
        """The tensor in float, through a Dequantize when it is computed in codes."""
        if t.is_const:
            return self.real.setdefault(t, Tensor(t.name, t.dtype, t.shape, t.data, t.quant, t.layout))
        if t not in self.real:
            y = self._cast("Dequantize", self.quantized.quantized_of[t], np.float32, None, f"{t.name}/float", (t.name,))
            if t in self.source.outputs:
                self._swap_names(t, y)
            y.layout = t.layout
            self.real[t] = y
        return self.real[t]

    def _swap_names(self, t: Tensor, y: Tensor) -> None:
        codes = self.quantized.quantized_of[t]
        if codes.name == t.name:
            codes.name, y.name = self.names.take(f"{t.name}/int8"), t.name

    def as_codes(self, t: Tensor) -> Tensor:
        """The tensor in codes, through a Quantize when it is computed in float."""
        known = self.quantized.quantized_of
        if t in known:
            return known[t]
        quant = self.params[t]
        dtype = storage_dtype(quant.bits)
        if t.is_const and t.data is not None:
            data = quantize(t.data, quant, dtype)
            known[t] = Tensor(self.names.take(f"{t.name}/{dtype}"), data.dtype, data.shape, data, quant)
            return known[t]
        source = self.decoded.get(t, self.real[t])
        same = source.dtype == dtype and source.quant == quant
        known[t] = source if same else self._cast("Quantize", source, dtype, quant, f"{t.name}/{dtype}", (t.name,))
        return known[t]

    def _operand(self, node: Node, index: int) -> Tensor:
        t = node.required(index)
        codes = self.as_codes(t)
        if (node, index) not in self.groups.requantize:
            return codes
        wanted = self.params[node.outputs[0]] if preserves_qparams(node) else self.crossings[t]
        if (t, wanted) not in self.requantized:
            if wanted.bits == codes.qparams.bits:
                self.quantized.notes.append(f"{node.name}: input {t.name!r} has a fixed range and is requantized")
            self.requantized[t, wanted] = self._cast(
                "Quantize", codes, storage_dtype(wanted.bits), wanted, f"{t.name}/{node.name}", (t.name,)
            )
        return self.requantized[t, wanted]

    def _integer(self, node: Node) -> None:
        data, weight = set(data_inputs(node)), weight_index(node)
        args: list[Tensor | None] = [
            None if t is None else self._operand(node, i) if i in data else self.as_real(t)
            for i, t in enumerate(node.inputs)
        ]
        fresh = make_node(node.op, args, node.attrs, name=node.name, origin=node.origin)
        if weight is not None:
            self._attach_weight_and_bias(node, fresh, weight, last=False)
        for t in node.outputs:
            codes = Tensor(t.name, storage_dtype(self.params[t].bits), t.shape, None, self.params[t], t.layout)
            self.quantized.quantized_of[t] = codes
            fresh.outputs.append(codes)
        self.graph.nodes.append(fresh)
        self.quantized.node[node] = fresh

    def _float(self, node: Node) -> None:
        last = node in self.plan.last
        weight = weight_index(node) if last else None
        data = set(data_inputs(node)) if last else set[int]()
        args: list[Tensor | None] = [
            None if t is None else self._rounded(t) if i in data and not t.is_const else self.as_real(t)
            for i, t in enumerate(node.inputs)
        ]
        fresh = make_node(node.op, args, node.attrs, name=node.name, origin=node.origin)
        if weight is not None:
            self._attach_weight_and_bias(node, fresh, weight, last=True)
        for t in node.outputs:
            self.real[t] = Tensor(t.name, t.dtype, t.shape, None, t.quant, t.layout, t.dims)
            fresh.outputs.append(self.real[t])
        if node.op == "Dequantize" and args[0] is not None and args[0].quant is not None:
            self.decoded[node.outputs[0]] = args[0]
        self.graph.nodes.append(fresh)
        self.quantized.node[node] = fresh

    def _rounded(self, t: Tensor) -> Tensor:
        """The tensor in float, as its codes hold it; an output of the graph that is computed in float stays so."""
        codes = self.as_codes(t)
        if t not in self.real:
            return self.as_real(t)
        if t not in self.rounded:
            self.rounded[t] = self._cast("Dequantize", codes, np.float32, None, f"{t.name}/float", (t.name,))
            if t not in self.source.outputs:
                self.real[t] = self.rounded[t]
        return self.rounded[t]

    def _encoded(self, node: Node) -> None:
        """A Quantize of the source, of what exists as codes by now."""
        x, y = node.required(0), node.outputs[0]
        codes = self.quantized.quantized_of[x]
        if codes.dtype == y.dtype and codes.quant == y.quant and y not in self.source.outputs:
            self.real[y] = codes
            return
        self.real[y] = Tensor(y.name, y.dtype, y.shape, None, y.quant, y.layout, y.dims)
        fresh = make_node("Quantize", [codes], node.attrs, name=node.name, outputs=[self.real[y]], origin=node.origin)
        self.graph.nodes.append(fresh)
        self.quantized.node[node] = fresh

    def _attach_weight_and_bias(self, node: Node, fresh: Node, weight: int, *, last: bool) -> None:
        """Gives `fresh` its int8 weight and its bias."""
        cell = quant_spec(node)
        w, x = node.required(weight), node.required(data_inputs(node)[0])
        bias_index, axis = cell.bias_index, cell.channel_axis(node)
        quant = self.weights.params(node, w.value, axis)
        channels = node.outputs[0].size(-1)
        b = node.input(bias_index)
        bias = np.zeros(channels, np.float32) if b is None or b.data is None else b.data.reshape(-1)
        read = self.params[x] if last else fresh.required(data_inputs(node)[0]).qparams
        input_scale = float(read.scale[0])
        if not last:
            safe = bias_safe_scale(
                bias, input_scale, quant.scale if len(quant.scale) == len(bias) else quant.scale.repeat(len(bias))
            )
            scale = safe if len(quant.scale) == len(bias) else np.atleast_1d(safe.max())
            quant = QuantParam(scale, quant.zero_point, quant.axis, quant.bits)
        stored = self._stored(node, w, quant)
        if last:
            value, bias_quant = bias.astype(np.float32), None
        else:
            value, bias_quant = quantize_bias(bias, input_scale, quant.scale)
        bias_name = b.name if b is not None else f"{node.name}/bias"
        held = Tensor(
            self.names.take(f"{bias_name}/int32" if not last else f"{bias_name}/q"),
            value.dtype,
            value.shape,
            value,
            bias_quant,
        )
        while len(fresh.inputs) <= bias_index:
            fresh.inputs.append(None)
        fresh.inputs[weight], fresh.inputs[bias_index] = stored, held
        self.quantized.weighted_layers[node] = Layer(node, fresh, stored, held, last)

    def _stored(self, node: Node, w: Tensor, quant: QuantParam) -> Tensor:
        """The codes of a weight, once for all layers that read it in the same way by the same scales."""
        key = node.op, w, quant
        if key in self.stored:
            self.quantized.shared.add(self.stored[key])
            return self.stored[key]
        codes = self.weights.codes(node, w.value, quant)
        stored = Tensor(self.names.take(f"{w.name}/{codes.dtype}"), codes.dtype, codes.shape, codes, quant)
        self.stored[key] = stored
        return stored
