"""A graph as text, to read and to compare."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import Graph


def _value_text(value: Any) -> str:
    if isinstance(value, Graph):
        return f"graph {value.name}"
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)


def dump(graph: Graph) -> str:
    """The graph as text, one node a line: outputs = Op(inputs) attrs  # origin."""
    lines = [f"graph {graph.name!r}"]
    lines += [f"  input  %{t.name}: {t.type_text()} {t.layout}".rstrip() for t in graph.inputs]
    lines += [f"  const  %{t.name}: {t.type_text()}" for t in graph.constants()]
    for n in graph.nodes:
        outs = ", ".join(f"%{t.name}: {t.type_text()}" for t in n.outputs)
        ins = ", ".join("-" if t is None else f"%{t.name}" for t in n.inputs)
        attrs = " ".join(f"{k}={_value_text(v)}" for k, v in sorted(n.attrs.items()))
        origin = f"  # {' + '.join(n.origin)}" if n.origin and n.origin != (n.name,) else ""
        lines.append(f"  {outs} = {n.op}({ins}) {attrs}".rstrip() + origin)
    lines += [f"  output %{t.name}: {t.type_text()} {t.layout}".rstrip() for t in graph.outputs]
    return "\n".join(lines) + "\n"
