"""What a model file holds: `benchmark --info`."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..converter.formats import read_model
from ..converter.formats.files import bytes_of, sniff
from ..converter.ir import Graph, Tensor

_WRITTEN_BY = "bitlite"


def model_info(path: str, weights: str | None = None) -> dict[str, Any]:
    """Format, version, options, inputs, outputs, operators and constants of a file. weights: of a .prototxt, None for
    those beside it. Raises ModelError."""
    return _info(path, read_model(path, weights=weights))


def model_document(path: str, weights: str | None = None) -> dict[str, Any]:
    """`model_info` with the nodes and the memory of the graph, as a report holds them. Raises ModelError."""
    from .report.view import graph_view

    graph = read_model(path, weights=weights)
    return _info(path, graph) | graph_view(graph)


def _info(path: str, graph: Graph) -> dict[str, Any]:
    return {
        "kind": "model",
        "file": path,
        "format": sniff(path),
        "bytes": bytes_of(path, graph.meta),
        "version": _version(graph),
        "converted_by": f"bitlite {graph.meta[_WRITTEN_BY]}" if _WRITTEN_BY in graph.meta else "",
        "options": graph.meta.get("options", {}),
        "inputs": [_port(t) for t in graph.inputs],
        "outputs": [_port(t) for t in graph.outputs],
        "operators": dict(Counter(node.op for node in graph.nodes).most_common()),
        "constants": _constants(graph),
    }


def info_lines(info: dict[str, Any]) -> list[str]:
    """The same as text."""
    lines = [f"{info['file']}: {info['format']}, {info['bytes']} bytes"]
    lines += [f"  version      {info['version']}"] if info["version"] else []
    lines += [f"  written by   {info['converted_by']}"] if info["converted_by"] else []
    lines += [f"  option       {name} = {value}" for name, value in info["options"].items()]
    for what in ("inputs", "outputs"):
        for port in info[what]:
            sizes = ",".join("?" if d is None else str(d) for d in port["shape"] or ())
            layout = f" {port['layout']}" if port["layout"] else ""
            scale = f" scale {port['scale']:.6g} zero point {port['zero_point']}" if "scale" in port else ""
            lines.append(f"  {what[:-1]:<12} {port['name']}: {port['dtype']}[{sizes}]{layout}{scale}")
    lines.append(f"  operators    {sum(info['operators'].values())}")
    lines += [f"    {count:>6}  {op}" for op, count in info["operators"].items()]
    lines.append("  constants    (elements and bytes at their width; the file may hold them smaller)")
    for row in info["constants"]:
        lines.append(
            f"    {row['tensors']:>6}  {row['type']:<22} {row['elements']:>10} elements  {row['bytes']:>10} bytes"
        )
    return lines


def _version(graph: Graph) -> str:
    if graph.meta.get("version"):
        return str(graph.meta["version"])
    return f"opset {graph.meta['opset']}" if graph.meta.get("opset") else str(graph.meta.get("description", ""))


def _port(t: Tensor) -> dict[str, Any]:
    shape = None if t.shape is None else list(t.shape)
    port: dict[str, Any] = {"name": t.name, "dtype": t.dtype.name, "shape": shape, "layout": t.layout}
    if t.quant is not None and len(t.quant.scale) == 1:
        port |= {"scale": float(t.quant.scale[0]), "zero_point": int(t.quant.zero_point[0])}
    return port


def _constants(graph: Graph) -> list[dict[str, Any]]:
    """Per type and width: tensors, elements, bytes; the largest first."""
    rows: dict[str, dict[str, Any]] = {}
    for t in graph.constants():
        if t.data is None:
            continue
        bits, text = t.dtype.itemsize * 8, t.dtype.name
        if t.quant is not None and t.dtype.kind in "iu":
            bits = min(t.quant.bits, bits)
            text = f"{bits} bit, {'per channel' if len(t.quant.scale) > 1 else 'per tensor'}"
        row = rows.setdefault(text, {"type": text, "tensors": 0, "elements": 0, "bytes": 0})
        row["tensors"] += 1
        row["elements"] += t.data.size
        row["bytes"] += -(-t.data.size * bits // 8)
    return sorted(rows.values(), key=lambda row: -row["bytes"])
