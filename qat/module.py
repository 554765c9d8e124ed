"""A network in training whose forward is that of the integer graph which will be written."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor as Values
from torch import nn

from ..converter.errors import UsageError
from ..converter.execute import execute
from ..converter.ir import Graph, Node, Tensor, is_quantized
from ..converter.numeric.qparams import QuantParam, activation_range, bias_safe_scale, code_range
from .codes import CODES, last_layer, sums
from .distillation import Teacher
from .float_ops import FLOAT, act, products, refuse
from .scales import Scales
from .skeleton import Skeleton
from .sources import Given, Norm
from .straight_through import Batch, norm_requantize, requantize, round_within, valued
from .ties import Beside

_INT32_HALF = (2**31 - 1) // 2


class Parameters(Mapping[str, Values]):
    """Parameters and buffers of a module by their names, as they are at the moment."""

    def __init__(self, root: nn.Module) -> None:
        self._root, self._owner = root, dict[str, tuple[nn.Module, str]]()

    def __getitem__(self, name: str) -> Values:
        if name not in self._owner:
            path, _, key = name.rpartition(".")
            self._owner[name] = self._root.get_submodule(path), key
        owner, key = self._owner[name]
        return getattr(owner, key)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in (*self._root.named_parameters(), *self._root.named_buffers()))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class QatModule(nn.Module):
    """What `prepare` returns. Its parameters are those of the model, under their names, and below `bitlite` the learned
    scales; inputs and outputs are those of the model, float32.

    In training, sums of products are taken in float32 and gradients pass the rounding; in evaluation every sum is
    exact, and the codes of every tensor are those that a `Session` computes on what `export` writes.
    """

    def __init__(
        self,
        model: nn.Module,
        skeleton: Skeleton,
        freeze_norms_after: int | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        for name, child in model.named_children():
            self.add_module(name, child)
        for name, parameter in model.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, buffer in model.named_buffers(recurse=False):
            self.register_buffer(name, buffer)
        own = nn.Module()
        own.activations = Scales(*skeleton.activation_scales())
        own.weights = nn.ModuleList(Scales(*slot.initial()) for slot in skeleton.weights.values())
        own.register_buffer("zero_points", torch.tensor(skeleton.zero_points, dtype=torch.int32))
        own.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        own.free = nn.ParameterList(nn.Parameter(torch.from_numpy(np.array(a))) for a in skeleton.free.values())
        self.bitlite = own
        self.skeleton, self.freeze_norms_after, self.teacher = skeleton, freeze_norms_after, teacher
        self.distillation_loss: Values | None = None
        self._given = Parameters(self)
        self._place = {slot: k for k, slot in enumerate(skeleton.weights)}

    def __deepcopy__(self, memo: dict[int, Any]) -> QatModule:
        twin = copy.copy(self)
        memo[id(self)] = twin
        for name in ("_parameters", "_buffers", "_modules"):
            object.__setattr__(twin, name, copy.deepcopy(getattr(self, name), memo))
        twin._given = Parameters(twin)
        return twin

    @property
    def norms_frozen(self) -> bool:
        """Whether BatchNorms are what they are in the file: a factor and an offset of their running statistics."""
        limit = self.freeze_norms_after
        return not self.training or (limit is not None and (limit < 0 or int(self.bitlite.steps) > limit))

    def freeze_norms(self) -> None:
        """Trains on with the running statistics of the BatchNorms as they are."""
        self.freeze_norms_after = -1

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        if self.teacher is not None:
            self.teacher.model._apply(fn)
        return super()._apply(fn, recurse)

    def take_scales(self, skeleton: Skeleton) -> None:
        """Begins anew with the scales of another skeleton of the same model, in place: an optimizer keeps them."""
        own = self.bitlite
        activations = Scales(*skeleton.activation_scales())
        weights = [Scales(*slot.initial()) for slot in skeleton.weights.values()]
        had, new = [own.activations, *own.weights], [activations, *weights]
        if [s.base.shape for s in had] != [s.base.shape for s in new]:
            raise UsageError("the scales are those of another model")
        for mine, other in zip(had, new):
            mine.take(other)
        own.zero_points.copy_(torch.tensor(skeleton.zero_points))
        self.skeleton = skeleton
        self._place = {slot: k for k, slot in enumerate(skeleton.weights)}

    def forward(self, *inputs: Values) -> Any:
        if torch.onnx.is_in_onnx_export():
            raise UsageError(
                "torch.onnx.export writes no integers of this module", hint="bitlite.qat.export(module, 'model.onnx')"
            )
        if self.training:
            self.bitlite.steps += 1
        outputs = Pass(self, exact=not self.training).run(inputs)
        if self.training and self.teacher is not None:
            self.distillation_loss = self.teacher.loss(inputs, outputs)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def observed(self, *inputs: Values) -> tuple[tuple[Values, ...], dict[Tensor, Values]]:
        """The outputs, and the real values of what layers with weights give in codes, by the tensor of the graph."""
        seen, skeleton = dict[Tensor, Values](), self.skeleton
        run = Pass(self, exact=not self.training, keep=seen)
        outputs = run.run(inputs)
        reals = {
            t: seen[t] * run.scale(t).float()
            for node in skeleton.graph.nodes
            for t in node.outputs
            if t in skeleton.plain_of and any(w in skeleton.weights for w in node.inputs)
        }
        return tuple(outputs), reals

    def codes(self, *inputs: Values, beside: Beside | None = None) -> dict[str, np.ndarray]:
        """The codes of every tensor that has them, by the name of its tensor in the written graph; int8 or int16, as
        a Session has them (channels last where the graph has them so).

        beside: those of a Session, which decide where float32 may round either way.
        """
        was, seen = self.training, dict[Tensor, Values]()
        self.eval()
        with torch.no_grad():
            Pass(self, exact=True, keep=seen, beside=beside).run(inputs)
        self.train(was)
        zero = self.bitlite.zero_points.tolist()
        return {
            t.name: (value + zero[slot]).cpu().numpy().astype(t.dtype)
            for t, value in seen.items()
            if (slot := self.skeleton.slots.get(t)) is not None and not t.is_const
        }

    def graph(self) -> Graph:
        """The integer graph with the scales and codes as they are; its own tensors."""
        run = Pass(self, exact=True)
        with torch.no_grad():
            run.settle()
            twin = self.skeleton.graph.copy()
            for old, new in zip(self.skeleton.graph.constants(), twin.constants()):
                new.data = run.stored(old)
        return twin


class Pass:
    """One run through the graph; `exact` sums products in float64, as `codes.Run` says."""

    def __init__(
        self, module: QatModule, exact: bool, keep: dict[Tensor, Values] | None = None, beside: Beside | None = None
    ) -> None:
        self.module, self.skeleton, self.exact, self.keep = module, module.skeleton, exact, keep
        self.beside = beside
        own = module.bitlite
        self.zero = own.zero_points.tolist()
        self.scales = own.activations().double().unsqueeze(1).unbind()
        self.given = module._given
        self.env: dict[Tensor, Values] = {}
        self._weight_scales: dict[Tensor, Values] = {}
        self._reals: dict[str, Values] = {}

    # What operators ask for: see codes.Run.

    def scale(self, t: Tensor) -> Values:
        slot = self.skeleton.slots.get(t)
        return self.scales[slot] if slot is not None else self._weight_scale(t)

    def same(self, a: Tensor, b: Tensor) -> bool:
        return self.skeleton.slots.get(a) == self.skeleton.slots.get(b)

    def bounds(self, t: Tensor, act: str = "none") -> tuple[float, float]:
        slot = self.skeleton.slots[t]
        zero, (low, high) = self.zero[slot], code_range(self.skeleton.bits[slot])
        if act == "none":
            return low - zero, high - zero
        if act == "relu":
            return max(low - zero, 0), high - zero
        low, high = activation_range(act, self._param(t), t.dtype)
        return low - zero, high - zero

    def _param(self, t: Tensor) -> QuantParam:
        slot = self.skeleton.slots[t]
        scale = self.scales[slot].detach().cpu().numpy()
        return QuantParam(scale, np.array([self.zero[slot]], np.int32), None, self.skeleton.bits[slot])

    def _weight_scale(self, w: Tensor) -> Values:
        if w not in self._weight_scales:
            slot, place = self.skeleton.weights[w], self.module._place[w]
            scale = self.module.bitlite.weights[place]().double()
            for bias in slot.biases if self.exact else ():
                real, x = self._real(bias.source), self.scale(bias.input)
                safe = bias_safe_scale(
                    real.detach().double().cpu().numpy(), float(x.detach()), scale.detach().cpu().numpy()
                )
                safe = safe if len(scale) > 1 else safe.max(keepdims=True)
                scale = torch.maximum(scale, torch.from_numpy(safe).to(scale.device))
            self._weight_scales[w] = scale
        return self._weight_scales[w]

    def _real(self, name: str) -> Values:
        """The real value of a constant of the float graph."""
        if name not in self._reals:
            free = self.skeleton.free_place.get(name)
            given = self.skeleton.sources[name].value(self.given) if free is None else self.module.bitlite.free[free]
            self._reals[name] = given
        return self._reals[name]

    def constant(self, t: Tensor) -> Values:
        """What a constant of the graph carries: codes minus zero point, or its own values."""
        if t in self.env:
            return self.env[t]
        skeleton = self.skeleton
        if t in skeleton.weights:
            slot = skeleton.weights[t]
            inverse = (1.0 / self._weight_scale(t)).float()
            shape = [1] * len(t.static_shape)
            shape[slot.axis or 0] = -1
            value = requantize(self._real(slot.source), inverse.reshape(shape), *slot.range)
        elif t in skeleton.biases:
            bias = skeleton.biases[t]
            value = self._real(bias.source)
            if bias.weight is not None:
                scaled = value.double() / (self.scale(bias.input) * self._weight_scale(bias.weight))
                value = round_within(scaled, -_INT32_HALF, _INT32_HALF)
                value = value if self.exact else value.float()
        elif t in skeleton.slots:
            source = self._real(skeleton.operands[t])
            value = round_within(source / self.scale(t).float(), *self.bounds(t))
        elif t.name in skeleton.sources:
            value = self._real(t.name)
        else:
            value = torch.from_numpy(np.array(t.value)).to(self.module.bitlite.steps.device)
        self.env[t] = value
        return value

    def stored(self, t: Tensor) -> np.ndarray:
        """What the file stores of a constant."""
        value = self.constant(t).detach().cpu()
        slot = self.skeleton.slots.get(t)
        value = value if slot is None else value + self.zero[slot]
        return value.numpy().astype(t.dtype).reshape(t.static_shape)

    def settle(self) -> None:
        """Gives the graph's tensors their present scales."""
        for t in self.skeleton.slots:
            t.quant = self._param(t)
        for w, slot in self.skeleton.weights.items():
            scale = self._weight_scale(w).detach().cpu().numpy()
            w.quant = QuantParam(scale, np.zeros(1, np.int32), slot.axis, slot.bits)
        for t, bias in self.skeleton.biases.items():
            if bias.weight is not None:
                scale = float(self.scale(bias.input).detach()) * bias.weight.qparams.scale
                t.quant = QuantParam(scale, np.zeros(1, np.int32), 0 if len(scale) > 1 else None, 32)

    def run(self, inputs: Sequence[Values]) -> list[Values]:
        """The outputs for the graph's inputs."""
        graph = self.skeleton.graph
        if len(inputs) != len(graph.inputs):
            raise TypeError(f"{len(inputs)} inputs given, the model has {len(graph.inputs)}")
        if self.exact:
            with torch.no_grad():
                self.settle()
        self.env.update(zip(graph.inputs, inputs))
        for node, done in self.skeleton.order:
            made = self._node(node)
            if self.beside is not None and node.op == "Quantize" and node.inputs[0] not in self.skeleton.slots:
                made = self._settled(node, made, self.beside)
            self.env.update(zip(node.outputs, made if isinstance(made, (tuple, list)) else (made,)))
            if self.keep is None:
                for t in done:
                    del self.env[t]
            else:
                self.keep.update((t, self.env[t]) for t in node.outputs)
        return [self._argument(t) for t in graph.outputs]

    def _settled(self, node: Node, codes: Values, beside: Beside) -> Values:
        y = node.outputs[0]
        slot = self.skeleton.slots[y]
        real = self._argument(node.inputs[0]) / self.scale(y)
        return beside.settled(y.name, real, codes, self.zero[slot], self.skeleton.bits[slot])

    def _argument(self, t: Tensor | None) -> Any:
        if t is None:
            return None
        return self.constant(t) if t.is_const else self.env[t]

    def _node(self, node: Node) -> Any:
        arguments = [self._argument(t) for t in node.inputs]
        layer = self.skeleton.last.get(node)
        if layer is not None:
            bias = arguments[2] if len(arguments) > 2 else None
            return last_layer(self, layer, self._argument(layer.inputs[0]), arguments[1], bias)
        norm = self._training_norm(node)
        if norm is not None:
            return self._normed(node, norm, arguments)
        if not any(is_quantized(t) for t in node.outputs) and node.op != "Dequantize":
            return self._float(node, arguments)
        made = CODES[node.op](self, node, *arguments) if node.op in CODES else None
        return self._rounded(node, arguments) if made is None else made

    def _float(self, node: Node, arguments: list[Any]) -> Any:
        """On reals; a weight that is stored in codes stands for its real value."""
        reals = [
            value if t is None or t not in self.skeleton.weights else self._decoded(t, value)
            for t, value in zip(node.inputs, arguments)
        ]
        if node.op not in FLOAT:
            raise refuse(node, "an operator without a form in torch")
        return FLOAT[node.op](node, *reals)

    def _decoded(self, w: Tensor, codes: Values) -> Values:
        shape = [1] * codes.ndim
        shape[self.skeleton.weights[w].axis or 0] = -1
        return codes * self._weight_scale(w).float().reshape(shape)

    def _rounded(self, node: Node, arguments: list[Any]) -> Values:
        """Computed on reals and rounded; in evaluation as the operator's integer reference has it."""
        reals = [
            value * self.scale(t).float() if t is not None and t in self.skeleton.slots else value
            for t, value in zip(node.inputs, arguments)
        ]
        y = node.outputs[0]
        smooth = requantize(self._float(node, reals), (1.0 / self.scale(y)).float(), *self.bounds(y))
        if not self.exact:
            return smooth
        stored = [
            None if t is None else t.data if t.is_const and t not in self.skeleton.slots else self._array(t, value)
            for t, value in zip(node.inputs, arguments)
        ]
        (codes,) = execute(node, stored)
        exact = torch.from_numpy(codes.astype(np.float32)).to(smooth.device) - self.zero[self.skeleton.slots[y]]
        return valued(smooth, exact)

    def _array(self, t: Tensor, value: Values) -> np.ndarray:
        slot = self.skeleton.slots.get(t)
        array = value.detach().cpu().numpy()
        return array if slot is None else (array + self.zero[slot]).astype(t.dtype)

    def _training_norm(self, node: Node) -> Norm | None:
        """The BatchNorm of a layer, while it takes its statistics from the batch."""
        source = self.skeleton.norms.get(node)
        return None if source is None or self.module.norms_frozen else source

    def _normed(self, node: Node, norm: Norm, arguments: list[Any]) -> Values:
        """A layer whose weight holds its BatchNorm's factor, with the statistics of the batch: the factor is taken out
        of the sums again (Krishnamoorthi, 2018), so that its weight is rounded as it will be written."""
        y, w = node.outputs[0], node.required(1)
        factor = norm.factor(self.given)
        factor = torch.where(factor.abs() < 1e-8, torch.full_like(factor, 1e-8), factor)
        gamma, beta = norm.scale.value(self.given), norm.offset.value(self.given)
        bias = self.skeleton.plain_bias.get(node)
        shift = None if bias is None else bias.value(self.given)
        owner = self.module.get_submodule(norm.name)
        momentum = getattr(owner, "momentum", 0.1)
        momentum = 0.1 if momentum is None else momentum
        moving = [s.value(self.given) if isinstance(s, Given) else None for s in (norm.mean, norm.variance)]
        if is_quantized(y):
            acc = sums(self, node, arguments[0], arguments[1])
            scale = (self.scale(node.required(0)) * self._weight_scale(w)).float() / factor
            batch = Batch(norm.epsilon, *self.bounds(y, node.attrs["act"]))
            codes = norm_requantize(acc, scale, batch, gamma, beta, (1.0 / self.scale(y)).float())
            # A bias moves the mean and nothing else.
            found = (batch.mean if shift is None else batch.mean + shift.detach(), batch.variance)
            for running, value in zip(moving, found):
                if running is not None:
                    running.lerp_(value, momentum)
            return codes
        weight = self._decoded(w, arguments[1]) if w in self.skeleton.weights else arguments[1]
        u = products(node, arguments[0], weight) / factor
        u = u if shift is None else u + shift
        v = F.batch_norm(u.movedim(-1, 1), *moving, gamma, beta, True, momentum, norm.epsilon).movedim(1, -1)
        return act(v, node.attrs["act"])
