"""One operator in an independent runtime and in bitlite: models are built in the test, results compared.

onnx_check("Conv", [x, w, b], {"strides": [2, 2]}, const=(1, 2))
tflite_check("CONV_2D", [x, w, b], ("Conv2DOptions", {"stride_w": 2, "stride_h": 2}), const=(1, 2))
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bitlite.converter.execute import execute
from bitlite.converter.ir import Graph

sys.path.insert(0, str(Path(__file__).parent))
from bitlite.converter.schema.verify import verify
from tflite_models import run_litert, tflite_model


def run_graph(graph: Graph, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Runs every node by its reference and checks that each result has the inferred type."""
    verify(graph)
    values = {t: feeds[t.name] for t in graph.inputs}
    for node in graph.nodes:
        results = execute(node, [None if t is None else t.data if t.is_const else values[t] for t in node.inputs])
        for t, a in zip(node.outputs, results, strict=True):
            assert a.dtype == t.dtype, (node, t, a.dtype)
            if t.shape is not None:
                assert len(t.shape) == a.ndim, (node, t, a.shape)
                assert all(n in (None, m) for n, m in zip(t.shape, a.shape)), (node, t, a.shape)
            values[t] = a
    return [t.data if t.is_const else values[t] for t in graph.outputs]


def compare(got: np.ndarray, want: np.ndarray, tolerance: float = 1e-5, steps: int = 0) -> None:
    """Floats within `tolerance` of the largest magnitude; integers equal, or `steps` codes apart."""
    assert got.shape == want.shape, (got.shape, want.shape)
    assert got.dtype == want.dtype, (got.dtype, want.dtype)
    if want.dtype.kind == "f":
        finite = np.abs(want[np.isfinite(want)])
        if want.dtype == np.float16:
            tolerance = max(tolerance, 2e-3)
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * float(finite.max(initial=0)) + 1e-30)
    elif steps and want.dtype.kind in "iu":
        assert np.abs(got.astype(np.int64) - want.astype(np.int64)).max(initial=0) <= steps
    else:
        np.testing.assert_array_equal(got, want)


def onnx_model(
    op: str,
    inputs: list[Any],
    attrs: dict[str, Any] | None = None,
    *,
    const: tuple[int, ...] = (),
    opset: int = 21,
    domain: str = "",
    outputs: int | tuple[str, ...] = 1,
) -> Any:
    """A model of one node. Inputs are arrays or None; those in `const` are initializers, the others x0, x1, …"""
    from onnx import TensorProto, helper, numpy_helper

    names = [f"x{i}" if a is not None else "" for i, a in enumerate(inputs)]
    result_names = [f"y{k}" for k in range(outputs)] if isinstance(outputs, int) else list(outputs)
    node = helper.make_node(op, names, result_names, name="node", domain=domain, **(attrs or {}))
    typed = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for i, (n, a) in enumerate(zip(names, inputs))
        if a is not None and i not in const
    ]
    fixed = [numpy_helper.from_array(np.asarray(inputs[i], order="C"), names[i]) for i in const]
    results = [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in result_names if n]
    for info in results:
        info.ClearField("type")
    imports = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    graph = helper.make_graph([node], "g", typed, results, fixed)
    return helper.make_model(graph, opset_imports=imports, ir_version=min(10, helper.find_min_ir_version_for(
        [o for o in imports if not o.domain])) if not domain else 10)  # fmt: skip


@pytest.fixture
def onnx_check(tmp_path: Path) -> Any:
    """check(op, inputs, attrs, …) → bitlite's results, equal to onnxruntime's."""

    def check(
        op: str,
        inputs: list[Any],
        attrs: dict[str, Any] | None = None,
        *,
        tolerance: float = 1e-5,
        steps: int = 0,
        want: list[np.ndarray] | None = None,
        **how: Any,
    ) -> list[np.ndarray]:
        import onnxruntime
        from bitlite.converter.formats.onnx import read
        from onnx_judge import run

        model = onnx_model(op, inputs, attrs, **how)
        data = model.SerializeToString()
        feeds = {
            f"x{i}": np.asarray(a) for i, a in enumerate(inputs) if a is not None and i not in how.get("const", ())
        }
        if want is None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            want = run(model, feeds, options)
        path = tmp_path / "model.onnx"
        path.write_bytes(data)
        got = run_graph(read(str(path)), feeds)
        assert len(got) == len(want)
        for g, w in zip(got, want):
            compare(g, np.asarray(w), tolerance, steps)
        return got

    return check


@pytest.fixture
def tflite_check(tmp_path: Path) -> Any:
    """check(op, inputs, options, …) → bitlite's results, equal to LiteRT's. `steps`: codes that may lie between."""

    def check(
        op: str,
        inputs: list[Any],
        options: tuple[str, dict[str, Any]] | None = None,
        *,
        tolerance: float = 1e-5,
        steps: int = 0,
        want: list[np.ndarray] | None = None,
        **how: Any,
    ) -> list[np.ndarray]:
        from bitlite.converter.formats.tflite import read

        data = tflite_model(op, inputs, options, **how)
        feeds = {
            f"x{i}": np.asarray(a) for i, a in enumerate(inputs) if a is not None and i not in how.get("const", ())
        }
        want = run_litert(data, feeds) if want is None else want
        path = tmp_path / "model.tflite"
        path.write_bytes(data)
        got = run_graph(read(str(path)), feeds)
        assert len(got) == len(want)
        for g, w in zip(got, want):
            compare(g, w, tolerance, steps)
        return got

    return check
